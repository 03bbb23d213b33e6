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
        let blocks = chunks.div_ceil(u64::from(THREADS)).min(u64::from(facts.sms) * 8) as u32;
        Launch::new(self.kernel(), [blocks, 1, 1], THREADS, &params)
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
