//! Attention over the paged cache: the plain kernels, which serve every size.

use bytemuck::{NoUninit, Pod, Zeroable};

use super::{DevicePtr, Launch};
use crate::device::ComputeDtype;

/// Operations on queries, keys and values of one append.
pub(crate) const MAX_OPS: usize = 8;
const ATTEND_WARPS: u32 = 4;

/// The cache of one layer: `Kv` of kv.cuh.
#[derive(Clone, Copy, Debug, NoUninit, Zeroable)]
#[repr(C)]
pub(crate) struct KvArg {
    /// `[blocks, heads, 32, k_dim]`
    pub(crate) k: DevicePtr,
    /// `[blocks, heads, 32, v_dim]`
    pub(crate) v: DevicePtr,
    /// `[slots, stride]`
    pub(crate) table: DevicePtr,
    pub(crate) stride: u32,
    pub(crate) heads: u32,
    pub(crate) k_dim: u32,
    pub(crate) v_dim: u32,
}

/// The number of the cache's type in kernels.
pub(crate) const fn kv_number(dtype: ComputeDtype) -> u32 {
    match dtype {
        ComputeDtype::F32 => 0,
        ComputeDtype::F16 => 1,
        ComputeDtype::Bf16 => 2,
    }
}

/// What is done to a token's row q | k | v.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AppendOp {
    Clip(f32),
    /// Of queries and of keys.
    Norm {
        centred: bool,
        q: HeadNorm,
        k: HeadNorm,
    },
    /// Cosines and sines `[tokens, pairs]`.
    Rope {
        adjacent: bool,
        pairs: u32,
        cosines: DevicePtr,
        sines: DevicePtr,
    },
    Temperature {
        scale: f32,
        floor: f32,
        from_one: bool,
    },
    ScaleValues(f32),
}

/// Norms of neighbouring heads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadNorm {
    /// Numbers of one norm.
    pub(crate) width: u32,
    /// Numbers of weight from one norm to the next.
    pub(crate) step: u32,
    pub(crate) weight: DevicePtr,
    pub(crate) bias: DevicePtr,
    pub(crate) eps: f32,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct OpParams {
    kind: u32,
    adjacent: u32,
    centred: u32,
    q_width: u32,
    k_width: u32,
    q_step: u32,
    k_step: u32,
    pairs: u32,
    a: f32,
    b: f32,
    from_one: u32,
    unused: u32,
    q_weight: DevicePtr,
    k_weight: DevicePtr,
    q_bias: DevicePtr,
    k_bias: DevicePtr,
}

impl From<AppendOp> for OpParams {
    fn from(op: AppendOp) -> Self {
        let none = Self::zeroed();
        match op {
            AppendOp::Clip(limit) => Self {
                kind: 0,
                a: limit,
                ..none
            },
            AppendOp::Norm { centred, q, k } => Self {
                kind: 1,
                centred: centred.into(),
                q_width: q.width,
                k_width: k.width,
                q_step: q.step,
                k_step: k.step,
                a: q.eps,
                b: k.eps,
                q_weight: q.weight,
                k_weight: k.weight,
                q_bias: q.bias,
                k_bias: k.bias,
                ..none
            },
            AppendOp::Rope {
                adjacent,
                pairs,
                cosines,
                sines,
            } => Self {
                kind: 2,
                adjacent: adjacent.into(),
                pairs,
                q_weight: cosines,
                k_weight: sines,
                ..none
            },
            AppendOp::Temperature {
                scale,
                floor,
                from_one,
            } => Self {
                kind: 3,
                a: scale,
                b: floor,
                from_one: from_one.into(),
                ..none
            },
            AppendOp::ScaleValues(factor) => Self {
                kind: 4,
                a: factor,
                ..none
            },
        }
    }
}

/// Prepares queries, keys and values and writes keys and values to the cache.
#[derive(Clone, Debug)]
pub(crate) struct Append {
    pub(crate) kv: KvArg,
    pub(crate) dtype: ComputeDtype,
    /// `[tokens, q | k | v]`, without v where it is k
    pub(crate) qkv: DevicePtr,
    /// `[tokens, q | k | v]`: room to work
    pub(crate) row: DevicePtr,
    /// `[tokens, q]`
    pub(crate) q: DevicePtr,
    /// `[tokens]`
    pub(crate) positions: DevicePtr,
    /// `[tokens]`
    pub(crate) slots: DevicePtr,
    pub(crate) tokens: u32,
    pub(crate) q_heads: u32,
    pub(crate) v_is_k: bool,
    /// At most [`MAX_OPS`].
    pub(crate) ops: Vec<AppendOp>,
}

#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct AppendParams {
    kv: KvArg,
    qkv: DevicePtr,
    row: DevicePtr,
    q: DevicePtr,
    positions: DevicePtr,
    slots: DevicePtr,
    q_heads: u32,
    v_is_k: u32,
    dtype: u32,
    ops: u32,
    op: [OpParams; MAX_OPS],
}

impl Append {
    pub(crate) fn launch(&self) -> Launch {
        let mut op = [OpParams::zeroed(); MAX_OPS];
        for (to, from) in op.iter_mut().zip(&self.ops) {
            *to = (*from).into();
        }
        let params = AppendParams {
            kv: self.kv,
            qkv: self.qkv,
            row: self.row,
            q: self.q,
            positions: self.positions,
            slots: self.slots,
            q_heads: self.q_heads,
            v_is_k: self.v_is_k.into(),
            dtype: kv_number(self.dtype),
            ops: self.ops.len() as u32,
            op,
        };
        Launch::alone("append", [self.tokens, 1, 1], 512, &params)
    }
}

/// Attention of queries over the cache.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attend {
    pub(crate) kv: KvArg,
    pub(crate) dtype: ComputeDtype,
    /// `[tokens, q_heads, k_dim]`
    pub(crate) q: DevicePtr,
    /// `[q_heads]`, or none
    pub(crate) sinks: DevicePtr,
    /// `[tokens, q_heads, v_dim]`
    pub(crate) out: DevicePtr,
    /// `[tokens]`
    pub(crate) positions: DevicePtr,
    /// `[tokens]`
    pub(crate) slots: DevicePtr,
    pub(crate) tokens: u32,
    pub(crate) q_heads: u32,
    /// 0 is none.
    pub(crate) window: u32,
    /// 0 is none.
    pub(crate) chunk: u32,
    pub(crate) alibi: bool,
    pub(crate) scale: f32,
    /// 0 is off.
    pub(crate) softcap: f32,
}

#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct AttendParams {
    kv: KvArg,
    q: DevicePtr,
    sinks: DevicePtr,
    out: DevicePtr,
    positions: DevicePtr,
    slots: DevicePtr,
    q_heads: u32,
    window: u32,
    chunk: u32,
    alibi: u32,
    scale: f32,
    softcap: f32,
    dtype: u32,
    unused: u32,
}

impl Attend {
    pub(crate) fn launch(&self) -> Launch {
        let params = AttendParams {
            kv: self.kv,
            q: self.q,
            sinks: self.sinks,
            out: self.out,
            positions: self.positions,
            slots: self.slots,
            q_heads: self.q_heads,
            window: self.window,
            chunk: self.chunk,
            alibi: self.alibi.into(),
            scale: self.scale,
            softcap: self.softcap,
            dtype: kv_number(self.dtype),
            unused: 0,
        };
        let shared = 4 * (self.kv.k_dim + ATTEND_WARPS * (self.kv.v_dim + 2));
        Launch::alone(
            "attend",
            [self.tokens, self.q_heads, 1],
            ATTEND_WARPS * super::WARP,
            &params,
        )
        .shared(shared)
    }
}

/// Cosines and sines of a step's tokens.
#[derive(Clone, Copy, Debug, NoUninit)]
#[repr(C)]
pub(crate) struct Angles {
    /// `[slots, pairs]`
    pub(crate) frequencies: DevicePtr,
    /// `[tokens]`
    pub(crate) positions: DevicePtr,
    /// `[tokens]`
    pub(crate) slots: DevicePtr,
    /// `[tokens, pairs]`
    pub(crate) cosines: DevicePtr,
    /// `[tokens, pairs]`
    pub(crate) sines: DevicePtr,
    pub(crate) pairs: u32,
    /// Factor of both.
    pub(crate) attention: f32,
    /// Factor of sines: 1 or -1.
    pub(crate) direction: f32,
    pub(crate) unused: u32,
}

impl Angles {
    pub(crate) fn launch(&self, tokens: u32) -> Launch {
        Launch::new("rope_angles", [tokens, 1, 1], 64, self)
    }
}
