//! From logits to a token.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher, RandomState};

use candle_core::{Device, Tensor};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde::{Deserialize, Serialize};
use skimlm_core::{Code, Error, Result};
use skimlm_kernels::draw::{Drawing, draw};
use skimlm_kernels::logits::{Pick, top_of};
use skimlm_kernels::steps::Steps;

/// Generated and prompt tokens that the repetition penalty looks back on.
const PENALTY_WINDOW: usize = 64;

/// How the next token is chosen. The defaults are greedy.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Sampling {
    /// Divides the logits; 0: the most likely token, always.
    pub temperature: f64,
    /// Only the most likely so many tokens; none: all.
    pub top_k: Option<f64>,
    /// Only the most likely tokens that together have this probability, in (0, 1].
    pub top_p: f64,
    /// Only tokens at least this likely relative to the most likely one, in [0, 1].
    pub min_p: f64,
    /// Makes tokens less likely that came before: their logits are divided by it, or multiplied
    /// where negative (Keskar et al., 2019). 1: off.
    pub repetition_penalty: f64,
    /// The same seed gives the same tokens; none: a new one every time.
    pub seed: Option<u64>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 0.0, top_k: None, top_p: 1.0, min_p: 0.0, repetition_penalty: 1.0, seed: None }
    }
}

impl Sampling {
    /// `ERR_INVALID_ARG` with `{ option, value, expected }` for the first value out of range.
    pub fn validate(&self) -> Result<()> {
        let check = |option: &str, value: f64, holds: bool, expected: &str| {
            if holds {
                return Ok(());
            }
            // JSON has no NaN and no infinity.
            let shown = serde_json::Number::from_f64(value)
                .map_or_else(|| serde_json::Value::from(value.to_string()), serde_json::Value::from);
            Err(Error::invalid_option(option, shown, expected))
        };
        let Self { temperature: t, top_p, min_p, repetition_penalty: r, .. } = *self;
        check("temperature", t, t.is_finite() && t >= 0.0, "a number of at least 0 (0: greedy)")?;
        check("topP", top_p, top_p > 0.0 && top_p <= 1.0, "above 0 and at most 1")?;
        check("minP", min_p, (0.0..=1.0).contains(&min_p), "from 0 to 1")?;
        check("repetitionPenalty", r, r.is_finite() && r > 0.0, "a number above 0 (1: off)")?;
        match self.top_k {
            Some(k) => check("topK", k, k >= 1.0 && k.fract() == 0.0, "an integer of at least 1"),
            None => Ok(()),
        }
    }
}

/// What a token is chosen from.
pub enum Next {
    /// The logits of a step, `[1, vocab]`, where they are.
    Logits(Tensor),
    /// A token that the device has chosen, or which logit is no number.
    Pick(skimlm_kernels::Result<Pick>),
}

/// Chooses tokens, as [`draw`] says.
///
/// The generator is ChaCha with 8 rounds, keyed by the seed, and each token that is drawn takes 64 bits of it, so a seed
/// gives the same tokens on every machine that computes the same logits.
#[derive(Debug, Clone)]
pub struct Sampler {
    how: Drawing,
    seed: u64,
    random: ChaCha8Rng,
    recent: VecDeque<u32>,
}

impl Sampler {
    /// `ERR_INVALID_ARG` for an option out of its range.
    pub fn new(sampling: Sampling) -> Result<Self> {
        sampling.validate()?;
        // The standard library's hash keys are random, which is all that is needed of a seed.
        // A seed of our own stays below 2^53, so that JavaScript can hold it and ask for it again.
        let seed = sampling.seed.unwrap_or_else(|| RandomState::new().build_hasher().finish() >> 11);
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        let how = Drawing {
            penalty: sampling.repetition_penalty,
            temperature: sampling.temperature,
            top_k: sampling.top_k.map_or(usize::MAX, |k| k as usize),
            top_p: sampling.top_p,
            min_p: sampling.min_p,
        };
        Ok(Self { how, seed, random: ChaCha8Rng::from_seed(key), recent: VecDeque::new() })
    }

    /// The seed in use.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Takes note of tokens in their order: the last 64 are those the repetition penalty applies to.
    pub fn follow(&mut self, tokens: &[u32]) {
        self.recent.extend(&tokens[tokens.len().saturating_sub(PENALTY_WINDOW)..]);
        self.recent.drain(..self.recent.len().saturating_sub(PENALTY_WINDOW));
    }

    /// A token and its log probability.
    ///
    /// `logits` `[vocab]` may be overwritten. The log probability (natural) is the model's own: before penalty, temperature
    /// and cuts. `ERR_NUMERICS` for NaN or infinity.
    pub fn next(&mut self, logits: &mut [f32]) -> Result<(u32, f32)> {
        let random = self.random();
        taken(draw(logits, self.recent.make_contiguous(), &self.how, random))
    }

    /// [`Sampler::next`] of a step's logits, where they are, or of what a device has chosen in its place. Of a GPU's
    /// logits nothing but the answer is read, if it is the most likely token as the model has it.
    pub fn choose(&mut self, next: Next) -> Result<(u32, f32)> {
        match next {
            Next::Logits(logits) if self.is_plain() => taken(top_of(&logits)),
            Next::Logits(logits) => self.next(&mut logits.flatten_all()?.to_vec1()?),
            Next::Pick(pick) => {
                self.random();
                taken(pick)
            }
        }
    }

    /// Steps that choose tokens as this does, of which the first one reads the last token that was noted.
    pub(crate) fn steps(&self, most: usize, device: &Device) -> Result<Steps> {
        if self.is_plain() {
            return Ok(Steps::new(self.last()?, most, device)?);
        }
        let recent: Vec<u32> = self.recent.iter().copied().collect();
        let mut coming = self.clone();
        let randoms: Vec<u64> = (0..most).map(|_| coming.random()).collect();
        Ok(Steps::drawing(self.how, &recent, PENALTY_WINDOW, &randoms, device)?)
    }

    /// The last token that was noted, which the next step reads.
    pub(crate) fn last(&self) -> Result<u32> {
        self.recent.back().copied().ok_or_else(|| Error::new(Code::Internal, "no token to step from."))
    }

    /// Whether the most likely token is taken, as the model has it: no other logit matters.
    fn is_plain(&self) -> bool {
        self.how.temperature == 0.0 && self.how.penalty == 1.0
    }

    /// The next random number, where one is needed.
    fn random(&mut self) -> u64 {
        if self.how.temperature == 0.0 { 0 } else { self.random.next_u64() }
    }
}

fn taken(pick: skimlm_kernels::Result<Pick>) -> Result<(u32, f32)> {
    let pick = pick.map_err(no_choice)?;
    Ok((pick.index as u32, pick.log_probability()))
}

fn no_choice(error: skimlm_kernels::Error) -> Error {
    match error {
        skimlm_kernels::Error::NonFinite { index, value, .. } => Error::new(
            Code::Numerics,
            format!("The logit of token {index} is {value}. Load the model with the option `dtype: \"f32\"`."),
        )
        .with("token", index)
        .with("value", value.to_string()),
        skimlm_kernels::Error::Invalid { .. } => {
            Error::new(Code::Internal, "there are no logits to choose from").caused_by(error)
        }
        other => other.into(),
    }
}

#[cfg(test)]
mod tests;
