//! Operations to launches.

mod experts;
mod prefill;

use std::sync::Arc;

use super::Buffer;
use super::arena::Arena;
use super::cache::DeviceCache;
use super::plan::Order;
use super::tape::{
    AttendOptions, DeviceExperts, Id, Node, Op, TapeHeadNorm, TapeLinear, TapeNorm, TapeOp,
};
use crate::Result;
use crate::device::DeviceError;
use crate::kernels::attention::{Append, AppendOp, Attend, HeadNorm, MAX_OPS};
use crate::kernels::elementwise::{self, Pick};
use crate::kernels::linear::{Embed, Linear};
use crate::kernels::norm::Norm;
use crate::kernels::router::{Combine, MAX_EXPERTS, Route};
use crate::kernels::{DevicePtr, Launch};
use crate::nn::{Apply, Frequencies, KvSlot, RouterOptions};

/// Makes the launches of a tape.
pub(super) struct Lowering<'a> {
    pub(super) nodes: &'a [Node],
    pub(super) cache: &'a DeviceCache,
    pub(super) order: Order,
    pub(super) root: Id,
    /// Whether the projection that gives the result has found the largest logits.
    pub(super) best: bool,
    /// Whether every sequence has one token.
    pub(super) single: bool,
    /// No token's position is greater than this.
    pub(super) context: u32,
    /// Where the results are that have been computed.
    pub(super) places: Vec<Option<DevicePtr>>,
    /// Where they are as 16-bit operands of tensor cores.
    halves: Vec<Option<DevicePtr>>,
    /// First byte of the workspace.
    base: DevicePtr,
    arena: Arena,
    /// Rotations whose angles have been computed.
    ropes: Vec<Arc<Frequencies>>,
    pub(super) launches: Vec<Launch>,
}

/// Launches and the workspace that they need.
#[derive(Debug)]
pub(super) struct Lowered {
    pub(super) launches: Vec<Launch>,
    pub(super) workspace: usize,
    /// Whether the cache's `best` has the largest logits then.
    pub(super) best: bool,
}

impl<'a> Lowering<'a> {
    /// The launches of a tape whose result is `root`, which goes to the cache's logits. `single`: every sequence has one
    /// token, none beyond the position `context`.
    pub(super) fn run(
        nodes: &'a [Node],
        root: Id,
        cache: &'a DeviceCache,
        single: bool,
        context: u32,
    ) -> Result<Lowered> {
        let mut lowering = Self {
            nodes,
            cache,
            order: Order::new(nodes, root),
            root,
            best: false,
            single,
            context,
            places: vec![None; nodes.len()],
            halves: vec![None; nodes.len()],
            base: cache.arena.ptr(),
            arena: Arena::default(),
            ropes: Vec::new(),
            launches: Vec::new(),
        };
        for id in 0..nodes.len() {
            if lowering.order.live[id] && !lowering.order.waits[id] {
                lowering.value(id)?;
            }
            for dead in std::mem::take(&mut lowering.order.dies[id]) {
                lowering.release(dead);
            }
        }
        Ok(Lowered {
            launches: lowering.launches,
            workspace: lowering.arena.peak(),
            best: lowering.best,
        })
    }

    /// Where a result is; it is computed if it has not been.
    pub(super) fn value(&mut self, id: Id) -> Result<DevicePtr> {
        if let Some(place) = self.places[id] {
            return Ok(place);
        }
        self.compute(id)?;
        self.places[id].ok_or_else(|| DeviceError::Mixed("an operation has no result").into())
    }

    fn release(&mut self, id: Id) {
        for place in [self.places[id].filter(|_| id != self.root), self.halves[id]]
            .into_iter()
            .flatten()
        {
            self.free(place);
        }
    }

    /// A place for an operation's result.
    pub(super) fn out(&mut self, id: Id) -> DevicePtr {
        let node = &self.nodes[id];
        let place = if id == self.root {
            self.cache.logits.ptr()
        } else {
            self.base
                .offset(self.arena.take(node.tokens * node.width * 4))
        };
        self.places[id] = Some(place);
        place
    }

    /// Workspace for the time of one operation.
    pub(super) fn scratch(&mut self, bytes: usize) -> DevicePtr {
        self.base.offset(self.arena.take(bytes))
    }

    pub(super) fn free(&mut self, scratch: DevicePtr) {
        self.arena.free((scratch.0 - self.base.0) as usize);
    }

    fn count(&self, id: Id) -> u64 {
        (self.nodes[id].tokens * self.nodes[id].width) as u64
    }

    fn compute(&mut self, id: Id) -> Result<()> {
        let nodes = self.nodes;
        let (tokens, width) = (nodes[id].tokens as u32, nodes[id].width as u32);
        match &nodes[id].op {
            Op::Embed {
                table,
                scale,
                places,
            } => {
                let embed = Embed {
                    table: table.arg(),
                    places: places
                        .as_ref()
                        .map(|(table, offset)| (table.arg(), *offset as u32)),
                    tokens: self.cache.tokens(),
                    positions: self.cache.positions(),
                    out: self.out(id),
                    count: tokens,
                    scale: *scale,
                };
                self.launches.push(embed.launch());
            }
            Op::Norm { x, norm } => self.norm(id, *x, norm)?,
            Op::Linear { x, linear } => self.project(id, *x, linear, DevicePtr::NULL)?,
            Op::Join { a, b, sign } => self.join(id, *a, *b, *sign)?,
            Op::Map { x, map } => {
                let (x, out) = (self.value(*x)?, self.out(id));
                self.launches.push(map.launch(x, out, self.count(id)));
            }
            Op::Gate { x, gate, act } => {
                let each = width / nodes[*gate].width.max(1) as u32;
                let (x, gate, out) = (self.value(*x)?, self.value(*gate)?, self.out(id));
                self.launches
                    .push(elementwise::gate(x, gate, each, *act, out, self.count(id)));
            }
            Op::Glu { x, glu } => {
                if let Op::Linear { x: input, linear } = &nodes[*x].op
                    && self.places[*x].is_none()
                    && self.fast_project(id, *input, linear, Some(*glu), DevicePtr::NULL)?
                {
                    return Ok(());
                }
                let (x, out) = (self.value(*x)?, self.out(id));
                self.launches
                    .push(elementwise::glu(x, *glu, out, tokens.into(), width));
            }
            Op::Columns { x, start } => self.pick(id, *x, *start, DevicePtr::NULL)?,
            Op::Wanted { x } => self.pick(id, *x, 0, self.cache.wanted())?,
            Op::Append { qkv, slot, ops } => self.append(id, *qkv, slot, ops)?,
            Op::Attend { q, slot, options } => {
                if !self.attend_many(id, *q, slot, options, false)? {
                    self.attend(id, *q, slot, options)?;
                }
            }
            Op::Route {
                logits,
                options,
                select_bias,
            } => {
                self.route(id, *logits, options, select_bias.as_ref())?;
            }
            Op::Experts {
                x,
                routes,
                experts,
                top,
                apply,
            } => {
                self.experts(id, [*x, *routes], experts, (*top, *apply), DevicePtr::NULL)?;
            }
        }
        Ok(())
    }

    fn norm(&mut self, id: Id, x: Id, norm: &TapeNorm) -> Result<()> {
        let launch = Norm {
            x: self.value(x)?,
            weight: ptr(norm.weight.as_ref()),
            bias: ptr(norm.bias.as_ref()),
            out: self.out(id),
            rows: self.nodes[id].tokens as u32,
            width: self.nodes[id].width as u32,
            centred: norm.centred,
            eps: norm.eps,
        };
        self.launches.push(launch.launch());
        Ok(())
    }

    /// A projection of `x`, and a sum with `residual` unless that is none.
    fn project(&mut self, id: Id, x: Id, linear: &TapeLinear, residual: DevicePtr) -> Result<()> {
        if self.fast_project(id, x, linear, None, residual)?
            || self.project_many(id, x, linear, residual)?
        {
            return Ok(());
        }
        let x = self.value(x)?;
        let (tokens, width) = (self.nodes[id].tokens as u32, self.nodes[id].width as u32);
        let out = self.out(id);
        let mut column = 0;
        for part in linear.parts.iter() {
            let at = |ptr: DevicePtr| {
                if ptr.is_null() {
                    ptr
                } else {
                    ptr.offset(column * 4)
                }
            };
            let launch = Linear {
                matrix: part.arg(),
                dtype: part.dtype(),
                x,
                bias: at(ptr(linear.bias.as_ref())),
                residual: at(residual),
                out: at(out),
                experts: DevicePtr::NULL,
                factors: DevicePtr::NULL,
                tokens,
                rows: part.arg().rows,
                x_stride: part.arg().cols,
                out_stride: width,
                x_tokens: 1,
            };
            self.launches.push(launch.launch());
            column += part.rows();
        }
        Ok(())
    }

    /// A sum; a projection or experts that wait for it take the other summand into their epilogue.
    fn join(&mut self, id: Id, a: Id, b: Id, sign: f32) -> Result<()> {
        let nodes = self.nodes;
        for (waiting, residual) in [(b, a), (a, b)] {
            if waiting == residual || self.places[waiting].is_some() || !self.order.waits[waiting] {
                continue;
            }
            match &nodes[waiting].op {
                Op::Linear { x, linear } => {
                    let residual = self.value(residual)?;
                    return self.project(id, *x, linear, residual);
                }
                Op::Experts {
                    x,
                    routes,
                    experts,
                    top,
                    apply,
                } => {
                    let residual = self.value(residual)?;
                    return self.experts(id, [*x, *routes], experts, (*top, *apply), residual);
                }
                _ => {}
            }
        }
        let (a, b, out) = (self.value(a)?, self.value(b)?, self.out(id));
        self.launches
            .push(elementwise::join(a, b, sign, out, self.count(id)));
        Ok(())
    }

    fn pick(&mut self, id: Id, x: Id, start: usize, rows: DevicePtr) -> Result<()> {
        let pick = Pick {
            stride: self.nodes[x].width as u32,
            x: self.value(x)?,
            rows,
            start: start as u32,
            out: self.out(id),
            count: self.nodes[id].tokens as u32,
            width: self.nodes[id].width as u32,
        };
        self.launches.push(pick.launch());
        Ok(())
    }

    fn append(&mut self, id: Id, qkv: Id, slot: &KvSlot, ops: &[TapeOp]) -> Result<()> {
        if ops.len() > MAX_OPS {
            return Err(
                DeviceError::Unsupported(format!("append with {} operations", ops.len())).into(),
            );
        }
        let (kv, ..) = self.cache.layer(slot.layer)?;
        let ops = ops
            .iter()
            .map(|op| self.append_op(op))
            .collect::<Result<_>>()?;
        let heads = slot.heads;
        let tokens = self.nodes[id].tokens;
        let qkv = self.value(qkv)?;
        let row = self.scratch(tokens * (heads.q_rows() + heads.k_rows() + heads.v_rows()) * 4);
        let launch = Append {
            kv,
            dtype: self.cache.gpu.dtype(),
            qkv,
            row,
            q: self.out(id),
            positions: self.cache.positions(),
            slots: self.cache.slots(),
            tokens: tokens as u32,
            q_heads: heads.q as u32,
            v_is_k: slot.v_is_k,
            ops,
        };
        self.launches.push(launch.launch());
        self.free(row);
        Ok(())
    }

    pub(super) fn append_op(&mut self, op: &TapeOp) -> Result<AppendOp> {
        Ok(match op {
            TapeOp::Clip(limit) => AppendOp::Clip(*limit),
            TapeOp::Norm(q, k) => AppendOp::Norm {
                centred: q.norm.centred,
                q: head_norm(q),
                k: head_norm(k),
            },
            TapeOp::Rope {
                frequencies,
                adjacent,
            } => {
                let Some(angles) = self.cache.rope(frequencies) else {
                    return Err(DeviceError::Mixed("a rotation was not prepared").into());
                };
                if !self
                    .ropes
                    .iter()
                    .any(|known| Arc::ptr_eq(known, frequencies))
                {
                    self.ropes.push(Arc::clone(frequencies));
                    self.launches
                        .push(angles.launch(self.nodes[0].tokens as u32));
                }
                let (cosines, sines, pairs) = (angles.cosines, angles.sines, angles.pairs);
                AppendOp::Rope {
                    adjacent: *adjacent,
                    pairs,
                    cosines,
                    sines,
                }
            }
            TapeOp::Temperature {
                scale,
                floor,
                from_one,
            } => AppendOp::Temperature {
                scale: *scale,
                floor: *floor,
                from_one: *from_one,
            },
            TapeOp::ScaleValues(factor) => AppendOp::ScaleValues(*factor),
        })
    }

    fn attend(&mut self, id: Id, q: Id, slot: &KvSlot, options: &AttendOptions) -> Result<()> {
        if self.fast_attention(id, q, slot, options)? {
            return Ok(());
        }
        let (kv, window, chunk) = self.cache.layer(slot.layer)?;
        let launch = Attend {
            kv,
            dtype: self.cache.gpu.dtype(),
            q: self.value(q)?,
            sinks: ptr(options.sinks.as_ref()),
            out: self.out(id),
            positions: self.cache.positions(),
            slots: self.cache.slots(),
            tokens: self.nodes[id].tokens as u32,
            q_heads: slot.heads.q as u32,
            window,
            chunk,
            alibi: options.alibi,
            scale: options.scale,
            softcap: options.softcap,
        };
        let launch = launch.launch();
        if launch.shared > self.cache.gpu.facts().shared_per_block {
            return Err(
                DeviceError::Unsupported(format!("attention over heads of {}", kv.v_dim)).into(),
            );
        }
        self.launches.push(launch);
        Ok(())
    }

    fn route(
        &mut self,
        id: Id,
        logits: Id,
        options: &RouterOptions,
        select_bias: Option<&Arc<Buffer>>,
    ) -> Result<()> {
        if options.experts > MAX_EXPERTS {
            return Err(DeviceError::Unsupported(format!(
                "a choice of {} experts",
                options.experts
            ))
            .into());
        }
        let logits = self.value(logits)?;
        let chosen = self.out(id);
        let tokens = self.nodes[id].tokens;
        let weights = chosen.offset(tokens * options.top * 4);
        let route = Route {
            logits,
            select_bias: ptr(select_bias),
            chosen,
            weights,
            tokens: tokens as u32,
        };
        self.launches.push(route.launch(options));
        Ok(())
    }

    /// Gate and up, their product, down and the weighted sum, each as one launch over all tokens' experts.
    fn experts(
        &mut self,
        id: Id,
        [x, routes]: [Id; 2],
        experts: &DeviceExperts,
        (top, apply): (usize, Apply),
        residual: DevicePtr,
    ) -> Result<()> {
        if self.fast_experts(id, [x, routes], experts, (top, apply), residual)?
            || self.experts_many(id, [x, routes], experts, (top, apply), residual)?
        {
            return Ok(());
        }
        let (x, chosen) = (self.value(x)?, self.value(routes)?);
        let DeviceExperts {
            gate_up,
            down,
            inter,
            hidden,
            ..
        } = experts;
        let pairs = self.nodes[id].tokens * top;
        let weights = chosen.offset(pairs * 4);
        let (factors, weights) = match apply {
            Apply::Input => (weights, DevicePtr::NULL),
            Apply::Output => (DevicePtr::NULL, weights),
        };
        let both = self.scratch(pairs * 2 * inter * 4);
        let first = Linear {
            matrix: gate_up.arg(),
            dtype: gate_up.dtype(),
            x,
            bias: experts
                .gate_up_bias
                .as_ref()
                .map_or(DevicePtr::NULL, Buffer::ptr),
            residual: DevicePtr::NULL,
            out: both,
            experts: chosen,
            factors,
            tokens: pairs as u32,
            rows: 2 * *inter as u32,
            x_stride: *hidden as u32,
            out_stride: 2 * *inter as u32,
            x_tokens: top as u32,
        };
        let inner = self.scratch(pairs * inter * 4);
        let wide = self.scratch(pairs * hidden * 4);
        let second = Linear {
            matrix: down.arg(),
            dtype: down.dtype(),
            x: inner,
            bias: experts
                .down_bias
                .as_ref()
                .map_or(DevicePtr::NULL, Buffer::ptr),
            out: wide,
            factors: DevicePtr::NULL,
            rows: *hidden as u32,
            x_stride: *inter as u32,
            out_stride: *hidden as u32,
            x_tokens: 1,
            ..first
        };
        let out = self.out(id);
        let (tokens, top, width) = (self.nodes[id].tokens as u32, top as u32, *hidden as u32);
        let sum = Combine {
            x: wide,
            weights,
            residual,
            out,
            tokens,
            top,
            width,
        };
        let glu = elementwise::glu(both, experts.act, inner, pairs as u64, *inter as u32);
        self.launches
            .extend([first.launch(), glu, second.launch(), sum.launch()]);
        for scratch in [both, inner, wide] {
            self.free(scratch);
        }
        Ok(())
    }
}

pub(super) fn ptr(buffer: Option<&Arc<Buffer>>) -> DevicePtr {
    buffer.map_or(DevicePtr::NULL, |buffer| buffer.ptr())
}

fn head_norm(norm: &TapeHeadNorm) -> HeadNorm {
    HeadNorm {
        width: norm.width as u32,
        step: norm.step as u32,
        weight: ptr(norm.norm.weight.as_ref()),
        bias: ptr(norm.norm.bias.as_ref()),
        eps: norm.norm.eps,
    }
}
