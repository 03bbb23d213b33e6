//! Rows of weights of any type as bf16 or f16, for the products of prefill: each becomes the nearest number of the type.
//! MXFP4 is exact in bf16.

use bytemuck::NoUninit;

use super::matrix::MatrixArg;
use super::{DeviceFacts, DevicePtr, Half, Launch, THREADS};
use crate::weights::WeightDtype;

/// Writes rows as halves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dequantize {
    pub(crate) matrix: MatrixArg,
    pub(crate) dtype: WeightDtype,
    pub(crate) first_row: usize,
    pub(crate) rows: u32,
    pub(crate) half: Half,
    /// `[rows, out_stride]`, zeros beyond the matrix's columns
    pub(crate) out: DevicePtr,
    /// A multiple of 8.
    pub(crate) out_stride: u32,
}

#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct Params {
    matrix: MatrixArg,
    out: DevicePtr,
    first_row: u64,
    rows: u32,
    out_stride: u32,
}

impl Dequantize {
    pub(crate) fn launch(&self, facts: &DeviceFacts) -> Launch {
        let params = Params {
            matrix: self.matrix,
            out: self.out,
            first_row: self.first_row as u64,
            rows: self.rows,
            out_stride: self.out_stride,
        };
        let chunks = u64::from(self.rows) * u64::from(self.out_stride / 8);
        // Enough to fill the device; blocks go on where the grid ends.
        let blocks = chunks
            .div_ceil(u64::from(THREADS))
            .min(u64::from(facts.sms) * 8) as u32;
        // Measured: overlapped with the products around it a chain of conversions and products takes 3 to 11 % longer.
        Launch {
            pdl: false,
            ..Launch::new(self.kernel(), [blocks, 1, 1], THREADS, &params)
        }
    }

    fn kernel(&self) -> &'static str {
        let [bf16, f16] = match self.dtype {
            WeightDtype::F32 => ["dequantize_f32_bf16", "dequantize_f32_f16"],
            WeightDtype::F16 => ["dequantize_f16_bf16", "dequantize_f16_f16"],
            WeightDtype::BF16 => ["dequantize_bf16_bf16", "dequantize_bf16_f16"],
            WeightDtype::Q4_0 => ["dequantize_q4_0_bf16", "dequantize_q4_0_f16"],
            WeightDtype::Q4_1 => ["dequantize_q4_1_bf16", "dequantize_q4_1_f16"],
            WeightDtype::Q5_0 => ["dequantize_q5_0_bf16", "dequantize_q5_0_f16"],
            WeightDtype::Q5_1 => ["dequantize_q5_1_bf16", "dequantize_q5_1_f16"],
            WeightDtype::Q8_0 => ["dequantize_q8_0_bf16", "dequantize_q8_0_f16"],
            WeightDtype::Q2K => ["dequantize_q2_k_bf16", "dequantize_q2_k_f16"],
            WeightDtype::Q3K => ["dequantize_q3_k_bf16", "dequantize_q3_k_f16"],
            WeightDtype::Q4K => ["dequantize_q4_k_bf16", "dequantize_q4_k_f16"],
            WeightDtype::Q5K => ["dequantize_q5_k_bf16", "dequantize_q5_k_f16"],
            WeightDtype::Q6K => ["dequantize_q6_k_bf16", "dequantize_q6_k_f16"],
            WeightDtype::Mxfp4 => ["dequantize_mxfp4_bf16", "dequantize_mxfp4_f16"],
        };
        if self.half == Half::Bf16 { bf16 } else { f16 }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Gpu, assert_close};
    use super::*;
    use crate::cpu::testing::{matrix, rng};
    use crate::cuda::DeviceMatrix;

    #[test]
    fn rows_are_their_matrix() {
        let Some(gpu) = Gpu::get() else { return };
        for dtype in WeightDtype::ALL {
            let cols = 5 * dtype.block_len();
            for (half, tolerance) in [(Half::Bf16, 4e-3), (Half::F16, 5e-4)] {
                let matrix = matrix(dtype, 9, cols, &mut rng(5));
                let device =
                    DeviceMatrix::upload(&gpu.0, std::slice::from_ref(&matrix), "a test").unwrap();
                // Rows 2 to 8, and columns that are not the matrix's.
                let stride = (cols + 1).next_multiple_of(8);
                let out = gpu.poisoned_bytes(7 * stride * 2);
                let dequantize = Dequantize {
                    matrix: device.arg(),
                    dtype,
                    first_row: 2,
                    rows: 7,
                    half,
                    out: out.ptr(),
                    out_stride: stride as u32,
                };
                gpu.run(&[dequantize.launch(&gpu.0.facts())]);
                let bits: Vec<u16> = gpu.download(&out);
                let to_f32 = |bits: &u16| match half {
                    Half::Bf16 => half::bf16::from_bits(*bits).to_f32(),
                    Half::F16 => half::f16::from_bits(*bits).to_f32(),
                };
                let found: Vec<f32> = bits.iter().map(to_f32).collect();
                let mut expected = Vec::new();
                for row in matrix.to_f32().unwrap().chunks_exact(cols).skip(2) {
                    expected.extend(row);
                    expected.resize(expected.len() + stride - cols, 0.0);
                }
                assert_close(
                    &found,
                    &expected,
                    tolerance,
                    &format!("{dtype} as {half:?}"),
                );
            }
        }
    }
}
