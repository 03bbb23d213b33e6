//! Harmony: the conversation format of OpenAI's open-weight models.
//!
//! A message is `<|start|>` header `<|message|>` content `<|end|>`. The header names the role, and for the assistant the
//! *channel*: `analysis` (reasoning), `commentary` (calls of tools, and words beside them), `final` (the answer). An answer
//! ends with `<|return|>`, a call with `<|call|>`.
//!
//! Prompts are rendered to ids piece by piece, exactly as OpenAI's `openai-harmony` 0.0.8 does it; what people write is
//! encoded as ordinary text, so nothing in it can become a marker. Answers are read by [`Parser`], which goes by the ids of
//! the markers and has no errors: whatever a model writes becomes messages, and no word of it is lost.
//!
//! Whether a model speaks Harmony is seen from its tokenizer ([`Harmony::detect`]), never from its architecture.

mod builtin;
mod collect;
mod conversation;
mod header;
mod message;
mod parse;
mod render;
mod schema;
mod tools;

pub(crate) use collect::Collector;
pub use conversation::ChatOptions;
pub use header::{Header, Kind};
pub use message::{
    ChannelConfig, Content, DeveloperContent, HarmonyMessage, ReasoningEffort, Role, SystemContent,
    Tool, ToolNamespace,
};
pub use parse::{Parser, Step};
pub use render::Reasoning;

use crate::tokenizer::Tokenizer;

pub(crate) use conversation::to_harmony;

/// The ids of Harmony's markers in a tokenizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Harmony {
    /// `<|start|>`: a header begins.
    pub start: u32,
    /// `<|channel|>`: the channel's name follows.
    pub channel: u32,
    /// `<|constrain|>`: the kind of the content follows.
    pub constrain: u32,
    /// `<|message|>`: the content follows.
    pub message: u32,
    /// `<|end|>`: the message is over, the turn goes on.
    pub end: u32,
    /// `<|return|>`: the answer is over.
    pub ret: u32,
    /// `<|call|>`: a tool is called.
    pub call: u32,
    /// `<|endoftext|>`, where there is one: the text is over.
    pub end_of_text: Option<u32>,
}

/// The spelling of [`Harmony::constrain`], which also begins a content type.
pub(crate) const CONSTRAIN: &str = "<|constrain|>";

impl Harmony {
    /// The markers of a tokenizer that has all of them as control tokens.
    pub fn detect(tokenizer: &Tokenizer) -> Option<Self> {
        let id = |spelling| {
            tokenizer
                .token_id(spelling)
                .filter(|&id| tokenizer.is_control(id))
        };
        Some(Self {
            start: id("<|start|>")?,
            channel: id("<|channel|>")?,
            constrain: id(CONSTRAIN)?,
            message: id("<|message|>")?,
            end: id("<|end|>")?,
            ret: id("<|return|>")?,
            call: id("<|call|>")?,
            end_of_text: id("<|endoftext|>"),
        })
    }

    /// The tokens that end a turn: those that the model's files name (none: `<|endoftext|>`), and always `<|return|>` and
    /// `<|call|>`. Markers inside a turn are left out, whatever the files say: files that count `<|end|>` among the stop
    /// tokens would end every answer behind its reasoning.
    pub fn stops(&self, named: &[u32]) -> Vec<u32> {
        let inside = [
            self.start,
            self.channel,
            self.constrain,
            self.message,
            self.end,
        ];
        let mut stops: Vec<u32> = named
            .iter()
            .copied()
            .filter(|id| !inside.contains(id))
            .collect();
        if stops.is_empty() {
            stops.extend(self.end_of_text);
        }
        for id in [self.ret, self.call] {
            if !stops.contains(&id) {
                stops.push(id);
            }
        }
        stops
    }
}
