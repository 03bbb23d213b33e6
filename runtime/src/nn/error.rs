//! What may be wrong with a layer's settings or inputs.

/// A layer that cannot be built or run, and why.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NnError {
    /// A setting is out of range or settings contradict each other.
    #[error("{0}")]
    Setting(String),
    /// A word of the config file that is not known, such as an activation.
    #[error("unknown {what} `{word}`; known are {known}")]
    UnknownWord {
        /// What kind of word.
        what: &'static str,
        /// The word.
        word: String,
        /// Those that would do.
        known: String,
    },
    /// Tensors that do not fit each other.
    #[error("{0}")]
    Shape(String),
    /// A token id that the vocabulary does not have.
    #[error(
        "token {token} is not in the vocabulary of {vocab}; the tokenizer does not belong to this model"
    )]
    Token {
        /// The id.
        token: u32,
        /// Rows of the embedding.
        vocab: usize,
    },
    /// A position beyond the table of learned positions.
    #[error("the model has learned {positions} positions; position {position} is beyond them")]
    Position {
        /// The position, from 0.
        position: usize,
        /// How many there are.
        positions: usize,
    },
    /// No architecture serves the checkpoint.
    #[error("{0}")]
    Architecture(String),
}

pub(crate) fn setting<T>(message: impl Into<String>) -> crate::Result<T> {
    Err(NnError::Setting(message.into()).into())
}

pub(crate) fn shape<T>(message: impl Into<String>) -> crate::Result<T> {
    Err(NnError::Shape(message.into()).into())
}
