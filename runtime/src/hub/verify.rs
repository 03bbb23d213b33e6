//! Whether the files of a model are what their names say.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::hash::{ContentHash, Hasher};
use super::installed::{InstallState, InstalledRepository};
use super::listing::{Listing, RemoteFile};
use super::name::{ModelName, RepoId, Revision};
use super::snapshot::{SnapshotFile, entries, file_name, files_of};
use super::{Cancel, Hub, HubError, Listener};

/// What was found out about a repository.
#[derive(Clone, Debug, Serialize)]
pub struct Verification {
    /// `owner/name`.
    pub name: String,
    /// Contents whose hashes were computed.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Files that nothing here says the hash of: copies, which the hub's listing can judge.
    pub unchecked: usize,
    /// What is wrong; empty if nothing is.
    pub findings: Vec<Finding>,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The file, as the repository calls it where it does.
    pub file: String,
    /// What is wrong with it.
    pub problem: String,
    /// What to do.
    pub hint: String,
    /// What must go so that a download fetches it anew.
    #[serde(skip)]
    damaged: Option<PathBuf>,
}

/// Looks at links and names only; quick.
#[must_use]
pub fn check_links(repository: &InstalledRepository) -> Verification {
    Survey::of(repository).verification(0, 0, Vec::new())
}

/// Computes the hash of every content and compares it with the content's name; reads all of it. `progress` hears bytes done
/// and bytes in all.
///
/// # Errors
/// [`HubError::Cancelled`].
pub fn verify(
    repository: &InstalledRepository,
    progress: &dyn Fn(u64, u64),
    cancel: &Cancel,
) -> Result<Verification, HubError> {
    let survey = Survey::of(repository);
    let blobs = survey.blobs();
    let total = blobs.iter().map(|(_, _, bytes)| bytes).sum();
    let (mut done, mut findings) = (0, Vec::new());
    for (path, hash, bytes) in &blobs {
        let wrong = wrong_content(path, hash, *bytes, cancel, &mut |part| {
            progress(done + part, total);
        })?;
        done += bytes;
        if let Some(problem) = wrong {
            let shown = survey.name_of(path);
            findings.push(survey.finding(shown, problem, Some(path.clone())));
        }
    }
    Ok(survey.verification(blobs.len(), done, findings))
}

/// Why a file is not what its hash says; `None` if it is.
fn wrong_content(
    path: &Path,
    hash: &ContentHash,
    bytes: u64,
    cancel: &Cancel,
    tick: &mut dyn FnMut(u64),
) -> Result<Option<String>, HubError> {
    let mut hasher = Hasher::new(hash, bytes);
    let read = File::open(path).and_then(|mut file| {
        hasher.take_in(&mut file, bytes, &mut |done| {
            tick(done);
            cancel.check()
        })
    });
    match read {
        Ok(stopped) => stopped?,
        Err(error) => return Ok(Some(format!("it cannot be read: {error}"))),
    };
    let found = hasher.finish();
    Ok((found != *hash).then(|| {
        format!(
            "its content has the hash {}, and {} is right",
            found.as_str(),
            hash.as_str()
        )
    }))
}

/// Removes what is damaged, so that a download fetches it anew. Gives the number of files removed.
///
/// # Errors
/// If the operating system refuses.
pub fn remove_damaged(verification: &Verification) -> Result<usize, HubError> {
    let damaged = verification
        .findings
        .iter()
        .filter_map(|finding| finding.damaged.as_ref());
    let mut count = 0;
    for path in damaged {
        match std::fs::remove_file(path) {
            Ok(()) => count += 1,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(HubError::io("remove", path, error)),
        }
    }
    Ok(count)
}

/// The files of a repository by snapshot.
struct Survey<'a> {
    repository: &'a InstalledRepository,
    snapshots: Vec<(String, Vec<SnapshotFile>)>,
}

impl<'a> Survey<'a> {
    fn of(repository: &'a InstalledRepository) -> Self {
        let snapshots = entries(&repository.path.join("snapshots"))
            .into_iter()
            .filter(|path| path.is_dir())
            .map(|path| (file_name(&path).to_string(), files_of(&path)))
            .collect();
        Self {
            repository,
            snapshots,
        }
    }

    fn files(&self) -> impl Iterator<Item = &SnapshotFile> {
        self.snapshots.iter().flat_map(|(_, files)| files)
    }

    /// The contents whose names are hashes, with their bytes.
    fn blobs(&self) -> Vec<(PathBuf, ContentHash, u64)> {
        entries(&self.repository.path.join("blobs"))
            .into_iter()
            .filter_map(|path| {
                let hash = ContentHash::of_blob_name(file_name(&path))?;
                let bytes = path.metadata().ok().filter(|meta| meta.is_file())?.len();
                Some((path, hash, bytes))
            })
            .collect()
    }

    /// What the repository calls a content.
    fn name_of(&self, blob: &Path) -> String {
        let names: BTreeSet<&str> = self
            .files()
            .filter(|file| file.blob_name() == Some(file_name(blob)))
            .map(|file| file.path.as_str())
            .collect();
        if names.is_empty() {
            format!("blobs/{}", file_name(blob))
        } else {
            names.into_iter().collect::<Vec<_>>().join(", ")
        }
    }

    fn finding(&self, file: String, problem: String, damaged: Option<PathBuf>) -> Finding {
        let name = &self.repository.name;
        let hint = if damaged.is_some() {
            format!(
                "`inferno verify {name} --repair` removes it, `inferno download {name}` then fetches it anew"
            )
        } else {
            format!("`inferno download {name}` fetches it")
        };
        Finding {
            file,
            problem,
            hint,
            damaged,
        }
    }

    fn verification(&self, files: usize, bytes: u64, mut findings: Vec<Finding>) -> Verification {
        let mut known = BTreeSet::new();
        for file in self.files().filter(|file| file.bytes.is_none()) {
            known.insert(file.path.to_string());
            let problem = "its link leads nowhere: the content was removed".into();
            findings.push(self.finding(file.path.to_string(), problem, None));
        }
        for model in &self.repository.models {
            let InstallState::Incomplete {
                missing,
                partial_bytes,
            } = &model.state
            else {
                continue;
            };
            for file in missing.iter().filter(|file| !known.contains(*file)) {
                findings.push(self.finding(file.clone(), "it is missing".into(), None));
            }
            if missing.is_empty() {
                let problem = format!("its download did not end; {partial_bytes} bytes are here");
                findings.push(self.finding(model.name.clone(), problem, None));
            }
        }
        let copies = self
            .files()
            .filter(|file| file.bytes.is_some() && file.target.is_none());
        Verification {
            name: self.repository.name.clone(),
            files,
            bytes,
            unchecked: copies.count(),
            findings,
        }
    }
}

impl Hub {
    /// Compares the snapshots of a repository with what the hub lists for their commits: links must lead to the listed
    /// contents, and copies must have the listed hashes.
    ///
    /// # Errors
    /// If the hub does not answer, or no longer has the repository.
    pub fn compare(
        &self,
        repository: &InstalledRepository,
        listener: Listener,
        cancel: &Cancel,
    ) -> Result<Vec<Finding>, HubError> {
        let bad = |reason| HubError::BadName {
            name: repository.name.clone(),
            reason,
        };
        if self.settings().offline {
            return Err(HubError::Offline {
                name: repository.name.clone(),
            });
        }
        let repo = RepoId::new(&repository.name).map_err(bad)?;
        let survey = Survey::of(repository);
        let mut findings = Vec::new();
        for (commit, files) in &survey.snapshots {
            let name = ModelName {
                repo: repo.clone(),
                revision: Some(Revision::new(commit).map_err(bad)?),
                file: None,
            };
            let listing: Listing = self.listing(&name, listener, cancel)?;
            let listed: BTreeMap<&str, &RemoteFile> = listing
                .files
                .iter()
                .map(|file| (file.path.as_str(), file))
                .collect();
            for file in files {
                let Some(bytes) = file.bytes else { continue };
                let problem = match listed.get(file.path.as_str()) {
                    None => Some("the hub does not list it".to_string()),
                    Some(remote) => against(file, bytes, remote, cancel)?,
                };
                if let Some(problem) = problem {
                    let damaged = Some(file.place.clone());
                    findings.push(survey.finding(file.path.to_string(), problem, damaged));
                }
            }
        }
        Ok(findings)
    }
}

fn against(
    file: &SnapshotFile,
    bytes: u64,
    remote: &RemoteFile,
    cancel: &Cancel,
) -> Result<Option<String>, HubError> {
    if bytes != remote.size {
        return Ok(Some(format!(
            "it has {bytes} bytes, and the hub lists {}",
            remote.size
        )));
    }
    match file.blob_name() {
        Some(name) if name == remote.hash.as_str() => Ok(None),
        Some(name) => Ok(Some(format!(
            "it leads to the content {name}, and the hub lists {}",
            remote.hash.as_str()
        ))),
        None => wrong_content(&file.place, &remote.hash, bytes, cancel, &mut |_| {}),
    }
}
