//! The exponential function and what layers build on it, in f32 arithmetic without tables or branches.
//!
//! Relative errors, tested against double precision: `exp` 2e-7, the others 1e-6.

use super::{leveled, multiply_add};

leveled! {
    /// `x = exp(x)`; below the normal numbers of f32 only the absolute error is small.
    pub fn exp_in_place(x: &mut [f32]);

    /// `x = exp(x - shift)`, and the sum of that: a softmax without its division.
    #[must_use]
    pub fn exp_minus(x: &mut [f32], shift: f32) -> f32;

    /// `x = 1 / (1 + exp(-x))`.
    pub fn sigmoid(x: &mut [f32]);

    /// `x = x · sigmoid(x)`.
    pub fn silu(x: &mut [f32]);

    /// `x = tanh(x)`.
    pub fn tanh(x: &mut [f32]);

    /// `x = x · Φ(x)` with the normal distribution Φ.
    pub fn gelu(x: &mut [f32]);

    /// The approximation of [`gelu`] by `tanh`, with `√(2/π) (x + 0.044715 x³)`.
    pub fn gelu_tanh(x: &mut [f32]);
}

/// `exp(x)`: x = n ln 2 + r with |r| ≤ ln 2 / 2, a polynomial for r (coefficients: Cephes `expf`), n into the exponent.
#[inline(always)]
#[expect(clippy::excessive_precision, reason = "published constants")]
fn exp<const FMA: bool>(x: f32) -> f32 {
    // Comparisons, not `clamp`: NaN must stay NaN.
    let x = if x > 89.0 { 89.0 } else { x };
    let x = if x < -104.0 { -104.0 } else { x };
    // Adding 1.5 · 2^23 rounds to a whole number, which then stands in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let shifted = multiply_add::<FMA>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = multiply_add::<FMA>(n, -0.693_359_375, x);
    let r = multiply_add::<FMA>(n, 2.121_944_40e-4, r);
    let mut p = 1.987_569_15e-4;
    for coefficient in [
        1.398_199_950_7e-3,
        8.333_451_907_3e-3,
        4.166_579_589_4e-2,
        1.666_666_545_9e-1,
        5.000_000_120_1e-1,
    ] {
        p = multiply_add::<FMA>(p, r, coefficient);
    }
    let y = multiply_add::<FMA>(p, r * r, r) + 1.0;
    // In two steps: 2^n itself may be too large or too small for f32.
    let n = shifted
        .to_bits()
        .cast_signed()
        .wrapping_sub(ROUND.to_bits().cast_signed());
    let half = n >> 1;
    y * power_of_two(half) * power_of_two(n.wrapping_sub(half))
}

/// `2^n` for -126 ≤ n ≤ 127.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) << 23).cast_unsigned())
}

/// `tanh(x)`: a polynomial near zero, where the exponential form would cancel (coefficients: Cephes `tanhf`).
#[inline(always)]
#[expect(clippy::excessive_precision, reason = "published constants")]
fn tanh_of<const FMA: bool>(x: f32) -> f32 {
    let z = x * x;
    let mut p = -5.704_988_727_45e-3;
    for coefficient in [
        2.063_908_879_54e-2,
        -5.373_971_555_31e-2,
        1.333_144_220_36e-1,
        -3.333_328_194_22e-1,
    ] {
        p = multiply_add::<FMA>(p, z, coefficient);
    }
    let near = multiply_add::<FMA>(p * z, x, x);
    let far = 1.0 - 2.0 / (exp::<FMA>(2.0 * x.abs()) + 1.0);
    if x.abs() < 0.625 {
        near
    } else {
        far.copysign(x)
    }
}

/// `erfc(z)` for z ≥ 0 (Numerical Recipes, section 6.2: fractional error 1.2e-7).
#[inline(always)]
#[expect(clippy::excessive_precision, reason = "published constants")]
fn erfc<const FMA: bool>(z: f32) -> f32 {
    let t = 1.0 / multiply_add::<FMA>(0.5, z, 1.0);
    let mut p = 0.170_872_77;
    for coefficient in [
        -0.822_152_23,
        1.488_515_87,
        -1.135_203_98,
        0.278_868_07,
        -0.186_288_06,
        0.096_784_18,
        0.374_091_96,
        1.000_023_68,
        -1.265_512_23,
    ] {
        p = multiply_add::<FMA>(p, t, coefficient);
    }
    t * exp::<FMA>(multiply_add::<FMA>(-z, z, p))
}

mod body {
    use super::{erfc, exp, multiply_add, tanh_of};

    #[inline(always)]
    pub(super) fn exp_in_place<const FMA: bool>(x: &mut [f32]) {
        for x in x {
            *x = exp::<FMA>(*x);
        }
    }

    #[inline(always)]
    pub(super) fn exp_minus<const FMA: bool>(x: &mut [f32], shift: f32) -> f32 {
        for x in x.iter_mut() {
            *x = exp::<FMA>(*x - shift);
        }
        super::super::body::sum::<FMA>(x)
    }

    #[inline(always)]
    pub(super) fn sigmoid<const FMA: bool>(x: &mut [f32]) {
        for x in x {
            *x = 1.0 / (1.0 + exp::<FMA>(-*x));
        }
    }

    #[inline(always)]
    pub(super) fn silu<const FMA: bool>(x: &mut [f32]) {
        for x in x {
            *x /= 1.0 + exp::<FMA>(-*x);
        }
    }

    #[inline(always)]
    pub(super) fn tanh<const FMA: bool>(x: &mut [f32]) {
        for x in x {
            *x = tanh_of::<FMA>(*x);
        }
    }

    #[inline(always)]
    pub(super) fn gelu<const FMA: bool>(x: &mut [f32]) {
        for x in x {
            let upper = 0.5 * erfc::<FMA>(x.abs() * std::f32::consts::FRAC_1_SQRT_2);
            *x *= if *x < 0.0 { upper } else { 1.0 - upper };
        }
    }

    /// `(1 + tanh u) / 2` is `sigmoid(2 u)`, which does not cancel for negative u.
    #[inline(always)]
    pub(super) fn gelu_tanh<const FMA: bool>(x: &mut [f32]) {
        const TWICE_SQRT_2_OVER_PI: f32 = 1.595_769;
        for x in x {
            let cubic = multiply_add::<FMA>(0.044_715 * *x * *x, *x, *x);
            *x /= 1.0 + exp::<FMA>(-TWICE_SQRT_2_OVER_PI * cubic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(low: f32, high: f32) -> Vec<f32> {
        (0..20_001)
            .map(|i| low + (high - low) * i as f32 / 20_000.0)
            .collect()
    }

    #[track_caller]
    fn check(
        f: fn(&mut [f32]),
        exact: fn(f64) -> f64,
        range: (f32, f32),
        tolerance: f64,
        floor: f64,
    ) {
        let x = grid(range.0, range.1);
        let mut y = x.clone();
        f(&mut y);
        for (x, y) in x.iter().zip(y) {
            let want = exact(f64::from(*x));
            let error = (f64::from(y) - want).abs();
            assert!(
                error <= tolerance * want.abs() + floor,
                "f({x}) is {y}, not {want}"
            );
        }
    }

    /// `erfc` in double precision by its series or continued fraction.
    fn erfc_exact(z: f64) -> f64 {
        if z < 2.5 {
            let (mut term, mut sum) = (z, z);
            for n in 1..200 {
                term *= -z * z / f64::from(n);
                sum += term / f64::from(2 * n + 1);
            }
            return 1.0 - sum * std::f64::consts::FRAC_2_SQRT_PI;
        }
        let mut fraction = z;
        for n in (1..200).rev() {
            fraction = z + f64::from(n) / 2.0 / fraction;
        }
        (-z * z).exp() / fraction / std::f64::consts::PI.sqrt()
    }

    #[test]
    fn exponentials_are_accurate() {
        check(exp_in_place, f64::exp, (-87.0, 88.7), 2e-7, 0.0);
        check(exp_in_place, f64::exp, (-1.0, 1.0), 1.3e-7, 0.0);
        check(exp_in_place, f64::exp, (-120.0, -87.0), 2e-7, 3e-45);
    }

    #[test]
    fn exponentials_of_the_ends() {
        let mut x = [f32::NEG_INFINITY, f32::INFINITY, 0.0, 89.0, f32::NAN, -1e30];
        exp_in_place(&mut x);
        assert_eq!(
            (x[0], x[1], x[2], x[3], x[5]),
            (0.0, f32::INFINITY, 1.0, f32::INFINITY, 0.0)
        );
        assert!(x[4].is_nan());
        let mut x = [f32::INFINITY, -f32::INFINITY, 100.0, -100.0];
        tanh(&mut x);
        assert_eq!(x, [1.0, -1.0, 1.0, -1.0]);
    }

    #[test]
    fn a_softmax_of_shifted_exponentials_sums_to_one() {
        let mut x = grid(-3.0, 9.0);
        let sum = exp_minus(&mut x, 9.0);
        let want: f64 = x.iter().map(|x| f64::from(*x)).sum();
        assert!((f64::from(sum) - want).abs() < 1e-6 * want);
        assert_eq!(x.last(), Some(&1.0));
    }

    #[test]
    fn activation_functions_are_accurate() {
        let sigmoid_exact = |x: f64| 1.0 / (1.0 + (-x).exp());
        check(sigmoid, sigmoid_exact, (-80.0, 80.0), 1e-6, 0.0);
        check(silu, |x| x / (1.0 + (-x).exp()), (-80.0, 80.0), 1e-6, 0.0);
        check(tanh, f64::tanh, (-20.0, 20.0), 1e-6, 0.0);
        check(tanh, f64::tanh, (-1.0, 1.0), 3e-7, 0.0);
        check(
            gelu,
            |x| {
                x * 0.5
                    * if x < 0.0 {
                        erfc_exact(-x * 0.5_f64.sqrt())
                    } else {
                        2.0 - erfc_exact(x * 0.5_f64.sqrt())
                    }
            },
            (-5.0, 12.0),
            2e-6,
            1e-12,
        );
        check(
            gelu_tanh,
            |x| {
                let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
                x / (1.0 + (-2.0 * u).exp())
            },
            (-5.0, 12.0),
            3e-6,
            1e-12,
        );
    }
}
