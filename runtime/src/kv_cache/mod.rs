//! The paged cache of keys and values.
//!
//! Keys and values live in blocks of [`BLOCK_SIZE`] positions. Layers that see equally far share a pool of blocks, and
//! each sequence has a table of its blocks in each pool. A layer with a sliding window (or chunks) gives back the blocks
//! that no later token can see.

mod pool;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use pool::BLOCK_SIZE;
pub(crate) use pool::{Place, Pool};
pub(crate) use table::BlockTable;

use crate::Result;
use crate::device::Backend;
use crate::weights::KvLayer;

/// A cache that is full, or no longer holds what is asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// No room for the tokens of a step.
    #[error(
        "the KV cache holds {capacity} tokens, of which {used} are taken: no room for {wanted} more; close a sequence or \
         open a larger cache"
    )]
    Full {
        /// Tokens it holds, in whole blocks.
        capacity: usize,
        /// Tokens taken, in whole blocks.
        used: usize,
        /// Tokens wanted, in whole blocks.
        wanted: usize,
    },
    /// A sequence is longer than the cache.
    #[error("a sequence of {length} tokens does not fit a KV cache of {capacity}")]
    TooLong {
        /// Tokens of the sequence.
        length: usize,
        /// Tokens the cache holds.
        capacity: usize,
    },
    /// A sequence grows beyond the length it was opened for, by which its positions are scaled.
    #[error(
        "the sequence was opened for {opened} tokens and cannot grow to {wanted}; open it for its full length"
    )]
    BeyondLength {
        /// The length it was opened for.
        opened: usize,
        /// The length it would have.
        wanted: usize,
    },
    /// A sequence that is not open.
    #[error("sequence {0} is not open")]
    NotOpen(u64),
    /// A sequence that is in one step twice.
    #[error("sequence {0} is twice in one step; join its runs")]
    Twice(u64),
    /// A run without tokens, or a sequence or cache for none.
    #[error("{0} must have at least one token")]
    Empty(&'static str),
    /// What was asked for is no longer, or not yet, in the cache.
    #[error(
        "cannot go back to {wanted} of {length} tokens: positions before {first} are dropped; compute them again"
    )]
    Dropped {
        /// The length wanted.
        wanted: usize,
        /// The length cached.
        length: usize,
        /// First position still held by every layer.
        first: usize,
    },
    /// Blocks larger than memory can be.
    #[error(
        "the keys and values of {BLOCK_SIZE} tokens are more than memory holds; the config file is damaged"
    )]
    TooLarge,
}

/// Size of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvCacheOptions {
    /// Tokens of all sequences together, each rounded up to whole blocks. Memory is taken as it is needed.
    pub max_tokens: usize,
}

/// A sequence in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SequenceId(u64);

/// How far a layer's queries see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reach {
    pub(crate) window: Option<usize>,
    pub(crate) chunk: Option<usize>,
}

impl Reach {
    /// The first position that the query at `position` sees.
    pub(crate) fn first_seen(self, position: usize) -> usize {
        let window = self
            .window
            .map_or(0, |window| (position + 1).saturating_sub(window));
        let chunk = self
            .chunk
            .map_or(0, |chunk| position - position % chunk.max(1));
        window.max(chunk)
    }
}

/// An open sequence.
#[derive(Debug)]
pub(crate) struct Sequence {
    /// The length it was opened for.
    pub(crate) opened: usize,
    /// Tokens cached.
    pub(crate) len: usize,
    /// One for each pool.
    pub(crate) tables: Vec<BlockTable>,
}

/// Keys and values of all layers and sequences, in blocks of a fixed number of tokens.
#[derive(Debug)]
pub struct KvCache {
    pub(crate) pools: Vec<Pool>,
    /// One for each layer.
    pub(crate) places: Vec<Place>,
    #[cfg(feature = "cuda")]
    pub(crate) layers: Vec<KvLayer>,
    /// Where keys and values are when the model is on a GPU.
    #[cfg(feature = "cuda")]
    pub(crate) device: Option<Box<crate::cuda::DeviceCache>>,
    sequences: BTreeMap<SequenceId, Sequence>,
    next: u64,
    max_blocks: usize,
}

impl KvCache {
    /// A cache for a model's layers.
    ///
    /// # Errors
    /// If it is to hold no tokens, or a block would be larger than memory.
    pub fn new(layers: &[KvLayer], options: KvCacheOptions) -> Result<Self> {
        if options.max_tokens == 0 {
            return Err(CacheError::Empty("a KV cache").into());
        }
        let max_blocks = options.max_tokens.div_ceil(BLOCK_SIZE);
        let mut pools: Vec<Pool> = Vec::new();
        let mut places = Vec::with_capacity(layers.len());
        for layer in layers {
            let reach = Reach {
                window: layer.window,
                chunk: layer.chunk,
            };
            let index = pools
                .iter()
                .position(|pool| pool.reach == reach)
                .unwrap_or_else(|| {
                    pools.push(Pool::new(reach, max_blocks));
                    pools.len() - 1
                });
            places.push(
                pools[index]
                    .add_layer(index, layer)
                    .ok_or(CacheError::TooLarge)?,
            );
        }
        Ok(Self {
            pools,
            places,
            #[cfg(feature = "cuda")]
            layers: layers.to_vec(),
            #[cfg(feature = "cuda")]
            device: None,
            sequences: BTreeMap::new(),
            next: 0,
            max_blocks,
        })
    }

    /// Takes its memory on the device where the model computes; without this it does so with the first step.
    ///
    /// # Errors
    /// If there is too little.
    pub fn place(&mut self, backend: &Backend) -> Result<()> {
        match backend {
            Backend::Cpu(_) => Ok(()),
            #[cfg(feature = "cuda")]
            Backend::Cuda(gpu) => self.place_on(gpu),
        }
    }

    /// Tokens that fit, over all sequences.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.max_blocks * BLOCK_SIZE
    }

    /// Opens a sequence that will have at most `length` tokens; some rope scalings are decided by it. Blocks are taken
    /// as tokens come.
    ///
    /// # Errors
    /// If the cache cannot hold so many, or there are to be none.
    pub fn open(&mut self, length: usize) -> Result<SequenceId> {
        if length == 0 {
            return Err(CacheError::Empty("a sequence").into());
        }
        if length > self.capacity() {
            return Err(CacheError::TooLong {
                length,
                capacity: self.capacity(),
            }
            .into());
        }
        let id = SequenceId(self.next);
        self.next += 1;
        let tables = self.pools.iter().map(|_| BlockTable::default()).collect();
        self.sequences.insert(
            id,
            Sequence {
                opened: length,
                len: 0,
                tables,
            },
        );
        Ok(id)
    }

    /// Frees a sequence's blocks. A sequence that is not open is no error.
    pub fn close(&mut self, sequence: SequenceId) {
        if let Some(mut sequence) = self.sequences.remove(&sequence) {
            for (table, pool) in sequence.tables.iter_mut().zip(&mut self.pools) {
                table.truncate(0, pool);
            }
        }
    }

    /// Tokens of a sequence that are cached; 0 if it is not open.
    #[must_use]
    pub fn len(&self, sequence: SequenceId) -> usize {
        self.sequences
            .get(&sequence)
            .map_or(0, |sequence| sequence.len)
    }

    /// Whether no sequence is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sequences.is_empty()
    }

    /// Forgets all but the first `length` tokens.
    ///
    /// # Errors
    /// If the sequence is not open or shorter, or a window layer has already dropped what the next token would need.
    pub fn truncate(&mut self, sequence: SequenceId, length: usize) -> Result<()> {
        let open = self
            .sequences
            .get_mut(&sequence)
            .ok_or(CacheError::NotOpen(sequence.0))?;
        let needed = |pool: &Pool| pool.reach.first_seen(length);
        let held = open
            .tables
            .iter()
            .zip(&self.pools)
            .all(|(table, pool)| table.first_position() <= needed(pool));
        // From nothing on, anything can be computed: only positions that are needed must be held.
        if length > open.len || !(held || length == 0) {
            let first = open
                .tables
                .iter()
                .map(BlockTable::first_position)
                .max()
                .unwrap_or(0);
            return Err(CacheError::Dropped {
                wanted: length,
                length: open.len,
                first,
            }
            .into());
        }
        for (table, pool) in open.tables.iter_mut().zip(&mut self.pools) {
            table.truncate(length, pool);
        }
        open.len = length;
        Ok(())
    }

    /// Bytes of memory that the cache has taken.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.pools.iter().map(Pool::bytes).sum()
    }

    pub(crate) fn sequence(&self, sequence: SequenceId) -> Result<&Sequence> {
        Ok(self
            .sequences
            .get(&sequence)
            .ok_or(CacheError::NotOpen(sequence.0))?)
    }

    /// Drops what the next tokens of these sequences cannot see, and takes blocks for them: `(sequence, tokens)`. Takes
    /// none if they do not all fit.
    pub(crate) fn reserve(&mut self, runs: &[(SequenceId, usize)]) -> Result<()> {
        for (i, &(id, tokens)) in runs.iter().enumerate() {
            let Sequence { opened, len, .. } = *self.sequence(id)?;
            if tokens == 0 {
                return Err(CacheError::Empty("a run").into());
            }
            if runs[..i].iter().any(|run| run.0 == id) {
                return Err(CacheError::Twice(id.0).into());
            }
            if tokens > opened - len {
                return Err(CacheError::BeyondLength {
                    opened,
                    wanted: len.saturating_add(tokens),
                }
                .into());
            }
        }
        for index in 0..self.pools.len() {
            self.check_room(index, runs)?;
        }
        for &(id, tokens) in runs {
            let Some(sequence) = self.sequences.get_mut(&id) else {
                continue;
            };
            for (table, pool) in sequence.tables.iter_mut().zip(&mut self.pools) {
                table.drop_before(pool.reach.first_seen(sequence.len), pool);
                table.grow(sequence.len + tokens, pool);
            }
        }
        Ok(())
    }

    fn check_room(&self, index: usize, runs: &[(SequenceId, usize)]) -> Result<()> {
        let pool = &self.pools[index];
        let (mut wanted, mut freed) = (0, 0);
        for &(id, tokens) in runs {
            let sequence = self.sequence(id)?;
            let table = &sequence.tables[index];
            wanted += table.missing(sequence.len + tokens);
            freed += table.before(pool.reach.first_seen(sequence.len));
        }
        if wanted > pool.available() + freed {
            let [capacity, used, wanted] =
                [pool.limit(), pool.in_use() - freed, wanted].map(|n| n * BLOCK_SIZE);
            return Err(CacheError::Full {
                capacity,
                used,
                wanted,
            }
            .into());
        }
        Ok(())
    }

    /// Counts tokens as cached.
    pub(crate) fn commit(&mut self, runs: impl Iterator<Item = (SequenceId, usize)>) {
        for (id, tokens) in runs {
            if let Some(sequence) = self.sequences.get_mut(&id) {
                sequence.len += tokens;
            }
        }
    }
}
