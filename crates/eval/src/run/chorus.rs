use skimlm_core::{Evidence, Flow, KvCache, Pass, Policy, Report, Result, Rows, Seen, Shape, Stage, Step, Visibility};
use skimlm_engine::{Cancel, Control, DEFAULT_CHUNK, Loaded, Session, walk};

/// What one of several policies made of a prompt.
pub(super) enum Answer {
    /// Its choice; none: it leaves everything.
    Done(Result<Option<Report>>),
    /// Another policy wanted something else of the same layer: ask again in another pass.
    Later,
    /// It changes the rows or the cache that others still need.
    Alone,
}

/// Lets policies choose in one filter pass, as deep as the deepest of them needs. What each hears is what it would
/// hear by itself, because nothing is dropped before the last has chosen.
pub(super) fn listen(
    policies: Vec<Box<dyn Policy>>,
    rows: &Rows,
    loaded: &Loaded,
    cancel: &Cancel,
) -> Result<Vec<Answer>> {
    let shape = loaded.model.shape();
    let mut chorus = Chorus { voices: policies.into_iter().map(|policy| Voice::new(policy, rows, shape)).collect() };
    if chorus.voices.iter().any(|voice| voice.heard.is_none()) {
        let mut cache = KvCache::new(shape, loaded.dtype, loaded.model.device(), 0)?;
        let pass = Pass { stage: Stage::Filter, rows: rows.clone(), layers: 0..shape.layers.len() };
        in_control(cancel, |control| walk(&*loaded.model, &mut cache, loaded.dtype, &mut chorus, pass, control))?;
    }
    Ok(chorus.voices.into_iter().map(|voice| voice.heard.unwrap_or(Answer::Alone)).collect())
}

/// Lets one policy choose by itself.
pub(crate) fn alone(policy: Box<dyn Policy>, rows: &Rows, loaded: &Loaded, cancel: &Cancel) -> Result<Option<Report>> {
    let mut session = Session::new(&*loaded.model, policy, loaded.dtype)?;
    in_control(cancel, |control| session.select(rows.clone(), control))
}

fn in_control<T>(cancel: &Cancel, work: impl FnOnce(&mut Control<'_>) -> T) -> T {
    work(&mut Control { cancel, progress: &mut |_| {}, chunk: DEFAULT_CHUNK, headroom: 0 })
}

struct Chorus {
    voices: Vec<Voice>,
}

struct Voice {
    policy: Box<dyn Policy>,
    /// The pass that it believes to be in.
    pass: Pass,
    heard: Option<Answer>,
}

impl Voice {
    fn new(mut policy: Box<dyn Policy>, rows: &Rows, shape: &Shape) -> Self {
        let mut prompt = Pass { stage: Stage::Prefill, rows: rows.clone(), layers: 0..shape.layers.len() };
        prompt.rows.tag_with(&mut *policy);
        let begun = policy.begin(prompt.clone(), shape);
        let pass = match begun {
            Ok(pass) => pass,
            Err(error) => return Self { policy, pass: prompt, heard: Some(Answer::Done(Err(error))) },
        };
        let mut layers = pass.layers.clone();
        let in_step = pass.rows == prompt.rows
            && policy.visibility() == Visibility::Causal
            && layers.any(|layer| policy.evidence(layer, &pass) != Evidence::None);
        let heard = match policy.report() {
            Some(report) => Some(Answer::Done(Ok(Some(report)))),
            None => (!in_step).then_some(Answer::Alone),
        };
        Self { policy, pass, heard }
    }

    fn evidence(&self, layer: usize) -> Evidence {
        let open = self.heard.is_none() && self.pass.layers.contains(&layer);
        if open { self.policy.evidence(layer, &self.pass) } else { Evidence::None }
    }

    fn hear(&mut self, seen: &Seen<'_>) {
        let own = Seen { layer: seen.layer, pass: &self.pass, cache: seen.cache, scores: seen.scores };
        self.heard = match self.policy.at_layer(own) {
            Err(error) => Some(Answer::Done(Err(error))),
            Ok(step) if step.flow == Flow::Continue && step.keep.is_empty() => None,
            // It changes the cache layer by layer.
            Ok(step) if step.flow == Flow::Continue => Some(Answer::Alone),
            Ok(_) => match self.policy.report() {
                Some(report) => Some(Answer::Done(Ok(Some(report)))),
                None => Some(Answer::Alone),
            },
        };
    }
}

impl Policy for Chorus {
    fn evidence(&self, layer: usize, _: &Pass) -> Evidence {
        let wanted = self.voices.iter().map(|voice| voice.evidence(layer));
        wanted.into_iter().find(|evidence| *evidence != Evidence::None).unwrap_or(Evidence::None)
    }

    fn at_layer(&mut self, seen: Seen<'_>) -> Result<Step> {
        let served = self.evidence(seen.layer, seen.pass);
        for voice in &mut self.voices {
            match voice.evidence(seen.layer) {
                Evidence::None => {}
                own if own == served => voice.hear(&seen),
                _ => voice.heard = Some(Answer::Later),
            }
        }
        let waiting = self.voices.iter().any(|voice| voice.heard.is_none());
        Ok(if waiting { Step::go_on() } else { Step::stop() })
    }
}
