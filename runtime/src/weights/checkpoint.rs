//! A model on disk: its settings, its tensors, and how to read them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::mapped_file::MappedFile;
use super::tensor::{Entry, f64_to_f32};
use super::{
    CheckpointError, ModelFolder, StoredDtype, StoredTensor, TensorInfo, gguf, safetensors, shards,
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
    watch: Watch,
}

/// Who is told of the bytes that are read.
#[derive(Default)]
struct Watch(Option<Box<dyn Fn(u64) + Send + Sync>>);

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Watch" } else { "-" })
    }
}

impl Checkpoint {
    /// Tells `progress` of each tensor's bytes as it begins to be read, all of which together are at most
    /// [`total_bytes`](Self::total_bytes).
    #[must_use]
    pub fn watched(self, progress: impl Fn(u64) + Send + Sync + 'static) -> Self {
        Self {
            watch: Watch(Some(Box::new(progress))),
            ..self
        }
    }

    /// Opens a folder with config.json and safetensors files, a folder with one GGUF model, or a file of either kind. Of a
    /// GGUF model in several files, the first.
    ///
    /// # Errors
    /// If it is no model, a file of it is missing or damaged, or one leads out of the folder.
    pub fn open(path: &Path) -> Result<Self> {
        let extension = path.extension().map(std::ffi::OsStr::to_ascii_lowercase);
        let is_file = path.is_file();
        match extension.as_ref().and_then(|extension| extension.to_str()) {
            Some("gguf") if is_file => Self::open_gguf(
                ModelFolder::open(parent(path))?,
                &file_name(path),
                path.to_owned(),
            ),
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
        let ends_with = |name: &str, extension| name.to_ascii_lowercase().ends_with(extension);
        let gguf_files: Vec<_> = names
            .iter()
            .filter(|name| ends_with(name, ".gguf") && !gguf::is_later_part(name))
            .collect();
        if gguf_files.is_empty() || names.iter().any(|name| ends_with(name, ".safetensors")) {
            return Self::open_safetensors(folder);
        }
        if let [only] = gguf_files[..] {
            let path = folder
                .find(only)?
                .ok_or_else(|| shards::missing(&folder, only))?;
            return Self::open_gguf(folder, only, path);
        }
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

    /// Opens a GGUF file called `name` in a folder, and the other parts of its model.
    fn open_gguf(folder: ModelFolder, name: &str, path: PathBuf) -> Result<Self> {
        let first = MappedFile::open(path)?;
        let gguf::Header { metadata, tensors } = gguf::read_header(&first.path, 0, &first.data)?;
        let part = gguf::Part::of(&first.path, &metadata)?;
        let config = ConfigFile::from_metadata(name, metadata)?;
        let mut names = vec![name.to_owned()];
        let mut headers = vec![tensors.into_iter().collect()];
        let mut files = vec![first];
        for (name, part) in part.others(&files[0].path, name)? {
            let path = folder
                .find(&name)?
                .ok_or_else(|| shards::missing(&folder, &name))?;
            let file = MappedFile::open(path)?;
            let gguf::Header { metadata, tensors } =
                gguf::read_header(&file.path, files.len(), &file.data)?;
            if gguf::Part::of(&file.path, &metadata)? != part {
                let reason = "its metadata says that it is another part than its name".to_owned();
                return Err(CheckpointError::damaged(&file.path, reason).into());
            }
            names.push(name);
            headers.push(tensors.into_iter().collect());
            files.push(file);
        }
        let tensors = shards::merge(&folder, &names, &BTreeMap::new(), headers)?;
        Ok(Self {
            folder: Some(folder),
            config,
            files,
            tensors,
            watch: Watch::default(),
        })
    }

    /// Opens a GGUF file that is part of the program; `name` stands for its path in messages.
    ///
    /// # Errors
    /// If it is damaged.
    pub fn from_gguf_bytes(name: &str, bytes: &'static [u8]) -> Result<Self> {
        let file = MappedFile::inside_program(name, bytes);
        let gguf::Header { metadata, tensors } = gguf::read_header(&file.path, 0, &file.data)?;
        let config = ConfigFile::from_metadata(name, metadata)?;
        Ok(Self {
            folder: None,
            config,
            files: vec![file],
            tensors,
            watch: Watch::default(),
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
        let (mut files, mut headers) = (Vec::new(), Vec::new());
        for name in &shards.files {
            let path = folder
                .find(name)?
                .ok_or_else(|| shards::missing(&folder, name))?;
            let file = MappedFile::open(path)?;
            headers.push(safetensors::read_header(
                &file.path,
                files.len(),
                &file.data,
            )?);
            files.push(file);
        }
        let tensors = shards::merge(&folder, &shards.files, &shards.index, headers)?;
        Ok(Self {
            folder: Some(folder),
            config,
            files,
            tensors,
            watch: Watch::default(),
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
        if let Some(progress) = &self.watch.0 {
            progress(entry.range.len() as u64);
        }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use crate::weights::testing::{checkpoint, floats};

    #[test]
    fn all_bytes_that_are_read_are_told() {
        let tensors = [
            floats("a", &[3, 4], &[1.0; 12]),
            floats("b", &[5], &[2.0; 5]),
        ];
        let (_folder, checkpoint) = checkpoint("{}", &tensors);
        let told = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&told);
        let checkpoint = checkpoint.watched(move |bytes| {
            counter.fetch_add(bytes, Ordering::Relaxed);
        });
        checkpoint.read("b").unwrap();
        assert_eq!(told.load(Ordering::Relaxed), 20);
        checkpoint.read("absent").unwrap_err();
        checkpoint.read("a").unwrap();
        assert_eq!(told.load(Ordering::Relaxed), checkpoint.total_bytes());
    }
}
