//! The micro-kernel with AVX-512 VNNI: a step of 16 rows is one register, and `vpdpbusd` adds its 64 products to 16 sums.
#![expect(unsafe_code, reason = "vector loads take raw pointers")]

use std::arch::x86_64::*;

use super::format::{Format, Layout, STEPS};
use super::unpack::{self, Lanes, Panel};
use super::{GROUPS, Part};

/// See [`unpack::units`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
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
    let (panel, strip) = (part.panel, part.strip);
    let (end, last) = (part.at + G * part.units, part.first + part.units);
    assert!(strip.tokens == T && out.len() == G * T);
    assert!(panel.steps.len() >= end * STEPS && panel.scales.len() >= end * F::SUBS);
    assert!(strip.bytes.len() >= last * STEPS * T && strip.scales.len() >= last * T);
    let corrections = if F::MIN {
        strip.sums.len()
    } else {
        strip.starts.len()
    };
    assert!(corrections >= last * F::SUBS * T && panel.minima.len() >= end * F::SUBS);
    let per_sub = STEPS / F::SUBS;
    // SAFETY: all indices below are within the lengths just checked; `Lanes` and `Step` are aligned as vectors.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); T]; G];
        for g in 0..G {
            for t in 0..T {
                sums[g][t] = _mm512_load_ps(out[g * T + t].0.as_ptr());
            }
        }
        for i in 0..part.units {
            let column = part.first + i;
            let bytes = strip.bytes.as_ptr().add(column * STEPS * T).cast::<i32>();
            for sub in 0..F::SUBS {
                let at = (column * F::SUBS + sub) * T;
                let mut dots = [[_mm512_setzero_si512(); T]; G];
                if !F::MIN {
                    for t in 0..T {
                        let start = _mm512_set1_epi32(*strip.starts.as_ptr().add(at + t));
                        for g in 0..G {
                            dots[g][t] = start;
                        }
                    }
                }
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
                for g in 0..G {
                    let at_scale = (part.at + g * part.units + i) * F::SUBS + sub;
                    let scale = _mm512_load_ps((*panel.scales.as_ptr().add(at_scale)).0.as_ptr());
                    for t in 0..T {
                        let activation = _mm512_set1_ps(*strip.scales.as_ptr().add(column * T + t));
                        let scale = _mm512_mul_ps(scale, activation);
                        let dot = _mm512_cvtepi32_ps(dots[g][t]);
                        sums[g][t] = _mm512_fmadd_ps(dot, scale, sums[g][t]);
                    }
                    if F::MIN {
                        let min = _mm512_load_ps((*panel.minima.as_ptr().add(at_scale)).0.as_ptr());
                        for t in 0..T {
                            let sum = _mm512_set1_ps(*strip.sums.as_ptr().add(at + t));
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
