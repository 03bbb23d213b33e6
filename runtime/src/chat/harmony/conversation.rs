//! A conversation as people hold it, put into Harmony's messages.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::{
    Content, DeveloperContent, HarmonyMessage, ReasoningEffort, Role, SystemContent, Tool,
    ToolNamespace,
};
use crate::chat::{ChatError, Message, clock};

/// What a model is told besides the messages.
#[derive(Clone, Debug, Default)]
pub struct ChatOptions {
    /// How much it thinks; `None` is medium.
    pub reasoning_effort: Option<ReasoningEffort>,
    /// Functions that it may call, as `functions.<name>`.
    pub tools: Vec<Tool>,
    /// Who the model is, instead of what it was trained to be.
    pub identity: Option<String>,
    /// What it takes for today; `None` is today.
    pub now: Option<SystemTime>,
}

impl ChatOptions {
    /// The first wish that only Harmony has words for.
    pub(crate) fn beyond_templates(&self) -> Option<&'static str> {
        [
            (self.reasoning_effort.is_some(), "reasoning effort"),
            (!self.tools.is_empty(), "tools (as far as Inferno knows)"),
            (
                self.identity.is_some(),
                "identity: say it in the system message",
            ),
        ]
        .into_iter()
        .find_map(|(wished, what)| wished.then_some(what))
    }
}

/// The frame, instructions and tools, and the messages without the reasoning that is no longer needed.
pub(crate) fn to_harmony(
    messages: &[Message],
    options: &ChatOptions,
) -> Result<Vec<HarmonyMessage>, ChatError> {
    if messages.is_empty() {
        return Err(ChatError::Empty);
    }
    let mut out = vec![HarmonyMessage::new(Role::System, frame(options))];
    let mut rest = messages;
    let mut developer = DeveloperContent::default();
    if let [first, others @ ..] = messages
        && matches!(first.role.as_str(), "system" | "developer")
    {
        developer.instructions = Some(first.content.clone()).filter(|text| !text.is_empty());
        rest = others;
    }
    if !options.tools.is_empty() {
        let functions = ToolNamespace::functions(options.tools.clone());
        developer.tools = BTreeMap::from([(functions.name.clone(), functions)]);
    }
    if developer != DeveloperContent::default() {
        out.push(HarmonyMessage::new(
            Role::Developer,
            Content::Developer(developer),
        ));
    }
    let answered = rest.iter().rposition(is_answer).unwrap_or(0);
    for (index, message) in rest.iter().enumerate() {
        let reasoning =
            message.channel.as_deref() == Some("analysis") && message.recipient.is_none();
        if !(reasoning && index < answered) {
            out.push(one(message)?);
        }
    }
    Ok(out)
}

fn frame(options: &ChatOptions) -> Content {
    let now = options.now.unwrap_or_else(SystemTime::now);
    let mut frame = SystemContent {
        current_date: Some(clock::strftime("%Y-%m-%d", now)),
        reasoning_effort: Some(options.reasoning_effort.unwrap_or_default()),
        ..SystemContent::default()
    };
    if options.identity.is_some() {
        frame.identity.clone_from(&options.identity);
    }
    Content::System(frame)
}

/// Whether the assistant's message ends a turn: the reasoning before it has done its work.
fn is_answer(message: &Message) -> bool {
    message.role == Role::Assistant.as_str()
        && matches!(message.channel.as_deref(), None | Some("final"))
        && message.recipient.is_none()
}

fn one(message: &Message) -> Result<HarmonyMessage, ChatError> {
    let role = Role::from_name(&message.role)
        .ok_or_else(|| ChatError::UnknownRole(message.role.chars().take(80).collect()))?;
    let content = match role {
        Role::System | Role::Developer => {
            return Ok(HarmonyMessage::new(
                Role::Developer,
                Content::Developer(DeveloperContent {
                    instructions: Some(message.content.clone()),
                    ..DeveloperContent::default()
                }),
            ));
        }
        Role::User | Role::Assistant | Role::Tool => Content::Text(message.content.clone()),
    };
    let channel = match (role, &message.channel) {
        // Conversations with other models know no channels.
        (Role::Assistant, None) => Some("final".to_string()),
        (_, channel) => channel.clone(),
    };
    Ok(HarmonyMessage {
        role,
        name: message.name.clone(),
        recipient: message.recipient.clone(),
        channel,
        content_type: message.content_type.clone(),
        content,
    })
}
