//! Functions over slices of f32: sums, products, and the elementwise functions of layers.
//!
//! Each is one plain loop without branches, compiled once for every [`Level`] that has wider vectors and picked at run
//! time, so the compiler vectorises it everywhere, NEON included. Sums use a fixed number of lanes and so give the same
//! result for the same input on every call.

mod math;

pub use math::{exp_in_place, exp_minus, gelu, gelu_tanh, sigmoid, silu, tanh};

/// Partial sums of a reduction: two AVX-512 registers, enough to hide the latency of an addition.
const LANES: usize = 32;

/// Whether a fused multiply-add is one instruction on the target's baseline; elsewhere `mul_add` would call a library.
const BASELINE_FMA: bool = cfg!(any(target_arch = "aarch64", target_feature = "fma"));

/// `a * b + c`.
#[inline(always)]
fn multiply_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// Declares functions whose body, generic over `FMA`, is compiled for each level.
macro_rules! leveled {
    ($($(#[$meta:meta])* pub fn $name:ident($($arg:ident: $type:ty),*) $(-> $out:ty)?;)*) => {$(
        $(#[$meta])*
        #[inline]
        pub fn $name($($arg: $type),*) $(-> $out)? {
            #[cfg(target_arch = "x86_64")]
            {
                use $crate::cpu::Level;
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
                fn avx512($($arg: $type),*) $(-> $out)? { body::$name::<true>($($arg),*) }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $type),*) $(-> $out)? { body::$name::<true>($($arg),*) }
                #[expect(unsafe_code, reason = "calls what the machine has been asked for")]
                match Level::best() {
                    // SAFETY: the level says that the machine has the instructions.
                    Level::Avx512 | Level::Vnni => return unsafe { avx512($($arg),*) },
                    // SAFETY: the same.
                    Level::Avx2 => return unsafe { avx2($($arg),*) },
                    Level::Scalar => {}
                }
            }
            body::$name::<{ $crate::cpu::vector::BASELINE_FMA }>($($arg),*)
        }
    )*};
}
use leveled;

leveled! {
    /// `Σ a[i] · b[i]`, as far as the shorter one reaches.
    #[must_use]
    pub fn dot(a: &[f32], b: &[f32]) -> f32;

    /// `Σ x[i]²`.
    #[must_use]
    pub fn sum_squares(x: &[f32]) -> f32;

    /// `Σ x[i]`.
    #[must_use]
    pub fn sum(x: &[f32]) -> f32;

    /// The largest element that is a number; minus infinity if there is none.
    #[must_use]
    pub fn max(x: &[f32]) -> f32;

    /// `y += alpha · x`.
    pub fn axpy(alpha: f32, x: &[f32], y: &mut [f32]);

    /// `x *= alpha`.
    pub fn scale(x: &mut [f32], alpha: f32);

    /// `y += x`.
    pub fn add(y: &mut [f32], x: &[f32]);

    /// `y *= x`.
    pub fn mul(y: &mut [f32], x: &[f32]);
}

mod body {
    use super::{LANES, multiply_add};

    /// Adds the lanes up in a tree, which rounds less than one after the other.
    #[inline(always)]
    fn total(mut lanes: [f32; LANES]) -> f32 {
        let mut width = LANES / 2;
        while width > 0 {
            for lane in 0..width {
                lanes[lane] += lanes[lane + width];
            }
            width /= 2;
        }
        lanes[0]
    }

    #[inline(always)]
    pub(super) fn dot<const FMA: bool>(a: &[f32], b: &[f32]) -> f32 {
        let len = a.len().min(b.len());
        let (a, a_tail) = a[..len].as_chunks::<LANES>();
        let (b, b_tail) = b[..len].as_chunks::<LANES>();
        let mut lanes = [0.0; LANES];
        for (a, b) in a.iter().zip(b) {
            for lane in 0..LANES {
                lanes[lane] = multiply_add::<FMA>(a[lane], b[lane], lanes[lane]);
            }
        }
        let mut tail = 0.0;
        for (a, b) in a_tail.iter().zip(b_tail) {
            tail = multiply_add::<FMA>(*a, *b, tail);
        }
        total(lanes) + tail
    }

    #[inline(always)]
    pub(super) fn sum_squares<const FMA: bool>(x: &[f32]) -> f32 {
        dot::<FMA>(x, x)
    }

    #[inline(always)]
    pub(super) fn sum<const FMA: bool>(x: &[f32]) -> f32 {
        let (chunks, tail) = x.as_chunks::<LANES>();
        let mut lanes = [0.0; LANES];
        for chunk in chunks {
            for lane in 0..LANES {
                lanes[lane] += chunk[lane];
            }
        }
        total(lanes) + tail.iter().sum::<f32>()
    }

    #[inline(always)]
    pub(super) fn max<const FMA: bool>(x: &[f32]) -> f32 {
        let larger = |a: f32, b: f32| if b > a { b } else { a };
        let (chunks, tail) = x.as_chunks::<LANES>();
        let mut lanes = [f32::NEG_INFINITY; LANES];
        for chunk in chunks {
            for lane in 0..LANES {
                lanes[lane] = larger(lanes[lane], chunk[lane]);
            }
        }
        lanes
            .iter()
            .chain(tail)
            .fold(f32::NEG_INFINITY, |a, b| larger(a, *b))
    }

    #[inline(always)]
    pub(super) fn axpy<const FMA: bool>(alpha: f32, x: &[f32], y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = multiply_add::<FMA>(alpha, *x, *y);
        }
    }

    #[inline(always)]
    pub(super) fn scale<const FMA: bool>(x: &mut [f32], alpha: f32) {
        for x in x {
            *x *= alpha;
        }
    }

    #[inline(always)]
    pub(super) fn add<const FMA: bool>(y: &mut [f32], x: &[f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y += x;
        }
    }

    #[inline(always)]
    pub(super) fn mul<const FMA: bool>(y: &mut [f32], x: &[f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y *= x;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::testing::{activations, rng};

    #[test]
    fn sums_agree_with_double_precision() {
        let mut rng = rng(3);
        for len in [0, 1, 31, 32, 33, 64, 100, 1000] {
            let (a, b) = (activations(len, &mut rng), activations(len, &mut rng));
            let terms = |f: fn(f64, f64) -> f64| {
                let terms: Vec<f64> = a
                    .iter()
                    .zip(&b)
                    .map(|(a, b)| f((*a).into(), (*b).into()))
                    .collect();
                let magnitude: f64 = terms.iter().map(|t| t.abs()).sum();
                (terms.iter().sum::<f64>(), 1e-6 * magnitude)
            };
            for (got, (want, tolerance)) in [
                (dot(&a, &b), terms(|a, b| a * b)),
                (sum_squares(&a), terms(|a, _| a * a)),
                (sum(&a), terms(|a, _| a)),
            ] {
                assert!(
                    (f64::from(got) - want).abs() <= tolerance,
                    "{len}: {got} {want}"
                );
            }
            let largest = a.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(max(&a), largest);
        }
    }

    #[test]
    fn the_maximum_skips_what_is_no_number() {
        assert_eq!(max(&[f32::NAN, -3.0, f32::NAN]), -3.0);
        assert_eq!(max(&[f32::NAN; 40]), f32::NEG_INFINITY);
    }

    #[test]
    fn elementwise_functions_touch_every_element() {
        let mut rng = rng(4);
        for len in [0, 1, 7, 16, 33, 130] {
            let (x, y) = (activations(len, &mut rng), activations(len, &mut rng));
            let apply = |f: &dyn Fn(&mut [f32])| {
                let mut y = y.clone();
                f(&mut y);
                y
            };
            let want = |f: fn(f32, f32) -> f32| -> Vec<f32> {
                x.iter().zip(&y).map(|(x, y)| f(*x, *y)).collect()
            };
            assert_eq!(apply(&|y| add(y, &x)), want(|x, y| x + y));
            assert_eq!(apply(&|y| mul(y, &x)), want(|x, y| x * y));
            assert_eq!(apply(&|y| scale(y, 0.3)), want(|_, y| y * 0.3));
            for (got, want) in apply(&|y| axpy(0.3, &x, y))
                .iter()
                .zip(want(|x, y| 0.3 * x + y))
            {
                assert!((got - want).abs() < 1e-5);
            }
        }
    }
}
