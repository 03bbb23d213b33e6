//! Checkpoints on disk: what tensors they hold, how their numbers are stored, and how to read them.
//!
//! All files are untrusted: every declared size is checked against the file before a byte is used.

mod bytes;
mod checkpoint;
mod dequantize;
mod dtype;
mod error;
mod folder;
mod gguf;
#[cfg(feature = "cuda")]
mod lazy;
mod loader;
mod mapped_file;
mod matrix;
mod mxfp4;
mod names;
mod plan;
pub(crate) mod random;
mod recipe;
mod safetensors;
mod shards;
mod spellings;
mod tensor;
mod tensor_table;
#[cfg(test)]
pub(crate) mod testing;

pub use bytes::Bytes;
pub use checkpoint::Checkpoint;
pub use dtype::WeightDtype;
pub use error::CheckpointError;
pub use folder::ModelFolder;
pub(crate) use gguf::architecture_of_start as gguf_architecture;
pub use gguf::{MetadataArray, MetadataValue};
#[cfg(feature = "cuda")]
pub(crate) use lazy::{Content, Layout, Recipe, Stream};
pub(crate) use loader::{Mode, judge};
pub use loader::{Source, Weights};
pub use matrix::Matrix;
pub(crate) use mxfp4::joined as joined_mxfp4;
pub use plan::{KvLayer, LoadError, Plan, PlannedTensor, Problem};
pub(crate) use recipe::dtypes as recipe_dtypes;
pub use recipe::{Quant, Random};
pub(crate) use spellings::by_config as unsupported_quantization;
pub use tensor::{StoredDtype, StoredTensor, TensorInfo};
