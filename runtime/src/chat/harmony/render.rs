//! Conversation → ids, as `openai-harmony` 0.0.8 has it: each piece of a header and each content is encoded by itself.

use super::message::{Content, DeveloperContent, HarmonyMessage, Role, SystemContent};
use super::{CONSTRAIN, Harmony, ToolNamespace, tools};
use crate::chat::{ChatError, MAX_MESSAGES, MAX_OUTPUT_BYTES};
use crate::tokenizer::Tokenizer;

/// What becomes of earlier reasoning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reasoning {
    /// It stays.
    Keep,
    /// Where the assistant's last message is an answer, the reasoning before the *first* answer goes: what
    /// `openai-harmony` does by default. (Reasoning between later answers stays; [`Engine::render`] drops that too, as the
    /// format's documentation asks.)
    ///
    /// [`Engine::render`]: crate::engine::Engine::render
    DropAnswered,
}

impl Harmony {
    /// The ids of a conversation and of the header with which `next` begins to speak.
    ///
    /// # Errors
    /// Too many messages or too much text; system content outside of a system message (and the like); a tool's message
    /// without its name; a tokenizer that fails.
    pub fn render(
        &self,
        tokenizer: &Tokenizer,
        messages: &[HarmonyMessage],
        next: Role,
        reasoning: Reasoning,
    ) -> crate::Result<Vec<u32>> {
        if messages.len() > MAX_MESSAGES {
            return Err(ChatError::TooManyMessages(messages.len()).into());
        }
        let text = |message: &HarmonyMessage| match &message.content {
            Content::Text(text) => text.len(),
            Content::System(_) | Content::Developer(_) => 0,
        };
        // Before anything is tokenized; what is composed below is counted there.
        if messages.iter().map(text).sum::<usize>() > MAX_OUTPUT_BYTES {
            return Err(ChatError::ConversationTooLong.into());
        }
        let dropped = match reasoning {
            Reasoning::Keep => 0,
            Reasoning::DropAnswered => answered(messages),
        };
        let mut writer = Writer {
            harmony: self,
            tokenizer,
            functions: offers_functions(messages),
            ids: Vec::new(),
            bytes: 0,
        };
        for (index, message) in messages.iter().enumerate() {
            if index < dropped && message.channel.as_deref() == Some("analysis") {
                continue;
            }
            writer.message(message)?;
        }
        writer.marker(self.start);
        writer.text(next.as_str())?;
        Ok(writer.ids)
    }
}

/// Up to which message reasoning is no longer needed.
fn answered(messages: &[HarmonyMessage]) -> usize {
    let is_final = |message: &HarmonyMessage| message.channel.as_deref() == Some("final");
    let last = messages
        .iter()
        .rev()
        .find(|message| message.role == Role::Assistant);
    if !last.is_some_and(is_final) {
        return 0;
    }
    messages.iter().position(is_final).unwrap_or(0)
}

/// Whether a developer message offers functions: then the system message says where calls of them go.
fn offers_functions(messages: &[HarmonyMessage]) -> bool {
    messages.iter().any(|message| match &message.content {
        Content::Developer(developer) => developer
            .tools
            .get(ToolNamespace::FUNCTIONS)
            .is_some_and(|namespace| !namespace.tools.is_empty()),
        _ => false,
    })
}

struct Writer<'a> {
    harmony: &'a Harmony,
    tokenizer: &'a Tokenizer,
    functions: bool,
    ids: Vec<u32>,
    /// Text so far.
    bytes: usize,
}

impl Writer<'_> {
    fn marker(&mut self, id: u32) {
        self.ids.push(id);
    }

    fn text(&mut self, text: &str) -> crate::Result<()> {
        self.bytes += text.len();
        if self.bytes > MAX_OUTPUT_BYTES {
            return Err(ChatError::ConversationTooLong.into());
        }
        self.ids.extend(self.tokenizer.encode(text)?);
        Ok(())
    }

    fn message(&mut self, message: &HarmonyMessage) -> crate::Result<()> {
        self.header(message)?;
        self.marker(self.harmony.message);
        let content = match &message.content {
            Content::Text(text) => text.clone(),
            Content::System(system) => {
                only_in(Role::System, message.role)?;
                self.system(system)?
            }
            Content::Developer(developer) => {
                only_in(Role::Developer, message.role)?;
                developer_text(developer)?
            }
        };
        self.text(&content)?;
        let call = message.role == Role::Assistant && message.recipient.is_some();
        self.marker(if call {
            self.harmony.call
        } else {
            self.harmony.end
        });
        Ok(())
    }

    fn header(&mut self, message: &HarmonyMessage) -> crate::Result<()> {
        self.marker(self.harmony.start);
        match (message.role, &message.name) {
            (Role::Tool, Some(name)) => self.text(name)?,
            (Role::Tool, None) => return Err(ChatError::NamelessTool.into()),
            (role, name) => {
                self.text(role.as_str())?;
                if let Some(name) = name {
                    self.text(&format!(":{name}"))?;
                }
            }
        }
        if let Some(recipient) = message.recipient.as_deref()
            && recipient != "all"
        {
            self.text(&format!(" to={recipient}"))?;
        }
        if let Some(channel) = &message.channel {
            self.marker(self.harmony.channel);
            self.text(channel)?;
        }
        match message.content_type.as_deref() {
            None => {}
            Some(content_type) => match content_type.strip_prefix(CONSTRAIN) {
                None => self.text(&format!(" {content_type}"))?,
                Some(rest) => {
                    self.text(" ")?;
                    self.marker(self.harmony.constrain);
                    self.text(rest)?;
                }
            },
        }
        Ok(())
    }

    fn system(&self, system: &SystemContent) -> Result<String, ChatError> {
        let mut sections = Vec::new();
        let mut top = Vec::new();
        top.extend(system.identity.clone());
        let dated =
            |what: &str, date: &Option<String>| date.as_ref().map(|date| format!("{what}: {date}"));
        top.extend(dated("Knowledge cutoff", &system.knowledge_cutoff));
        top.extend(dated("Current date", &system.current_date));
        if !top.is_empty() {
            sections.push(top.join("\n"));
        }
        if let Some(effort) = system.reasoning_effort {
            sections.push(format!("Reasoning: {effort}"));
        }
        if !system.tools.is_empty() {
            sections.push(tools::section(system.tools.values())?);
        }
        if let Some(channels) = &system.channels
            && !channels.valid.is_empty()
        {
            let mut line = format!("# Valid channels: {}.", channels.valid.join(", "));
            if channels.required {
                line += " Channel must be included for every message.";
            }
            if self.functions {
                line += "\nCalls to these tools must go to the commentary channel: 'functions'.";
            }
            sections.push(line);
        }
        Ok(sections.join("\n\n"))
    }
}

fn only_in(wanted: Role, role: Role) -> Result<(), ChatError> {
    if role == wanted {
        Ok(())
    } else {
        Err(ChatError::Misplaced {
            content: wanted.as_str(),
            role: role.as_str(),
        })
    }
}

fn developer_text(developer: &DeveloperContent) -> Result<String, ChatError> {
    let mut sections = Vec::new();
    if let Some(instructions) = &developer.instructions {
        sections.push("# Instructions".to_string());
        sections.push(instructions.clone());
    }
    if !developer.tools.is_empty() {
        sections.push(tools::section(developer.tools.values())?);
    }
    Ok(sections.join("\n\n"))
}
