//! Linear projections.

use std::sync::Arc;

use super::embedding::Table;
use super::error::setting;
use super::parallel::for_rows;
use super::{Activations, Embedding, Name, Rows, Step, Vector};
use crate::cpu::PackedMatrix;
use crate::weights::{Matrix, Weights};
use crate::{Result, cpu};

/// Bytes up to which matrices of one input become one: beyond, a product takes so long that a second one costs nothing,
/// and weights stay in the file's pages.
const JOIN_LIMIT: usize = 32 << 20;

/// `y = x Wᵀ (+ b)`, with W `[out, in]`; several projections of one input may be one matrix.
#[derive(Clone, Debug)]
pub struct Linear {
    parts: Parts,
    /// `[out]`
    bias: Option<Vector>,
    in_features: usize,
    out_features: usize,
}

/// Matrices `[_, in]`, whose rows one after the other are W.
#[derive(Clone, Debug)]
enum Parts {
    Host(Arc<[PackedMatrix]>),
    #[cfg(feature = "cuda")]
    Device(Arc<[crate::cuda::DeviceMatrix]>),
}

impl Parts {
    fn new(w: &Weights, matrices: Vec<Matrix>) -> Result<Self> {
        #[cfg(feature = "cuda")]
        if let Some(loader) = w.loader() {
            let same = matrices.chunk_by(|a, b| a.dtype() == b.dtype());
            let parts =
                same.map(|same| crate::cuda::DeviceMatrix::load(loader, same, "a projection"));
            return Ok(Self::Device(parts.collect::<Result<_>>()?));
        }
        let parts = joined(matrices)?.into_iter().map(|matrix| w.pack(matrix));
        Ok(Self::Host(parts.collect::<Result<_>>()?))
    }
}

impl Linear {
    /// Projections of one input, each with its number of rows, stacked in the order given.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    pub fn stacked(
        w: &mut Weights,
        parts: &[(Name, usize)],
        cols: usize,
        bias: bool,
        transposed: bool,
    ) -> Result<Self> {
        let (mut matrices, mut biases) = (Vec::new(), Vec::new());
        for &(name, rows) in parts {
            matrices.extend(w.matrix(
                w.full_name(name)? + ".weight",
                [rows, cols],
                transposed,
                name.at,
            )?);
            if bias {
                biases.extend(w.vector(name, ".bias", rows)?);
            }
        }
        let rows = parts.iter().map(|part| part.1).sum();
        Self::from_matrices(w, matrices, bias.then_some(biases), [rows, cols])
    }

    /// Projections that the file keeps in one matrix.
    ///
    /// # Errors
    /// If the tensor cannot be read, or the layout does not divide its rows.
    pub fn fused(
        w: &mut Weights,
        name: Name,
        rows: &Rows,
        cols: usize,
        bias: bool,
        transposed: bool,
    ) -> Result<Self> {
        rows.check()?;
        let shape = [rows.total(), cols];
        let mut matrix = w.matrix(w.full_name(name)? + ".weight", shape, transposed, name.at)?;
        let mut biases = if bias {
            Some(w.vector(name, ".bias", shape[0])?)
        } else {
            None
        };
        if let Some(file) = &matrix
            && let Some(places) = rows.places()
        {
            matrix = Some(w.select_rows(file, &places)?);
            biases = biases.map(|biases| places.iter().map(|place| biases[*place]).collect());
        }
        Self::from_matrices(w, matrix.into_iter().collect(), biases, shape)
    }

    /// A projection without bias whose number of rows, one of `allowed`, the file decides.
    ///
    /// # Errors
    /// If the tensor cannot be read.
    pub fn gate(w: &mut Weights, name: Name, allowed: &[usize], cols: usize) -> Result<Self> {
        let full = w.full_name(name)? + ".weight";
        let stored = w.rows_of(&full).filter(|rows| allowed.contains(rows));
        let Some(rows) = stored.or(allowed.first().copied()) else {
            return setting("a gate needs a number of rows");
        };
        let matrix = w.matrix(full, [rows, cols], false, name.at)?;
        Self::from_matrices(w, matrix.into_iter().collect(), None, [rows, cols])
    }

    /// The projection to the vocabulary; of a tied model the embedding. `name` may stand with or without the root.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    pub fn head(
        w: &mut Weights,
        name: Name,
        embed: &Embedding,
        tied: bool,
        vocab: usize,
        hidden: usize,
        bias: bool,
    ) -> Result<Self> {
        let full = match w.head_name(name) {
            Err(_) if tied && !bias => String::new(),
            full => full?,
        };
        let matrix = if tied {
            // The file may have the matrix nevertheless.
            w.allow(format!("{full}.weight"));
            w.is_tied();
            None
        } else {
            w.matrix(format!("{full}.weight"), [vocab, hidden], false, name.at)?
        };
        let bias = if bias {
            Some(w.named_vector(format!("{full}.bias"), &[&[vocab]], name.at)?)
        } else {
            None
        };
        let parts = match embed.table().filter(|_| tied) {
            #[cfg(feature = "cuda")]
            Some(Table::Device(table)) => Parts::Device(Arc::new([table.again()])),
            Some(Table::Host(table)) => Parts::new(w, vec![table.clone()])?,
            None => Parts::new(w, matrix.into_iter().collect())?,
        };
        Ok(Self {
            parts,
            bias: bias.map(Into::into),
            in_features: hidden,
            out_features: vocab,
        })
    }

    /// A projection of matrices with `rows` rows in all; of none when planning.
    pub(super) fn from_matrices(
        w: &Weights,
        matrices: Vec<Matrix>,
        bias: Option<Vec<f32>>,
        [rows, cols]: [usize; 2],
    ) -> Result<Self> {
        Ok(Self {
            parts: Parts::new(w, matrices)?,
            bias: bias.map(Into::into),
            in_features: cols,
            out_features: rows,
        })
    }

    /// A projection to nothing.
    #[cfg(test)]
    pub(super) fn empty() -> Self {
        Self {
            parts: Parts::Host(Arc::new([])),
            bias: None,
            in_features: 0,
            out_features: 0,
        }
    }

    /// Rows of the matrix.
    #[must_use]
    pub fn out_features(&self) -> usize {
        self.out_features
    }

    /// `[tokens, in]` → `[tokens, out]`
    ///
    /// # Errors
    /// If the width of `x` is another.
    pub fn forward(&self, x: &Activations, _step: &Step) -> Result<Activations> {
        x.check_width("a projection", self.in_features)?;
        #[cfg(feature = "cuda")]
        if let Some(x) = x.recorded() {
            return self.record(x);
        }
        let mut out = vec![0.0; x.tokens() * self.out_features];
        self.project(&x.values(), x.tokens(), &mut out)?;
        Activations::new(out, x.tokens(), self.out_features)
    }

    #[cfg(feature = "cuda")]
    fn record(&self, x: &crate::cuda::Value) -> Result<Activations> {
        let Parts::Device(parts) = &self.parts else {
            return super::error::shape("a projection in the CPU's memory cannot run on a GPU");
        };
        let bias = self
            .bias
            .as_ref()
            .map(|bias| bias.on(&x.gpu()))
            .transpose()?;
        let linear = crate::cuda::TapeLinear {
            parts: Arc::clone(parts),
            bias,
        };
        Ok(x.linear(linear, self.out_features).into())
    }

    /// `x` `[tokens, in]` → `out` `[tokens, out]`
    pub(super) fn project(&self, x: &[f32], tokens: usize, out: &mut [f32]) -> Result<()> {
        if tokens == 0 {
            return Ok(());
        }
        let width = self.out_features;
        #[cfg_attr(
            not(feature = "cuda"),
            expect(
                clippy::infallible_destructuring_match,
                reason = "there is a second place with a GPU"
            )
        )]
        let parts = match &self.parts {
            Parts::Host(parts) => parts,
            #[cfg(feature = "cuda")]
            Parts::Device(_) => {
                return super::error::shape("a projection on a GPU cannot run on the CPU");
            }
        };
        if let [only] = &**parts {
            only.matmul(x, tokens, out)?;
        } else {
            let mut column = 0;
            let mut scratch = Vec::new();
            for part in parts.iter() {
                let rows = part.rows();
                if tokens == 1 {
                    part.matmul(x, 1, &mut out[column..column + rows])?;
                } else {
                    scratch.resize(tokens * rows, 0.0);
                    part.matmul(x, tokens, &mut scratch[..tokens * rows])?;
                    for (out, part) in out.chunks_exact_mut(width).zip(scratch.chunks_exact(rows)) {
                        out[column..column + rows].copy_from_slice(part);
                    }
                }
                column += rows;
            }
        }
        if let Some(bias) = &self.bias {
            for_rows(out, width, |_, rows| {
                rows.chunks_exact_mut(width)
                    .for_each(|row| cpu::add(row, bias))
            });
        }
        Ok(())
    }
}

/// Small neighbours of one storage type as one matrix.
fn joined(matrices: Vec<Matrix>) -> Result<Vec<Matrix>> {
    let bytes: usize = matrices.iter().map(|matrix| matrix.data().len()).sum();
    if bytes > JOIN_LIMIT {
        return Ok(matrices);
    }
    let same = matrices.chunk_by(|a, b| a.dtype() == b.dtype());
    same.map(|same| Ok(Matrix::concat(same)?)).collect()
}
