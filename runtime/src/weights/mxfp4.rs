//! MXFP4 as safetensors have it → as ggml has it.

use std::sync::{Mutex, PoisonError};

use crate::cpu;

/// Bytes of a block, its scale apart.
const NIBBLES: usize = 16;

/// gpt-oss keeps elements 2j and 2j + 1 of a block in byte j and the scales apart; ggml keeps elements j and j + 16 in
/// byte j, behind the scale.
pub(crate) fn joined(blocks: &[u8], scales: &[u8]) -> Vec<u8> {
    const OUT: usize = NIBBLES + 1;
    const BLOCKS_PER_TASK: usize = 4096;
    let (blocks, _) = blocks.as_chunks::<NIBBLES>();
    let mut out = vec![[0; OUT]; scales.len()];
    let chunks: Vec<_> = out.chunks_mut(BLOCKS_PER_TASK).map(Mutex::new).collect();
    cpu::parallel(chunks.len(), |task| {
        // Each chunk is locked once: the lock only proves that nobody else writes there.
        let mut out = chunks[task].lock().unwrap_or_else(PoisonError::into_inner);
        let first = task * BLOCKS_PER_TASK;
        for (out, (block, scale)) in out
            .iter_mut()
            .zip(blocks[first..].iter().zip(&scales[first..]))
        {
            let nibble = |element: usize| (block[element / 2] >> (4 * (element % 2))) & 15;
            out[0] = *scale;
            for (j, byte) in out[1..].iter_mut().enumerate() {
                *byte = nibble(j) | (nibble(j + NIBBLES) << 4);
            }
        }
    });
    out.into_flattened()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::{Matrix, WeightDtype};

    const BLOCK: usize = 32;

    /// Element by element as gpt-oss.md has it.
    fn value(block: &[u8], scale: u8, element: usize) -> f32 {
        const LUT: [f32; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
        let nibble = usize::from(block[element / 2] >> (4 * (element % 2)) & 15);
        let sign = if nibble < 8 { 1.0 } else { -1.0 };
        sign * LUT[nibble % 8] * (f32::from(scale) - 127.0).exp2()
    }

    #[test]
    fn joined_blocks_have_the_same_values() {
        let blocks: Vec<u8> = (0..9000 * NIBBLES)
            .map(|i| (i * 37 + i / 11) as u8)
            .collect();
        let scales: Vec<u8> = (0..9000).map(|i| 100 + (i % 60) as u8).collect();
        let data = joined(&blocks, &scales);
        let values = Matrix::new(9000, BLOCK, WeightDtype::Mxfp4, data.into())
            .unwrap()
            .to_f32()
            .unwrap();
        for (block, values) in values.chunks_exact(BLOCK).enumerate() {
            for (element, found) in values.iter().enumerate() {
                let expected = value(
                    &blocks[block * NIBBLES..][..NIBBLES],
                    scales[block],
                    element,
                );
                assert_eq!(*found, expected, "block {block}, element {element}");
            }
        }
    }
}
