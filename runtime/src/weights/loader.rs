//! The weights of a checkpoint as generated code asks for them.

use crate::Result;
use crate::config::{ConfigFile, Format};
use crate::nn::{Heads, KvSlot, Name};

/// A checkpoint that does not fit its architecture.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// Everything that is wrong with it.
    #[error("{0}")]
    Report(String),
}

/// A tensor that an architecture asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedTensor {
    /// Full name in the file.
    pub name: String,
    /// Expected shape, row-major.
    pub shape: Vec<usize>,
    /// The line of the spec that asks for it.
    pub at: &'static str,
}

/// Keys and values of one attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvLayer {
    /// Key/value heads.
    pub heads: usize,
    /// Width of a key head.
    pub k_dim: usize,
    /// Width of a value head.
    pub v_dim: usize,
    /// Keys that a query sees, its own included.
    pub window: Option<usize>,
    /// Length of the chunks that see only themselves.
    pub chunk: Option<usize>,
}

/// All that a model would read and hold.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Tensors.
    pub tensors: Vec<PlannedTensor>,
    /// Keys and values.
    pub kv: Vec<KvLayer>,
    /// What is wrong with the checkpoint.
    pub problems: Vec<String>,
}

/// The weights of one model, seen from its root or from one layer.
#[derive(Debug)]
pub struct Weights<'a> {
    config: &'a ConfigFile,
    kv: Vec<KvLayer>,
}

impl<'a> Weights<'a> {
    /// Settings of the checkpoint.
    #[must_use]
    pub fn config(&self) -> &'a ConfigFile {
        self.config
    }

    /// Its format.
    #[must_use]
    pub fn format(&self) -> Format {
        self.config.format()
    }

    /// The same weights, seen from layer `i`; `prefix` is `[safetensors, GGUF]` with `{i}`.
    ///
    /// # Errors
    /// None: see [`Weights`].
    #[must_use]
    pub fn layer(&self, prefix: [&'static str; 2], i: usize) -> Weights<'a> {
        let _ = (prefix, i);
        Weights {
            config: self.config,
            kv: self.kv.clone(),
        }
    }

    /// Whether the file has no `<name>.weight`, with the root or without.
    #[must_use]
    pub fn absent(&self, name: Name) -> bool {
        let _ = name;
        false
    }

    /// A place in the cache for one attention's keys and values.
    ///
    /// # Errors
    /// None: a slot is only counted.
    pub fn kv_slot(
        &mut self,
        heads: Heads,
        window: Option<usize>,
        chunk: Option<usize>,
    ) -> Result<KvSlot> {
        let layer = self.kv.len();
        self.kv.push(KvLayer {
            heads: heads.kv,
            k_dim: heads.dim,
            v_dim: heads.v_dim,
            window,
            chunk,
        });
        Ok(KvSlot {
            layer,
            heads,
            v_is_k: false,
        })
    }
}
