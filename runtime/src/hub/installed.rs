//! Which models are on this machine.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::FilePath;
use super::gguf::{self, GgufModel};
use super::name::RepoId;
use super::select::MAX_INDEX_BYTES;
use super::settings::cache_folder;
use super::snapshot::{SnapshotFile, entries, file_name, files_of};

/// A model in the cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Installed {
    /// `owner/name`, or `owner/name:file.gguf` for one GGUF file of a repository.
    pub name: String,
    /// The folder or `.gguf` file to open.
    pub path: PathBuf,
    /// Commit of the repository.
    pub commit: String,
    /// Bytes of its files.
    pub bytes: u64,
    /// Whether all of them are there.
    pub state: InstallState,
    /// `owner/name`.
    #[serde(skip)]
    pub repository: String,
    /// The GGUF file in the repository.
    #[serde(skip)]
    pub file: Option<FilePath>,
}

/// Whether a model has all its files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum InstallState {
    /// It has.
    Complete,
    /// A download did not end, or somebody removed files.
    Incomplete {
        /// Those that are missing, as far as that is known.
        missing: Vec<String>,
        /// Bytes that a download left.
        partial_bytes: u64,
    },
}

impl Installed {
    /// Whether all its files are there.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.state == InstallState::Complete
    }
}

/// A repository in the cache.
#[derive(Clone, Debug)]
pub struct InstalledRepository {
    /// `owner/name`.
    pub name: String,
    /// Its folder in the cache.
    pub path: PathBuf,
    /// The models of its current snapshot.
    pub models: Vec<Installed>,
    /// Bytes of downloads that did not end.
    pub partial_bytes: u64,
}

/// The models in the cache, sorted by name.
#[must_use]
pub fn installed() -> Vec<Installed> {
    cache_folder()
        .map(|folder| installed_in(&folder))
        .unwrap_or_default()
}

/// The models in one cache folder, sorted by name. Unreadable entries are left out.
#[must_use]
pub fn installed_in(cache: &Path) -> Vec<Installed> {
    let mut found: Vec<Installed> = repositories_in(cache)
        .into_iter()
        .flat_map(|repository| repository.models)
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// The repositories of models in the cache, sorted by name.
#[must_use]
pub fn repositories() -> Vec<InstalledRepository> {
    cache_folder()
        .map(|folder| repositories_in(&folder))
        .unwrap_or_default()
}

/// The repositories of models in one cache folder, sorted by name.
#[must_use]
pub fn repositories_in(cache: &Path) -> Vec<InstalledRepository> {
    let mut found: Vec<InstalledRepository> = entries(cache)
        .into_iter()
        .filter_map(|path| {
            let name = RepoId::name_of_folder(file_name(&path))?;
            let partial_bytes = partial_bytes(&path.join("blobs"));
            let mut models = current_snapshot(&path)
                .map(|snapshot| models_in(&name, &snapshot, partial_bytes))
                .unwrap_or_default();
            if models.is_empty() && partial_bytes > 0 {
                models.push(only_begun(&name, &path, partial_bytes));
            }
            path.is_dir().then_some(InstalledRepository {
                name,
                path,
                models,
                partial_bytes,
            })
        })
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// A repository whose first download did not come to the weights' end.
fn only_begun(name: &str, path: &Path, partial_bytes: u64) -> Installed {
    Installed {
        name: name.into(),
        path: path.into(),
        commit: String::new(),
        bytes: 0,
        state: InstallState::Incomplete {
            missing: Vec::new(),
            partial_bytes,
        },
        repository: name.into(),
        file: None,
    }
}

fn partial_bytes(blobs: &Path) -> u64 {
    entries(blobs)
        .iter()
        .filter(|path| file_name(path).ends_with(".incomplete"))
        .filter_map(|path| Some(path.symlink_metadata().ok()?.len()))
        .sum()
}

/// The snapshot `refs/main` points to, else the newest one.
fn current_snapshot(repository: &Path) -> Option<PathBuf> {
    snapshot_of(repository, "main").or_else(|| {
        let newest = |path: &PathBuf| path.metadata().and_then(|meta| meta.modified()).ok();
        entries(&repository.join("snapshots"))
            .into_iter()
            .filter(|path| path.is_dir())
            .max_by_key(newest)
    })
}

/// The snapshot of a branch, a tag or a commit.
pub(super) fn snapshot_of(repository: &Path, revision: &str) -> Option<PathBuf> {
    let commit = std::fs::read_to_string(repository.join("refs").join(revision))
        .unwrap_or_else(|_| revision.into());
    let commit = commit.trim();
    let plain = !commit.contains('/') && FilePath::new(commit).is_ok();
    let folder = repository.join("snapshots").join(commit);
    (plain && folder.is_dir()).then_some(folder)
}

/// A repository is one model when it has config.json and safetensors, and one model for each GGUF model.
pub(super) fn models_in(name: &str, snapshot: &Path, partial_bytes: u64) -> Vec<Installed> {
    let files = files_of(snapshot);
    let mut found = Vec::new();
    let (ggufs, others): (Vec<SnapshotFile>, Vec<SnapshotFile>) =
        files.into_iter().partition(|file| file.ends_with(".gguf"));
    let has = |name: &str| others.iter().any(|file| file.path.as_str() == name);
    let weights = |file: &SnapshotFile| {
        file.path.is_at_top()
            && (file.ends_with(".safetensors") || file.ends_with(".safetensors.index.json"))
    };
    let installed =
        |file: Option<FilePath>, path: PathBuf, bytes, missing: Vec<String>| Installed {
            name: match &file {
                Some(file) => format!("{name}:{file}"),
                None => name.into(),
            },
            path,
            commit: file_name(snapshot).into(),
            bytes,
            state: if missing.is_empty() {
                InstallState::Complete
            } else {
                InstallState::Incomplete {
                    missing,
                    partial_bytes,
                }
            },
            repository: name.into(),
            file,
        };
    if has("config.json") && others.iter().any(weights) {
        let bytes = others.iter().filter_map(|file| file.bytes).sum();
        let missing = missing_of(&others);
        found.push(installed(None, snapshot.into(), bytes, missing));
    }
    for model in gguf::models(&ggufs) {
        let bytes = model.parts.iter().filter_map(|part| part.bytes).sum();
        let path = snapshot.join(&model.first);
        let file = model.parts.first().map(|part| part.path.clone());
        found.push(installed(file, path, bytes, missing_parts(&model)));
    }
    found
}

fn missing_parts(model: &GgufModel<SnapshotFile>) -> Vec<String> {
    let nowhere = model.parts.iter().filter(|part| part.bytes.is_none());
    let mut missing = model.missing();
    missing.extend(nowhere.map(|part| part.path.to_string()));
    missing
}

/// Links that lead nowhere, and files that the index names and are not there.
fn missing_of(files: &[SnapshotFile]) -> Vec<String> {
    let top = || files.iter().filter(|file| file.path.is_at_top());
    let mut missing: BTreeSet<String> = top()
        .filter(|file| file.bytes.is_none())
        .map(|file| file.path.to_string())
        .collect();
    let find = |name: &str| top().find(|file| file.path.as_str() == name);
    if find("model.safetensors").is_none()
        && let Some(index) = find("model.safetensors.index.json")
        && index.bytes.is_some_and(|bytes| bytes <= MAX_INDEX_BYTES)
        && let Ok(text) = std::fs::read(&index.place)
        && let Ok(serde_json::Value::Object(index)) = serde_json::from_slice(&text)
        && let Some(map) = index.get("weight_map").and_then(|map| map.as_object())
    {
        let named = map.values().filter_map(|file| file.as_str());
        missing.extend(
            named
                .filter(|name| find(name).is_none())
                .map(str::to_string),
        );
    }
    missing.into_iter().collect()
}
