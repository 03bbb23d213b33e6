//! The micro-kernel with AVX2: a step of 16 rows is two registers.
//!
//! `vpmaddubsw` multiplies unsigned with signed bytes and adds two products in 16 bits, with saturation. Numbers of up to
//! six bits leave room for 2 to 8 such sums before they are widened. Bytes of 8 bits would overflow: their zero is taken
//! off, their magnitude is multiplied, and their sign goes to the activation (128 · 127 · 2 < 2^15).
#![expect(unsafe_code, reason = "vector loads take raw pointers")]

use std::arch::x86_64::*;

use super::Part;
use super::format::{Format, Layout, STEPS};
use super::unpack::{self, Lanes, Panel};

/// See [`unpack::units`].
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn unpack<F: Format>(
    group: &[u8],
    layout: &Layout,
    first: usize,
    units: usize,
    panel: &mut Panel,
    at: usize,
) {
    unpack::units::<F>(group, layout, first, units, panel, at);
}

/// Adds the products of decoded units to sums `[group][token]`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn micro<F: Format>(part: &Part<'_>, sums: &mut [Lanes]) {
    for (group, sums) in sums.chunks_mut(part.strip.tokens).enumerate() {
        for half in 0..2 {
            match part.strip.tokens {
                1 => tile::<F, 1>(part, group, half, sums),
                2 => tile::<F, 2>(part, group, half, sums),
                3 => tile::<F, 3>(part, group, half, sums),
                _ => tile::<F, 4>(part, group, half, sums),
            }
        }
    }
}

/// Eight rows × `T` tokens in registers.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn tile<F: Format, const T: usize>(part: &Part<'_>, group: usize, half: usize, out: &mut [Lanes]) {
    part.check::<F>(group + 1, T);
    assert!(out.len() == T && half < 2);
    let (panel, strip) = (part.panel, part.strip);
    // SAFETY: all indices below are within the lengths just checked; `Lanes` are aligned as vectors.
    unsafe {
        let mut sums = [_mm256_setzero_ps(); T];
        for t in 0..T {
            sums[t] = _mm256_load_ps(out[t].0.as_ptr().add(half * 8));
        }
        for i in 0..part.units {
            let (unit, column) = (part.at + group * part.units + i, part.first + i);
            for sub in 0..F::SUBS {
                let dots = dots::<F, T>(part, unit, column, sub, half);
                let at = unit * F::SUBS + sub;
                let scales = (*panel.scales.as_ptr().add(at)).0.as_ptr();
                let scale = _mm256_load_ps(scales.add(half * 8));
                for t in 0..T {
                    let activation = _mm256_set1_ps(*strip.scales.as_ptr().add(column * T + t));
                    let scale = _mm256_mul_ps(scale, activation);
                    sums[t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots[t]), scale, sums[t]);
                }
                if F::MIN {
                    let minima = (*panel.minima.as_ptr().add(at)).0.as_ptr();
                    let min = _mm256_load_ps(minima.add(half * 8));
                    let of_tokens = strip.sums.as_ptr().add((column * F::SUBS + sub) * T);
                    for t in 0..T {
                        let sum = _mm256_set1_ps(*of_tokens.add(t));
                        sums[t] = _mm256_fmadd_ps(min, sum, sums[t]);
                    }
                }
            }
        }
        for t in 0..T {
            _mm256_store_ps(out[t].0.as_mut_ptr().add(half * 8), sums[t]);
        }
    }
}

/// The integer sums of the 16 or 32 columns that share a scale.
///
/// # Safety
/// The part must have been checked for `T`, and have the unit and the column.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn dots<F: Format, const T: usize>(
    part: &Part<'_>,
    unit: usize,
    column: usize,
    sub: usize,
    half: usize,
) -> [__m256i; T] {
    let strip = part.strip;
    let per_sub = STEPS / F::SUBS;
    // How many sums of two products fit 16 bits.
    let room = (32767 / (F::LARGEST * 254)).clamp(1, per_sub as i32) as usize;
    let room = 1 << room.ilog2();
    let signed = F::LARGEST > 127;
    let mut dots = [_mm256_setzero_si256(); T];
    // SAFETY: the caller's promise; `Step` is aligned as vectors are.
    unsafe {
        if !F::MIN && !signed {
            let starts = strip.starts.as_ptr().add((column * F::SUBS + sub) * T);
            for t in 0..T {
                dots[t] = _mm256_set1_epi32(*starts.add(t));
            }
        }
        let bytes = strip.bytes.as_ptr().add(column * STEPS * T).cast::<i32>();
        for batch in 0..per_sub / room {
            let mut shorts = [_mm256_setzero_si256(); T];
            for step in 0..room {
                let step = sub * per_sub + batch * room + step;
                let lanes = (*part.panel.steps.as_ptr().add(unit * STEPS + step))
                    .0
                    .as_ptr();
                let mut weights = _mm256_load_si256(lanes.add(half * 32).cast());
                let mut magnitude = weights;
                if signed {
                    weights = _mm256_xor_si256(weights, _mm256_set1_epi8(-128));
                    magnitude = _mm256_abs_epi8(weights);
                }
                for t in 0..T {
                    let mut x = _mm256_set1_epi32(*bytes.add(step * T + t));
                    if signed {
                        x = _mm256_sign_epi8(x, weights);
                    }
                    let two = _mm256_maddubs_epi16(magnitude, x);
                    shorts[t] = _mm256_add_epi16(shorts[t], two);
                }
            }
            for t in 0..T {
                let four = _mm256_madd_epi16(shorts[t], _mm256_set1_epi16(1));
                dots[t] = _mm256_add_epi32(dots[t], four);
            }
        }
    }
    dots
}
