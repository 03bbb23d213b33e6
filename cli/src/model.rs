//! From `--model` to a loaded engine.

use std::io::{self, IsTerminal};
use std::path::Path;

use inferno_runtime::cpu::Precision;
use inferno_runtime::engine::{Engine, EngineOptions};
use inferno_runtime::hub::{self, HubError};
use inferno_runtime::sampling::SamplingParams;
use inferno_runtime::weights::Checkpoint;

use crate::args::{DownloadArgs, ModelArgs, SamplingArgs};
use crate::commands::download;
use crate::printer::{Printer, bytes, count};

/// Name of the model that is taken when none is named.
pub(crate) const EMBEDDED: &str = "ember";

/// A small model of our own inside this program, so that `inferno play` answers at once (cli/assets/README.md).
pub(crate) struct Embedded {
    pub(crate) name: &'static str,
    /// What it is, and how to get a real one.
    pub(crate) about: &'static str,
    gguf: &'static [u8],
}

/// The models inside this program.
pub(crate) static EMBEDDED_MODELS: [Embedded; 2] = [
    Embedded {
        name: EMBEDDED,
        about: "ember is a toy: a 4-million-parameter Llama inside this program, good for short stories and small talk, not for \
                facts.\nFor a real model name one: --model <folder | file.gguf | owner/name of a model hub>; ember-oss is a toy of \
                OpenAI's architecture.",
        gguf: include_bytes!("../assets/default-model.gguf"),
    },
    Embedded {
        name: "ember-oss",
        about: "ember-oss is a toy: a gpt-oss of 7 million parameters inside this program (8 experts, MXFP4), good for short \
                stories and small talk, not for facts.\nFor a real one: --model openai/gpt-oss-20b",
        gguf: include_bytes!("../assets/ember-oss.gguf"),
    },
];

/// The embedded model of this name, unless a file or folder has it.
pub(crate) fn embedded(name: &str) -> Option<&'static Embedded> {
    let found = EMBEDDED_MODELS.iter().find(|model| model.name == name);
    found.filter(|_| !Path::new(name).exists())
}

/// Opens a model's files by its name on the command line.
pub(crate) fn checkpoint(name: &str) -> anyhow::Result<Checkpoint> {
    match embedded(name) {
        Some(model) => Ok(Checkpoint::from_gguf_bytes(model.name, model.gguf)?),
        None => Ok(Checkpoint::open(&hub::resolve(name)?)?),
    }
}

/// Where a person sits at the terminal, a model that is not here is offered to be downloaded.
fn offer(name: &str, printer: &Printer) -> anyhow::Result<()> {
    let person = io::stdin().is_terminal() && io::stderr().is_terminal();
    if !person || embedded(name).is_some() || !hub::looks_like_repository(name) {
        return Ok(());
    }
    let error = match hub::resolve(name) {
        Err(error @ (HubError::NotFound { .. } | HubError::Incomplete { .. })) => error,
        _ => return Ok(()),
    };
    let state = match error {
        HubError::Incomplete { .. } => "not complete",
        _ => "not",
    };
    if !printer.ask(&format!("{name} is {state} on this machine. Download it?"))? {
        return Err(error.into());
    }
    let args = DownloadArgs {
        model: name.to_string(),
        force: false,
        offline: false,
        json: false,
    };
    download::fetch(&args, printer).map(|_| ())
}

/// Loads a model and says in a line what came of it.
pub(crate) fn load(
    name: &str,
    args: &ModelArgs,
    precision: Precision,
    printer: &Printer,
) -> anyhow::Result<Engine> {
    offer(name, printer)?;
    let options = EngineOptions {
        context: args.context.map(|tokens| tokens as usize),
        precision,
        device: args.device.device,
        dtype: args.device.dtype,
        memory_limit: args.device.memory_limit,
    };
    let checkpoint = checkpoint(name)?;
    let bar = printer.bar(checkpoint.total_bytes());
    let progress = bar.clone();
    let checkpoint = checkpoint.watched(move |bytes| progress.inc(bytes));
    let engine = Engine::from_checkpoint(checkpoint, &options);
    bar.finish_and_clear();
    let engine = engine?;
    printer.aside(&summary(name, &engine));
    if let Some(embedded) = embedded(name) {
        printer.aside(embedded.about);
    }
    Ok(engine)
}

/// `ember: llama, 4.5 M parameters, Q8_0, 4.9 MB + 1.1 MB cache at 512 tokens, on cpu (avx2), loaded in 0.02 s`
fn summary(name: &str, engine: &Engine) -> String {
    let summary = engine.summary();
    let dtypes: Vec<&str> = summary
        .dtypes
        .iter()
        .map(|(dtype, _)| dtype.as_str())
        .collect();
    format!(
        "{name}: {}, {} parameters, {}, {} + {} cache at {} tokens, on {}, loaded in {:.2} s",
        summary.architecture,
        count(summary.parameters),
        dtypes.join("/"),
        bytes(summary.memory.weights),
        bytes(summary.memory.cache),
        summary.memory.context,
        summary.device,
        summary.load_time.as_secs_f64(),
    )
}

/// Lays the command line's sampling flags over the model's own defaults.
pub(crate) fn sampling(defaults: SamplingParams, args: &SamplingArgs) -> SamplingParams {
    let mut params = defaults;
    let set = |target: &mut f32, value: Option<f32>| *target = value.unwrap_or(*target);
    set(&mut params.temperature, args.temperature);
    set(&mut params.top_p, args.top_p);
    set(&mut params.min_p, args.min_p);
    set(&mut params.repetition_penalty, args.repetition_penalty);
    set(&mut params.presence_penalty, args.presence_penalty);
    set(&mut params.frequency_penalty, args.frequency_penalty);
    params.top_k = args.top_k.unwrap_or(params.top_k);
    params.seed = args.seed.or(params.seed);
    params.max_tokens = args
        .max_tokens
        .map(|tokens| tokens as usize)
        .or(params.max_tokens);
    if !args.stop.is_empty() {
        params.stop = args.stop.clone();
    }
    params
}
