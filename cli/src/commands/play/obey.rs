//! What `/commands` do.

use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use anyhow::{Context as _, bail};
use clap::ValueEnum as _;
use inferno_runtime::chat::{ChatError, Message};
use inferno_runtime::sampling::SamplingParams;
use serde::{Deserialize, Serialize};

use super::session::{ASSISTANT, SYSTEM, Session};
use super::slash::{Slash, help};
use crate::args::ReasoningShown;
use crate::printer::bytes;

/// What `/save` writes and `/load` reads.
#[derive(Serialize, Deserialize)]
struct Saved {
    model: String,
    messages: Vec<Message>,
}

impl Session {
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
            Slash::Raw => match &self.written {
                Some(written) => self.printer.talk(written),
                None => self.printer.talk("The model has written nothing yet."),
            },
            Slash::Exit => {}
        }
        Ok(())
    }

    fn set(&mut self, name: &str, value: &str) -> anyhow::Result<()> {
        let name = name.replace('_', "-");
        match name.as_str() {
            "reasoning-effort" => {
                if self.engine.harmony().is_none() || self.raw {
                    bail!("{}", ChatError::NotInFormat("reasoning effort"));
                }
                self.options.reasoning_effort = Some(value.parse()?);
            }
            "reasoning" => {
                self.reasoning = ReasoningShown::from_str(value, true).map_err(|_| {
                    anyhow::anyhow!("reasoning is show, fold or hide, not `{value}`")
                })?;
            }
            _ => self.params = with_setting(&self.params, &name, value)?,
        }
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
        if self.engine.harmony().is_some() {
            let effort = self.options.reasoning_effort.unwrap_or_default();
            let tools = self.options.tools.iter().map(|tool| tool.name.as_str());
            self.printer.talk(&format!(
                "reasoning-effort {effort}  tools {:?}",
                tools.collect::<Vec<_>>()
            ));
        }
        for message in &self.messages {
            let speaker = speaker(message);
            self.printer
                .talk(&format!("[{speaker}] {}", message.content));
        }
    }

    /// Takes everything that the assistant said last back and has it say something else.
    fn retry(&mut self) -> anyhow::Result<()> {
        let asked = self
            .messages
            .iter()
            .rposition(|message| message.role != ASSISTANT)
            .filter(|&last| self.messages[last].role != SYSTEM);
        let Some(asked) = asked else {
            bail!("there is no message to answer again");
        };
        self.messages.truncate(asked + 1);
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
            bytes(summary.memory.weights),
            bytes(summary.memory.cache),
        ));
    }
}

/// `assistant analysis`, `assistant commentary to functions.f`, `user`.
fn speaker(message: &Message) -> String {
    let name = message.name.as_ref().map(|name| format!(" {name}"));
    let channel = message
        .channel
        .as_ref()
        .map(|channel| format!(" {channel}"));
    let to = message.calls().map(|tool| format!(" to {tool}"));
    [Some(message.role.clone()), name, channel, to]
        .into_iter()
        .flatten()
        .collect()
}

/// The sampling parameters with one of them changed.
fn with_setting(
    params: &SamplingParams,
    name: &str,
    value: &str,
) -> anyhow::Result<SamplingParams> {
    let mut params = params.clone();
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
    match name {
        "temperature" => params.temperature = number(value)?,
        "top-k" => {
            params.top_k = value
                .parse()
                .with_context(|| format!("top-k takes a whole number, not `{value}`"))?;
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
    Ok(params)
}
