//! Stages at which a pass narrows: whose turn it is, what its layers have said, which rows are left.

use skimlm_core::{Evidence, Result, Rows, Seen};

use crate::options::StageSpec;

/// The stages of one prompt and the rows they have left.
#[derive(Debug, Clone)]
pub(crate) struct Narrowing {
    stages: Vec<StageSpec>,
    /// Stages that have chosen.
    done: usize,
    /// Prompt index of each row that is left.
    rows: Vec<u32>,
    /// Tokens of the prompt.
    length: usize,
    /// What the layers up to the stage's own have said of the rows so far.
    heard: Vec<f32>,
}

impl Narrowing {
    pub(crate) fn new(stages: Vec<StageSpec>) -> Self {
        Self { stages, done: 0, rows: Vec::new(), length: 0, heard: Vec::new() }
    }

    /// Starts with all of `n` tokens.
    pub(crate) fn begin(&mut self, n: usize) {
        (self.done, self.length) = (0, n);
        self.rows = (0..n as u32).collect();
        self.heard.clear();
    }

    /// The stage whose turn it is.
    pub(crate) fn stage(&self) -> Option<&StageSpec> {
        self.stages.get(self.done)
    }

    /// All stages.
    pub(crate) fn stages(&self) -> &[StageSpec] {
        &self.stages
    }

    /// How many stages have chosen.
    pub(crate) fn done(&self) -> usize {
        self.done
    }

    /// Prompt index of each row that is left.
    pub(crate) fn rows(&self) -> &[u32] {
        &self.rows
    }

    /// Tokens of the prompt.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// What `layer` must say for the stage whose turn it is, with `scale` for raw scores.
    pub(crate) fn evidence(&self, layer: usize, rows: &Rows, scale: Option<f32>) -> Evidence {
        match self.stage() {
            Some(stage) if layer <= stage.layer => stage.score.evidence(layer, stage.layer, rows, scale),
            _ => Evidence::None,
        }
    }

    /// Takes in what a layer says. At the stage's own layer: the score of every row of the pass.
    pub(crate) fn hear(&mut self, seen: &Seen<'_>) -> Result<Option<Vec<f32>>> {
        let (Some(stage), Some(said)) = (self.stages.get(self.done), seen.scores.first()) else {
            return Ok(None);
        };
        let rows = seen.pass.rows.len();
        for head in said.to_vec2::<f32>()? {
            // Entries of earlier turns are not scored: a prompt chooses among its own tokens.
            let own = &head[head.len() - rows..];
            if self.heard.is_empty() {
                self.heard = own.to_vec();
            } else if stage.score.adds_up() {
                self.heard.iter_mut().zip(own).for_each(|(sum, s)| *sum += s);
            } else {
                self.heard.iter_mut().zip(own).for_each(|(most, s)| *most = most.max(*s));
            }
        }
        Ok((seen.layer == stage.layer).then(|| std::mem::take(&mut self.heard)))
    }

    /// Leaves the rows `keep` and goes on to the next stage.
    pub(crate) fn narrow(&mut self, keep: &[u32]) {
        self.rows = keep.iter().map(|&row| self.rows[row as usize]).collect();
        self.skip();
    }

    /// Goes on to the next stage with all rows.
    pub(crate) fn skip(&mut self) {
        self.done += 1;
        self.heard.clear();
    }
}
