use crate::output::{Event, TextChunk};
use crate::text::{DecodeStream, StopMatcher};

/// Tokens on their way to text: bytes that are no character yet, text that may become a stop string.
pub(super) struct Stream {
    decoder: DecodeStream,
    pub(super) matcher: StopMatcher,
    ids: Vec<u32>,
    logprob: f32,
}

impl Stream {
    pub(super) fn new(decoder: DecodeStream, matcher: StopMatcher) -> Self {
        Self { decoder, matcher, ids: Vec::new(), logprob: 0.0 }
    }

    /// Takes a token; answers the stop string that it completed.
    pub(super) fn push(
        &mut self,
        id: u32,
        logprob: f32,
        all: &mut String,
        emit: &mut dyn FnMut(Event),
    ) -> Option<usize> {
        self.ids.push(id);
        self.logprob += logprob;
        let found = self.matcher.push(&self.decoder.push(id)?);
        self.deliver(found.text, all, emit);
        found.stop
    }

    pub(super) fn finish(&mut self, all: &mut String, emit: &mut dyn FnMut(Event)) {
        let mut rest = self.decoder.finish().map(|text| self.matcher.push(&text).text).unwrap_or_default();
        rest.push_str(&self.matcher.finish());
        self.deliver(rest, all, emit);
    }

    fn deliver(&mut self, text: String, all: &mut String, emit: &mut dyn FnMut(Event)) {
        if text.is_empty() {
            return;
        }
        all.push_str(&text);
        let (token_ids, logprob) = (std::mem::take(&mut self.ids), std::mem::take(&mut self.logprob));
        emit(Event::Text(TextChunk { text, token_ids, logprob }));
    }
}
