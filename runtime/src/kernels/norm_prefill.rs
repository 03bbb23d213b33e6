//! Norms of rows for prefill's products: f32 in, halves out.

use bytemuck::NoUninit;

use super::{DevicePtr, Half, Launch};

const THREADS: u32 = 256;

/// What a row is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Divisor {
    /// The root of the mean square.
    Rms,
    /// The standard deviation, the mean subtracted.
    Deviation,
    /// Nothing: a conversion only.
    One,
}

/// Norms rows and writes them as halves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct NormPrefill {
    pub(crate) half: Half,
    /// f32 `[rows, x_stride]`
    pub(crate) x: DevicePtr,
    pub(crate) x_stride: u32,
    /// `[rows, out_stride]`, zeros beyond `width`
    pub(crate) out: DevicePtr,
    pub(crate) out_stride: u32,
    pub(crate) rows: u32,
    pub(crate) width: u32,
    /// f32 `[width]`, or none
    pub(crate) weight: DevicePtr,
    /// f32 `[width]`, or none
    pub(crate) bias: DevicePtr,
    pub(crate) divisor: Divisor,
    pub(crate) eps: f32,
}

#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct Params {
    x: DevicePtr,
    out: DevicePtr,
    weight: DevicePtr,
    bias: DevicePtr,
    width: u32,
    x_stride: u32,
    out_stride: u32,
    kind: u32,
    eps: f32,
    unused: u32,
}

impl NormPrefill {
    pub(crate) fn launch(&self) -> Launch {
        let params = Params {
            x: self.x,
            out: self.out,
            weight: self.weight,
            bias: self.bias,
            width: self.width,
            x_stride: self.x_stride,
            out_stride: self.out_stride,
            kind: match self.divisor {
                Divisor::Rms => 0,
                Divisor::Deviation => 1,
                Divisor::One => 2,
            },
            eps: self.eps,
            unused: 0,
        };
        let kernel = match self.half {
            Half::Bf16 => "norm_prefill_bf16",
            Half::F16 => "norm_prefill_f16",
        };
        Launch::new(kernel, [self.rows, 1, 1], THREADS, &params)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Gpu, assert_close, random};
    use super::*;

    /// The twin.
    fn norm(x: &[f32], weight: &[f32], bias: &[f32], divisor: Divisor) -> Vec<f32> {
        let n = x.len() as f64;
        let mean = if divisor == Divisor::Deviation {
            x.iter().map(|x| f64::from(*x)).sum::<f64>() / n
        } else {
            0.0
        };
        let square = x
            .iter()
            .map(|x| (f64::from(*x) - mean).powi(2))
            .sum::<f64>()
            / n;
        let factor = if divisor == Divisor::One {
            1.0
        } else {
            1.0 / (square + 1e-5).sqrt()
        };
        let each = x.iter().zip(weight).zip(bias);
        each.map(|((x, w), b)| {
            ((f64::from(*x) - mean) * factor * f64::from(*w) + f64::from(*b)) as f32
        })
        .collect()
    }

    #[test]
    fn the_kernel_is_its_twin() {
        let Some(gpu) = Gpu::get() else { return };
        for (rows, width) in [(9, 64), (3, 333), (2, 2880), (1, 5001)] {
            for divisor in [Divisor::Rms, Divisor::Deviation, Divisor::One] {
                let (x, weight, bias) =
                    (random(1, rows * width), random(2, width), random(3, width));
                let (x_d, weight_d, bias_d) =
                    (gpu.upload(&x), gpu.upload(&weight), gpu.upload(&bias));
                let stride = width.next_multiple_of(8);
                let out = gpu.poisoned_bytes(rows * stride * 2);
                let launch = NormPrefill {
                    half: Half::F16,
                    x: x_d.ptr(),
                    x_stride: width as u32,
                    out: out.ptr(),
                    out_stride: stride as u32,
                    rows: rows as u32,
                    width: width as u32,
                    weight: weight_d.ptr(),
                    bias: bias_d.ptr(),
                    divisor,
                    eps: 1e-5,
                };
                gpu.run(&[launch.launch()]);
                let found: Vec<half::f16> = gpu.download(&out);
                let found: Vec<f32> = found.iter().map(|x| x.to_f32()).collect();
                let mut expected = Vec::new();
                for row in x.chunks_exact(width) {
                    expected.extend(norm(row, &weight, &bias, divisor));
                    expected.resize(expected.len() + stride - width, 0.0);
                }
                assert_close(
                    &found,
                    &expected,
                    6e-4,
                    &format!("{rows} × {width}, {divisor:?}"),
                );
            }
        }
    }
}
