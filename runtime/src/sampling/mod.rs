//! From logits to the next token.
//!
//! [`SamplingParams`] says how to choose, [`GenerationDefaults`] reads what a model's `generation_config.json` recommends,
//! [`Sampler`] chooses. Every step works in this order, the one that transformers uses:
//!
//! 1. `logit_bias` is added, then repetition, frequency and presence penalties;
//! 2. temperature;
//! 3. top-k, then top-p on what is left, then min-p.
//!
//! A step that leaves nothing to choose from cannot be expressed: the most likely token survives every filter.

mod defaults;
mod params;
mod sampler;
mod select;
#[cfg(any(test, feature = "cuda"))]
pub(crate) mod shortlist;
#[cfg(test)]
mod tests;

pub use defaults::GenerationDefaults;
pub use params::{MAX_LOGIT_BIASES, MAX_LOGPROBS, MAX_STOP_BYTES, MAX_STOPS, SamplingParams};
pub use sampler::{Sampled, Sampler};

/// The first token with the largest logit.
pub(crate) fn argmax(logits: &[f32]) -> Result<u32, SamplingError> {
    Ok(select::argmax(logits, select::checked_max(logits)?))
}

/// Why sampling is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SamplingError {
    /// An option outside its range.
    #[error("sampling option `{option}` is {value}, but must be {range}")]
    OutOfRange {
        /// Name of the option, as users write it.
        option: &'static str,
        /// What was given.
        value: String,
        /// What is allowed.
        range: &'static str,
    },
    /// A bias for a token that the model does not have.
    #[error("sampling option `logit_bias` names token {token}, but the vocabulary has {vocab} tokens (0 to {})", vocab - 1)]
    BiasOutsideVocabulary {
        /// The token asked for.
        token: u32,
        /// Tokens of the model.
        vocab: usize,
    },
    /// A model without tokens.
    #[error("the vocabulary is empty: there is nothing to sample")]
    EmptyVocabulary,
    /// Logits of another length than the vocabulary.
    #[error("the model gave {logits} logits for a vocabulary of {vocab} tokens")]
    WrongLength {
        /// Logits given.
        logits: usize,
        /// Tokens of the model.
        vocab: usize,
    },
    /// NaN or +infinity among the logits: the computation of the model broke down.
    #[error(
        "the logit of token {token} is {value}: the model's computation broke down; check the weights and their precision"
    )]
    NotANumber {
        /// First token with such a logit.
        token: usize,
        /// Its logit.
        value: f32,
    },
    /// Every logit is -infinity.
    #[error(
        "every logit is -inf, no token can follow: the model's computation or the logit_bias excluded all of them"
    )]
    NothingLeft,
    /// `generation_config.json` is no JSON object.
    #[error("generation_config.json: {0}")]
    GenerationConfig(String),
}
