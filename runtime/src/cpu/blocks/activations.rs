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

impl Strip {
    /// That this is `tokens` wide and has `units`: what unchecked kernels rest on.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn check<F: Format>(&self, units: usize, tokens: usize) {
        let corrections = if F::MIN {
            self.sums.len()
        } else {
            self.starts.len()
        };
        assert!(self.tokens == tokens && corrections >= units * F::SUBS * tokens);
        assert!(self.bytes.len() >= units * STEPS * tokens);
        assert!(self.scales.len() >= units * tokens);
    }
}

/// A unit of activations as bytes.
struct Unit {
    /// Four bytes a step, each in -127..=127.
    bytes: [u32; STEPS],
    /// Sums of the first and the second sixteen.
    sums: [i32; 2],
    /// What the bytes must be multiplied with. Not finite if an activation is not, so that neither are the results.
    scale: f32,
}

/// Rounds one token into its places.
fn round<F: Format>(level: Level, x: &[f32], token: usize, strip: &mut Strip) {
    #[cfg(target_arch = "x86_64")]
    if level >= Level::Avx512 {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
        fn avx512<F: Format>(x: &[f32], token: usize, strip: &mut Strip) {
            place::<F>(x, token, strip, |x| unit_avx512(x));
        }
        // SAFETY: the level is supported, which `PackedMatrix` has checked.
        #[expect(unsafe_code, reason = "calls what the machine has been asked for")]
        return unsafe { avx512::<F>(x, token, strip) };
    }
    let _ = level;
    place::<F>(x, token, strip, unit);
}

#[inline(always)]
fn place<F: Format>(
    x: &[f32],
    token: usize,
    strip: &mut Strip,
    unit_of: impl Fn(&[f32; UNIT]) -> Unit,
) {
    let width = strip.tokens;
    for (unit, x) in x.as_chunks::<UNIT>().0.iter().enumerate() {
        let Unit { bytes, sums, scale } = unit_of(x);
        strip.scales[unit * width + token] = scale;
        let out = &mut strip.bytes[unit * STEPS * width..][..STEPS * width];
        for step in 0..STEPS {
            out[step * width + token] = bytes[step];
        }
        let sums = if F::SUBS == 1 {
            [sums[0] + sums[1], 0]
        } else {
            sums
        };
        for sub in 0..F::SUBS {
            let at = (unit * F::SUBS + sub) * width + token;
            if F::MIN {
                strip.sums[at] = scale * sums[sub] as f32;
            } else {
                strip.starts[at] = -F::ZERO * sums[sub];
            }
        }
    }
}

/// The scale of a unit and its inverse, given the bits of its largest magnitude.
#[inline(always)]
fn scales(largest: u32) -> (f32, f32) {
    let largest = f32::from_bits(largest);
    let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
    (largest / 127.0, inverse)
}

#[inline]
fn unit(x: &[f32; UNIT]) -> Unit {
    // The bits of magnitudes are ordered as they are, infinity and NaN above all.
    let largest = x
        .iter()
        .fold(0, |largest, x| x.abs().to_bits().max(largest));
    let (scale, inverse) = scales(largest);
    // Adding 1.5 · 2^23 rounds to a whole number in the low bits: unlike `round`, vectorised everywhere.
    const ROUND: f32 = 12_582_912.0;
    let mut numbers = [0; UNIT];
    for (number, x) in numbers.iter_mut().zip(x) {
        let bits = (x * inverse + ROUND).to_bits();
        let whole = bits.wrapping_sub(ROUND.to_bits()).cast_signed();
        *number = whole.clamp(-127, 127);
    }
    let mut bytes = [0; STEPS];
    for (bytes, four) in bytes.iter_mut().zip(numbers.as_chunks::<4>().0) {
        *bytes = u32::from_le_bytes(four.map(|number| number as u8));
    }
    let (first, second) = numbers.split_at(UNIT / 2);
    Unit {
        bytes,
        sums: [first.iter().sum(), second.iter().sum()],
        scale,
    }
}

/// The same with AVX-512, whose narrowing stores the compiler does not find.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline]
#[expect(unsafe_code, reason = "vector loads take raw pointers")]
fn unit_avx512(x: &[f32; UNIT]) -> Unit {
    use std::arch::x86_64::*;
    // SAFETY: 32 activations are two registers, eight words of bytes one of 256 bits.
    unsafe {
        let (first, second) = (
            _mm512_loadu_ps(x.as_ptr()),
            _mm512_loadu_ps(x.as_ptr().add(16)),
        );
        let bits = |x| _mm512_castps_si512(_mm512_abs_ps(x));
        let largest = _mm512_reduce_max_epu32(_mm512_max_epu32(bits(first), bits(second)));
        let (scale, inverse) = scales(largest);
        let inverse = _mm512_set1_ps(inverse);
        let (low, high) = (_mm512_set1_epi32(-127), _mm512_set1_epi32(127));
        let whole = |x| {
            let whole = _mm512_cvtps_epi32(_mm512_mul_ps(x, inverse));
            _mm512_min_epi32(_mm512_max_epi32(whole, low), high)
        };
        let (first, second) = (whole(first), whole(second));
        let both = _mm256_set_m128i(_mm512_cvtepi32_epi8(second), _mm512_cvtepi32_epi8(first));
        let mut bytes = [0; STEPS];
        _mm256_storeu_si256(bytes.as_mut_ptr().cast(), both);
        Unit {
            bytes,
            sums: [
                _mm512_reduce_add_epi32(first),
                _mm512_reduce_add_epi32(second),
            ],
            scale,
        }
    }
}
