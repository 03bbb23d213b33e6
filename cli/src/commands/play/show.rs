//! An answer while it is written: the answer itself on standard output, everything beside it on standard error.

use std::io::{self, IsTerminal};

use inferno_runtime::chat::Message;
use inferno_runtime::engine::{Completion, Event};

use crate::args::ReasoningShown;
use crate::printer::Printer;

pub(super) struct Show {
    printer: Printer,
    reasoning: ReasoningShown,
    /// Tokens of the reasoning so far.
    thought: usize,
    /// Tokens since text was shown last: more of a character, or markers.
    silent: usize,
    /// Something stands on the present line of standard error.
    talking: bool,
    answered: bool,
}

impl Show {
    pub(super) fn new(printer: Printer, reasoning: ReasoningShown) -> Self {
        Self {
            printer,
            reasoning,
            thought: 0,
            silent: 0,
            talking: false,
            answered: false,
        }
    }

    pub(super) fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        match event {
            Event::Message(message) => self.begin(message),
            Event::Token(_) => self.silent += 1,
            Event::Text(piece) => {
                self.answered = true;
                self.printer.data(piece)?;
            }
            Event::Reasoning(piece) => {
                self.thought += std::mem::take(&mut self.silent);
                if self.reasoning == ReasoningShown::Show {
                    self.printer.aside_piece(piece);
                    self.talking = !piece.ends_with('\n');
                }
            }
            Event::Commentary(piece) | Event::Arguments(piece) => {
                self.printer.talk_piece(piece);
                self.talking = !piece.ends_with('\n');
            }
            _ => {}
        }
        Ok(())
    }

    fn begin(&mut self, message: &Message) {
        self.end_line();
        self.silent = 0;
        if let Some(tool) = message.calls() {
            self.printer.talk_piece(&format!("→ {tool} "));
            self.talking = true;
        }
    }

    /// Ends what was said beside the answer, and says how much was folded.
    fn end_line(&mut self) {
        if std::mem::take(&mut self.talking) {
            self.printer.talk_piece("\n");
        }
        let thought = std::mem::take(&mut self.thought);
        if thought > 0 && self.reasoning == ReasoningShown::Fold {
            self.printer
                .aside(&format!("[{thought} tokens of reasoning]"));
        }
    }

    pub(super) fn finish(mut self, completion: &Completion) -> io::Result<()> {
        self.end_line();
        // An answer that is only a call, or was cut off while thinking, leaves standard output empty.
        let silent = !self.answered && completion.messages.iter().any(|it| it.channel.is_some());
        if !silent && (!completion.text.ends_with('\n') || io::stdout().is_terminal()) {
            self.printer.data("\n")?;
        }
        if completion.irregular {
            self.printer.warning(
                "the model broke its own format, so text may be in the wrong place; what it wrote: /raw, or --json",
            );
        }
        Ok(())
    }
}
