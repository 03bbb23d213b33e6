//! Projections and embeddings with weights of any storage type: the plain kernels, which serve every size.

use bytemuck::{NoUninit, Zeroable};

use super::matrix::MatrixArg;
use super::{DevicePtr, Launch};
use crate::weights::WeightDtype;

/// Rows that a block computes.
const WARPS: u32 = 8;
/// Tokens that a warp computes at once, where there are more than a few.
const TOKENS: u32 = 8;

/// `out = x Wᵀ (· factor) (+ bias) (+ residual)`
#[derive(Clone, Copy, Debug)]
pub(crate) struct Linear {
    pub(crate) matrix: MatrixArg,
    pub(crate) dtype: WeightDtype,
    /// `[tokens / x_tokens, x_stride]`
    pub(crate) x: DevicePtr,
    /// `[matrix.rows]`, or none
    pub(crate) bias: DevicePtr,
    /// As `out`, or none
    pub(crate) residual: DevicePtr,
    /// `[tokens, out_stride]`, of which `rows` are written
    pub(crate) out: DevicePtr,
    /// `[tokens]`: the expert whose `rows` of the matrix are taken; none: the matrix has `rows`
    pub(crate) experts: DevicePtr,
    /// `[tokens]`: a factor of the product, or none
    pub(crate) factors: DevicePtr,
    pub(crate) tokens: u32,
    pub(crate) rows: u32,
    pub(crate) x_stride: u32,
    pub(crate) out_stride: u32,
    /// Consecutive tokens that share a row of x.
    pub(crate) x_tokens: u32,
}

#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct LinearParams {
    matrix: MatrixArg,
    x: DevicePtr,
    bias: DevicePtr,
    residual: DevicePtr,
    out: DevicePtr,
    experts: DevicePtr,
    factors: DevicePtr,
    tokens: u32,
    rows: u32,
    x_stride: u32,
    out_stride: u32,
    x_tokens: u32,
    unused: u32,
}

/// Names of the kernels for one token and for several.
const fn kernels(dtype: WeightDtype) -> [&'static str; 2] {
    match dtype {
        WeightDtype::F32 => ["linear_f32", "linear8_f32"],
        WeightDtype::F16 => ["linear_f16", "linear8_f16"],
        WeightDtype::BF16 => ["linear_bf16", "linear8_bf16"],
        WeightDtype::Q4_0 => ["linear_q4_0", "linear8_q4_0"],
        WeightDtype::Q4_1 => ["linear_q4_1", "linear8_q4_1"],
        WeightDtype::Q5_0 => ["linear_q5_0", "linear8_q5_0"],
        WeightDtype::Q5_1 => ["linear_q5_1", "linear8_q5_1"],
        WeightDtype::Q8_0 => ["linear_q8_0", "linear8_q8_0"],
        WeightDtype::Q2K => ["linear_q2_k", "linear8_q2_k"],
        WeightDtype::Q3K => ["linear_q3_k", "linear8_q3_k"],
        WeightDtype::Q4K => ["linear_q4_k", "linear8_q4_k"],
        WeightDtype::Q5K => ["linear_q5_k", "linear8_q5_k"],
        WeightDtype::Q6K => ["linear_q6_k", "linear8_q6_k"],
        WeightDtype::Mxfp4 => ["linear_mxfp4", "linear8_mxfp4"],
    }
}

impl Linear {
    /// Launches for any number of tokens: blocks of the grid's second dimension are limited to 65,535.
    pub(crate) fn launch(&self) -> Launch {
        let params = LinearParams {
            matrix: self.matrix,
            x: self.x,
            bias: self.bias,
            residual: self.residual,
            out: self.out,
            experts: self.experts,
            factors: self.factors,
            tokens: self.tokens,
            rows: self.rows,
            x_stride: self.x_stride,
            out_stride: self.out_stride,
            x_tokens: self.x_tokens,
            unused: 0,
        };
        let [one, several] = kernels(self.dtype);
        let blocks = self.rows.div_ceil(WARPS);
        // Neighbouring tokens have experts of their own.
        let (kernel, tiles) = if self.experts.is_null() && self.tokens > 1 {
            (several, self.tokens.div_ceil(TOKENS))
        } else {
            (one, self.tokens)
        };
        Launch::alone(kernel, [blocks, tiles, 1], WARPS * super::WARP, &params)
    }
}

/// Rows of tables by the step's tokens and positions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Embed {
    pub(crate) table: MatrixArg,
    /// Learned positions and the row of position 0.
    pub(crate) places: Option<(MatrixArg, u32)>,
    /// `[tokens]`
    pub(crate) tokens: DevicePtr,
    /// `[tokens]`
    pub(crate) positions: DevicePtr,
    /// `[tokens, table.cols]`
    pub(crate) out: DevicePtr,
    pub(crate) count: u32,
    pub(crate) scale: f32,
}

#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct EmbedParams {
    table: MatrixArg,
    places: MatrixArg,
    tokens: DevicePtr,
    positions: DevicePtr,
    out: DevicePtr,
    scale: f32,
    has_places: u32,
    place_offset: u32,
    unused: u32,
}

impl Embed {
    pub(crate) fn launch(&self) -> Launch {
        let params = EmbedParams {
            table: self.table,
            places: self
                .places
                .map_or_else(MatrixArg::zeroed, |places| places.0),
            tokens: self.tokens,
            positions: self.positions,
            out: self.out,
            scale: self.scale,
            has_places: self.places.is_some().into(),
            place_offset: self.places.map_or(0, |places| places.1),
            unused: 0,
        };
        Launch::new("embed", [self.count, 1, 1], super::THREADS, &params)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Gpu, assert_close, random};
    use super::*;
    use crate::cpu::testing::{matrix, rng};
    use crate::cuda::DeviceMatrix;

    /// The twin, with weights as f32.
    fn linear(weights: &[f32], x: &[f32], bias: &[f32], residual: &[f32], cols: usize) -> Vec<f32> {
        let rows = weights.len() / cols;
        let mut out = Vec::new();
        for (x, residual) in x.chunks_exact(cols).zip(residual.chunks_exact(rows)) {
            let each = weights.chunks_exact(cols).zip(bias).zip(residual);
            out.extend(each.map(|((w, bias), residual)| {
                let dot: f64 = w
                    .iter()
                    .zip(x)
                    .map(|(w, x)| f64::from(*w) * f64::from(*x))
                    .sum();
                (dot + f64::from(*bias) + f64::from(*residual)) as f32
            }));
        }
        out
    }

    fn check(gpu: &Gpu, dtype: WeightDtype, [rows, cols, tokens]: [usize; 3]) {
        let matrix = matrix(dtype, rows, cols, &mut rng(5));
        let device = DeviceMatrix::upload(&gpu.0, std::slice::from_ref(&matrix), "a test").unwrap();
        let (x, bias, residual) = (
            random(1, tokens * cols),
            random(2, rows),
            random(3, tokens * rows),
        );
        let (x_d, bias_d, residual_d) = (gpu.upload(&x), gpu.upload(&bias), gpu.upload(&residual));
        let out = gpu.poisoned(tokens * rows);
        let launch = Linear {
            matrix: device.arg(),
            dtype,
            x: x_d.ptr(),
            bias: bias_d.ptr(),
            residual: residual_d.ptr(),
            out: out.ptr(),
            experts: DevicePtr::NULL,
            factors: DevicePtr::NULL,
            tokens: tokens as u32,
            rows: rows as u32,
            x_stride: cols as u32,
            out_stride: rows as u32,
            x_tokens: 1,
        };
        gpu.run(&[launch.launch()]);
        let expected = linear(&matrix.to_f32().unwrap(), &x, &bias, &residual, cols);
        assert_close(
            &gpu.download(&out),
            &expected,
            3e-6,
            &format!("{dtype} {rows} × {cols}, {tokens} tokens"),
        );
    }

    #[test]
    fn the_kernels_are_their_twin() {
        let Some(gpu) = Gpu::get() else { return };
        for dtype in WeightDtype::ALL {
            let len = dtype.block_len();
            for shape in [
                [1, len, 1],
                [5, 3 * len, 2],
                [37, 5 * len, 9],
                [130, 2 * len, 17],
            ] {
                check(&gpu, dtype, shape);
            }
        }
        for dtype in [WeightDtype::F32, WeightDtype::F16, WeightDtype::BF16] {
            for shape in [[9, 15, 5], [6, 1023, 1], [11, 2100, 17], [3, 40, 6]] {
                check(&gpu, dtype, shape);
            }
        }
    }
}
