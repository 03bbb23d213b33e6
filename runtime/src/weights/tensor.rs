//! Tensors as they lie in a checkpoint.

use super::{Bytes, CheckpointError, Matrix, WeightDtype};

/// How a tensor's numbers are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoredDtype {
    /// In a way that a [`Matrix`] takes as it is.
    Weight(WeightDtype),
    /// In double precision, which becomes F32 when read.
    F64,
    /// As bytes that only the tensor's name gives a meaning: packed blocks, scales, integers.
    Raw(::safetensors::Dtype),
    /// In a ggml type that the engine does not read.
    Unknown(String),
}

impl StoredDtype {
    pub(super) fn from_safetensors(dtype: ::safetensors::Dtype) -> Self {
        match dtype {
            ::safetensors::Dtype::F32 => Self::Weight(WeightDtype::F32),
            ::safetensors::Dtype::F16 => Self::Weight(WeightDtype::F16),
            ::safetensors::Dtype::BF16 => Self::Weight(WeightDtype::BF16),
            ::safetensors::Dtype::F64 => Self::F64,
            other => Self::Raw(other),
        }
    }

    /// The type that weights have once read; `None` for bytes and unknown types.
    #[must_use]
    pub fn weight(&self) -> Option<WeightDtype> {
        match self {
            Self::Weight(dtype) => Some(*dtype),
            Self::F64 => Some(WeightDtype::F32),
            Self::Raw(_) | Self::Unknown(_) => None,
        }
    }
}

impl std::fmt::Display for StoredDtype {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Weight(dtype) => dtype.fmt(f),
            Self::F64 => f.write_str("F64"),
            Self::Raw(dtype) => dtype.fmt(f),
            Self::Unknown(name) => f.write_str(name),
        }
    }
}

/// What a checkpoint's header says of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its whole name.
    pub name: String,
    /// Its shape, row-major, also for GGUF, which has it the other way round.
    pub shape: Vec<usize>,
    /// How its numbers are stored.
    pub dtype: StoredDtype,
    /// Its bytes in the file; 0 for a type whose size is not known.
    pub bytes: usize,
}

/// A tensor that has been read.
#[derive(Clone, Debug)]
pub struct StoredTensor {
    /// Its shape, row-major.
    pub shape: Vec<usize>,
    /// How its numbers are stored; never [`StoredDtype::F64`] or [`StoredDtype::Unknown`].
    pub dtype: StoredDtype,
    /// Its bytes; not aligned.
    pub data: Bytes,
}

impl StoredTensor {
    /// The tensor as a matrix over its last dimension: `[E, out, in]` is `[E * out, in]`, `[n]` is `[1, n]`.
    ///
    /// # Errors
    /// If its bytes are no numbers by themselves, or it is empty.
    pub fn into_matrix(self) -> Result<Matrix, CheckpointError> {
        let Some(dtype) = self.dtype.weight() else {
            return Err(CheckpointError::Matrix(format!(
                "a tensor of {} is no matrix of numbers",
                self.dtype
            )));
        };
        let (cols, outer) = self
            .shape
            .split_last()
            .map_or((1, &[][..]), |(cols, outer)| (*cols, outer));
        let rows = outer
            .iter()
            .try_fold(1_usize, |rows, dim| rows.checked_mul(*dim))
            .filter(|rows| *rows > 0);
        match rows {
            Some(rows) if cols > 0 => Matrix::new(rows, cols, dtype, self.data),
            _ => Err(CheckpointError::Matrix(format!(
                "a tensor of shape {:?} is no matrix",
                self.shape
            ))),
        }
    }
}

/// Where a tensor lies.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Which of the checkpoint's files.
    pub(super) file: usize,
    pub(super) shape: Vec<usize>,
    pub(super) dtype: StoredDtype,
    /// In the file; empty for an unknown type.
    pub(super) range: std::ops::Range<usize>,
}

/// Doubles to singles, byte by byte.
pub(super) fn f64_to_f32(data: &[u8]) -> Vec<u8> {
    let (doubles, _) = data.as_chunks::<8>();
    doubles
        .iter()
        .flat_map(|double| (f64::from_le_bytes(*double) as f32).to_le_bytes())
        .collect()
}
