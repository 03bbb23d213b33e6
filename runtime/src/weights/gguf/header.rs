//! The header of a GGUF file.

use std::collections::BTreeMap;
use std::path::Path;

use super::cursor::Cursor;
use super::metadata::MetadataValue;
use super::types;
use crate::config::Metadata;
use crate::weights::tensor::Entry;
use crate::weights::{Bytes, CheckpointError, StoredDtype};

type Result<T> = std::result::Result<T, CheckpointError>;

const MAX_KEY_BYTES: usize = 65_535;
const MAX_NAME_BYTES: usize = 255;
const MAX_ENTRIES: usize = 1 << 16;
const MAX_TENSORS: usize = 1 << 19;
const MAX_DIMENSIONS: u32 = 4;
const DEFAULT_ALIGNMENT: usize = 32;
const MAX_ALIGNMENT: usize = 1 << 20;

/// All that stands before the weights.
#[derive(Debug)]
pub(in crate::weights) struct Header {
    pub(in crate::weights) metadata: Metadata,
    pub(in crate::weights) tensors: BTreeMap<String, Entry>,
}

/// Reads a header, and checks all of it against the size of the file; the entries are those of file number `file`.
pub(in crate::weights) fn read_header(path: &Path, file: usize, data: &Bytes) -> Result<Header> {
    let cursor = &mut Cursor::new(path, data);
    check_version(path, cursor)?;
    // A tensor's least: an empty name, no dimension, type and offset. An entry's: an empty key, type and a byte.
    let tensor_count = cursor.count("tensors", 8 + 4 + 4 + 8)?;
    let entry_count = cursor.count("metadata entries", 8 + 4 + 1)?;
    if tensor_count > MAX_TENSORS || entry_count > MAX_ENTRIES {
        return Err(cursor.damaged(format!(
            "it claims {tensor_count} tensors and {entry_count} metadata entries; {MAX_TENSORS} and {MAX_ENTRIES} are \
             the most"
        )));
    }
    let metadata = read_metadata(cursor, entry_count)?;
    let alignment = alignment(cursor, &metadata)?;
    let mut tensors = Vec::with_capacity(tensor_count);
    for _ in 0..tensor_count {
        tensors.push(read_tensor(cursor, alignment)?);
    }
    let start = cursor.position().next_multiple_of(alignment);
    let tensors = place(path, file, data, start, tensors)?;
    Ok(Header { metadata, tensors })
}

/// `general.architecture` from the first bytes of a file; writers put it first. `None` if it is not among them, or they are
/// no GGUF header.
pub(crate) fn architecture_of_start(start: &[u8]) -> Option<String> {
    const KEY: &str = "general.architecture";
    let path = Path::new("");
    let data = Bytes::from(start.to_vec());
    let cursor = &mut Cursor::new(path, &data);
    check_version(path, cursor).ok()?;
    let _tensors = cursor.u64().ok()?;
    let entries = cursor.u64().ok()?;
    for _ in 0..entries {
        let key = cursor.name("metadata key", MAX_KEY_BYTES).ok()?;
        let value = cursor.value().ok()?;
        if key == KEY {
            return value.as_str().map(str::to_owned);
        }
    }
    None
}

fn check_version(path: &Path, cursor: &mut Cursor<'_>) -> Result<()> {
    if cursor.array()? != *b"GGUF" {
        return Err(CheckpointError::damaged(
            path,
            "it does not begin with `GGUF`, so it is no GGUF file",
        ));
    }
    let reason = match cursor.u32()? {
        2 | 3 => return Ok(()),
        1 => "GGUF version 1 has long been replaced; convert the model again".into(),
        version if (1..=3).contains(&version.swap_bytes()) => {
            "it is a big-endian GGUF file; only little-endian ones are read".into()
        }
        version => format!("GGUF version {version}; versions 2 and 3 are read"),
    };
    Err(CheckpointError::Unsupported {
        path: path.into(),
        reason,
    })
}

fn read_metadata(cursor: &mut Cursor<'_>, count: usize) -> Result<Metadata> {
    let mut metadata = Metadata::new();
    for _ in 0..count {
        let key = cursor.name("metadata key", MAX_KEY_BYTES)?;
        if key.is_empty() {
            return Err(cursor.damaged("a metadata key is empty"));
        }
        let value = cursor.value()?;
        if metadata.insert(key.clone(), value).is_some() {
            return Err(cursor.damaged(format!("the metadata key {key:?} is there twice")));
        }
    }
    Ok(metadata)
}

fn alignment(cursor: &Cursor<'_>, metadata: &Metadata) -> Result<usize> {
    let Some(value) = metadata.get("general.alignment") else {
        return Ok(DEFAULT_ALIGNMENT);
    };
    let alignment = match value {
        MetadataValue::Integer(value) => usize::try_from(*value).ok(),
        _ => None,
    };
    alignment
        .filter(|alignment| alignment.is_power_of_two() && *alignment <= MAX_ALIGNMENT)
        .ok_or_else(|| cursor.damaged("general.alignment is no power of two up to 2^20"))
}

/// A tensor, its offset still counted from the start of the data.
struct Declared {
    name: String,
    shape: Vec<usize>,
    dtype: StoredDtype,
    offset: u64,
    bytes: usize,
}

fn read_tensor(cursor: &mut Cursor<'_>, alignment: usize) -> Result<Declared> {
    let name = cursor.name("tensor name", MAX_NAME_BYTES)?;
    let dimensions = cursor.u32()?;
    if dimensions == 0 || dimensions > MAX_DIMENSIONS {
        return Err(cursor.damaged(format!("tensor {name:?} has {dimensions} dimensions")));
    }
    let mut shape = Vec::new();
    for _ in 0..dimensions {
        let size = cursor.u64()?;
        match usize::try_from(size) {
            Ok(size) if size > 0 => shape.push(size),
            _ => return Err(cursor.damaged(format!("tensor {name:?} has a dimension of {size}"))),
        }
    }
    // The file has the fastest dimension first.
    shape.reverse();
    let dtype = types::stored_dtype(cursor.u32()?);
    let offset = cursor.u64()?;
    if !offset.is_multiple_of(alignment as u64) {
        return Err(cursor.damaged(format!(
            "tensor {name:?} begins at {offset}, which {alignment} does not divide"
        )));
    }
    let (cols, outer) = shape
        .split_last()
        .map_or((1, &[][..]), |(cols, outer)| (*cols, outer));
    let rows = outer
        .iter()
        .try_fold(1_usize, |rows, size| rows.checked_mul(*size));
    let Some(bytes) = rows.and_then(|rows| types::bytes(&dtype, rows, cols)) else {
        return Err(cursor.damaged(format!(
            "tensor {name:?} of shape {shape:?} cannot be stored as {dtype}"
        )));
    };
    Ok(Declared {
        name,
        shape,
        dtype,
        offset,
        bytes,
    })
}

/// Finds each tensor's bytes in the file, which no two may share.
fn place(
    path: &Path,
    file: usize,
    data: &Bytes,
    start: usize,
    mut tensors: Vec<Declared>,
) -> Result<BTreeMap<String, Entry>> {
    tensors.sort_by_key(|tensor| (tensor.offset, tensor.bytes));
    let mut entries = BTreeMap::new();
    let mut end_before = start as u64;
    for tensor in tensors {
        let begin = (start as u64).checked_add(tensor.offset);
        let end = begin.and_then(|begin| begin.checked_add(tensor.bytes as u64));
        let (Some(begin), Some(end)) = (begin, end) else {
            return Err(CheckpointError::damaged(
                path,
                format!("tensor {:?} ends beyond 64 bits", tensor.name),
            ));
        };
        let actual = data.len() as u64;
        if end > actual {
            return Err(CheckpointError::Truncated {
                path: path.into(),
                expected: end,
                actual,
            });
        }
        if begin < end_before {
            return Err(CheckpointError::damaged(
                path,
                format!("tensor {:?} overlaps another", tensor.name),
            ));
        }
        end_before = end;
        // Both are within the file, which is in memory, so they fit.
        let entry = Entry {
            file,
            shape: tensor.shape,
            dtype: tensor.dtype,
            range: begin as usize..end as usize,
        };
        if entries.insert(tensor.name.clone(), entry).is_some() {
            return Err(CheckpointError::damaged(
                path,
                format!("tensor {:?} is there twice", tensor.name),
            ));
        }
    }
    Ok(entries)
}
