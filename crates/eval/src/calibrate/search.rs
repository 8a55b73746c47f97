use std::ops::RangeInclusive;

use skimlm_core::Result;

use super::choose::heads;
use super::listen::Heard;
use super::way::Way;

/// How much less than the best an earlier layer may find and still go first.
const SLACK: f64 = 0.05;

/// A stage: the layers that may be listened to, and the share kept.
pub(super) type Stage = (RangeInclusive<usize>, f64);

/// Heads for outlines of stages, on all cases and on those without one task after the other.
pub(super) struct Search<'h> {
    cases: &'h [&'h Heard],
    /// For each task the cases that heads are chosen on and those that they are judged on.
    folds: Vec<(Vec<&'h Heard>, Vec<&'h Heard>)>,
    /// Ways by fold (none: all cases) and outline: longer ones begin as shorter ones do.
    known: Vec<(Option<usize>, Vec<Stage>, Way)>,
}

impl<'h> Search<'h> {
    pub(super) fn new(cases: &'h [&'h Heard]) -> Self {
        let mut tasks: Vec<&str> = cases.iter().map(|case| case.task.as_str()).collect();
        tasks.sort_unstable();
        tasks.dedup();
        let fold = |task: &&str| cases.iter().partition(|case| case.task != *task);
        Self { cases, folds: tasks.iter().map(fold).collect(), known: Vec::new() }
    }

    /// The heads of every stage, chosen on the cases of a fold.
    pub(super) fn choose(&mut self, fold: Option<usize>, outline: &[Stage]) -> Result<Way> {
        let Some(((layers, keep), before)) = outline.split_last() else {
            return Ok(Way { stages: Vec::new(), recall: 0.0, cost: 0.0 });
        };
        if let Some((.., way)) = self.known.iter().find(|(f, o, _)| *f == fold && o == outline) {
            return Ok(way.clone());
        }
        let mut way = self.choose(fold, before)?;
        let cases = fold.map_or(self.cases, |fold| self.folds[fold].0.as_slice());
        let among = cases.iter().map(|case| way.walk(case, 1.0)).collect::<Result<Vec<_>>>()?;
        way.stages.push(heads(cases, &among, layers.clone(), *keep)?);
        self.known.push((fold, outline.to_vec(), way.clone()));
        Ok(way)
    }

    /// The mean over tasks of the recall on each when the heads were chosen on all others (see [`Way::recall`]).
    pub(super) fn cross_validated(&mut self, outline: &[Stage]) -> Result<f64> {
        let mut sum = 0.0;
        for fold in 0..self.folds.len() {
            let way = self.choose(Some(fold), outline)?;
            let held_out = &self.folds[fold].1;
            sum += 0.5 * (way.recall_on(held_out, 1.0)? + way.recall_on(held_out, 0.5)?);
        }
        Ok(sum / self.folds.len().max(1) as f64)
    }

    /// The first layer up to `last` that keeps nearly as much of the evidence in a share of the text as any does.
    pub(super) fn first_good(
        &mut self,
        last: usize,
        keep: f64,
        best: Option<f64>,
        look: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Option<usize>> {
        let mut found = Vec::new();
        for layer in 0..=last {
            look()?;
            // Where a deeper layer adds nothing, the way ends as high as before.
            if self.choose(None, &[(0..=layer, keep)])?.stages[0].layer() == layer {
                found.push((layer, self.cross_validated(&[(0..=layer, keep)])?));
            }
        }
        let best = best.unwrap_or_else(|| found.iter().map(|(_, recall)| *recall).fold(0.0, f64::max));
        Ok(found.iter().find(|(_, recall)| *recall >= best - SLACK).map(|(layer, _)| *layer))
    }
}
