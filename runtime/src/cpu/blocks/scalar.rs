//! The micro-kernel in plain Rust.

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
    let activation = strip.scales[column * width + token];
    for sub in 0..F::SUBS {
        let at = (column * F::SUBS + sub) * width + token;
        let mut dots = [if F::MIN { 0 } else { strip.starts[at] }; ROWS];
        for step in sub * per_sub..(sub + 1) * per_sub {
            let x = strip.bytes[(column * STEPS + step) * width + token].to_le_bytes();
            let x = x.map(|byte| i32::from(byte.cast_signed()));
            let (weights, _) = panel.steps[unit * STEPS + step].0.as_chunks::<4>();
            for (dot, w) in dots.iter_mut().zip(weights) {
                for c in 0..4 {
                    *dot += i32::from(w[c]) * x[c];
                }
            }
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
