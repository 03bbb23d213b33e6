//! Linear projections.

use super::error::setting;
use super::{Activations, Embedding, Name, Rows, Step};
use crate::Result;
use crate::weights::Weights;

/// `y = x Wᵀ (+ b)`, with W `[out, in]`; several projections of one input may be one matrix.
#[derive(Clone, Debug)]
pub struct Linear {
    out_features: usize,
}

impl Linear {
    /// Projections of one input, each with its number of rows, stacked in the order given.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    pub fn stacked(
        w: &mut Weights,
        parts: &[(Name, usize)],
        cols: usize,
        bias: bool,
        transposed: bool,
    ) -> Result<Self> {
        let _ = (w, cols, bias, transposed);
        Ok(Self {
            out_features: parts.iter().map(|p| p.1).sum(),
        })
    }

    /// Projections that the file keeps in one matrix.
    ///
    /// # Errors
    /// If the tensor cannot be read, or the layout does not divide its rows.
    pub fn fused(
        w: &mut Weights,
        name: Name,
        rows: &Rows,
        cols: usize,
        bias: bool,
        transposed: bool,
    ) -> Result<Self> {
        let _ = (w, name, rows, cols, bias, transposed);
        setting("unfinished")
    }

    /// A projection without bias whose number of rows, one of `allowed`, the file decides.
    ///
    /// # Errors
    /// If the tensor cannot be read.
    pub fn gate(w: &mut Weights, name: Name, allowed: &[usize], cols: usize) -> Result<Self> {
        let _ = (w, name, allowed, cols);
        setting("unfinished")
    }

    /// The projection to the vocabulary; of a tied model the embedding. `name` may stand with or without the root.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    pub fn head(
        w: &mut Weights,
        name: Name,
        embed: &Embedding,
        tied: bool,
        vocab: usize,
        hidden: usize,
        bias: bool,
    ) -> Result<Self> {
        let _ = (w, name, embed, tied, hidden, bias);
        Ok(Self {
            out_features: vocab,
        })
    }

    /// Rows of the matrix.
    #[must_use]
    pub fn out_features(&self) -> usize {
        self.out_features
    }

    /// `[tokens, in]` → `[tokens, out]`
    ///
    /// # Errors
    /// If the width of `x` is another.
    pub fn forward(&self, x: &Activations, step: &Step) -> Result<Activations> {
        let _ = (x, step);
        setting("unfinished")
    }
}
