//! A conversation: what was said, and what happens when something new is.

use std::io;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, bail};
use inferno_runtime::chat::harmony::Tool;
use inferno_runtime::chat::{ChatOptions, Message};
use inferno_runtime::engine::{Completion, Engine, FinishReason};
use inferno_runtime::sampling::SamplingParams;
use signal_hook::consts::SIGINT;

use super::reply::Reply;
use super::show::Show;
use crate::args::{AnswerArgs, ReasoningShown};
use crate::interrupt::INTERRUPTED;
use crate::model;
use crate::printer::Printer;

pub(super) const SYSTEM: &str = "system";
pub(super) const USER: &str = "user";
pub(super) const ASSISTANT: &str = "assistant";

pub(crate) struct Session {
    pub(super) model: String,
    pub(super) engine: Engine,
    pub(super) printer: Printer,
    pub(super) params: SamplingParams,
    /// Reasoning effort and tools.
    pub(super) options: ChatOptions,
    pub(super) reasoning: ReasoningShown,
    /// All that was said, reasoning included. What of it a prompt repeats is the format's to say.
    pub(super) messages: Vec<Message>,
    /// No chat format: what is typed is continued as it is.
    pub(super) raw: bool,
    json: bool,
    /// What the model wrote last, markers and all.
    pub(super) written: Option<String>,
    /// Set by Ctrl-C, taken by the answer that is being written.
    interrupt: Arc<AtomicBool>,
    pub(super) totals: Totals,
}

#[derive(Default)]
pub(super) struct Totals {
    pub(super) answers: usize,
    pub(super) prompt_tokens: usize,
    pub(super) cached_tokens: usize,
    pub(super) answer_tokens: usize,
    pub(super) decode_seconds: f64,
}

impl Session {
    pub(crate) fn new(
        model: String,
        engine: Engine,
        args: &AnswerArgs,
        printer: Printer,
    ) -> anyhow::Result<Self> {
        let mut params = model::sampling(engine.defaults(), &args.sampling);
        params.logprobs = args.logprobs.map(|count| count as usize);
        params.validate()?;
        let raw = args.raw || !engine.chats();
        if raw && !args.raw {
            printer.talk("This model has no chat template: it continues the text that you type.");
        }
        if raw && args.system.is_some() {
            bail!(
                "--system needs a chat template, and text is continued as it is here\nhint: put it into the text"
            );
        }
        let options = chat_options(args)?;
        if raw && (options.reasoning_effort.is_some() || args.tools.is_some()) {
            bail!(
                "--reasoning-effort and --tools need a chat format, and text is continued as it is here"
            );
        }
        let messages = args
            .system
            .iter()
            .map(|text| Message::new(SYSTEM, text))
            .collect();
        Ok(Self {
            model,
            engine,
            printer,
            params,
            options,
            reasoning: args.reasoning,
            messages,
            raw,
            json: args.json,
            written: None,
            interrupt: Arc::new(AtomicBool::new(false)),
            totals: Totals::default(),
        })
    }

    /// From now on Ctrl-C ends an answer, not the program.
    pub(super) fn catch_interrupts(&self) -> io::Result<()> {
        signal_hook::flag::register(SIGINT, Arc::clone(&self.interrupt)).map(|_| ())
    }

    /// Answers one message and nothing more; the answer alone goes to standard output. Ctrl-C ends it, a second one ends
    /// the program at once.
    pub(crate) fn answer_once(&mut self, text: String) -> anyhow::Result<ExitCode> {
        let code = INTERRUPTED.into();
        let interrupt = Arc::clone(&self.interrupt);
        signal_hook::flag::register_conditional_shutdown(SIGINT, code, interrupt)?;
        self.catch_interrupts()?;
        self.messages.push(Message::new(USER, text));
        Ok(match self.answer()?.finish_reason {
            FinishReason::Cancelled => ExitCode::from(INTERRUPTED),
            _ => ExitCode::SUCCESS,
        })
    }

    /// The tool whose result the model waits for, if it waits for one.
    pub(super) fn expects(&self) -> Option<&str> {
        self.messages.last().and_then(Message::calls)
    }

    /// Takes the model's call of a tool back; whether there was one.
    pub(super) fn drop_call(&mut self) -> bool {
        let waiting = self.expects().is_some();
        if waiting {
            self.messages.pop();
        }
        waiting
    }

    /// Answers what a person typed: a message, or the result that the model waits for. A mistake of theirs (a message too
    /// long, say) does not end the conversation.
    pub(super) fn say(&mut self, text: String) -> anyhow::Result<()> {
        let message = match self.expects() {
            Some(tool) => Message::tool_result(tool, text),
            None => Message::new(USER, text),
        };
        self.messages.push(message);
        self.answer_or_explain()
    }

    pub(super) fn answer_or_explain(&mut self) -> anyhow::Result<()> {
        match self.answer() {
            Ok(completion) => {
                self.printer.aside(&line_of(&completion));
                Ok(())
            }
            Err(error) if error.is::<io::Error>() => Err(error),
            Err(error) => {
                self.messages.pop();
                self.printer.error(&error);
                Ok(())
            }
        }
    }

    fn answer(&mut self) -> anyhow::Result<Completion> {
        let prompt = self.prompt()?;
        let (interrupt, json) = (Arc::clone(&self.interrupt), self.json);
        interrupt.store(false, Ordering::Relaxed);
        let mut show = Show::new(self.printer, self.reasoning);
        let mut broken: Option<io::Error> = None;
        let completion = self.engine.generate(&prompt, &self.params, &mut |event| {
            if !json && let Err(error) = show.event(&event) {
                broken = Some(error);
                return ControlFlow::Break(());
            }
            if interrupt.load(Ordering::Relaxed) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        if let Some(error) = broken {
            return Err(error.into());
        }
        let written = self.engine.raw(&completion);
        if json {
            let raw = self.engine.harmony().map(|_| written.as_str());
            self.printer.json(&Reply::new(self, &completion, raw))?;
        } else {
            show.finish(&completion)?;
        }
        self.written = Some(written);
        self.count(&completion);
        // A call that was cut off calls nobody.
        let called = completion.call().is_some();
        let kept = |message: &&Message| called || message.calls().is_none();
        self.messages
            .extend(completion.messages.iter().filter(kept).cloned());
        Ok(completion)
    }

    /// The conversation as tokens. Without a template it is all the text so far.
    fn prompt(&self) -> anyhow::Result<Vec<u32>> {
        if self.raw {
            let text: String = self
                .messages
                .iter()
                .map(|message| message.content.as_str())
                .collect();
            return Ok(self.engine.encode_prompt(&text)?);
        }
        Ok(self.engine.render_with(&self.messages, &self.options)?)
    }

    fn count(&mut self, completion: &Completion) {
        self.totals.answers += 1;
        self.totals.prompt_tokens += completion.prompt_tokens;
        self.totals.cached_tokens += completion.cached_tokens;
        self.totals.answer_tokens += completion.tokens.len();
        self.totals.decode_seconds += completion.timings.decode.as_secs_f64();
    }
}

/// What the command line asks of the model's chat format.
fn chat_options(args: &AnswerArgs) -> anyhow::Result<ChatOptions> {
    let tools = match &args.tools {
        None => Vec::new(),
        Some(file) => {
            let json = std::fs::read_to_string(file)
                .map_err(|error| anyhow::anyhow!("cannot read {}: {error}", file.display()))?;
            Tool::list_from_json(&json).with_context(|| file.display().to_string())?
        }
    };
    Ok(ChatOptions {
        reasoning_effort: args.reasoning_effort.map(Into::into),
        tools,
        ..ChatOptions::default()
    })
}

/// `42 tokens at 71.3 tokens/s, first after 0.12 s`
fn line_of(completion: &Completion) -> String {
    let rate = completion
        .decode_rate()
        .map_or(String::new(), |rate| format!(" at {rate:.1} tokens/s"));
    let end = match completion.finish_reason {
        FinishReason::Length => "; cut off by max-tokens",
        FinishReason::Context => "; the context is full: /clear begins anew",
        FinishReason::Cancelled => "; stopped",
        FinishReason::Call => "; type the result of the call (Ctrl-C takes it back)",
        _ => "",
    };
    format!(
        "[{} tokens{rate}, first after {:.2} s{end}]",
        completion.tokens.len(),
        completion.timings.first_token.as_secs_f64()
    )
}
