//! The layout of the Hugging Face cache: `models--<owner>--<name>/{blobs/<hash>, snapshots/<commit>/<path>, refs/<revision>}`,
//! where a snapshot's files are links into `blobs`.

use std::path::{Path, PathBuf};

use super::HubError;
use super::hash::ContentHash;
use super::listing::RemoteFile;
use super::name::{FilePath, RepoId, Revision};

/// Locks of all repositories; huggingface_hub takes the same ones.
const LOCKS: &str = ".locks";

/// The folder of one repository in a cache.
#[derive(Clone, Debug)]
pub(super) struct RepoCache {
    folder: PathBuf,
    locks: PathBuf,
    links: bool,
}

impl RepoCache {
    pub(super) fn new(cache: &Path, repo: &RepoId, links: bool) -> Self {
        Self::of_folder(cache, &repo.folder_name(), links)
    }

    pub(super) fn of_folder(cache: &Path, folder_name: &str, links: bool) -> Self {
        Self {
            folder: cache.join(folder_name),
            locks: cache.join(LOCKS).join(folder_name),
            links,
        }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn locks(&self) -> &Path {
        &self.locks
    }

    pub(super) fn blobs(&self) -> PathBuf {
        self.folder.join("blobs")
    }

    pub(super) fn blob(&self, hash: &ContentHash) -> PathBuf {
        self.blobs().join(hash.as_str())
    }

    /// Where a content grows before it has its name.
    pub(super) fn part(&self, hash: &ContentHash) -> PathBuf {
        self.blobs().join(format!("{}.incomplete", hash.as_str()))
    }

    pub(super) fn blob_lock(&self, hash: &ContentHash) -> PathBuf {
        self.locks.join(format!("{}.lock", hash.as_str()))
    }

    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    fn pointer(&self, commit: &str, path: &FilePath) -> PathBuf {
        path.as_str()
            .split('/')
            .fold(self.snapshot(commit), |folder, part| folder.join(part))
    }

    /// Makes the folders, or says why they cannot be.
    pub(super) fn create(&self) -> Result<(), HubError> {
        for folder in [
            self.blobs(),
            self.locks.clone(),
            self.folder.join("snapshots"),
        ] {
            create_folder(&folder)?;
        }
        Ok(())
    }

    /// Whether a file's content is here, by its length: its name says the rest, for a content gets it once its hash is right.
    pub(super) fn has_blob(&self, file: &RemoteFile) -> bool {
        is_file_of(&self.blob(&file.hash), file.size)
    }

    /// Whether a snapshot has a file already, whoever put it there: a link to the right content, or a copy of the right
    /// length.
    pub(super) fn has(&self, commit: &str, file: &RemoteFile) -> bool {
        let pointer = self.pointer(commit, &file.path);
        match std::fs::read_link(&pointer) {
            Ok(target) => {
                let name = target.file_name().and_then(|name| name.to_str());
                name == Some(file.hash.as_str()) && is_file_of(&pointer, file.size)
            }
            Err(_) => is_file_of(&pointer, file.size),
        }
    }

    /// Bytes of a file that an earlier download left.
    pub(super) fn partial_bytes(&self, file: &RemoteFile) -> u64 {
        let part = self.part(&file.hash).symlink_metadata();
        part.map_or(0, |meta| if meta.is_file() { meta.len() } else { 0 })
            .min(file.size)
    }

    /// Puts a content into a snapshot: as a link, else as a second name, else as a copy.
    pub(super) fn link(&self, commit: &str, file: &RemoteFile) -> Result<(), HubError> {
        if self.has(commit, file) {
            return Ok(());
        }
        let pointer = self.pointer(commit, &file.path);
        let blob = self.blob(&file.hash);
        if let Some(parent) = pointer.parent() {
            create_folder(parent)?;
        }
        let up = "../".repeat(file.path.as_str().split('/').count() + 1);
        let target = PathBuf::from(format!("{up}blobs/{}", file.hash.as_str()));
        // Made beside and renamed, so that nobody ever sees half of it.
        let beside = beside(&pointer);
        let _ = std::fs::remove_file(&beside);
        let linked = self.links && symlink(&target, &beside).is_ok();
        if !linked && std::fs::hard_link(&blob, &beside).is_err() {
            std::fs::copy(&blob, &beside).map_err(|error| HubError::io("write", &beside, error))?;
        }
        std::fs::rename(&beside, &pointer).map_err(|error| {
            let _ = std::fs::remove_file(&beside);
            HubError::io("write", &pointer, error)
        })
    }

    /// Writes which commit a branch or tag stands for.
    pub(super) fn write_ref(&self, revision: &Revision, commit: &str) -> Result<(), HubError> {
        if revision.is_commit() {
            return Ok(());
        }
        let path = self.folder.join("refs").join(revision.as_str());
        if std::fs::read_to_string(&path).is_ok_and(|known| known == commit) {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            create_folder(parent)?;
        }
        let beside = beside(&path);
        std::fs::write(&beside, commit)
            .and_then(|()| std::fs::rename(&beside, &path))
            .map_err(|error| HubError::io("write", &path, error))
    }
}

fn create_folder(folder: &Path) -> Result<(), HubError> {
    std::fs::create_dir_all(folder).map_err(|error| HubError::io("create", folder, error))
}

fn is_file_of(path: &Path, size: u64) -> bool {
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.len() == size)
}

/// A name in the same folder that no other process uses.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let thread = std::thread::current().id();
    let unique: String = format!("{thread:?}")
        .chars()
        .filter(char::is_ascii_digit)
        .collect();
    path.with_file_name(format!(".{name}.{}-{unique}.tmp", std::process::id()))
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(windows)]
fn symlink(target: &Path, link: &Path) -> std::io::Result<()> {
    std::os::windows::fs::symlink_file(target, link)
}

#[cfg(not(any(unix, windows)))]
fn symlink(_: &Path, _: &Path) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}
