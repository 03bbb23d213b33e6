//! Decode steps: operations to the kernels for 1 to 8 tokens, which take their neighbours in.
//!
//! Each method says `false`, and has computed nothing that the plain way would not need, where those kernels do not serve.

use std::sync::Arc;

use super::lower::{Lowering, ptr};
use super::tape::{AttendOptions, DeviceExperts, Id, Op, TapeHeadNorm, TapeLinear, TapeOp};
use super::{Buffer, DeviceMatrix};
use crate::Result;
use crate::device::ComputeDtype;
use crate::kernels::DevicePtr;
use crate::kernels::attention::AppendOp;
use crate::kernels::attention_decode::{self, AttentionDecode, CacheDtype, Front, HeadNorm, Split};
use crate::kernels::decode::{Input, MOST_TOKENS, Norming, Weights};
use crate::kernels::gemv::Project;
use crate::kernels::moe_decode::{Choice, MoeDecode};
use crate::nn::{Act, Apply, Glu, KvSlot};

/// Counters of attention kernels that a cache has.
pub(super) const COUNTERS: usize = 4096;

impl DeviceMatrix {
    pub(crate) fn weights(&self) -> Weights {
        let arg = self.arg();
        Weights {
            dtype: self.dtype(),
            planes: arg.planes,
            rows: arg.rows,
            cols: arg.cols,
        }
    }
}

impl Lowering<'_> {
    /// Whether the kernels may multiply with these weights: those for blocks round activations to halves.
    fn may_use(&self, weights: &Weights) -> bool {
        weights.is_dense() || self.cache.gpu.dtype() != ComputeDtype::F32
    }

    fn is_waiting(&self, id: Id) -> bool {
        self.places[id].is_none() && self.order.waits[id]
    }

    /// What a kernel reads for `x`: if it is a norm that has not been computed, its input and the norm.
    fn input(&mut self, x: Id) -> Result<Input> {
        let nodes = self.nodes;
        let width = nodes[x].width as u32;
        if let Op::Norm { x: raw, norm } = &nodes[x].op
            && self.is_waiting(x)
            && (norm.centred || norm.bias.is_none())
        {
            let kind = if norm.centred {
                Norming::Layer
            } else {
                Norming::Rms
            };
            let plain = Input::plain(self.value(*raw)?, width, width);
            return Ok(plain.normed(
                kind,
                ptr(norm.weight.as_ref()),
                ptr(norm.bias.as_ref()),
                norm.eps,
            ));
        }
        Ok(Input::plain(self.value(x)?, width, width))
    }

    /// A projection of `x` with the norm in front of it, joined by `glu` or added to `residual` if that is not none.
    pub(super) fn fast_project(
        &mut self,
        id: Id,
        x: Id,
        linear: &TapeLinear,
        glu: Option<Glu>,
        residual: DevicePtr,
    ) -> Result<bool> {
        let (tokens, stride) = (self.nodes[id].tokens as u32, self.nodes[id].width as u32);
        let weights: Vec<Weights> = linear.parts.iter().map(DeviceMatrix::weights).collect();
        let joined = glu.is_some() && weights.len() != 1;
        if tokens > MOST_TOKENS
            || joined
            || !weights
                .iter()
                .all(|weights| weights.served() && self.may_use(weights))
        {
            return Ok(false);
        }
        let input = self.input(x)?;
        // The largest logit is found on the way.
        let best = id == self.root && glu.is_none() && weights.len() == 1;
        let best = if best {
            self.cache.best.ptr()
        } else {
            DevicePtr::NULL
        };
        let facts = self.cache.gpu.facts();
        let project = |weights: &Weights, column: usize, out: DevicePtr| Project {
            weights: *weights,
            input,
            tokens,
            bias: columns(ptr(linear.bias.as_ref()), column),
            act: Act::Identity,
            scale: 1.0,
            softcap: 0.0,
            glu,
            residual: columns(residual, column),
            out: columns(out, column),
            out_stride: stride,
            best,
        };
        if !weights
            .iter()
            .all(|weights| project(weights, 0, DevicePtr::NULL).served(facts))
        {
            return Ok(false);
        }
        let (out, mut column) = (self.out(id), 0);
        self.best = !best.is_null();
        for weights in &weights {
            self.launches
                .extend(project(weights, column, out).launches(facts));
            column += weights.rows as usize;
        }
        Ok(true)
    }

    /// Attention with norm, rope and append in front.
    pub(super) fn fast_attention(
        &mut self,
        id: Id,
        q: Id,
        slot: &KvSlot,
        options: &AttendOptions,
    ) -> Result<bool> {
        let nodes = self.nodes;
        let (kv, window, chunk) = self.cache.layer(slot.layer)?;
        let heads = slot.heads;
        let Op::Append { qkv, ops, .. } = &nodes[q].op else {
            return Ok(false);
        };
        let cache = match self.cache.gpu.dtype() {
            ComputeDtype::F32 => return Ok(false),
            ComputeDtype::Bf16 => CacheDtype::Bf16,
            ComputeDtype::F16 => CacheDtype::F16,
        };
        let same = heads.dim == heads.v_dim && !slot.v_is_k;
        if !self.single || !self.is_waiting(q) || !same || chunk != 0 || options.alibi {
            return Ok(false);
        }
        let Some(front) = self.front(ops, heads.dim)? else {
            return Ok(false);
        };
        let (tokens, q_heads) = (nodes[id].tokens as u32, heads.q as u32);
        let (kv_heads, dim) = (heads.kv as u32, heads.dim as u32);
        let split = Split::new(
            self.context,
            window,
            tokens,
            [q_heads, kv_heads, dim],
            self.cache.gpu.facts(),
        );
        let mut attention = AttentionDecode {
            qkv: self.value(*qkv)?,
            stride: nodes[*qkv].width as u32,
            front: Some(front),
            sinks: ptr(options.sinks.as_ref()),
            keys: kv.k,
            values: kv.v,
            cache,
            table: kv.table,
            table_stride: kv.stride,
            positions: self.cache.positions(),
            slots: self.cache.slots(),
            partial: DevicePtr::NULL,
            counters: self.cache.counters.ptr(),
            out: DevicePtr::NULL,
            tokens,
            heads: q_heads,
            kv_heads,
            dim,
            window,
            split,
            scale: options.scale,
            softcap: options.softcap,
        };
        let counted = attention_decode::counters(tokens, q_heads, kv_heads) <= COUNTERS;
        if !counted || attention.launch().is_none() {
            return Ok(false);
        }
        let partial = self.scratch(attention_decode::workspace(
            tokens,
            q_heads,
            kv_heads,
            dim,
            split.shares,
        ));
        (attention.partial, attention.out) = (partial, self.out(id));
        self.launches.extend(attention.launch());
        self.free(partial);
        Ok(true)
    }

    /// What stands before the attention, if the kernel can do it: norms of single heads, then rope.
    fn front(&mut self, ops: &[TapeOp], dim: usize) -> Result<Option<Front>> {
        let mut front = Front::default();
        let (norms, rope) = match ops {
            [] => (None, None),
            [TapeOp::Norm(q, k)] => (Some((q, k)), None),
            [rope @ TapeOp::Rope { .. }] => (None, Some(rope)),
            [TapeOp::Norm(q, k), rope @ TapeOp::Rope { .. }] => (Some((q, k)), Some(rope)),
            _ => return Ok(None),
        };
        if let Some((q, k)) = norms {
            let (Some(q_norm), Some(k_norm)) = (head_norm(q, dim), head_norm(k, dim)) else {
                return Ok(None);
            };
            if q.norm.eps.to_bits() != k.norm.eps.to_bits() {
                return Ok(None);
            }
            (front.q_norm, front.k_norm, front.eps) = (q_norm, k_norm, q.norm.eps);
        }
        if let Some(rope) = rope
            && let AppendOp::Rope {
                adjacent,
                pairs,
                cosines,
                sines,
            } = self.append_op(rope)?
        {
            front = Front {
                cos: cosines,
                sin: sines,
                rotated: 2 * pairs,
                adjacent,
                ..front
            };
        }
        Ok(Some(front))
    }

    /// Experts with the norm, the router and the choice in front of them, added to `residual` if that is not none.
    pub(super) fn fast_experts(
        &mut self,
        id: Id,
        [x, routes]: [Id; 2],
        experts: &DeviceExperts,
        (top, apply): (usize, Apply),
        residual: DevicePtr,
    ) -> Result<bool> {
        let nodes = self.nodes;
        let tokens = nodes[id].tokens;
        let (gate_up, down) = (experts.gate_up.weights(), experts.down.weights());
        if tokens as u32 > MOST_TOKENS || !self.may_use(&gate_up) || !self.may_use(&down) {
            return Ok(false);
        }
        let router = self.router(x, routes);
        let choice = match router {
            Some(choice) => choice,
            None => {
                let chosen = self.value(routes)?;
                let (count, weights) = (experts.count as u32, chosen.offset(tokens * top * 4));
                Choice::Made {
                    experts: chosen,
                    weights,
                    count,
                    top: top as u32,
                    apply,
                }
            }
        };
        let mut moe = MoeDecode {
            input: self.input(x)?,
            choice,
            gate_up,
            down,
            gate_up_bias: experts
                .gate_up_bias
                .as_ref()
                .map_or(DevicePtr::NULL, Buffer::ptr),
            down_bias: experts
                .down_bias
                .as_ref()
                .map_or(DevicePtr::NULL, Buffer::ptr),
            glu: experts.act,
            inter: experts.inter as u32,
            hidden: experts.hidden as u32,
            tokens: tokens as u32,
            h: DevicePtr::NULL,
            residual,
            out: DevicePtr::NULL,
            out_stride: experts.hidden as u32,
            scale: 1.0,
        };
        let facts = self.cache.gpu.facts();
        if moe.launches(facts).is_none() {
            return Ok(false);
        }
        let (h, scores) = (
            self.scratch(tokens * top * experts.inter * 4),
            self.scratch(tokens * experts.count * 4),
        );
        if let Choice::Router { logits, .. } = &mut moe.choice {
            *logits = scores;
        }
        (moe.h, moe.out) = (h, self.out(id));
        self.launches
            .extend(moe.launches(facts).into_iter().flatten());
        self.free(h);
        self.free(scores);
        Ok(true)
    }

    /// The router as part of the experts, if nothing of it has been computed and it reads what they read.
    fn router(&self, x: Id, routes: Id) -> Option<Choice> {
        let Op::Route {
            logits,
            options,
            select_bias,
        } = &self.nodes[routes].op
        else {
            return None;
        };
        let Op::Linear { x: read, linear } = &self.nodes[*logits].op else {
            return None;
        };
        let [part] = &*linear.parts else { return None };
        (self.is_waiting(routes) && self.is_waiting(*logits) && *read == x).then(|| {
            Choice::Router {
                weights: part.weights(),
                bias: ptr(linear.bias.as_ref()),
                select_bias: ptr(select_bias.as_ref()),
                logits: DevicePtr::NULL,
                options: *options,
            }
        })
    }
}

fn columns(ptr: DevicePtr, first: usize) -> DevicePtr {
    if ptr.is_null() {
        ptr
    } else {
        ptr.offset(first * 4)
    }
}

/// A root-mean-square norm of each head.
fn head_norm(norm: &TapeHeadNorm, dim: usize) -> Option<HeadNorm> {
    let TapeHeadNorm { norm, width, step } = norm;
    let weight = norm
        .weight
        .as_ref()
        .map(|weight| Arc::as_ref(weight).ptr())?;
    let plain =
        *width == dim && !norm.centred && norm.bias.is_none() && (*step == 0 || *step == dim);
    plain.then_some(HeadNorm {
        weight,
        per_head: *step == dim,
    })
}
