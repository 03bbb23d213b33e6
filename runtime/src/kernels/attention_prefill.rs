//! Attention of many queries over the paged cache, by tensor cores.

use bytemuck::NoUninit;

use super::{DeviceFacts, DevicePtr, Half, Launch};

/// Rows (a token's query head each) of a block.
const ROWS: u32 = 128;
const THREADS: u32 = 256;

/// Queries of runs of tokens, over keys and values that are in the cache already, those of the same tokens too.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct AttentionPrefill<'a> {
    /// Of queries and cache.
    pub(crate) half: Half,
    /// `[tokens, kv_heads * group * dim]`
    pub(crate) q: DevicePtr,
    /// `[tokens, kv_heads * group * dim]`
    pub(crate) out: DevicePtr,
    /// Whether `out` is f32; else it is of the type of queries.
    pub(crate) out_f32: bool,
    /// `[blocks, kv_heads, 32, dim]`
    pub(crate) k: DevicePtr,
    /// `[blocks, kv_heads, 32, dim]`
    pub(crate) v: DevicePtr,
    /// u32 `[slots, table_stride]`
    pub(crate) table: DevicePtr,
    pub(crate) table_stride: u32,
    /// u32 `[runs, 4]`: first token, tokens, position of the first, slot
    pub(crate) runs: DevicePtr,
    /// Tokens of each run, which the host knows.
    pub(crate) run_tokens: &'a [u32],
    pub(crate) kv_heads: u32,
    /// Query heads of a key/value head.
    pub(crate) group: u32,
    pub(crate) dim: u32,
    /// Width of values; must be `dim`.
    pub(crate) v_dim: u32,
    pub(crate) scale: f32,
    /// 0 is none.
    pub(crate) softcap: f32,
    /// f32 `[heads]`, or none
    pub(crate) sinks: DevicePtr,
    /// f32 `[heads]`, or none: alibi
    pub(crate) slopes: DevicePtr,
    /// Keys that a query sees, itself included; 0 is all.
    pub(crate) window: u32,
    /// Length of the chunks that see no other; 0 is none.
    pub(crate) chunk: u32,
}

#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct Params {
    q: DevicePtr,
    out: DevicePtr,
    k: DevicePtr,
    v: DevicePtr,
    table: DevicePtr,
    runs: DevicePtr,
    sinks: DevicePtr,
    slopes: DevicePtr,
    k_block: u64,
    v_block: u64,
    table_stride: u32,
    run_count: u32,
    kv_heads: u32,
    group: u32,
    scale: f32,
    softcap: f32,
    window: u32,
    chunk: u32,
    out_f32: u32,
    unused: u32,
}

impl AttentionPrefill<'_> {
    /// `None` if no kernel is for heads so wide, or a block cannot have the shared memory.
    pub(crate) fn launch(&self, facts: &DeviceFacts) -> Option<Launch> {
        let kernel = match (self.half, self.dim) {
            (Half::Bf16, 64) => "attention_prefill_bf16_64",
            (Half::Bf16, 96) => "attention_prefill_bf16_96",
            (Half::Bf16, 128) => "attention_prefill_bf16_128",
            (Half::Bf16, 256) => "attention_prefill_bf16_256",
            (Half::F16, 64) => "attention_prefill_f16_64",
            (Half::F16, 96) => "attention_prefill_f16_96",
            (Half::F16, 128) => "attention_prefill_f16_128",
            (Half::F16, 256) => "attention_prefill_f16_256",
            _ => return None,
        };
        let shared = shared(self.dim);
        if self.v_dim != self.dim || shared > facts.shared_per_block {
            return None;
        }
        let block = u64::from(self.kv_heads) * 32 * u64::from(self.dim);
        let params = Params {
            q: self.q,
            out: self.out,
            k: self.k,
            v: self.v,
            table: self.table,
            runs: self.runs,
            sinks: self.sinks,
            slopes: self.slopes,
            k_block: block,
            v_block: block,
            table_stride: self.table_stride,
            run_count: u32::try_from(self.run_tokens.len()).ok()?,
            kv_heads: self.kv_heads,
            group: self.group,
            scale: self.scale,
            softcap: self.softcap,
            window: self.window,
            chunk: self.chunk,
            out_f32: self.out_f32.into(),
            unused: 0,
        };
        let tiles = self
            .run_tokens
            .iter()
            .map(|tokens| (tokens * self.group).div_ceil(ROWS))
            .sum();
        Some(Launch::new(kernel, [self.kv_heads, tiles, 1], THREADS, &params).shared(shared))
    }
}

/// Two stages of 64 keys and values, 128 queries; each row 16 bytes longer than its numbers.
const fn shared(dim: u32) -> u32 {
    (4 * 64 + ROWS) * (dim + 8) * 2
}

#[cfg(test)]
mod tests;
