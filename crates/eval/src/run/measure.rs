use std::time::Duration;

use skimlm_core::{Code, LayerHeads, Report, Result};
use skimlm_engine::{
    Cancel, Control, DEFAULT_CHUNK, Event, Loaded, Request, SelectionData, Session, generate, peak_bytes, reset_peak,
};

use super::contender::{Chosen, Contender};
use super::prompt::ReadCase;
use crate::{Case, Family, Metric, Record, evidence_recall};

/// One case under one policy. What the policy or the model refuses is a record with an error; only a stop is an
/// error here.
pub(crate) fn measure(
    case: &Case,
    family: Option<Family>,
    contender: &Contender,
    reading: &ReadCase,
    loaded: &Loaded,
    cancel: &Cancel,
) -> Result<Record> {
    let mut record = Record::of(case, family, &contender.name);
    record.prompt_tokens = reading.assembled.rows.len();
    reset_peak(loaded.model.device());
    let measured = contender.on(case, reading, loaded).and_then(|chosen| {
        if case.metric == Metric::Unscored {
            continued(case, chosen, reading, loaded, cancel, &mut record)
        } else {
            answered(case, chosen, reading, loaded, cancel, &mut record)
        }
    });
    if let Err(error) = measured {
        if error.code == Code::Cancelled {
            return Err(error);
        }
        record.error = Some(error.to_string());
    }
    record.peak_bytes = Some(peak_bytes(loaded.model.device())).filter(|bytes| *bytes > 0);
    if contender.is_full() {
        everything(case, &mut record);
    }
    Ok(record)
}

/// Notes that the whole prompt is read.
pub(super) fn everything(case: &Case, record: &mut Record) {
    (record.kept, record.recall) = (Some(1.0), (!case.evidence.is_empty()).then_some(1.0));
    record.kept_tokens = Some(record.prompt_tokens);
}

/// The answer and its score.
fn answered(
    case: &Case,
    chosen: Chosen,
    reading: &ReadCase,
    loaded: &Loaded,
    cancel: &Cancel,
    record: &mut Record,
) -> Result<()> {
    let request = Request {
        policy: chosen.policy,
        force_indices: chosen.forced,
        max_new_tokens: case.max_new_tokens,
        all_scores: true,
        ..Request::new(reading.prompt.clone())
    };
    let mut selection: Option<SelectionData> = None;
    let mut keep = |event| {
        if let Event::Selection(data) = event {
            selection = Some(*data);
        }
    };
    let outcome = generate(loaded, &request, cancel, Duration::ZERO, &mut keep)?;
    cancel.check()?;
    let timings = outcome.timings;
    record.ttft_ms = Some(timings.ttft_ms);
    record.prefill_ms = Some(timings.filter_ms + timings.select_ms + timings.prefill_ms);
    record.score = case.metric.score(&outcome.text, &case.answers);
    record.answer = outcome.text;
    if let Some(selection) = selection {
        kept(case, &selection.indices, selection.heads.as_deref(), reading, record);
    }
    Ok(())
}

/// The loss of the continuation, teacher-forced.
fn continued(
    case: &Case,
    chosen: Chosen,
    reading: &ReadCase,
    loaded: &Loaded,
    cancel: &Cancel,
    record: &mut Record,
) -> Result<()> {
    let continuation = loaded.tokenizer.encode(case.continuation.as_deref().unwrap_or_default(), false)?;
    let mut session = Session::new(&*loaded.model, chosen.build(loaded)?, loaded.dtype)?;
    let headroom = continuation.len();
    let mut control = Control { cancel, progress: &mut |_| {}, chunk: DEFAULT_CHUNK, headroom };
    let started = std::time::Instant::now();
    let mut logits = session.prefill(reading.assembled.rows.clone(), &mut control)?;
    record.prefill_ms = Some(started.elapsed().as_secs_f64() * 1e3);
    let mut loss = 0.0;
    for (i, &id) in continuation.iter().enumerate() {
        loss += surprise(&logits, id);
        if i + 1 < continuation.len() {
            cancel.check()?;
            // With what is still to come, every step has the length that the prompt was read for.
            let headroom = headroom - i - 1;
            let mut control = Control { cancel, progress: &mut |_| {}, chunk: DEFAULT_CHUNK, headroom };
            logits = session.step(id, &mut control)?;
        }
    }
    record.loss = (!continuation.is_empty()).then(|| loss / continuation.len() as f64);
    if let Some(Report { indices, heads, .. }) = session.report() {
        kept(case, &indices, heads.as_deref(), reading, record);
    }
    Ok(())
}

/// How much of the prompt and of the evidence is left. Where heads keep different tokens: their mean.
pub(super) fn kept(
    case: &Case,
    indices: &[u32],
    heads: Option<&[LayerHeads]>,
    reading: &ReadCase,
    record: &mut Record,
) {
    let lists: Vec<&[u32]> = match heads {
        // A pass that narrows has in every layer at least what it ends with, and that is what it read. Where entries
        // are thrown away, `indices` is what any layer still has.
        Some(layers) if !layers.iter().all(|layer| narrows_to(&layer.heads, indices)) => {
            layers.iter().flat_map(|layer| &layer.heads).map(Vec::as_slice).collect()
        }
        _ => vec![indices],
    };
    let mean = |of: &dyn Fn(&[u32]) -> Option<f64>| {
        let values: Vec<f64> = lists.iter().filter_map(|list| of(list)).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    let all = record.prompt_tokens.max(1) as f64;
    record.kept = mean(&|list| Some(list.len() as f64 / all));
    record.kept_tokens = record.kept.map(|share| (share * all).round() as usize);
    record.recall = mean(&|list| evidence_recall(&case.evidence, &reading.bytes_of(list)));
}

/// Whether a layer of a pass that ends with `indices` can have kept these lists.
fn narrows_to(lists: &[Vec<u32>], indices: &[u32]) -> bool {
    matches!(lists, [list] if list.len() >= indices.len())
}

/// Negative log probability of `id`, in nats.
fn surprise(logits: &[f32], id: u32) -> f64 {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&l| f64::from(l - most).exp()).sum();
    sum.ln() - f64::from(logits.get(id as usize).copied().unwrap_or(f32::NEG_INFINITY) - most)
}

#[cfg(test)]
mod tests {
    use super::surprise;

    #[test]
    fn surprise_is_the_negative_log_probability() {
        assert!((surprise(&[0.0, 0.0], 1) - 2f64.ln()).abs() < 1e-12);
        let logits = [1000.0, 999.0];
        assert!((surprise(&logits, 0) - (1.0 + (-1f64).exp()).ln()).abs() < 1e-6);
        assert!((surprise(&logits, 1) - (1.0 + 1f64.exp()).ln()).abs() < 1e-6);
    }
}
