//! A weight matrix as it lies in the file.

use std::ops::Range;

use super::{Bytes, CheckpointError, WeightDtype};

type Result<T> = std::result::Result<T, CheckpointError>;

/// A row-major matrix `[rows, cols]` of weights; for a projection `[out, in]`.
///
/// A clone shares the bytes. A row is a whole number of blocks of the [`WeightDtype`].
#[derive(Clone, Debug)]
pub struct Matrix {
    rows: usize,
    cols: usize,
    dtype: WeightDtype,
    data: Bytes,
}

impl Matrix {
    /// A matrix over exactly its bytes.
    ///
    /// # Errors
    /// If a row is no whole number of blocks, or the bytes are too few or too many.
    pub fn new(rows: usize, cols: usize, dtype: WeightDtype, data: Bytes) -> Result<Self> {
        let Some(row_bytes) = dtype.row_bytes(cols) else {
            return Err(CheckpointError::Matrix(format!(
                "a row of {cols} elements is no whole number of {dtype} blocks of {}",
                dtype.block_len()
            )));
        };
        if row_bytes.checked_mul(rows) != Some(data.len()) {
            return Err(CheckpointError::Matrix(format!(
                "{} bytes are not a {dtype} matrix of {rows} rows of {row_bytes} bytes",
                data.len()
            )));
        }
        Ok(Self {
            rows,
            cols,
            dtype,
            data,
        })
    }

    /// A matrix of f32, `values` row by row.
    ///
    /// # Errors
    /// If there are not exactly `rows * cols` values.
    pub fn from_f32(rows: usize, cols: usize, values: &[f32]) -> Result<Self> {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self::new(rows, cols, WeightDtype::F32, bytes.into())
    }

    /// Output features of a projection.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Input features of a projection.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// How the numbers are stored.
    #[must_use]
    pub fn dtype(&self) -> WeightDtype {
        self.dtype
    }

    /// All rows, one after the other; not aligned.
    #[must_use]
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// Bytes of one row.
    #[must_use]
    pub fn row_bytes(&self) -> usize {
        // `new` has checked that this is no overflow and no broken block.
        self.cols / self.dtype.block_len() * self.dtype.block_bytes()
    }

    /// Some consecutive rows, sharing the bytes.
    ///
    /// # Errors
    /// If the range reaches beyond the last row.
    pub fn slice_rows(&self, range: Range<usize>) -> Result<Self> {
        self.check(&range)?;
        let row_bytes = self.row_bytes();
        let bytes = range.start * row_bytes..range.end * row_bytes;
        let data = self
            .data
            .slice(bytes)
            .ok_or_else(|| self.no_such_rows(&range))?;
        Ok(Self {
            rows: range.len(),
            data,
            ..*self
        })
    }

    /// A copy with row `order[r]` as row r; rows may repeat or be left out.
    ///
    /// # Errors
    /// If an index is beyond the last row.
    pub fn select_rows(&self, order: &[usize]) -> Result<Self> {
        let row_bytes = self.row_bytes();
        let mut data = Vec::with_capacity(order.len().saturating_mul(row_bytes));
        for &row in order {
            self.check(&(row..row.saturating_add(1)))?;
            data.extend_from_slice(&self.data[row * row_bytes..(row + 1) * row_bytes]);
        }
        Ok(Self {
            rows: order.len(),
            data: data.into(),
            ..*self
        })
    }

    /// As [`select_rows`](Self::select_rows), but the copy is made when it is read, unless a GPU takes the rows itself.
    ///
    /// # Errors
    /// If an index is beyond the last row, or a row has no bytes.
    #[cfg(feature = "cuda")]
    pub(crate) fn with_rows(&self, order: &[usize]) -> Result<Self> {
        let (row_bytes, mut rows) = (self.row_bytes(), Vec::with_capacity(order.len()));
        for &row in order {
            self.check(&(row..row.saturating_add(1)))?;
            rows.push(u32::try_from(row).map_err(|_| self.no_such_rows(&(row..row)))?);
        }
        let recipe = super::Recipe::Rows {
            of: self.data.clone(),
            row_bytes,
            order: rows.into(),
        };
        let data = Bytes::lazy(recipe, order.len() * row_bytes);
        Ok(Self {
            rows: order.len(),
            data,
            ..*self
        })
    }

    /// A copy of matrices of one width and one type, stacked along the rows.
    ///
    /// # Errors
    /// If there are none, or they differ in width or type.
    pub fn concat(parts: &[Self]) -> Result<Self> {
        let Some(first) = parts.first() else {
            return Err(CheckpointError::Matrix("no matrices to stack".into()));
        };
        if let [only] = parts {
            return Ok(only.clone());
        }
        let mut data = Vec::with_capacity(parts.iter().map(|part| part.data.len()).sum());
        let mut rows = 0;
        for part in parts {
            if (part.cols, part.dtype) != (first.cols, first.dtype) {
                return Err(CheckpointError::Matrix(format!(
                    "cannot stack {part} on {first}: width and type must be the same"
                )));
            }
            data.extend_from_slice(&part.data);
            rows += part.rows;
        }
        Ok(Self {
            rows,
            data: data.into(),
            ..*first
        })
    }

    /// A copy with rows and columns exchanged.
    ///
    /// # Errors
    /// If the elements are in blocks, which lie along the rows.
    pub fn transpose(&self) -> Result<Self> {
        let data = match (self.dtype.is_float(), self.dtype.block_bytes()) {
            (true, 2) => transposed::<2>(&self.data, self.rows, self.cols),
            (true, 4) => transposed::<4>(&self.data, self.rows, self.cols),
            _ => {
                return Err(CheckpointError::Matrix(format!(
                    "cannot transpose {self}: its blocks lie along the rows"
                )));
            }
        };
        Ok(Self {
            rows: self.cols,
            cols: self.rows,
            dtype: self.dtype,
            data: data.into(),
        })
    }

    /// Writes some rows as f32 into `out`, `[range.len(), cols]`.
    ///
    /// # Errors
    /// If the range reaches beyond the last row, or `out` has another length.
    pub fn dequantize_rows(&self, range: Range<usize>, out: &mut [f32]) -> Result<()> {
        let rows = self.slice_rows(range)?;
        rows.dtype.dequantize(&rows.data, out)
    }

    /// All elements as f32, row by row.
    ///
    /// # Errors
    /// If there are more than an address space holds.
    pub fn to_f32(&self) -> Result<Vec<f32>> {
        let len = self.rows.checked_mul(self.cols);
        let len = len.ok_or_else(|| CheckpointError::Matrix(format!("{self} is too large")))?;
        let mut out = vec![0.0; len];
        self.dtype.dequantize(&self.data, &mut out)?;
        Ok(out)
    }

    fn check(&self, range: &Range<usize>) -> Result<()> {
        if range.start > range.end || range.end > self.rows {
            return Err(self.no_such_rows(range));
        }
        Ok(())
    }

    fn no_such_rows(&self, range: &Range<usize>) -> CheckpointError {
        CheckpointError::Matrix(format!("{self} has no rows {}..{}", range.start, range.end))
    }
}

impl std::fmt::Display for Matrix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a {} matrix [{}, {}]", self.dtype, self.rows, self.cols)
    }
}

/// `N` bytes an element. Goes through the source in square tiles: a whole column at a time would miss the cache at each
/// element.
fn transposed<const N: usize>(data: &[u8], rows: usize, cols: usize) -> Vec<u8> {
    const TILE: usize = 32;
    let (source, _) = data.as_chunks::<N>();
    let mut out = vec![[0; N]; source.len()];
    for row_tile in (0..rows).step_by(TILE) {
        for col_tile in (0..cols).step_by(TILE) {
            for row in row_tile..rows.min(row_tile + TILE) {
                for col in col_tile..cols.min(col_tile + TILE) {
                    out[col * rows + row] = source[row * cols + col];
                }
            }
        }
    }
    out.into_flattened()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counting(rows: usize, cols: usize) -> Matrix {
        let values: Vec<f32> = (0..rows * cols).map(|v| v as f32).collect();
        Matrix::from_f32(rows, cols, &values).unwrap()
    }

    #[test]
    fn too_few_bytes_broken_blocks_and_overflow_are_refused() {
        let bytes = || Bytes::from(vec![0; 68]);
        assert!(Matrix::new(2, 32, WeightDtype::Q8_0, bytes()).is_ok());
        for (rows, cols) in [
            (1, 32),
            (3, 32),
            (2, 33),
            (2, 0),
            (usize::MAX, 32),
            (2, usize::MAX - 31),
        ] {
            assert!(
                Matrix::new(rows, cols, WeightDtype::Q8_0, bytes()).is_err(),
                "{rows} {cols}"
            );
        }
    }

    #[test]
    fn blocks_are_not_transposed() {
        let matrix = Matrix::new(2, 32, WeightDtype::Q8_0, vec![0; 68].into()).unwrap();
        assert!(matrix.transpose().unwrap_err().to_string().contains("Q8_0"));
    }

    #[test]
    fn different_widths_or_types_do_not_stack() {
        let half = Matrix::new(1, 3, WeightDtype::F16, vec![0; 6].into()).unwrap();
        assert!(Matrix::concat(&[counting(2, 3), counting(1, 4)]).is_err());
        assert!(Matrix::concat(&[counting(2, 3), half]).is_err());
        assert!(Matrix::concat(&[]).is_err());
    }

    #[test]
    fn rows_out_of_range_are_refused() {
        let matrix = counting(3, 2);
        assert!(matrix.slice_rows(2..4).is_err());
        assert!(matrix.select_rows(&[0, 3]).is_err());
        assert!(matrix.select_rows(&[usize::MAX]).is_err());
        assert!(matrix.dequantize_rows(0..1, &mut [0.0; 3]).is_err());
    }

    proptest! {
        #[test]
        fn transposing_exchanges_indices_and_twice_is_nothing(rows in 0_usize..70, cols in 0_usize..70) {
            let matrix = counting(rows, cols);
            let transposed = matrix.transpose().unwrap();
            let values = transposed.to_f32().unwrap();
            for r in 0..rows {
                for c in 0..cols {
                    prop_assert_eq!(values[c * rows + r], (r * cols + c) as f32);
                }
            }
            let back = transposed.transpose().unwrap();
            prop_assert_eq!(&back.data()[..], &matrix.data()[..]);
        }

        #[test]
        fn a_matrix_is_the_stack_of_its_parts(rows in 1_usize..20, cols in 1_usize..9, cut in 0_usize..20) {
            let matrix = counting(rows, cols);
            let cut = cut.min(rows);
            let parts = [matrix.slice_rows(0..cut).unwrap(), matrix.slice_rows(cut..rows).unwrap()];
            let stacked = Matrix::concat(&parts).unwrap();
            prop_assert_eq!(stacked.rows(), rows);
            prop_assert_eq!(&stacked.data()[..], &matrix.data()[..]);
        }
    }
}
