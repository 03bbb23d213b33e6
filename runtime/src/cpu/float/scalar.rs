//! The float product in plain Rust, written so that the compiler vectorises it for the target's baseline.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::{CHUNK, Element, Kind, Product, Rows};

/// Accumulators of a dot product.
const LANES: usize = 16;

/// Computes the results of `rows` for all tokens.
///
/// # Safety
/// No other thread may work on these rows.
#[expect(unsafe_code, reason = "passes on `Output::put`")]
pub(super) unsafe fn run<E: Element>(product: &Product<'_>, rows: Rows<'_>) {
    let size = E::KIND.bytes();
    let mut weights = [0.0; CHUNK];
    for row in 0..rows.count {
        for columns in product.chunks() {
            let start = row * product.cols + columns.start;
            let weights = &mut weights[..columns.len()];
            widen(
                E::KIND,
                &rows.data[start * size..(start + columns.len()) * size],
                weights,
            );
            for token in 0..product.tokens {
                let start = token * product.cols + columns.start;
                let sum = dot(weights, &product.x[start..start + columns.len()]);
                // SAFETY: the caller's promise.
                unsafe { product.store(rows.first + row, token, columns.start, [[sum]]) };
            }
        }
    }
}

fn widen(kind: Kind, bytes: &[u8], out: &mut [f32]) {
    match kind {
        Kind::F32 => {
            for (bytes, out) in bytes.as_chunks().0.iter().zip(out) {
                *out = f32::from_le_bytes(*bytes);
            }
        }
        Kind::F16 => {
            let mut halves = [f16::ZERO; CHUNK];
            let halves = &mut halves[..out.len()];
            for (bytes, half) in bytes.as_chunks().0.iter().zip(halves.iter_mut()) {
                *half = f16::from_le_bytes(*bytes);
            }
            halves.convert_to_f32_slice(out);
        }
        Kind::BF16 => {
            for (bytes, out) in bytes.as_chunks().0.iter().zip(out) {
                *out = bf16::from_le_bytes(*bytes).to_f32();
            }
        }
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a_whole, a_tail) = a.as_chunks::<LANES>();
    let (b_whole, b_tail) = b.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (a, b) in a_whole.iter().zip(b_whole) {
        for lane in 0..LANES {
            sums[lane] = multiply_add(a[lane], b[lane], sums[lane]);
        }
    }
    for (lane, (a, b)) in a_tail.iter().zip(b_tail).enumerate() {
        sums[lane] = multiply_add(*a, *b, sums[lane]);
    }
    sums.iter().sum()
}

/// `a * b + c`, fused where that is one instruction: elsewhere a library would be called.
#[inline]
fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
        a.mul_add(b, c)
    } else {
        a * b + c
    }
}
