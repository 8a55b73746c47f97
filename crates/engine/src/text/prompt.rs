use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// Who says a chat message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChatRole {
    /// Instructions.
    System,
    /// The person who asks.
    User,
    /// The model.
    Assistant,
}

/// One turn of a chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatMessage {
    /// Who says it.
    pub role: ChatRole,
    /// What is said; never parsed as special tokens.
    pub content: String,
}

/// What to read. In JSON: a string, a list of messages, `{ document, question, system? }` or
/// `{ tokens }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    /// Raw text to go on from, without a chat template.
    Text(String),
    /// A chat.
    Messages(Vec<ChatMessage>),
    /// A question about a document.
    Document {
        /// The text to read.
        document: String,
        /// What is asked of it.
        question: String,
        /// The system message, if any.
        system: Option<String>,
    },
    /// Token ids as they are.
    Tokens(Vec<u32>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DocumentForm {
    document: String,
    question: String,
    #[serde(default)]
    system: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokensForm {
    tokens: Vec<u32>,
}

// By hand, so that a mistake is reported where it is and not as "no form matches".
impl<'de> Deserialize<'de> for Prompt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        fn form<T: for<'a> Deserialize<'a>, E: serde::de::Error>(value: Value, at: &str) -> Result<T, E> {
            serde_json::from_value(value).map_err(|e| E::custom(format!("{at}{e}")))
        }
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self::Text(text)),
            Value::Array(messages) => {
                let message = |(i, value)| form(value, &format!("prompt[{i}]: "));
                Ok(Self::Messages(messages.into_iter().enumerate().map(message).collect::<Result<_, _>>()?))
            }
            value @ Value::Object(_) if value.get("tokens").is_some() => {
                Ok(Self::Tokens(form::<TokensForm, _>(value, "")?.tokens))
            }
            value @ Value::Object(_) => {
                let DocumentForm { document, question, system } = form(value, "")?;
                Ok(Self::Document { document, question, system })
            }
            _ => Err(D::Error::custom("it must be a string, a list of messages, { document, question } or { tokens }")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_form_is_read() {
        let read = |value| serde_json::from_value::<Prompt>(value).unwrap();
        assert_eq!(read(json!("a")), Prompt::Text("a".into()));
        assert_eq!(
            read(json!([{ "role": "user", "content": "a" }])),
            Prompt::Messages(vec![ChatMessage { role: ChatRole::User, content: "a".into() }])
        );
        assert_eq!(
            read(json!({ "document": "d", "question": "q" })),
            Prompt::Document { document: "d".into(), question: "q".into(), system: None }
        );
        assert_eq!(read(json!({ "tokens": [1, 2] })), Prompt::Tokens(vec![1, 2]));
    }

    #[test]
    fn mistakes_are_located() {
        let refused = |value| serde_json::from_value::<Prompt>(value).unwrap_err().to_string();
        assert!(
            refused(json!([{ "role": "user", "content": "a" }, { "role": "tool", "content": "" }]))
                .contains("prompt[1]")
        );
        assert!(refused(json!({ "document": "d" })).contains("question"));
        assert!(refused(json!({ "document": "d", "question": "q", "sytem": "s" })).contains("sytem"));
        assert!(refused(json!({ "tokens": [-1] })).contains("-1"));
        assert!(refused(json!(3)).contains("document, question"));
    }
}
