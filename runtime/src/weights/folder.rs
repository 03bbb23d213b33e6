//! A model's folder: opens files by names that the folder's own files give, and nothing outside of it.

use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use super::CheckpointError;

type Result<T> = std::result::Result<T, CheckpointError>;

/// The folder of a model.
#[derive(Clone, Debug)]
pub struct ModelFolder {
    /// Without symbolic links.
    path: PathBuf,
    /// Where a Hugging Face cache keeps the contents that a snapshot's symbolic links lead to.
    blobs: Vec<PathBuf>,
}

impl ModelFolder {
    /// A folder that exists.
    ///
    /// # Errors
    /// If it does not, or is no folder.
    pub fn open(path: &Path) -> Result<Self> {
        let real = path
            .canonicalize()
            .map_err(|source| CheckpointError::io(path, source))?;
        if !real.is_dir() {
            return Err(CheckpointError::NoModel {
                path: path.into(),
                reason: "it is no folder".into(),
            });
        }
        let blobs = blobs_of_snapshot(&real);
        Ok(Self { path: real, blobs })
    }

    /// Where it is, without symbolic links.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of an ordinary file in the folder; `None` if there is none of that name.
    ///
    /// A symbolic link must stay in the folder, or lead from a snapshot of a Hugging Face cache to the contents of the
    /// same repository.
    ///
    /// # Errors
    /// If the name or what it leads to is outside, or is a folder, a device or a pipe.
    pub fn find(&self, name: &str) -> Result<Option<PathBuf>> {
        let refuse = |reason: &str| CheckpointError::Unsafe {
            folder: self.path.clone(),
            name: name.into(),
            reason: reason.into(),
        };
        if name.is_empty() || name.contains(['\0', '\\', ':']) {
            return Err(refuse("it holds characters that no model file's name has"));
        }
        if !Path::new(name)
            .components()
            .all(|part| matches!(part, Component::Normal(_)))
        {
            return Err(refuse("it must lead to a file in the model's folder"));
        }
        let path = self.path.join(name);
        let real = match path.canonicalize() {
            Ok(real) => real,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(CheckpointError::io(&path, source)),
        };
        let inside = |folder: &PathBuf| real.starts_with(folder);
        if !inside(&self.path) && !self.blobs.iter().any(inside) {
            return Err(refuse(
                "it is a symbolic link that leads out of the model's folder",
            ));
        }
        // Asked before opening: opening a pipe would wait for its writer.
        if !real.is_file() {
            return Err(refuse("it is no ordinary file"));
        }
        Ok(Some(real))
    }

    /// The text of a small file beside the weights (`tokenizer.json`, `chat_template.jinja`); `None` if there is none.
    ///
    /// # Errors
    /// If it has more than `limit` bytes, is not UTF-8, or leads out of the folder.
    pub fn read_side_file(&self, name: &str, limit: u64) -> Result<Option<String>> {
        let Some(path) = self.find(name)? else {
            return Ok(None);
        };
        let io = |source| CheckpointError::io(&path, source);
        let file = File::open(&path).map_err(io)?;
        let size = file.metadata().map_err(io)?.len();
        if size > limit {
            return Err(CheckpointError::TooLarge {
                path,
                limit,
                actual: size,
            });
        }
        let mut bytes = Vec::new();
        // The limit again, because a file may grow meanwhile.
        file.take(limit).read_to_end(&mut bytes).map_err(io)?;
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Some(text)),
            Err(error) => Err(CheckpointError::damaged(
                &path,
                format!("it is not UTF-8: {error}"),
            )),
        }
    }

    /// The names of the files directly in the folder, sorted; names that are not UTF-8 are left out.
    ///
    /// # Errors
    /// What the operating system reports.
    pub fn names(&self) -> Result<Vec<String>> {
        let io = |source| CheckpointError::io(&self.path, source);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path).map_err(io)? {
            if let Ok(name) = entry.map_err(io)?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }
}

/// `models--org--name/snapshots/<commit>` has its contents in `models--org--name/blobs`, from where further links may lead
/// to the store that all repositories of the cache share.
fn blobs_of_snapshot(folder: &Path) -> Vec<PathBuf> {
    let find = || {
        let snapshots = folder.parent()?;
        let repository = snapshots.parent()?;
        let is_cache = snapshots.file_name()? == "snapshots"
            && repository.file_name()?.to_str()?.starts_with("models--");
        is_cache.then_some(repository)
    };
    let Some(repository) = find() else {
        return Vec::new();
    };
    let shared = repository.parent().map(|cache| cache.join("blobs"));
    let mut folders = vec![repository.join("blobs")];
    // Any folder may be called `blobs`; only that of huggingface_hub has this mark.
    folders.extend(shared.filter(|store| store.join(".huggingface-shared-blobs").is_file()));
    folders
}
