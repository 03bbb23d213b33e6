//! What lies in a snapshot's folder.

use std::path::{Path, PathBuf};

use super::gguf::HasPath;
use super::name::FilePath;

/// Folders in folders; real repositories have one level.
const MAX_DEPTH: usize = 4;
/// More files than any model has.
const MAX_FILES: usize = 100_000;

/// A file of a snapshot.
#[derive(Clone, Debug)]
pub(super) struct SnapshotFile {
    pub(super) path: FilePath,
    /// Where it is.
    pub(super) place: PathBuf,
    /// Its bytes; `None`: a link that leads nowhere.
    pub(super) bytes: Option<u64>,
    /// Where a link leads, as it is written.
    pub(super) target: Option<PathBuf>,
}

impl SnapshotFile {
    /// The name of the content that a link leads to.
    pub(super) fn blob_name(&self) -> Option<&str> {
        self.target.as_ref()?.file_name()?.to_str()
    }

    pub(super) fn ends_with(&self, end: &str) -> bool {
        self.path.as_str().ends_with(end)
    }
}

impl HasPath for SnapshotFile {
    fn path(&self) -> &str {
        self.path.as_str()
    }
}

/// The files of a snapshot, sorted by path. What cannot be read, or has a name that no file of a repository has, is left
/// out.
pub(super) fn files_of(snapshot: &Path) -> Vec<SnapshotFile> {
    let mut files = Vec::new();
    collect(snapshot, "", 0, &mut files);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn collect(folder: &Path, prefix: &str, depth: usize, files: &mut Vec<SnapshotFile>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        if files.len() >= MAX_FILES {
            return;
        }
        let (Ok(kind), Ok(name)) = (entry.file_type(), entry.file_name().into_string()) else {
            continue;
        };
        let path = format!("{prefix}{name}");
        if kind.is_dir() {
            if depth < MAX_DEPTH {
                collect(&entry.path(), &format!("{path}/"), depth + 1, files);
            }
            continue;
        }
        let place = entry.path();
        let meta = place.metadata().ok();
        if meta.as_ref().is_some_and(|meta| !meta.is_file()) {
            continue;
        }
        if let Ok(path) = FilePath::new(&path) {
            files.push(SnapshotFile {
                path,
                bytes: meta.map(|meta| meta.len()),
                target: std::fs::read_link(&place).ok(),
                place,
            });
        }
    }
}

/// The entries of a folder, sorted; none if it cannot be read.
pub(super) fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .map(|all| all.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    paths.sort();
    paths
}

/// The last part of a path; empty if it is not UTF-8.
pub(super) fn file_name(path: &Path) -> &str {
    path.file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default()
}
