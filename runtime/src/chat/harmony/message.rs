//! What a Harmony conversation is made of.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The frame: identity, date, effort, channels.
    System,
    /// Whoever built the application: instructions and tools. Most other formats call this the system message.
    Developer,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// The result of a call; the message's name is the tool's.
    Tool,
}

impl Role {
    /// The role's name in a header.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Developer => "developer",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }

    /// The role of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        [
            Self::System,
            Self::Developer,
            Self::User,
            Self::Assistant,
            Self::Tool,
        ]
        .into_iter()
        .find(|role| role.as_str() == name)
    }
}

/// How much the model thinks before it answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReasoningEffort {
    /// Little.
    Low,
    /// What models take for granted.
    #[default]
    Medium,
    /// Much.
    High,
}

impl fmt::Display for ReasoningEffort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        })
    }
}

/// Not an effort.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("reasoning effort is low, medium or high, not `{0}`")]
pub struct UnknownEffort(String);

impl FromStr for ReasoningEffort {
    type Err = UnknownEffort;

    fn from_str(name: &str) -> Result<Self, UnknownEffort> {
        [Self::Low, Self::Medium, Self::High]
            .into_iter()
            .find(|effort| effort.to_string() == name)
            .ok_or_else(|| UnknownEffort(name.to_string()))
    }
}

/// One message, header and content.
#[derive(Clone, Debug, PartialEq)]
pub struct HarmonyMessage {
    /// Who speaks.
    pub role: Role,
    /// Name behind the role; of a tool, its full name (`functions.get_weather`).
    pub name: Option<String>,
    /// To whom, if not to everybody: the tool that is called, or `assistant` for a tool's result.
    pub recipient: Option<String>,
    /// The channel.
    pub channel: Option<String>,
    /// What kind of content it is: `<|constrain|>json`, `code`.
    pub content_type: Option<String>,
    /// The content.
    pub content: Content,
}

impl HarmonyMessage {
    /// A message without name, recipient, channel and content type.
    pub fn new(role: Role, content: Content) -> Self {
        Self {
            role,
            name: None,
            recipient: None,
            channel: None,
            content_type: None,
            content,
        }
    }
}

/// The content of a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Text as it is.
    Text(String),
    /// The frame of a conversation.
    System(SystemContent),
    /// Instructions and tools.
    Developer(DeveloperContent),
}

/// The frame of a conversation. What is `None` or empty is left out.
#[derive(Clone, Debug, PartialEq)]
pub struct SystemContent {
    /// Who the model is.
    pub identity: Option<String>,
    /// Until when its training data reach: `2024-06`.
    pub knowledge_cutoff: Option<String>,
    /// Today: `2026-11-24`.
    pub current_date: Option<String>,
    /// How much it thinks.
    pub reasoning_effort: Option<ReasoningEffort>,
    /// Tools that the model was trained with, by name.
    pub tools: BTreeMap<String, ToolNamespace>,
    /// The channels.
    pub channels: Option<ChannelConfig>,
}

impl Default for SystemContent {
    fn default() -> Self {
        Self {
            identity: Some("You are ChatGPT, a large language model trained by OpenAI.".into()),
            knowledge_cutoff: Some("2024-06".into()),
            current_date: None,
            reasoning_effort: Some(ReasoningEffort::Medium),
            tools: BTreeMap::new(),
            channels: Some(ChannelConfig {
                valid: ["analysis", "commentary", "final"].map(String::from).into(),
                required: true,
            }),
        }
    }
}

/// Which channels the model may write to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelConfig {
    /// Their names.
    pub valid: Vec<String>,
    /// Whether each message must have one.
    pub required: bool,
}

/// Instructions and tools.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeveloperContent {
    /// What the model is to do.
    pub instructions: Option<String>,
    /// The application's tools, by name of their namespace.
    pub tools: BTreeMap<String, ToolNamespace>,
}

/// Tools under a common name.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolNamespace {
    /// The name; a call goes to `name.tool`.
    pub name: String,
    /// What they are for.
    pub description: Option<String>,
    /// The tools. Without any, the namespace itself is the tool.
    pub tools: Vec<Tool>,
}

impl ToolNamespace {
    /// The name of the namespace of an application's own functions.
    pub const FUNCTIONS: &'static str = "functions";

    /// An application's own functions.
    pub fn functions(tools: Vec<Tool>) -> Self {
        Self {
            name: Self::FUNCTIONS.into(),
            description: None,
            tools,
        }
    }
}

/// A function that the model may call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it does.
    #[serde(default)]
    pub description: String,
    /// JSON schema of its arguments.
    #[serde(default)]
    pub parameters: Option<Value>,
}
