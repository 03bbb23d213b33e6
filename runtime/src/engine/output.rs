//! Tokens → text: whole characters only, nothing of a stop string, and each channel by itself.

use std::ops::ControlFlow;

use super::generate::{Completion, Event, FinishReason};
use crate::chat::Message;
use crate::chat::harmony::{Collector, Harmony, Kind, Parser, Step};
use crate::sampling::{Sampled, SamplingParams};
use crate::stop::StopMatcher;
use crate::tokenizer::{DecodeStream, Tokenizer};

type OnEvent<'a> = dyn FnMut(Event<'_>) -> ControlFlow<()> + 'a;

/// How tokens are read.
enum Reader<'t> {
    /// All text is the answer.
    Plain(DecodeStream<'t>),
    Harmony(Box<Parser<'t>>),
}

/// Turns tokens into a [`Completion`]'s text and messages.
pub(super) struct Output<'t> {
    reader: Reader<'t>,
    /// Stop strings end the answer, not the thinking before it.
    stop: StopMatcher,
    collector: Collector,
}

impl<'t> Output<'t> {
    /// For what follows a prompt: read as Harmony if the prompt ends with an open message of it.
    pub(super) fn after(
        harmony: Option<Harmony>,
        tokenizer: &'t Tokenizer,
        prompt: &[u32],
        stop: &[String],
    ) -> Self {
        let mut collector = Collector::default();
        let parser = harmony.and_then(|harmony| Parser::after(harmony, tokenizer, prompt));
        let reader = match parser {
            None => Reader::Plain(tokenizer.stream(true)),
            Some((parser, open)) => {
                if let Some(header) = open {
                    collector.begin(header);
                }
                Reader::Harmony(Box::new(parser))
            }
        };
        Self {
            reader,
            stop: StopMatcher::new(stop),
            collector,
        }
    }

    /// Takes a token; gives why the answer ends with it, if it does.
    pub(super) fn take(
        &mut self,
        sampled: Sampled,
        params: &SamplingParams,
        answer: &mut Completion,
        on_event: &mut OnEvent<'_>,
    ) -> Option<FinishReason> {
        let mut flow = on_event(Event::Token(&sampled));
        let steps = match &mut self.reader {
            Reader::Plain(decoder) => vec![Step::Text(decoder.push(sampled.token))],
            Reader::Harmony(parser) => parser.push(sampled.token),
        };
        if params.logprobs.is_some() {
            answer.logprobs.push(sampled);
        }
        self.steps(steps, answer, &mut unless_broken(&mut flow, on_event));
        if self.stop.stopped().is_some() {
            return Some(FinishReason::Stop);
        }
        flow.is_break().then_some(FinishReason::Cancelled)
    }

    /// The answer is over: what was held back is text.
    pub(super) fn finish(mut self, answer: &mut Completion, on_event: &mut OnEvent<'_>) {
        let steps = match &mut self.reader {
            Reader::Plain(decoder) => vec![Step::Text(decoder.finish())],
            Reader::Harmony(parser) => parser.finish(),
        };
        let ended_by_string = self.stop.stopped().is_some();
        if !ended_by_string {
            self.steps(steps, answer, on_event);
            self.release(answer, on_event);
        }
        match self.reader {
            Reader::Plain(_) => {
                answer.messages = vec![Message::new("assistant", answer.text.as_str())];
            }
            Reader::Harmony(parser) => {
                answer.irregular = parser.is_irregular();
                let called = self.collector.kind() == Some(Kind::Call);
                if called && answer.finish_reason == FinishReason::Stop {
                    answer.finish_reason = FinishReason::Call;
                }
                answer.messages = self.collector.finish();
            }
        }
    }

    fn steps(&mut self, steps: Vec<Step>, answer: &mut Completion, on_event: &mut OnEvent<'_>) {
        for step in steps {
            match step {
                Step::Begin(header) => {
                    self.collector.begin(header);
                    if let Some(message) = self.collector.last() {
                        let _ = on_event(Event::Message(message));
                    }
                }
                Step::Text(text) => self.text(&text, answer, on_event),
                Step::End => self.release(answer, on_event),
            }
        }
    }

    fn text(&mut self, text: &str, answer: &mut Completion, on_event: &mut OnEvent<'_>) {
        match self.collector.kind() {
            None | Some(Kind::Final) => {
                let text = self.stop.push(text).text;
                self.answer(&text, answer, on_event);
                return;
            }
            Some(Kind::Reasoning) => {
                answer.reasoning.push_str(text);
                let _ = on_event(Event::Reasoning(text));
            }
            Some(Kind::Commentary) => {
                let _ = on_event(Event::Commentary(text));
            }
            Some(Kind::Call) => {
                let _ = on_event(Event::Arguments(text));
            }
        }
        self.collector.text(text);
    }

    /// No stop string goes on in another message.
    fn release(&mut self, answer: &mut Completion, on_event: &mut OnEvent<'_>) {
        let held = self.stop.finish();
        self.answer(&held, answer, on_event);
    }

    fn answer(&mut self, text: &str, answer: &mut Completion, on_event: &mut OnEvent<'_>) {
        if !text.is_empty() {
            answer.text.push_str(text);
            self.collector.text(text);
            let _ = on_event(Event::Text(text));
        }
    }
}

/// Passes events on until one is answered with a break.
fn unless_broken<'a>(
    flow: &'a mut ControlFlow<()>,
    on_event: &'a mut OnEvent<'_>,
) -> impl FnMut(Event<'_>) -> ControlFlow<()> + 'a {
    move |event| {
        if flow.is_continue() {
            *flow = on_event(event);
        }
        *flow
    }
}
