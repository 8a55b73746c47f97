use std::sync::{Arc, Mutex, PoisonError};

use skimlm_core::{Evidence, KvCache, Pass, Policy, Report, Result, Role, Seen, Shape, Step, Visibility};

/// A policy whose last choice is overheard: which share of its scores falls on plain parts of the document.
pub(super) struct Overheard {
    policy: Box<dyn Policy>,
    /// Layers below belong to earlier choices.
    from: usize,
    scores: Vec<f32>,
    share: Arc<Mutex<Option<f64>>>,
}

impl Overheard {
    pub(super) fn new(policy: Box<dyn Policy>, from: usize) -> (Self, Arc<Mutex<Option<f64>>>) {
        let share = Arc::new(Mutex::new(None));
        (Self { policy, from, scores: Vec::new(), share: Arc::clone(&share) }, share)
    }

    fn listen(&mut self, seen: &Seen<'_>) -> Result<()> {
        let (Some(said), true) = (seen.scores.first(), seen.layer >= self.from) else {
            return Ok(());
        };
        let rows = &seen.pass.rows;
        self.scores.resize(rows.len(), 0.0);
        for head in said.to_vec2::<f32>()? {
            self.scores.iter_mut().zip(head).for_each(|(sum, score)| *sum += score);
        }
        let document = |(_, role): &(&f32, &Role)| **role == Role::Document;
        let on: f32 = self.scores.iter().zip(&rows.roles).filter(document).map(|(score, _)| score).sum();
        let all = self.scores.iter().sum::<f32>().max(f32::MIN_POSITIVE);
        *self.share.lock().unwrap_or_else(PoisonError::into_inner) = Some(f64::from(on / all));
        Ok(())
    }
}

impl Policy for Overheard {
    fn begin(&mut self, prompt: Pass, shape: &Shape) -> Result<Pass> {
        self.policy.begin(prompt, shape)
    }

    fn tag(&mut self, token: u32) -> u32 {
        self.policy.tag(token)
    }

    fn visibility(&self) -> Visibility {
        self.policy.visibility()
    }

    fn evidence(&self, layer: usize, pass: &Pass) -> Evidence {
        self.policy.evidence(layer, pass)
    }

    fn at_layer(&mut self, seen: Seen<'_>) -> Result<Step> {
        self.listen(&seen)?;
        self.policy.at_layer(seen)
    }

    fn is_steady(&self) -> bool {
        self.policy.is_steady()
    }

    fn next_position(&self, cache: &KvCache) -> Option<u32> {
        self.policy.next_position(cache)
    }

    fn after_pass(&mut self, pass: &Pass, cache: &mut KvCache) -> Result<Option<Pass>> {
        self.policy.after_pass(pass, cache)
    }

    fn report(&self) -> Option<Report> {
        self.policy.report()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers otherwise than a policy's defaults.
    struct Marked;

    impl Policy for Marked {
        fn tag(&mut self, token: u32) -> u32 {
            token + 1
        }

        fn visibility(&self) -> Visibility {
            Visibility::Anchored { width: None }
        }

        fn is_steady(&self) -> bool {
            true
        }

        fn next_position(&self, _: &KvCache) -> Option<u32> {
            Some(3)
        }
    }

    #[test]
    fn a_policy_that_is_overheard_is_the_policy_itself() {
        let shape = Shape {
            hidden: 8,
            heads: 1,
            kv_heads: 1,
            head_dim: 8,
            vocab: 10,
            max_positions: 10,
            scale: 1.0,
            layers: Vec::new(),
        };
        let cache = KvCache::from_layers(&shape, Vec::new()).unwrap();
        let (mut policy, _) = Overheard::new(Box::new(Marked), 0);
        assert_eq!((policy.tag(4), policy.next_position(&cache), policy.is_steady()), (5, Some(3), true));
        assert_eq!(policy.visibility(), Visibility::Anchored { width: None });
    }
}
