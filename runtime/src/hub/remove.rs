//! Removing models: only inside the cache, only what no other model uses, and not while a download needs it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::cache::RepoCache;
use super::download::REPOSITORY_LOCK;
use super::gguf;
use super::installed::{InstalledRepository, repositories_in, snapshot_of};
use super::lock::{Lock, locks_in};
use super::resolve::Asked;
use super::snapshot::{SnapshotFile, entries, file_name, files_of};
use super::{FilePath, HubError};

/// What a removal would do.
#[derive(Clone, Debug)]
pub struct Removal {
    /// What goes: a repository, one revision, or one GGUF model.
    pub name: String,
    /// Bytes that become free.
    pub bytes: u64,
    cache: RepoCache,
    /// Nothing of the repository stays.
    whole: bool,
    files: Vec<PathBuf>,
    refs: Vec<PathBuf>,
}

/// What a removal did.
#[derive(Clone, Debug, Serialize)]
pub struct Removed {
    /// What went.
    pub name: String,
    /// Bytes that became free.
    pub bytes: u64,
}

impl Removal {
    /// Finds out what removing `owner/name[@revision][:file or quantization]` means; touches nothing.
    ///
    /// # Errors
    /// If there is no such model in the cache.
    pub fn plan(name: &str, cache: &Path) -> Result<Self, HubError> {
        let asked = Asked::parse(name)?;
        let repositories = repositories_in(cache);
        let repository = asked.find(&repositories)?;
        // A link in the place of a repository leads out of the cache: what is there is not ours.
        let meta = repository.path.symlink_metadata();
        if !meta.is_ok_and(|meta| meta.is_dir()) {
            return Err(HubError::BadName {
                name: name.into(),
                reason: "its folder in the cache is a link to somewhere else; remove it by hand",
            });
        }
        let snapshots: Vec<(PathBuf, Vec<SnapshotFile>)> =
            entries(&repository.path.join("snapshots"))
                .into_iter()
                .filter(|path| path.symlink_metadata().is_ok_and(|meta| meta.is_dir()))
                .map(|path| {
                    let files = files_of(&path);
                    (path, files)
                })
                .collect();
        let doomed = doomed(&asked, repository, &snapshots)?;
        let mut plan = Self {
            name: name.into(),
            bytes: 0,
            cache: RepoCache::of_folder(cache, file_name(&repository.path), true),
            whole: snapshots
                .iter()
                .flat_map(|(_, files)| files)
                .all(|file| doomed.contains(&file.place)),
            files: Vec::new(),
            refs: Vec::new(),
        };
        plan.fill(&doomed, &snapshots);
        Ok(plan)
    }

    fn fill(&mut self, doomed: &BTreeSet<PathBuf>, snapshots: &[(PathBuf, Vec<SnapshotFile>)]) {
        let all = || snapshots.iter().flat_map(|(_, files)| files);
        let kept: BTreeSet<&str> = all()
            .filter(|file| !doomed.contains(&file.place))
            .filter_map(SnapshotFile::blob_name)
            .collect();
        let mut blobs = BTreeSet::new();
        for file in all().filter(|file| doomed.contains(&file.place)) {
            match file.blob_name() {
                Some(name) if kept.contains(name) => {}
                Some(name) if FilePath::new(name).is_ok() => {
                    blobs.insert(self.cache.blobs().join(name));
                }
                _ => self.bytes += file.bytes.unwrap_or(0),
            }
        }
        if self.whole {
            blobs.extend(entries(&self.cache.blobs()));
        }
        self.bytes += blobs.iter().map(|blob| own_bytes(blob)).sum::<u64>();
        self.files = doomed.iter().cloned().chain(blobs).collect();
        self.refs = refs_of(&self.cache.folder().join("refs"))
            .into_iter()
            .filter(|path| {
                let commit = std::fs::read_to_string(path).unwrap_or_default();
                let files = snapshots
                    .iter()
                    .find(|(snapshot, _)| file_name(snapshot) == commit.trim());
                files
                    .is_some_and(|(_, files)| files.iter().all(|file| doomed.contains(&file.place)))
            })
            .collect();
    }

    /// Does it.
    ///
    /// # Errors
    /// If a download of the repository runs, or the operating system refuses.
    pub fn run(self) -> Result<Removed, HubError> {
        let busy = || HubError::Busy {
            name: self.name.clone(),
        };
        let own = Lock::attempt(&self.cache.locks().join(REPOSITORY_LOCK))?.ok_or_else(busy)?;
        let mut held = vec![own];
        let others = locks_in(self.cache.locks());
        for path in others.iter().chain(&locks_in(&self.cache.blobs())) {
            if file_name(path) != REPOSITORY_LOCK {
                held.push(Lock::attempt(path)?.ok_or_else(busy)?);
            }
        }
        for path in self.refs.iter().chain(&self.files) {
            remove_file(path)?;
        }
        if self.whole {
            remove_folder(self.cache.folder())?;
            remove_folder(self.cache.locks())?;
        } else {
            for path in &self.files {
                remove_empty_folders(path, self.cache.folder());
            }
        }
        drop(held);
        Ok(Removed {
            name: self.name,
            bytes: self.bytes,
        })
    }
}

/// The files of snapshots that are to go.
fn doomed(
    asked: &Asked,
    repository: &InstalledRepository,
    snapshots: &[(PathBuf, Vec<SnapshotFile>)],
) -> Result<BTreeSet<PathBuf>, HubError> {
    let not_found = || HubError::NotFound {
        name: format!("{} as asked for", repository.name),
        similar: repository
            .models
            .iter()
            .map(|model| model.name.clone())
            .collect(),
        download: None,
    };
    let only = match &asked.revision {
        None => None,
        Some(revision) => {
            Some(snapshot_of(&repository.path, revision.as_str()).ok_or_else(not_found)?)
        }
    };
    let meant = snapshots
        .iter()
        .filter(|(path, _)| only.as_ref().is_none_or(|only| only == path));
    let Some(name) = asked.file else {
        return Ok(meant
            .flat_map(|(_, files)| files)
            .map(|file| file.place.clone())
            .collect());
    };
    let mut found = BTreeSet::new();
    for (_, files) in meant {
        let models = gguf::models(files);
        if let Some(model) = gguf::choose(&models, Some(name)) {
            found.extend(model.parts.iter().map(|part| part.place.clone()));
        }
    }
    if found.is_empty() {
        return Err(not_found());
    }
    Ok(found)
}

/// Bytes of a file itself: a link into a store that several repositories share has next to none.
fn own_bytes(path: &Path) -> u64 {
    path.symlink_metadata()
        .map_or(0, |meta| if meta.is_file() { meta.len() } else { 0 })
}

fn refs_of(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in entries(folder) {
        if path.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
            found.extend(refs_of(&path));
        } else {
            found.push(path);
        }
    }
    found
}

fn remove_file(path: &Path) -> Result<(), HubError> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(HubError::io("remove", path, error)),
    }
}

fn remove_folder(path: &Path) -> Result<(), HubError> {
    match std::fs::remove_dir_all(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(HubError::io("remove", path, error)),
    }
}

/// Removes the folders above a removed file that are empty now, up to the repository's own.
fn remove_empty_folders(path: &Path, repository: &Path) {
    let above = path.ancestors().skip(1);
    for folder in above.take_while(|folder| *folder != repository && folder.starts_with(repository))
    {
        // One that is not empty stays, and so do those above it.
        if std::fs::remove_dir(folder).is_err() {
            break;
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::fs::{create_dir_all, write};
    use std::os::unix::fs::symlink;

    /// Two snapshots that share a content, and a file outside.
    fn cache() -> tempfile::TempDir {
        let cache = tempfile::tempdir().expect("a folder");
        let repository = cache.path().join("hub/models--acme--tiny");
        create_dir_all(repository.join("blobs")).expect("folder");
        create_dir_all(repository.join("refs")).expect("folder");
        for (blob, bytes) in [("shared", 10), ("old", 100), ("new", 1000)] {
            write(repository.join("blobs").join(blob), vec![0; bytes]).expect("file");
        }
        for (commit, file, blob) in [
            ("aaa", "tiny-q4_0.gguf", "old"),
            ("aaa", "tiny-q8_0.gguf", "shared"),
            ("bbb", "tiny-q4_0.gguf", "new"),
            ("bbb", "tiny-q8_0.gguf", "shared"),
        ] {
            let snapshot = repository.join("snapshots").join(commit);
            create_dir_all(&snapshot).expect("folder");
            symlink(format!("../../blobs/{blob}"), snapshot.join(file)).expect("link");
        }
        write(repository.join("refs/main"), "bbb").expect("file");
        write(repository.join("refs/v1"), "aaa").expect("file");
        write(cache.path().join("outside"), "stays").expect("file");
        cache
    }

    fn remove(cache: &tempfile::TempDir, name: &str) -> Result<u64, HubError> {
        let plan = Removal::plan(name, &cache.path().join("hub"))?;
        let expected = plan.bytes;
        let removed = plan.run()?;
        assert_eq!(removed.bytes, expected);
        Ok(removed.bytes)
    }

    fn exists(cache: &tempfile::TempDir, path: &str) -> bool {
        cache
            .path()
            .join("hub/models--acme--tiny")
            .join(path)
            .symlink_metadata()
            .is_ok()
    }

    #[test]
    fn a_revision_goes_and_what_others_use_stays() {
        let cache = cache();
        assert_eq!(remove(&cache, "acme/tiny@v1").expect("removes"), 100);
        for gone in ["blobs/old", "snapshots/aaa", "refs/v1"] {
            assert!(!exists(&cache, gone), "{gone}");
        }
        for there in [
            "blobs/new",
            "blobs/shared",
            "snapshots/bbb/tiny-q8_0.gguf",
            "refs/main",
        ] {
            assert!(exists(&cache, there), "{there}");
        }
    }

    #[test]
    fn one_gguf_model_goes_and_the_other_stays() {
        let cache = cache();
        assert_eq!(remove(&cache, "tiny:Q4_0").expect("removes"), 1100);
        assert!(exists(&cache, "snapshots/bbb/tiny-q8_0.gguf") && exists(&cache, "refs/main"));
        assert!(!exists(&cache, "blobs/new"));
        assert!(remove(&cache, "tiny:Q4_0").is_err());
    }

    #[test]
    fn a_whole_repository_goes() {
        let cache = cache();
        write(
            cache
                .path()
                .join("hub/models--acme--tiny/blobs/x.incomplete"),
            "12345",
        )
        .expect("file");
        assert_eq!(remove(&cache, "acme/tiny").expect("removes"), 1115);
        assert!(!exists(&cache, ""));
        assert!(!cache.path().join("hub/.locks/models--acme--tiny").exists());
        assert!(cache.path().join("outside").exists());
    }

    #[test]
    fn nothing_outside_the_cache_is_removed() {
        let cache = cache();
        let hub = cache.path().join("hub");
        // A snapshot whose link leads out, and a repository that is itself a link.
        symlink(
            "../../../../outside",
            hub.join("models--acme--tiny/snapshots/bbb/out.gguf"),
        )
        .expect("link");
        create_dir_all(cache.path().join("elsewhere/snapshots/ccc")).expect("folder");
        write(cache.path().join("elsewhere/snapshots/ccc/x.gguf"), "x").expect("file");
        symlink("../elsewhere", hub.join("models--acme--linked")).expect("link");
        for name in [
            "../outside",
            "acme/../outside",
            "/outside",
            "..",
            "",
            "acme/linked",
            "-rf",
            "other",
        ] {
            assert!(remove(&cache, name).is_err(), "{name:?} was removed");
        }
        remove(&cache, "acme/tiny").expect("removes");
        assert!(cache.path().join("outside").exists());
        assert!(cache.path().join("elsewhere/snapshots/ccc/x.gguf").exists());
    }

    #[test]
    fn a_running_download_is_not_pulled_away() {
        let cache = cache();
        let locks = cache.path().join("hub/.locks/models--acme--tiny");
        create_dir_all(&locks).expect("folder");
        // Of our own downloads, and of huggingface_hub's.
        let own = Lock::attempt_shared(&locks.join(REPOSITORY_LOCK)).expect("no error");
        assert!(matches!(
            remove(&cache, "acme/tiny"),
            Err(HubError::Busy { .. })
        ));
        drop(own);
        let other = Lock::attempt(&locks.join("abc.lock")).expect("no error");
        assert!(matches!(
            remove(&cache, "acme/tiny"),
            Err(HubError::Busy { .. })
        ));
        assert!(exists(&cache, "blobs/new"));
        drop(other);
        remove(&cache, "acme/tiny").expect("removes");
    }
}
