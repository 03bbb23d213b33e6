//! Projections of 1 to 8 tokens with the norm in front and what follows them inside: gemv.cu and `gemv_quant.cu`.

use bytemuck::NoUninit;

use super::decode::{GluParams, Input, MOST_TOKENS, Planes, Weights, act_number, even_grid};
use super::{DeviceFacts, DevicePtr, Launch, WARP};
use crate::nn::{Act, Glu};
use crate::weights::WeightDtype;

/// Shared memory that the kernels have beside the activations, at most.
const FIXED_SHARED: u32 = 20 << 10;

/// `out = residual + softcap(scale · act(norm(x) Wᵀ + bias))`, or `glu` of its halves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Project {
    pub(crate) weights: Weights,
    pub(crate) input: Input,
    pub(crate) tokens: u32,
    /// `[rows]`, or none
    pub(crate) bias: DevicePtr,
    pub(crate) act: Act,
    pub(crate) scale: f32,
    /// 0 is off.
    pub(crate) softcap: f32,
    /// Rows are gates, then as many ups; `out` has half as many.
    pub(crate) glu: Option<Glu>,
    /// As `out`, which it may be, or none
    pub(crate) residual: DevicePtr,
    /// `[tokens]` rows `out_stride` apart
    pub(crate) out: DevicePtr,
    pub(crate) out_stride: u32,
    /// u64 `[tokens]`, zeros before: where the greatest logit and its row go for [`TakeBest`], or none
    pub(crate) best: DevicePtr,
}

/// `Output` of decode.cuh.
#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct Output {
    bias: DevicePtr,
    residual: DevicePtr,
    out: DevicePtr,
    best: DevicePtr,
    stride: u32,
    act: u32,
    scale: f32,
    softcap: f32,
    glu: GluParams,
    unused: u32,
}

/// Tokens and logits out of what [`Project::best`] left.
#[derive(Clone, Copy, Debug, NoUninit)]
#[repr(C)]
pub(crate) struct TakeBest {
    /// u64 `[rows]`; 0 afterwards
    pub(crate) best: DevicePtr,
    /// u32 `[rows]`: the first with the largest logit
    pub(crate) token: DevicePtr,
    /// f32 `[rows]`: NaN if any logit is
    pub(crate) largest: DevicePtr,
    pub(crate) rows: u32,
    pub(crate) unused: u32,
}

impl TakeBest {
    pub(crate) fn launch(&self) -> Launch {
        Launch::new("take_best", [self.rows.div_ceil(WARP), 1, 1], WARP, self)
    }
}

#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct GemvParams {
    weights: DevicePtr,
    input: Input,
    output: Output,
    groups: u32,
    row_step: u32,
    pair_step: u32,
    tokens: u32,
}

#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct GemvQuantParams {
    weights: Planes,
    input: Input,
    output: Output,
    rows: u32,
    tiles: u32,
    per_tile: u32,
    row_step: u32,
    pair_step: u32,
    splits: u32,
    tokens: u32,
    unused: u32,
}

impl Project {
    /// Whether the kernels serve; the plain ones must do for more tokens, other types, rows of broken chunks, activations
    /// that do not fit shared memory.
    pub(crate) fn served(&self, facts: DeviceFacts) -> bool {
        let Self {
            weights,
            input,
            tokens,
            glu,
            ..
        } = self;
        let sizes = input.k == weights.cols && *tokens > 0 && *tokens <= MOST_TOKENS;
        let pairs = glu.is_none() || (weights.rows % 2 == 0 && self.best.is_null());
        let norm = weights.is_dense() || !input.is_layer_norm();
        weights.served() && input.served() && sizes && pairs && norm && self.at_once(facts) > 0
    }

    /// Tokens whose activations fit shared memory, of those for which there are kernels.
    fn at_once(&self, facts: DeviceFacts) -> u32 {
        let room = facts.shared_per_block.saturating_sub(FIXED_SHARED);
        let fit = (room / self.weights.staged_bytes(self.weights.cols).max(1)).min(self.tokens);
        match (fit, self.weights.dtype) {
            (0, _) => 0,
            (1, _) => 1,
            // There are kernels for one and for eight.
            (_, WeightDtype::F32) => {
                if room / (8 * self.weights.staged_bytes(self.weights.cols)) > 0 {
                    fit
                } else {
                    1
                }
            }
            (2..=7, _) => {
                let places = fit.next_power_of_two();
                if places * self.weights.staged_bytes(self.weights.cols) <= room {
                    fit
                } else {
                    places / 2
                }
            }
            (_, _) => 8,
        }
    }

    /// The launches; none unless [`served`](Self::served).
    pub(crate) fn launches(&self, facts: DeviceFacts) -> Vec<Launch> {
        if !self.served(facts) {
            return Vec::new();
        }
        // What does not fit at once goes in groups of tokens.
        let at_once = self.at_once(facts);
        let group = |first: u32| {
            let now = at_once.min(self.tokens - first);
            if self.weights.is_dense() {
                self.dense(first, now, facts)
            } else {
                self.quantized(first, now, facts)
            }
        };
        (0..self.tokens)
            .step_by(at_once as usize)
            .map(group)
            .collect()
    }

    fn output(&self, first: u32) -> Output {
        let bytes = (first * self.out_stride) as usize * 4;
        let further = |ptr: DevicePtr, bytes: usize| {
            if ptr.is_null() {
                ptr
            } else {
                ptr.offset(bytes)
            }
        };
        Output {
            bias: self.bias,
            residual: further(self.residual, bytes),
            out: further(self.out, bytes),
            best: further(self.best, first as usize * 8),
            stride: self.out_stride,
            act: act_number(self.act),
            scale: self.scale,
            softcap: self.softcap,
            glu: self.glu.map(GluParams::from).unwrap_or_default(),
            unused: 0,
        }
    }

    fn dense(&self, first: u32, tokens: u32, facts: DeviceFacts) -> Launch {
        let shape = Dense::new(&self.weights, tokens, self.glu.is_some(), facts);
        let groups = self.weights.rows / shape.rows;
        let params = GemvParams {
            weights: self.weights.planes[0],
            input: self.input.starting_at(first),
            output: self.output(first),
            groups,
            row_step: if self.glu.is_some() { 1 } else { shape.rows },
            pair_step: if self.glu.is_some() {
                self.weights.rows / 2
            } else {
                1
            },
            tokens,
        };
        let blocks = (shape.blocks * facts.sms).min(groups.div_ceil(shape.warps));
        let shared = shape.tokens * self.weights.staged_bytes(self.weights.cols);
        Launch::new(shape.kernel, [blocks, 1, 1], shape.warps * WARP, &params).shared(shared)
    }

    fn quantized(&self, first: u32, tokens: u32, facts: DeviceFacts) -> Launch {
        let Weights { rows, cols, .. } = self.weights;
        let (per_tile, pair_step) = if self.glu.is_some() {
            (8, rows / 2)
        } else {
            (16, 8)
        };
        let tiles = if self.glu.is_some() {
            (rows / 2).div_ceil(8)
        } else {
            rows.div_ceil(16)
        };
        let shape = Quantized::new(&self.weights, tiles, tokens, facts);
        let params = GemvQuantParams {
            weights: self.weights.planes(),
            input: self.input.starting_at(first),
            output: self.output(first),
            rows,
            tiles,
            per_tile,
            row_step: 1,
            pair_step,
            splits: shape.splits,
            tokens,
            unused: 0,
        };
        let shared = shape.tokens * self.weights.staged_bytes(cols);
        Launch::new(
            shape.kernel,
            [shape.blocks, 1, 1],
            shape.warps * WARP,
            &params,
        )
        .shared(shared)
    }
}

/// The shape of a kernel on ordinary cores.
struct Dense {
    kernel: &'static str,
    /// Rows that a warp computes at once.
    rows: u32,
    /// Tokens that it computes, some of which may be idle.
    tokens: u32,
    warps: u32,
    /// Blocks a multiprocessor.
    blocks: u32,
}

impl Dense {
    /// What docs/cuda-decode.md measured to be best: the whole of a narrow row in flight at once; of a long matrix several
    /// rows; one or two blocks a multiprocessor, each of which stages the activations once.
    fn new(weights: &Weights, tokens: u32, glu: bool, facts: DeviceFacts) -> Self {
        if weights.dtype == WeightDtype::F32 {
            return Self::f32(tokens, glu);
        }
        let f16 = weights.dtype == WeightDtype::F16;
        let name = |bf16: &'static str, half: &'static str| if f16 { half } else { bf16 };
        if tokens > 1 {
            let (kernel, tokens) = match (tokens, glu) {
                (2, false) => (name("gemv_bf16_r1_u8_t2", "gemv_f16_r1_u8_t2"), 2),
                (2, true) => (name("gemv_bf16_r2_u4_t2", "gemv_f16_r2_u4_t2"), 2),
                (3 | 4, false) => (name("gemv_bf16_r1_u8_t4", "gemv_f16_r1_u8_t4"), 4),
                (3 | 4, true) => (name("gemv_bf16_r2_u4_t4", "gemv_f16_r2_u4_t4"), 4),
                (_, false) => (name("gemv_bf16_r1_u8_t8", "gemv_f16_r1_u8_t8"), 8),
                (_, true) => (name("gemv_bf16_r2_u4_t8", "gemv_f16_r2_u4_t8"), 8),
            };
            return Self {
                kernel,
                rows: if glu { 2 } else { 1 },
                tokens,
                warps: 8,
                blocks: 2,
            };
        }
        let loads = (weights.cols / 8).div_ceil(WARP);
        let long = weights.rows >= 32 << 10 && weights.rows.is_multiple_of(4);
        // Pairs of rows share what they read of the activations, if nearly all warps have some.
        let pairs =
            weights.rows.is_multiple_of(2) && weights.rows >= 2 * 8 * 2 * facts.sms * 7 / 10;
        let (kernel, rows, warps, blocks) = match loads {
            _ if glu => (name("gemv_bf16_r2_u8_t1", "gemv_f16_r2_u8_t1"), 2, 8, 2),
            9..=12 if long => (name("gemv_bf16_r4_u6_t1", "gemv_f16_r4_u6_t1"), 4, 8, 2),
            _ if long => (name("gemv_bf16_r4_u4_t1", "gemv_f16_r4_u4_t1"), 4, 8, 2),
            9..=12 => (name("gemv_bf16_r1_u12_t1", "gemv_f16_r1_u12_t1"), 1, 10, 2),
            17.. => (name("gemv_bf16_r1_u8_t1", "gemv_f16_r1_u8_t1"), 1, 16, 1),
            _ if pairs => (name("gemv_bf16_r2_u8_t1", "gemv_f16_r2_u8_t1"), 2, 8, 2),
            0..=8 => (name("gemv_bf16_r1_u8_t1", "gemv_f16_r1_u8_t1"), 1, 8, 2),
            _ => (name("gemv_bf16_r1_u8_t1", "gemv_f16_r1_u8_t1"), 1, 12, 2),
        };
        Self {
            kernel,
            rows,
            tokens,
            warps,
            blocks,
        }
    }

    /// Exact f32 is not tuned.
    const fn f32(tokens: u32, glu: bool) -> Self {
        let (kernel, rows, tokens) = match (tokens, glu) {
            (1, false) => ("gemv_f32_r1_u16_t1", 1, 1),
            (1, true) => ("gemv_f32_r2_u8_t1", 2, 1),
            (_, false) => ("gemv_f32_r1_u8_t8", 1, 8),
            (_, true) => ("gemv_f32_r2_u4_t8", 2, 8),
        };
        Self {
            kernel,
            rows,
            tokens,
            warps: 8,
            blocks: 2,
        }
    }
}

/// The shape of a kernel on tensor cores.
struct Quantized {
    kernel: &'static str,
    /// Tokens that it computes, some of which may be idle.
    tokens: u32,
    warps: u32,
    /// Warps that share a tile.
    splits: u32,
    /// Blocks in all.
    blocks: u32,
}

impl Quantized {
    fn new(weights: &Weights, tiles: u32, tokens: u32, facts: DeviceFacts) -> Self {
        let index = match tokens {
            1 => 0,
            2 => 1,
            3 | 4 => 2,
            _ => 3,
        };
        let kernels = match weights.dtype {
            WeightDtype::Q4_0 => [
                "gemv_q4_0_a2_t1",
                "gemv_q4_0_a2_t2",
                "gemv_q4_0_a2_t4",
                "gemv_q4_0_a2_t8",
            ],
            WeightDtype::Q8_0 => [
                "gemv_q8_0_a1_t1",
                "gemv_q8_0_a1_t2",
                "gemv_q8_0_a1_t4",
                "gemv_q8_0_a1_t8",
            ],
            WeightDtype::Q4K => [
                "gemv_q4k_a2_t1",
                "gemv_q4k_a2_t2",
                "gemv_q4k_a2_t4",
                "gemv_q4k_a2_t8",
            ],
            WeightDtype::Q6K => [
                "gemv_q6k_a1_t1",
                "gemv_q6k_a1_t2",
                "gemv_q6k_a1_t4",
                "gemv_q6k_a1_t8",
            ],
            _ => [
                "gemv_mxfp4_a2_t1",
                "gemv_mxfp4_a2_t2",
                "gemv_mxfp4_a2_t4",
                "gemv_mxfp4_a2_t8",
            ],
        };
        let steps = (weights.cols / 32).div_ceil(8);
        // 4- and 6-bit rows are short: one block of 16 warps a multiprocessor stages the activations once.
        let (warps, most) = match (index, weights.dtype) {
            (0, WeightDtype::Q8_0) => (8, 2),
            (0, _) => (16, 1),
            _ => (8, 1),
        };
        let most_splits = if weights.dtype == WeightDtype::Q6K {
            warps
        } else {
            8
        };
        let splits = [16, 8, 4, 2]
            .into_iter()
            .find(|splits| steps >= *splits && *splits <= most_splits);
        let splits = splits.unwrap_or(1);
        let blocks = even_grid(tiles.div_ceil(warps / splits), most, facts);
        Self {
            kernel: kernels[index],
            tokens: [1, 2, 4, 8][index],
            warps,
            splits,
            blocks,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::decode::Norming;
    use super::super::testing::{Gpu, assert_close, random};
    use super::*;
    use crate::cpu::testing::{matrix, rng};
    use crate::cuda::DeviceMatrix;

    const FACTS: DeviceFacts = DeviceFacts {
        compute_capability: (9, 0),
        sms: 132,
        shared_per_block: 227 << 10,
        l2_bytes: 50 << 20,
    };

    fn project(dtype: WeightDtype, rows: u32, cols: u32, tokens: u32) -> Project {
        let place = DevicePtr(256);
        Project {
            weights: Weights {
                dtype,
                planes: [place; 4],
                rows,
                cols,
            },
            input: Input::plain(place, cols, cols),
            tokens,
            bias: DevicePtr::NULL,
            act: Act::Identity,
            scale: 1.0,
            softcap: 0.0,
            glu: None,
            residual: DevicePtr::NULL,
            out: place,
            out_stride: rows,
            best: DevicePtr::NULL,
        }
    }

    /// The twin of `logit_key`.
    fn pack(logit: f32, token: u32) -> u64 {
        let bits = if logit == 0.0 { 0 } else { logit.to_bits() };
        let order = match (logit.is_nan(), bits & 0x8000_0000 != 0) {
            (true, _) => u32::MAX,
            (_, true) => !bits,
            (_, false) => bits | 0x8000_0000,
        };
        u64::from(order) << 32 | u64::from(!token)
    }

    #[test]
    fn keys_order_by_logit_then_by_the_lower_token() {
        let order = [
            (f32::NAN, 9),
            (f32::INFINITY, 7),
            (2.5, 0),
            (2.5, 1),
            (0.0, 3),
            (-0.0, 4),
            (-1.0, 0),
            (f32::NEG_INFINITY, 2),
        ];
        let keys = order.map(|(logit, token)| pack(logit, token));
        assert!(
            keys.is_sorted_by(|a, b| a > b) && !keys.contains(&0),
            "{keys:?}"
        );
        let Some(gpu) = Gpu::get() else { return };
        let (best, token, largest) = (
            gpu.upload(&keys),
            gpu.poisoned(keys.len()),
            gpu.poisoned(keys.len()),
        );
        let rows = keys.len() as u32;
        let take = TakeBest {
            best: best.ptr(),
            token: token.ptr(),
            largest: largest.ptr(),
            rows,
            unused: 0,
        };
        gpu.run(&[take.launch()]);
        assert_eq!(gpu.download::<u32>(&token), order.map(|(_, token)| token));
        let found: Vec<f32> = gpu.download(&largest);
        let same = |(found, (logit, _)): (&f32, &(f32, u32))| {
            found == logit || (found.is_nan() && logit.is_nan())
        };
        assert!(found.iter().zip(&order).all(same), "{found:?}");
        assert_eq!(gpu.download::<u64>(&best), [0; 8]);
    }

    #[test]
    fn broken_rows_and_other_types_are_left_to_the_plain_kernels() {
        assert!(project(WeightDtype::BF16, 7, 40, 8).served(FACTS));
        assert!(!project(WeightDtype::BF16, 7, 36, 1).served(FACTS));
        assert!(!project(WeightDtype::Q5K, 7, 256, 1).served(FACTS));
        assert!(!project(WeightDtype::Q4K, 7, 256, 9).served(FACTS));
        assert!(!project(WeightDtype::BF16, 7, 1 << 16, 1).served(FACTS));
        assert!(
            project(WeightDtype::BF16, 7, 36, 1)
                .launches(FACTS)
                .is_empty()
        );
    }

    #[test]
    fn tokens_go_in_groups_where_shared_memory_is_short() {
        let tokens = |cols, tokens| -> Vec<u32> {
            let launches = project(WeightDtype::BF16, 64, cols, tokens).launches(FACTS);
            launches
                .iter()
                .map(|launch| u32::from_le_bytes(*launch.params.last_chunk().unwrap()))
                .collect()
        };
        assert_eq!(tokens(4096, 8), [8]);
        assert_eq!(tokens(14_336, 8), [2, 2, 2, 2]);
        assert_eq!(tokens(14_336, 3), [2, 1]);
        assert_eq!(tokens(8192, 7), [4, 3]);
        for launch in project(WeightDtype::Q6K, 64, 14_336, 8).launches(FACTS) {
            assert!(launch.shared + FIXED_SHARED <= FACTS.shared_per_block);
        }
    }

    /// The twin: `norm(x) Wᵀ + bias`, in f64.
    fn dots(
        weights: &[f32],
        x: &[f32],
        norm: (Norming, &[f32], &[f32]),
        bias: &[f32],
        cols: usize,
    ) -> Vec<f64> {
        let (kind, weight, shift) = norm;
        let mut out = Vec::new();
        for row in x.chunks_exact(cols) {
            let mut x: Vec<f64> = row.iter().map(|x| f64::from(*x)).collect();
            if kind != Norming::None {
                let mean = if kind == Norming::Layer {
                    x.iter().sum::<f64>() / cols as f64
                } else {
                    0.0
                };
                let square = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / cols as f64;
                for (i, x) in x.iter_mut().enumerate() {
                    *x = (*x - mean) / (square + 1e-5).sqrt() * f64::from(weight[i]);
                    if kind == Norming::Layer {
                        *x += f64::from(shift[i]);
                    }
                }
            }
            let dot = |w: &[f32]| {
                w.iter()
                    .zip(&x)
                    .map(|(w, x)| f64::from(*w) * x)
                    .sum::<f64>()
            };
            out.extend(
                weights
                    .chunks_exact(cols)
                    .zip(bias)
                    .map(|(w, bias)| dot(w) + f64::from(*bias)),
            );
        }
        out
    }

    fn check(
        gpu: &Gpu,
        dtype: WeightDtype,
        [rows, cols, tokens]: [usize; 3],
        kind: Norming,
        glu: bool,
    ) {
        let matrix = matrix(dtype, rows, cols, &mut rng(rows as u64));
        let device = DeviceMatrix::upload(&gpu.0, std::slice::from_ref(&matrix), "a test").unwrap();
        let (x, bias) = (random(1, tokens * cols), random(2, rows));
        let (weight, shift) = (random(3, cols), random(4, cols));
        let width = if glu { rows / 2 } else { rows };
        let residual = random(5, tokens * width);
        let uploads = [&x, &bias, &weight, &shift, &residual].map(|values| gpu.upload(values));
        let [x_d, bias_d, weight_d, shift_d, residual_d] =
            uploads.each_ref().map(|buffer| buffer.ptr());
        let (out, best) = (
            gpu.poisoned(tokens * width),
            gpu.upload(&vec![0_u64; tokens]),
        );
        let shift_d = if kind == Norming::Layer {
            shift_d
        } else {
            DevicePtr::NULL
        };
        let clamped = Glu::Clamped {
            alpha: 1.702,
            limit: 0.8,
            up_shift: 1.0,
        };
        let project = Project {
            weights: device.weights(),
            input: Input::plain(x_d, cols as u32, cols as u32)
                .normed(kind, weight_d, shift_d, 1e-5),
            tokens: tokens as u32,
            bias: bias_d,
            act: Act::Identity,
            scale: 1.0,
            softcap: 0.0,
            glu: glu.then_some(clamped),
            residual: if glu { DevicePtr::NULL } else { residual_d },
            out: out.ptr(),
            out_stride: width as u32,
            best: if glu { DevicePtr::NULL } else { best.ptr() },
        };
        let launches = project.launches(gpu.0.facts());
        assert!(!launches.is_empty(), "{dtype} {rows} × {cols}");
        gpu.run(&launches);
        let dots = dots(
            &matrix.to_f32().unwrap(),
            &x,
            (kind, &weight, &shift),
            &bias,
            cols,
        );
        let expected: Vec<f32> = if glu {
            let joined = dots.chunks_exact(rows).flat_map(|row| {
                let pairs = row[..width].iter().zip(&row[width..]);
                pairs.map(|(gate, up)| {
                    let (gate, up) = (gate.min(0.8), up.clamp(-0.8, 0.8));
                    ((up + 1.0) * gate / (1.0 + (-1.702 * gate).exp())) as f32
                })
            });
            joined.collect()
        } else {
            dots.iter()
                .zip(&residual)
                .map(|(dot, residual)| (dot + f64::from(*residual)) as f32)
                .collect()
        };
        let found: Vec<f32> = gpu.download(&out);
        // Halves of activations with a power of two for each 32 against exact ones.
        let tolerance = if device.weights().is_dense() {
            5e-6
        } else {
            2e-3
        };
        assert_close(
            &found,
            &expected,
            tolerance,
            &format!("{dtype} {rows} × {cols}, {tokens} tokens, {kind:?}, {glu}"),
        );
        if !glu {
            let keys: Vec<u64> = gpu.download(&best);
            for (row, key) in found.chunks_exact(width).zip(keys) {
                let greatest = row
                    .iter()
                    .zip(0..)
                    .map(|(logit, id)| pack(*logit, id))
                    .max();
                assert_eq!(Some(key), greatest, "{dtype} {rows} × {cols}");
            }
        }
    }

    #[test]
    fn the_kernels_are_their_twin() {
        let Some(gpu) = Gpu::get() else { return };
        for dtype in WeightDtype::ALL {
            let len = dtype.block_len().max(8);
            if !project(dtype, 8, len as u32, 1).served(FACTS) {
                continue;
            }
            let layer = if dtype.is_float() {
                Norming::Layer
            } else {
                Norming::None
            };
            for (shape, kind) in [
                ([1, len, 1], Norming::None),
                ([37, 9 * len, 1], Norming::Rms),
                ([130, 45 * len, 1], layer),
                ([18, 5 * len, 2], Norming::Rms),
                ([35, 3 * len, 3], layer),
                ([64, 11 * len, 8], Norming::Rms),
            ] {
                check(&gpu, dtype, shape, kind, false);
            }
            for shape in [[2, len, 1], [38, 9 * len, 1], [66, 3 * len, 5]] {
                check(&gpu, dtype, shape, Norming::Rms, true);
            }
        }
        for shape in [
            [40_004, 2880, 1],
            [3072, 2048, 1],
            [300, 14_336, 1],
            [300, 14_336, 5],
        ] {
            check(&gpu, WeightDtype::BF16, shape, Norming::Rms, false);
        }
    }
}
