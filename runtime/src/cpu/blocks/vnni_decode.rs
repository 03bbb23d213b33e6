//! From the planes of a group to registers, with AVX-512: what [`unpack`](super::unpack) does in plain Rust.
#![expect(unsafe_code, reason = "vector loads take raw pointers")]

use std::arch::x86_64::*;

use super::format::{Format, Layout, ROWS, STEPS, Scales};

/// A group and where its planes lie.
#[derive(Clone, Copy)]
pub(super) struct Planes {
    low: *const u8,
    high: *const u8,
    small: *const u8,
    halves: *const u8,
}

impl Planes {
    /// Units below `cols / 32` may be decoded.
    pub(super) fn new(group: &[u8], layout: &Layout) -> Self {
        assert!(group.len() >= layout.bytes);
        let start = group.as_ptr();
        // `wrapping_add`: an empty plane may lie at the end.
        Self {
            low: start,
            high: start.wrapping_add(layout.high),
            small: start.wrapping_add(layout.small),
            halves: start.wrapping_add(layout.halves),
        }
    }
}

/// Asks for the bytes of a unit some time before they are needed; any unit may be named.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
#[inline]
pub(super) fn prefetch<F: Format>(planes: Planes, unit: usize) {
    let low = planes.low.wrapping_add(unit * F::LOW * 64);
    for line in 0..F::LOW {
        _mm_prefetch::<_MM_HINT_T0>(low.wrapping_add(line * 64).cast());
    }
}

/// The eight steps of a unit.
///
/// # Safety
/// The group must have the unit.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
#[inline]
pub(super) unsafe fn steps<F: Format>(planes: Planes, unit: usize) -> [__m512i; STEPS] {
    let mut out = [_mm512_setzero_si512(); STEPS];
    // SAFETY: a unit has `LOW` and `HIGH` lines in its planes, and of eight steps the last is in the last line.
    unsafe {
        let low = planes.low.add(unit * F::LOW * 64);
        let mask = _mm512_set1_epi8(((1_u16 << F::LOW) - 1).cast_signed() as i8);
        for step in 0..STEPS {
            let line = _mm512_loadu_si512(low.add(step * F::LOW / 8 * 64).cast());
            let shifted = _mm512_srl_epi16(line, count(step * F::LOW % 8));
            out[step] = if F::LOW == 8 {
                line
            } else {
                _mm512_and_si512(shifted, mask)
            };
        }
        if F::HIGH > 0 {
            let high = planes.high.add(unit * F::HIGH * 64);
            let mask = _mm512_set1_epi8((((1_u16 << F::HIGH) - 1) << F::LOW) as i8);
            for step in 0..STEPS {
                let line = _mm512_loadu_si512(high.add(step * F::HIGH / 8 * 64).cast());
                let (from, to) = (step * F::HIGH % 8, F::LOW);
                let shifted = if from > to {
                    _mm512_srl_epi16(line, count(from - to))
                } else {
                    _mm512_sll_epi16(line, count(to - from))
                };
                // out | (shifted & mask)
                out[step] = _mm512_ternarylogic_epi32::<0xf8>(out[step], shifted, mask);
            }
        }
        if matches!(F::SCALES, Scales::Power) {
            let values = _mm512_broadcast_i32x4(_mm_setr_epi8(
                12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0,
            ));
            for step in &mut out {
                *step = _mm512_shuffle_epi8(values, *step);
            }
        }
    }
    out
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
#[inline]
fn count(bits: usize) -> __m128i {
    _mm_cvtsi32_si128(bits as i32)
}

/// Scales and minima of a unit, [`Format::SUBS`] of each; minima are zero if the format has none.
///
/// # Safety
/// The group must have the unit.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
#[inline]
pub(super) unsafe fn scales<F: Format>(planes: Planes, unit: usize) -> ([__m512; 2], [__m512; 2]) {
    let zero = [_mm512_setzero_ps(); 2];
    let (block, inner) = (unit / 8, unit % 8);
    // SAFETY: the planes have these sets of sixteen for every unit or block of eight.
    unsafe {
        match F::SCALES {
            Scales::Half if F::MIN => {
                let (d, m) = (half(planes, unit * 2), half(planes, unit * 2 + 1));
                ([d, d], [m, m])
            }
            Scales::Half => ([half(planes, unit); 2], zero),
            Scales::Power => ([power(small(planes, unit)); 2], zero),
            Scales::SixSix => {
                let (scale, min) = pair(planes, block, inner);
                let scale = _mm512_mul_ps(half(planes, block * 2), _mm512_cvtepi32_ps(scale));
                let min = _mm512_sub_epi32(_mm512_setzero_si512(), min);
                let min = _mm512_mul_ps(half(planes, block * 2 + 1), _mm512_cvtepi32_ps(min));
                ([scale; 2], [min; 2])
            }
            Scales::Six => {
                let (first, second) = pair(planes, block, inner);
                let scale = |s| {
                    let s = _mm512_sub_epi32(s, _mm512_set1_epi32(32));
                    _mm512_mul_ps(half(planes, block), _mm512_cvtepi32_ps(s))
                };
                ([scale(first), scale(second)], zero)
            }
            Scales::FourFour => {
                let mut out = (zero, zero);
                for sub in 0..2 {
                    let both = small(planes, block * 16 + inner * 2 + sub);
                    let scale = _mm512_and_si512(both, _mm512_set1_epi32(15));
                    let min =
                        _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_srli_epi32::<4>(both));
                    out.0[sub] = _mm512_mul_ps(half(planes, block * 2), _mm512_cvtepi32_ps(scale));
                    out.1[sub] =
                        _mm512_mul_ps(half(planes, block * 2 + 1), _mm512_cvtepi32_ps(min));
                }
                out
            }
            Scales::Signed => {
                let mut out = zero;
                for sub in 0..2 {
                    let scale = small(planes, block * 16 + inner * 2 + sub);
                    let scale = _mm512_srai_epi32::<24>(_mm512_slli_epi32::<24>(scale));
                    out[sub] = _mm512_mul_ps(half(planes, block), _mm512_cvtepi32_ps(scale));
                }
                (out, zero)
            }
        }
    }
}

/// The `set`-th sixteen f16.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
#[inline]
unsafe fn half(planes: Planes, set: usize) -> __m512 {
    // SAFETY: the caller knows that they exist.
    unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(planes.halves.add(set * ROWS * 2).cast())) }
}

/// The `set`-th sixteen bytes.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
#[inline]
unsafe fn small(planes: Planes, set: usize) -> __m512i {
    // SAFETY: the caller knows that they exist.
    unsafe { _mm512_cvtepu8_epi32(_mm_loadu_si128(planes.small.add(set * ROWS).cast())) }
}

/// The two 6-bit numbers of a unit.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
#[inline]
unsafe fn pair(planes: Planes, block: usize, inner: usize) -> (__m512i, __m512i) {
    // SAFETY: the caller knows that they exist.
    let (low, high) = unsafe {
        (
            small(planes, block * 12 + inner),
            small(planes, block * 12 + 8 + inner / 2),
        )
    };
    let high = _mm512_srl_epi32(high, count(inner % 2 * 4));
    let three = _mm512_set1_epi32(3);
    let first = _mm512_slli_epi32::<4>(_mm512_and_si512(high, three));
    let second = _mm512_slli_epi32::<4>(_mm512_and_si512(_mm512_srli_epi32::<2>(high), three));
    (
        _mm512_or_si512(_mm512_and_si512(low, _mm512_set1_epi32(15)), first),
        _mm512_or_si512(_mm512_srli_epi32::<4>(low), second),
    )
}

/// `2^(e - 128)`: the values of E2M1 are doubled.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
#[inline]
fn power(e: __m512i) -> __m512 {
    let normal = _mm512_slli_epi32::<23>(_mm512_sub_epi32(e, _mm512_set1_epi32(1)));
    let subnormal = _mm512_sllv_epi32(_mm512_set1_epi32(0x0020_0000), e);
    let is_normal = _mm512_cmpgt_epi32_mask(e, _mm512_set1_epi32(1));
    _mm512_castsi512_ps(_mm512_mask_blend_epi32(is_normal, subnormal, normal))
}
