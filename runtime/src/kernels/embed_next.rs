//! The first kernel of a decode step: which token comes, and its row of the embedding (`embed_next.cu`).

use bytemuck::NoUninit;

use super::decode::{Planes, Weights};
use super::{DevicePtr, Launch, WARP};
use crate::weights::WeightDtype;

/// Takes each sequence's next token: the greatest logit of the step before, else the host's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EmbedNext {
    /// `[vocab, width]`
    pub(crate) table: Weights,
    /// u64 `[tokens]`: what [`Project::best`](super::gemv::Project::best) left, 0 for nothing; cleared
    pub(crate) best: DevicePtr,
    /// u32 `[tokens]`: the host's tokens; those that were taken
    pub(crate) tokens: DevicePtr,
    /// u32 `[tokens]`: positions of the host's tokens; one more where the device's was taken
    pub(crate) positions: DevicePtr,
    /// f32 `[tokens, width]`
    pub(crate) out: DevicePtr,
    pub(crate) count: u32,
    /// Factor of the row.
    pub(crate) scale: f32,
}

#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct Params {
    table: DevicePtr,
    planes: Planes,
    best: DevicePtr,
    tokens: DevicePtr,
    positions: DevicePtr,
    out: DevicePtr,
    width: u32,
    vocab: u32,
    scale: f32,
    unused: u32,
}

impl EmbedNext {
    /// The launch, or `None` where the plain kernels must do: other types.
    pub(crate) fn launch(&self) -> Option<Launch> {
        let kernel = match self.table.dtype {
            WeightDtype::F32 => "embed_next_f32",
            WeightDtype::F16 => "embed_next_f16",
            WeightDtype::BF16 => "embed_next_bf16",
            WeightDtype::Q4_0 => "embed_next_q4_0",
            WeightDtype::Q8_0 => "embed_next_q8_0",
            WeightDtype::Q4K => "embed_next_q4k",
            WeightDtype::Q6K => "embed_next_q6k",
            _ => return None,
        };
        if self.table.rows == 0 || self.table.cols == 0 {
            return None;
        }
        let params = Params {
            table: self.table.planes[0],
            planes: self.table.planes(),
            best: self.best,
            tokens: self.tokens,
            positions: self.positions,
            out: self.out,
            width: self.table.cols,
            vocab: self.table.rows,
            scale: self.scale,
            unused: 0,
        };
        let block = self.table.cols.next_multiple_of(WARP).min(1024);
        Some(Launch::new(kernel, [self.count, 1, 1], block, &params))
    }
}
