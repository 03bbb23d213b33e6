//! Activations rounded to signed bytes with a scale for each 32.

use super::format::{Format, STEPS, UNIT};
use crate::cpu::Level;

/// Some tokens in the order in which a micro-kernel reads them.
#[derive(Default)]
pub(super) struct Strip {
    pub(super) first: usize,
    pub(super) tokens: usize,
    /// `[unit][step][token]`: four bytes each.
    pub(super) bytes: Vec<u32>,
    /// `[unit][token]`: what the bytes must be multiplied with.
    pub(super) scales: Vec<f32>,
    /// `[unit][sub][token]`, for formats with minima: the sum of 16 or 32 rounded activations.
    pub(super) sums: Vec<f32>,
    /// `[unit][sub][token]`, for formats without: minus ZERO times the sum of the bytes, where the integer sum starts.
    pub(super) starts: Vec<i32>,
}

impl Strip {
    /// Rounds tokens `first..first + tokens` of `x` `[.., cols]`.
    pub(super) fn new<F: Format>(
        level: Level,
        x: &[f32],
        cols: usize,
        first: usize,
        tokens: usize,
    ) -> Self {
        let units = cols / UNIT;
        let mut strip = Self {
            first,
            tokens,
            bytes: vec![0; units * STEPS * tokens],
            scales: vec![0.0; units * tokens],
            ..Self::default()
        };
        if F::MIN {
            strip.sums = vec![0.0; units * F::SUBS * tokens];
        } else {
            strip.starts = vec![0; units * F::SUBS * tokens];
        }
        for (token, x) in x
            .chunks_exact(cols.max(1))
            .skip(first)
            .take(tokens)
            .enumerate()
        {
            round::<F>(level, x, token, &mut strip);
        }
        strip
    }
}

/// Rounds one token into its places, with the vectors of a level.
#[cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "calls what the machine has been asked for")
)]
fn round<F: Format>(level: Level, x: &[f32], token: usize, strip: &mut Strip) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
        fn avx512<F: Format>(x: &[f32], token: usize, strip: &mut Strip) {
            body::round::<F>(x, token, strip);
        }
        #[target_feature(enable = "avx2,fma")]
        fn avx2<F: Format>(x: &[f32], token: usize, strip: &mut Strip) {
            body::round::<F>(x, token, strip);
        }
        match level {
            // SAFETY: the level is supported, which `PackedMatrix` has checked.
            Level::Avx512 | Level::Vnni => return unsafe { avx512::<F>(x, token, strip) },
            // SAFETY: the same.
            Level::Avx2 => return unsafe { avx2::<F>(x, token, strip) },
            Level::Scalar => {}
        }
    }
    body::round::<F>(x, token, strip);
}

mod body {
    use super::{Format, STEPS, Strip, UNIT};

    #[inline(always)]
    pub(super) fn round<F: Format>(x: &[f32], token: usize, strip: &mut Strip) {
        let width = strip.tokens;
        for (unit, x) in x.as_chunks::<UNIT>().0.iter().enumerate() {
            let (bytes, scale) = unit_bytes(x);
            strip.scales[unit * width + token] = scale;
            for (step, four) in bytes.as_chunks::<4>().0.iter().enumerate() {
                let four = u32::from_le_bytes(four.map(i8::cast_unsigned));
                strip.bytes[(unit * STEPS + step) * width + token] = four;
            }
            for (sub, bytes) in bytes.chunks_exact(UNIT / F::SUBS).enumerate() {
                let sum: i32 = bytes.iter().map(|&byte| i32::from(byte)).sum();
                let at = (unit * F::SUBS + sub) * width + token;
                if F::MIN {
                    strip.sums[at] = scale * sum as f32;
                } else {
                    strip.starts[at] = -F::ZERO * sum;
                }
            }
        }
    }

    /// Bytes in -127..=127 and the scale. The scale of a unit with NaN or infinity is not finite, so that results are not.
    #[inline(always)]
    fn unit_bytes(x: &[f32; UNIT]) -> ([i8; UNIT], f32) {
        let mut largest = [0.0_f32; 8];
        for x in x.as_chunks::<8>().0 {
            for (largest, x) in largest.iter_mut().zip(x) {
                // A NaN replaces all, and no comparison with it succeeds.
                if x.abs() > *largest || x.is_nan() {
                    *largest = x.abs();
                }
            }
        }
        let largest = largest
            .into_iter()
            .fold(0.0, |a: f32, b| if a >= b || a.is_nan() { a } else { b });
        let scale = largest / 127.0;
        let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        // Adding 1.5 · 2^23 rounds to a whole number in the low bits; vectorised everywhere, unlike `round`.
        const ROUND: f32 = 12_582_912.0;
        let bytes = x.map(|x| {
            let bits = (x * inverse + ROUND).to_bits();
            bits.wrapping_sub(ROUND.to_bits())
                .cast_signed()
                .clamp(-127, 127) as i8
        });
        (bytes, scale)
    }
}
