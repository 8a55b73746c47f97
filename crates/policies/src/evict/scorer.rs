use candle_core::Tensor;
use skimlm_core::{Error, Evidence, Form, Heads, Measure, Queries, Result, Seen};

/// What counts.
pub(crate) trait Scorer: Send {
    /// What a layer must leave behind.
    fn evidence(&self) -> Evidence;

    /// One score an entry: one row a head that chooses, or one for all.
    fn score(&mut self, seen: &Seen<'_>) -> Result<Vec<Vec<f32>>>;

    /// The scores of the entries that stay, for scorers that remember.
    fn carry(&mut self, layer: usize, kept: Vec<Vec<f32>>) {
        let _ = (layer, kept);
    }
}

/// Scores of the banks of a layer as rows, one a head.
fn rows(scores: &[Tensor]) -> Result<Vec<Vec<f32>>> {
    let mut all = Vec::new();
    for bank in scores {
        all.extend(bank.to_vec2::<f32>()?);
    }
    Ok(all)
}

/// Softmax weights of the last queries, summed (SnapKV; TOVA with one query).
pub(crate) struct WindowScores {
    pub(crate) window: usize,
    pub(crate) heads: Heads,
}

impl Scorer for WindowScores {
    fn evidence(&self) -> Evidence {
        let queries = Queries::Window(self.window);
        Evidence::Scores { queries, form: Form::Softmax, scale: None, heads: self.heads.clone() }
    }

    fn score(&mut self, seen: &Seen<'_>) -> Result<Vec<Vec<f32>>> {
        rows(seen.scores)
    }
}

/// Softmax weights of all queries so far, summed (H2O). An evicted entry takes its sum with it.
pub(crate) struct RunningSums {
    pub(crate) heads: Heads,
    /// By layer: one row a head over the entries that are left.
    sums: Vec<Vec<Vec<f32>>>,
}

impl RunningSums {
    pub(crate) fn new(heads: Heads) -> Self {
        Self { heads, sums: Vec::new() }
    }
}

impl Scorer for RunningSums {
    fn evidence(&self) -> Evidence {
        let queries = Queries::Rows(0..usize::MAX);
        Evidence::Scores { queries, form: Form::Softmax, scale: None, heads: self.heads.clone() }
    }

    fn score(&mut self, seen: &Seen<'_>) -> Result<Vec<Vec<f32>>> {
        let mut new = rows(seen.scores)?;
        for (new, old) in new.iter_mut().zip(self.sums.get(seen.layer).into_iter().flatten()) {
            new.iter_mut().zip(old).for_each(|(new, old)| *new += old);
        }
        Ok(new)
    }

    fn carry(&mut self, layer: usize, kept: Vec<Vec<f32>>) {
        if self.sums.len() <= layer {
            self.sums.resize_with(layer + 1, Vec::new);
        }
        self.sums[layer] = kept;
    }
}

/// The negative of what is measured of the keys, one row a kv head: keys of small norm draw attention
/// (Devoto et al., arXiv 2406.11430), and so do keys unlike the others (Park et al., arXiv 2504.15364).
pub(crate) struct OfKeys(pub(crate) Measure);

impl Scorer for OfKeys {
    fn evidence(&self) -> Evidence {
        Evidence::Keys(self.0)
    }

    fn score(&mut self, seen: &Seen<'_>) -> Result<Vec<Vec<f32>>> {
        let mut measured = rows(seen.scores)?;
        measured.iter_mut().flatten().for_each(|score| *score = -*score);
        Ok(measured)
    }
}

/// No opinion: what the rule guards stays, nothing else (StreamingLLM).
pub(crate) struct NoScore;

impl Scorer for NoScore {
    fn evidence(&self) -> Evidence {
        Evidence::Entries
    }

    fn score(&mut self, seen: &Seen<'_>) -> Result<Vec<Vec<f32>>> {
        let bank = seen.cache.banks().first();
        let bank = bank.ok_or_else(|| Error::new(skimlm_core::Code::Internal, "a layer without entries."))?;
        Ok(vec![vec![0.0; bank.len()]])
    }
}
