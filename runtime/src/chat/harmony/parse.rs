//! What a model writes, token by token, as messages. There are no errors: see [`Parser`].

use super::header::{Draft, Mark, Understood};
use super::{Harmony, Header, Role};
use crate::tokenizer::{DecodeStream, Tokenizer};

/// Something that a token brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A message begins.
    Begin(Header),
    /// More of its content: whole characters, never empty.
    Text(String),
    /// It is over.
    End,
}

/// Reads tokens as messages.
///
/// It is *total*: any sequence of tokens becomes messages. A missing `<|start|>`, `<|message|>` or `<|end|>` is taken for
/// written; text where a header should be is the answer's, or belongs to the channel that the broken header still names.
/// Nothing that is not markup is lost. Whatever is not as the format has it makes the message, or the whole,
/// [irregular](Parser::is_irregular).
///
/// Markers are known by their ids. Text that spells them is text.
#[derive(Debug)]
pub struct Parser<'t> {
    harmony: Harmony,
    tokenizer: &'t Tokenizer,
    decoder: DecodeStream<'t>,
    state: State,
    irregular: bool,
}

#[derive(Debug)]
enum State {
    /// Before `<|start|>`.
    Between,
    Header(Draft),
    Content,
}

impl<'t> Parser<'t> {
    /// A parser for what follows a prompt that ends with `<|start|>assistant`.
    pub fn new(harmony: Harmony, tokenizer: &'t Tokenizer) -> Self {
        Self::in_state(
            harmony,
            tokenizer,
            State::Header(Draft::new(Some(Role::Assistant))),
        )
    }

    /// A parser for what follows this prompt; `None` if its end is no Harmony. The prompt may end anywhere in a message;
    /// the message whose content it begins has begun, and its header is given with the parser.
    pub fn after(
        harmony: Harmony,
        tokenizer: &'t Tokenizer,
        prompt: &[u32],
    ) -> Option<(Self, Option<Header>)> {
        let start = prompt.iter().rposition(|&id| id == harmony.start)?;
        let mut parser = Self::in_state(harmony, tokenizer, State::Between);
        let mut open = None;
        for &id in &prompt[start..] {
            for step in parser.push(id) {
                match step {
                    Step::Begin(header) => open = Some(header),
                    Step::Text(_) => {}
                    Step::End => open = None,
                }
            }
        }
        if let State::Header(draft) = &mut parser.state {
            draft.settle_role();
        }
        parser.irregular = false;
        Some((parser, open))
    }

    fn in_state(harmony: Harmony, tokenizer: &'t Tokenizer, state: State) -> Self {
        Self {
            harmony,
            tokenizer,
            decoder: tokenizer.stream(true).continuing(),
            state,
            irregular: false,
        }
    }

    /// Whether anything so far was not as the format has it.
    pub fn is_irregular(&self) -> bool {
        self.irregular
    }

    /// Takes a token.
    pub fn push(&mut self, id: u32) -> Vec<Step> {
        let mut steps = Vec::new();
        if !self.tokenizer.is_control(id) {
            let text = self.decoder.push(id);
            self.text(&text, &mut steps);
            return steps;
        }
        // A character cannot go on behind a marker.
        self.flush(&mut steps);
        let markers = self.harmony;
        if id == markers.start {
            self.close(&mut steps, true);
            self.state = State::Header(Draft::new(None));
        } else if id == markers.channel {
            self.channel(&mut steps);
        } else if id == markers.constrain {
            match &mut self.state {
                State::Header(draft) => draft.mark(Mark::Constrain),
                State::Between | State::Content => self.irregular = true,
            }
        } else if id == markers.message {
            self.message(&mut steps);
        } else if [markers.end, markers.ret, markers.call].contains(&id) {
            self.irregular |= matches!(self.state, State::Between);
            self.close(&mut steps, false);
        } else {
            self.irregular = true;
            // What stands behind it is another word: else it would be lost with the header's last one.
            if let State::Header(draft) = &mut self.state {
                draft.push(" ");
            }
        }
        self.watch_length(&mut steps);
        steps
    }

    /// The end of the tokens. The parser then is as if a message were over. A header that was cut off is nobody's mistake.
    pub fn finish(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        self.flush(&mut steps);
        let before = self.irregular;
        self.close(&mut steps, false);
        if steps.is_empty() {
            self.irregular = before;
        }
        steps
    }

    fn flush(&mut self, steps: &mut Vec<Step>) {
        let rest = self.decoder.finish();
        self.text(&rest, steps);
    }

    fn text(&mut self, text: &str, steps: &mut Vec<Step>) {
        if text.is_empty() {
            return;
        }
        match &mut self.state {
            State::Content => steps.push(Step::Text(text.to_string())),
            State::Header(draft) => draft.push(text),
            State::Between => {
                let mut draft = Draft::new(Some(Role::Assistant));
                draft.push(text);
                self.state = State::Header(draft);
                self.irregular |= !text.trim().is_empty();
            }
        }
        self.watch_length(steps);
    }

    /// A header that does not end is none.
    fn watch_length(&mut self, steps: &mut Vec<Step>) {
        if let State::Header(draft) = &self.state
            && draft.is_overlong()
        {
            let understood = draft.salvage();
            self.begin(understood, steps);
        }
    }

    fn channel(&mut self, steps: &mut Vec<Step>) {
        if !matches!(self.state, State::Header(_)) {
            self.close(steps, true);
            self.irregular = true;
            self.state = State::Header(Draft::new(Some(Role::Assistant)));
        }
        if let State::Header(draft) = &mut self.state {
            draft.mark(Mark::Channel);
        }
    }

    fn message(&mut self, steps: &mut Vec<Step>) {
        match &self.state {
            State::Header(draft) => {
                let understood = draft.complete();
                self.begin(understood, steps);
            }
            State::Between => self.begin(
                Understood {
                    header: Header::plain(None, true),
                    text: String::new(),
                },
                steps,
            ),
            State::Content => self.irregular = true,
        }
    }

    fn begin(&mut self, understood: Understood, steps: &mut Vec<Step>) {
        self.irregular |= understood.header.irregular;
        steps.push(Step::Begin(understood.header));
        if !understood.text.is_empty() {
            steps.push(Step::Text(understood.text));
        }
        self.state = State::Content;
    }

    /// Ends the message that is being written, if one is; `early` if its end is missing.
    fn close(&mut self, steps: &mut Vec<Step>, early: bool) {
        match &self.state {
            State::Between => {}
            State::Content => {
                self.irregular |= early;
                steps.push(Step::End);
            }
            State::Header(draft) => {
                self.irregular |= !draft.is_blank();
                if let Some(understood) = draft.unfinished() {
                    self.begin(understood, steps);
                    steps.push(Step::End);
                }
            }
        }
        self.state = State::Between;
    }
}
