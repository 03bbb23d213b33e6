//! From files to a model that answers: weights, tokenizer, chat template, defaults.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::{DEFAULT_CONTEXT, Engine, EngineOptions, LoadSummary, MemoryNeed};
use crate::chat::harmony::Harmony;
use crate::chat::{ChatError, ChatTemplate};
use crate::config::Format;
use crate::device::Backend;
use crate::kv_cache::{KvCache, KvCacheOptions};
use crate::nn::{SamplerMemory, load_model, select};
use crate::sampling::{GenerationDefaults, SamplingParams};
use crate::tokenizer::{MAX_FILE_BYTES, Tokenizer, TokenizerConfig};
use crate::weights::{Checkpoint, CheckpointError, MetadataValue, Plan, Source};
use crate::{Error, Result, models};

/// Side files other than the tokenizer are small.
const MAX_SIDE_FILE_BYTES: u64 = 16 << 20;

impl Engine {
    /// Opens a model folder or a `.gguf` file.
    ///
    /// # Errors
    /// When it is no model, does not fit any known architecture, or is damaged.
    pub fn open(path: &Path, options: &EngineOptions) -> Result<Self> {
        Self::from_checkpoint(Checkpoint::open(path)?, options)
    }

    /// Loads an opened checkpoint.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn from_checkpoint(checkpoint: Checkpoint, options: &EngineOptions) -> Result<Self> {
        let begin = Instant::now();
        let mut phases = Phases::from(begin);
        let architecture = select(models::ARCHITECTURES, checkpoint.config())?;
        let made_for = architecture.max_positions(checkpoint.config())?;
        let context = context(options.context, made_for)?;
        let (defaults, params) = generation_defaults(&checkpoint)?;
        let mut tokenizer = tokenizer(&checkpoint)?;
        tokenizer.add_eos(defaults.eos_token_ids.iter().copied());
        let harmony = Harmony::detect(&tokenizer);
        if let Some(harmony) = harmony {
            tokenizer.set_eos(harmony.stops(tokenizer.eos()));
        }
        let template = template(&checkpoint)?;
        phases.end("tokenizer and chat template");
        let plan = architecture.plan(checkpoint.config(), Source::Checkpoint(&checkpoint))?;
        let backend = super::device::choose(&plan, context, options)?;
        let (model, plan) = load_model(architecture, &checkpoint, backend.clone())?;
        backend.synchronize()?;
        phases.end_of("weights", plan.weight_bytes());
        let vocab = checkpoint.config().rows_of_embedding()? as usize;
        tokenizer.check_vocab(vocab)?;
        let mut cache = KvCache::new(
            &plan.kv,
            KvCacheOptions {
                max_tokens: context,
            },
        )?;
        cache.place(&backend)?;
        phases.end("cache");
        let summary = summary(&plan, context, begin, &backend);
        tracing::info!(?summary, "loaded");
        Ok(Self {
            model,
            plan,
            vocab,
            cache,
            tokenizer: Arc::new(tokenizer),
            template,
            harmony,
            defaults: params,
            context,
            prefill_chunk: backend.prefill_chunk(),
            held: None,
            sampling: SamplerMemory::default(),
            summary,
        })
    }
}

/// How long each part of loading takes, for who asks.
struct Phases {
    since: Instant,
}

impl From<Instant> for Phases {
    fn from(since: Instant) -> Self {
        Self { since }
    }
}

impl Phases {
    /// With how fast so many bytes came.
    fn end_of(&mut self, phase: &str, bytes: u64) {
        let seconds = self.since.elapsed().as_secs_f32();
        let gb_per_second = bytes as f32 / 1e9 / seconds.max(1e-9);
        tracing::info!(seconds, gb_per_second, "{phase} ready");
        self.since = Instant::now();
    }

    fn end(&mut self, phase: &str) {
        let seconds = self.since.elapsed().as_secs_f32();
        tracing::info!(seconds, "{phase} ready");
        self.since = Instant::now();
    }
}

/// The context length to open with: what was asked for, within what the model was made for.
fn context(asked: Option<usize>, made_for: Option<usize>) -> Result<usize> {
    match (asked, made_for) {
        (Some(asked), Some(limit)) if asked > limit => Err(Error::ContextTooLong { asked, limit }),
        (Some(asked), _) => Ok(asked),
        (None, limit) => Ok(limit.unwrap_or(DEFAULT_CONTEXT).min(DEFAULT_CONTEXT)),
    }
}

fn summary(plan: &Plan, context: usize, begin: Instant, backend: &Backend) -> LoadSummary {
    let mut dtypes: Vec<(String, u64)> = Vec::new();
    for tensor in &plan.tensors {
        let Some(dtype) = &tensor.dtype else { continue };
        let name = dtype.to_string();
        match dtypes.iter_mut().find(|(known, _)| *known == name) {
            Some((_, bytes)) => *bytes += tensor.bytes as u64,
            None => dtypes.push((name, tensor.bytes as u64)),
        }
    }
    dtypes.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    LoadSummary {
        architecture: plan.architecture,
        dtypes,
        parameters: plan.parameters(),
        memory: MemoryNeed::of(plan, context, backend.into()),
        device: backend.to_string(),
        load_time: begin.elapsed(),
    }
}

fn side_file(
    checkpoint: &Checkpoint,
    name: &str,
    limit: u64,
) -> Result<Option<String>, CheckpointError> {
    checkpoint
        .folder()
        .map_or(Ok(None), |folder| folder.read_side_file(name, limit))
}

/// tokenizer.json beside safetensors; GGUF brings its own.
fn tokenizer(checkpoint: &Checkpoint) -> Result<Tokenizer> {
    if checkpoint.format() == Format::Gguf {
        return Ok(Tokenizer::from_metadata(checkpoint.config())?);
    }
    let json = side_file(checkpoint, "tokenizer.json", MAX_FILE_BYTES as u64)?
        .ok_or(Error::NoTokenizer)?;
    let tokenizer = Tokenizer::from_json_bytes(json.as_bytes())?;
    Ok(
        match side_file(checkpoint, "tokenizer_config.json", MAX_SIDE_FILE_BYTES)? {
            Some(config) => tokenizer.with_config(&TokenizerConfig::from_json(config.as_bytes())?),
            None => tokenizer,
        },
    )
}

/// `chat_template.jinja`, else the one in tokenizer_config.json, else GGUF's; none is no mistake.
fn template(checkpoint: &Checkpoint) -> Result<Option<ChatTemplate>> {
    if let Some(MetadataValue::String(source)) =
        checkpoint.config().metadata("tokenizer.chat_template")
    {
        return Ok(Some(ChatTemplate::new(source)?));
    }
    if let Some(source) = side_file(checkpoint, "chat_template.jinja", MAX_SIDE_FILE_BYTES)? {
        return Ok(Some(ChatTemplate::new(&source)?));
    }
    let Some(config) = side_file(checkpoint, "tokenizer_config.json", MAX_SIDE_FILE_BYTES)? else {
        return Ok(None);
    };
    match ChatTemplate::from_tokenizer_config(config.as_bytes()) {
        Err(ChatError::NoTemplate) => Ok(None),
        template => Ok(Some(template?)),
    }
}

/// Sampling where the checkpoint says nothing about it, as GGUF never does.
fn untold() -> SamplingParams {
    SamplingParams {
        temperature: 0.7,
        top_p: 0.95,
        ..SamplingParams::default()
    }
}

/// The model's own sampling settings and stop tokens: generation_config.json has them, an old checkpoint has its stop token
/// in config.json.
fn generation_defaults(checkpoint: &Checkpoint) -> Result<(GenerationDefaults, SamplingParams)> {
    if checkpoint.format() == Format::Gguf {
        return Ok((GenerationDefaults::default(), untold()));
    }
    let read = |name| -> Result<Option<GenerationDefaults>> {
        let Some(json) = side_file(checkpoint, name, MAX_SIDE_FILE_BYTES)? else {
            return Ok(None);
        };
        let mut defaults = GenerationDefaults::from_json(json.as_bytes())?;
        for warning in defaults.warnings.drain(..) {
            tracing::warn!("{warning}");
        }
        Ok(Some(defaults))
    };
    if let Some(defaults) = read("generation_config.json")? {
        let mut params = SamplingParams::default();
        defaults.apply(&mut params);
        return Ok((defaults, params));
    }
    Ok((read("config.json")?.unwrap_or_default(), untold()))
}
