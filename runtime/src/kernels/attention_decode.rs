//! Attention of single tokens over the paged cache, with norm, rope and append in front: `attention_decode.cu`.

use bytemuck::NoUninit;

use super::{DeviceFacts, DevicePtr, Launch, WARP};

/// Query heads that a block serves.
const HEADS: u32 = 8;
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
    pub(crate) split: Split,
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
pub(crate) const fn workspace(
    tokens: u32,
    heads: u32,
    kv_heads: u32,
    dim: u32,
    shares: u32,
) -> usize {
    (tokens * units(heads, kv_heads) * shares) as usize * (HEADS * dim + 2 * HEADS) as usize * 4
}

/// Numbers of `counters`.
pub(crate) const fn counters(tokens: u32, heads: u32, kv_heads: u32) -> usize {
    (tokens * units(heads, kv_heads)) as usize
}

/// How a context is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Split {
    /// Blocks that share it.
    pub(crate) shares: u32,
    /// Warps of each: 8, or 16 for heads of 64.
    pub(crate) warps: u32,
    /// Whether the shares, 4 or 8 of heads of 128, meet in a cluster's shared memory: compute capability 9.0.
    pub(crate) cluster: bool,
}

impl Split {
    /// For a context of up to `context` positions. Merging blocks costs a microsecond and more: narrow heads stay in one
    /// block of 16 warps as long as that takes them at once or twice. No more blocks than run at once.
    pub(crate) fn new(
        context: u32,
        window: u32,
        tokens: u32,
        [heads, kv_heads, dim]: [u32; 3],
        facts: DeviceFacts,
    ) -> Self {
        let seen = if window == 0 {
            context
        } else {
            context.min(window + BLOCK)
        };
        if dim == 64 && seen <= 1024 {
            return Self {
                shares: 1,
                warps: 16,
                cluster: false,
            };
        }
        let keys = if dim == 64 { 512 } else { 128 };
        let most = facts.sms / (units(heads, kv_heads) * tokens).max(1);
        let shares = seen.div_ceil(keys).clamp(1, most.clamp(1, 32));
        let cluster = dim == 128 && facts.pdl() && matches!(shares, 4 | 8);
        Self {
            shares,
            warps: 8,
            cluster,
        }
    }
}

impl AttentionDecode {
    /// The launch, or `None` where the plain kernels must do: other widths of heads, broken rows.
    pub(crate) fn launch(&self) -> Option<Launch> {
        let Self {
            heads,
            kv_heads,
            dim,
            tokens,
            split:
                Split {
                    shares,
                    warps,
                    cluster,
                },
            ..
        } = *self;
        let kernel = match (self.cache, dim, warps) {
            (CacheDtype::Bf16, 128, 8) if cluster && shares == 4 => "attention_decode_bf16_128_c4",
            (CacheDtype::Bf16, 128, 8) if cluster && shares == 8 => "attention_decode_bf16_128_c8",
            (CacheDtype::F16, 128, 8) if cluster && shares == 4 => "attention_decode_f16_128_c4",
            (CacheDtype::F16, 128, 8) if cluster && shares == 8 => "attention_decode_f16_128_c8",
            _ if cluster => return None,
            (CacheDtype::Bf16, 64, 8) => "attention_decode_bf16_64_w8",
            (CacheDtype::Bf16, 64, 16) => "attention_decode_bf16_64_w16",
            (CacheDtype::Bf16, 96, 8) => "attention_decode_bf16_96_w8",
            (CacheDtype::Bf16, 128, 8) => "attention_decode_bf16_128_w8",
            (CacheDtype::Bf16, 256, 8) => "attention_decode_bf16_256_w8",
            (CacheDtype::F16, 64, 8) => "attention_decode_f16_64_w8",
            (CacheDtype::F16, 64, 16) => "attention_decode_f16_64_w16",
            (CacheDtype::F16, 96, 8) => "attention_decode_f16_96_w8",
            (CacheDtype::F16, 128, 8) => "attention_decode_f16_128_w8",
            (CacheDtype::F16, 256, 8) => "attention_decode_f16_256_w8",
            _ => return None,
        };
        let rotated = self.front.map_or(0, |front| front.rotated);
        if kv_heads == 0
            || heads % kv_heads != 0
            || rotated > dim
            || !rotated.is_multiple_of(2)
            || shares == 0
            || tokens == 0
        {
            return None;
        }
        let grid = [shares, units(heads, kv_heads), tokens];
        Some(
            Launch::new(kernel, grid, warps * WARP, &self.params())
                .shared((warps + u32::from(cluster)) * HEADS * (dim + 2) * 4),
        )
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
            shares: self.split.shares,
            q_norm_stride: stride(front.q_norm),
            k_norm_stride: stride(front.k_norm),
            eps: front.eps,
            scale: self.scale,
            softcap: self.softcap,
            unused: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};

    use super::super::testing::{Gpu, assert_close, random};
    use super::*;

    const EPS: f32 = 1e-5;

    /// A case: sizes, then what stands in front.
    #[derive(Clone, Copy, Debug)]
    struct Case {
        dim: usize,
        heads: usize,
        kv_heads: usize,
        positions: &'static [usize],
        window: usize,
        shares: u32,
        warps: u32,
        cluster: bool,
        rotated: usize,
        adjacent: bool,
        normed: bool,
        sinks: bool,
        softcap: f32,
    }

    const PLAIN: Case = Case {
        dim: 64,
        heads: 8,
        kv_heads: 1,
        positions: &[511],
        window: 0,
        shares: 4,
        warps: 8,
        cluster: false,
        rotated: 64,
        adjacent: false,
        normed: false,
        sinks: true,
        softcap: 0.0,
    };

    fn rounded(cache: CacheDtype, x: f32) -> f32 {
        match cache {
            CacheDtype::Bf16 => bf16::from_f32(x).to_f32(),
            CacheDtype::F16 => f16::from_f32(x).to_f32(),
        }
    }

    fn bytes(cache: CacheDtype, values: &[f32]) -> Vec<u16> {
        let bits = |x: &f32| match cache {
            CacheDtype::Bf16 => bf16::from_f32(*x).to_bits(),
            CacheDtype::F16 => f16::from_f32(*x).to_bits(),
        };
        values.iter().map(bits).collect()
    }

    /// A head after norm and rope.
    fn prepared(case: &Case, head: &[f32], norm: &[f32], cos: &[f32], sin: &[f32]) -> Vec<f64> {
        let mut x: Vec<f64> = head.iter().map(|x| f64::from(*x)).collect();
        if case.normed {
            let square = x.iter().map(|x| x * x).sum::<f64>() / case.dim as f64;
            x.iter_mut()
                .zip(norm)
                .for_each(|(x, w)| *x *= f64::from(*w) / (square + f64::from(EPS)).sqrt());
        }
        let half = case.rotated / 2;
        for j in 0..half {
            let (a, b) = if case.adjacent {
                (2 * j, 2 * j + 1)
            } else {
                (j, j + half)
            };
            let (c, s) = (f64::from(cos[j]), f64::from(sin[j]));
            (x[a], x[b]) = (x[a] * c - x[b] * s, x[b] * c + x[a] * s);
        }
        x
    }

    /// Softmax over scores and a sink, applied to values.
    fn attend(
        q: &[f64],
        keys: &[Vec<f64>],
        values: &[Vec<f64>],
        sink: Option<f32>,
        scale: f64,
        softcap: f64,
    ) -> Vec<f64> {
        let score = |key: &Vec<f64>| {
            let z = q.iter().zip(key).map(|(q, k)| q * k).sum::<f64>() * scale;
            if softcap == 0.0 {
                z
            } else {
                softcap * (z / softcap).tanh()
            }
        };
        let scores: Vec<f64> = keys.iter().map(score).collect();
        let most = scores
            .iter()
            .copied()
            .chain(sink.map(f64::from))
            .fold(f64::MIN, f64::max);
        let weights: Vec<f64> = scores.iter().map(|z| (z - most).exp()).collect();
        let total =
            weights.iter().sum::<f64>() + sink.map_or(0.0, |sink| (f64::from(sink) - most).exp());
        (0..q.len())
            .map(|d| {
                weights
                    .iter()
                    .zip(values)
                    .map(|(w, v)| w * v[d])
                    .sum::<f64>()
                    / total
            })
            .collect()
    }

    fn check(gpu: &Gpu, cache: CacheDtype, case: &Case) {
        let Case {
            dim,
            heads,
            kv_heads,
            ..
        } = *case;
        let tokens = case.positions.len();
        let blocks = case.positions.iter().max().unwrap() / 32 + 1;
        let total = blocks * tokens + 2;
        // Blocks of the sequences lie backwards, from the end.
        let table: Vec<u32> = (0..blocks * tokens)
            .map(|i| (total - 1 - i) as u32)
            .collect();
        let slots: Vec<u32> = (0..tokens as u32).rev().collect();
        let stride = (heads + 2 * kv_heads) * dim;
        let qkv = random(1, tokens * stride);
        let (cos, sin) = (random(2, tokens * dim), random(3, tokens * dim));
        let (q_norm, k_norm, sinks) = (random(4, heads * dim), random(5, dim), random(6, heads));
        let size = total * kv_heads * 32 * dim;
        let mut stored = [random(7, size), random(8, size)];
        stored
            .iter_mut()
            .flatten()
            .for_each(|x| *x = rounded(cache, *x));
        let place = |token: usize, position: usize, head: usize| {
            let block = table[slots[token] as usize * blocks + position / 32] as usize;
            ((block * kv_heads + head) * 32 + position % 32) * dim
        };
        // What lies beyond the sequences is poison.
        for (token, position) in case.positions.iter().enumerate() {
            for head in 0..kv_heads {
                for later in *position..(position / 32 + 1) * 32 {
                    let at = place(token, later, head);
                    stored
                        .iter_mut()
                        .for_each(|stored| stored[at..at + dim].fill(f32::NAN));
                }
            }
        }
        let half = case.rotated / 2;
        let (cos_d, sin_d) = (
            gpu.upload(&cos[..(tokens * half).max(1)]),
            gpu.upload(&sin[..(tokens * half).max(1)]),
        );
        let [keys, values] = stored
            .each_ref()
            .map(|stored| gpu.upload(&bytes(cache, stored)));
        let uploads = [&qkv, &q_norm, &k_norm, &sinks].map(|values| gpu.upload(values));
        let (table_d, slots_d) = (gpu.upload(&table), gpu.upload(&slots));
        let positions: Vec<u32> = case
            .positions
            .iter()
            .map(|position| *position as u32)
            .collect();
        let positions_d = gpu.upload(&positions);
        let (q, kv, d) = (heads as u32, kv_heads as u32, dim as u32);
        let partial = gpu.poisoned_bytes(workspace(tokens as u32, q, kv, d, case.shares));
        let counted = gpu.upload(&vec![0_u32; counters(tokens as u32, q, kv)]);
        let out = gpu.poisoned(tokens * heads * dim);
        let norm = |index: usize, per_head| HeadNorm {
            weight: uploads[index].ptr(),
            per_head,
        };
        let norms = if case.normed {
            [norm(1, true), norm(2, false)]
        } else {
            Default::default()
        };
        let launch = AttentionDecode {
            qkv: uploads[0].ptr(),
            stride: stride as u32,
            front: Some(Front {
                q_norm: norms[0],
                k_norm: norms[1],
                eps: EPS,
                cos: cos_d.ptr(),
                sin: sin_d.ptr(),
                rotated: case.rotated as u32,
                adjacent: case.adjacent,
            }),
            sinks: if case.sinks {
                uploads[3].ptr()
            } else {
                DevicePtr::NULL
            },
            keys: keys.ptr(),
            values: values.ptr(),
            cache,
            table: table_d.ptr(),
            table_stride: blocks as u32,
            positions: positions_d.ptr(),
            slots: slots_d.ptr(),
            partial: partial.ptr(),
            counters: counted.ptr(),
            out: out.ptr(),
            tokens: tokens as u32,
            heads: q,
            kv_heads: kv,
            dim: d,
            window: case.window as u32,
            split: Split {
                shares: case.shares,
                warps: case.warps,
                cluster: case.cluster,
            },
            scale: 0.125,
            softcap: case.softcap,
        };
        let launch = launch.launch().unwrap();
        // Twice: the counters must be zero again.
        gpu.run(&[launch.clone(), launch]);
        let mut expected = Vec::new();
        for (token, &position) in case.positions.iter().enumerate() {
            let row = &qkv[token * stride..][..stride];
            let (cos, sin) = (&cos[token * half..], &sin[token * half..]);
            let seen = if case.window == 0 {
                0
            } else {
                (position + 1).saturating_sub(case.window)
            };
            for head in 0..heads {
                let shared = head / (heads / kv_heads);
                let part = |first: usize| &row[first * dim..][..dim];
                let queries = prepared(case, part(head), &q_norm[head * dim..][..dim], cos, sin);
                let old = |stored: &[f32]| -> Vec<Vec<f64>> {
                    let rows = (seen..position).map(|p| &stored[place(token, p, shared)..][..dim]);
                    rows.map(|row| row.iter().map(|x| f64::from(*x)).collect())
                        .collect()
                };
                let (mut keys, mut values) = (old(&stored[0]), old(&stored[1]));
                keys.push(prepared(case, part(heads + shared), &k_norm, cos, sin));
                values.push(
                    part(heads + kv_heads + shared)
                        .iter()
                        .map(|x| f64::from(*x))
                        .collect(),
                );
                let sink = case.sinks.then_some(sinks[head]);
                expected.extend(
                    attend(&queries, &keys, &values, sink, 0.125, case.softcap.into())
                        .iter()
                        .map(|x| *x as f32),
                );
            }
        }
        let tolerance = if cache == CacheDtype::Bf16 {
            2e-2
        } else {
            4e-3
        };
        assert_close(
            &gpu.download(&out),
            &expected,
            tolerance,
            &format!("{cache:?} {case:?}"),
        );
    }

    #[test]
    fn the_kernels_are_their_twin() {
        let Some(gpu) = Gpu::get() else { return };
        for cache in [CacheDtype::Bf16, CacheDtype::F16] {
            for dim in [64, 96, 128, 256] {
                let case = Case {
                    dim,
                    rotated: dim,
                    ..PLAIN
                };
                for case in [
                    case,
                    Case {
                        positions: &[0],
                        shares: 1,
                        kv_heads: 2,
                        ..case
                    },
                    Case {
                        positions: &[1000],
                        window: 128,
                        shares: 1,
                        heads: 16,
                        ..case
                    },
                    Case {
                        positions: &[31, 77, 64],
                        shares: 2,
                        heads: 3,
                        kv_heads: 3,
                        normed: true,
                        rotated: dim / 2,
                        ..case
                    },
                    Case {
                        positions: &[260],
                        window: 50,
                        shares: 3,
                        heads: 6,
                        kv_heads: 2,
                        adjacent: true,
                        sinks: false,
                        ..case
                    },
                    Case {
                        positions: &[700, 5],
                        shares: 32,
                        softcap: 5.0,
                        rotated: 0,
                        ..case
                    },
                ] {
                    check(&gpu, cache, &case);
                    for shares in [4, 8] {
                        if dim == 128 && gpu.0.facts().pdl() {
                            check(
                                &gpu,
                                cache,
                                &Case {
                                    shares,
                                    cluster: true,
                                    ..case
                                },
                            );
                        }
                    }
                    if dim == 64 {
                        check(&gpu, cache, &Case { warps: 16, ..case });
                    }
                }
            }
        }
    }

    #[test]
    fn long_contexts_are_shared_and_short_ones_are_not() {
        let facts = DeviceFacts {
            compute_capability: (9, 0),
            sms: 132,
            shared_per_block: 227 << 10,
            l2_bytes: 50 << 20,
        };
        let split =
            |context, window, tokens, heads| Split::new(context, window, tokens, heads, facts);
        let whole = Split {
            shares: 1,
            warps: 16,
            cluster: false,
        };
        assert_eq!(split(512, 0, 1, [64, 8, 64]), whole);
        assert_eq!(split(16_384, 128, 1, [64, 8, 64]), whole);
        assert_eq!(split(16_384, 0, 1, [64, 8, 64]).shares, 16);
        assert_eq!(
            split(512, 0, 1, [32, 8, 128]),
            Split {
                shares: 4,
                warps: 8,
                cluster: true
            }
        );
        assert_eq!(split(1 << 20, 0, 8, [64, 64, 128]).shares, 1);
    }
}
