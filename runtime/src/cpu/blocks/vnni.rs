//! The micro-kernel with AVX-512 VNNI: a step of 16 rows is one register, and `vpdpbusd` adds its 64 products to 16 sums.
#![expect(unsafe_code, reason = "vector loads take raw pointers")]

use std::arch::x86_64::*;
use std::ops::Range;

use super::activations::Strip;
use super::format::{Format, Layout, STEPS};
use super::unpack::{Lanes, Panel};
use super::vnni_decode::{self as decode, Planes};
use super::{GROUPS, Part};

/// See [`unpack::units`](super::unpack::units).
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn unpack<F: Format>(
    group: &[u8],
    layout: &Layout,
    range: Range<usize>,
    panel: &mut Panel,
    at: usize,
) {
    let units = range.len();
    let planes = Planes::new(group, layout);
    let steps_of_units = &mut panel.steps[at * STEPS..(at + units) * STEPS];
    let subs = at * F::SUBS..(at + units) * F::SUBS;
    let (scales_of, minima) = (&mut panel.scales[subs.clone()], &mut panel.minima[subs]);
    for unit in 0..units {
        // SAFETY: the caller's units exist; what is written lies in the slices and is aligned as vectors are.
        unsafe {
            for (step, to) in decode::steps::<F>(planes, range.start + unit)
                .into_iter()
                .zip(&mut steps_of_units[unit * STEPS..])
            {
                _mm512_store_si512(to.0.as_mut_ptr().cast(), step);
            }
            let (scale, min) = decode::scales::<F>(planes, range.start + unit);
            for sub in 0..F::SUBS {
                _mm512_store_ps(scales_of[unit * F::SUBS + sub].0.as_mut_ptr(), scale[sub]);
                _mm512_store_ps(minima[unit * F::SUBS + sub].0.as_mut_ptr(), min[sub]);
            }
        }
    }
}

/// The product of a group with up to four tokens: decoded in registers and used at once.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn few<F: Format>(
    group: &[u8],
    layout: &Layout,
    strip: &Strip,
    units: usize,
    out: &mut [Lanes],
) {
    let planes = Planes::new(group, layout);
    match strip.tokens {
        1 => stream::<F, 1>(planes, strip, units, out),
        2 => stream::<F, 2>(planes, strip, units, out),
        3 => stream::<F, 3>(planes, strip, units, out),
        _ => stream::<F, 4>(planes, strip, units, out),
    }
}

/// Units that are asked for ahead of their use: 2 to 4 KiB.
const AHEAD: usize = 8;

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
#[inline]
fn stream<F: Format, const T: usize>(
    planes: Planes,
    strip: &Strip,
    units: usize,
    out: &mut [Lanes],
) {
    strip.check::<F>(units, T);
    assert!(out.len() == T);
    let per_sub = STEPS / F::SUBS;
    let mut sums = [_mm512_setzero_ps(); T];
    // SAFETY: all indices below are within the lengths just checked, and the group has the units.
    unsafe {
        for unit in 0..units {
            decode::prefetch::<F>(planes, unit + AHEAD);
            let steps = decode::steps::<F>(planes, unit);
            let (scales, minima) = decode::scales::<F>(planes, unit);
            let bytes = strip.bytes.as_ptr().add(unit * STEPS * T).cast::<i32>();
            for t in 0..T {
                let activation = _mm512_set1_ps(*strip.scales.as_ptr().add(unit * T + t));
                for sub in 0..F::SUBS {
                    let at = (unit * F::SUBS + sub) * T + t;
                    let start = if F::MIN {
                        0
                    } else {
                        *strip.starts.as_ptr().add(at)
                    };
                    // Two chains, because one would wait for itself.
                    let mut dots = [_mm512_set1_epi32(start), _mm512_setzero_si512()];
                    for step in sub * per_sub..(sub + 1) * per_sub {
                        let x = _mm512_set1_epi32(*bytes.add(step * T + t));
                        dots[step % 2] = _mm512_dpbusd_epi32(dots[step % 2], steps[step], x);
                    }
                    let dot = _mm512_cvtepi32_ps(_mm512_add_epi32(dots[0], dots[1]));
                    let scale = _mm512_mul_ps(scales[sub], activation);
                    sums[t] = _mm512_fmadd_ps(dot, scale, sums[t]);
                    if F::MIN {
                        let sum = _mm512_set1_ps(*strip.sums.as_ptr().add(at));
                        sums[t] = _mm512_fmadd_ps(minima[sub], sum, sums[t]);
                    }
                }
            }
        }
        for t in 0..T {
            _mm512_store_ps(out[t].0.as_mut_ptr(), sums[t]);
        }
    }
}

/// Adds the products of decoded units to sums `[group][token]`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn micro<F: Format>(part: &Part<'_>, sums: &mut [Lanes]) {
    let width = part.strip.tokens;
    if sums.len() == GROUPS * width {
        match width {
            1 => tile::<F, GROUPS, 1>(part, sums),
            2 => tile::<F, GROUPS, 2>(part, sums),
            3 => tile::<F, GROUPS, 3>(part, sums),
            4 => tile::<F, GROUPS, 4>(part, sums),
            5 => tile::<F, GROUPS, 5>(part, sums),
            _ => tile::<F, GROUPS, 6>(part, sums),
        }
    } else {
        match width {
            1 => tile::<F, 1, 1>(part, sums),
            2 => tile::<F, 1, 2>(part, sums),
            3 => tile::<F, 1, 3>(part, sums),
            4 => tile::<F, 1, 4>(part, sums),
            5 => tile::<F, 1, 5>(part, sums),
            _ => tile::<F, 1, 6>(part, sums),
        }
    }
}

/// `G` groups × `T` tokens in registers.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
#[inline]
fn tile<F: Format, const G: usize, const T: usize>(part: &Part<'_>, out: &mut [Lanes]) {
    part.check::<F>(G, T);
    assert!(out.len() == G * T);
    let (panel, strip) = (part.panel, part.strip);
    // SAFETY: all indices below are within the lengths just checked; `Lanes` are aligned as vectors.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); T]; G];
        for g in 0..G {
            for t in 0..T {
                sums[g][t] = _mm512_load_ps(out[g * T + t].0.as_ptr());
            }
        }
        for i in 0..part.units {
            let column = part.first + i;
            for sub in 0..F::SUBS {
                let dots = dots::<F, G, T>(part, i, sub);
                for g in 0..G {
                    let at = (part.at + g * part.units + i) * F::SUBS + sub;
                    let scale = _mm512_load_ps((*panel.scales.as_ptr().add(at)).0.as_ptr());
                    for t in 0..T {
                        let activation = _mm512_set1_ps(*strip.scales.as_ptr().add(column * T + t));
                        let scale = _mm512_mul_ps(scale, activation);
                        let dot = _mm512_cvtepi32_ps(dots[g][t]);
                        sums[g][t] = _mm512_fmadd_ps(dot, scale, sums[g][t]);
                    }
                    if F::MIN {
                        let min = _mm512_load_ps((*panel.minima.as_ptr().add(at)).0.as_ptr());
                        let of_tokens = strip.sums.as_ptr().add((column * F::SUBS + sub) * T);
                        for t in 0..T {
                            let sum = _mm512_set1_ps(*of_tokens.add(t));
                            sums[g][t] = _mm512_fmadd_ps(min, sum, sums[g][t]);
                        }
                    }
                }
            }
        }
        for g in 0..G {
            for t in 0..T {
                _mm512_store_ps(out[g * T + t].0.as_mut_ptr(), sums[g][t]);
            }
        }
    }
}

/// The integer sums of the 16 or 32 columns that share a scale.
///
/// # Safety
/// The part must have been checked for `G` and `T`; `i` counts its units.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
#[inline]
unsafe fn dots<F: Format, const G: usize, const T: usize>(
    part: &Part<'_>,
    i: usize,
    sub: usize,
) -> [[__m512i; T]; G] {
    let (panel, strip, column) = (part.panel, part.strip, part.first + i);
    let per_sub = STEPS / F::SUBS;
    let mut dots = [[_mm512_setzero_si512(); T]; G];
    // SAFETY: the caller's promise; `Step` is aligned as vectors are.
    unsafe {
        if !F::MIN {
            let starts = strip.starts.as_ptr().add((column * F::SUBS + sub) * T);
            for t in 0..T {
                let start = _mm512_set1_epi32(*starts.add(t));
                for g in 0..G {
                    dots[g][t] = start;
                }
            }
        }
        let bytes = strip.bytes.as_ptr().add(column * STEPS * T).cast::<i32>();
        for step in sub * per_sub..(sub + 1) * per_sub {
            let mut weights = [_mm512_setzero_si512(); G];
            for g in 0..G {
                let unit = part.at + g * part.units + i;
                let step = panel.steps.as_ptr().add(unit * STEPS + step);
                weights[g] = _mm512_load_si512(step.cast());
            }
            for t in 0..T {
                let x = _mm512_set1_epi32(*bytes.add(step * T + t));
                for g in 0..G {
                    dots[g][t] = _mm512_dpbusd_epi32(dots[g][t], weights[g], x);
                }
            }
        }
    }
    dots
}
