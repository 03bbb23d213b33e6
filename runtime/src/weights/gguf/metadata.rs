//! Values of GGUF metadata.

use crate::weights::Bytes;

/// A value of a GGUF file's metadata.
#[derive(Clone, Debug)]
pub enum MetadataValue {
    /// Any of the eight integer types.
    Integer(i128),
    /// `f32` or `f64`.
    Float(f64),
    /// A bool.
    Bool(bool),
    /// A string; bytes that are not UTF-8 are replaced.
    String(String),
    /// An array.
    Array(MetadataArray),
}

/// An array in a GGUF file's metadata, decoded when asked for: a vocabulary has hundreds of thousands of entries.
#[derive(Clone, Debug)]
pub struct MetadataArray {
    pub(super) kind: ValueKind,
    pub(super) len: usize,
    /// The elements as in the file; the reader has checked that there are `len` of them.
    pub(super) data: Bytes,
}

/// The type of a metadata value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ValueKind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    String,
    Array,
    U64,
    I64,
    F64,
}

impl ValueKind {
    /// The type with this number in the file.
    pub(super) fn from_id(id: u32) -> Option<Self> {
        const IDS: [ValueKind; 13] = [
            ValueKind::U8,
            ValueKind::I8,
            ValueKind::U16,
            ValueKind::I16,
            ValueKind::U32,
            ValueKind::I32,
            ValueKind::F32,
            ValueKind::Bool,
            ValueKind::String,
            ValueKind::Array,
            ValueKind::U64,
            ValueKind::I64,
            ValueKind::F64,
        ];
        IDS.get(usize::try_from(id).ok()?).copied()
    }

    /// Bytes of a value; `None` for strings and arrays.
    pub(super) fn width(self) -> Option<usize> {
        match self {
            Self::U8 | Self::I8 | Self::Bool => Some(1),
            Self::U16 | Self::I16 => Some(2),
            Self::U32 | Self::I32 | Self::F32 => Some(4),
            Self::U64 | Self::I64 | Self::F64 => Some(8),
            Self::String | Self::Array => None,
        }
    }

    /// A scalar from exactly its bytes; `None` for strings, arrays and another number of bytes.
    pub(super) fn scalar(self, bytes: &[u8]) -> Option<MetadataValue> {
        fn int<const N: usize, T: Into<i128>>(
            bytes: &[u8],
            from: fn([u8; N]) -> T,
        ) -> Option<MetadataValue> {
            Some(MetadataValue::Integer(from(bytes.try_into().ok()?).into()))
        }
        match self {
            Self::U8 => int(bytes, u8::from_le_bytes),
            Self::I8 => int(bytes, i8::from_le_bytes),
            Self::U16 => int(bytes, u16::from_le_bytes),
            Self::I16 => int(bytes, i16::from_le_bytes),
            Self::U32 => int(bytes, u32::from_le_bytes),
            Self::I32 => int(bytes, i32::from_le_bytes),
            Self::U64 => int(bytes, u64::from_le_bytes),
            Self::I64 => int(bytes, i64::from_le_bytes),
            Self::F32 => Some(MetadataValue::Float(
                f32::from_le_bytes(bytes.try_into().ok()?).into(),
            )),
            Self::F64 => Some(MetadataValue::Float(f64::from_le_bytes(
                bytes.try_into().ok()?,
            ))),
            Self::Bool => Some(MetadataValue::Bool(*bytes.first()? != 0)),
            Self::String | Self::Array => None,
        }
    }
}

impl MetadataArray {
    /// How many elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements; none for an array of arrays, which nothing in a checkpoint needs.
    pub fn iter(&self) -> impl Iterator<Item = MetadataValue> {
        let mut rest: &[u8] = &self.data;
        std::iter::from_fn(move || {
            let prefix = if self.kind == ValueKind::String { 8 } else { 0 };
            let width = match self.kind.width() {
                Some(width) => width,
                None if self.kind == ValueKind::String => string_len(rest)?,
                None => return None,
            };
            let element = rest.get(prefix..)?.get(..width)?;
            rest = &rest[prefix + width..];
            match self.kind {
                ValueKind::String => Some(MetadataValue::String(
                    String::from_utf8_lossy(element).into_owned(),
                )),
                kind => kind.scalar(element),
            }
        })
    }

    /// The elements if all are numbers; integers beyond 2^53 are rounded.
    #[must_use]
    pub fn numbers(&self) -> Option<Vec<f64>> {
        self.all(MetadataValue::as_f64)
    }

    /// The elements if all are bools.
    #[must_use]
    pub fn bools(&self) -> Option<Vec<bool>> {
        self.all(|value| match value {
            MetadataValue::Bool(value) => Some(*value),
            _ => None,
        })
    }

    /// The elements if all are strings.
    #[must_use]
    pub fn strings(&self) -> Option<Vec<String>> {
        self.all(|value| value.as_str().map(str::to_owned))
    }

    fn all<T>(&self, convert: impl Fn(&MetadataValue) -> Option<T>) -> Option<Vec<T>> {
        if self.kind == ValueKind::Array {
            return None;
        }
        self.iter().map(|value| convert(&value)).collect()
    }
}

impl MetadataValue {
    /// A number of any type; integers beyond 2^53 are rounded.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Integer(value) => Some(*value as f64),
            Self::Float(value) => Some(*value),
            _ => None,
        }
    }

    /// A string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(value) => Some(value),
            _ => None,
        }
    }
}

/// The length that stands before a string, if it fits an address space.
pub(super) fn string_len(bytes: &[u8]) -> Option<usize> {
    let (len, _) = bytes.split_first_chunk::<8>()?;
    usize::try_from(u64::from_le_bytes(*len)).ok()
}
