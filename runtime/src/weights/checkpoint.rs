//! A model on disk: its settings, its tensors, and how to read them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::tensor::{Entry, f64_to_f32};
use super::{
    Bytes, CheckpointError, ModelFolder, StoredDtype, StoredTensor, TensorInfo, gguf, safetensors,
    shards,
};
use crate::Result;
use crate::config::{ConfigFile, Format, MAX_CONFIG_BYTES};

/// An open checkpoint: every header has been read and checked against its file, no weight has been touched.
#[derive(Debug)]
pub struct Checkpoint {
    /// `None`: a model inside the program.
    folder: Option<ModelFolder>,
    config: ConfigFile,
    files: Vec<MappedFile>,
    tensors: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct MappedFile {
    path: PathBuf,
    /// Kept to see whether the file has been cut short since; `None` for bytes inside the program.
    file: Option<File>,
    data: Bytes,
}

impl Checkpoint {
    /// Opens a folder with config.json and safetensors files, a folder with one GGUF file, or a file of either kind.
    ///
    /// # Errors
    /// If it is no model, a file of it is missing or damaged, or one leads out of the folder.
    pub fn open(path: &Path) -> Result<Self> {
        let extension = path.extension().map(std::ffi::OsStr::to_ascii_lowercase);
        let is_file = path.is_file();
        match extension.as_ref().and_then(|extension| extension.to_str()) {
            Some("gguf") if is_file => Self::open_gguf(path),
            Some("safetensors") if is_file => Self::open_folder(parent(path)),
            _ if is_file => {
                let reason = "it is neither a folder nor a .gguf or .safetensors file".into();
                Err(CheckpointError::NoModel {
                    path: path.into(),
                    reason,
                }
                .into())
            }
            _ => Self::open_folder(path),
        }
    }

    fn open_folder(path: &Path) -> Result<Self> {
        let folder = ModelFolder::open(path)?;
        let names = folder.names()?;
        let with_extension = |extension: &str| {
            names
                .iter()
                .filter(|name| name.to_ascii_lowercase().ends_with(extension))
                .collect::<Vec<_>>()
        };
        let gguf_files = with_extension(".gguf");
        if gguf_files.is_empty() || !with_extension(".safetensors").is_empty() {
            return Self::open_safetensors(folder);
        }
        match gguf_files[..] {
            [only] => match folder.find(only)? {
                Some(path) => Self::read_gguf(folder, &path),
                None => Err(CheckpointError::NoTensor(only.clone()).into()),
            },
            _ => {
                let reason = format!(
                    "it has {} .gguf files; give the path of one",
                    gguf_files.len()
                );
                Err(CheckpointError::NoModel {
                    path: path.into(),
                    reason,
                }
                .into())
            }
        }
    }

    fn open_gguf(path: &Path) -> Result<Self> {
        Self::read_gguf(ModelFolder::open(parent(path))?, path)
    }

    fn read_gguf(folder: ModelFolder, path: &Path) -> Result<Self> {
        let file = MappedFile::open(path.to_owned())?;
        let gguf::Header { metadata, tensors } = gguf::read_header(path, &file.data)?;
        let config = ConfigFile::from_metadata(file_name(path), metadata)?;
        Ok(Self {
            folder: Some(folder),
            config,
            files: vec![file],
            tensors,
        })
    }

    /// Opens a GGUF file that is part of the program; `name` stands for its path in messages.
    ///
    /// # Errors
    /// If it is damaged.
    pub fn from_gguf_bytes(name: &str, bytes: &'static [u8]) -> Result<Self> {
        let file = MappedFile {
            path: name.into(),
            file: None,
            data: bytes.into(),
        };
        let gguf::Header { metadata, tensors } = gguf::read_header(&file.path, &file.data)?;
        Ok(Self {
            folder: None,
            config: ConfigFile::from_metadata(name, metadata)?,
            files: vec![file],
            tensors,
        })
    }

    fn open_safetensors(folder: ModelFolder) -> Result<Self> {
        const NAME: &str = "config.json";
        let shards = shards::find(&folder)?;
        let Some(text) = folder.read_side_file(NAME, MAX_CONFIG_BYTES)? else {
            let reason = format!("it has weights, but no {NAME}");
            return Err(CheckpointError::NoModel {
                path: folder.path().into(),
                reason,
            }
            .into());
        };
        let config = ConfigFile::from_json(NAME, &text)?;
        let mut files = Vec::new();
        for name in &shards.files {
            let path = folder
                .find(name)?
                .ok_or_else(|| missing_file(&folder, name))?;
            files.push(MappedFile::open(path)?);
        }
        let tensors = merge(&folder, &shards, &files)?;
        Ok(Self {
            folder: Some(folder),
            config,
            files,
            tensors,
        })
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &ConfigFile {
        &self.config
    }

    /// The format.
    #[must_use]
    pub fn format(&self) -> Format {
        self.config.format()
    }

    /// The folder, for the files beside the weights; `None` for a model inside the program.
    #[must_use]
    pub fn folder(&self) -> Option<&ModelFolder> {
        self.folder.as_ref()
    }

    /// The files that hold the weights.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| file.path.as_path())
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Bytes of all tensors together.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.tensors
            .values()
            .map(|entry| entry.range.len() as u64)
            .sum()
    }

    /// What the header says of a tensor.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<TensorInfo> {
        let entry = self.tensors.get(name)?;
        Some(TensorInfo {
            name: name.to_owned(),
            shape: entry.shape.clone(),
            dtype: entry.dtype.clone(),
            bytes: entry.range.len(),
        })
    }

    /// A tensor's bytes; they stay in the file until somebody looks at them.
    ///
    /// # Errors
    /// If there is no such tensor, it has no elements, its type is not known, or its file has been cut short.
    pub fn read(&self, name: &str) -> Result<StoredTensor, CheckpointError> {
        let entry = self
            .tensors
            .get(name)
            .ok_or_else(|| CheckpointError::NoTensor(name.into()))?;
        let file = self
            .files
            .get(entry.file)
            .ok_or_else(|| CheckpointError::NoTensor(name.into()))?;
        if let StoredDtype::Unknown(dtype) = &entry.dtype {
            let (path, dtype) = (file.path.clone(), dtype.clone());
            return Err(CheckpointError::UnsupportedDtype {
                path,
                name: name.into(),
                dtype,
            });
        }
        if entry.range.is_empty() {
            return Err(CheckpointError::damaged(
                &file.path,
                format!("tensor `{name}` has no elements"),
            ));
        }
        file.check_size()?;
        let outside =
            || CheckpointError::damaged(&file.path, format!("tensor `{name}` lies outside of it"));
        let data = file.data.slice(entry.range.clone()).ok_or_else(outside)?;
        let (dtype, data) = match entry.dtype {
            StoredDtype::F64 => (
                StoredDtype::Weight(super::WeightDtype::F32),
                f64_to_f32(&data).into(),
            ),
            _ => (entry.dtype.clone(), data),
        };
        Ok(StoredTensor {
            shape: entry.shape.clone(),
            dtype,
            data,
        })
    }
}

impl MappedFile {
    fn open(path: PathBuf) -> Result<Self, CheckpointError> {
        let io = |source| CheckpointError::io(&path, source);
        let file = File::open(&path).map_err(io)?;
        let metadata = file.metadata().map_err(io)?;
        if metadata.len() == 0 {
            return Err(CheckpointError::Truncated {
                path,
                expected: 8,
                actual: 0,
            });
        }
        let data = Bytes::map(&file).map_err(io)?;
        Ok(Self {
            path,
            file: Some(file),
            data,
        })
    }

    /// A map of a file that has become shorter ends the process when touched: better to ask first.
    fn check_size(&self) -> Result<(), CheckpointError> {
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

/// The tensors of all shards, each of which must be in one file only, and in that of the index.
fn merge(
    folder: &ModelFolder,
    shards: &shards::Shards,
    files: &[MappedFile],
) -> Result<BTreeMap<String, Entry>, CheckpointError> {
    let mut tensors: BTreeMap<String, Entry> = BTreeMap::new();
    let mut problems = Vec::new();
    for (number, (name, file)) in shards.files.iter().zip(files).enumerate() {
        for (tensor, entry) in safetensors::read_header(&file.path, number, &file.data)? {
            if let Some(indexed) = shards.index.get(&tensor).filter(|indexed| *indexed != name) {
                problems.push(format!(
                    "tensor `{tensor}` is in {name}, though the index says {indexed}"
                ));
            }
            match tensors.entry(tensor) {
                Slot::Vacant(slot) => {
                    slot.insert(entry);
                }
                Slot::Occupied(slot) => {
                    let first = &shards.files[slot.get().file];
                    problems.push(format!(
                        "tensor `{}` is in {first} and in {name}",
                        slot.key()
                    ));
                }
            }
        }
    }
    for (tensor, file) in &shards.index {
        if !tensors.contains_key(tensor) {
            problems.push(format!(
                "tensor `{tensor}` is in no shard, though the index says {file}"
            ));
        }
    }
    if problems.is_empty() {
        return Ok(tensors);
    }
    const SHOWN: usize = 20;
    if problems.len() > SHOWN {
        let more = problems.len() - SHOWN;
        problems.truncate(SHOWN);
        problems.push(format!("and {more} more"));
    }
    Err(CheckpointError::Shards {
        folder: folder.path().into(),
        problems,
    })
}

fn missing_file(folder: &ModelFolder, name: &str) -> CheckpointError {
    let problems = vec![format!("{name} is missing")];
    CheckpointError::Shards {
        folder: folder.path().into(),
        problems,
    }
}

/// The folder of a file; that of a bare name is the current one.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}
