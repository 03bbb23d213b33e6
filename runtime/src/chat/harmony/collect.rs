//! Steps of the parser, put together.

use super::{Harmony, Header, Kind, Parser, Step};
use crate::chat::Message;
use crate::tokenizer::Tokenizer;

/// Messages in the making.
#[derive(Clone, Debug, Default)]
pub(crate) struct Collector {
    messages: Vec<Message>,
}

impl Collector {
    /// A message begins.
    pub(crate) fn begin(&mut self, header: Header) {
        self.messages.push(header.message());
    }

    /// More of its content.
    pub(crate) fn text(&mut self, text: &str) {
        if let Some(message) = self.messages.last_mut() {
            message.content.push_str(text);
        }
    }

    /// What the message that was begun last is for.
    pub(crate) fn kind(&self) -> Option<Kind> {
        self.last().map(Kind::of)
    }

    /// The message that was begun last.
    pub(crate) fn last(&self) -> Option<&Message> {
        self.messages.last()
    }

    /// All messages.
    pub(crate) fn finish(self) -> Vec<Message> {
        self.messages
    }
}

impl Harmony {
    /// The messages in what a model wrote behind `<|start|>assistant`, and whether anything was not as the format has it.
    pub fn parse(self, tokenizer: &Tokenizer, ids: &[u32]) -> (Vec<Message>, bool) {
        let mut parser = Parser::new(self, tokenizer);
        let mut collector = Collector::default();
        let mut take = |steps: Vec<Step>| {
            for step in steps {
                match step {
                    Step::Begin(header) => collector.begin(header),
                    Step::Text(text) => collector.text(&text),
                    Step::End => {}
                }
            }
        };
        for &id in ids {
            take(parser.push(id));
        }
        take(parser.finish());
        (collector.finish(), parser.is_irregular())
    }
}
