//! Token and position embeddings.

use super::error::setting;
use super::{Activations, Name, Step};
use crate::Result;
use crate::weights::Weights;

/// What an embedding reads.
#[derive(Clone, Copy, Debug)]
pub struct EmbeddingOptions {
    /// Rows of the token table.
    pub vocab: usize,
    /// Its columns.
    pub hidden: usize,
    /// Factor, rounded to the activation dtype.
    pub scale: f64,
    /// Learned positions: table, its rows (offset included), and the row of position 0.
    pub positions: Option<(Name, usize, usize)>,
}

/// Token (and position) embeddings.
#[derive(Clone, Debug)]
pub struct Embedding {}

impl Embedding {
    /// The token table is `[vocab, hidden]`.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    pub fn load(w: &mut Weights, tokens: Name, options: EmbeddingOptions) -> Result<Self> {
        let _ = (w, tokens, options);
        Ok(Self {})
    }

    /// The step's tokens → `[tokens, hidden]`
    ///
    /// # Errors
    /// If a token is not in the vocabulary or a position not in the table.
    pub fn forward(&self, step: &Step) -> Result<Activations> {
        let _ = step;
        setting("unfinished")
    }
}
