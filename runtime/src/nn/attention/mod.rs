//! Attention: appending keys and values to the cache, and reading them.

mod append;
mod attend;
mod kernel;
#[cfg(test)]
mod tests;

pub use append::{Append, Queries};
pub use attend::Attend;

use super::error::setting;
use super::{Name, Vector, size};
use crate::Result;
use crate::weights::Weights;

/// Heads of an attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Query heads.
    pub q: usize,
    /// Key/value heads; divides `q`.
    pub kv: usize,
    /// Width of a query or key head.
    pub dim: usize,
    /// Width of a value head.
    pub v_dim: usize,
}

impl Heads {
    /// From numbers of the config file.
    ///
    /// # Errors
    /// If one is no size, or `kv` does not divide `q`, or heads are wider together than 2^31.
    pub fn new(q: f64, kv: f64, dim: f64, v_dim: f64) -> Result<Self> {
        let heads = Self {
            q: size("query heads", q)?,
            kv: size("key/value heads", kv)?,
            dim: size("head_dim", dim)?,
            v_dim: size("v_head_dim", v_dim)?,
        };
        size("query heads * head_dim", q * dim.max(v_dim))?;
        if heads.q.is_multiple_of(heads.kv) {
            Ok(heads)
        } else {
            setting(format!(
                "{q} query heads cannot share {kv} key/value heads evenly"
            ))
        }
    }

    /// Rows of the query projection.
    #[must_use]
    pub fn q_rows(&self) -> usize {
        self.q * self.dim
    }

    /// Rows of the key projection.
    #[must_use]
    pub fn k_rows(&self) -> usize {
        self.kv * self.dim
    }

    /// Rows of the value projection.
    #[must_use]
    pub fn v_rows(&self) -> usize {
        self.kv * self.v_dim
    }

    /// Width of the attention's result.
    #[must_use]
    pub fn out_rows(&self) -> usize {
        self.q * self.v_dim
    }

    /// Query heads that share a key/value head.
    pub(super) fn group(&self) -> usize {
        self.q / self.kv
    }
}

/// The place of one attention's keys and values in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvSlot {
    /// Which of the cache's layers.
    pub(crate) layer: usize,
    pub(crate) heads: Heads,
    pub(crate) v_is_k: bool,
}

impl KvSlot {
    /// Values are the output of the key projection, which is not repeated in the rows given to
    /// [`Step::append`](super::Step::append). They must be as wide as keys.
    #[must_use]
    pub fn v_is_k(self) -> Self {
        Self {
            v_is_k: true,
            ..self
        }
    }

    /// Width of the rows given to [`Step::append`](super::Step::append).
    pub(super) fn width(&self) -> usize {
        let v_rows = if self.v_is_k { 0 } else { self.heads.v_rows() };
        self.heads.q_rows() + self.heads.k_rows() + v_rows
    }
}

/// One logit per query head that joins the softmax's sum.
#[derive(Clone, Debug)]
pub struct Sinks(
    /// `[heads]`
    pub(super) Vector,
);

impl Sinks {
    /// `[heads]`, a whole tensor name.
    ///
    /// # Errors
    /// If the tensor cannot be read.
    pub fn load(w: &mut Weights, name: Name, heads: Heads) -> Result<Self> {
        Ok(Self(w.vector(name, "", heads.q)?.into()))
    }
}

/// Queries grow with their position: q · (1 + scale · ln(1 + ⌊p / floor⌋)).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QTemperature {
    /// scale
    pub scale: f64,
    /// floor
    pub floor: f64,
    /// p counts from 1.
    pub from_one: bool,
}

impl QTemperature {
    fn factor(&self, position: usize) -> f32 {
        let p = position as f64 + if self.from_one { 1.0 } else { 0.0 };
        (1.0 + self.scale * (p / self.floor).floor().ln_1p()) as f32
    }
}

/// An option for which 0 means off.
fn unless_zero(value: Option<f64>) -> Option<f32> {
    value
        .filter(|value| *value != 0.0)
        .map(|value| value as f32)
}
