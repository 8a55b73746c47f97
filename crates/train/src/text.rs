//! Continued training on plain text with the anchor mask: the route to a real AnLLM.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use skimlm_core::{ANCHOR, Error, PINNED, Result};

use crate::course::Course;
use crate::net::{Batch, Net};
use crate::random::Random;
use crate::sees::{Sees, anchored};

/// Windows of a measurement on held-out text.
const MEASURED: usize = 8;

/// Who sees whom in a window of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mask {
    /// Everything earlier.
    Full,
    /// Anchors and the own segment; the first `sinks` rows stay visible.
    Anchors {
        /// First rows that stay visible.
        sinks: usize,
    },
}

/// Windows of text as one batch in which every row's next token is asked for.
pub fn batch(windows: &[&[u32]], anchors: &[u32], mask: Mask) -> Batch {
    let rows = windows.first().map_or(0, |window| window.len() - 1);
    let rules: Vec<_> = windows
        .iter()
        .map(|window| {
            let tag = |(i, id): (usize, &u32)| match mask {
                Mask::Anchors { sinks } if i < sinks => PINNED,
                Mask::Anchors { .. } if anchors.contains(id) => ANCHOR,
                _ => 0,
            };
            anchored(&window[..rows].iter().enumerate().map(tag).collect::<Vec<_>>())
        })
        .collect();
    Batch {
        ids: windows.iter().flat_map(|window| &window[..rows]).copied().collect(),
        positions: windows.iter().flat_map(|_| 0..rows as u32).collect(),
        sees: Arc::new(Sees::new(windows.len(), rows, |sequence, row, column| rules[sequence](row, column))),
        asked: (0..(windows.len() * rows) as u32).collect(),
        answers: windows.iter().flat_map(|window| &window[1..=rows]).copied().collect(),
    }
}

/// The mean loss of a model over windows.
pub fn loss(net: &Net, windows: &[&[u32]], anchors: &[u32], mask: Mask) -> Result<f64> {
    let mut sum = 0f64;
    for window in windows {
        sum += f64::from(net.loss(&batch(&[window], anchors, mask))?.0.to_scalar::<f32>()?);
    }
    Ok(sum / windows.len().max(1) as f64)
}

/// Refuses windows of fewer than two tokens, and a text that is shorter than one and the token behind it, by the name
/// of the option that gave it: `ERR_INVALID_ARG`.
pub fn check(option: &str, tokens: &[u32], context: usize) -> Result<()> {
    if context < 2 {
        return Err(Error::invalid_option("context", context, "at least 2"));
    }
    if tokens.len() <= context {
        let expected = format!("more than {context} tokens long, for windows of {context}");
        return Err(Error::invalid_option(option, format!("{} tokens", tokens.len()), expected));
    }
    Ok(())
}

/// Windows that do not overlap, evenly spread over a text, at most `count` of `length` tokens.
pub fn spread(tokens: &[u32], length: usize, count: usize) -> Vec<&[u32]> {
    let all: Vec<&[u32]> = tokens.chunks_exact(length).collect();
    let step = all.len().div_ceil(count.max(1)).max(1);
    all.into_iter().step_by(step).collect()
}

/// Windows of a text, drawn at random.
#[derive(Debug, Clone)]
pub struct Text {
    /// To learn from.
    pub tokens: Vec<u32>,
    /// Not to learn from.
    pub held_out: Vec<u32>,
    /// Token ids of the anchors.
    pub anchors: Vec<u32>,
    /// Tokens of a window.
    pub context: usize,
    /// Windows of a batch.
    pub sequences: usize,
    /// Share of the steps with full attention.
    pub full: f32,
    /// Seed of the draws.
    pub seed: u64,
    found: Map<String, Value>,
}

impl Text {
    /// A course over a text of which the last tenth is held out, unless another text is given for that.
    /// `ERR_INVALID_ARG` if a text is shorter than a window.
    pub fn new(mut tokens: Vec<u32>, held_out: Option<Vec<u32>>, anchors: Vec<u32>, context: usize) -> Result<Self> {
        let held_out = held_out.unwrap_or_else(|| tokens.split_off(tokens.len() - tokens.len() / 10));
        check("text", &tokens, context)?;
        check("heldOut", &held_out, context)?;
        Ok(Self { tokens, held_out, anchors, context, sequences: 1, full: 0.0, seed: 0, found: Map::new() })
    }
}

impl Course for Text {
    type State = Map<String, Value>;

    fn state(&self) -> Self::State {
        self.found.clone()
    }

    fn restore(&mut self, state: Self::State) {
        self.found = state;
    }

    fn batch(&mut self, step: u64) -> Result<Batch> {
        let mut random = Random::new(self.seed, step);
        let mask = if random.unit() < self.full { Mask::Full } else { Mask::Anchors { sinks: 0 } };
        let starts = (0..self.sequences).map(|_| random.below(self.tokens.len() - self.context));
        let windows: Vec<&[u32]> = starts.map(|start| &self.tokens[start..=start + self.context]).collect();
        Ok(batch(&windows, &self.anchors, mask))
    }

    fn learned(&mut self, batch: &Batch, first: &[u32]) -> f32 {
        let right = batch.answers.iter().zip(first).filter(|(answer, first)| answer == first).count();
        right as f32 / batch.answers.len().max(1) as f32
    }

    fn measure(&mut self, step: u64, net: &Net) -> Result<()> {
        let windows = spread(&self.held_out, self.context + 1, MEASURED);
        let masked = loss(net, &windows, &self.anchors, Mask::Anchors { sinks: 0 })?;
        let full = loss(net, &windows, &self.anchors, Mask::Full)?;
        let mut put = |key: &str, value: f64| drop(self.found.insert(key.into(), json!((value * 1e4).round() / 1e4)));
        if step == 0 {
            put("heldOutAtStart", masked);
            put("heldOutFullAtStart", full);
        }
        put("heldOut", masked);
        put("heldOutFull", full);
        Ok(())
    }

    fn note(&self) -> Map<String, Value> {
        self.found.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_ask_for_every_next_token() {
        let (one, two) = ([5, 9, 6, 7, 9], [9, 1, 2, 3, 4]);
        let batch = batch(&[&one, &two], &[9], Mask::Anchors { sinks: 1 });
        assert_eq!(batch.ids, [5, 9, 6, 7, 9, 1, 2, 3]);
        assert_eq!(batch.answers, [9, 6, 7, 9, 1, 2, 3, 4]);
        assert_eq!(batch.positions, [0, 1, 2, 3, 0, 1, 2, 3]);
        assert_eq!(batch.sees.columns(0, 3), [0, 1, 2, 3]);
        assert_eq!(batch.sees.columns(1, 3), [0, 1, 2, 3], "a pinned anchor ends nothing");
        let plain = super::batch(&[&one], &[6], Mask::Anchors { sinks: 0 });
        assert_eq!(plain.sees.columns(0, 3), [2, 3]);
    }

    #[test]
    fn a_text_must_be_as_long_as_a_window() {
        let error = Text::new((0..50).collect(), None, vec![], 8).unwrap_err();
        assert_eq!(error.details["option"], "heldOut", "a tenth of 50 tokens is no window of 9");
        for context in [0, 1] {
            let error = Text::new((0..50).collect(), None, vec![], context).unwrap_err();
            assert_eq!(error.details["option"], "context", "{error}");
        }
        assert_eq!(check("text", &[7; 8], usize::MAX).unwrap_err().details["option"], "text");
        let mut text = Text::new((0..100).collect(), None, vec![], 8).unwrap();
        assert_eq!((text.tokens.len(), text.held_out[0]), (90, 90));
        assert_eq!(text.batch(3).unwrap().ids, text.batch(3).unwrap().ids);
        assert_eq!(spread(&(0..100).collect::<Vec<_>>(), 9, 3).len(), 3);
    }
}
