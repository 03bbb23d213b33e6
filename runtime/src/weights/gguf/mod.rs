//! GGUF files.

mod metadata;

pub use metadata::{MetadataArray, MetadataValue};
