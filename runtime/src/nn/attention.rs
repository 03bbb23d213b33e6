//! Attention: appending keys and values to the cache, and reading them.

use super::error::setting;
use super::{Activations, Name, QkNorm, Rope, Step};
use crate::Result;
use crate::nn::size;
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
    /// If one is no size, or `kv` does not divide `q`.
    pub fn new(q: f64, kv: f64, dim: f64, v_dim: f64) -> Result<Self> {
        let heads = Self {
            q: size("query heads", q)?,
            kv: size("key/value heads", kv)?,
            dim: size("head_dim", dim)?,
            v_dim: size("v_head_dim", v_dim)?,
        };
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
}

/// The place of one attention's keys and values in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvSlot {
    pub(crate) layer: usize,
    pub(crate) heads: Heads,
    pub(crate) v_is_k: bool,
}

impl KvSlot {
    /// Values are the output of the key projection, which is not repeated in the rows given to [`Step::append`].
    #[must_use]
    pub fn v_is_k(self) -> Self {
        Self {
            v_is_k: true,
            ..self
        }
    }
}

/// One logit per query head that joins the softmax's sum.
#[derive(Clone, Debug)]
pub struct Sinks {}

impl Sinks {
    /// `[heads]`, a whole tensor name.
    ///
    /// # Errors
    /// If the tensor cannot be read.
    pub fn load(w: &mut Weights, name: Name, heads: Heads) -> Result<Self> {
        let _ = (w, name, heads);
        Ok(Self {})
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

/// Queries `[tokens, heads * head_dim]`, ready for [`Step::attend`].
#[derive(Clone, Debug)]
pub struct Queries(pub(crate) Activations);

/// Prepares queries, keys and values and writes keys and values to the cache. Operations run in the order called.
#[derive(Debug)]
pub struct Append<'s, 'c> {
    step: &'s mut Step<'c>,
    kv: &'s KvSlot,
    qkv: Activations,
}

impl<'s, 'c> Append<'s, 'c> {
    pub(super) fn new(step: &'s mut Step<'c>, kv: &'s KvSlot, qkv: Activations) -> Self {
        Self { step, kv, qkv }
    }

    /// Norm of queries and keys.
    #[must_use]
    pub fn qk_norm<'a>(self, norm: impl Into<Option<&'a QkNorm>>) -> Self {
        let _ = norm.into();
        self
    }

    /// Clamps queries, keys and values to ±`limit`; none and 0 are off.
    #[must_use]
    pub fn clip(self, limit: impl Into<Option<f64>>) -> Self {
        let _ = limit.into();
        self
    }

    /// Rotates queries and keys by their position.
    #[must_use]
    pub fn rope<'a>(self, rope: impl Into<Option<&'a Rope>>) -> Self {
        let _ = rope.into();
        self
    }

    /// Scales queries by their position.
    #[must_use]
    pub fn temperature<'a>(self, temperature: impl Into<Option<&'a QTemperature>>) -> Self {
        let _ = temperature.into();
        self
    }

    /// Scales values; none and 0 are off.
    #[must_use]
    pub fn v_scale(self, factor: impl Into<Option<f64>>) -> Self {
        let _ = factor.into();
        self
    }

    /// Does all that.
    ///
    /// # Errors
    /// If the width of the rows is not that of the heads.
    pub fn run(self) -> Result<Queries> {
        let _ = (self.step, self.kv, self.qkv);
        setting("unfinished")
    }
}

/// Attention over the cached keys and values.
#[derive(Debug)]
pub struct Attend<'s, 'c> {
    step: &'s Step<'c>,
    kv: &'s KvSlot,
    queries: Queries,
}

impl<'s, 'c> Attend<'s, 'c> {
    pub(super) fn new(step: &'s Step<'c>, kv: &'s KvSlot, queries: Queries) -> Self {
        Self { step, kv, queries }
    }

    /// Factor of the scores; none is 1/√`head_dim`.
    #[must_use]
    pub fn scale(self, scale: impl Into<Option<f64>>) -> Self {
        let _ = scale.into();
        self
    }

    /// cap · tanh(score / cap); none and 0 are off.
    #[must_use]
    pub fn softcap(self, cap: impl Into<Option<f64>>) -> Self {
        let _ = cap.into();
        self
    }

    /// Adds slope · position of the key.
    #[must_use]
    pub fn alibi(self, on: bool) -> Self {
        let _ = on;
        self
    }

    /// Adds a logit per head to the softmax's sum.
    #[must_use]
    pub fn sinks<'a>(self, sinks: impl Into<Option<&'a Sinks>>) -> Self {
        let _ = sinks.into();
        self
    }

    /// `[tokens, heads * v_dim]`
    ///
    /// # Errors
    /// If the queries are not of these heads.
    pub fn run(self) -> Result<Activations> {
        let _ = (self.step, self.kv, self.queries);
        setting("unfinished")
    }
}
