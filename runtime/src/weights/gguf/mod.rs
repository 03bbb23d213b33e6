//! GGUF files, versions 2 and 3, little endian.
//!
//! ```text
//! "GGUF"  version u32  tensors u64  entries u64
//! entries of: key string, type u32, value            string: length u64, bytes
//! tensors of: name string, dimensions u32, each u64, type u32, offset u64
//! padding to the alignment, then the data that offsets count from
//! ```

mod cursor;
mod header;
mod metadata;
mod parts;
mod types;

pub(crate) use header::architecture_of_start;
pub(super) use header::{Header, read_header};
pub use metadata::{MetadataArray, MetadataValue};
pub(super) use parts::{Part, is_later_part};
