//! What may be wrong with a checkpoint.

use std::path::PathBuf;

/// A checkpoint that cannot be used, and why.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The operating system refused to open or read a file.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A matrix was asked for that its bytes, its type or its shape cannot give.
    #[error("{0}")]
    Matrix(String),
}
