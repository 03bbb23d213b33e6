//! Checkpoints on disk: what tensors they hold, how their numbers are stored, and how to read them.
//!
//! All files are untrusted: every declared size is checked against the file before a byte is used.

mod bytes;
mod dequantize;
mod dtype;
mod error;
mod matrix;

pub use bytes::Bytes;
pub use dtype::WeightDtype;
pub use error::CheckpointError;
pub use matrix::Matrix;
mod checkpoint;
mod loader;
pub use checkpoint::Checkpoint;
pub use loader::{KvLayer, LoadError, Plan, PlannedTensor, Weights};
