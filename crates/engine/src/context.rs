//! What a policy is told of the model that it is to choose on.

use skimlm_core::{Policy, Result};
use skimlm_policies::{Context, PolicySpec};

use crate::load::Loaded;
use crate::text::named_tokens;

impl Loaded {
    /// Does something with all that a policy is told of this model beside its options. `forced` is a selection to
    /// replay. `ERR_INVALID_ARG` where the model has no token that a rule of the policy means, and what `then` fails
    /// with.
    pub fn with_context<T>(
        &self,
        policy: &PolicySpec,
        forced: Option<&[u32]>,
        then: impl FnOnce(&Context<'_>) -> Result<T>,
    ) -> Result<T> {
        let tokens = named_tokens(policy, &self.tokenizer)?;
        then(&Context {
            shape: self.model.shape(),
            default_layer: self.info.file.default_filter_layer,
            forced,
            sentence_ends: &|| self.tokenizer.sentence_ends(),
            profile: self.profile.as_ref(),
            tokens: &tokens,
        })
    }

    /// The policy of one session on this model. `ERR_INVALID_ARG` or `ERR_POLICY_UNSUPPORTED` if it cannot work on it.
    pub fn policy(&self, policy: &PolicySpec, forced: Option<&[u32]>) -> Result<Box<dyn Policy>> {
        self.with_context(policy, forced, |context| policy.build(context))
    }
}
