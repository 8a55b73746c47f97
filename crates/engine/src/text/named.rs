//! Tokens by what they say, for policies that know ids only.

use skimlm_core::{Error, Result};
use skimlm_policies::PolicySpec;

use super::sentences::ends_sentence;
use super::tokenizer::Tokenizer;

/// The rule for tokens that end a sentence.
const SENTENCE: &str = "sentence";

/// The token ids that a policy's rule means, ascending; none if it has no rule.
///
/// `sentence` means every token whose text ends a sentence, white space and closing quotes behind it not
/// counted. Any other rule is the text of a token, white space around it not counted. `ERR_INVALID_ARG` if
/// the model has no such token.
pub fn named_tokens(policy: &PolicySpec, tokenizer: &Tokenizer) -> Result<Vec<u32>> {
    let Some((option, rule)) = policy.token_rule()? else { return Ok(Vec::new()) };
    let wanted = rule.trim();
    let fits = |text: &str| match wanted {
        SENTENCE => ends_sentence(text),
        text_of_token => !text_of_token.is_empty() && text.trim() == text_of_token,
    };
    let text = |id: u32| String::from_utf8_lossy(tokenizer.token_bytes(id));
    let ids: Vec<u32> = (0..tokenizer.vocab_size() as u32).filter(|&id| fits(&text(id))).collect();
    if ids.is_empty() {
        let expected = "`sentence`, a list of token ids, or the text of a token of this model";
        return Err(Error::invalid_option(option, rule, expected));
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::json_vocab::Declared;
    use super::*;

    fn tokenizer() -> Tokenizer {
        let words = ["a", ".", "\u{120}.", "?\"", ".\u{10a}", "\u{120}<AC>", "3.5", "!", "-"];
        let vocab: serde_json::Map<String, serde_json::Value> =
            words.iter().enumerate().map(|(id, word)| ((*word).to_owned(), id.into())).collect();
        let json = json!({ "decoder": { "type": "ByteLevel" }, "model": { "type": "BPE", "vocab": vocab } });
        Tokenizer::from_json(json.to_string().as_bytes(), Declared::default()).unwrap()
    }

    fn named(anchors: serde_json::Value) -> Result<Vec<u32>> {
        named_tokens(&PolicySpec::parse(&json!({ "kind": "anllm", "anchors": anchors })).unwrap(), &tokenizer())
    }

    #[test]
    fn rules_become_ids() {
        assert_eq!(named(json!("sentence")).unwrap(), [1, 2, 3, 4, 7]);
        assert_eq!(named(json!("<AC>")).unwrap(), [5]);
        assert!(named(json!([1, 2])).unwrap().is_empty());
        for unknown in ["<ac>", "", " "] {
            assert_eq!(named(json!(unknown)).unwrap_err().details["option"], "policy.anchors");
        }
        let full = PolicySpec::default();
        assert!(named_tokens(&full, &tokenizer()).unwrap().is_empty());
    }
}
