//! Conversations to prompts, by the chat template that comes with a model or, for models that speak it, in [`harmony`].
//!
//! A template is a program written by whoever published the model, and messages are written by whoever talks to it; neither
//! is trusted. Templates run with limits on work, recursion and output, and can load nothing. Control tokens spelled in a
//! message stay text: [`Rendered`] remembers where they are, and
//! [`Tokenizer::encode_rendered`](crate::tokenizer::Tokenizer::encode_rendered) cuts them there.

mod bounds;
mod clock;
mod environment;
mod guard;
pub mod harmony;
mod json;
mod template;

pub use harmony::ChatOptions;
pub use template::{ChatTemplate, RenderOptions};

use serde::{Deserialize, Serialize};

/// Largest source of a template.
pub const MAX_TEMPLATE_BYTES: usize = 1 << 20;
/// Longest prompt that a template may write.
pub const MAX_OUTPUT_BYTES: usize = 8 << 20;
/// Most messages of a conversation.
pub const MAX_MESSAGES: usize = 10_000;

/// One message of a conversation.
///
/// Chat templates see role and content. The rest belongs to [`harmony`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant`, or what else the template knows: letters, digits, `_` and `-`.
    pub role: String,
    /// What was said.
    pub content: String,
    /// Name behind the role; of a tool, its full name (`functions.get_weather`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// To whom: the tool that is called, or `assistant` for a tool's result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// Channel: `analysis`, `commentary` or `final`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// Kind of the content: `<|constrain|>json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
}

impl Message {
    /// A message.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self {
            role: role.into(),
            content: content.into(),
            ..Self::default()
        }
    }

    /// The tool that the message calls, if it calls one.
    pub fn calls(&self) -> Option<&str> {
        let everybody = ["all", "user", "assistant"];
        self.recipient
            .as_deref()
            .filter(|to| self.role == "assistant" && !everybody.contains(to))
    }

    /// The result of a call of `tool`, for the assistant.
    pub fn tool_result(tool: impl Into<String>, content: impl Into<String>) -> Self {
        Self {
            name: Some(tool.into()),
            recipient: Some("assistant".into()),
            channel: Some("commentary".into()),
            ..Self::new("tool", content)
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
    /// A role that Harmony does not have.
    #[error("{0:?} is no role of this model: system, developer, user, assistant or tool")]
    UnknownRole(String),
    /// More text than a prompt may have.
    #[error("the conversation has more than {MAX_OUTPUT_BYTES} bytes of text")]
    ConversationTooLong,
    /// A tool's message that does not say which tool.
    #[error("a tool's message needs the tool's name")]
    NamelessTool,
    /// Content of a system or developer message in another one.
    #[error("a message of role `{role}` cannot have the content of a {content} message")]
    Misplaced {
        /// Whose content it is.
        content: &'static str,
        /// Who speaks.
        role: &'static str,
    },
    /// Arguments that no tool has.
    #[error("tool `{0}`: the schema of its arguments is nested too deeply")]
    SchemaTooDeep(String),
    /// A list of tools that is none.
    #[error("this is no list of tools: {0}")]
    BadTools(String),
    /// A wish that this model's format has no words for.
    #[error("this model's chat format has no {0}")]
    NotInFormat(&'static str),
}

fn at(line: &Option<usize>) -> String {
    line.map_or("unknown line".to_string(), |line| format!("line {line}"))
}
