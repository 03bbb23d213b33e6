//! A weight matrix in the form that products use.

use std::cell::RefCell;

use super::float::{Kind, Product, Rows, TILE_ROWS};
use super::output::Output;
use super::{Level, parallel};
use crate::Result;
use crate::weights::{CheckpointError, Matrix, WeightDtype};

/// What a product may round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Nothing but f32 sums: f32 activations times the weights' exact values.
    #[default]
    Exact,
    /// Activations are rounded to bytes with a scale for each 32 where the weights are ggml blocks, as llama.cpp does.
    /// Float weights are exact.
    Fast,
}

/// A weight matrix `[rows, cols]` ready for [`matmul`](Self::matmul).
#[derive(Debug)]
pub struct PackedMatrix {
    matrix: Matrix,
    level: Level,
}

/// Multiply-adds that are not worth waking other threads.
const ALONE: usize = 1 << 16;
/// Weight bytes of a task: long enough to hide the hand-out, short enough to even out.
const TASK_BYTES: usize = 32 << 10;
/// Weight rows of a task when there are many tokens.
const TASK_ROWS: usize = 32;

impl PackedMatrix {
    /// Prepares a matrix. Floats stay where they are.
    ///
    /// # Errors
    /// If the matrix is larger than memory.
    pub fn new(matrix: Matrix, precision: Precision) -> Result<Self> {
        Self::with_level(matrix, precision, Level::best())
    }

    fn with_level(matrix: Matrix, _precision: Precision, level: Level) -> Result<Self> {
        Ok(Self { matrix, level })
    }

    /// Output features.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.matrix.rows()
    }

    /// Input features.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.matrix.cols()
    }

    /// Bytes of weights that one token reads.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.matrix.data().len()
    }

    /// `out[t][r] = Σ x[t][c] · w[r][c]` for `x` `[tokens, cols]` and `out` `[tokens, rows]`, on all threads.
    ///
    /// The result of a token does not depend on the other tokens or on the number of threads.
    ///
    /// # Errors
    /// If `x` or `out` has another length.
    pub fn matmul(&self, x: &[f32], tokens: usize, out: &mut [f32]) -> Result<()> {
        let (rows, cols) = (self.rows(), self.cols());
        let lengths = (x.len(), out.len());
        let output = Output::new(out, tokens, rows);
        let product = output
            .as_ref()
            .and_then(|out| Product::new(x, tokens, cols, out));
        let Some(product) = product else {
            return Err(CheckpointError::Matrix(format!(
                "the product of {tokens} tokens with {} needs {tokens} × {cols} inputs and {tokens} × {rows} outputs, not {} and {}",
                self.matrix, lengths.0, lengths.1,
            ))
            .into());
        };
        let per_task = self.rows_of_task(tokens);
        let task = |task: usize| {
            let first = task * per_task;
            // The sizes agree by construction of the matrix, so nothing can fail.
            let done = self.task(&product, first..rows.min(first + per_task));
            debug_assert!(done.is_ok());
        };
        let tasks = rows.div_ceil(per_task);
        if rows.saturating_mul(cols).saturating_mul(tokens) <= ALONE {
            (0..tasks).for_each(task);
        } else {
            parallel(tasks, task);
        }
        Ok(())
    }

    fn rows_of_task(&self, tokens: usize) -> usize {
        if tokens > 4 {
            return TASK_ROWS;
        }
        let rows = TASK_BYTES / self.matrix.row_bytes().max(1);
        rows.next_multiple_of(TILE_ROWS).max(TILE_ROWS)
    }

    fn task(
        &self,
        product: &Product<'_>,
        range: std::ops::Range<usize>,
    ) -> Result<(), CheckpointError> {
        let row_bytes = self.matrix.row_bytes();
        let data = &self.matrix.data()[range.start * row_bytes..range.end * row_bytes];
        let (first, count) = (range.start, range.len());
        let kind = match self.matrix.dtype() {
            WeightDtype::F32 => Kind::F32,
            WeightDtype::F16 => Kind::F16,
            WeightDtype::BF16 => Kind::BF16,
            blocks => {
                return SCRATCH.with_borrow_mut(|scratch| {
                    scratch.resize(count * self.cols(), 0.0);
                    blocks.dequantize(data, scratch)?;
                    let data = as_bytes(scratch);
                    product.run(self.level, Kind::F32, Rows { data, first, count });
                    Ok(())
                });
            }
        };
        product.run(self.level, kind, Rows { data, first, count });
        Ok(())
    }
}

thread_local! {
    /// Dequantized rows of a task.
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

#[expect(unsafe_code, reason = "f32 seen as bytes")]
fn as_bytes(values: &[f32]) -> &[u8] {
    // SAFETY: f32 has no padding, any byte is valid, and bytes have no alignment.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{activations, assert_close, matrix, reference, rng};
    use super::*;

    fn levels() -> impl Iterator<Item = Level> {
        Level::ALL.into_iter().filter(|level| level.is_supported())
    }

    /// (rows, columns in blocks or floats, tokens).
    fn shapes(dtype: WeightDtype) -> Vec<(usize, usize, usize)> {
        let len = dtype.block_len();
        let mut shapes = vec![
            (1, len, 1),
            (5, 3 * len, 2),
            (16, 2 * len, 3),
            (37, 5 * len, 4),
            (33, len, 7),
            (70, 4 * len, 13),
            (64, 9 * len, 1),
        ];
        if len == 1 {
            shapes.extend([
                (9, 15, 5),
                (6, 1023, 1),
                (7, 1025, 8),
                (11, 2100, 17),
                (3, 40, 6),
            ]);
        }
        shapes
    }

    fn product(packed: &PackedMatrix, x: &[f32], tokens: usize) -> Vec<f32> {
        let mut out = vec![f32::NAN; tokens * packed.rows()];
        packed.matmul(x, tokens, &mut out).unwrap();
        out
    }

    #[test]
    fn exact_products_agree_with_double_precision() {
        let mut rng = rng(1);
        for dtype in WeightDtype::ALL {
            for (rows, cols, tokens) in shapes(dtype) {
                let matrix = matrix(dtype, rows, cols, &mut rng);
                let x = activations(tokens * cols, &mut rng);
                let want = reference(&matrix, &x, tokens);
                for level in levels() {
                    let packed =
                        PackedMatrix::with_level(matrix.clone(), Precision::Exact, level).unwrap();
                    let what = format!("{dtype} {level:?} {rows} × {cols}, {tokens} tokens");
                    assert_close(&product(&packed, &x, tokens), &want, 1e-6, &what);
                }
            }
        }
    }

    #[test]
    fn a_token_does_not_feel_the_others() {
        let mut rng = rng(2);
        for dtype in WeightDtype::ALL {
            let (rows, cols, tokens) = (45, dtype.block_len().max(75) * 15, 15);
            let matrix = matrix(
                dtype,
                rows,
                cols / dtype.block_len() * dtype.block_len(),
                &mut rng,
            );
            let cols = matrix.cols();
            let x = activations(tokens * cols, &mut rng);
            for precision in [Precision::Exact, Precision::Fast] {
                for level in levels() {
                    let packed =
                        PackedMatrix::with_level(matrix.clone(), precision, level).unwrap();
                    let together = product(&packed, &x, tokens);
                    for count in [1, 2, 5] {
                        let some = product(&packed, &x[..count * cols], count);
                        assert_eq!(
                            some,
                            together[..count * rows],
                            "{dtype} {precision:?} {level:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn wrong_lengths_are_refused() {
        let matrix = Matrix::from_f32(2, 3, &[0.0; 6]).unwrap();
        let packed = PackedMatrix::new(matrix, Precision::Exact).unwrap();
        for (x, out) in [(5, 4), (6, 3), (0, 0), (6, 5)] {
            assert!(
                packed
                    .matmul(&vec![0.0; x], 2, &mut vec![0.0; out])
                    .is_err()
            );
        }
        assert!(packed.matmul(&[], 0, &mut []).is_ok());
        assert!(packed.matmul(&[], usize::MAX, &mut []).is_err());
    }

    #[test]
    fn no_columns_give_zeros() {
        let packed =
            PackedMatrix::new(Matrix::from_f32(3, 0, &[]).unwrap(), Precision::Exact).unwrap();
        assert_eq!(product(&packed, &[], 2), [0.0; 6]);
    }
}
