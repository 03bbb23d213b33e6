//! The header of a safetensors file.
//!
//! The crate `safetensors` knows the rules: contiguous offsets, sizes that follow from shape and type, a file that ends
//! with the last tensor. This adds what it leaves open: duplicate names, caps, and errors that give numbers.

use std::path::Path;

use ::safetensors::Dtype;
use ::safetensors::tensor::{Metadata, TensorInfo};
use serde::Deserialize;

use super::tensor::{Entry, StoredDtype};
use super::tensor_table::{Shape, TensorTable};
use super::{Bytes, CheckpointError};

/// The longest header, as the format has it.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// What a header says of a tensor.
#[derive(Debug, Deserialize)]
struct Declared {
    dtype: Dtype,
    shape: Shape,
    data_offsets: (usize, usize),
}

/// Reads a header; the entries are those of file number `file`.
pub(super) fn read_header(
    path: &Path,
    file: usize,
    data: &Bytes,
) -> Result<Vec<(String, Entry)>, CheckpointError> {
    let damaged = |reason: String| CheckpointError::damaged(path, reason);
    let actual = data.len() as u64;
    let truncated = |expected| CheckpointError::Truncated {
        path: path.into(),
        expected,
        actual,
    };
    let Some((len, rest)) = data.split_first_chunk::<8>() else {
        return Err(truncated(8));
    };
    let header_len = u64::from_le_bytes(*len);
    if header_len > MAX_HEADER_BYTES {
        return Err(damaged(format!(
            "its header claims {header_len} bytes, and at most {MAX_HEADER_BYTES} are allowed"
        )));
    }
    // At most 100 MB, so this is no truncation.
    let header = rest
        .get(..header_len as usize)
        .ok_or_else(|| truncated(8 + header_len))?;
    let header = str::from_utf8(header)
        .map_err(|error| damaged(format!("its header is not UTF-8: {error}")))?;
    let TensorTable::<Declared>(mut tensors) = serde_json::from_str(header)
        .map_err(|error| damaged(format!("its header is no table of tensors: {error}")))?;
    tensors.sort_by_key(|(_, tensor)| tensor.data_offsets);

    let start = 8 + header_len as usize;
    let entries = tensors
        .iter()
        .map(|(name, tensor)| (name.clone(), entry(file, start, tensor)))
        .collect();
    let tensors = tensors
        .into_iter()
        .map(|(name, tensor)| (name, info(tensor)))
        .collect();
    let end = Metadata::new(None, tensors)
        .map_err(|error| damaged(error.to_string()))?
        .data_len() as u64;
    let expected = end
        .checked_add(start as u64)
        .ok_or_else(|| damaged("its size is beyond 64 bits".into()))?;
    match actual.cmp(&expected) {
        std::cmp::Ordering::Less => Err(truncated(expected)),
        std::cmp::Ordering::Greater => Err(damaged(format!(
            "it has {actual} bytes where its header says {expected}"
        ))),
        std::cmp::Ordering::Equal => Ok(entries),
    }
}

fn entry(file: usize, start: usize, tensor: &Declared) -> Entry {
    // Saturating, because nothing is checked yet; once it is, nothing has saturated.
    let (from, to) = tensor.data_offsets;
    Entry {
        file,
        shape: tensor.shape.0.clone(),
        dtype: StoredDtype::from_safetensors(tensor.dtype),
        range: start.saturating_add(from)..start.saturating_add(to),
    }
}

fn info(tensor: Declared) -> TensorInfo {
    let Declared {
        dtype,
        shape: Shape(shape),
        data_offsets,
    } = tensor;
    TensorInfo {
        dtype,
        shape,
        data_offsets,
    }
}
