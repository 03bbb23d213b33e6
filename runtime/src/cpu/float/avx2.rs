//! The float micro-kernel with AVX2 and FMA: 16 registers hold 4 rows × 2 tokens.
#![expect(unsafe_code, reason = "vector loads take raw pointers")]

use std::arch::x86_64::*;
use std::ops::Range;

use super::{Element, Kind, Product, Rows, TILE_ROWS, tiles};

tiles!("avx2,fma,f16c", 2, [1]);

/// The sums of `R` rows × `T` tokens over some columns.
///
/// # Safety
/// The rows and tokens must exist.
#[target_feature(enable = "avx2,fma,f16c")]
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
    let mut sums = [[_mm256_setzero_ps(); R]; T];
    // SAFETY: `row + R` rows and `token + T` tokens exist and `columns` lies within them.
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
        let whole = columns.len() / 8 * 8;
        let ahead = product.bytes_ahead(size);
        for c in (0..whole).step_by(8) {
            if T == 1 {
                for row in &w {
                    _mm_prefetch::<_MM_HINT_T0>(row.wrapping_add(c * size + ahead).cast());
                }
            }
            let mut tokens = [_mm256_setzero_ps(); T];
            for t in 0..T {
                tokens[t] = _mm256_loadu_ps(x[t].add(c));
            }
            for r in 0..R {
                let weights = load::<E>(w[r].add(c * size));
                for t in 0..T {
                    sums[t][r] = _mm256_fmadd_ps(weights, tokens[t], sums[t][r]);
                }
            }
        }
        let tail = columns.len() - whole;
        if tail > 0 {
            for t in 0..T {
                let x = load_tail::<super::F32>(x[t].add(whole).cast(), tail);
                for r in 0..R {
                    let weights = load_tail::<E>(w[r].add(whole * size), tail);
                    sums[t][r] = _mm256_fmadd_ps(weights, x, sums[t][r]);
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
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn totals<const R: usize>(v: &[__m256; R]) -> [f32; R] {
    let at = |r: usize| if r < R { v[r] } else { _mm256_setzero_ps() };
    let two = _mm256_hadd_ps(_mm256_hadd_ps(at(0), at(1)), _mm256_hadd_ps(at(2), at(3)));
    let all = _mm_add_ps(_mm256_castps256_ps128(two), _mm256_extractf128_ps::<1>(two));
    let mut out = [0.0; TILE_ROWS];
    // SAFETY: `out` is four f32.
    unsafe { _mm_storeu_ps(out.as_mut_ptr(), all) };
    let mut rows = [0.0; R];
    rows.copy_from_slice(&out[..R]);
    rows
}

/// Eight elements as f32.
///
/// # Safety
/// They must be readable.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn load<E: Element>(at: *const u8) -> __m256 {
    // SAFETY: the caller's promise.
    unsafe {
        match E::KIND {
            Kind::F32 => _mm256_loadu_ps(at.cast()),
            Kind::F16 => _mm256_cvtph_ps(_mm_loadu_si128(at.cast())),
            Kind::BF16 => _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(
                _mm_loadu_si128(at.cast()),
            ))),
        }
    }
}

/// The first `count` of eight elements, zeros after them.
///
/// # Safety
/// They must be readable, and less than eight.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn load_tail<E: Element>(at: *const u8, count: usize) -> __m256 {
    let mut bytes = [0_u8; 32];
    // SAFETY: the caller's promise; `count` elements of at most four bytes fit.
    unsafe {
        std::ptr::copy_nonoverlapping(at, bytes.as_mut_ptr(), count * E::KIND.bytes());
        load::<E>(bytes.as_ptr())
    }
}
