//! Experts of many tokens: tokens sorted by expert on the device, then products whose rows are grouped so.

use super::Lowering;
use super::prefill::{SCRATCH, convert, is_native};
use crate::Result;
use crate::cuda::tape::{DeviceExperts, Id};
use crate::cuda::{Buffer, DeviceMatrix};
use crate::kernels::elementwise;
use crate::kernels::experts_prefill::{CombineExperts, GatherRows, SortByExpert};
use crate::kernels::gemm::{
    Bias, Gemm, GemmMxfp4, Grouped, HalfRows, MAX_EXPERTS, Store, in_epilogue,
};
use crate::kernels::{DevicePtr, Half};
use crate::nn::Apply;
use crate::weights::WeightDtype;

/// A product of all experts.
struct Product<'a> {
    half: Half,
    /// Sorted by expert.
    a: HalfRows,
    matrix: &'a DeviceMatrix,
    bias: Option<&'a Buffer>,
    /// Rows of an expert.
    rows: usize,
    store: Store,
    out: DevicePtr,
    out_stride: usize,
    experts: usize,
    offsets: DevicePtr,
}

impl Product<'_> {
    /// Whether an expert's rows are gate, then up.
    fn paired(&self) -> bool {
        matches!(self.store, Store::Glu(_))
    }

    fn n(&self) -> usize {
        if self.paired() {
            self.rows / 2
        } else {
            self.rows
        }
    }

    fn bias(&self) -> Option<Bias> {
        let up = |bias: &Buffer| {
            if self.paired() {
                bias.ptr().offset(self.n() * 4)
            } else {
                DevicePtr::NULL
            }
        };
        self.bias.map(|bias| Bias {
            ptr: bias.ptr(),
            up: up(bias),
            experts: self.rows as u32,
        })
    }

    fn grouped(&self, first: usize, experts: usize) -> Grouped {
        let [experts, first, rows] = [experts, first, self.rows].map(|n| n as u32);
        Grouped {
            experts,
            first,
            rows,
            offsets: self.offsets,
        }
    }

    fn mxfp4(&self) -> GemmMxfp4 {
        let planes = self.matrix.arg().planes;
        GemmMxfp4 {
            half: self.half,
            a: self.a,
            quants: planes[0],
            scales: planes[1],
            up: self.paired().then_some(self.n() as u32),
            n: self.n() as u32,
            k: self.matrix.arg().cols,
            bias: self.bias(),
            store: self.store,
            out: self.out,
            out_stride: self.out_stride as u32,
            grouped: self.grouped(0, self.experts),
        }
    }

    /// Of the experts from `first` on, whose weights are `w`.
    fn halves(&self, w: HalfRows, first: usize, experts: usize) -> Gemm {
        let skipped = self.n() * w.stride as usize * 2;
        let up = HalfRows {
            ptr: w.ptr.offset(skipped),
            rows: w.rows - self.n() as u32,
            ..w
        };
        Gemm {
            half: self.half,
            a: self.a,
            w,
            up: self.paired().then_some(up),
            n: self.n() as u32,
            k: self.matrix.arg().cols,
            bias: self.bias(),
            store: self.store,
            out: self.out,
            out_stride: self.out_stride as u32,
            grouped: Some(self.grouped(first, experts)),
        }
    }
}

impl Lowering<'_> {
    /// Experts by tensor cores; `false` if they are not theirs.
    pub(super) fn experts_many(
        &mut self,
        id: Id,
        [x, routes]: [Id; 2],
        experts: &DeviceExperts,
        (top, apply): (usize, Apply),
        residual: DevicePtr,
    ) -> Result<bool> {
        let Some(half) = self.operands(id) else {
            return Ok(false);
        };
        if apply != Apply::Output || experts.count > MAX_EXPERTS as usize {
            return Ok(false);
        }
        let tokens = self.nodes[id].tokens;
        let (pairs, inter, hidden) = (tokens * top, experts.inter, experts.hidden);
        let chosen = self.value(routes)?;
        let x = self.half_value(x, half)?;
        let [offsets, places, tokens_of] =
            [experts.count + 1, pairs, pairs].map(|count| self.scratch(count * 4));
        let sort = SortByExpert {
            experts: chosen,
            tokens: tokens as u32,
            top: top as u32,
            expert_count: experts.count as u32,
            offsets,
            places,
            tokens_of,
        };
        let sorted = self.scratch(pairs * x.stride as usize * 2);
        let gather = GatherRows {
            from: x.ptr,
            to: sorted,
            rows_of: tokens_of,
            rows: pairs as u32,
            stride: x.stride,
        };
        self.launches
            .extend([sort.launch(), gather.launch(&self.cache.gpu.facts())]);
        let gate_up = Product {
            half,
            a: HalfRows {
                ptr: sorted,
                rows: pairs as u32,
                stride: x.stride,
            },
            matrix: &experts.gate_up,
            bias: experts.gate_up_bias.as_ref(),
            rows: 2 * inter,
            store: Store::F32 {
                residual: DevicePtr::NULL,
            },
            out: DevicePtr::NULL,
            out_stride: 2 * inter,
            experts: experts.count,
            offsets,
        };
        let inner = self.joined(gate_up, experts);
        self.free(sorted);
        let wide = self.scratch(pairs * hidden * 4);
        let down = Product {
            half,
            a: inner,
            matrix: &experts.down,
            bias: experts.down_bias.as_ref(),
            rows: hidden,
            store: Store::F32 {
                residual: DevicePtr::NULL,
            },
            out: wide,
            out_stride: hidden,
            experts: experts.count,
            offsets,
        };
        self.product(&down);
        let combine = CombineExperts {
            y: wide,
            places,
            weights: chosen.offset(pairs * 4),
            residual,
            out: self.out(id),
            tokens: tokens as u32,
            top: top as u32,
            width: hidden as u32,
        };
        self.launches.push(combine.launch());
        for scratch in [offsets, places, tokens_of, inner.ptr, wide] {
            self.free(scratch);
        }
        Ok(true)
    }

    /// Gate and up of all experts, joined, as halves in a scratch.
    fn joined(&mut self, gate_up: Product, experts: &DeviceExperts) -> HalfRows {
        let (pairs, inter) = (gate_up.a.rows as usize, experts.inter);
        let stride = inter.next_multiple_of(8);
        let inner = self.scratch(pairs * stride * 2);
        if in_epilogue(&experts.act.into()) {
            let store = Store::Glu(experts.act.into());
            self.product(&Product {
                store,
                out: inner,
                out_stride: stride,
                ..gate_up
            });
        } else {
            let both = self.scratch(pairs * 2 * inter * 4);
            self.product(&Product {
                out: both,
                ..gate_up
            });
            let wide = self.scratch(pairs * inter * 4);
            let glu = elementwise::glu(both, experts.act, wide, pairs as u64, inter as u32);
            let convert = convert(wide, inner, [pairs as u32, inter as u32], gate_up.half);
            self.launches.extend([glu, convert.launch()]);
            self.free(both);
            self.free(wide);
        }
        HalfRows {
            ptr: inner,
            rows: pairs as u32,
            stride: stride as u32,
        }
    }

    /// A product of all experts: of MXFP4 and of halves at once, else as many experts as the scratch holds.
    fn product(&mut self, product: &Product) {
        let facts = self.cache.gpu.facts();
        let matrix = product.matrix;
        if matrix.dtype() == WeightDtype::Mxfp4
            && let Some(launch) = product.mxfp4().launch(&facts)
        {
            return self.launches.push(launch);
        }
        let bytes = product.rows * matrix.arg().cols.next_multiple_of(8) as usize * 2;
        let at_once = if is_native(matrix, product.half) {
            product.experts
        } else {
            SCRATCH / bytes.max(1)
        }
        .max(1);
        for first in (0..product.experts).step_by(at_once) {
            let experts = at_once.min(product.experts - first);
            let (w, scratch) = self.half_rows_of(
                matrix,
                first * product.rows,
                experts * product.rows,
                product.half,
            );
            self.launches
                .extend(product.halves(w, first, experts).launch(&facts));
            self.free_scratch(scratch);
        }
    }
}
