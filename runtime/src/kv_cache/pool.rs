//! Blocks of one kind of layer.

use super::Reach;
use crate::weights::KvLayer;

/// Tokens in a block. Blocks hold positions 0..32, 32..64, .. of their sequence.
pub const BLOCK_SIZE: usize = 32;

/// Where one layer's numbers lie in a block of its pool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// The layer's pool.
    pub(crate) pool: usize,
    /// Keys `[heads, k_dim, BLOCK_SIZE]`: 32 keys side by side, so that their scores come out as a vector.
    pub(crate) k: usize,
    /// Values `[heads, BLOCK_SIZE, v_dim]`.
    pub(crate) v: usize,
}

/// The blocks of all layers that see equally far; one block holds the keys and values of all of them.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) reach: Reach,
    /// Numbers of a block.
    block_len: usize,
    limit: usize,
    blocks: Vec<Vec<f32>>,
    free: Vec<usize>,
}

impl Pool {
    pub(super) fn new(reach: Reach, limit: usize) -> Self {
        Self {
            reach,
            block_len: 0,
            limit,
            blocks: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Makes room for a layer in every block; `None` if a block becomes larger than memory can be.
    pub(super) fn add_layer(&mut self, pool: usize, layer: &KvLayer) -> Option<Place> {
        let part = |dim: usize| layer.heads.checked_mul(dim)?.checked_mul(BLOCK_SIZE);
        let k = self.block_len;
        let v = k.checked_add(part(layer.k_dim)?)?;
        self.block_len = v.checked_add(part(layer.v_dim)?)?;
        self.block_bytes().map(|_| Place { pool, k, v })
    }

    pub(super) fn block_bytes(&self) -> Option<usize> {
        self.block_len.checked_mul(size_of::<f32>())
    }

    /// Blocks that can still be taken.
    pub(super) fn available(&self) -> usize {
        self.limit - self.in_use()
    }

    pub(super) fn in_use(&self) -> usize {
        self.blocks.len() - self.free.len()
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Blocks that have ever been taken: their numbers are below this.
    #[cfg(feature = "cuda")]
    pub(crate) fn made(&self) -> usize {
        self.blocks.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.blocks.len() * self.block_len * size_of::<f32>()
    }

    /// A block with whatever its last user left in it.
    pub(super) fn take(&mut self) -> Option<usize> {
        if let Some(block) = self.free.pop() {
            return Some(block);
        }
        if self.blocks.len() >= self.limit {
            return None;
        }
        // Its memory comes with the first write: on a GPU there is none here.
        self.blocks.push(Vec::new());
        Some(self.blocks.len() - 1)
    }

    pub(super) fn give_back(&mut self, block: usize) {
        self.free.push(block);
    }

    pub(crate) fn block(&self, block: usize) -> &[f32] {
        &self.blocks[block]
    }

    pub(crate) fn block_mut(&mut self, block: usize) -> &mut [f32] {
        let numbers = &mut self.blocks[block];
        if numbers.is_empty() {
            numbers.resize(self.block_len, 0.0);
        }
        numbers
    }
}
