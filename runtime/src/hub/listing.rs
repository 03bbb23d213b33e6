//! What a repository holds: the hub's API.

use serde::Deserialize;

use super::address::{Origin, encode, encode_path, join, next_link};
use super::client::Wanted;
use super::error::{shown, shown_url};
use super::hash::ContentHash;
use super::name::{FilePath, ModelName, is_commit};
use super::retry::{Failure, Retries};
use super::{Cancel, Hub, HubError, Listener};

/// The hub gives 1,000 entries a page, some 300 kB.
const MAX_PAGE_BYTES: u64 = 16 << 20;
/// The most pages of a listing that are read.
const MAX_PAGES: usize = 100;

/// A file of a repository, as the hub lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteFile {
    /// Where it is.
    pub path: FilePath,
    /// Its bytes.
    pub size: u64,
    /// Its content.
    pub hash: ContentHash,
}

/// A repository at one commit.
#[derive(Clone, Debug)]
pub(super) struct Listing {
    pub(super) commit: String,
    /// Sorted by path. Those whose names could not be files here are left out.
    pub(super) files: Vec<RemoteFile>,
}

impl Listing {
    pub(super) fn find(&self, path: &str) -> Option<&RemoteFile> {
        self.files.iter().find(|file| file.path.as_str() == path)
    }
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    oid: String,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    oid: String,
    size: u64,
}

impl Hub {
    /// The commit that a revision stands for now, and its files.
    pub(super) fn listing(
        &self,
        model: &ModelName,
        listener: Listener,
        cancel: &Cancel,
    ) -> Result<Listing, HubError> {
        let commit = self.commit(model, listener, cancel)?;
        let mut url = format!(
            "{}/api/models/{}/tree/{commit}?recursive=true&expand=false",
            self.settings().endpoint,
            model.repo
        );
        let mut files = Vec::new();
        for _ in 0..MAX_PAGES {
            let (page, next) =
                self.with_retries(&format!("the files of {model}"), listener, cancel, || {
                    let answer = self.client().get(&self.wanted(&url, model, true))?;
                    let next = answer
                        .header("link")
                        .and_then(next_link)
                        .map(|link| join(&answer.url, link).unwrap_or_default());
                    Ok((answer.json::<Vec<Entry>>(MAX_PAGE_BYTES)?, next))
                })?;
            for entry in page {
                files.extend(remote_file(entry, &url)?);
            }
            let Some(next) = next else {
                files.sort_by(|a: &RemoteFile, b| a.path.cmp(&b.path));
                files.dedup_by(|a, b| a.path == b.path);
                return Ok(Listing { commit, files });
            };
            // The hub's listing does not continue elsewhere, and our token would not follow.
            if Origin::of(&next) != Origin::of(&url) {
                return Err(HubError::NotAHub {
                    url: shown_url(&url),
                    reason: format!("its listing continues at `{}`", shown_url(&next)),
                });
            }
            url = next;
        }
        Err(HubError::NotAHub {
            url: shown_url(&url),
            reason: format!("its listing has more than {MAX_PAGES} pages"),
        })
    }

    fn commit(
        &self,
        model: &ModelName,
        listener: Listener,
        cancel: &Cancel,
    ) -> Result<String, HubError> {
        let url = format!(
            "{}/api/models/{}/revision/{}",
            self.settings().endpoint,
            model.repo,
            encode(model.revision())
        );
        let info: hf_hub::api::RepoInfo =
            self.with_retries(&model.to_string(), listener, cancel, || {
                self.client()
                    .get(&self.wanted(&url, model, true))?
                    .json(MAX_PAGE_BYTES)
            })?;
        if !is_commit(&info.sha) {
            return Err(HubError::NotAHub {
                url: shown_url(&url),
                reason: format!("its commit is `{}`, which is no hash", shown(&info.sha)),
            });
        }
        Ok(info.sha)
    }

    /// Where a file's bytes are.
    pub(super) fn file_url(&self, model: &ModelName, commit: &str, path: &FilePath) -> String {
        format!(
            "{}/{}/resolve/{commit}/{}",
            self.settings().endpoint,
            model.repo,
            encode_path(path.as_str())
        )
    }

    pub(super) fn wanted<'a>(
        &'a self,
        url: &'a str,
        model: &'a ModelName,
        json: bool,
    ) -> Wanted<'a> {
        Wanted {
            url,
            range: None,
            json,
            subject: self.subject(Some(model), None),
        }
    }

    pub(super) fn with_retries<T>(
        &self,
        what: &str,
        listener: Listener,
        cancel: &Cancel,
        once: impl FnMut() -> Result<T, Failure>,
    ) -> Result<T, HubError> {
        let mut retries = Retries {
            patience: &self.settings().patience,
            cancel,
            listener,
            host: self.client().host(),
            what,
            failures: 0,
        };
        retries.run(once)
    }
}

/// `None` for a folder, and for a name that no file here may have: it cannot be asked for either.
fn remote_file(entry: Entry, url: &str) -> Result<Option<RemoteFile>, HubError> {
    if entry.kind != "file" {
        return Ok(None);
    }
    let path = match FilePath::new(&entry.path) {
        Ok(path) => path,
        Err(reason) => {
            tracing::warn!(
                "the listing's file `{}` is left out: {reason}",
                entry.path.escape_debug()
            );
            return Ok(None);
        }
    };
    let (hash, size) = match &entry.lfs {
        Some(lfs) => (ContentHash::sha256(&lfs.oid), lfs.size),
        None => (ContentHash::git_blob(&entry.oid), entry.size),
    };
    let Some(hash) = hash else {
        return Err(HubError::NotAHub {
            url: shown_url(url),
            reason: format!("its listing has no proper hash for `{path}`"),
        });
    };
    Ok(Some(RemoteFile { path, size, hash }))
}
