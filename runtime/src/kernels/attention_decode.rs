//! Attention of single tokens over the paged cache, with norm, rope and append in front: `attention_decode.cu`.

use bytemuck::NoUninit;

use super::{DeviceFacts, DevicePtr, Launch, WARP};

/// Warps of a block.
const WARPS: u32 = 8;
/// Query heads that a block serves.
const HEADS: u32 = 8;
/// Keys that a block takes before another is worth the merge.
const KEYS_A_SHARE: u32 = 256;
/// Positions of a cache block.
const BLOCK: u32 = 32;

/// How the cache holds numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CacheDtype {
    Bf16,
    F16,
}

/// A norm of each query or key head.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HeadNorm {
    /// `[dim]`, or `[heads, dim]` where `per_head`; none: no norm
    pub(crate) weight: DevicePtr,
    pub(crate) per_head: bool,
}

/// What stands in front of the attention inside the kernel.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Front {
    pub(crate) q_norm: HeadNorm,
    pub(crate) k_norm: HeadNorm,
    /// Of the norms.
    pub(crate) eps: f32,
    /// f32 `[tokens, rotated / 2]`
    pub(crate) cos: DevicePtr,
    pub(crate) sin: DevicePtr,
    /// Leading dimensions that rotate; 0 is none.
    pub(crate) rotated: u32,
    /// Pairs (2j, 2j + 1) instead of (j, j + rotated / 2).
    pub(crate) adjacent: bool,
}

/// Attention of tokens that are each the last of their sequence.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttentionDecode {
    /// f32 `[tokens]` rows `stride` apart: query, key and value heads; without `front` prepared query heads only, and the
    /// cache is complete
    pub(crate) qkv: DevicePtr,
    pub(crate) stride: u32,
    pub(crate) front: Option<Front>,
    /// `[heads]`, or none
    pub(crate) sinks: DevicePtr,
    /// `[blocks][kv_heads][32][dim]`
    pub(crate) keys: DevicePtr,
    pub(crate) values: DevicePtr,
    pub(crate) cache: CacheDtype,
    /// u32 `[slots, table_stride]`
    pub(crate) table: DevicePtr,
    pub(crate) table_stride: u32,
    /// u32 `[tokens]`; written by nobody but the step's first kernel
    pub(crate) positions: DevicePtr,
    /// u32 `[tokens]`
    pub(crate) slots: DevicePtr,
    /// [`workspace`] bytes
    pub(crate) partial: DevicePtr,
    /// [`counters`] u32, 0 at first
    pub(crate) counters: DevicePtr,
    /// f32 `[tokens, heads · dim]`
    pub(crate) out: DevicePtr,
    pub(crate) tokens: u32,
    pub(crate) heads: u32,
    pub(crate) kv_heads: u32,
    pub(crate) dim: u32,
    /// Keys that a token sees; 0 is all.
    pub(crate) window: u32,
    /// Blocks that share a context: [`shares`].
    pub(crate) shares: u32,
    pub(crate) scale: f32,
    /// 0 is off.
    pub(crate) softcap: f32,
}

#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct Params {
    qkv: DevicePtr,
    cos: DevicePtr,
    sin: DevicePtr,
    q_norm: DevicePtr,
    k_norm: DevicePtr,
    sinks: DevicePtr,
    keys: DevicePtr,
    values: DevicePtr,
    table: DevicePtr,
    positions: DevicePtr,
    slots: DevicePtr,
    partial: DevicePtr,
    counters: DevicePtr,
    out: DevicePtr,
    block_stride: u64,
    stride: u32,
    table_stride: u32,
    ring: u32,
    heads: u32,
    kv_heads: u32,
    rotated: u32,
    adjacent: u32,
    append: u32,
    window: u32,
    shares: u32,
    q_norm_stride: u32,
    k_norm_stride: u32,
    eps: f32,
    scale: f32,
    softcap: f32,
    unused: u32,
}

/// Blocks of a token: KV heads, and groups of query heads where more than eight share one.
const fn units(heads: u32, kv_heads: u32) -> u32 {
    kv_heads * (heads / kv_heads).div_ceil(HEADS)
}

/// Bytes of `partial`.
pub(crate) const fn workspace(tokens: u32, heads: u32, kv_heads: u32, dim: u32, shares: u32) -> usize {
    (tokens * units(heads, kv_heads) * shares) as usize * (HEADS * dim + 2 * HEADS) as usize * 4
}

/// Numbers of `counters`.
pub(crate) const fn counters(tokens: u32, heads: u32, kv_heads: u32) -> usize {
    (tokens * units(heads, kv_heads)) as usize
}

/// Blocks that share each context of up to `context` positions: the fewest that give a block no more than a few keys a
/// warp, as long as all run at once.
pub(crate) fn shares(context: u32, window: u32, tokens: u32, [heads, kv_heads]: [u32; 2], facts: DeviceFacts) -> u32 {
    let seen = if window == 0 { context } else { context.min(window + BLOCK) };
    let most = facts.sms / (units(heads, kv_heads) * tokens).max(1);
    seen.div_ceil(KEYS_A_SHARE).min(most.clamp(1, 32)).max(1)
}

impl AttentionDecode {
    /// The launch, or `None` where the plain kernels must do: other widths of heads, broken rows.
    pub(crate) fn launch(&self) -> Option<Launch> {
        let Self { heads, kv_heads, dim, tokens, shares, .. } = *self;
        let kernel = match (self.cache, dim) {
            (CacheDtype::Bf16, 64) => "attention_decode_bf16_64_w8",
            (CacheDtype::Bf16, 96) => "attention_decode_bf16_96_w8",
            (CacheDtype::Bf16, 128) => "attention_decode_bf16_128_w8",
            (CacheDtype::Bf16, 256) => "attention_decode_bf16_256_w8",
            (CacheDtype::F16, 64) => "attention_decode_f16_64_w8",
            (CacheDtype::F16, 96) => "attention_decode_f16_96_w8",
            (CacheDtype::F16, 128) => "attention_decode_f16_128_w8",
            (CacheDtype::F16, 256) => "attention_decode_f16_256_w8",
            _ => return None,
        };
        let rotated = self.front.map_or(0, |front| front.rotated);
        if kv_heads == 0 || heads % kv_heads != 0 || rotated > dim || rotated % 2 != 0 || shares == 0 || tokens == 0 {
            return None;
        }
        let grid = [shares, units(heads, kv_heads), tokens];
        Some(Launch::new(kernel, grid, WARPS * WARP, &self.params()).shared(WARPS * HEADS * (dim + 2) * 4))
    }

    fn params(&self) -> Params {
        let front = self.front.unwrap_or_default();
        let stride = |norm: HeadNorm| if norm.per_head { self.dim } else { 0 };
        Params {
            qkv: self.qkv,
            cos: front.cos,
            sin: front.sin,
            q_norm: front.q_norm.weight,
            k_norm: front.k_norm.weight,
            sinks: self.sinks,
            keys: self.keys,
            values: self.values,
            table: self.table,
            positions: self.positions,
            slots: self.slots,
            partial: self.partial,
            counters: self.counters,
            out: self.out,
            block_stride: u64::from(self.kv_heads * BLOCK * self.dim),
            stride: self.stride,
            table_stride: self.table_stride,
            ring: 0,
            heads: self.heads,
            kv_heads: self.kv_heads,
            rotated: front.rotated,
            adjacent: front.adjacent.into(),
            append: self.front.is_some().into(),
            window: self.window,
            shares: self.shares,
            q_norm_stride: stride(front.q_norm),
            k_norm_stride: stride(front.k_norm),
            eps: front.eps,
            scale: self.scale,
            softcap: self.softcap,
            unused: 0,
        }
    }
}
