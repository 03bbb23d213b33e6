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
