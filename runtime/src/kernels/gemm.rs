//! Matrix products of many tokens, by tensor cores: `gemm_sm90.cu` where wgmma is, `gemm_mma.cu` elsewhere and for
//! awkward widths.

use bytemuck::NoUninit;

use super::elementwise::{GluArg, act_number};
use super::{DeviceFacts, DevicePtr, Half, Launch, TensorMap};
use crate::nn::{Act, Glu};

/// Rows of a tile.
const TILE_ROWS: u32 = 128;
/// Most experts of a layer: their tiles are counted in shared memory.
pub(crate) const MAX_EXPERTS: u32 = 512;

/// Rows of 16-bit numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HalfRows {
    pub(crate) ptr: DevicePtr,
    /// Rows that exist.
    pub(crate) rows: u32,
    /// Numbers from row to row, at least their width.
    pub(crate) stride: u32,
}

/// What becomes of the sums.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Store {
    /// `out` f32, plus what is here, `[tokens, out_stride]`, unless that is none; it may be `out`
    F32 { residual: DevicePtr },
    /// `out` bf16 or f16, of gate and up; needs [`Gemm::up`]
    Glu(GluArg),
}

/// Experts whose rows of A lie one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grouped {
    /// Experts of this product.
    pub(crate) experts: u32,
    /// The first of them: the weights begin with it.
    pub(crate) first: u32,
    /// Rows of the weights from expert to expert.
    pub(crate) rows: u32,
    /// u32 `[_ + 1]`: the first row of A of each expert of the layer
    pub(crate) offsets: DevicePtr,
}

/// Biases `[n]`, f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bias {
    pub(crate) ptr: DevicePtr,
    /// The up rows', of a product with [`Gemm::up`].
    pub(crate) up: DevicePtr,
    /// Numbers from expert to expert.
    pub(crate) experts: u32,
}

/// `out[t, n] = Σ a[t, k] w[n, k]`
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Gemm {
    pub(crate) half: Half,
    /// `[tokens, k]`
    pub(crate) a: HalfRows,
    /// `[n, k]`, n of one expert
    pub(crate) w: HalfRows,
    /// The up rows of a gated MLP, `w` being the gate rows.
    pub(crate) up: Option<HalfRows>,
    pub(crate) n: u32,
    pub(crate) k: u32,
    pub(crate) bias: Option<Bias>,
    pub(crate) store: Store,
    /// `[tokens, out_stride]`
    pub(crate) out: DevicePtr,
    pub(crate) out_stride: u32,
    pub(crate) grouped: Option<Grouped>,
}

/// `Epilogue` of gemm.cuh.
#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct EpilogueParams {
    out: DevicePtr,
    residual: DevicePtr,
    bias: DevicePtr,
    bias2: DevicePtr,
    out_stride: u32,
    bias_experts: u32,
    store: u32,
    glu: GluArg,
}

/// `GemmShape` of gemm.cuh.
#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct ShapeParams {
    tokens: u32,
    n: u32,
    k: u32,
    experts: u32,
    first_expert: u32,
    expert_rows: u32,
    offsets: DevicePtr,
}

/// The driver's description of a matrix, filled in when launched.
type MapBytes = [u8; 128];
const NO_MAP: MapBytes = [0; 128];

#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct Sm90Params {
    a: MapBytes,
    w: MapBytes,
    w2: MapBytes,
    shape: ShapeParams,
    epilogue: EpilogueParams,
    /// The struct is a whole number of 128 bytes, as its maps ask.
    unused: [u64; 4],
}

#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct MmaParams {
    a: DevicePtr,
    w: DevicePtr,
    w2: DevicePtr,
    a_stride: u32,
    w_stride: u32,
    a_rows: u32,
    w_rows: u32,
    shape: ShapeParams,
    epilogue: EpilogueParams,
}

impl HalfRows {
    /// Whether the copy engine takes them, with rows of `k` numbers.
    fn aligned(&self, k: u32) -> bool {
        self.ptr.0.is_multiple_of(16) && self.stride.is_multiple_of(8) && k.is_multiple_of(8)
    }

    fn map(&self, offset: usize, half: Half, cols: u32, box_rows: u32) -> TensorMap {
        TensorMap {
            offset,
            address: self.ptr,
            rows: self.rows.into(),
            cols: cols.into(),
            row_bytes: u64::from(self.stride) * 2,
            box_rows,
            half,
        }
    }
}

impl Gemm {
    /// `None` if no epilogue knows the activation, or there are too many experts.
    pub(crate) fn launch(&self, facts: &DeviceFacts) -> Option<Launch> {
        let known = match &self.store {
            Store::Glu(glu) => in_epilogue(glu) && self.up.is_some(),
            _ => self.up.is_none(),
        };
        if !known
            || self
                .grouped
                .is_some_and(|grouped| grouped.experts > MAX_EXPERTS)
        {
            return None;
        }
        let aligned = [Some(self.a), Some(self.w), self.up]
            .iter()
            .flatten()
            .all(|rows| rows.aligned(self.k));
        Some(if facts.compute_capability == (9, 0) && aligned {
            self.sm90(facts)
        } else {
            self.mma(facts)
        })
    }

    /// Columns that tiles are made of: gate and up take one each.
    fn tile_columns(&self) -> u32 {
        if self.up.is_some() {
            2 * self.n
        } else {
            self.n
        }
    }

    /// Tiles at most: every expert may begin one that it does not fill.
    fn tiles(&self, columns: u32) -> u32 {
        let experts = self.grouped.map_or(0, |grouped| grouped.experts);
        let rows = self.a.rows.div_ceil(TILE_ROWS) + experts.min(self.a.rows);
        rows.saturating_mul(self.tile_columns().div_ceil(columns))
    }

    fn sm90(&self, facts: &DeviceFacts) -> Launch {
        let columns = self.columns(facts);
        let kernel = match (self.half, columns) {
            (Half::Bf16, 64) => "gemm_sm90_bf16_64",
            (Half::Bf16, 128) => "gemm_sm90_bf16_128",
            (Half::Bf16, 192) => "gemm_sm90_bf16_192",
            (Half::Bf16, _) => "gemm_sm90_bf16_256",
            (Half::F16, 64) => "gemm_sm90_f16_64",
            (Half::F16, 128) => "gemm_sm90_f16_128",
            (Half::F16, 192) => "gemm_sm90_f16_192",
            (Half::F16, _) => "gemm_sm90_f16_256",
        };
        let (shape, epilogue) = (self.shape(), self.epilogue());
        let params = Sm90Params {
            a: NO_MAP,
            w: NO_MAP,
            w2: NO_MAP,
            shape,
            epilogue,
            unused: [0; 4],
        };
        let w_box = if self.up.is_some() {
            columns / 2
        } else {
            columns
        };
        let mut maps = vec![
            self.a.map(0, self.half, self.k, TILE_ROWS),
            self.w.map(128, self.half, self.k, w_box),
        ];
        maps.extend(self.up.map(|up| up.map(256, self.half, self.k, w_box)));
        Launch::new(
            kernel,
            [facts.sms.min(self.tiles(columns)), 1, 1],
            SM90_THREADS,
            &params,
        )
        .shared(sm90_shared(columns))
        .tensor_maps(maps)
    }

    /// How many columns a tile gets: wide tiles multiply faster, narrow ones leave fewer SMs idle in the last round.
    fn columns(&self, facts: &DeviceFacts) -> u32 {
        // Relative times of one tile, measured on an H100.
        const COSTS: [(u32, u32); 4] = [(128, 18), (256, 33), (192, 26), (64, 15)];
        let rounds = |columns: u32| self.tiles(columns).div_ceil(facts.sms);
        COSTS
            .into_iter()
            .min_by_key(|(columns, cost)| rounds(*columns) * cost)
            .map_or(128, |(columns, _)| columns)
    }

    fn mma(&self, facts: &DeviceFacts) -> Launch {
        let kernel = match self.half {
            Half::Bf16 => "gemm_mma_bf16",
            Half::F16 => "gemm_mma_f16",
        };
        let params = MmaParams {
            a: self.a.ptr,
            w: self.w.ptr,
            w2: self.up.map_or(DevicePtr::NULL, |up| up.ptr),
            a_stride: self.a.stride,
            w_stride: self.w.stride,
            a_rows: self.a.rows,
            w_rows: self.up.map_or(self.w.rows, |up| up.rows.min(self.w.rows)),
            shape: self.shape(),
            epilogue: self.epilogue(),
        };
        // Two blocks fit an SM.
        let blocks = (2 * facts.sms).min(self.tiles(MMA_COLUMNS));
        Launch::new(kernel, [blocks, 1, 1], MMA_THREADS, &params).shared(MMA_SHARED)
    }

    fn shape(&self) -> ShapeParams {
        let grouped = self.grouped.unwrap_or(Grouped {
            experts: 0,
            first: 0,
            rows: 0,
            offsets: DevicePtr::NULL,
        });
        ShapeParams {
            tokens: self.a.rows,
            n: self.tile_columns(),
            k: self.k,
            experts: grouped.experts,
            first_expert: grouped.first,
            expert_rows: grouped.rows,
            offsets: grouped.offsets,
        }
    }

    fn epilogue(&self) -> EpilogueParams {
        epilogue(self.store, self.out, self.out_stride, self.bias)
    }
}

/// Threads of a block of `gemm_sm90.cu`: one warpgroup loads, two multiply; of MXFP4 weights two unpack.
const SM90_THREADS: u32 = 384;
const MXFP4_THREADS: u32 = 512;
const MMA_THREADS: u32 = 256;
const MMA_COLUMNS: u32 = 128;
/// Four stages of 128 + 128 rows of 32 numbers.
const MMA_SHARED: u32 = 4 * (128 + 128) * 32 * 2;

/// Shared memory of a block: stages of 128 + `columns` rows of 64 numbers, and what it takes to align them.
const fn sm90_shared(columns: u32) -> u32 {
    let stages = match columns {
        256 => 4,
        192 => 5,
        128 => 6,
        _ => 8,
    };
    stages * (TILE_ROWS + columns) * 128 + 1024
}

fn epilogue(store: Store, out: DevicePtr, out_stride: u32, bias: Option<Bias>) -> EpilogueParams {
    let bias = bias.unwrap_or_default();
    let none = GluArg::from(Glu::Act(Act::Identity));
    let (number, residual, glu) = match store {
        Store::F32 { residual } => (0, residual, none),
        Store::Glu(glu) => (1, DevicePtr::NULL, glu),
    };
    EpilogueParams {
        out,
        residual,
        bias: bias.ptr,
        bias2: bias.up,
        out_stride,
        bias_experts: bias.experts,
        store: number,
        glu,
    }
}

/// Whether the epilogue joins gate and up so; else they are stored and joined by a kernel of its own.
pub(crate) fn in_epilogue(glu: &GluArg) -> bool {
    glu.clamped != 0
        || [Act::Silu, Act::GeluTanh]
            .map(act_number)
            .contains(&glu.act)
}

/// A grouped product of MXFP4 weights, which the kernel unpacks on their way to the tensor cores. sm_90 only.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct GemmMxfp4 {
    pub(crate) half: Half,
    /// `[rows, k]`, sorted by expert
    pub(crate) a: HalfRows,
    /// Planes of all experts' rows (`repack.cu`): `[rows, k / 32]` blocks of 16 bytes, and their scales.
    pub(crate) quants: DevicePtr,
    pub(crate) scales: DevicePtr,
    /// Rows from a gate row to its up row; `None` if the rows stand alone.
    pub(crate) up: Option<u32>,
    pub(crate) n: u32,
    pub(crate) k: u32,
    pub(crate) bias: Option<Bias>,
    pub(crate) store: Store,
    pub(crate) out: DevicePtr,
    pub(crate) out_stride: u32,
    pub(crate) grouped: Grouped,
}

#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct Mxfp4Params {
    a: MapBytes,
    quants: DevicePtr,
    scales: DevicePtr,
    up: u32,
    unused: u32,
    shape: ShapeParams,
    epilogue: EpilogueParams,
    /// As in [`Sm90Params`].
    unused_end: u64,
}

impl GemmMxfp4 {
    const COLUMNS: u32 = 128;

    /// `None` if this GPU, the activation or the width is not served.
    pub(crate) fn launch(&self, facts: &DeviceFacts) -> Option<Launch> {
        let known = match &self.store {
            Store::Glu(glu) => in_epilogue(glu) && self.up.is_some(),
            _ => self.up.is_none(),
        };
        let served = facts.compute_capability == (9, 0)
            && self.grouped.experts <= MAX_EXPERTS
            && self.a.aligned(self.k)
            && self.k.is_multiple_of(32)
            && self.quants.0.is_multiple_of(16);
        if !known || !served {
            return None;
        }
        let columns = if self.up.is_some() {
            2 * self.n
        } else {
            self.n
        };
        let shape = ShapeParams {
            tokens: self.a.rows,
            n: columns,
            k: self.k,
            experts: self.grouped.experts,
            first_expert: self.grouped.first,
            expert_rows: self.grouped.rows,
            offsets: self.grouped.offsets,
        };
        let params = Mxfp4Params {
            a: NO_MAP,
            quants: self.quants,
            scales: self.scales,
            up: self.up.unwrap_or(0),
            unused: 0,
            shape,
            epilogue: epilogue(self.store, self.out, self.out_stride, self.bias),
            unused_end: 0,
        };
        let kernel = match self.half {
            Half::Bf16 => "gemm_mxfp4_sm90_bf16",
            Half::F16 => "gemm_mxfp4_sm90_f16",
        };
        let launch = Launch::new(kernel, [facts.sms, 1, 1], MXFP4_THREADS, &params)
            .shared(sm90_shared(Self::COLUMNS))
            .tensor_maps(vec![self.a.map(0, self.half, self.k, TILE_ROWS)]);
        Some(launch)
    }
}

#[cfg(test)]
mod tests;
