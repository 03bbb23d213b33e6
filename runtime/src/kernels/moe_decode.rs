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
    Made {
        experts: DevicePtr,
        weights: DevicePtr,
        count: u32,
        top: u32,
        apply: Apply,
    },
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
        let Self::Router {
            weights, options, ..
        } = self
        else {
            return self.top() <= MOST_WARPS;
        };
        let fits = options.experts as u32 <= MOST_EXPERTS && options.top as u32 <= MOST_WARPS;
        fits && options.groups.is_none() && weights.is_dense() && weights.served()
    }

    fn params(&self) -> RouteParams {
        let none = DevicePtr::NULL;
        let (experts, top) = (self.experts(), self.top());
        match self {
            Self::Router {
                select_bias,
                logits,
                options,
                ..
            } => RouteParams {
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
            Self::Made {
                experts: ids,
                weights,
                apply,
                ..
            } => RouteParams {
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
        let Self {
            input,
            choice,
            gate_up,
            down,
            inter,
            hidden,
            tokens,
            ..
        } = self;
        let served = gate_up.served()
            && down.served()
            && gate_up.dtype == down.dtype
            && choice.served()
            && input.served();
        let sizes = gate_up.cols == *hidden
            && down.cols == *inter
            && input.k == *hidden
            && !input.is_layer_norm();
        let room = facts.shared_per_block.saturating_sub(8 << 10);
        let fits = gate_up.staged_bytes(*hidden) <= room
            && down.staged_bytes(*inter * choice.top()) <= room;
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
            Glu::Clamped {
                limit, up_shift, ..
            } if self.down.dtype == WeightDtype::Mxfp4 => {
                let bound = (limit + up_shift.abs()) * limit;
                let exponent = (f64::from(1_u32 << 15) / bound).log2().floor();
                if (0.0..=14.0).contains(&exponent) {
                    exponent.exp2() as f32
                } else {
                    0.0
                }
            }
            _ => 0.0,
        }
    }

    fn router(&self) -> Option<Launch> {
        let Choice::Router {
            weights,
            bias,
            logits,
            ..
        } = self.choice
        else {
            return None;
        };
        let (kernel, chunk) = match weights.dtype {
            WeightDtype::BF16 => ("moe_router_bf16", 8),
            WeightDtype::F16 => ("moe_router_f16", 8),
            _ => ("moe_router_f32", 4),
        };
        let params = RouterParams {
            weights: weights.planes[0],
            input: self.input,
            bias,
            logits,
        };
        let block = (weights.cols / chunk).next_multiple_of(WARP).min(384);
        Some(Launch::new(
            kernel,
            [self.choice.experts(), self.tokens, 1],
            block,
            &params,
        ))
    }

    /// Whether the kernels for gpt-oss's width and choice serve: halves between them, a router whose choice a warp makes in
    /// one go, weights that multiply outputs.
    fn fixed(&self) -> bool {
        let Choice::Router { options, .. } = &self.choice else {
            return false;
        };
        self.gate_up.dtype == WeightDtype::Mxfp4
            && self.half_scale() != 0.0
            && (self.hidden, self.inter) == (2880, 2880)
            && options.top == 4
            && options.experts <= WARP as usize
            && options.apply == Apply::Output
    }

    fn gate_up(&self) -> Option<Launch> {
        let fixed = self.fixed();
        let kernel = match self.gate_up.dtype {
            WeightDtype::Mxfp4 if fixed => "moe_gate_up_mxfp4_k2880_top4_w4_s1_a4",
            WeightDtype::Mxfp4 => "moe_gate_up_mxfp4_a4",
            WeightDtype::Q4_0 => "moe_gate_up_q4_0_a3",
            WeightDtype::Q8_0 => "moe_gate_up_q8_0_a2",
            WeightDtype::Q4K => "moe_gate_up_q4k_a3",
            WeightDtype::Q6K => "moe_gate_up_q6k_a2",
            _ => return None,
        };
        let (tiles_a_block, splits) = if fixed { (4, 1) } else { (6, 1) };
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
        // Those of known sizes have all shared memory as their own.
        Some(if fixed {
            launch
        } else {
            launch.shared(self.gate_up.staged_bytes(self.hidden))
        })
    }

    fn down(&self) -> Option<Launch> {
        let top = self.choice.top();
        // Eight warps keep more of a row in flight than twelve.
        let (kernel, warps) = match self.down.dtype {
            WeightDtype::Mxfp4 if self.fixed() => ("moe_down_mxfp4_k2880_top4_s2_a3", 8),
            WeightDtype::Mxfp4 if top <= 8 => ("moe_down_mxfp4_a3", 8),
            WeightDtype::Mxfp4 => ("moe_down_mxfp4_a2", MOST_WARPS),
            WeightDtype::Q4_0 => ("moe_down_q4_0_a2", MOST_WARPS),
            WeightDtype::Q8_0 => ("moe_down_q8_0_a1", MOST_WARPS),
            WeightDtype::Q4K => ("moe_down_q4k_a2", MOST_WARPS),
            WeightDtype::Q6K => ("moe_down_q6k_a1", MOST_WARPS),
            _ => return None,
        };
        let steps = (self.inter / super::decode::UNIT).div_ceil(STEP_UNITS);
        let splits = (warps / top).clamp(1, 4).min(steps);
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
        let launch = Launch::new(
            kernel,
            [self.hidden.div_ceil(16), self.tokens, 1],
            top * splits * WARP,
            &params,
        );
        Some(if self.fixed() {
            launch
        } else {
            launch.shared(self.down.staged_bytes(self.inter * top))
        })
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

#[cfg(test)]
mod tests {
    use super::super::decode::Norming;
    use super::super::testing::{Gpu, assert_close, random};
    use super::*;
    use crate::cpu::testing::{matrix, rng};
    use crate::cuda::DeviceMatrix;
    use crate::nn::Act;

    #[derive(Clone, Copy, Debug)]
    struct Case {
        dtype: WeightDtype,
        router: WeightDtype,
        experts: usize,
        inter: usize,
        hidden: usize,
        tokens: usize,
        glu: Glu,
        options: RouterOptions,
    }

    #[test]
    fn shapes_are_those_that_the_chain_chose() {
        const FACTS: DeviceFacts = DeviceFacts {
            compute_capability: (9, 0),
            sms: 132,
            shared_per_block: 227 << 10,
            l2_bytes: 50 << 20,
        };
        let place = DevicePtr(256);
        let none = DevicePtr::NULL;
        let weights = |dtype, rows, cols| Weights {
            dtype,
            planes: [place; 4],
            rows,
            cols,
        };
        let kernels = |experts: usize, hidden: u32, glu: Glu| {
            let moe = MoeDecode {
                input: Input::plain(place, hidden, hidden),
                choice: Choice::Router {
                    weights: weights(WeightDtype::BF16, experts as u32, hidden),
                    bias: none,
                    select_bias: none,
                    logits: place,
                    options: RouterOptions {
                        experts,
                        top: 4,
                        ..RouterOptions::default()
                    },
                },
                gate_up: weights(WeightDtype::Mxfp4, experts as u32 * 5760, hidden),
                down: weights(WeightDtype::Mxfp4, experts as u32 * hidden, 2880),
                gate_up_bias: none,
                down_bias: none,
                glu,
                inter: 2880,
                hidden,
                tokens: 1,
                h: place,
                residual: none,
                out: place,
                out_stride: hidden,
                scale: 1.0,
            };
            let launches = moe.launches(FACTS).unwrap();
            let about = |launch: &Launch| (launch.kernel, launch.grid[0], launch.block / WARP);
            (about(&launches[1]), about(&launches[2]))
        };
        let clamped = Glu::Clamped {
            alpha: 1.702,
            limit: 7.0,
            up_shift: 1.0,
        };
        let fixed = (
            ("moe_gate_up_mxfp4_k2880_top4_w4_s1_a4", 360, 4),
            ("moe_down_mxfp4_k2880_top4_s2_a3", 180, 8),
        );
        assert_eq!(kernels(32, 2880, clamped), fixed);
        // More experts than lanes, another width, an activation without bounds.
        let general = (
            ("moe_gate_up_mxfp4_a4", 240, 6),
            ("moe_down_mxfp4_a3", 180, 8),
        );
        assert_eq!(kernels(33, 2880, clamped), general);
        assert_eq!(kernels(32, 2880, Act::Silu.into()), general);
        assert_eq!(kernels(32, 2816, clamped).0, general.0);
    }

    fn sigmoid(x: f64) -> f64 {
        1.0 / (1.0 + (-x).exp())
    }

    /// Experts and weights of one token, as nn/router.rs makes them.
    fn chosen(options: &RouterOptions, logits: &[f64]) -> Vec<(usize, f64)> {
        let softmax = |z: &mut Vec<f64>| {
            let most = z.iter().copied().fold(f64::MIN, f64::max);
            z.iter_mut().for_each(|z| *z = (*z - most).exp());
            let sum: f64 = z.iter().sum();
            z.iter_mut().for_each(|z| *z /= sum);
        };
        let score = |z: &mut Vec<f64>| match options.score {
            Score::Softmax => softmax(z),
            Score::Sigmoid => z.iter_mut().for_each(|z| *z = sigmoid(*z)),
            Score::SqrtSoftplus => z.iter_mut().for_each(|z| *z = z.exp().ln_1p().sqrt()),
        };
        let mut scores = logits.to_vec();
        if options.over == Over::All {
            score(&mut scores);
        }
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
        order.truncate(options.top);
        let mut weights: Vec<f64> = order.iter().map(|expert| scores[*expert]).collect();
        if options.over == Over::Selected {
            score(&mut weights);
        }
        if options.renorm {
            let sum: f64 = weights.iter().sum();
            weights.iter_mut().for_each(|weight| *weight /= sum);
        }
        order.into_iter().zip(weights).collect()
    }

    fn dot(a: &[f32], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * b).sum()
    }

    /// Weights as f32, and biases.
    struct Layer<'a> {
        router: &'a [f32],
        router_bias: &'a [f32],
        norm: &'a [f32],
        gate_up: &'a [f32],
        gate_up_bias: &'a [f32],
        down: &'a [f32],
        down_bias: &'a [f32],
    }

    /// The twin, of one token.
    fn moe(case: &Case, layer: &Layer, x: &[f32]) -> Vec<f32> {
        let Case {
            inter,
            hidden,
            glu,
            options,
            ..
        } = *case;
        let square = x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / hidden as f64;
        let factor = 1.0 / (square + 1e-5).sqrt();
        let normed: Vec<f64> = x
            .iter()
            .zip(layer.norm)
            .map(|(x, w)| f64::from(*x) * factor * f64::from(*w))
            .collect();
        let rows = layer.router.chunks_exact(hidden).zip(layer.router_bias);
        let logits: Vec<f64> = rows
            .map(|(row, bias)| dot(row, &normed) + f64::from(*bias))
            .collect();
        let mut out: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
        for (expert, weight) in chosen(&options, &logits) {
            let (inside, outside) = if options.apply == Apply::Input {
                (weight, 1.0)
            } else {
                (1.0, weight)
            };
            let row = |m: usize| {
                let row = expert * 2 * inter + m;
                dot(&layer.gate_up[row * hidden..][..hidden], &normed) * inside
                    + f64::from(layer.gate_up_bias[row])
            };
            let joined = |m: usize| {
                let (gate, up) = (row(m), row(inter + m));
                match glu {
                    Glu::Act(_) => gate * sigmoid(gate) * up,
                    Glu::Clamped {
                        alpha,
                        limit,
                        up_shift,
                    } => {
                        let gate = gate.min(limit);
                        (up.clamp(-limit, limit) + up_shift) * gate * sigmoid(alpha * gate)
                    }
                }
            };
            let h: Vec<f64> = (0..inter).map(joined).collect();
            for (n, out) in out.iter_mut().enumerate() {
                let row = expert * hidden + n;
                *out += outside
                    * (dot(&layer.down[row * inter..][..inter], &h)
                        + f64::from(layer.down_bias[row]));
            }
        }
        out.into_iter().map(|x| x as f32).collect()
    }

    fn check(gpu: &Gpu, case: &Case) {
        let Case {
            dtype,
            router,
            experts,
            inter,
            hidden,
            tokens,
            glu,
            options,
        } = *case;
        let mut rng = rng(hidden as u64);
        let router = matrix(router, experts, hidden, &mut rng);
        let gate_up = matrix(dtype, experts * 2 * inter, hidden, &mut rng);
        let down = matrix(dtype, experts * hidden, inter, &mut rng);
        let device = [&router, &gate_up, &down].map(|matrix| {
            DeviceMatrix::upload(&gpu.0, std::slice::from_ref(matrix), "a test").unwrap()
        });
        let x = random(1, tokens * hidden);
        let (router_bias, norm) = (random(2, experts), random(3, hidden));
        let (gate_up_bias, down_bias) =
            (random(4, experts * 2 * inter), random(5, experts * hidden));
        let uploads =
            [&x, &router_bias, &norm, &gate_up_bias, &down_bias].map(|values| gpu.upload(values));
        let [x_d, router_bias_d, norm_d, gate_up_bias_d, down_bias_d] =
            uploads.each_ref().map(|buffer| buffer.ptr());
        let (logits, h) = (
            gpu.poisoned(tokens * experts),
            gpu.poisoned(tokens * options.top * inter),
        );
        let out = gpu.poisoned(tokens * hidden);
        let input = Input::plain(x_d, hidden as u32, hidden as u32).normed(
            Norming::Rms,
            norm_d,
            DevicePtr::NULL,
            1e-5,
        );
        let moe_decode = MoeDecode {
            input,
            choice: Choice::Router {
                weights: device[0].weights(),
                bias: router_bias_d,
                select_bias: DevicePtr::NULL,
                logits: logits.ptr(),
                options,
            },
            gate_up: device[1].weights(),
            down: device[2].weights(),
            gate_up_bias: gate_up_bias_d,
            down_bias: down_bias_d,
            glu,
            inter: inter as u32,
            hidden: hidden as u32,
            tokens: tokens as u32,
            h: h.ptr(),
            residual: x_d,
            out: out.ptr(),
            out_stride: hidden as u32,
            scale: 1.0,
        };
        gpu.run(&moe_decode.launches(gpu.0.facts()).unwrap());
        let weights = [&router, &gate_up, &down].map(|matrix| matrix.to_f32().unwrap());
        let layer = Layer {
            router: &weights[0],
            router_bias: &router_bias,
            norm: &norm,
            gate_up: &weights[1],
            gate_up_bias: &gate_up_bias,
            down: &weights[2],
            down_bias: &down_bias,
        };
        let expected: Vec<f32> = x
            .chunks_exact(hidden)
            .flat_map(|x| moe(case, &layer, x))
            .collect();
        let tolerance = if dtype.is_float() { 2e-5 } else { 5e-3 };
        assert_close(
            &gpu.download(&out),
            &expected,
            tolerance,
            &format!("{case:?}"),
        );
    }

    #[test]
    fn the_kernels_are_their_twin() {
        let Some(gpu) = Gpu::get() else { return };
        let clamped = Glu::Clamped {
            alpha: 1.702,
            limit: 7.0,
            up_shift: 1.0,
        };
        let gpt_oss = RouterOptions {
            experts: 32,
            top: 4,
            over: Over::Selected,
            bias: true,
            ..RouterOptions::default()
        };
        let renormed = RouterOptions {
            experts: 40,
            top: 8,
            renorm: true,
            bias: true,
            ..RouterOptions::default()
        };
        let single = RouterOptions {
            experts: 5,
            top: 1,
            score: Score::Sigmoid,
            apply: Apply::Input,
            bias: true,
            ..gpt_oss
        };
        for dtype in WeightDtype::ALL {
            let len = dtype.block_len().max(8);
            let case = |options: RouterOptions, glu: Glu, tokens: usize| Case {
                dtype,
                router: WeightDtype::BF16,
                experts: options.experts,
                inter: if len > 32 { len } else { 3 * len },
                hidden: if len > 32 { 2 * len } else { 5 * len },
                tokens,
                glu,
                options,
            };
            if !case_is_served(dtype) {
                continue;
            }
            check(&gpu, &case(gpt_oss, clamped, 1));
            check(&gpu, &case(renormed, Act::Silu.into(), 2));
            check(
                &gpu,
                &Case {
                    router: WeightDtype::F32,
                    ..case(single, Act::Silu.into(), 3)
                },
            );
        }
        let long = Case {
            dtype: WeightDtype::Mxfp4,
            router: WeightDtype::BF16,
            experts: 4,
            inter: 2880,
            hidden: 2880,
            tokens: 1,
            glu: clamped,
            options: RouterOptions {
                experts: 4,
                ..gpt_oss
            },
        };
        check(&gpu, &long);
    }

    fn case_is_served(dtype: WeightDtype) -> bool {
        let place = DevicePtr(256);
        Weights {
            dtype,
            planes: [place; 4],
            rows: 1,
            cols: 256,
        }
        .served()
    }
}
