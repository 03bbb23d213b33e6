//! What the hub's refusals mean. Its `X-Error-Code` says more than the status: 401 may mean a repository that is not there.

use ureq::http::HeaderMap;

use super::HubError;
use super::error::{shown, shown_url};
use super::name::ModelName;

/// What a request is about, for messages.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    /// The hub.
    pub(super) endpoint: &'a str,
    /// The model; `None`: the hub itself.
    pub(super) model: Option<&'a ModelName>,
    /// The file, if it is one.
    pub(super) file: Option<&'a str>,
    /// Where the token came from, if one is sent.
    pub(super) token: Option<&'a str>,
}

/// The error that a status other than success stands for.
pub(super) fn error(status: u16, headers: &HeaderMap, url: &str, subject: &Subject) -> HubError {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let code = header("x-error-code").unwrap_or_default();
    let message = header("x-error-message").map(shown);
    let endpoint = subject.endpoint.to_string();
    let repo = subject
        .model
        .map_or_else(String::new, |model| model.repo.to_string());
    match (status, code) {
        (401 | 403, "GatedRepo") => gated(subject, repo, message),
        (401 | 404, "RepoNotFound") => HubError::RepoNotFound {
            endpoint,
            repo,
            token: subject.token.is_some(),
        },
        (404, "RevisionNotFound") => HubError::RevisionNotFound {
            endpoint,
            repo,
            revision: subject
                .model
                .map_or_else(String::new, |model| model.revision().into()),
        },
        (404, "EntryNotFound") => HubError::FileNotFound {
            endpoint,
            repo,
            file: subject.file.unwrap_or(url).into(),
        },
        (401, _) => unauthorized(subject, repo, url, message),
        (403, _) => HubError::Refused {
            url: shown_url(url),
            status,
            message,
            hint: "the token may lack the right to read this: see the settings of fine-grained tokens on the hub",
        },
        _ if code.is_empty() && message.is_none() => HubError::NotAHub {
            url: shown_url(url),
            reason: format!("status {status} without the hub's explanation"),
        },
        _ => HubError::Refused {
            url: shown_url(url),
            status,
            message: message.or_else(|| Some(shown(code))),
            hint: "try again later",
        },
    }
}

fn gated(subject: &Subject, repo: String, message: Option<String>) -> HubError {
    let endpoint = subject.endpoint.to_string();
    match subject.token {
        None => HubError::GatedNoToken { endpoint, repo },
        Some(source) => HubError::GatedNoAccess {
            endpoint,
            repo,
            source_of_token: source.into(),
            message,
        },
    }
}

/// Neither gated nor said to be missing: the token is wrong, or there is none.
fn unauthorized(subject: &Subject, repo: String, url: &str, message: Option<String>) -> HubError {
    let endpoint = subject.endpoint.to_string();
    match subject.token {
        Some(source) => HubError::TokenRefused {
            endpoint,
            source_of_token: source.into(),
            message,
        },
        None if subject.model.is_some() => HubError::RepoNotFound {
            endpoint,
            repo,
            token: false,
        },
        None => HubError::Refused {
            url: shown_url(url),
            status: 401,
            message,
            hint: "set HF_TOKEN",
        },
    }
}
