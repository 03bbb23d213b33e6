//! The header of a safetensors file.
//!
//! The crate `safetensors` knows the rules: contiguous offsets, sizes that follow from shape and type, a file that ends
//! with the last tensor. This adds what it leaves open: duplicate names, caps, and errors that give numbers.

use std::fmt;
use std::path::Path;

use ::safetensors::tensor::{Metadata, TensorInfo};
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::tensor::{Entry, StoredDtype};
use super::{Bytes, CheckpointError};

/// The longest header, as the format has it.
const MAX_HEADER_BYTES: u64 = 100_000_000;
/// The most tensors of a file. The largest checkpoints have some hundred thousand, in many files.
const MAX_TENSORS: usize = 1 << 19;

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
    let Header(mut tensors) = serde_json::from_str(header)
        .map_err(|error| damaged(format!("its header is no table of tensors: {error}")))?;
    tensors.sort_by_key(|(_, info)| info.data_offsets);

    let start = 8 + header_len as usize;
    let entries = tensors
        .iter()
        .map(|(name, info)| (name.clone(), entry(file, start, info)))
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

fn entry(file: usize, start: usize, info: &TensorInfo) -> Entry {
    // Saturating, because nothing is checked yet; once it is, nothing has saturated.
    let (from, to) = info.data_offsets;
    Entry {
        file,
        shape: info.shape.clone(),
        dtype: StoredDtype::from_safetensors(info.dtype),
        range: start.saturating_add(from)..start.saturating_add(to),
    }
}

/// The header's tensors in the order of the file, each name once.
struct Header(Vec<(String, TensorInfo)>);

impl<'de> serde::Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
        let mut tensors = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            if tensors.len() == MAX_TENSORS {
                return Err(de::Error::custom(format!(
                    "more than {MAX_TENSORS} tensors"
                )));
            }
            tensors.push((name, map.next_value()?));
        }
        let mut names: Vec<&str> = tensors.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(de::Error::custom(format!(
                "tensor {:?} is listed twice",
                twice[0]
            )));
        }
        Ok(Header(tensors))
    }
}
