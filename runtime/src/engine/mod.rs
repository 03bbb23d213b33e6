//! One model, ready to answer: what a program that embeds Inferno uses, and what `inferno play` is built on.
//!
//! ```no_run
//! use std::ops::ControlFlow;
//! use inferno_runtime::engine::{Engine, EngineOptions, Event};
//! use inferno_runtime::chat::Message;
//!
//! # fn main() -> inferno_runtime::Result<()> {
//! let mut engine = Engine::open("models/SmolLM2-135M-Instruct".as_ref(), &EngineOptions::default())?;
//! let prompt = engine.render(&[Message::new("user", "Name three colours.")])?;
//! let params = engine.defaults();
//! let answer = engine.generate(&prompt, &params, &mut |event| {
//!     if let Event::Text(piece) = event {
//!         // show it
//!         let _ = piece;
//!     }
//!     ControlFlow::Continue(())
//! })?;
//! assert!(answer.text.len() < 10_000);
//! # Ok(())
//! # }
//! ```

pub mod device;
mod generate;
mod load;
mod memory;
mod output;
mod report;
mod score;

use std::sync::Arc;
use std::time::Duration;

use crate::Result;
use crate::chat::harmony::{self, Harmony, Reasoning, Role};
use crate::chat::{ChatError, ChatOptions, ChatTemplate, Message, RenderOptions};
use crate::cpu::Precision;
use crate::device::{ComputeDtype, DeviceChoice};
use crate::kv_cache::{KvCache, SequenceId};
use crate::nn::{Model, SamplerMemory};
use crate::prompt::PromptError;
use crate::sampling::SamplingParams;
use crate::tokenizer::Tokenizer;
use crate::weights::Plan;

pub use generate::{Completion, Event, FinishReason, Timings};
#[cfg(feature = "cuda")]
pub(crate) use memory::GPU_SCRATCH;
pub use memory::{MemoryNeed, MemoryOf};
pub use report::{Report, ReportedTensor};
pub use score::Perplexity;

/// How a model is opened.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Longest sequence in tokens; `None`: what the model was made for, at most [`DEFAULT_CONTEXT`].
    pub context: Option<usize>,
    /// Whether quantized weights meet 8-bit activations (fast) or f32 ones (exact).
    pub precision: Precision,
    /// Where the model computes.
    pub device: DeviceChoice,
    /// The type of keys, values and tensor-core operands on a GPU.
    pub dtype: ComputeDtype,
    /// Bytes that weights, cache and workspace may take; `None`: what the device has.
    pub memory_limit: Option<u64>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            context: None,
            precision: Precision::Fast,
            device: DeviceChoice::default(),
            dtype: ComputeDtype::default(),
            memory_limit: None,
        }
    }
}

/// Context length when nobody asks for one and the model allows more.
pub const DEFAULT_CONTEXT: usize = 8192;

/// Prompts of fewer bytes are tokenized before they are judged: that takes a moment, and the message has the exact number.
const CERTAINLY_TOKENIZED: usize = 1 << 20;

/// What loading a model came to, in a line.
#[derive(Clone, Debug)]
pub struct LoadSummary {
    /// Architecture: the stem of its spec.
    pub architecture: &'static str,
    /// Storage types of the weights with their bytes, largest first.
    pub dtypes: Vec<(String, u64)>,
    /// Parameters (numbers in the weights).
    pub parameters: u64,
    /// Memory of the device at the context length.
    pub memory: MemoryNeed,
    /// Where it computes, for people: `cpu (avx2)`, or `cuda:0 NVIDIA H100 80GB HBM3 (bf16)`.
    pub device: String,
    /// Time from opening the files to being ready.
    pub load_time: Duration,
}

/// A loaded model with its tokenizer, chat template and cache, for one conversation at a time.
pub struct Engine {
    model: Box<dyn Model>,
    plan: Plan,
    vocab: usize,
    cache: KvCache,
    tokenizer: Arc<Tokenizer>,
    template: Option<ChatTemplate>,
    harmony: Option<Harmony>,
    defaults: SamplingParams,
    context: usize,
    /// Prompt tokens of one forward pass.
    prefill_chunk: usize,
    held: Option<Held>,
    sampling: SamplerMemory,
    summary: LoadSummary,
}

/// The sequence whose keys and values are in the cache.
struct Held {
    sequence: SequenceId,
    tokens: Vec<u32>,
    capacity: usize,
}

impl Engine {
    /// Context length: the most tokens a conversation may have, prompt and answer together.
    pub fn context(&self) -> usize {
        self.context
    }

    /// What loading came to.
    pub fn summary(&self) -> &LoadSummary {
        &self.summary
    }

    /// What the model asked for: tensors and cache.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The chat template, if the model has one.
    pub fn template(&self) -> Option<&ChatTemplate> {
        self.template.as_ref()
    }

    /// Sampling parameters as the model's own generation_config.json has them.
    pub fn defaults(&self) -> SamplingParams {
        self.defaults.clone()
    }

    /// Tokens in the cache now.
    pub fn cached_tokens(&self) -> usize {
        self.held.as_ref().map_or(0, |held| held.tokens.len())
    }

    /// The markers of Harmony, if the model's tokenizer has them: then conversations are rendered and answers are read in
    /// that format, and no chat template is asked.
    pub fn harmony(&self) -> Option<&Harmony> {
        self.harmony.as_ref()
    }

    /// Whether the model is made for conversations.
    pub fn chats(&self) -> bool {
        self.harmony.is_some() || self.template.is_some()
    }

    /// Renders a conversation in the model's own format and encodes it, ready for the assistant's answer. Special tokens
    /// inside the messages stay plain text.
    ///
    /// # Errors
    /// When the model has no chat format, or the format refuses the conversation.
    pub fn render(&self, messages: &[Message]) -> Result<Vec<u32>> {
        self.render_with(messages, &ChatOptions::default())
    }

    /// As [`Engine::render`], with reasoning effort, tools and so on for models that know Harmony. Reasoning that an
    /// answer has followed is left out, reasoning that led to a call of a tool stays until then.
    ///
    /// # Errors
    /// As [`Engine::render`]; options that the model's format has no words for.
    pub fn render_with(&self, messages: &[Message], options: &ChatOptions) -> Result<Vec<u32>> {
        match &self.harmony {
            Some(markers) => {
                let messages = harmony::to_harmony(messages, options)?;
                markers.render(&self.tokenizer, &messages, Role::Assistant, Reasoning::Keep)
            }
            None => self.render_template(messages, options),
        }
    }

    fn render_template(&self, messages: &[Message], options: &ChatOptions) -> Result<Vec<u32>> {
        let template = self.template.as_ref().ok_or(ChatError::NoTemplate)?;
        self.admit(messages.iter().map(|message| message.content.len()).sum())?;
        if let Some(what) = options.beyond_templates() {
            return Err(ChatError::NotInFormat(what).into());
        }
        // A conversation that was begun with another model may have reasoning; a template has no place for it.
        let messages: Vec<Message> = messages
            .iter()
            .filter(|message| message.channel.as_deref() != Some("analysis"))
            .cloned()
            .collect();
        let spelling = |id: Option<u32>| id.and_then(|id| self.tokenizer.token(id));
        let bos = spelling(self.tokenizer.bos());
        let eos = spelling(self.tokenizer.eos().first().copied());
        let rendered = template.render(
            &messages,
            &RenderOptions {
                add_generation_prompt: true,
                bos_token: bos.as_deref(),
                eos_token: eos.as_deref(),
                control_tokens: &self.tokenizer.control_tokens(),
                now: options.now,
                ..RenderOptions::default()
            },
        )?;
        Ok(self.tokenizer.encode_rendered(&rendered)?)
    }

    /// What the model really wrote: every token as it is spelled, markers and stop token included.
    pub fn raw(&self, completion: &Completion) -> String {
        let mut ids = completion.tokens.clone();
        ids.extend(completion.stop_token);
        self.tokenizer.decode(&ids, false)
    }

    /// Encodes text to be continued, with the beginning-of-text token if the model's tokenizer adds one.
    ///
    /// # Errors
    /// When the text is far too long for the context, or the tokenizer refuses it.
    pub fn encode_prompt(&self, text: &str) -> Result<Vec<u32>> {
        self.admit(text.len())?;
        self.encode(text)
    }

    /// Refuses what cannot fit the context whatever its tokens are: so an absurd prompt costs no tokenizer run.
    fn admit(&self, bytes: usize) -> Result<(), PromptError> {
        if bytes < CERTAINLY_TOKENIZED {
            return Ok(());
        }
        let longest = self.tokenizer.longest_token_bytes();
        let least = bytes.div_ceil(longest);
        if least < self.context {
            return Ok(());
        }
        Err(PromptError::FarTooLong {
            bytes,
            least,
            context: self.context,
        })
    }

    /// Encodes plain text of any length, with the beginning-of-text token if the model's tokenizer adds one.
    ///
    /// # Errors
    /// When the tokenizer refuses the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.tokenizer.encode_prompt(text)?)
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("summary", &self.summary)
            .finish_non_exhaustive()
    }
}
