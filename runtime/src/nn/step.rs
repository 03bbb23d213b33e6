//! One forward pass over runs of tokens of several sequences.

use candle_core::Tensor;

use super::error::setting;
use super::{Act, Activations, Append, Attend, Glu, KvSlot, Linear, Queries};
use crate::Result;
use crate::kv_cache::{KvCache, SequenceId};

/// Which tokens' logits are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// The last token's.
    Last,
    /// Those of the last so many tokens.
    LastN(usize),
    /// All.
    All,
    /// None.
    None,
}

/// The next tokens of one sequence.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// The sequence.
    pub sequence: SequenceId,
    /// Its next tokens.
    pub tokens: &'a [u32],
    /// Which of their logits are wanted.
    pub logits: Want,
}

/// One forward pass: tokens, their positions, and the cache that keeps their keys and values.
#[derive(Debug)]
pub struct Step<'c> {
    cache: &'c mut KvCache,
}

impl<'c> Step<'c> {
    /// Makes room in the cache. The runs count as cached when their logits have been computed.
    ///
    /// # Errors
    /// If the cache has no room, a sequence is not open or twice in the step, or a run is empty.
    pub fn new(cache: &'c mut KvCache, runs: &[Run]) -> Result<Self> {
        let _ = runs;
        Ok(Self { cache })
    }

    /// Prepares queries, keys and values out of rows q, k, v (v not for a slot that [`v_is_k`](KvSlot::v_is_k)) and
    /// writes keys and values to the cache.
    pub fn append<'s>(&'s mut self, kv: &'s KvSlot, qkv: Activations) -> Append<'s, 'c> {
        Append::new(self, kv, qkv)
    }

    /// Attention of queries over the cached keys and values.
    pub fn attend<'s>(&'s self, kv: &'s KvSlot, queries: Queries) -> Attend<'s, 'c> {
        Attend::new(self, kv, queries)
    }

    /// `[tokens, gate | up]` → `[tokens, half of it]`
    ///
    /// # Errors
    /// If the width is odd.
    pub fn glu(&self, gate_up: Activations, glu: impl Into<Glu>) -> Result<Activations> {
        let _ = (gate_up, glu.into(), &self.cache);
        setting("unfinished")
    }

    /// Applies an activation function.
    ///
    /// # Errors
    /// None on the CPU.
    pub fn activate(&self, x: Activations, act: Act) -> Result<Activations> {
        let _ = (x, act);
        setting("unfinished")
    }

    /// The rows whose logits are wanted.
    ///
    /// # Errors
    /// None on the CPU.
    pub fn wanted(&self, x: Activations) -> Result<Activations> {
        let _ = x;
        setting("unfinished")
    }

    /// The last projection. Its end counts the runs as cached.
    pub fn logits<'s>(&'s mut self, out: &'s Linear, x: Activations) -> LogitsOptions<'s, 'c> {
        LogitsOptions { step: self, out, x }
    }
}

/// The last projection of a model.
#[derive(Debug)]
pub struct LogitsOptions<'s, 'c> {
    step: &'s mut Step<'c>,
    out: &'s Linear,
    x: Activations,
}

impl LogitsOptions<'_, '_> {
    /// Factor of the logits, after the bias.
    #[must_use]
    pub fn scale(self, factor: f64) -> Self {
        let _ = factor;
        self
    }

    /// cap · tanh(logits / cap), after the factor; none and 0 are off.
    #[must_use]
    pub fn softcap(self, cap: impl Into<Option<f64>>) -> Self {
        let _ = cap.into();
        self
    }

    /// Computes them.
    ///
    /// # Errors
    /// If the width of the hidden state is another.
    pub fn run(self) -> Result<Logits> {
        let _ = (self.step, self.out, self.x);
        setting("unfinished")
    }
}

/// Logits `[rows, vocab]`, f32: the wanted rows of all runs, in their order.
#[derive(Clone, Debug)]
pub struct Logits(Tensor);

impl Logits {
    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.0.dims()[0]
    }

    /// Number of columns.
    #[must_use]
    pub fn vocab(&self) -> usize {
        self.0.dims()[1]
    }

    /// All of them, row by row.
    ///
    /// # Errors
    /// If the device fails.
    pub fn to_vec(&self) -> Result<Vec<f32>> {
        Ok(self.0.flatten_all()?.to_vec1()?)
    }
}
