//! Operations over many tokens: products by tensor cores, which take 16-bit operands and give f32 sums.
//!
//! The residual stream, the router and all sums stay f32. A value that only products read is written as halves at once: a
//! norm, what attention gives, gate and up joined. Any other is converted where a product reads it.

use super::{Lowering, ptr};
use crate::Result;
use crate::cuda::DeviceMatrix;
use crate::cuda::tape::{AttendOptions, Id, Op, TapeLinear, TapeOp};
use crate::device::ComputeDtype;
use crate::kernels::attention::AppendOp;
use crate::kernels::attention_prefill::AttentionPrefill;
use crate::kernels::dequantize::Dequantize;
use crate::kernels::gemm::{Bias, Gemm, HalfRows, Store, in_epilogue};
use crate::kernels::norm_prefill::{Divisor, NormPrefill};
use crate::kernels::rope_append_prefill::RopeAppendPrefill;
use crate::kernels::{DevicePtr, Half};
use crate::nn::{Glu, KvSlot};
use crate::weights::WeightDtype;

/// Tokens up to which products are those of decoding, which the bytes of weights bound.
const FEW: usize = 8;

/// Bytes of the scratch in which weights of other types become halves, some rows after the other.
pub(crate) const SCRATCH: usize = crate::engine::GPU_SCRATCH;

/// Rows of a part of a projection: those of gate, or of up.
#[derive(Clone, Copy, Debug)]
struct Side<'m> {
    matrix: &'m DeviceMatrix,
    first_row: usize,
}

impl Lowering<'_> {
    /// The type of tensor cores' operands, if an operation over so many rows is theirs.
    pub(super) fn operands(&self, id: Id) -> Option<Half> {
        match self.cache.gpu.dtype() {
            _ if self.nodes[id].tokens <= FEW => None,
            ComputeDtype::F32 => None,
            ComputeDtype::Bf16 => Some(Half::Bf16),
            ComputeDtype::F16 => Some(Half::F16),
        }
    }

    /// A value as halves, its rows filled up to whole 16 bytes.
    pub(super) fn half_value(&mut self, id: Id, half: Half) -> Result<HalfRows> {
        let nodes = self.nodes;
        let (rows, width) = (nodes[id].tokens as u32, nodes[id].width as u32);
        if self.halves[id].is_none() {
            let fresh = self.places[id].is_none();
            let done = fresh
                && match &nodes[id].op {
                    Op::Attend { q, slot, options } => {
                        self.attend_many(id, *q, slot, options, true)?
                    }
                    Op::Glu { x, glu } => self.gated(id, *x, *glu, half)?,
                    Op::Append { qkv, slot, ops } => self.rotate(id, *qkv, slot, ops, half)?,
                    Op::Norm { x, norm } => {
                        let x = self.value(*x)?;
                        let out = self.half_out(id);
                        let divisor = if norm.centred {
                            Divisor::Deviation
                        } else {
                            Divisor::Rms
                        };
                        let (weight, bias) = (ptr(norm.weight.as_ref()), ptr(norm.bias.as_ref()));
                        let convert = convert(x, out, [rows, width], half);
                        self.launches.push(
                            NormPrefill {
                                weight,
                                bias,
                                divisor,
                                eps: norm.eps,
                                ..convert
                            }
                            .launch(),
                        );
                        true
                    }
                    _ => false,
                };
            if !done {
                let x = self.value(id)?;
                let out = self.half_out(id);
                self.launches
                    .push(convert(x, out, [rows, width], half).launch());
            }
        }
        let ptr = self.halves[id].unwrap_or(DevicePtr::NULL);
        Ok(HalfRows {
            ptr,
            rows,
            stride: width.next_multiple_of(8),
        })
    }

    /// A place for a value as halves.
    fn half_out(&mut self, id: Id) -> DevicePtr {
        let place =
            self.scratch(self.nodes[id].tokens * self.nodes[id].width.next_multiple_of(8) * 2);
        self.halves[id] = Some(place);
        place
    }

    /// A projection of `x`, and a sum with `residual` unless that is none; `false` if it is not for tensor cores.
    pub(super) fn project_many(
        &mut self,
        id: Id,
        x: Id,
        linear: &TapeLinear,
        residual: DevicePtr,
    ) -> Result<bool> {
        let chooses = |op: &Op| matches!(op, Op::Route { logits, .. } if *logits == id);
        let Some(half) = self.operands(id) else {
            return Ok(false);
        };
        // A choice of experts is made on exact scores.
        if self.nodes.iter().any(|node| chooses(&node.op)) {
            return Ok(false);
        }
        let a = self.half_value(x, half)?;
        let (out, width) = (self.out(id), self.nodes[id].width);
        let mut column = 0;
        for part in linear.parts.iter() {
            let rows_at_once = rows_at_once(part, half, 1);
            for first in (0..part.rows()).step_by(rows_at_once) {
                let rows = rows_at_once.min(part.rows() - first);
                let at = |ptr: DevicePtr| {
                    if ptr.is_null() {
                        ptr
                    } else {
                        ptr.offset((column + first) * 4)
                    }
                };
                let side = Side {
                    matrix: part,
                    first_row: first,
                };
                let [w, _] = self.half_rows(&[side], rows, half);
                let gemm = Gemm {
                    half,
                    a,
                    w: w.0,
                    up: None,
                    n: rows as u32,
                    k: part.arg().cols,
                    bias: linear.bias.as_ref().map(|bias| Bias {
                        ptr: at(bias.ptr()),
                        ..Bias::default()
                    }),
                    store: Store::F32 {
                        residual: at(residual),
                    },
                    out: at(out),
                    out_stride: width as u32,
                    grouped: None,
                };
                self.launches.extend(gemm.launch(&self.cache.gpu.facts()));
                self.free_scratch(w.1);
            }
            column += part.rows();
        }
        Ok(true)
    }

    /// Gate and up joined as halves; `false` if the projection does not wait for that or lies otherwise.
    fn gated(&mut self, id: Id, projection: Id, glu: Glu, half: Half) -> Result<bool> {
        let nodes = self.nodes;
        let Op::Linear { x, linear } = &nodes[projection].op else {
            return Ok(false);
        };
        let inter = nodes[id].width;
        let sides = match &*linear.parts {
            [both] => [0, inter].map(|first_row| Side {
                matrix: both,
                first_row,
            }),
            [gate, up] if gate.rows() == inter && gate.dtype() == up.dtype() => {
                [gate, up].map(|matrix| Side {
                    matrix,
                    first_row: 0,
                })
            }
            _ => return Ok(false),
        };
        if self.places[projection].is_some()
            || !self.order.waits[projection]
            || !in_epilogue(&glu.into())
        {
            return Ok(false);
        }
        let a = self.half_value(*x, half)?;
        let out = self.half_out(id);
        let rows_at_once = rows_at_once(sides[0].matrix, half, 2);
        for first in (0..inter).step_by(rows_at_once) {
            let rows = rows_at_once.min(inter - first);
            let sides = sides.map(|side| Side {
                first_row: side.first_row + first,
                ..side
            });
            let [w, up] = self.half_rows(&sides, rows, half);
            let bias = |bias: DevicePtr| Bias {
                ptr: bias.offset(first * 4),
                up: bias.offset((inter + first) * 4),
                experts: 0,
            };
            let gemm = Gemm {
                half,
                a,
                w: w.0,
                up: Some(up.0),
                n: rows as u32,
                k: sides[0].matrix.arg().cols,
                bias: linear.bias.as_ref().map(|buffer| bias(buffer.ptr())),
                store: Store::Glu(glu.into()),
                out: out.offset(first * 2),
                out_stride: inter.next_multiple_of(8) as u32,
                grouped: None,
            };
            self.launches.extend(gemm.launch(&self.cache.gpu.facts()));
            self.free_scratch(w.1);
            self.free_scratch(up.1);
        }
        Ok(true)
    }

    /// Rows of matrices as halves: where they are, or in a scratch that must be freed.
    fn half_rows(
        &mut self,
        sides: &[Side],
        rows: usize,
        half: Half,
    ) -> [(HalfRows, Option<DevicePtr>); 2] {
        let none = (
            HalfRows {
                ptr: DevicePtr::NULL,
                rows: 0,
                stride: 0,
            },
            None,
        );
        let mut found = [none; 2];
        for (found, side) in found.iter_mut().zip(sides) {
            *found = self.half_rows_of(side.matrix, side.first_row, rows, half);
        }
        found
    }

    /// Rows of one matrix as halves.
    pub(super) fn half_rows_of(
        &mut self,
        matrix: &DeviceMatrix,
        first_row: usize,
        rows: usize,
        half: Half,
    ) -> (HalfRows, Option<DevicePtr>) {
        let cols = matrix.arg().cols as usize;
        if is_native(matrix, half) {
            let ptr = matrix.arg().planes[0].offset(first_row * cols * 2);
            return (
                HalfRows {
                    ptr,
                    rows: rows as u32,
                    stride: cols as u32,
                },
                None,
            );
        }
        let stride = cols.next_multiple_of(8);
        let out = self.scratch(rows * stride * 2);
        let dequantize = Dequantize {
            matrix: matrix.arg(),
            dtype: matrix.dtype(),
            first_row,
            rows: rows as u32,
            half,
            out,
            out_stride: stride as u32,
        };
        self.launches
            .push(dequantize.launch(&self.cache.gpu.facts()));
        (
            HalfRows {
                ptr: out,
                rows: rows as u32,
                stride: stride as u32,
            },
            Some(out),
        )
    }

    pub(super) fn free_scratch(&mut self, scratch: Option<DevicePtr>) {
        if let Some(scratch) = scratch {
            self.free(scratch);
        }
    }

    /// Rotates queries and keys and appends, the queries as halves; `false` if more than that is done to them.
    fn rotate(
        &mut self,
        id: Id,
        qkv: Id,
        slot: &KvSlot,
        ops: &[TapeOp],
        half: Half,
    ) -> Result<bool> {
        let heads = slot.heads;
        let [TapeOp::Rope { .. }] = ops else {
            return Ok(false);
        };
        if slot.v_is_k || heads.dim != heads.v_dim || !heads.dim.is_multiple_of(2) {
            return Ok(false);
        }
        let AppendOp::Rope {
            adjacent,
            pairs,
            cosines,
            sines,
        } = self.append_op(&ops[0])?
        else {
            return Ok(false);
        };
        let (kv, ..) = self.cache.layer(slot.layer)?;
        let qkv = self.value(qkv)?;
        let append = RopeAppendPrefill {
            half,
            qkv,
            q: self.half_out(id),
            k: kv.k,
            v: kv.v,
            cos: cosines,
            sin: sines,
            table: kv.table,
            table_stride: kv.stride,
            positions: self.cache.positions(),
            slots: self.cache.slots(),
            tokens: self.nodes[id].tokens as u32,
            q_heads: heads.q as u32,
            kv_heads: heads.kv as u32,
            dim: heads.dim as u32,
            rotated: 2 * pairs,
            adjacent,
        };
        self.launches.push(append.launch());
        Ok(true)
    }

    /// Attention of runs of tokens, to halves or to f32; `false` if no kernel serves it, or each run is one token.
    pub(super) fn attend_many(
        &mut self,
        id: Id,
        q: Id,
        slot: &KvSlot,
        options: &AttendOptions,
        to_halves: bool,
    ) -> Result<bool> {
        let Some(half) = self.operands(id) else {
            return Ok(false);
        };
        let cache = self.cache;
        let (kv, window, chunk) = cache.layer(slot.layer)?;
        if options.alibi || cache.run_tokens().iter().all(|tokens| *tokens == 1) {
            return Ok(false);
        }
        let attention = AttentionPrefill {
            half,
            q: DevicePtr::NULL,
            out: DevicePtr::NULL,
            out_f32: !to_halves,
            k: kv.k,
            v: kv.v,
            table: kv.table,
            table_stride: kv.stride,
            runs: cache.runs(),
            run_tokens: cache.run_tokens(),
            kv_heads: kv.heads,
            group: slot.heads.q as u32 / kv.heads.max(1),
            dim: kv.k_dim,
            v_dim: kv.v_dim,
            scale: options.scale,
            softcap: options.softcap,
            sinks: ptr(options.sinks.as_ref()),
            slopes: DevicePtr::NULL,
            window,
            chunk,
        };
        if attention.launch(&cache.gpu.facts()).is_none() {
            return Ok(false);
        }
        let q = self.half_value(q, half)?.ptr;
        let out = if to_halves {
            self.half_out(id)
        } else {
            self.out(id)
        };
        self.launches.extend(
            AttentionPrefill {
                q,
                out,
                ..attention
            }
            .launch(&cache.gpu.facts()),
        );
        Ok(true)
    }
}

/// Whether tensor cores can read a matrix where it is.
pub(super) fn is_native(matrix: &DeviceMatrix, half: Half) -> bool {
    match half {
        Half::Bf16 => matrix.dtype() == WeightDtype::BF16,
        Half::F16 => matrix.dtype() == WeightDtype::F16,
    }
}

/// Rows of each of so many sides that one product takes: all, or what the scratch holds.
fn rows_at_once(matrix: &DeviceMatrix, half: Half, sides: usize) -> usize {
    let row = matrix.arg().cols.next_multiple_of(8) as usize * 2;
    if is_native(matrix, half) {
        matrix.rows().max(1)
    } else {
        (SCRATCH / sides / row.max(1)).max(256) / 256 * 256
    }
}

/// The conversion of rows to halves.
pub(super) fn convert(
    x: DevicePtr,
    out: DevicePtr,
    [rows, width]: [u32; 2],
    half: Half,
) -> NormPrefill {
    NormPrefill {
        half,
        x,
        x_stride: width,
        out,
        out_stride: width.next_multiple_of(8),
        rows,
        width,
        weight: DevicePtr::NULL,
        bias: DevicePtr::NULL,
        divisor: Divisor::One,
        eps: 0.0,
    }
}
