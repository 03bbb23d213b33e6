//! Gate and up joined into halves, for activations that the products' epilogue does not know.

use bytemuck::NoUninit;

use super::activation::GluParams;
use super::{DeviceFacts, DevicePtr, Half, Launch};

const THREADS: u32 = 256;

/// Joins gate and up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct GluPrefill {
    pub(crate) half: Half,
    /// f32 `[tokens, stride]`, the first gate
    pub(crate) gate: DevicePtr,
    pub(crate) stride: u32,
    /// Numbers from a gate to its up.
    pub(crate) up: u32,
    /// Numbers from one gate to the next: 2 where gate and up alternate.
    pub(crate) step: u32,
    /// `[tokens, inter]`
    pub(crate) out: DevicePtr,
    pub(crate) tokens: u32,
    pub(crate) inter: u32,
    pub(crate) glu: GluParams,
}

#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct Params {
    gate: DevicePtr,
    out: DevicePtr,
    up: u64,
    tokens: u32,
    inter: u32,
    stride: u32,
    step: u32,
    glu: GluParams,
}

impl GluPrefill {
    pub(crate) fn launch(&self, facts: &DeviceFacts) -> Launch {
        let params = Params {
            gate: self.gate,
            out: self.out,
            up: self.up.into(),
            tokens: self.tokens,
            inter: self.inter,
            stride: self.stride,
            step: self.step,
            glu: self.glu,
        };
        let kernel = match self.half {
            Half::Bf16 => "glu_prefill_bf16",
            Half::F16 => "glu_prefill_f16",
        };
        let count = u64::from(self.tokens) * u64::from(self.inter);
        let blocks = count.div_ceil(THREADS.into()).min(u64::from(facts.sms) * 8) as u32;
        Launch::new(kernel, [blocks, 1, 1], THREADS, &params)
    }
}
