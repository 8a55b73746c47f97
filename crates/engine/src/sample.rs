//! From logits to a token.

use std::hash::{BuildHasher, Hasher, RandomState};

use candle_core::Tensor;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde::{Deserialize, Serialize};
use skimlm_core::{Code, Error, Result};
use skimlm_kernels::logits::{Top, top, top_of};

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

/// Chooses tokens.
///
/// In this order: repetition penalty, temperature, top k, top p, min p. Of equal logits the lower
/// id counts as more likely. The generator is ChaCha with 8 rounds, keyed by the seed, and each
/// token takes 64 bits of it, so a seed gives the same tokens on every machine that computes the
/// same logits.
#[derive(Debug, Clone)]
pub struct Sampler {
    sampling: Sampling,
    seed: u64,
    random: ChaCha8Rng,
    candidates: Vec<Candidate>,
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    id: u32,
    weight: f64,
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
        Ok(Self { sampling, seed, random: ChaCha8Rng::from_seed(key), candidates: Vec::new() })
    }

    /// The seed in use.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// A token and its log probability.
    ///
    /// `logits` `[vocab]` are overwritten. `recent` are the tokens that the repetition penalty
    /// applies to, each once. The log probability (natural) is the model's own: before penalty,
    /// temperature and cuts. `ERR_NUMERICS` for NaN or infinity.
    pub fn next(&mut self, logits: &mut [f32], recent: &[u32]) -> Result<(u32, f32)> {
        let top = top(logits).map_err(no_choice)?;
        // Only as many logits as the penalty touches are kept aside.
        let raw: Vec<(usize, f32)> = self.penalize(logits, recent);
        let id = match self.sampling.temperature {
            0.0 if raw.is_empty() => top.index,
            0.0 => argmax(logits).unwrap_or(top.index),
            _ => self.draw(logits),
        };
        let logit = raw.iter().find(|(touched, _)| *touched == id).map_or(logits[id], |(_, logit)| *logit);
        Ok((id as u32, (f64::from(logit) - top.log_sum) as f32))
    }

    /// [`Sampler::next`] of logits where they are. Of a GPU's nothing but the answer is read, if it is the most likely
    /// token as the model has it.
    pub(crate) fn next_of(&mut self, logits: &Tensor, recent: &[u32]) -> Result<(u32, f32)> {
        if self.is_plain() {
            return taken(top_of(logits));
        }
        self.next(&mut logits.flatten_all()?.to_vec1()?, recent)
    }

    /// Whether the most likely token is taken, as the model has it: no other logit matters.
    pub(crate) fn is_plain(&self) -> bool {
        self.sampling.temperature == 0.0 && self.sampling.repetition_penalty == 1.0
    }

    /// Applies the repetition penalty and gives what the logits were that it changed.
    fn penalize(&self, logits: &mut [f32], recent: &[u32]) -> Vec<(usize, f32)> {
        let penalty = self.sampling.repetition_penalty;
        if penalty == 1.0 {
            return Vec::new();
        }
        let mut ids: Vec<usize> = recent.iter().map(|&id| id as usize).filter(|&id| id < logits.len()).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.into_iter()
            .map(|id| {
                let raw = logits[id];
                let changed = if raw > 0.0 { f64::from(raw) / penalty } else { f64::from(raw) * penalty };
                logits[id] = changed.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32;
                (id, raw)
            })
            .collect()
    }

    fn draw(&mut self, logits: &[f32]) -> usize {
        let Sampling { temperature, top_k, top_p, min_p, .. } = self.sampling;
        let top = logits.iter().copied().fold(f32::MIN, f32::max);
        // Relative to the most likely token, which has weight 1.
        let weights = logits.iter().map(|&logit| ((f64::from(logit) - f64::from(top)) / temperature).exp());
        self.candidates.clear();
        self.candidates.extend((0..).zip(weights).map(|(id, weight)| Candidate { id, weight }));
        let candidates = &mut self.candidates;
        let likelier = |a: &Candidate, b: &Candidate| b.weight.total_cmp(&a.weight).then(a.id.cmp(&b.id));
        if let Some(k) = top_k.map(|k| k as usize).filter(|&k| k < candidates.len()) {
            candidates.select_nth_unstable_by(k - 1, likelier);
            candidates.truncate(k);
        }
        if top_p < 1.0 {
            let total: f64 = candidates.iter().map(|candidate| candidate.weight).sum();
            // Those below this have less than `1 - top_p` together: the cut lies before them, and
            // sorting the few that are left is cheap.
            let least = total * (1.0 - top_p) / candidates.len() as f64;
            candidates.retain(|candidate| candidate.weight >= least.min(1.0));
            candidates.sort_unstable_by(likelier);
            let mut mass = 0.0;
            let cut = candidates.iter().position(|candidate| {
                mass += candidate.weight;
                mass >= top_p * total
            });
            candidates.truncate(cut.map_or(candidates.len(), |cut| cut + 1));
        }
        candidates.retain(|candidate| candidate.weight >= min_p);
        // Order decides who the random number hits; it must not depend on how candidates were cut.
        candidates.sort_unstable_by_key(|candidate| candidate.id);
        let total: f64 = candidates.iter().map(|candidate| candidate.weight).sum();
        let mut left = (self.random.next_u64() >> 11) as f64 / (1u64 << 53) as f64 * total;
        let hit = candidates.iter().find(|candidate| {
            left -= candidate.weight;
            left < 0.0
        });
        hit.or(candidates.last()).map_or(0, |candidate| candidate.id as usize)
    }
}

/// The most likely token and its log probability.
pub(crate) fn taken(top: skimlm_kernels::Result<Top>) -> Result<(u32, f32)> {
    let top = top.map_err(no_choice)?;
    Ok((top.index as u32, (f64::from(top.value) - top.log_sum) as f32))
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

/// The first of the largest.
fn argmax(values: &[f32]) -> Option<usize> {
    let mut best: Option<(usize, f32)> = None;
    for (index, &value) in values.iter().enumerate() {
        if best.is_none_or(|(_, most)| value > most) {
            best = Some((index, value));
        }
    }
    best.map(|(index, _)| index)
}

#[cfg(test)]
mod tests;
