//! The header of a message: read piece by piece, understood when it is complete, and made the best of when it is broken.

use super::{CONSTRAIN, Role};
use crate::chat::Message;

/// Names of the channels.
const ANALYSIS: &str = "analysis";
const COMMENTARY: &str = "commentary";
const FINAL: &str = "final";

/// No header is longer, in bytes: what goes on and on without `<|message|>` is text.
pub(super) const MAX_HEADER: usize = 512;
/// What a marker counts towards [`MAX_HEADER`].
const MARKER: usize = 8;

/// What a message is for, by its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The answer.
    Final,
    /// Thinking, not meant for the person.
    Reasoning,
    /// Words beside calls of tools, meant for the person.
    Commentary,
    /// Arguments for a tool.
    Call,
}

impl Kind {
    /// What a message is for. An unknown channel is taken for the answer, so that its words are seen.
    pub fn of(message: &Message) -> Self {
        if message.calls().is_some() {
            return Self::Call;
        }
        match message.channel.as_deref() {
            Some(ANALYSIS) => Self::Reasoning,
            Some(COMMENTARY) => Self::Commentary,
            _ => Self::Final,
        }
    }
}

/// A header that was understood, or what could be made of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Who speaks.
    pub role: Role,
    /// Of a tool, its name.
    pub name: Option<String>,
    /// To whom.
    pub recipient: Option<String>,
    /// The channel.
    pub channel: Option<String>,
    /// The kind of the content.
    pub content_type: Option<String>,
    /// It is not as the format has it: broken, of an unknown channel, or of a role that is not the model's.
    pub irregular: bool,
}

impl Header {
    /// The assistant's, without channel.
    pub(super) fn plain(channel: Option<&str>, irregular: bool) -> Self {
        Self {
            role: Role::Assistant,
            name: None,
            recipient: None,
            channel: channel.map(str::to_string),
            content_type: None,
            irregular,
        }
    }

    /// A message with this header and no content yet.
    pub fn message(self) -> Message {
        Message {
            role: self.role.as_str().into(),
            content: String::new(),
            name: self.name,
            recipient: self.recipient,
            channel: self.channel,
            content_type: self.content_type,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// The beginning.
    Open,
    /// `<|channel|>`
    Channel,
    /// `<|constrain|>`
    Constrain,
}

/// A header that is being written.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    /// The role, where it is known beforehand; else the first word is it.
    role: Option<Role>,
    /// Markers with the text behind each.
    parts: Vec<(Mark, String)>,
}

/// What a draft came to.
pub(super) struct Understood {
    pub(super) header: Header,
    /// Words in a broken header that are not part of its grammar.
    pub(super) text: String,
}

impl Draft {
    pub(super) fn new(role: Option<Role>) -> Self {
        Self {
            role,
            parts: vec![(Mark::Open, String::new())],
        }
    }

    pub(super) fn mark(&mut self, mark: Mark) {
        self.parts.push((mark, String::new()));
    }

    pub(super) fn push(&mut self, text: &str) {
        if let Some((_, last)) = self.parts.last_mut() {
            last.push_str(text);
        }
    }

    /// Whether it is too long for a header.
    pub(super) fn is_overlong(&self) -> bool {
        let size = |(_, text): &(Mark, String)| MARKER + text.len();
        self.parts.iter().map(size).sum::<usize>() > MAX_HEADER
    }

    /// Takes a role that is already written for given: the prompt's, which is not the model's text.
    pub(super) fn settle_role(&mut self) {
        if let Some((Mark::Open, text)) = self.parts.first_mut()
            && let Some(role) = Role::from_name(text.trim())
        {
            self.role = Some(role);
            text.clear();
        }
    }

    /// The header before `<|message|>`.
    pub(super) fn complete(&self) -> Understood {
        match self.parse() {
            Some(header) => Understood {
                header,
                text: String::new(),
            },
            None => self.salvage(),
        }
    }

    /// The header where something else than `<|message|>` came: the beginning of a header says nothing, anything else is
    /// text.
    pub(super) fn unfinished(&self) -> Option<Understood> {
        let begun = self.parts.iter().all(|(mark, text)| match mark {
            Mark::Open if self.role.is_some() => text.trim().is_empty(),
            Mark::Open => words_begin(text, &[Role::Assistant.as_str()]),
            Mark::Channel => words_begin(text, &[ANALYSIS, COMMENTARY, FINAL]),
            Mark::Constrain => text.split_whitespace().count() < 2,
        });
        (!begun).then(|| self.salvage())
    }

    /// Whether nothing was written.
    pub(super) fn is_blank(&self) -> bool {
        self.parts.len() == 1 && self.parts.iter().all(|(_, text)| text.trim().is_empty())
    }

    /// The grammar, `None` for a header that breaks it:
    /// `role [to=recipient] [<|channel|>name [to=recipient]] [<|constrain|>type]`, where a bare word may stand for the
    /// recipient and another behind it for the type.
    fn parse(&self) -> Option<Header> {
        let mut words: Vec<&str> = Vec::new();
        let (mut channel, mut content_type) = (None, None);
        let mut irregular = false;
        for (mark, text) in &self.parts {
            let rest = match mark {
                Mark::Open => text,
                Mark::Channel => {
                    let (name, rest) = channel_name(text);
                    if name.is_empty() || channel.is_some_and(|earlier| !is_known(earlier)) {
                        return None;
                    }
                    irregular |= channel.is_some();
                    channel = Some(name);
                    rest
                }
                Mark::Constrain if content_type.is_some() => return None,
                Mark::Constrain => {
                    let (name, rest) = first_word(text);
                    content_type = Some(format!("{CONSTRAIN}{name}"));
                    rest
                }
            };
            words.extend(rest.split_whitespace());
        }
        let (role, name) = self.take_role(&mut words)?;
        let recipient = match (words.as_slice(), &content_type) {
            ([], _) => None,
            ([word], None) if !word.starts_with("to=") && channel == Some(FINAL) => {
                content_type = Some((*word).to_string());
                None
            }
            ([word], _) => Some(recipient(word)?),
            ([word, kind], None) if !kind.starts_with("to=") => {
                content_type = Some((*kind).to_string());
                Some(recipient(word)?)
            }
            _ => return None,
        };
        let known = channel.is_none_or(is_known);
        Some(Header {
            role,
            name,
            recipient,
            channel: channel.map(str::to_string),
            content_type,
            irregular: irregular || !known || role != Role::Assistant,
        })
    }

    /// The role and, of a tool, its name; takes the words that say so.
    fn take_role(&self, words: &mut Vec<&str>) -> Option<(Role, Option<String>)> {
        if let Some(role) = self.role {
            if words.first() == Some(&role.as_str()) {
                words.remove(0);
            }
            return Some((role, None));
        }
        if words.is_empty() {
            return None;
        }
        let first = words.remove(0);
        match Role::from_name(first) {
            Some(Role::Tool) => Some((Role::Tool, Some(first.to_string()))),
            Some(role) => Some((role, None)),
            // `functions.get_weather to=assistant`: a tool is named instead of its role.
            None if !words.is_empty() => Some((Role::Tool, Some(first.to_string()))),
            None => None,
        }
    }

    /// Makes the best of a broken header: a known channel counts, all other words are text of the message.
    pub(super) fn salvage(&self) -> Understood {
        let mut channel = None;
        let mut text = String::new();
        for (mark, part) in &self.parts {
            let (name, rest) = match mark {
                Mark::Channel => channel_name(part),
                Mark::Open if self.role.is_none() => first_word(part),
                Mark::Open | Mark::Constrain => ("", part.as_str()),
            };
            match (mark, name) {
                (Mark::Channel, ANALYSIS | COMMENTARY | FINAL) => {
                    channel = Some(name);
                    text.push_str(rest);
                }
                (Mark::Open, "assistant") => text.push_str(rest),
                _ => text.push_str(part),
            }
        }
        Understood {
            header: Header::plain(channel, true),
            text: text.trim_start().to_string(),
        }
    }
}

fn is_known(channel: &str) -> bool {
    [ANALYSIS, COMMENTARY, FINAL].contains(&channel)
}

/// Behind `to=` anything may stand; without it only what could be a tool's name is one.
fn recipient(word: &str) -> Option<String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
    let name = word
        .strip_prefix("to=")
        .or_else(|| word.bytes().all(plain).then_some(word))?;
    (!name.is_empty()).then(|| name.to_string())
}

/// A channel's name and what follows it.
fn channel_name(text: &str) -> (&str, &str) {
    text.split_at(
        text.find(|c: char| c.is_whitespace() || c == '<')
            .unwrap_or(text.len()),
    )
}

/// The first word and what follows it.
fn first_word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()))
}

/// Whether a text is nothing but the beginning of one of these words, or such a word and a recipient.
fn words_begin(text: &str, expected: &[&str]) -> bool {
    let mut words = text.split_whitespace();
    let first = words.next().unwrap_or_default();
    expected.iter().any(|word| word.starts_with(first))
        && words.all(|word| word.starts_with("to=") || "to=".starts_with(word))
}
