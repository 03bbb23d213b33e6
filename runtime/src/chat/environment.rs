//! The Jinja of chat templates: what transformers offers them, and limits.

use std::time::SystemTime;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, Value};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::{ChatError, clock, json};

/// Instructions that any template may use; minijinja counts 64 bytes of produced data as one more.
const FUEL: u64 = 2_000_000;
/// Nesting of macro calls and recursive loops.
const RECURSION: usize = 100;

/// The name under which the template is compiled; errors are told apart from others by it.
pub(super) const NAME: &str = "chat_template";

/// `raise_exception` was called.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Raised(pub(super) String);

/// An environment with nothing but this template: no loader, so nothing can be included.
pub(super) fn compile(source: String) -> Result<Environment<'static>, ChatError> {
    let mut env = Environment::new();
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build();
    env.set_syntax(syntax.map_err(|error| ChatError::Template {
        line: None,
        message: error.to_string(),
    })?);
    env.set_recursion_limit(RECURSION);
    env.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    env.set_unknown_method_callback(unknown_method_callback);
    env.add_filter("tojson", json::tojson);
    env.add_function(
        "raise_exception",
        |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message.clone())
                .with_source(Raised(message)))
        },
    );
    env.add_template_owned(NAME, without_generation_tags(&source))
        .map_err(|error| ChatError::Template {
            line: error.line(),
            message: error
                .detail()
                .map_or_else(|| error.to_string(), str::to_string),
        })?;
    Ok(env)
}

/// Fuel for a conversation of this many bytes: templates look at messages a few times each.
pub(super) fn fuel(bytes: usize) -> u64 {
    FUEL + (bytes as u64).saturating_mul(2)
}

/// The clock of one rendering.
pub(super) fn strftime_now(now: SystemTime) -> Value {
    Value::from_function(move |format: String| clock::strftime(&format, now))
}

/// `{% generation %}` … `{% endgeneration %}` mark the assistant's words for training. They mean nothing here and become
/// `{% if true %}` … `{% endif %}`, whitespace control included.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(open) = rest.find("{%") {
        let (before, tag) = rest.split_at(open + 2);
        out.push_str(before);
        let Some(close) = tag.find("%}") else {
            rest = tag;
            break;
        };
        let inside = &tag[..close];
        let word = inside.trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+');
        match word {
            "generation" => out += &inside.replacen(word, "if true", 1),
            "endgeneration" => out += &inside.replacen(word, "endif", 1),
            _ => out += inside,
        }
        rest = &tag[close..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generation_tags_keep_their_whitespace_control() {
        let source =
            "a{%- generation -%}b{% endgeneration +%}{% if generation %}c{% endif %}{% unclosed";
        let expected = "a{%- if true -%}b{% endif +%}{% if generation %}c{% endif %}{% unclosed";
        assert_eq!(without_generation_tags(source), expected);
    }
}
