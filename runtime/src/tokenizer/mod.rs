//! Text to token ids and back.
//!
//! [`Tokenizer`] comes from a `tokenizer.json` or from the metadata of a GGUF file. Ordinary text never becomes a control
//! token: [`Tokenizer::encode`] takes `<|im_start|>` for the twelve characters that it is. Only what a chat template wrote
//! itself ([`Tokenizer::encode_rendered`]) and text of the caller's own making ([`Tokenizer::encode_markup`]) may contain
//! them.

mod added;
mod config;
mod decode;
mod encode;
mod gguf;
mod load;
mod metadata;
mod pre;

use std::collections::{HashMap, HashSet};

pub use config::TokenizerConfig;
pub use decode::DecodeStream;
pub use gguf::{GgufVocab, TokenType};

use added::AddedTokens;
use decode::Decoding;

/// Largest `tokenizer.json`.
pub const MAX_FILE_BYTES: usize = 128 << 20;
/// Longest text that is tokenized in one call: a million tokens and more.
pub const MAX_TEXT_BYTES: usize = 8 << 20;

/// Why a tokenizer cannot be made or used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// The file is too large to be a tokenizer.
    #[error(
        "the tokenizer file has {bytes} bytes, more than the {MAX_FILE_BYTES} that are accepted"
    )]
    FileTooLarge {
        /// Size of the file.
        bytes: usize,
    },
    /// `tokenizer.json` or `tokenizer_config.json` cannot be read.
    #[error("{file} is not valid: {reason}")]
    Malformed {
        /// Which file.
        file: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// An added token whose id differs from the one that the model gives it.
    #[error(
        "tokenizer.json gives the added token {token:?} the id {declared}, but {actual} is its place in the vocabulary"
    )]
    WrongId {
        /// The token.
        token: String,
        /// The id in `added_tokens`.
        declared: u32,
        /// The id that follows from the vocabulary.
        actual: String,
    },
    /// The tokenizer knows ids that the model has no embedding for.
    #[error(
        "token {token:?} has id {id}, but the model has only {vocab} token embeddings: these files do not belong together"
    )]
    OutsideModel {
        /// The token with the largest id.
        token: String,
        /// Its id.
        id: u32,
        /// Rows of the model's embedding.
        vocab: usize,
    },
    /// A tokenizer of a kind that is not supported.
    #[error("{what} `{name}` is not supported; known are {known}")]
    Unsupported {
        /// What kind of thing, with the key that names it.
        what: &'static str,
        /// Its name in the file.
        name: String,
        /// The names that are supported.
        known: String,
    },
    /// A splitting pattern that takes far too long.
    #[error(
        "a pattern of the tokenizer needs {millis} ms for {bytes} bytes of text: the file is refused as hostile"
    )]
    SlowPattern {
        /// Time taken.
        millis: u128,
        /// For how much text.
        bytes: usize,
    },
    /// More text than is tokenized at once.
    #[error(
        "the text has {bytes} bytes, more than the {MAX_TEXT_BYTES} that are tokenized at once"
    )]
    TextTooLong {
        /// Length of the text.
        bytes: usize,
    },
    /// The tokenizer failed on a text.
    #[error("the tokenizer failed: {0}")]
    Encode(String),
    /// A control token cannot be told from the text that spells it.
    #[error(
        "the text contains {0:?}, which this tokenizer cannot encode other than as a control token"
    )]
    ControlToken(String),
}

/// Which control tokens in a text are meant as such.
#[derive(Debug, Clone, Copy)]
enum Markup<'a> {
    /// None: all is ordinary text.
    None,
    /// Those that do not span one of these byte positions, ascending.
    Unless(&'a [usize]),
}

/// A tokenizer with its control tokens.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    added: AddedTokens,
    /// Ids of tokens that ordinary text must not produce.
    control: HashSet<u32>,
    decoding: Decoding,
    bos: Option<u32>,
    eos: Vec<u32>,
    pad: Option<u32>,
    add_bos: bool,
    /// Largest id and its token.
    last: (u32, String),
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("vocab", &self.vocab_size())
            .field("bos", &self.bos)
            .finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// Largest id plus one: how many embedding rows a model needs at least.
    pub fn vocab_size(&self) -> usize {
        self.last.0 as usize + 1
    }

    /// Bytes of the longest token as the vocabulary spells it, which is never shorter than the text it stands for. Looks at
    /// all of them.
    pub fn longest_token_bytes(&self) -> usize {
        let longest = |tokens: HashMap<String, u32>| tokens.keys().map(String::len).max();
        longest(self.inner.get_vocab(true)).unwrap_or(0).max(1)
    }

    /// Refuses a tokenizer with ids that the model, of `vocab` embeddings, does not have.
    ///
    /// # Errors
    /// [`TokenizerError::OutsideModel`] with the token that is farthest out.
    pub fn check_vocab(&self, vocab: usize) -> Result<(), TokenizerError> {
        let (id, token) = &self.last;
        if (*id as usize) < vocab {
            return Ok(());
        }
        Err(TokenizerError::OutsideModel {
            token: token.clone(),
            id: *id,
            vocab,
        })
    }

    /// The id of a token, control tokens included.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The token of an id as the vocabulary spells it (for text use [`Tokenizer::decode`]).
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Whether ordinary text never produces this token.
    pub fn is_control(&self, id: u32) -> bool {
        self.control.contains(&id)
    }

    /// The control tokens as they are spelled.
    pub fn control_tokens(&self) -> Vec<&str> {
        self.added.control_tokens()
    }

    /// The token that begins a text.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The tokens that end an answer; `generation_config.json` may know more.
    pub fn eos(&self) -> &[u32] {
        &self.eos
    }

    /// The token that fills up.
    pub fn pad(&self) -> Option<u32> {
        self.pad
    }

    /// Whether a raw prompt starts with [`Tokenizer::bos`].
    pub fn adds_bos(&self) -> bool {
        self.add_bos
    }
}
