//! Norms.

use super::parallel::for_rows;
use super::{Activations, Name, Step, Vector};
use crate::weights::Weights;
use crate::{Result, cpu};

/// What a norm divides by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NormKind {
    /// The root of the mean square.
    #[default]
    Rms,
    /// The standard deviation, after the mean is subtracted.
    Layer,
}

/// How a norm normalizes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NormOptions {
    /// What it divides by.
    pub kind: NormKind,
    /// Added to the mean square.
    pub eps: f64,
    /// Added to the weight.
    pub shift: f64,
    /// Whether a `.bias` is added.
    pub bias: bool,
}

/// A norm over the last dimension.
#[derive(Clone, Debug)]
pub struct Norm {
    kind: NormKind,
    eps: f32,
    /// `[width]`, the shift added
    weight: Option<Vector>,
    /// `[width]`
    bias: Option<Vector>,
}

impl Norm {
    /// Weight (and bias) `[width]`.
    ///
    /// # Errors
    /// If the tensors cannot be read.
    pub fn load(w: &mut Weights, name: Name, width: usize, options: &NormOptions) -> Result<Self> {
        let weight = w.vector(name, ".weight", width)?;
        let bias = if options.bias {
            Some(w.vector(name, ".bias", width)?)
        } else {
            None
        };
        Ok(Self::from_parts(options, weight, bias))
    }

    /// A norm of a weight and a bias in memory.
    pub(crate) fn from_parts(
        options: &NormOptions,
        mut weight: Vec<f32>,
        bias: Option<Vec<f32>>,
    ) -> Self {
        let shift = options.shift as f32;
        weight.iter_mut().for_each(|w| *w += shift);
        Self {
            weight: Some(weight.into()),
            bias: bias.map(Into::into),
            ..Self::unweighted(options)
        }
    }

    /// A norm without a tensor.
    #[must_use]
    pub fn unweighted(options: &NormOptions) -> Self {
        Self {
            kind: options.kind,
            eps: options.eps as f32,
            weight: None,
            bias: None,
        }
    }

    /// The weights of norms one after the other, the shift added already.
    #[cfg(feature = "cuda")]
    pub(super) fn joined(options: &NormOptions, norms: &[Self]) -> Self {
        let join = |part: fn(&Self) -> Option<&Vector>| {
            let parts: Option<Vec<&Vector>> = norms.iter().map(part).collect();
            parts.map(|parts| {
                parts
                    .iter()
                    .flat_map(|part| part.iter())
                    .copied()
                    .collect::<Vec<f32>>()
                    .into()
            })
        };
        Self {
            weight: join(|norm| norm.weight.as_ref()),
            bias: join(|norm| norm.bias.as_ref()),
            ..Self::unweighted(options)
        }
    }

    /// `[tokens, width]` → `[tokens, width]`
    ///
    /// # Errors
    /// If the width is another.
    pub fn forward(&self, x: &Activations, _step: &Step) -> Result<Activations> {
        let (tokens, width) = (x.tokens(), x.width());
        if let Some(weight) = &self.weight {
            x.check_width("a norm", weight.len())?;
        }
        #[cfg(feature = "cuda")]
        if let Some(x) = x.recorded() {
            return Ok(x.norm(self.on(&x.gpu())?).into());
        }
        let x = x.values();
        let mut out = vec![0.0; x.len()];
        for_rows(&mut out, width, |first, rows| {
            let x = &x[first * width..][..rows.len()];
            rows.copy_from_slice(x);
            self.rows(rows, width);
        });
        Activations::new(out, tokens, width)
    }

    /// The norm with its weights on a GPU.
    #[cfg(feature = "cuda")]
    pub(super) fn on(
        &self,
        gpu: &std::sync::Arc<crate::cuda::Gpu>,
    ) -> Result<crate::cuda::TapeNorm> {
        let on = |vector: &Option<Vector>| vector.as_ref().map(|vector| vector.on(gpu)).transpose();
        Ok(crate::cuda::TapeNorm {
            centred: self.kind == NormKind::Layer,
            eps: self.eps,
            weight: on(&self.weight)?,
            bias: on(&self.bias)?,
        })
    }

    /// Normalizes consecutive rows in place.
    pub(super) fn rows(&self, x: &mut [f32], width: usize) {
        for row in x.chunks_exact_mut(width) {
            self.row(row);
        }
    }

    fn row(&self, row: &mut [f32]) {
        if self.kind == NormKind::Layer {
            let mean = cpu::sum(row) / row.len() as f32;
            row.iter_mut().for_each(|x| *x -= mean);
        }
        let mean_square = cpu::sum_squares(row) / row.len() as f32;
        let factor = 1.0 / (mean_square + self.eps).sqrt();
        cpu::scale(row, factor);
        if let Some(weight) = &self.weight {
            cpu::mul(row, weight);
        }
        if let Some(bias) = &self.bias {
            cpu::add(row, bias);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(x: &[f64], kind: NormKind, eps: f64, weight: &[f64], bias: &[f64]) -> Vec<f64> {
        let n = x.len() as f64;
        let mean = if kind == NormKind::Layer {
            x.iter().sum::<f64>() / n
        } else {
            0.0
        };
        let square = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        let each = x.iter().zip(weight).zip(bias);
        each.map(|((x, w), b)| (x - mean) / (square + eps).sqrt() * w + b)
            .collect()
    }

    #[test]
    fn norms_are_those_of_the_reference_at_awkward_widths() {
        for width in [1, 3, 16, 37, 576] {
            for kind in [NormKind::Rms, NormKind::Layer] {
                let x: Vec<f32> = (0..width)
                    .map(|i| ((i * 37 % 101) as f32 - 40.0) / 7.0)
                    .collect();
                let weight: Vec<f32> = (0..width).map(|i| (i % 5) as f32 / 4.0).collect();
                let bias: Vec<f32> = (0..width).map(|i| (i % 3) as f32 - 1.0).collect();
                let options = NormOptions {
                    kind,
                    eps: 1e-3,
                    shift: 1.0,
                    bias: true,
                };
                let norm = Norm::from_parts(&options, weight.clone(), Some(bias.clone()));
                let mut out = x.clone();
                norm.rows(&mut out, width);
                let wide = |v: &[f32], shift: f64| {
                    v.iter().map(|&v| f64::from(v) + shift).collect::<Vec<_>>()
                };
                let expected = reference(
                    &wide(&x, 0.0),
                    kind,
                    1e-3,
                    &wide(&weight, 1.0),
                    &wide(&bias, 0.0),
                );
                for (out, expected) in out.iter().zip(expected) {
                    assert!(
                        (f64::from(*out) - expected).abs() < 2e-6,
                        "{kind:?} {width}: {out} {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_shift_needs_a_weight() {
        let mut x = [3.0, -3.0];
        Norm::unweighted(&NormOptions {
            shift: 1.0,
            ..NormOptions::default()
        })
        .rows(&mut x, 2);
        assert_eq!(x, [1.0, -1.0]);
    }
}
