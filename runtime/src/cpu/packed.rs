//! A weight matrix in the form that products use.

use std::cell::RefCell;
use std::ops::Range;

use super::blocks::BlockMatrix;
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
    weights: Weights,
    level: Level,
}

#[derive(Debug)]
enum Weights {
    /// As they lie in the file.
    Plain(Matrix),
    /// Repacked for activations of bytes.
    Blocks(BlockMatrix),
}

/// Multiply-adds that are not worth waking other threads.
const ALONE: usize = 1 << 16;
/// Weight bytes of a task: long enough to hide the hand-out, short enough to even out.
const TASK_BYTES: usize = 32 << 10;
/// Weight rows of a task when there are many tokens.
const TASK_ROWS: usize = 32;

impl PackedMatrix {
    /// Prepares a matrix. Only blocks that are wanted [`Fast`](Precision::Fast) are copied; the copy is no larger.
    ///
    /// # Errors
    /// If the matrix is larger than an address space.
    pub fn new(matrix: Matrix, precision: Precision) -> Result<Self> {
        Self::with_level(matrix, precision, Level::best())
    }

    /// The same for a level other than the machine's best.
    fn with_level(matrix: Matrix, precision: Precision, level: Level) -> Result<Self> {
        // What the kernels' safety rests on.
        let level = level.min(Level::best());
        let blocks = match precision {
            Precision::Exact => None,
            Precision::Fast => BlockMatrix::new(&matrix, level)?,
        };
        let weights = blocks.map_or(Weights::Plain(matrix), Weights::Blocks);
        Ok(Self { weights, level })
    }

    /// Output features.
    #[must_use]
    pub fn rows(&self) -> usize {
        match &self.weights {
            Weights::Plain(matrix) => matrix.rows(),
            Weights::Blocks(blocks) => blocks.rows(),
        }
    }

    /// Input features.
    #[must_use]
    pub fn cols(&self) -> usize {
        match &self.weights {
            Weights::Plain(matrix) => matrix.cols(),
            Weights::Blocks(blocks) => blocks.cols(),
        }
    }

    /// How the weights are stored.
    #[must_use]
    pub fn dtype(&self) -> WeightDtype {
        match &self.weights {
            Weights::Plain(matrix) => matrix.dtype(),
            Weights::Blocks(blocks) => blocks.dtype(),
        }
    }

    /// Bytes of weights that one token reads.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match &self.weights {
            Weights::Plain(matrix) => matrix.data().len(),
            Weights::Blocks(blocks) => blocks.bytes(),
        }
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
        let (Some(output), true) = (output, tokens.checked_mul(cols) == Some(x.len())) else {
            return Err(CheckpointError::Matrix(format!(
                "the product of {tokens} tokens with a {} matrix [{rows}, {cols}] needs {tokens} × {cols} inputs and {tokens} × {rows} outputs, not {} and {}",
                self.dtype(), lengths.0, lengths.1,
            ))
            .into());
        };
        let alone = rows.saturating_mul(cols).saturating_mul(tokens) <= ALONE;
        match &self.weights {
            Weights::Plain(matrix) => {
                self.plain(matrix, &Product::new(x, tokens, cols, &output), alone)
            }
            Weights::Blocks(blocks) => blocks.matmul(x, tokens, &output, alone),
        }
        Ok(())
    }

    fn plain(&self, matrix: &Matrix, product: &Product<'_>, alone: bool) {
        let rows = matrix.rows();
        let per_task = rows_of_task(matrix, product.tokens());
        let task = |task: usize| {
            let first = task * per_task;
            // The sizes agree by construction of the matrix, so nothing can fail.
            let done = plain_task(
                self.level,
                matrix,
                product,
                first..rows.min(first + per_task),
            );
            debug_assert!(done.is_ok());
        };
        let tasks = rows.div_ceil(per_task);
        if alone {
            (0..tasks).for_each(task);
        } else {
            parallel(tasks, task);
        }
    }
}

fn rows_of_task(matrix: &Matrix, tokens: usize) -> usize {
    if tokens > 4 {
        return TASK_ROWS;
    }
    let rows = TASK_BYTES / matrix.row_bytes().max(1);
    rows.next_multiple_of(TILE_ROWS).max(TILE_ROWS)
}

fn plain_task(
    level: Level,
    matrix: &Matrix,
    product: &Product<'_>,
    range: Range<usize>,
) -> Result<(), CheckpointError> {
    let row_bytes = matrix.row_bytes();
    let data = &matrix.data()[range.start * row_bytes..range.end * row_bytes];
    let (first, count) = (range.start, range.len());
    let kind = match matrix.dtype() {
        WeightDtype::F32 => Kind::F32,
        WeightDtype::F16 => Kind::F16,
        WeightDtype::BF16 => Kind::BF16,
        blocks => {
            return SCRATCH.with_borrow_mut(|scratch| {
                scratch.resize(count * matrix.cols(), 0.0);
                blocks.dequantize(data, scratch)?;
                let data = as_bytes(scratch);
                product.run(level, Kind::F32, Rows { data, first, count });
                Ok(())
            });
        }
    };
    product.run(level, kind, Rows { data, first, count });
    Ok(())
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
    use super::super::self_test::byte_activations;
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
    fn fast_products_are_exact_for_activations_that_bytes_hold() {
        let mut rng = rng(6);
        for dtype in WeightDtype::ALL
            .into_iter()
            .filter(|dtype| !dtype.is_float())
        {
            for (rows, cols, tokens) in shapes(dtype) {
                let matrix = matrix(dtype, rows, cols, &mut rng);
                let x = byte_activations(tokens * cols, &mut rng);
                let want = reference(&matrix, &x, tokens);
                for level in levels() {
                    let packed =
                        PackedMatrix::with_level(matrix.clone(), Precision::Fast, level).unwrap();
                    let what = format!("{dtype} {level:?} {rows} × {cols}, {tokens} tokens");
                    assert_close(&product(&packed, &x, tokens), &want, 1e-6, &what);
                }
            }
        }
    }

    #[test]
    fn extreme_weights_do_not_overflow() {
        // All bits set or none: the largest and smallest numbers of each format, against the largest activations.
        for dtype in WeightDtype::ALL
            .into_iter()
            .filter(|dtype| !dtype.is_float())
        {
            for fill in [0x00, 0xff, 0x80, 0x7f, 0xf7, 0x88] {
                let mut rng = rng(7);
                let scales = matrix(dtype, 16, 512, &mut rng);
                let matrix = fill_numbers(&scales, fill);
                for sign in [1.0, -1.0] {
                    let x = vec![127.0 * sign; 512 * 6];
                    let want = reference(&matrix, &x, 6);
                    for level in levels() {
                        let packed =
                            PackedMatrix::with_level(matrix.clone(), Precision::Fast, level)
                                .unwrap();
                        let what = format!("{dtype} {level:?} {fill:x}");
                        assert_close(&product(&packed, &x, 6), &want, 1e-6, &what);
                    }
                }
            }
        }
    }

    /// The same scales with all numbers' bytes replaced.
    fn fill_numbers(matrix: &Matrix, fill: u8) -> Matrix {
        let dtype = matrix.dtype();
        let numbers = match dtype {
            WeightDtype::Q4_1 | WeightDtype::Q5_1 => 4..dtype.block_bytes(),
            WeightDtype::Mxfp4 => 1..17,
            WeightDtype::Q2K => 16..80,
            WeightDtype::Q3K => 0..96,
            WeightDtype::Q4K | WeightDtype::Q5K => 16..dtype.block_bytes(),
            WeightDtype::Q6K => 0..192,
            _ => 2..dtype.block_bytes(),
        };
        let mut data = matrix.data().to_vec();
        for block in data.chunks_exact_mut(dtype.block_bytes()) {
            block[numbers.clone()].fill(fill);
        }
        Matrix::new(matrix.rows(), matrix.cols(), dtype, data.into()).unwrap()
    }

    #[test]
    fn fast_products_are_close_for_any_activations() {
        let mut rng = rng(8);
        for dtype in WeightDtype::ALL {
            let (rows, cols, tokens) = (40, 1024, 9);
            let matrix = matrix(dtype, rows, cols, &mut rng);
            let x = activations(tokens * cols, &mut rng);
            for ((got, want), exact) in product(
                &PackedMatrix::new(matrix.clone(), Precision::Fast).unwrap(),
                &x,
                tokens,
            )
            .iter()
            .zip(reference(&matrix, &x, tokens))
            .zip(product(
                &PackedMatrix::new(matrix, Precision::Exact).unwrap(),
                &x,
                tokens,
            )) {
                assert!(
                    (f64::from(*got) - want.0).abs() < 0.02 * want.1,
                    "{dtype}: {got} {want:?} {exact}"
                );
            }
        }
    }

    #[test]
    fn what_is_not_finite_stays_visible() {
        for dtype in [
            WeightDtype::F32,
            WeightDtype::Q4_0,
            WeightDtype::Q4K,
            WeightDtype::Q6K,
        ] {
            let matrix = matrix(dtype, 20, 256, &mut rng(9));
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                for at in [0, 9, 255] {
                    let mut x = activations(512, &mut rng(10));
                    x[256 + at] = bad;
                    for level in levels() {
                        for precision in [Precision::Exact, Precision::Fast] {
                            let packed =
                                PackedMatrix::with_level(matrix.clone(), precision, level).unwrap();
                            let out = product(&packed, &x, 2);
                            assert!(out[..20].iter().all(|y| y.is_finite()));
                            assert!(
                                out[20..].iter().any(|y| !y.is_finite()),
                                "{dtype} {bad} {level:?}"
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn packed_blocks_are_no_larger_than_the_file() {
        for dtype in WeightDtype::ALL {
            let matrix = matrix(dtype, 64, 1024, &mut rng(11));
            let bytes = matrix.data().len();
            let packed = PackedMatrix::new(matrix, Precision::Fast).unwrap();
            assert_eq!(packed.bytes(), bytes, "{dtype}");
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
