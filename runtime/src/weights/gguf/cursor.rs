//! Reads a GGUF header from front to back. Nothing is allocated for what the file does not hold.

use std::path::Path;

use super::metadata::{MetadataArray, MetadataValue, ValueKind, string_len};
use crate::weights::{Bytes, CheckpointError};

type Result<T> = std::result::Result<T, CheckpointError>;

/// Arrays in arrays in arrays: no real file has more than one level.
const MAX_DEPTH: usize = 4;

/// A place in a file.
pub(super) struct Cursor<'a> {
    path: &'a Path,
    data: &'a Bytes,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(path: &'a Path, data: &'a Bytes) -> Self {
        Self { path, data, at: 0 }
    }

    /// Bytes read so far.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// An error at this place.
    pub(super) fn damaged(&self, reason: impl std::fmt::Display) -> CheckpointError {
        CheckpointError::damaged(self.path, format!("{reason} (at byte {})", self.at))
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        match self.data[self.at..].first_chunk() {
            Some(bytes) => {
                self.at += N;
                Ok(*bytes)
            }
            None => Err(self.cut_short(N)),
        }
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A number of things of at least `least` bytes each, all of which the rest of the file could hold.
    pub(super) fn count(&mut self, what: &str, least: usize) -> Result<usize> {
        let count = self.u64()?;
        let room = (self.data.len() - self.at) / least;
        usize::try_from(count)
            .ok()
            .filter(|count| *count <= room)
            .ok_or_else(|| {
                self.damaged(format!(
                    "it claims {count} {what}, and has room for {room} at most"
                ))
            })
    }

    /// A name: UTF-8, and no longer than `limit`.
    pub(super) fn name(&mut self, what: &str, limit: usize) -> Result<String> {
        let bytes = self.string_bytes()?;
        if bytes.len() > limit {
            return Err(self.damaged(format!(
                "a {what} has {} bytes, and at most {limit} are allowed",
                bytes.len()
            )));
        }
        match str::from_utf8(bytes) {
            Ok(name) => Ok(name.to_owned()),
            Err(_) => Err(self.damaged(format!("a {what} is not UTF-8"))),
        }
    }

    /// A value with its type before it.
    pub(super) fn value(&mut self) -> Result<MetadataValue> {
        let kind = self.kind()?;
        match kind {
            ValueKind::String => Ok(MetadataValue::String(
                String::from_utf8_lossy(self.string_bytes()?).into_owned(),
            )),
            ValueKind::Array => self.value_array().map(MetadataValue::Array),
            _ => {
                let width = kind.width().unwrap_or_default();
                let scalar = kind.scalar(self.take(width)?);
                scalar.ok_or_else(|| self.damaged("a number has the wrong width"))
            }
        }
    }

    fn value_array(&mut self) -> Result<MetadataArray> {
        let kind = self.kind()?;
        let len = self.elements(kind)?;
        let start = self.at;
        self.skip_elements(kind, len, 1)?;
        let outside = || self.damaged("an array lies outside of the file");
        let data = self.data.slice(start..self.at).ok_or_else(outside)?;
        Ok(MetadataArray { kind, len, data })
    }

    /// Walks over an array's elements, so that whoever decodes them later finds them sound.
    fn skip_elements(&mut self, kind: ValueKind, len: usize, depth: usize) -> Result<()> {
        match kind {
            ValueKind::String => (0..len).try_for_each(|_| self.string_bytes().map(drop)),
            ValueKind::Array if depth == MAX_DEPTH => {
                Err(self.damaged(format!("arrays are nested more than {MAX_DEPTH} deep")))
            }
            ValueKind::Array => (0..len).try_for_each(|_| {
                let kind = self.kind()?;
                let len = self.elements(kind)?;
                self.skip_elements(kind, len, depth + 1)
            }),
            // No overflow: `elements` has found room for all of them.
            _ => self
                .take(len.saturating_mul(kind.width().unwrap_or_default()))
                .map(drop),
        }
    }

    /// How many elements an array of this type has.
    fn elements(&mut self, kind: ValueKind) -> Result<usize> {
        let least = match kind {
            ValueKind::String => 8,
            ValueKind::Array => 12,
            _ => kind.width().unwrap_or(1),
        };
        self.count("array elements", least)
    }

    fn kind(&mut self) -> Result<ValueKind> {
        let id = self.u32()?;
        ValueKind::from_id(id)
            .ok_or_else(|| self.damaged(format!("a value has the unknown type {id}")))
    }

    fn string_bytes(&mut self) -> Result<&'a [u8]> {
        match string_len(&self.data[self.at..]) {
            Some(len) => {
                self.at += 8;
                self.take(len)
            }
            None => Err(self.cut_short(8)),
        }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        match self.data[self.at..].get(..len) {
            Some(bytes) => {
                self.at += len;
                Ok(bytes)
            }
            None => Err(self.cut_short(len)),
        }
    }

    fn cut_short(&self, len: usize) -> CheckpointError {
        CheckpointError::Truncated {
            path: self.path.into(),
            expected: (self.at as u64).saturating_add(len as u64),
            actual: self.data.len() as u64,
        }
    }
}
