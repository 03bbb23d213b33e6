//! Norms of queries and keys.

use super::{Heads, Name, NormOptions};
use crate::Result;
use crate::weights::Weights;

/// What one norm of queries or keys runs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Each head, one weight `[head_dim]` for all of them.
    Head,
    /// Each head, a weight for each.
    PerHead,
    /// All heads at once.
    Whole,
}

/// Norms of queries and keys.
#[derive(Clone, Copy, Debug)]
pub struct QkNormOptions {
    /// What one norm runs over.
    pub scope: Scope,
    /// Weight of the queries' norm; `{h}` in it: one tensor for each head.
    pub q: Option<Name>,
    /// Weight of the keys' norm.
    pub k: Option<Name>,
    /// How they normalize.
    pub norm: NormOptions,
}

/// Norms of queries and keys.
#[derive(Clone, Debug)]
pub struct QkNorm {}

impl QkNorm {
    /// Reads the weights.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    pub fn load(w: &mut Weights, options: QkNormOptions, heads: Heads) -> Result<Self> {
        let _ = (w, options, heads);
        Ok(Self {})
    }
}
