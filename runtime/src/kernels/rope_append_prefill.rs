//! Rotates queries and keys of many tokens and writes keys and values to the paged cache.

use bytemuck::NoUninit;

use super::{DevicePtr, Half, Launch};

const THREADS: u32 = 512;

/// A plain append: rotation only, heads of one width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RopeAppendPrefill {
    pub(crate) half: Half,
    /// f32 `[tokens, (q_heads + 2 kv_heads) * dim]`
    pub(crate) qkv: DevicePtr,
    /// `[tokens, q_heads * dim]`
    pub(crate) q: DevicePtr,
    /// `[blocks, kv_heads, 32, dim]`
    pub(crate) k: DevicePtr,
    /// `[blocks, kv_heads, 32, dim]`
    pub(crate) v: DevicePtr,
    /// f32 `[tokens, rotated / 2]`, or none: no rotation
    pub(crate) cos: DevicePtr,
    pub(crate) sin: DevicePtr,
    /// u32 `[slots, table_stride]`
    pub(crate) table: DevicePtr,
    pub(crate) table_stride: u32,
    /// u32 `[tokens]`
    pub(crate) positions: DevicePtr,
    /// u32 `[tokens]`
    pub(crate) slots: DevicePtr,
    pub(crate) tokens: u32,
    pub(crate) q_heads: u32,
    pub(crate) kv_heads: u32,
    /// Even.
    pub(crate) dim: u32,
    /// Leading dimensions that are rotated, even.
    pub(crate) rotated: u32,
    /// Whether a pair is two neighbours; else it is one of each half.
    pub(crate) adjacent: bool,
}

#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct Params {
    qkv: DevicePtr,
    q: DevicePtr,
    k: DevicePtr,
    v: DevicePtr,
    cos: DevicePtr,
    sin: DevicePtr,
    table: DevicePtr,
    positions: DevicePtr,
    slots: DevicePtr,
    k_block: u64,
    v_block: u64,
    table_stride: u32,
    q_heads: u32,
    kv_heads: u32,
    dim: u32,
    rotated: u32,
    adjacent: u32,
}

impl RopeAppendPrefill {
    pub(crate) fn launch(&self) -> Launch {
        let block = u64::from(self.kv_heads) * 32 * u64::from(self.dim);
        let params = Params {
            qkv: self.qkv,
            q: self.q,
            k: self.k,
            v: self.v,
            cos: self.cos,
            sin: self.sin,
            table: self.table,
            positions: self.positions,
            slots: self.slots,
            k_block: block,
            v_block: block,
            table_stride: self.table_stride,
            q_heads: self.q_heads,
            kv_heads: self.kv_heads,
            dim: self.dim,
            rotated: self.rotated,
            adjacent: self.adjacent.into(),
        };
        let kernel = match self.half {
            Half::Bf16 => "rope_append_prefill_bf16",
            Half::F16 => "rope_append_prefill_f16",
        };
        Launch::new(kernel, [self.tokens, 1, 1], THREADS, &params)
    }
}
