use std::sync::{Arc, Mutex, PoisonError};

use skimlm_core::{Evidence, KvCache, Pass, Policy, Report, Result, Role, Seen, Shape, Step};

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

    fn evidence(&self, layer: usize, pass: &Pass) -> Evidence {
        self.policy.evidence(layer, pass)
    }

    fn at_layer(&mut self, seen: Seen<'_>) -> Result<Step> {
        self.listen(&seen)?;
        self.policy.at_layer(seen)
    }

    fn after_pass(&mut self, pass: &Pass, cache: &mut KvCache) -> Result<Option<Pass>> {
        self.policy.after_pass(pass, cache)
    }

    fn report(&self) -> Option<Report> {
        self.policy.report()
    }
}
