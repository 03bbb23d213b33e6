//! The error type of the crate: one variant per part, each with a type of its own.

use crate::chat::ChatError;
use crate::config::ConfigError;
use crate::device::DeviceError;
use crate::kv_cache::CacheError;
use crate::nn::NnError;
use crate::prompt::PromptError;
use crate::sampling::SamplingError;
use crate::tokenizer::TokenizerError;
use crate::weights::{CheckpointError, LoadError};

/// Anything that can go wrong between a model folder and a sampled token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A checkpoint file is missing, damaged or holds something that the engine does not read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// config.json or GGUF metadata lacks a setting or has a wrong one.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A checkpoint does not fit the architecture.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The KV cache is full, or was asked for something that it no longer holds.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// A layer was given settings or shapes that make no sense.
    #[error(transparent)]
    Nn(#[from] NnError),
    /// A prompt is empty or does not fit.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// The command line or a caller asked for more context than the model was made for.
    #[error(
        "a context of {asked} tokens is more than the {limit} that this model was made for: ask for at most {limit}"
    )]
    ContextTooLong {
        /// Tokens asked for.
        asked: usize,
        /// Tokens the model was made for.
        limit: usize,
    },
    /// A folder without tokenizer.json.
    #[error("the model's folder has no tokenizer.json: download the model's other files too")]
    NoTokenizer,
    /// A text too short to be measured.
    #[error(
        "the text has {tokens} tokens, fewer than one window of {window}: give a longer text or a smaller window"
    )]
    TextTooShort {
        /// Tokens of the text.
        tokens: usize,
        /// Tokens of a window.
        window: usize,
    },
    /// A sampling option is out of range, or the logits are broken.
    #[error(transparent)]
    Sampling(#[from] SamplingError),
    /// A tokenizer cannot be made or used.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A conversation cannot be rendered.
    #[error(transparent)]
    Chat(#[from] ChatError),
    /// A GPU does not serve.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

/// `Result` with the crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
