//! Rows of weights of any type as bf16 or f16, for the products of prefill.
//!
//! Values round to the nearest number of the type. MXFP4 is exact in bf16.

use bytemuck::NoUninit;

use super::{DeviceFacts, DevicePtr, Half, Launch};
use crate::weights::WeightDtype;

const THREADS: u32 = 256;

/// Where a matrix's planes begin. Which there are depends on the type: `repack.cu` says so. Types it does not split have the
/// file's blocks at `quants`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Planes {
    pub(crate) quants: DevicePtr,
    /// Upper bits of `Q6_K`.
    pub(crate) high: DevicePtr,
    pub(crate) scales: DevicePtr,
    /// Scales of scales of K-quants.
    pub(crate) supers: DevicePtr,
}

/// Writes rows as halves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dequantize {
    pub(crate) dtype: WeightDtype,
    pub(crate) planes: Planes,
    pub(crate) first_row: u64,
    pub(crate) rows: u32,
    pub(crate) cols: u32,
    pub(crate) half: Half,
    /// `[rows, out_stride]`, zeros beyond `cols`
    pub(crate) out: DevicePtr,
    /// A multiple of 8.
    pub(crate) out_stride: u32,
}

#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct Params {
    planes: [DevicePtr; 4],
    out: DevicePtr,
    first_row: u64,
    rows: u32,
    k: u32,
    out_stride: u32,
    unused: u32,
}

impl Dequantize {
    /// `None` for weights that are halves already.
    pub(crate) fn launch(&self, facts: &DeviceFacts) -> Option<Launch> {
        let Planes { quants, high, scales, supers } = self.planes;
        let params = Params {
            planes: [quants, high, scales, supers],
            out: self.out,
            first_row: self.first_row,
            rows: self.rows,
            k: self.cols,
            out_stride: self.out_stride,
            unused: 0,
        };
        let chunks = u64::from(self.rows) * u64::from(self.out_stride / 8);
        let blocks = chunks.div_ceil(THREADS.into()).min(u64::from(facts.sms) * 8) as u32;
        Some(Launch::new(self.kernel()?, [blocks, 1, 1], THREADS, &params))
    }

    fn kernel(&self) -> Option<&'static str> {
        let [bf16, f16] = match self.dtype {
            WeightDtype::F32 => ["dequantize_f32_bf16", "dequantize_f32_f16"],
            WeightDtype::F16 | WeightDtype::BF16 => return None,
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
        Some(if self.half == Half::Bf16 { bf16 } else { f16 })
    }
}
