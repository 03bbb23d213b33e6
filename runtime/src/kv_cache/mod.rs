//! The paged cache of keys and values.

use crate::Result;
use crate::weights::KvLayer;

/// A cache that is full, or no longer holds what is asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// No room for the tokens of a step.
    #[error("the cache holds {capacity} tokens and {used} are in use: no room for {wanted} more")]
    Full {
        /// Tokens it holds.
        capacity: usize,
        /// Tokens in use.
        used: usize,
        /// Tokens wanted.
        wanted: usize,
    },
}

/// Size of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvCacheOptions {
    /// Tokens of all sequences together. Memory is taken as it is needed.
    pub max_tokens: usize,
}

/// A sequence in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SequenceId(u64);

/// Keys and values of all layers and sequences, in blocks of a fixed number of tokens.
#[derive(Debug)]
pub struct KvCache {
    options: KvCacheOptions,
}

impl KvCache {
    /// A cache for a model's layers.
    ///
    /// # Errors
    /// If the options make no sense.
    pub fn new(layers: &[KvLayer], options: KvCacheOptions) -> Result<Self> {
        let _ = layers;
        Ok(Self { options })
    }

    /// Opens a sequence that will have at most `length` tokens; some rope scalings are decided by it.
    ///
    /// # Errors
    /// If the cache cannot hold so many.
    pub fn open(&mut self, length: usize) -> Result<SequenceId> {
        let _ = (length, self.options);
        Ok(SequenceId(0))
    }

    /// Frees a sequence's blocks. A sequence that is not open is no error.
    pub fn close(&mut self, sequence: SequenceId) {
        let _ = sequence;
    }

    /// Tokens of a sequence that are cached; 0 if it is not open.
    #[must_use]
    pub fn len(&self, sequence: SequenceId) -> usize {
        let _ = sequence;
        0
    }

    /// Forgets all but the first `length` tokens.
    ///
    /// # Errors
    /// If the sequence is shorter, or a window layer has already dropped what the next token would need.
    pub fn truncate(&mut self, sequence: SequenceId, length: usize) -> Result<()> {
        let _ = (sequence, length);
        Ok(())
    }

    /// Bytes of memory that the cache has taken.
    #[must_use]
    pub fn bytes(&self) -> usize {
        0
    }
}
