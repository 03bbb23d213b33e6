//! The float micro-kernel with AVX-512.
#![expect(unsafe_code, reason = "vector loads take raw pointers")]

use std::arch::x86_64::*;
use std::ops::Range;

use super::{Element, Kind, Product, Rows, TILE_ROWS, tiles};

tiles!("avx512f,avx512bw,avx512dq,avx512vl", 6, [1, 2, 3, 4, 5]);

/// The sums of `R` rows × `T` tokens over some columns.
///
/// # Safety
/// The rows and tokens must exist.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline]
unsafe fn tile<E: Element, const R: usize, const T: usize>(
    product: &Product<'_>,
    rows: Rows<'_>,
    row: usize,
    token: usize,
    columns: &Range<usize>,
) -> [[f32; R]; T] {
    let size = E::KIND.bytes();
    let cols = product.cols;
    let mut sums = [[_mm512_setzero_ps(); R]; T];
    // SAFETY: `row + R` rows and `token + T` tokens exist, `columns` lies within them, and the masked loads of the tail
    // touch only `tail` elements.
    unsafe {
        // Loops, not `array::from_fn`: that is not inlined, and would force the tile out of its registers.
        let mut w = [rows.data.as_ptr(); R];
        for r in 0..R {
            w[r] = w[r].add(((row + r) * cols + columns.start) * size);
        }
        let mut x = [product.x.as_ptr(); T];
        for t in 0..T {
            x[t] = x[t].add((token + t) * cols + columns.start);
        }
        let whole = columns.len() / 16 * 16;
        let ahead = product.bytes_ahead(size);
        for c in (0..whole).step_by(16) {
            if T == 1 {
                for row in &w {
                    _mm_prefetch::<_MM_HINT_T0>(row.wrapping_add(c * size + ahead).cast());
                }
            }
            let mut weights = [_mm512_setzero_ps(); R];
            for r in 0..R {
                weights[r] = load::<E>(w[r].add(c * size));
            }
            for t in 0..T {
                let x = _mm512_loadu_ps(x[t].add(c));
                for r in 0..R {
                    sums[t][r] = _mm512_fmadd_ps(weights[r], x, sums[t][r]);
                }
            }
        }
        let tail = columns.len() - whole;
        if tail > 0 {
            let mask = (1_u16 << tail) - 1;
            for t in 0..T {
                let x = _mm512_maskz_loadu_ps(mask, x[t].add(whole));
                for r in 0..R {
                    let weights = load_tail::<E>(w[r].add(whole * size), mask);
                    sums[t][r] = _mm512_fmadd_ps(weights, x, sums[t][r]);
                }
            }
        }
    }
    let mut out = [[0.0; R]; T];
    for t in 0..T {
        out[t] = totals(&sums[t]);
    }
    out
}

/// The sum of each register's lanes. Any number of registers goes through the same tree of four.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline]
fn totals<const R: usize>(v: &[__m512; R]) -> [f32; R] {
    let at = |r: usize| if r < R { v[r] } else { _mm512_setzero_ps() };
    let two = |a, b| _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    let (ab, cd) = (two(at(0), at(1)), two(at(2), at(3)));
    let (ab, cd) = (_mm512_castps_pd(ab), _mm512_castps_pd(cd));
    // Now each 128 bits hold one partial sum of each register.
    let four = _mm512_add_ps(
        _mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd)),
        _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd)),
    );
    let half = _mm256_add_ps(
        _mm512_castps512_ps256(four),
        _mm512_extractf32x8_ps::<1>(four),
    );
    let all = _mm_add_ps(
        _mm256_castps256_ps128(half),
        _mm256_extractf128_ps::<1>(half),
    );
    let mut out = [0.0; TILE_ROWS];
    // SAFETY: `out` is four f32.
    unsafe { _mm_storeu_ps(out.as_mut_ptr(), all) };
    let mut rows = [0.0; R];
    rows.copy_from_slice(&out[..R]);
    rows
}

/// Sixteen elements as f32.
///
/// # Safety
/// They must be readable.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline]
unsafe fn load<E: Element>(at: *const u8) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe {
        match E::KIND {
            Kind::F32 => _mm512_loadu_ps(at.cast()),
            Kind::F16 => _mm512_cvtph_ps(_mm256_loadu_si256(at.cast())),
            Kind::BF16 => widen_bf16(_mm256_loadu_si256(at.cast())),
        }
    }
}

/// As many elements as `mask` has bits, zeros above them.
///
/// # Safety
/// They must be readable.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline]
unsafe fn load_tail<E: Element>(at: *const u8, mask: u16) -> __m512 {
    // SAFETY: the caller's promise; elements whose bit is clear are not read.
    unsafe {
        match E::KIND {
            Kind::F32 => _mm512_maskz_loadu_ps(mask, at.cast()),
            Kind::F16 => _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, at.cast())),
            Kind::BF16 => widen_bf16(_mm256_maskz_loadu_epi16(mask, at.cast())),
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline]
fn widen_bf16(halves: __m256i) -> __m512 {
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))
}
