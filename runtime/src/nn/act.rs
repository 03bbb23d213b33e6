//! Activation functions.

use super::NnError;
use crate::{Result, cpu};

/// An activation function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// x · σ(x)
    Silu,
    /// x/2 · (1 + erf(x/√2))
    Gelu,
    /// x/2 · (1 + tanh(√(2/π) · (x + 0.044715x³)))
    GeluTanh,
    /// max(x, 0)
    Relu,
    /// max(x, 0)²
    Relu2,
    /// 1 / (1 + e⁻ˣ)
    Sigmoid,
    /// ln(1 + eˣ)
    Softplus,
    /// x
    Identity,
}

impl Act {
    /// The function that config files call so.
    ///
    /// # Errors
    /// If nothing is called so.
    pub fn named(word: &str) -> Result<Self> {
        Ok(match word {
            "silu" | "swish" => Self::Silu,
            "gelu" => Self::Gelu,
            "gelu_new" | "gelu_tanh" | "gelu_pytorch_tanh" | "gelu_fast" => Self::GeluTanh,
            "relu" => Self::Relu,
            "relu2" => Self::Relu2,
            "sigmoid" => Self::Sigmoid,
            "softplus" => Self::Softplus,
            "identity" => Self::Identity,
            _ => {
                return Err(NnError::UnknownWord {
                    what: "activation",
                    word: word.into(),
                    known: "silu, swish, gelu, gelu_new, gelu_tanh, gelu_pytorch_tanh, gelu_fast, relu, relu2, sigmoid, \
                            softplus, identity"
                        .into(),
                }
                .into());
            }
        })
    }
}

/// How a gated MLP joins gate and up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Glu {
    /// act(gate) · up
    Act(Act),
    /// gpt-oss: g = min(gate, limit), u = clamp(up, ±limit): (u + `up_shift`) · g · σ(alpha · g)
    Clamped {
        /// alpha
        alpha: f64,
        /// limit
        limit: f64,
        /// Added to up.
        up_shift: f64,
    },
}

impl From<Act> for Glu {
    fn from(act: Act) -> Self {
        Self::Act(act)
    }
}

/// Applies an activation function to every element.
pub(crate) fn apply(act: Act, x: &mut [f32]) {
    match act {
        Act::Silu => cpu::silu(x),
        Act::Gelu => cpu::gelu(x),
        Act::GeluTanh => cpu::gelu_tanh(x),
        Act::Sigmoid => cpu::sigmoid(x),
        // Comparisons instead of `max`, so that NaN stays NaN.
        Act::Relu => each(x, |x| if x < 0.0 { 0.0 } else { x }),
        Act::Relu2 => each(x, |x| if x < 0.0 { 0.0 } else { x * x }),
        Act::Softplus => each(x, softplus),
        Act::Identity => {}
    }
}

fn each(x: &mut [f32], f: impl Fn(f32) -> f32) {
    x.iter_mut().for_each(|x| *x = f(*x));
}

/// ln(1 + eˣ), without overflow.
pub(super) fn softplus(x: f32) -> f32 {
    if x > 0.0 {
        x + (-x).exp().ln_1p()
    } else {
        x.exp().ln_1p()
    }
}

/// Joins rows gate | up: writes `[_, inter]` from `[_, 2 * inter]`.
pub(crate) fn join(glu: Glu, gate_up: &[f32], out: &mut [f32], inter: usize) {
    for (pair, out) in gate_up
        .chunks_exact(2 * inter)
        .zip(out.chunks_exact_mut(inter))
    {
        let (gate, up) = pair.split_at(inter);
        match glu {
            Glu::Act(act) => {
                out.copy_from_slice(gate);
                apply(act, out);
                cpu::mul(out, up);
            }
            Glu::Clamped {
                alpha,
                limit,
                up_shift,
            } => {
                clamped(gate, up, out, [alpha as f32, limit as f32, up_shift as f32]);
            }
        }
    }
}

fn clamped(gate: &[f32], up: &[f32], out: &mut [f32], [alpha, limit, up_shift]: [f32; 3]) {
    // Comparisons instead of `min` and `clamp`, so that NaN stays NaN.
    let below = |x: f32| if x > limit { limit } else { x };
    out.iter_mut()
        .zip(gate)
        .for_each(|(out, gate)| *out = alpha * below(*gate));
    cpu::sigmoid(out);
    for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
        let up = below(*up);
        let up = if up < -limit { -limit } else { up };
        *out *= (up + up_shift) * below(*gate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_those_of_the_reference() {
        // Values of oracle/interp.py's ACT in float64.
        let cases: [(&str, [f64; 4]); 8] = [
            (
                "silu",
                [
                    -0.142_277_619_5,
                    -0.188_770_334_4,
                    0.311_229_665_6,
                    2.857_722_380_5,
                ],
            ),
            (
                "gelu",
                [
                    -0.004_049_694_1,
                    -0.154_268_769_4,
                    0.345_731_230_6,
                    2.995_950_305_9,
                ],
            ),
            (
                "gelu_tanh",
                [
                    -0.003_637_392_1,
                    -0.154_285_990_1,
                    0.345_714_009_9,
                    2.996_362_607_9,
                ],
            ),
            ("relu", [0.0, 0.0, 0.5, 3.0]),
            ("relu2", [0.0, 0.0, 0.25, 9.0]),
            (
                "sigmoid",
                [
                    0.047_425_873_2,
                    0.377_540_668_8,
                    0.622_459_331_2,
                    0.952_574_126_8,
                ],
            ),
            (
                "softplus",
                [
                    0.048_587_351_6,
                    0.474_076_984_2,
                    0.974_076_984_2,
                    3.048_587_351_6,
                ],
            ),
            ("identity", [-3.0, -0.5, 0.5, 3.0]),
        ];
        for (name, expected) in cases {
            let mut x = [-3.0, -0.5, 0.5, 3.0];
            apply(Act::named(name).unwrap(), &mut x);
            for (x, expected) in x.iter().zip(expected) {
                assert!(
                    (f64::from(*x) - expected).abs() < 3e-7,
                    "{name}: {x} {expected}"
                );
            }
        }
        assert!(
            Act::named("xielu")
                .unwrap_err()
                .to_string()
                .contains("xielu")
        );
    }

    #[test]
    fn large_arguments_stay_finite() {
        for name in ["silu", "gelu", "gelu_tanh", "relu", "sigmoid", "softplus"] {
            let mut x = [-1e4, 1e4];
            apply(Act::named(name).unwrap(), &mut x);
            assert!(x[0].abs() < 1e-30, "{name} {x:?}");
            assert!(x[1] == 1e4 || x[1] == 1.0, "{name} {x:?}");
        }
    }

    #[test]
    fn the_clamp_is_before_the_sigmoid_and_one_sided_for_the_gate() {
        let mut out = [0.0; 2];
        join(
            Glu::Clamped {
                alpha: 1.702,
                limit: 7.0,
                up_shift: 1.0,
            },
            &[9.0, -20.0, -9.0, 9.0],
            &mut out,
            2,
        );
        let expected = [
            -6.0 * 7.0 / (1.0 + (-1.702_f64 * 7.0).exp()),
            8.0 * -20.0 / (1.0 + (1.702_f64 * 20.0).exp()),
        ];
        assert!((f64::from(out[0]) - expected[0]).abs() < 1e-5, "{out:?}");
        assert!(
            (f64::from(out[1]) / expected[1] - 1.0).abs() < 1e-5,
            "{out:?}"
        );
    }
}
