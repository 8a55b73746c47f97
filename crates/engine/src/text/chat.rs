use std::io;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value, ValueKind};
use minijinja::{Environment, ErrorKind, context};
use minijinja_contrib::pycompat::unknown_method_callback;
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};
use skimlm_core::{Code, Error, Result};

use super::prompt::ChatMessage;

const NAME: &str = "chat_template";

/// A model's Jinja chat template, with what Hugging Face's templates take for granted.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos_token: String,
    eos_token: String,
}

impl ChatTemplate {
    /// Compiles a template. `ERR_CHAT_TEMPLATE` if it cannot be.
    pub fn new(source: &str, bos_token: &str, eos_token: &str) -> Result<Self> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|e| refused("cannot be read", &e))?);
        environment.set_unknown_method_callback(unknown_method_callback);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        environment.add_filter("tojson", tojson);
        environment.add_template_owned(NAME, plain_blocks(source)).map_err(|e| refused("cannot be read", &e))?;
        Ok(Self { environment, bos_token: bos_token.into(), eos_token: eos_token.into() })
    }

    /// The chat as the model expects it, ready to be answered if `add_generation_prompt`.
    /// `ERR_CHAT_TEMPLATE` if the template throws.
    pub fn render(&self, messages: &[ChatMessage], add_generation_prompt: bool) -> Result<String> {
        let template = self.environment.get_template(NAME).map_err(|e| refused("cannot be read", &e))?;
        template
            .render(context! {
                messages => Value::from(Serde(messages)),
                add_generation_prompt,
                bos_token => self.bos_token.as_str(),
                eos_token => self.eos_token.as_str(),
                // Templates ask `is not none`, so these are none and not undefined.
                tools => Value::from(()),
                documents => Value::from(()),
            })
            .map_err(|e| refused("failed", &e))
    }
}

/// What a list of messages comes to where the model has no template.
pub fn no_template() -> Error {
    let message = "The model has no chat template, and messages need one. Give a template with the option `chatTemplate`, or \
                   pass the prompt as a string.";
    Error::new(Code::ChatTemplate, message).with("option", "chatTemplate")
}

fn refused(how: &str, error: &minijinja::Error) -> Error {
    let line = error.line().map(|line| format!(" (line {line})")).unwrap_or_default();
    let said = error.detail().map_or_else(|| error.to_string(), String::from);
    Error::new(
        Code::ChatTemplate,
        format!("The chat template {how}: {said}{line}. Change the messages or give a template with the option `chatTemplate`."),
    )
    .with("option", "chatTemplate")
    .with("reason", said)
}

/// `{% generation %}` blocks only mark what a model learns from; they render as their content.
fn plain_blocks(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let Some(end) = rest[start..].find("%}").map(|end| start + end) else { break };
        let (open, close) = (&rest[..start], &rest[end..]);
        let inner = &rest[start + 2..end];
        let name = inner.trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+');
        out.push_str(open);
        out.push_str("{%");
        match name {
            "generation" => out.push_str(&inner.replace(name, "if true")),
            "endgeneration" => out.push_str(&inner.replace(name, "endif")),
            _ => out.push_str(inner),
        }
        out.push_str("%}");
        rest = &close[2..];
    }
    out.push_str(rest);
    out
}

fn raise_exception(message: String) -> Result<Value, minijinja::Error> {
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
}

fn strftime_now(format: String) -> Result<String, minijinja::Error> {
    jiff::fmt::strtime::format(&format, &jiff::Zoned::now())
        .map_err(|e| minijinja::Error::new(ErrorKind::InvalidOperation, format!("strftime_now({format:?}): {e}")))
}

/// JSON as Python writes it: nothing escaped for HTML, a space behind `,` and `:`.
fn tojson(value: Value, indent: Option<Value>, options: Kwargs) -> Result<Value, minijinja::Error> {
    let indent = indent.or(options.get("indent")?).filter(|value| value.kind() == ValueKind::Number);
    let _: Option<Value> = options.get("ensure_ascii")?;
    let _: Option<Value> = options.get("sort_keys")?;
    let _: Option<Value> = options.get("separators")?;
    options.assert_all_used()?;
    let json = match indent {
        Some(width) => {
            let spaces = " ".repeat(usize::try_from(width)?.min(16));
            write_json(&value, PrettyFormatter::with_indent(spaces.as_bytes()))
        }
        None => write_json(&value, Spaced),
    };
    json.map(Value::from_safe_string).map_err(|e| minijinja::Error::new(ErrorKind::BadSerialization, e.to_string()))
}

fn write_json(value: &Value, formatter: impl Formatter) -> io::Result<String> {
    let mut bytes = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut bytes, formatter))?;
    String::from_utf8(bytes).map_err(io::Error::other)
}

struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use super::super::prompt::ChatRole;
    use super::super::testing;
    use super::*;

    fn messages() -> Vec<ChatMessage> {
        vec![
            ChatMessage { role: ChatRole::System, content: "  be <brief>  ".into() },
            ChatMessage { role: ChatRole::User, content: "why?".into() },
        ]
    }

    fn render(source: &str) -> Result<String> {
        ChatTemplate::new(source, "<s>", "</s>")?.render(&messages(), true)
    }

    #[test]
    fn chatml() {
        let text = testing::chatml().render(&messages()[1..], true).unwrap();
        let expected =
            "<|im_start|>system\nhello world<|im_end|>\n<|im_start|>user\nwhy?<|im_end|>\n<|im_start|>assistant\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn speaks_the_dialect_of_hugging_face() {
        let source = "{{ bos_token }}{%- for m in messages %}\n    {%- if loop.index0 % 2 == 0 %}\n[{{ m['content'].strip() }}]\n    {% else %}\n{{ m.content | upper }}{{ eos_token }}\n    {% endif %}\n{% endfor %}{{ messages[1:] | length }}{{ 'a,b'.split(',')[-1] }}{% if tools is not none %}tools{% endif %}{% if x is defined %}x{% endif %}\n";
        assert_eq!(render(source).unwrap(), "<s>[be <brief>]\nWHY?</s>\n1b");
    }

    #[test]
    fn json_is_written_as_python_does() {
        assert_eq!(render("{{ messages[0].content | tojson }}").unwrap(), r#""  be <brief>  ""#);
        assert_eq!(render("{{ {'a': [1, 2], 'b': none} | tojson }}").unwrap(), r#"{"a": [1, 2], "b": null}"#);
        assert_eq!(render("{{ [1] | tojson(indent=4) }}").unwrap(), "[\n    1\n]");
    }

    #[test]
    fn the_time_is_known_and_a_bad_format_is_an_error() {
        let year: u32 = render("{{ strftime_now('%Y') }}").unwrap().parse().unwrap();
        assert!(year >= 2025);
        assert_eq!(render("{{ strftime_now('%!') }}").unwrap_err().code, Code::ChatTemplate);
    }

    #[test]
    fn generation_marks_are_transparent() {
        assert_eq!(render("a{%- generation -%} b {%- endgeneration %}{{ 'c' }}").unwrap(), "abc");
    }

    #[test]
    fn failures_carry_the_template_s_words() {
        for source in ["{{ raise_exception('roles must alternate') }}", "{% if", "{{ messages[7].content.x }}"] {
            let error = render(source).unwrap_err();
            assert_eq!((error.code, error.details["option"].as_str()), (Code::ChatTemplate, Some("chatTemplate")));
        }
        assert!(
            render("{{ raise_exception('roles must alternate') }}")
                .unwrap_err()
                .message
                .contains("roles must alternate")
        );
    }
}
