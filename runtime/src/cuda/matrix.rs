//! Weights on the device.

use std::sync::Arc;

use bytemuck::Zeroable;

use super::{Buffer, Gpu};
use crate::Result;
use crate::kernels::matrix::{self, MAX_PLANES, MatrixArg};
use crate::kernels::repack::Repack;
use crate::weights::{Matrix, WeightDtype};

/// Alignment of planes.
const ALIGN: usize = 256;

/// Bytes that are sent and then spread over planes at once.
const STAGE: usize = 64 << 20;

/// A row-major weight matrix `[rows, cols]` on the device, in the layout that kernels read.
#[derive(Debug)]
pub(crate) struct DeviceMatrix {
    /// Holds all planes.
    buffer: Arc<Buffer>,
    dtype: WeightDtype,
    arg: MatrixArg,
}

impl DeviceMatrix {
    /// The rows of matrices of one width, one after the other. Where their types differ, all become f32.
    pub(crate) fn upload(gpu: &Arc<Gpu>, parts: &[Matrix], what: &str) -> Result<Self> {
        let Some(first) = parts.first() else {
            return crate::nn::shape_error("a projection of no matrices");
        };
        if parts.iter().any(|part| part.cols() != first.cols()) {
            return crate::nn::shape_error("matrices of different widths cannot be one projection");
        }
        if parts.iter().any(|part| part.dtype() != first.dtype()) {
            let floats: Result<Vec<_>> = parts.iter().map(as_f32).collect();
            return Self::upload(gpu, &floats?, what);
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
        let mut done = 0;
        for part in parts {
            send(gpu, &buffer, &arg, part, done)?;
            done += part.rows() * (cols / dtype.block_len());
        }
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

fn as_f32(matrix: &Matrix) -> Result<Matrix> {
    Ok(Matrix::from_f32(
        matrix.rows(),
        matrix.cols(),
        &matrix.to_f32()?,
    )?)
}

/// Sends a part's bytes to their place, `done` blocks after the first.
fn send(
    gpu: &Arc<Gpu>,
    buffer: &Buffer,
    arg: &MatrixArg,
    part: &Matrix,
    done: usize,
) -> Result<()> {
    let dtype = part.dtype();
    let bytes = dtype.block_bytes();
    if matrix::planes(dtype).len() == 1 {
        return Ok(buffer.write(done * bytes, &part.data()[..])?);
    }
    let data = &part.data()[..];
    let stage = Buffer::new(gpu, data.len().min(STAGE), "the loader")?;
    let mut first = done;
    for chunk in data.chunks(STAGE / bytes * bytes) {
        stage.write(0, chunk)?;
        let count = chunk.len() / bytes;
        let mut planes = arg.planes;
        planes
            .iter_mut()
            .zip(matrix::planes(dtype))
            .for_each(|(plane, bytes)| *plane = plane.offset(first * bytes));
        let repack = Repack {
            dtype,
            blocks: stage.ptr(),
            planes,
            count: count as u64,
        };
        gpu.launch(repack.launch().as_slice())?;
        first += count;
    }
    Ok(())
}
