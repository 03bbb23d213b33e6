//! Choice of experts, the sum of their outputs, and the choice of the next token.

use bytemuck::NoUninit;

use super::{DevicePtr, Launch, THREADS, WARP, blocks_for};
use crate::nn::{Over, Rank, RouterOptions, Score};

/// Experts whose scores fit a block's shared memory on every GPU that the kernels run on.
pub(crate) const MAX_EXPERTS: usize = 2048;

#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct RouteParams {
    logits: DevicePtr,
    select_bias: DevicePtr,
    chosen: DevicePtr,
    weights: DevicePtr,
    experts: u32,
    top: u32,
    score: u32,
    selected: u32,
    groups: u32,
    keep: u32,
    top2: u32,
    renorm: u32,
    softcap: f32,
    renorm_eps: f32,
    scale: f32,
    unused: u32,
}

/// Chooses the experts of each token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    /// `[tokens, experts]`
    pub(crate) logits: DevicePtr,
    /// `[experts]`, or none
    pub(crate) select_bias: DevicePtr,
    /// `[tokens, top]`: experts
    pub(crate) chosen: DevicePtr,
    /// `[tokens, top]`
    pub(crate) weights: DevicePtr,
    pub(crate) tokens: u32,
}

impl Route {
    pub(crate) fn launch(&self, options: &RouterOptions) -> Launch {
        let groups = options.groups;
        let params = RouteParams {
            logits: self.logits,
            select_bias: self.select_bias,
            chosen: self.chosen,
            weights: self.weights,
            experts: options.experts as u32,
            top: options.top as u32,
            score: match options.score {
                Score::Softmax => 0,
                Score::Sigmoid => 1,
                Score::SqrtSoftplus => 2,
            },
            selected: (options.over == Over::Selected).into(),
            groups: groups.map_or(0, |groups| groups.count as u32),
            keep: groups.map_or(0, |groups| groups.keep as u32),
            top2: groups
                .is_some_and(|groups| groups.rank == Rank::Top2Sum)
                .into(),
            renorm: options.renorm.into(),
            softcap: options.softcap.unwrap_or(0.0) as f32,
            renorm_eps: options.renorm_eps as f32,
            scale: options.scale as f32,
            unused: 0,
        };
        let shared = options.experts as u32 * (4 * 4 + 2);
        Launch::alone("route", [self.tokens, 1, 1], WARP, &params).shared(shared)
    }
}

/// Sums the outputs of each token's experts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Combine {
    /// `[tokens, top, width]`
    pub(crate) x: DevicePtr,
    /// `[tokens, top]`, or none: 1
    pub(crate) weights: DevicePtr,
    /// `[tokens, width]`, or none
    pub(crate) residual: DevicePtr,
    /// `[tokens, width]`
    pub(crate) out: DevicePtr,
    pub(crate) tokens: u32,
    pub(crate) top: u32,
    pub(crate) width: u32,
}

#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct CombineParams {
    x: DevicePtr,
    weights: DevicePtr,
    residual: DevicePtr,
    out: DevicePtr,
    count: u64,
    top: u32,
    width: u32,
}

impl Combine {
    pub(crate) fn launch(&self) -> Launch {
        let Self {
            x,
            weights,
            residual,
            out,
            tokens,
            top,
            width,
        } = *self;
        let count = u64::from(tokens) * u64::from(width);
        let params = CombineParams {
            x,
            weights,
            residual,
            out,
            count,
            top,
            width,
        };
        Launch::alone("combine", blocks_for(count), THREADS, &params)
    }
}

/// The first token with the largest logit of each row.
#[derive(Clone, Copy, Debug, NoUninit)]
#[repr(C)]
pub(crate) struct Argmax {
    /// `[rows, vocab]`
    pub(crate) logits: DevicePtr,
    /// `[rows]`
    pub(crate) token: DevicePtr,
    /// `[rows]`: NaN if any logit is
    pub(crate) largest: DevicePtr,
    pub(crate) vocab: u32,
    pub(crate) unused: u32,
}

impl Argmax {
    pub(crate) fn launch(&self, rows: u32) -> Launch {
        Launch::alone("argmax", [rows, 1, 1], 1024, self)
    }
}

/// Makes the chosen tokens and the positions after them the inputs of the next step.
#[derive(Clone, Copy, Debug, NoUninit)]
#[repr(C)]
pub(crate) struct Next {
    /// `[runs]`
    pub(crate) sampled: DevicePtr,
    /// `[runs]`
    pub(crate) tokens: DevicePtr,
    /// `[runs]`
    pub(crate) positions: DevicePtr,
    pub(crate) runs: u32,
    pub(crate) unused: u32,
}

impl Next {
    pub(crate) fn launch(&self) -> Launch {
        Launch::alone("next_step", [self.runs.div_ceil(WARP), 1, 1], WARP, self)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Gpu, random};
    use super::*;

    #[test]
    fn the_first_of_the_largest_is_chosen() {
        let Some(gpu) = Gpu::get() else { return };
        for vocab in [1, 31, 1000, 5003] {
            let mut logits = random(vocab as u64, 2 * vocab);
            (logits[vocab / 3], logits[vocab / 2]) = (9.0, 9.0);
            logits[2 * vocab - 1] = f32::NAN;
            let (x, token, largest) = (gpu.upload(&logits), gpu.poisoned(2), gpu.poisoned(2));
            let argmax = Argmax {
                logits: x.ptr(),
                token: token.ptr(),
                largest: largest.ptr(),
                vocab: vocab as u32,
                unused: 0,
            };
            gpu.run(&[argmax.launch(2)]);
            let largest = gpu.download::<f32>(&largest);
            assert_eq!(
                gpu.download::<u32>(&token)[0] as usize,
                vocab / 3,
                "{vocab}"
            );
            if vocab > 1 {
                assert_eq!(largest[0], 9.0);
            }
            assert!(largest[1].is_nan());
        }
    }
}
