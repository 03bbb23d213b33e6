//! A conversation: what was said, and what happens when something new is.

use std::io::{self, IsTerminal};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, bail};
use inferno_runtime::chat::Message;
use inferno_runtime::engine::{Completion, Engine, Event, FinishReason};
use inferno_runtime::sampling::SamplingParams;
use serde::{Deserialize, Serialize};

use super::slash::{Slash, help};
use crate::args::PlayArgs;
use crate::model;
use crate::printer::{Printer, bytes};

/// Exit code of a command ended by Ctrl-C, as shells have it.
const INTERRUPTED: u8 = 130;

const SYSTEM: &str = "system";
const USER: &str = "user";
const ASSISTANT: &str = "assistant";

pub(super) struct Session {
    model: String,
    engine: Engine,
    printer: Printer,
    params: SamplingParams,
    messages: Vec<Message>,
    /// No chat template: what is typed is continued as it is.
    raw: bool,
    json: bool,
    /// Set by Ctrl-C, taken by the answer that is being written.
    interrupt: Arc<AtomicBool>,
    totals: Totals,
}

#[derive(Default)]
struct Totals {
    answers: usize,
    prompt_tokens: usize,
    cached_tokens: usize,
    answer_tokens: usize,
    decode_seconds: f64,
}

/// What `/save` writes and `/load` reads.
#[derive(Serialize, Deserialize)]
struct Saved {
    model: String,
    messages: Vec<Message>,
}

impl Session {
    pub(super) fn new(
        model: String,
        engine: Engine,
        args: &PlayArgs,
        printer: Printer,
    ) -> anyhow::Result<Self> {
        let mut params = model::sampling(engine.defaults(), &args.sampling);
        params.logprobs = args.logprobs.map(|count| count as usize);
        params.validate()?;
        let raw = args.raw || engine.template().is_none();
        if raw && !args.raw {
            printer.talk("This model has no chat template: it continues the text that you type.");
        }
        if raw && args.system.is_some() {
            bail!(
                "--system needs a chat template, and text is continued as it is here\nhint: put it into the text"
            );
        }
        let interrupt = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::clone(&interrupt))?;
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
            messages,
            raw,
            json: args.json,
            interrupt,
            totals: Totals::default(),
        })
    }

    /// Answers one message from a pipe; the answer alone goes to standard output.
    pub(super) fn answer_once(&mut self, text: String) -> anyhow::Result<ExitCode> {
        self.messages.push(Message::new(USER, text));
        let completion = self.answer()?;
        Ok(match completion.finish_reason {
            FinishReason::Cancelled => ExitCode::from(INTERRUPTED),
            _ => ExitCode::SUCCESS,
        })
    }

    /// Answers what a person typed. A mistake of theirs (a message too long, say) does not end the conversation.
    pub(super) fn say(&mut self, text: String) -> anyhow::Result<()> {
        self.messages.push(Message::new(USER, text));
        self.answer_or_explain()
    }

    fn answer_or_explain(&mut self) -> anyhow::Result<()> {
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
        let (printer, interrupt, json) = (self.printer, Arc::clone(&self.interrupt), self.json);
        interrupt.store(false, Ordering::Relaxed);
        let mut broken: Option<io::Error> = None;
        let completion = self.engine.generate(&prompt, &self.params, &mut |event| {
            if let Event::Text(piece) = event
                && !json
                && let Err(error) = printer.data(piece)
            {
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
        if json {
            printer.json(&completion)?;
        } else if !completion.text.ends_with('\n') || io::stdout().is_terminal() {
            printer.data("\n")?;
        }
        self.count(&completion);
        self.messages
            .push(Message::new(ASSISTANT, &completion.text));
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
            return Ok(self.engine.encode(&text)?);
        }
        Ok(self.engine.render(&self.messages)?)
    }

    fn count(&mut self, completion: &Completion) {
        self.totals.answers += 1;
        self.totals.prompt_tokens += completion.prompt_tokens;
        self.totals.cached_tokens += completion.cached_tokens;
        self.totals.answer_tokens += completion.tokens.len();
        self.totals.decode_seconds += completion.timings.decode.as_secs_f64();
    }

    /// Obeys a `/command`; breaks when the conversation is over.
    pub(super) fn obey(&mut self, line: &str) -> anyhow::Result<ControlFlow<()>> {
        let slash = match Slash::parse(line) {
            Ok(Slash::Exit) => return Ok(ControlFlow::Break(())),
            Ok(slash) => slash,
            Err(mistake) => {
                self.printer.talk(&mistake);
                return Ok(ControlFlow::Continue(()));
            }
        };
        if let Err(error) = self.execute(slash) {
            if error.is::<io::Error>() {
                return Err(error);
            }
            self.printer.error(&error);
        }
        Ok(ControlFlow::Continue(()))
    }

    fn execute(&mut self, slash: Slash) -> anyhow::Result<()> {
        match slash {
            Slash::Help => self.printer.talk(help().trim_end()),
            Slash::System(None) => match self.messages.first() {
                Some(first) if first.role == SYSTEM => self.printer.talk(&first.content),
                _ => self.printer.talk("There is no system message."),
            },
            Slash::System(Some(_)) if self.raw => {
                bail!("a system message needs a chat template; this text is continued as it is")
            }
            Slash::System(Some(text)) => {
                self.messages = vec![Message::new(SYSTEM, text)];
                self.printer
                    .talk("System message set; the conversation begins anew.");
            }
            Slash::Set(name, value) => self.set(&name, &value)?,
            Slash::Show => self.show(),
            Slash::Clear => {
                self.messages.retain(|message| message.role == SYSTEM);
                self.printer.talk("Forgotten.");
            }
            Slash::Retry => self.retry()?,
            Slash::Save(file) => self.save(&file)?,
            Slash::Load(file) => self.load(&file)?,
            Slash::Stats => self.stats(),
            Slash::Exit => {}
        }
        Ok(())
    }

    fn set(&mut self, name: &str, value: &str) -> anyhow::Result<()> {
        let mut params = self.params.clone();
        let number = |value: &str| {
            value
                .parse::<f32>()
                .with_context(|| format!("{name} takes a number, not `{value}`"))
        };
        let whole = |value: &str| {
            value
                .parse::<u32>()
                .with_context(|| format!("{name} takes a whole number, not `{value}`"))
        };
        match name.replace('_', "-").as_str() {
            "temperature" => params.temperature = number(value)?,
            "top-k" => {
                params.top_k = value
                    .parse()
                    .with_context(|| format!("top-k takes a whole number, not `{value}`"))?
            }
            "top-p" => params.top_p = number(value)?,
            "min-p" => params.min_p = number(value)?,
            "repetition-penalty" => params.repetition_penalty = number(value)?,
            "presence-penalty" => params.presence_penalty = number(value)?,
            "frequency-penalty" => params.frequency_penalty = number(value)?,
            "seed" => params.seed = Some(whole(value)?.into()),
            "max-tokens" => params.max_tokens = Some(whole(value)? as usize),
            "stop" => params.stop = vec![value.to_string()],
            _ => bail!("there is no setting `{name}`; /help lists them"),
        }
        params.validate()?;
        self.params = params;
        self.printer.talk(&format!("{name} = {value}"));
        Ok(())
    }

    fn show(&self) {
        let params = &self.params;
        self.printer.talk(&format!(
            "model {}\ntemperature {}  top-k {}  top-p {}  min-p {}  repetition-penalty {}  presence-penalty {}  frequency-penalty {}  seed {}  max-tokens {}  stop {:?}",
            self.model,
            params.temperature,
            params.top_k,
            params.top_p,
            params.min_p,
            params.repetition_penalty,
            params.presence_penalty,
            params.frequency_penalty,
            params.seed.map_or("random".to_string(), |seed| seed.to_string()),
            params.max_tokens.map_or("until the context is full".to_string(), |tokens| tokens.to_string()),
            params.stop,
        ));
        for message in &self.messages {
            self.printer
                .talk(&format!("[{}] {}", message.role, message.content));
        }
    }

    fn retry(&mut self) -> anyhow::Result<()> {
        if self
            .messages
            .last()
            .is_some_and(|message| message.role == ASSISTANT)
        {
            self.messages.pop();
        }
        if self
            .messages
            .last()
            .is_none_or(|message| message.role != USER)
        {
            bail!("there is no message to answer again");
        }
        self.answer_or_explain()
    }

    fn save(&self, file: &Path) -> anyhow::Result<()> {
        let saved = Saved {
            model: self.model.clone(),
            messages: self.messages.clone(),
        };
        let text = serde_json::to_string_pretty(&saved)?;
        // Through a neighbour, so that a full disk costs nobody the conversation saved before.
        let part = file.with_extension("part");
        std::fs::write(&part, text)
            .and_then(|()| std::fs::rename(&part, file))
            .map_err(|error| anyhow::anyhow!("cannot write {}: {error}", file.display()))?;
        self.printer.talk(&format!(
            "{} messages saved to {}",
            self.messages.len(),
            file.display()
        ));
        Ok(())
    }

    fn load(&mut self, file: &Path) -> anyhow::Result<()> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| anyhow::anyhow!("cannot read {}: {error}", file.display()))?;
        let saved: Saved = serde_json::from_str(&text).map_err(|error| {
            anyhow::anyhow!("{} is no saved conversation: {error}", file.display())
        })?;
        if saved.model != self.model {
            self.printer
                .warning(&format!("this conversation was held with {}", saved.model));
        }
        self.messages = saved.messages;
        self.printer
            .talk(&format!("{} messages loaded", self.messages.len()));
        Ok(())
    }

    fn stats(&self) {
        let (totals, summary) = (&self.totals, self.engine.summary());
        let rate = totals.answer_tokens.saturating_sub(totals.answers) as f64
            / totals.decode_seconds.max(1e-9);
        self.printer.talk(&format!(
            "{} answers, {} tokens written at {rate:.1} tokens/s; {} prompt tokens, {} of them from the cache\n\
             context: {} of {} tokens used; memory: {} weights, {} cache",
            totals.answers,
            totals.answer_tokens,
            totals.prompt_tokens,
            totals.cached_tokens,
            self.engine.cached_tokens(),
            self.engine.context(),
            bytes(summary.weight_bytes),
            bytes(summary.cache_bytes),
        ));
    }
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
        _ => "",
    };
    format!(
        "[{} tokens{rate}, first after {:.2} s{end}]",
        completion.tokens.len(),
        completion.timings.first_token.as_secs_f64()
    )
}
