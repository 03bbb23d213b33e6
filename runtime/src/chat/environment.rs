//! The Jinja of chat templates: what transformers offers them, and limits.

use std::sync::Arc;
use std::thread;
use std::time::SystemTime;

use minijinja::machinery::{CompiledTemplate, TemplateConfig};
use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Value};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::{ChatError, bounds, clock, json};

/// Instructions that any template may use; minijinja counts 64 bytes of produced data as one more.
const FUEL: u64 = 500_000;
/// No conversation gives a template more.
const MOST_FUEL: u64 = 2_000_000;
/// Values nest at most as deep as fuel allows, and minijinja prints, compares and drops them by recursion: bytes of the stack
/// for a level (483 were measured).
const STACK_PER_FUEL: u64 = 512;
/// The stack of what does not nest.
const STACK: u64 = 2 << 20;
/// Nesting of macro calls and recursive loops.
const RECURSION: usize = 100;

/// The name under which the template is compiled; errors are told apart from others by it.
const NAME: &str = "chat_template";

/// `raise_exception` was called.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Raised(pub(super) String);

/// An environment without any template: no loader, so nothing can be included.
pub(super) fn environment() -> Environment<'static> {
    let mut env = Environment::new();
    env.set_recursion_limit(RECURSION);
    env.set_unknown_method_callback(unknown_method_callback);
    env.add_filter("tojson", json::tojson);
    env.add_function(
        "raise_exception",
        |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message.clone())
                .with_source(Raised(message)))
        },
    );
    bounds::install(&mut env);
    env
}

/// Compiles a source that [`prepare`] has seen.
pub(super) fn compile(source: &str) -> Result<CompiledTemplate<'_>, Error> {
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()?;
    let config = TemplateConfig {
        syntax_config: syntax,
        default_auto_escape: Arc::new(|_| AutoEscape::None),
    };
    let mut template = CompiledTemplate::new(NAME, source, &config)?;
    bounds::guard(&mut template);
    Ok(template)
}

/// The source as minijinja understands it.
pub(super) fn prepare(source: &str) -> String {
    without_generation_tags(source)
}

/// Fuel for a conversation: templates look at messages a few times each, and some copy the list for each message.
pub(super) fn fuel(messages: usize, bytes: usize) -> u64 {
    let (messages, bytes) = (messages as u64, bytes as u64);
    let copies = messages.saturating_mul(messages) / 64;
    (FUEL + 100 * messages + bytes / 8)
        .saturating_add(copies)
        .min(MOST_FUEL)
}

/// Runs something that a template may make recurse as deep as its fuel allows, on a stack that holds it.
///
/// # Errors
/// If the system has no room for the stack.
pub(super) fn with_deep_stack<T: Send>(
    fuel: u64,
    run: impl FnOnce() -> T + Send,
) -> Result<T, ChatError> {
    let failed = |message: String| ChatError::Template {
        line: None,
        message,
    };
    let bytes = usize::try_from(STACK + fuel * STACK_PER_FUEL).unwrap_or(usize::MAX);
    thread::scope(|scope| {
        let rendering = thread::Builder::new()
            .name("inferno-template".into())
            .stack_size(bytes)
            .spawn_scoped(scope, run)
            .map_err(|error| failed(format!("no thread with a stack of {bytes} bytes: {error}")))?;
        rendering
            .join()
            .map_err(|_| failed("the template engine panicked".into()))
    })
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
