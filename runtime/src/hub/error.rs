//! What may go wrong between a model's name and its files.

use std::path::{Path, PathBuf};

/// A model that cannot be found, fetched, checked or removed, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// Neither a file or folder nor an installed model.
    #[error(
        "no model `{name}`: it is no file or folder here, and not among the installed models{}\n\
         hint: {}give the path of a folder with config.json and *.safetensors, or of a .gguf file; `inferno list` shows what is installed",
        similar_names(.similar), download_first(.download.as_deref())
    )]
    NotFound {
        /// The name that was given.
        name: String,
        /// Installed models with a similar name.
        similar: Vec<String>,
        /// The name, if it could be that of a repository on the hub.
        download: Option<String>,
    },
    /// A model of which some files are missing.
    #[error("{name} is incomplete: {}\nhint: `inferno download {download}` fetches what is missing", missing_files(.missing))]
    Incomplete {
        /// The model.
        name: String,
        /// What to download.
        download: String,
        /// Files that are missing; empty if nobody knows yet.
        missing: Vec<String>,
    },
    /// A name that cannot be a repository.
    #[error(
        "`{name}` is no model name: {reason}\nhint: write owner/name, owner/name@revision, or a path"
    )]
    BadName {
        /// The name that was given.
        name: String,
        /// Why it is refused.
        reason: &'static str,
    },
    /// A repository with several GGUF models, of which one must be chosen.
    #[error("{name} holds {}several GGUF models: {}\nhint: choose one with {name}:<file or quantization>",
        .asked.as_ref().map(|asked| format!("no `{asked}`, or more than one, among ")).unwrap_or_default(), .files.join(", "))]
    SeveralFiles {
        /// The repository.
        name: String,
        /// What was asked for and did not decide.
        asked: Option<String>,
        /// Its GGUF models, with their sizes where they are known.
        files: Vec<String>,
    },
    /// A repository without weights that are read here.
    #[error("{name} has no weights that this program reads: {reason}\nhint: {hint}")]
    NoWeights {
        /// The repository.
        name: String,
        /// What it has instead.
        reason: String,
        /// What to do.
        hint: &'static str,
    },
    /// A model that this program could not run.
    #[error(
        "{name} would not run, so nothing was downloaded: {reason}\nhint: `--force` downloads it all the same"
    )]
    WouldNotRun {
        /// The model.
        name: String,
        /// Why.
        reason: String,
    },
    /// Settings of the environment that make no sense.
    #[error("{variable} is not usable: {reason}\nhint: {hint}")]
    Setting {
        /// The variable or file.
        variable: String,
        /// What is wrong.
        reason: String,
        /// What to do.
        hint: &'static str,
    },
    /// The network is not to be used.
    #[error(
        "{name} is not complete on this machine, and offline mode forbids to fetch it\nhint: unset HF_HUB_OFFLINE, or leave --offline away"
    )]
    Offline {
        /// The model.
        name: String,
    },
    /// No answer, however often it was tried.
    #[error("{host} cannot be reached: {reason}\nhint: {hint}")]
    Unreachable {
        /// The host.
        host: String,
        /// The last failure.
        reason: String,
        /// What to do.
        hint: &'static str,
    },
    /// An answer that no hub gives.
    #[error(
        "{url} does not answer like a model hub: {reason}\nhint: a network's login page or a proxy may stand in between; open the address in a browser, and check HF_ENDPOINT and HTTPS_PROXY"
    )]
    NotAHub {
        /// What was asked for.
        url: String,
        /// What came instead.
        reason: String,
    },
    /// The hub asks to wait longer than anybody would.
    #[error(
        "{host} asks to wait {seconds} s before the next request\nhint: try again then; a token (HF_TOKEN) raises the limit"
    )]
    RateLimited {
        /// The host.
        host: String,
        /// Seconds to wait.
        seconds: u64,
    },
    /// No such repository, or a private one.
    #[error(
        "{endpoint} has no model `{repo}`{}\nhint: {}",
        if *.token { "" } else { ", or it is private: without a token the hub does not say which" },
        if *.token { "check the spelling, owner/name; a private one needs a token of somebody who may read it" }
        else { "check the spelling, owner/name; for a private one set HF_TOKEN" }
    )]
    RepoNotFound {
        /// The hub.
        endpoint: String,
        /// The repository.
        repo: String,
        /// Whether a token was sent.
        token: bool,
    },
    /// No such branch, tag or commit.
    #[error(
        "{repo} has no revision `{revision}`\nhint: {endpoint}/{repo}/tree/main shows its branches and tags"
    )]
    RevisionNotFound {
        /// The hub.
        endpoint: String,
        /// The repository.
        repo: String,
        /// The revision.
        revision: String,
    },
    /// No such file.
    #[error("{repo} has no file `{file}`\nhint: {endpoint}/{repo}/tree/main lists its files")]
    FileNotFound {
        /// The hub.
        endpoint: String,
        /// The repository.
        repo: String,
        /// The file.
        file: String,
    },
    /// A gated repository, and no token.
    #[error(
        "{repo} is gated, and no token was sent\nhint: accept its licence at {endpoint}/{repo}, make a token at {endpoint}/settings/tokens, and set HF_TOKEN"
    )]
    GatedNoToken {
        /// The hub.
        endpoint: String,
        /// The repository.
        repo: String,
    },
    /// A gated repository whose licence the token's owner has not accepted, or whose owner has not agreed yet.
    #[error(
        "{repo} is gated, and the owner of the token ({source_of_token}) has no access to it: the licence is not accepted, or the request waits for an answer{}\nhint: open {endpoint}/{repo} with that account",
        said(.message.as_deref())
    )]
    GatedNoAccess {
        /// The hub.
        endpoint: String,
        /// The repository.
        repo: String,
        /// Where the token came from.
        source_of_token: String,
        /// What the hub said.
        message: Option<String>,
    },
    /// A token that the hub does not know.
    #[error(
        "the hub refuses the token of {source_of_token}{}\nhint: make a new one at {endpoint}/settings/tokens, or unset it: public models need none",
        said(.message.as_deref())
    )]
    TokenRefused {
        /// The hub.
        endpoint: String,
        /// Where the token came from.
        source_of_token: String,
        /// What the hub said.
        message: Option<String>,
    },
    /// A refusal for another reason.
    #[error("the hub refuses {url} with status {status}{}\nhint: {hint}", said(.message.as_deref()))]
    Refused {
        /// What was asked for.
        url: String,
        /// HTTP status.
        status: u16,
        /// What the hub said.
        message: Option<String>,
        /// What to do.
        hint: &'static str,
    },
    /// The server sends another file than the one it lists.
    #[error("{file} did not arrive as the hub lists it: {reason}\nhint: {hint}")]
    WrongContent {
        /// The file.
        file: String,
        /// Length or hash, listed and received.
        reason: String,
        /// What to do.
        hint: &'static str,
    },
    /// Not enough room.
    #[error(
        "no room for {needed} more bytes in {}: {free} are free\nhint: free some ({} in all), or set HF_HUB_CACHE to a folder on another disk; what is already there is kept",
        folder.display(), gigabytes(*.needed)
    )]
    NoSpace {
        /// The cache.
        folder: PathBuf,
        /// Bytes still to be written.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// The disk became full, or a quota was reached.
    #[error(
        "the disk is full: cannot write {}: {source}\nhint: free some space, or set HF_HUB_CACHE to a folder on another disk; the same command goes on where it stopped", path.display()
    )]
    DiskFull {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The operating system refused.
    #[error("cannot {action} {}: {source}\nhint: check that the folder is yours and not read-only, or set HF_HUB_CACHE to one that is", path.display())]
    Io {
        /// What was to be done.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// There is no place for models.
    #[error(
        "there is no home directory, so there is no place for models\nhint: set HF_HUB_CACHE or HF_HOME to a folder"
    )]
    NoCache,
    /// Another process has the file and does not go on.
    #[error(
        "another process holds {} and has made no progress for {seconds} s\nhint: end that process, then run this again", path.display()
    )]
    Locked {
        /// The lock.
        path: PathBuf,
        /// How long nothing happened.
        seconds: u64,
    },
    /// A model that is being downloaded cannot be removed.
    #[error(
        "{name} is being downloaded by another process\nhint: wait until it is done, or end it"
    )]
    Busy {
        /// The repository.
        name: String,
    },
    /// The user stopped it.
    #[error("stopped\nhint: the same command goes on where it stopped")]
    Cancelled,
}

impl HubError {
    pub(super) fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { path, source }
            }
            _ => Self::Io {
                action,
                path,
                source,
            },
        }
    }
}

fn similar_names(names: &[String]) -> String {
    if names.is_empty() {
        String::new()
    } else {
        format!("; did you mean {}?", names.join(" or "))
    }
}

fn download_first(name: Option<&str>) -> String {
    name.map(|name| format!("`inferno download {name}` fetches it, or "))
        .unwrap_or_default()
}

fn missing_files(names: &[String]) -> String {
    const SHOWN: usize = 3;
    match names {
        [] => "its download did not end".into(),
        [one] => format!("{one} is missing"),
        _ => {
            let more = match names.len().saturating_sub(SHOWN) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let shown = &names[..names.len().min(SHOWN)];
            format!("{}{more} are missing", shown.join(", "))
        }
    }
}

fn said(message: Option<&str>) -> String {
    message
        .map(|text| format!(": \"{text}\""))
        .unwrap_or_default()
}

fn gigabytes(bytes: u64) -> String {
    format!("{:.1} GB", bytes as f64 / 1e9)
}

/// An address, fit to be shown: what stands behind `?` may be a signature.
pub(super) fn shown_url(url: &str) -> String {
    shown(url.split('?').next().unwrap_or(url))
}

/// A server's text, fit to be shown: no control characters, not too long.
pub(super) fn shown(text: &str) -> String {
    const LONGEST: usize = 300;
    let plain: String = text.chars().filter(|c| !c.is_control()).collect();
    match plain.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &plain[..end]),
        None => plain,
    }
}
