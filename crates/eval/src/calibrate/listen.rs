use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use skimlm_core::{Evidence, Form, Heads, Pass, Policy, Queries, Result, Seen, Shape, Stage, Step};
use skimlm_engine::{Cancel, Control, DEFAULT_CHUNK, Loaded, Session};
use skimlm_kernels::select::{Edge, Pool, pool};
use skimlm_policies::{POOL, WINDOW, sentences};

use crate::Case;
use crate::run::prompt::ReadCase;

/// What every head of the early layers says of one case.
pub(super) struct Heard {
    /// The task, which is what cross-validation leaves out.
    pub(super) task: String,
    /// Tokens that hold evidence.
    pub(super) evidence: Vec<usize>,
    /// Whether a token is a plain part of the document.
    pub(super) document: Vec<bool>,
    /// The sentences of the prompt, in order and without gaps.
    pub(super) sentences: Vec<Range<usize>>,
    /// Pooled scores, `[layers][heads][tokens]`.
    pub(super) scores: Vec<Vec<Vec<f32>>>,
}

impl Heard {
    /// Tokens of the prompt.
    pub(super) fn len(&self) -> usize {
        self.document.len()
    }
}

/// Lets every head of the layers up to `last` score one case.
pub(super) fn listen(case: &Case, loaded: &Loaded, last: usize, cancel: &Cancel) -> Result<Heard> {
    let reading = ReadCase::new(case, loaded)?;
    let said = Arc::new(Mutex::new(Vec::new()));
    let listener = Listener { last, said: Arc::clone(&said) };
    let mut session = Session::new(&*loaded.model, Box::new(listener), loaded.dtype)?;
    let mut control = Control { cancel, progress: &mut |_| {}, chunk: DEFAULT_CHUNK, headroom: 0 };
    session.select(reading.assembled.rows.clone(), &mut control)?;
    let document: Vec<bool> = (0..reading.assembled.rows.len()).map(|i| reading.is_document(i)).collect();
    let raw = std::mem::take(&mut *said.lock().unwrap_or_else(PoisonError::into_inner));
    let smooth = |scores: &Vec<f32>| pool(scores, Pool::Avg { width: POOL, edge: Edge::Valid });
    let scores = raw.iter().map(|heads| heads.iter().map(smooth).collect::<Result<_, _>>());
    Ok(Heard {
        task: case.task.clone(),
        evidence: reading.tokens_of(&case.evidence).iter().map(|&token| token as usize).collect(),
        sentences: sentences(&reading.assembled.rows.tokens, &loaded.tokenizer.sentence_ends()),
        scores: scores.collect::<Result<_, _>>()?,
        document,
    })
}

/// Walks the layers up to `last` and writes down what each head says.
struct Listener {
    last: usize,
    said: Arc<Mutex<Vec<Vec<Vec<f32>>>>>,
}

impl Policy for Listener {
    fn begin(&mut self, prompt: Pass, _: &Shape) -> Result<Pass> {
        Ok(Pass { stage: Stage::Filter, layers: 0..self.last + 1, ..prompt })
    }

    fn evidence(&self, _: usize, _: &Pass) -> Evidence {
        Evidence::Scores { queries: Queries::Window(WINDOW), form: Form::Softmax, scale: None, heads: Heads::Each }
    }

    fn at_layer(&mut self, seen: Seen<'_>) -> Result<Step> {
        let heads = seen.scores.iter().map(|bank| bank.to_vec2::<f32>()).collect::<Result<Vec<_>, _>>()?;
        self.said.lock().unwrap_or_else(PoisonError::into_inner).push(heads.concat());
        Ok(if seen.layer == self.last { Step::stop() } else { Step::go_on() })
    }
}
