//! From the blocks of a file to the planes of a group, see [`format`](super::format).

use super::format::{Format, Layout, ROWS, STEPS, Scales, UNIT};

/// Writes rows `0..rows.len() / row_bytes` (at most 16) of a file to a group of zeros; missing rows stay zero, and so do
/// their results, because their scales are zero.
pub(super) fn group<F: Format>(rows: &[u8], row_bytes: usize, layout: &Layout, group: &mut [u8]) {
    let block_bytes = F::DTYPE.block_bytes();
    let units = F::DTYPE.block_len() / UNIT;
    for (row, data) in rows.chunks_exact(row_bytes).enumerate() {
        for (index, block) in data.chunks_exact(block_bytes).enumerate() {
            for unit in 0..units {
                place::<F>(
                    &codes::<F>(block, unit),
                    group,
                    layout,
                    index * units + unit,
                    row,
                );
            }
            scales::<F>(block, index, group, layout, row);
        }
    }
}

/// The unsigned numbers of one unit of a block.
#[inline]
fn codes<F: Format>(block: &[u8], unit: usize) -> [u8; UNIT] {
    use crate::weights::WeightDtype as D;
    let nibbles = |bytes: &[u8]| -> [u8; UNIT] {
        std::array::from_fn(|k| bytes[k % 16] >> (k / 16 * 4) & 15)
    };
    // The K formats: unit u of a half of four has 32 bytes of `bits` shared with the other units.
    let shared = |bytes: &[u8], bits: usize| -> [u8; UNIT] {
        let per_byte = 8 / bits;
        let bytes = &bytes[unit / per_byte * UNIT..][..UNIT];
        std::array::from_fn(|k| bytes[k] >> (unit % per_byte * bits) & ((1 << bits) - 1))
    };
    let join = |low: [u8; UNIT], high: [u8; UNIT], shift: usize| -> [u8; UNIT] {
        std::array::from_fn(|k| low[k] | high[k] << shift)
    };
    match F::DTYPE {
        D::Q4_0 => nibbles(&block[2..]),
        D::Q4_1 => nibbles(&block[4..]),
        D::Q5_0 => join(nibbles(&block[6..]), bits(&block[2..6]), 4),
        D::Q5_1 => join(nibbles(&block[8..]), bits(&block[4..8]), 4),
        D::Q8_0 => std::array::from_fn(|k| block[2 + k] ^ 0x80),
        D::Mxfp4 => nibbles(&block[1..]),
        D::Q2K => shared(&block[16..80], 2),
        D::Q3K => join(shared(&block[32..96], 2), shared(&block[..32], 1), 2),
        D::Q4K => shared(&block[16..], 4),
        D::Q5K => join(shared(&block[48..], 4), shared(&block[16..48], 1), 4),
        D::Q6K => {
            // Nibbles of units 0 and 2 share 32 bytes, and those of 1 and 3.
            let (half, quarter) = (unit / 4, unit % 4);
            let low = &block[half * 64 + quarter % 2 * UNIT..][..UNIT];
            let low = std::array::from_fn(|k| low[k] >> (quarter / 2 * 4) & 15);
            join(low, shared(&block[128..192], 2), 4)
        }
        D::F32 | D::F16 | D::BF16 => [0; UNIT],
    }
}

/// 32 bits, one for each element.
fn bits(bytes: &[u8]) -> [u8; UNIT] {
    std::array::from_fn(|k| bytes[k / 8] >> (k % 8) & 1)
}

/// Puts the numbers of one row and unit into the planes, the four of a step at a time.
#[inline]
fn place<F: Format>(
    codes: &[u8; UNIT],
    group: &mut [u8],
    layout: &Layout,
    unit: usize,
    row: usize,
) {
    let (low, high) = group.split_at_mut(layout.high);
    let low = &mut low[unit * F::LOW * 64..][..F::LOW * 64];
    let high = &mut high[unit * F::HIGH * 64..][..F::HIGH * 64];
    let mask = |bits: usize| u32::from_ne_bytes([((1_u16 << bits) - 1) as u8; 4]);
    for (step, four) in codes.as_chunks::<4>().0.iter().enumerate() {
        let four = u32::from_le_bytes(*four);
        merge(low, F::LOW, step, row, four & mask(F::LOW));
        if F::HIGH > 0 {
            merge(high, F::HIGH, step, row, four >> F::LOW & mask(F::HIGH));
        }
    }
}

#[inline]
fn merge(plane: &mut [u8], bits: usize, step: usize, row: usize, four: u32) {
    let per_byte = 8 / bits;
    let at = step / per_byte * 64 + row * 4;
    for (byte, value) in plane[at..at + 4]
        .iter_mut()
        .zip((four << (step % per_byte * bits)).to_le_bytes())
    {
        *byte |= value;
    }
}

/// Puts the scales of one row and block into their planes.
fn scales<F: Format>(block: &[u8], index: usize, group: &mut [u8], layout: &Layout, row: usize) {
    let sets = 1 + usize::from(F::MIN);
    let mut half = |set: usize, at: usize| {
        let to = layout.halves + ((index * sets + set) * ROWS + row) * 2;
        group[to..to + 2].copy_from_slice(&block[at..at + 2]);
    };
    let (at, min_at) = match F::SCALES {
        Scales::Half | Scales::SixSix => (0, 2),
        Scales::FourFour => (80, 82),
        Scales::Six => (108, 0),
        Scales::Signed => (208, 0),
        Scales::Power => {
            group[layout.small + index * ROWS + row] = block[0];
            return;
        }
    };
    half(0, at);
    if F::MIN {
        half(1, min_at);
    }
    let small: &[u8] = match F::SCALES {
        Scales::SixSix => &six_six(&block[4..16]),
        Scales::Six => &six(&block[96..108]),
        Scales::FourFour => &block[..16],
        Scales::Signed => &block[192..208],
        Scales::Half | Scales::Power => &[],
    };
    for (j, byte) in small.iter().enumerate() {
        group[layout.small + (index * small.len() + j) * ROWS + row] = *byte;
    }
}

/// Eight (scale, minimum) pairs to bytes that each unit decodes alike, see [`pairs`].
fn six_six(bytes: &[u8]) -> [u8; 12] {
    pairs(std::array::from_fn(|j| {
        if j < 4 {
            (bytes[j] & 63, bytes[j + 4] & 63)
        } else {
            (
                bytes[j + 4] & 15 | bytes[j - 4] >> 6 << 4,
                bytes[j + 4] >> 4 | bytes[j] >> 6 << 4,
            )
        }
    }))
}

/// Sixteen scales, two for each unit, in the same form.
fn six(bytes: &[u8]) -> [u8; 12] {
    let scale =
        |j: usize| bytes[j % 8] >> (j / 8 * 4) & 15 | (bytes[8 + j % 4] >> (j / 4 * 2) & 3) << 4;
    pairs(std::array::from_fn(|j| (scale(2 * j), scale(2 * j + 1))))
}

/// Eight pairs of 6-bit numbers: the low four bits of pair j in byte j, the high two at bit `4 (j % 2)` of byte `8 + j / 2`.
fn pairs(pairs: [(u8, u8); STEPS]) -> [u8; 12] {
    let mut bytes = [0; 12];
    for (j, (first, second)) in pairs.into_iter().enumerate() {
        bytes[j] = first & 15 | second << 4;
        bytes[8 + j / 2] |= (first >> 4 | second >> 4 << 2) << (j % 2 * 4);
    }
    bytes
}
