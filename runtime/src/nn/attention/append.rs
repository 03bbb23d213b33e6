//! Queries, keys and values of a step's tokens.

use super::{Heads, KvSlot, QTemperature, unless_zero};
use crate::kv_cache::BLOCK_SIZE;
use crate::nn::error::shape;
use crate::nn::{Activations, QkNorm, Rope, Step};
use crate::{Result, cpu};

/// Queries `[tokens, heads * head_dim]`, ready for [`Step::attend`].
#[derive(Clone, Debug)]
pub struct Queries(pub(super) Activations);

/// What is done to queries, keys and values.
#[derive(Clone, Copy, Debug)]
enum Op<'a> {
    Norm(&'a QkNorm),
    Clip(f32),
    Rope(&'a Rope),
    Temperature(&'a QTemperature),
    ScaleValues(f32),
}

impl Op<'_> {
    /// The operation on a GPU.
    #[cfg(feature = "cuda")]
    fn on(
        &self,
        gpu: &std::sync::Arc<crate::cuda::Gpu>,
        heads: Heads,
    ) -> Result<crate::cuda::TapeOp> {
        use crate::cuda::TapeOp;
        Ok(match self {
            Self::Norm(norm) => norm.on(gpu, heads.dim)?,
            Self::Clip(limit) => TapeOp::Clip(*limit),
            Self::Rope(rope) => rope.on(),
            Self::Temperature(temperature) => TapeOp::Temperature {
                scale: temperature.scale as f32,
                floor: temperature.floor as f32,
                from_one: temperature.from_one,
            },
            Self::ScaleValues(factor) => TapeOp::ScaleValues(*factor),
        })
    }

    /// Changes a token's row q | k | v; a rotation needs more than that.
    fn apply(&self, row: &mut [f32], heads: Heads, position: usize) {
        let (q, kv) = row.split_at_mut(heads.q_rows());
        let (k, v) = kv.split_at_mut(heads.k_rows());
        match self {
            Self::Norm(norm) => norm.apply(q, k, heads.dim),
            Self::Clip(limit) => clip(row, *limit),
            Self::Temperature(temperature) => cpu::scale(q, temperature.factor(position)),
            Self::ScaleValues(factor) => cpu::scale(v, *factor),
            Self::Rope(_) => {}
        }
    }
}

/// Prepares queries, keys and values and writes keys and values to the cache. Operations run in the order called.
#[derive(Debug)]
#[must_use = "nothing happens before `run`"]
pub struct Append<'s, 'c> {
    step: &'s mut Step<'c>,
    kv: &'s KvSlot,
    qkv: Activations,
    ops: Vec<Op<'s>>,
}

impl<'s, 'c> Append<'s, 'c> {
    pub(in crate::nn) fn new(step: &'s mut Step<'c>, kv: &'s KvSlot, qkv: Activations) -> Self {
        Self {
            step,
            kv,
            qkv,
            ops: Vec::new(),
        }
    }

    fn then(mut self, op: Option<Op<'s>>) -> Self {
        self.ops.extend(op);
        self
    }

    /// Norm of queries and keys.
    pub fn qk_norm(self, norm: impl Into<Option<&'s QkNorm>>) -> Self {
        let op = norm.into().map(Op::Norm);
        self.then(op)
    }

    /// Clamps queries, keys and values to ±`limit`; none and 0 are off.
    pub fn clip(self, limit: impl Into<Option<f64>>) -> Self {
        let op = unless_zero(limit.into()).map(Op::Clip);
        self.then(op)
    }

    /// Rotates queries and keys by their position.
    pub fn rope(self, rope: impl Into<Option<&'s Rope>>) -> Self {
        let op = rope.into().map(Op::Rope);
        self.then(op)
    }

    /// Scales queries by their position.
    pub fn temperature(self, temperature: impl Into<Option<&'s QTemperature>>) -> Self {
        let op = temperature.into().map(Op::Temperature);
        self.then(op)
    }

    /// Scales values; none and 0 are off.
    pub fn v_scale(self, factor: impl Into<Option<f64>>) -> Self {
        let op = unless_zero(factor.into()).map(Op::ScaleValues);
        self.then(op)
    }

    /// Does all that.
    ///
    /// # Errors
    /// If the width of the rows is not that of the heads.
    pub fn run(self) -> Result<Queries> {
        let Self {
            step,
            kv,
            mut qkv,
            ops,
        } = self;
        let heads = kv.heads;
        qkv.check_width("attention", kv.width())?;
        let (q_rows, k_rows, v_rows) = (heads.q_rows(), heads.k_rows(), heads.v_rows());
        if kv.v_is_k {
            if heads.dim != heads.v_dim {
                return shape(format!(
                    "values cannot be keys: heads are {} and {} wide",
                    heads.v_dim, heads.dim
                ));
            }
            #[cfg(feature = "cuda")]
            let on_host = qkv.recorded().is_none();
            #[cfg(not(feature = "cuda"))]
            let on_host = true;
            if on_host {
                qkv = with_keys_as_values(&qkv, q_rows)?;
            }
        }
        #[cfg(feature = "cuda")]
        if let Some(x) = qkv.recorded() {
            let gpu = x.gpu();
            let ops = ops
                .iter()
                .map(|op| op.on(&gpu, heads))
                .collect::<Result<_>>()?;
            return Ok(Queries(x.append(*kv, ops).into()));
        }
        let width = q_rows + k_rows + v_rows;
        for op in &ops {
            let angles = match op {
                Op::Rope(rope) => Some(step.angles(rope)),
                _ => None,
            };
            let positions = step.positions();
            qkv.change_rows(|first, rows| {
                for (row, token) in rows.chunks_exact_mut(width).zip(first..) {
                    match (op, &angles) {
                        (Op::Rope(rope), Some(angles)) => {
                            angles.rotate(rope, token, &mut row[..q_rows + k_rows], heads.dim);
                        }
                        _ => op.apply(row, heads, positions[token]),
                    }
                }
            })?;
        }
        write(step, kv, &qkv)?;
        let values = qkv.values();
        let q = values
            .chunks_exact(width)
            .flat_map(|row| &row[..q_rows])
            .copied()
            .collect();
        Ok(Queries(Activations::new(q, qkv.tokens(), q_rows)?))
    }
}

/// Rows q | k → q | k | k
fn with_keys_as_values(qk: &Activations, q_rows: usize) -> Result<Activations> {
    let values = qk.values();
    let rows = values.chunks_exact(qk.width());
    let rows = rows
        .flat_map(|row| row.iter().chain(&row[q_rows..]))
        .copied()
        .collect();
    Activations::new(rows, qk.tokens(), qk.width() * 2 - q_rows)
}

fn clip(row: &mut [f32], limit: f32) {
    for x in row {
        // Comparisons instead of `clamp`, so that NaN stays NaN.
        if *x > limit {
            *x = limit;
        } else if *x < -limit {
            *x = -limit;
        }
    }
}

/// Writes keys and values to the cache.
fn write(step: &mut Step, kv: &KvSlot, qkv: &Activations) -> Result<()> {
    let heads = kv.heads;
    let values = qkv.values();
    let mut rows = values.chunks_exact(qkv.width());
    for run in 0..step.runs().len() {
        for position in step.runs()[run].positions() {
            let Some(row) = rows.next() else { break };
            let (k, v) = row[heads.q_rows()..].split_at(heads.k_rows());
            let (place, block) = step.block_mut(kv.layer, run, position)?;
            let slot = position % BLOCK_SIZE;
            let keys = block[place.k..].iter_mut().skip(slot).step_by(BLOCK_SIZE);
            keys.zip(k).for_each(|(key, k)| *key = *k);
            for (head, v) in v.chunks_exact(heads.v_dim).enumerate() {
                let start = place.v + (head * BLOCK_SIZE + slot) * heads.v_dim;
                block[start..start + heads.v_dim].copy_from_slice(v);
            }
        }
    }
    Ok(())
}
