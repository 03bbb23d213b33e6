//! A layer of experts for 1 to 8 tokens: router, gate and up of the chosen experts, down (`moe_decode.cu`,
//! `moe_decode_dense.cu`). Three launches, whatever the tokens choose.

use bytemuck::NoUninit;

use super::decode::{GluParams, Input, MOST_TOKENS, Planes, Weights, even_grid};
use super::{DeviceFacts, DevicePtr, Launch, WARP};
use crate::nn::{Apply, Glu, Over, RouterOptions, Score};
use crate::weights::WeightDtype;

/// Most experts of which a warp chooses.
const MOST_EXPERTS: u32 = 256;
/// Most warps of a block of `down`, and with it the most chosen experts.
const MOST_WARPS: u32 = 12;
/// Units of a step of the quantized kernels.
const STEP_UNITS: u32 = 8;

/// Where the choice comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Choice {
    /// A projection `[experts, hidden]` of the normed input.
    Router {
        weights: Weights,
        /// `[experts]`, or none
        bias: DevicePtr,
        /// `[experts]`, or none
        select_bias: DevicePtr,
        /// f32 `[tokens, experts]`
        logits: DevicePtr,
        options: RouterOptions,
    },
    /// u32 and f32 `[tokens, top]`
    Made { experts: DevicePtr, weights: DevicePtr, count: u32, top: u32, apply: Apply },
}

/// `out = residual + scale · Σ weight · (down(glu(gate(x), up(x))) + bias)`
#[derive(Clone, Copy, Debug)]
pub(crate) struct MoeDecode {
    /// Complete before the kernel in front of these begins to end: it, or nothing, may follow x's writer. See `route.cuh`.
    pub(crate) input: Input,
    pub(crate) choice: Choice,
    /// `[experts · 2 · inter, hidden]`: of each expert gates, then ups
    pub(crate) gate_up: Weights,
    /// `[experts · hidden, inter]`
    pub(crate) down: Weights,
    /// f32 as many as rows, or none
    pub(crate) gate_up_bias: DevicePtr,
    pub(crate) down_bias: DevicePtr,
    pub(crate) glu: Glu,
    pub(crate) inter: u32,
    pub(crate) hidden: u32,
    pub(crate) tokens: u32,
    /// Room for f32 `[tokens, top, inter]`
    pub(crate) h: DevicePtr,
    /// As `out`, which it may be, or none
    pub(crate) residual: DevicePtr,
    /// f32 `[tokens]` rows `out_stride` apart
    pub(crate) out: DevicePtr,
    pub(crate) out_stride: u32,
    pub(crate) scale: f32,
}

/// `RouteParams` of route.cuh.
#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct RouteParams {
    logits: DevicePtr,
    select_bias: DevicePtr,
    ids: DevicePtr,
    weights: DevicePtr,
    experts: u32,
    top: u32,
    score: u32,
    over_selected: u32,
    renorm: u32,
    on_input: u32,
    renorm_eps: f32,
    scale: f32,
    softcap: f32,
    unused: u32,
}

#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct RouterParams {
    weights: DevicePtr,
    input: Input,
    bias: DevicePtr,
    logits: DevicePtr,
}

#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct GateUpParams {
    gate: Planes,
    up: Planes,
    input: Input,
    route: RouteParams,
    glu: GluParams,
    inter: u32,
    row_step: u32,
    up_row: u32,
    rows: u32,
    splits: u32,
    half_scale: f32,
    unused: u32,
    gate_bias: DevicePtr,
    up_bias: DevicePtr,
    out: DevicePtr,
}

#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct DownParams {
    weights: Planes,
    route: RouteParams,
    h: DevicePtr,
    bias: DevicePtr,
    residual: DevicePtr,
    out: DevicePtr,
    inter: u32,
    hidden: u32,
    stride: u32,
    splits: u32,
    scale: f32,
    half_scale: f32,
}

#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct GateUpDenseParams {
    gate: DevicePtr,
    up: DevicePtr,
    input: Input,
    route: RouteParams,
    glu: GluParams,
    inter: u32,
    row_step: u32,
    up_row: u32,
    rows: u32,
    unused: u32,
    gate_bias: DevicePtr,
    up_bias: DevicePtr,
    out: DevicePtr,
}

#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct DownDenseParams {
    weights: DevicePtr,
    route: RouteParams,
    h: DevicePtr,
    bias: DevicePtr,
    residual: DevicePtr,
    out: DevicePtr,
    inter: u32,
    hidden: u32,
    stride: u32,
    scale: f32,
}

impl Choice {
    const fn experts(&self) -> u32 {
        match self {
            Self::Router { options, .. } => options.experts as u32,
            Self::Made { count, .. } => *count,
        }
    }

    const fn top(&self) -> u32 {
        match self {
            Self::Router { options, .. } => options.top as u32,
            Self::Made { top, .. } => *top,
        }
    }

    /// Whether a warp can make it.
    fn served(&self) -> bool {
        let Self::Router { weights, options, .. } = self else { return self.top() <= MOST_WARPS };
        let fits = options.experts as u32 <= MOST_EXPERTS && options.top as u32 <= MOST_WARPS;
        fits && options.groups.is_none() && weights.is_dense() && weights.served()
    }

    fn params(&self) -> RouteParams {
        let none = DevicePtr::NULL;
        let (experts, top) = (self.experts(), self.top());
        match self {
            Self::Router { select_bias, logits, options, .. } => RouteParams {
                logits: *logits,
                select_bias: *select_bias,
                ids: none,
                weights: none,
                experts,
                top,
                score: match options.score {
                    Score::Softmax => 0,
                    Score::Sigmoid => 1,
                    Score::SqrtSoftplus => 2,
                },
                over_selected: (options.over == Over::Selected).into(),
                renorm: options.renorm.into(),
                on_input: (options.apply == Apply::Input).into(),
                renorm_eps: options.renorm_eps as f32,
                scale: options.scale as f32,
                softcap: options.softcap.unwrap_or_default() as f32,
                unused: 0,
            },
            Self::Made { experts: ids, weights, apply, .. } => RouteParams {
                logits: none,
                select_bias: none,
                ids: *ids,
                weights: *weights,
                experts,
                top,
                score: 0,
                over_selected: 0,
                renorm: 0,
                on_input: (*apply == Apply::Input).into(),
                renorm_eps: 0.0,
                scale: 1.0,
                softcap: 0.0,
                unused: 0,
            },
        }
    }
}

impl MoeDecode {
    /// The launches, or `None` where the plain kernels must do.
    pub(crate) fn launches(&self, facts: DeviceFacts) -> Option<Vec<Launch>> {
        let Self { input, choice, gate_up, down, inter, hidden, tokens, .. } = self;
        let served = gate_up.served() && down.served() && gate_up.dtype == down.dtype && choice.served() && input.served();
        let sizes = gate_up.cols == *hidden && down.cols == *inter && input.k == *hidden && !input.is_layer_norm();
        let room = facts.shared_per_block.saturating_sub(8 << 10);
        let fits = gate_up.staged_bytes(*hidden) <= room && down.staged_bytes(*inter * choice.top()) <= room;
        if !served || !sizes || !fits || *tokens == 0 || *tokens > MOST_TOKENS {
            return None;
        }
        let [gate_up, down] = if gate_up.is_dense() {
            [self.gate_up_dense(facts)?, self.down_dense(facts)?]
        } else {
            [self.gate_up()?, self.down()?]
        };
        Some(self.router().into_iter().chain([gate_up, down]).collect())
    }

    /// What `h` is multiplied by to lie between `gate_up` and `down` as halves, where its activation bounds it and `down` can
    /// read them; 0: it lies there as f32.
    fn half_scale(&self) -> f32 {
        match self.glu {
            Glu::Clamped { limit, up_shift, .. } if self.down.dtype == WeightDtype::Mxfp4 => {
                let bound = (limit + up_shift.abs()) * limit;
                let exponent = (f64::from(1_u32 << 15) / bound).log2().floor();
                if (0.0..=14.0).contains(&exponent) { exponent.exp2() as f32 } else { 0.0 }
            }
            _ => 0.0,
        }
    }

    fn router(&self) -> Option<Launch> {
        let Choice::Router { weights, bias, logits, .. } = self.choice else { return None };
        let (kernel, chunk) = match weights.dtype {
            WeightDtype::BF16 => ("moe_router_bf16", 8),
            WeightDtype::F16 => ("moe_router_f16", 8),
            _ => ("moe_router_f32", 4),
        };
        let params = RouterParams { weights: weights.planes[0], input: self.input, bias, logits };
        let block = (weights.cols / chunk).next_multiple_of(WARP).min(384);
        Some(Launch::new(kernel, [self.choice.experts(), self.tokens, 1], block, &params))
    }

    fn gate_up(&self) -> Option<Launch> {
        let kernel = match self.gate_up.dtype {
            WeightDtype::Mxfp4 => "moe_gate_up_mxfp4_a4",
            WeightDtype::Q4_0 => "moe_gate_up_q4_0_a3",
            WeightDtype::Q8_0 => "moe_gate_up_q8_0_a2",
            WeightDtype::Q4K => "moe_gate_up_q4k_a3",
            WeightDtype::Q6K => "moe_gate_up_q6k_a2",
            _ => return None,
        };
        let (tiles_a_block, splits) = (6, 1);
        let planes = self.gate_up.planes();
        let params = GateUpParams {
            gate: planes,
            up: planes,
            input: self.input,
            route: self.choice.params(),
            glu: self.glu.into(),
            inter: self.inter,
            row_step: 1,
            up_row: self.inter,
            rows: 2 * self.inter,
            splits,
            half_scale: self.half_scale(),
            unused: 0,
            gate_bias: self.gate_up_bias,
            up_bias: self.gate_up_bias,
            out: self.h,
        };
        let tiles = self.choice.top() * self.inter.div_ceil(8);
        let grid = [tiles.div_ceil(tiles_a_block), self.tokens, 1];
        let launch = Launch::new(kernel, grid, tiles_a_block * splits * WARP, &params);
        Some(launch.shared(self.gate_up.staged_bytes(self.hidden)))
    }

    fn down(&self) -> Option<Launch> {
        let kernel = match self.down.dtype {
            WeightDtype::Mxfp4 => "moe_down_mxfp4_a2",
            WeightDtype::Q4_0 => "moe_down_q4_0_a2",
            WeightDtype::Q8_0 => "moe_down_q8_0_a1",
            WeightDtype::Q4K => "moe_down_q4k_a2",
            WeightDtype::Q6K => "moe_down_q6k_a1",
            _ => return None,
        };
        let top = self.choice.top();
        let steps = (self.inter / super::decode::UNIT).div_ceil(STEP_UNITS);
        let splits = (MOST_WARPS / top).clamp(1, 4).min(steps);
        let params = DownParams {
            weights: self.down.planes(),
            route: self.choice.params(),
            h: self.h,
            bias: self.down_bias,
            residual: self.residual,
            out: self.out,
            inter: self.inter,
            hidden: self.hidden,
            stride: self.out_stride,
            splits,
            scale: self.scale,
            half_scale: self.half_scale(),
        };
        let launch = Launch::new(kernel, [self.hidden.div_ceil(16), self.tokens, 1], top * splits * WARP, &params);
        Some(launch.shared(self.down.staged_bytes(self.inter * top)))
    }

    fn gate_up_dense(&self, facts: DeviceFacts) -> Option<Launch> {
        let kernel = match self.gate_up.dtype {
            WeightDtype::BF16 => "moe_gate_up_bf16",
            WeightDtype::F16 => "moe_gate_up_f16",
            WeightDtype::F32 => "moe_gate_up_f32",
            _ => return None,
        };
        let params = GateUpDenseParams {
            gate: self.gate_up.planes[0],
            up: self.gate_up.planes[0],
            input: self.input,
            route: self.choice.params(),
            glu: self.glu.into(),
            inter: self.inter,
            row_step: 1,
            up_row: self.inter,
            rows: 2 * self.inter,
            unused: 0,
            gate_bias: self.gate_up_bias,
            up_bias: self.gate_up_bias,
            out: self.h,
        };
        let blocks = even_grid((self.choice.top() * self.inter).div_ceil(8), 2, facts);
        let launch = Launch::new(kernel, [blocks, self.tokens, 1], 8 * WARP, &params);
        Some(launch.shared(self.gate_up.staged_bytes(self.hidden)))
    }

    fn down_dense(&self, facts: DeviceFacts) -> Option<Launch> {
        let kernel = match self.down.dtype {
            WeightDtype::BF16 => "moe_down_bf16",
            WeightDtype::F16 => "moe_down_f16",
            WeightDtype::F32 => "moe_down_f32",
            _ => return None,
        };
        let params = DownDenseParams {
            weights: self.down.planes[0],
            route: self.choice.params(),
            h: self.h,
            bias: self.down_bias,
            residual: self.residual,
            out: self.out,
            inter: self.inter,
            hidden: self.hidden,
            stride: self.out_stride,
            scale: self.scale,
        };
        let blocks = even_grid(self.hidden.div_ceil(8), 2, facts);
        let launch = Launch::new(kernel, [blocks, self.tokens, 1], 8 * WARP, &params);
        Some(launch.shared(self.down.staged_bytes(self.inter * self.choice.top())))
    }
}
