//! Which block holds which positions of a sequence.

use std::collections::VecDeque;

use super::pool::{BLOCK_SIZE, Pool};

/// The blocks of one sequence in one pool: an unbroken run that begins with the first one not yet dropped.
#[derive(Debug, Default)]
pub(crate) struct BlockTable {
    /// Blocks dropped at the front.
    dropped: usize,
    blocks: VecDeque<usize>,
}

impl BlockTable {
    /// The first position that is still held.
    pub(super) fn first_position(&self) -> usize {
        self.dropped * BLOCK_SIZE
    }

    /// The first block that is still held.
    #[cfg(feature = "cuda")]
    pub(crate) fn first_block(&self) -> usize {
        self.dropped
    }

    /// Blocks missing to hold `length` positions.
    pub(super) fn missing(&self, length: usize) -> usize {
        length
            .div_ceil(BLOCK_SIZE)
            .saturating_sub(self.dropped + self.blocks.len())
    }

    /// Blocks that hold only positions before `position`.
    pub(super) fn before(&self, position: usize) -> usize {
        (position / BLOCK_SIZE)
            .saturating_sub(self.dropped)
            .min(self.blocks.len())
    }

    /// Gives back the blocks that hold only positions before `position`.
    pub(super) fn drop_before(&mut self, position: usize, pool: &mut Pool) {
        for _ in 0..self.before(position) {
            if let Some(block) = self.blocks.pop_front() {
                pool.give_back(block);
                self.dropped += 1;
            }
        }
    }

    /// Gives back the blocks that hold only positions from `length` on.
    pub(super) fn truncate(&mut self, length: usize, pool: &mut Pool) {
        let keep = length.div_ceil(BLOCK_SIZE).saturating_sub(self.dropped);
        for block in self.blocks.drain(keep.min(self.blocks.len())..) {
            pool.give_back(block);
        }
        if self.blocks.is_empty() {
            // The next block to be taken is that of position `length`; those before it are not held.
            self.dropped = length / BLOCK_SIZE;
        }
    }

    /// Takes blocks until `length` positions are held; `false` if the pool runs out.
    pub(super) fn grow(&mut self, length: usize, pool: &mut Pool) -> bool {
        for _ in 0..self.missing(length) {
            match pool.take() {
                Some(block) => self.blocks.push_back(block),
                None => return false,
            }
        }
        true
    }

    /// The block with the positions `index * BLOCK_SIZE` and following.
    pub(crate) fn block(&self, index: usize) -> Option<usize> {
        self.blocks.get(index.checked_sub(self.dropped)?).copied()
    }
}
