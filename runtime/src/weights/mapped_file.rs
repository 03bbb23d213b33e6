//! A file of a checkpoint in memory.

use std::fs::File;
use std::path::PathBuf;

use super::{Bytes, CheckpointError};

#[derive(Debug)]
pub(super) struct MappedFile {
    pub(super) path: PathBuf,
    pub(super) data: Bytes,
    /// Kept to see whether the file has been cut short since; `None` for bytes inside the program.
    file: Option<File>,
}

impl MappedFile {
    pub(super) fn open(path: PathBuf) -> Result<Self, CheckpointError> {
        let io = |source| CheckpointError::io(&path, source);
        let file = File::open(&path).map_err(io)?;
        // Nothing cannot be mapped.
        if file.metadata().map_err(io)?.len() == 0 {
            return Err(CheckpointError::Truncated {
                path,
                expected: 8,
                actual: 0,
            });
        }
        let data = Bytes::map(&file).map_err(io)?;
        Ok(Self {
            path,
            data,
            file: Some(file),
        })
    }

    pub(super) fn inside_program(name: &str, bytes: &'static [u8]) -> Self {
        Self {
            path: name.into(),
            data: bytes.into(),
            file: None,
        }
    }

    /// A map of a file that has become shorter ends the process when touched: better to ask first.
    pub(super) fn check_size(&self) -> Result<(), CheckpointError> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        let metadata = file
            .metadata()
            .map_err(|source| CheckpointError::io(&self.path, source))?;
        let (expected, actual) = (self.data.len() as u64, metadata.len());
        if actual < expected {
            return Err(CheckpointError::Truncated {
                path: self.path.clone(),
                expected,
                actual,
            });
        }
        Ok(())
    }
}
