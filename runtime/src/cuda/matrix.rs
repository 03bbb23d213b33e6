//! Weights on the device.

use std::sync::Arc;

use bytemuck::Zeroable;

use super::{Buffer, Gpu, Loader};
use crate::Result;
use crate::kernels::matrix::{self, MAX_PLANES, MatrixArg};
use crate::weights::{Bytes, Matrix, WeightDtype};

/// Alignment of planes.
const ALIGN: usize = 256;

/// A row-major weight matrix `[rows, cols]` on the device, in the layout that kernels read.
#[derive(Debug)]
pub(crate) struct DeviceMatrix {
    /// Holds all planes.
    buffer: Arc<Buffer>,
    dtype: WeightDtype,
    arg: MatrixArg,
}

impl DeviceMatrix {
    /// A matrix by itself.
    #[cfg(test)]
    pub(crate) fn upload(gpu: &Arc<Gpu>, parts: &[Matrix], what: &str) -> Result<Self> {
        Self::load(&Loader::new(gpu), parts, what)
    }

    /// The rows of matrices of one width, one after the other. Where their types differ, all become f32.
    pub(crate) fn load(loader: &Loader, parts: &[Matrix], what: &str) -> Result<Self> {
        let gpu = loader.gpu();
        let Some(first) = parts.first() else {
            return crate::nn::shape_error("a projection of no matrices");
        };
        if parts.iter().any(|part| part.cols() != first.cols()) {
            return crate::nn::shape_error("matrices of different widths cannot be one projection");
        }
        if parts.iter().any(|part| part.dtype() != first.dtype()) {
            let floats: Result<Vec<_>> = parts.iter().map(as_f32).collect();
            return Self::load(loader, &floats?, what);
        }
        let (dtype, cols) = (first.dtype(), first.cols());
        let rows = parts.iter().map(Matrix::rows).sum::<usize>();
        let blocks = rows * (cols / dtype.block_len());
        let mut starts = [0; MAX_PLANES];
        let mut end = 0_usize;
        for (start, bytes) in starts.iter_mut().zip(matrix::planes(dtype)) {
            *start = end;
            end = (end + blocks * bytes).next_multiple_of(ALIGN);
        }
        let buffer = Buffer::new(gpu, end, what)?;
        let mut arg = MatrixArg {
            rows: rows as u32,
            cols: cols as u32,
            dtype: matrix::dtype_number(dtype),
            ..MatrixArg::zeroed()
        };
        for (plane, start) in arg
            .planes
            .iter_mut()
            .zip(starts)
            .take(matrix::planes(dtype).len())
        {
            *plane = buffer.ptr().offset(start);
        }
        loader.load(dtype, &joined(parts), arg.planes)?;
        Ok(Self {
            buffer: Arc::new(buffer),
            dtype,
            arg,
        })
    }

    /// The same matrix, shared.
    pub(crate) fn again(&self) -> Self {
        Self {
            buffer: Arc::clone(&self.buffer),
            ..*self
        }
    }

    /// Bytes from a place in the buffer on.
    #[cfg(test)]
    pub(crate) fn read(&self, offset: usize, bytes: usize) -> Result<Vec<u8>> {
        Ok(self.buffer.read(offset, bytes)?)
    }

    pub(crate) fn dtype(&self) -> WeightDtype {
        self.dtype
    }

    pub(crate) fn gpu(&self) -> &Arc<Gpu> {
        self.buffer.gpu()
    }

    pub(crate) fn rows(&self) -> usize {
        self.arg.rows as usize
    }

    pub(crate) fn arg(&self) -> MatrixArg {
        self.arg
    }
}

/// The bytes of matrices; neighbours are one.
fn joined(parts: &[Matrix]) -> Vec<Bytes> {
    let mut all: Vec<Bytes> = Vec::new();
    for part in parts {
        match all.last_mut() {
            Some(last) => match last.followed_by(part.data()) {
                Some(both) => *last = both,
                None => all.push(part.data().clone()),
            },
            None => all.push(part.data().clone()),
        }
    }
    all
}

fn as_f32(matrix: &Matrix) -> Result<Matrix> {
    Ok(Matrix::from_f32(
        matrix.rows(),
        matrix.cols(),
        &matrix.to_f32()?,
    )?)
}
