//! The micro-kernel in plain Rust, in 16-bit lanes that every vector unit multiplies.

use super::Part;
use super::format::{Format, ROWS, STEPS};
use super::unpack::Lanes;

/// Adds the products of decoded units to sums `[group][token]`.
pub(super) fn micro<F: Format>(part: &Part<'_>, sums: &mut [Lanes]) {
    let width = part.strip.tokens;
    for (group, sums) in sums.chunks_mut(width).enumerate() {
        for i in 0..part.units {
            let unit = part.at + group * part.units + i;
            for (token, sums) in sums.iter_mut().enumerate() {
                add_unit::<F>(part, unit, part.first + i, token, sums);
            }
        }
    }
}

/// `unit` counts in the panel, `column` in the strip.
#[inline]
fn add_unit<F: Format>(
    part: &Part<'_>,
    unit: usize,
    column: usize,
    token: usize,
    sums: &mut Lanes,
) {
    let (panel, strip, width) = (part.panel, part.strip, part.strip.tokens);
    let per_sub = STEPS / F::SUBS;
    let room = sums_in_16_bits(F::LARGEST).min(per_sub);
    let activation = strip.scales[column * width + token];
    for sub in 0..F::SUBS {
        let at = (column * F::SUBS + sub) * width + token;
        let mut dots = [if F::MIN { 0 } else { strip.starts[at] }; ROWS];
        let mut step = sub * per_sub;
        while step < (sub + 1) * per_sub {
            let mut lanes = [0; 64];
            for step in step..step + room {
                let x = strip.bytes[(column * STEPS + step) * width + token].to_le_bytes();
                multiply(&panel.steps[unit * STEPS + step].0, x, &mut lanes);
            }
            for (dot, lanes) in dots.iter_mut().zip(lanes.as_chunks::<4>().0) {
                *dot += lanes.iter().map(|&lane| i32::from(lane)).sum::<i32>();
            }
            step += room;
        }
        let scales = &panel.scales[unit * F::SUBS + sub].0;
        for row in 0..ROWS {
            sums.0[row] += dots[row] as f32 * (scales[row] * activation);
        }
        if F::MIN {
            let minima = &panel.minima[unit * F::SUBS + sub].0;
            for row in 0..ROWS {
                sums.0[row] += minima[row] * strip.sums[at];
            }
        }
    }
}

/// How many products of a number up to `largest` with a signed byte add up in 16 bits, as a power of two.
const fn sums_in_16_bits(largest: i32) -> usize {
    1 << (i16::MAX as i32 / (largest * 127)).ilog2()
}

/// `lanes[4 row + c] += weights[4 row + c] · x[c]`, in 16 bits: twice the lanes of 32, and a product that every machine has.
#[inline(always)]
fn multiply(weights: &[u8; 64], x: [u8; 4], lanes: &mut [i16; 64]) {
    let mut twice = [0; 8];
    for c in 0..8 {
        twice[c] = i16::from(x[c % 4].cast_signed());
    }
    for eight in 0..8 {
        for c in 0..8 {
            let lane = eight * 8 + c;
            lanes[lane] = lanes[lane].wrapping_add(i16::from(weights[lane]).wrapping_mul(twice[c]));
        }
    }
}
