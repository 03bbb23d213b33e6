//! What may be wrong with a checkpoint.

use std::path::{Path, PathBuf};

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
    /// A path that is no model.
    #[error("{} is no model: {reason}", path.display())]
    NoModel {
        /// What was to be opened.
        path: PathBuf,
        /// What it should have been.
        reason: String,
    },
    /// A file is shorter than it says itself, or than it was.
    #[error("{} is cut short: it needs {expected} bytes and has {actual}; download it again", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Bytes that it declares.
        expected: u64,
        /// Bytes that it has.
        actual: u64,
    },
    /// A file breaks the rules of its format.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which rule, and where.
        reason: String,
    },
    /// A file follows rules that the engine does not know.
    #[error("{} is not supported: {reason}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What it would take.
        reason: String,
    },
    /// A file is larger than any real one.
    #[error("{} has {actual} bytes, and at most {limit} are read", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most that is read.
        limit: u64,
        /// Its size.
        actual: u64,
    },
    /// The name of a file leads out of the model's folder, or is no ordinary file.
    #[error("{}: the file name {name:?} is refused: {reason}", folder.display())]
    Unsafe {
        /// The model's folder.
        folder: PathBuf,
        /// The name as it was given.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The shards of a checkpoint do not fit together.
    #[error("the shards in {} do not fit together:\n  {}", folder.display(), problems.join("\n  "))]
    Shards {
        /// The model's folder.
        folder: PathBuf,
        /// All that was found, one a line.
        problems: Vec<String>,
    },
    /// The checkpoint has no such tensor.
    #[error("the checkpoint has no tensor `{0}`")]
    NoTensor(String),
    /// A tensor's numbers are stored in a way that the engine does not read.
    #[error("tensor `{name}` of {} is stored as {dtype}, which the engine does not read", path.display())]
    UnsupportedDtype {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its storage type.
        dtype: String,
    },
    /// A matrix was asked for that its bytes, its type or its shape cannot give.
    #[error("{0}")]
    Matrix(String),
}

impl CheckpointError {
    pub(super) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io {
            path: path.into(),
            source,
        }
    }

    pub(super) fn damaged(path: &Path, reason: impl Into<String>) -> Self {
        Self::Damaged {
            path: path.into(),
            reason: reason.into(),
        }
    }
}
