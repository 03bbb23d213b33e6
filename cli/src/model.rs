//! From `--model` to a loaded engine.

use std::path::Path;

use inferno_runtime::engine::{Engine, EngineOptions};
use inferno_runtime::sampling::SamplingParams;
use inferno_runtime::weights::Checkpoint;
use inferno_runtime::{cpu::Precision, hub};

use crate::args::{ModelArgs, SamplingArgs};
use crate::printer::{Printer, bytes, count};

/// Name of the model inside this program.
pub(crate) const EMBEDDED: &str = "ember";

/// A small Llama of our own (cli/assets/README.md says what it is), so that `inferno play` answers at once.
static EMBEDDED_GGUF: &[u8] = include_bytes!("../assets/default-model.gguf");

/// Opens a model's files by its name on the command line.
pub(crate) fn checkpoint(name: &str) -> anyhow::Result<Checkpoint> {
    if name == EMBEDDED && !Path::new(name).exists() {
        return Ok(Checkpoint::from_gguf_bytes(EMBEDDED, EMBEDDED_GGUF)?);
    }
    Ok(Checkpoint::open(&hub::resolve(name)?)?)
}

/// Loads a model and says in a line what came of it.
pub(crate) fn load(
    name: &str,
    args: &ModelArgs,
    precision: Precision,
    printer: &Printer,
) -> anyhow::Result<Engine> {
    let options = EngineOptions {
        context: args.context.map(|tokens| tokens as usize),
        precision,
        device: args.device.device,
        dtype: args.device.dtype,
        memory_limit: args.device.memory_limit,
    };
    let engine = Engine::from_checkpoint(checkpoint(name)?, &options)?;
    printer.aside(&summary(name, &engine));
    Ok(engine)
}

/// `ember: llama, 4.5 M parameters, Q8_0, 4.9 MB + 1.1 MB cache at 512 tokens, on CPU, loaded in 0.02 s`
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
        bytes(summary.weight_bytes),
        bytes(summary.cache_bytes),
        summary.context,
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
