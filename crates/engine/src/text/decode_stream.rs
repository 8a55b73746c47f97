use std::sync::Arc;

use super::tokenizer::Tokenizer;

/// Turns tokens into text as they come. Characters that are spread over several tokens wait until
/// they are whole.
#[derive(Debug)]
pub struct DecodeStream {
    tokenizer: Arc<Tokenizer>,
    skip_special: bool,
    first: bool,
    pending: Vec<u8>,
}

impl DecodeStream {
    /// An empty stream. `skip_special` leaves control tokens out.
    pub fn new(tokenizer: Arc<Tokenizer>, skip_special: bool) -> Self {
        Self { tokenizer, skip_special, first: true, pending: Vec::new() }
    }

    /// The same behind a text that goes on: a space before the first word is part of it.
    pub fn going_on(self) -> Self {
        Self { first: false, ..self }
    }

    /// Adds a token and gives the characters that are whole now, if any. An id beyond the
    /// vocabulary has no text.
    pub fn push(&mut self, id: u32) -> Option<String> {
        self.pending.extend_from_slice(self.tokenizer.written(id, self.skip_special, &mut self.first));
        let text = take_whole(&mut self.pending);
        (!text.is_empty()).then_some(text)
    }

    /// Ends the stream: a character that never became whole is U+FFFD.
    pub fn finish(&mut self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.pending).into_owned();
        self.pending.clear();
        (!text.is_empty()).then_some(text)
    }
}

/// Takes all but an unfinished last character. Bytes that can be no character are U+FFFD.
fn take_whole(bytes: &mut Vec<u8>) -> String {
    let mut text = String::new();
    let mut taken = 0;
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        taken += chunk.valid().len();
        let invalid = chunk.invalid();
        let unfinished = taken + invalid.len() == bytes.len()
            && std::str::from_utf8(invalid).is_err_and(|e| e.error_len().is_none());
        if !invalid.is_empty() && !unfinished {
            text.push(char::REPLACEMENT_CHARACTER);
            taken += invalid.len();
        }
    }
    bytes.drain(..taken);
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing;
    use super::*;

    fn stream(tokenizer: &Arc<Tokenizer>, ids: &[u32]) -> (Vec<String>, Option<String>) {
        let mut stream = DecodeStream::new(Arc::clone(tokenizer), false);
        let parts = ids.iter().filter_map(|&id| stream.push(id)).collect();
        (parts, stream.finish())
    }

    proptest! {
        #[test]
        fn text_arrives_whole_and_without_replacements(text in testing::unicode()) {
            let tokenizer = testing::tokenizer();
            let ids = tokenizer.encode(&text, false).unwrap();
            let (parts, rest) = stream(&tokenizer, &ids);
            prop_assert_eq!(rest, None);
            prop_assert_eq!(parts.iter().all(|part| !part.is_empty()), true);
            prop_assert_eq!(parts.concat(), text);
        }

        #[test]
        fn any_tokens_stream_to_what_they_decode_to(ids in prop::collection::vec(0..testing::VOCAB, 0..60)) {
            let tokenizer = testing::tokenizer();
            let (parts, rest) = stream(&tokenizer, &ids);
            prop_assert_eq!(parts.concat() + &rest.unwrap_or_default(), tokenizer.decode(&ids, false).unwrap());
        }
    }

    #[test]
    fn an_emoji_waits_for_its_last_byte_and_a_torn_one_is_flushed() {
        let tokenizer = testing::tokenizer();
        let whale = "\u{1F40B}".bytes().map(|b| testing::byte_token(&tokenizer, b)).collect::<Vec<_>>();
        assert_eq!(stream(&tokenizer, &whale), (vec!["\u{1F40B}".into()], None));
        assert_eq!(stream(&tokenizer, &whale[..3]), (vec![], Some("\u{FFFD}".into())));
        let torn = [&whale[..2], &[testing::byte_token(&tokenizer, b'x')]].concat();
        assert_eq!(stream(&tokenizer, &torn), (vec!["\u{FFFD}x".into()], None));
    }

    #[test]
    fn control_tokens_are_left_out_on_request() {
        let tokenizer = testing::tokenizer();
        let mut stream = DecodeStream::new(Arc::clone(&tokenizer), true);
        assert_eq!(stream.push(tokenizer.end_tokens()[0]), None);
        assert_eq!(stream.push(u32::MAX), None);
        assert_eq!(stream.finish(), None);
    }
}
