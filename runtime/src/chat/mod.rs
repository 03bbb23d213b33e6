//! Conversations to prompts, by the chat template that comes with a model.
//!
//! A template is a program written by whoever published the model, and messages are written by whoever talks to it; neither
//! is trusted. Templates run with limits on work, recursion and output, and can load nothing. Control tokens spelled in a
//! message stay text: [`Rendered`] remembers where they are, and
//! [`Tokenizer::encode_rendered`](crate::tokenizer::Tokenizer::encode_rendered) cuts them there.

mod clock;
mod environment;
mod guard;
mod json;
mod template;

pub use template::{ChatTemplate, RenderOptions};

/// Largest source of a template.
pub const MAX_TEMPLATE_BYTES: usize = 1 << 20;
/// Longest prompt that a template may write.
pub const MAX_OUTPUT_BYTES: usize = 8 << 20;
/// Most messages of a conversation.
pub const MAX_MESSAGES: usize = 10_000;

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant`, or what else the template knows: letters, digits, `_` and `-`.
    pub role: String,
    /// What was said.
    pub content: String,
}

impl Message {
    /// A message.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self {
            role: role.into(),
            content: content.into(),
        }
    }
}

/// A conversation as the template wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The prompt.
    pub(crate) text: String,
    /// Byte positions that no control token may span, ascending.
    pub(crate) guards: Vec<usize>,
}

impl Rendered {
    /// The prompt as text.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// Why a conversation cannot be rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChatError {
    /// The model has no template.
    #[error(
        "the model comes without a chat template, so it is probably not made for conversations; give it raw text to complete"
    )]
    NoTemplate,
    /// The file with the template cannot be read.
    #[error("{file}: {reason}")]
    Malformed {
        /// Which file.
        file: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// Several templates, none of which is the default.
    #[error("the model has several chat templates and none called `default`: {0}")]
    Ambiguous(String),
    /// The source is too large.
    #[error(
        "the chat template has {0} bytes, more than the {MAX_TEMPLATE_BYTES} that are accepted"
    )]
    TooLarge(usize),
    /// The template is not valid Jinja, or fails on this conversation.
    #[error("chat template, {}: {message}", at(.line))]
    Template {
        /// Line of the template.
        line: Option<usize>,
        /// What went wrong.
        message: String,
    },
    /// The template itself refuses the conversation (`raise_exception`).
    #[error("the chat template refuses this conversation ({}): {message}", at(.line))]
    Refused {
        /// Line of the template.
        line: Option<usize>,
        /// Its reason.
        message: String,
    },
    /// The template runs for too long.
    #[error("chat template, {}: it was stopped because it does too much work", at(.line))]
    TooMuchWork {
        /// Line of the template.
        line: Option<usize>,
    },
    /// The template writes too much.
    #[error("chat template, {}: it was stopped because it wrote more than {MAX_OUTPUT_BYTES} bytes", at(.line))]
    OutputTooLarge {
        /// Line of the template.
        line: Option<usize>,
    },
    /// A conversation without messages.
    #[error("the conversation is empty")]
    Empty,
    /// More messages than anybody writes.
    #[error("the conversation has {0} messages, more than the {MAX_MESSAGES} that are accepted")]
    TooManyMessages(usize),
    /// A role that could be mistaken for markup.
    #[error("{0:?} cannot be a role: 1 to 64 letters, digits, `_` or `-`")]
    BadRole(String),
}

fn at(line: &Option<usize>) -> String {
    line.map_or("unknown line".to_string(), |line| format!("line {line}"))
}
