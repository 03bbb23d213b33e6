//! What the server answers, rightly or wrongly.

use std::io;
use std::net::TcpStream;

use serde_json::json;

use super::files::send_file;
use super::output::{Headers, endless_body, endless_headers, send};
use super::{Fault, HubServer, Repository, Seen, git_blob, is_lfs, sha256};

pub(super) fn respond(server: &HubServer, seen: &Seen, out: &mut TcpStream) -> io::Result<()> {
    let fault = server.take_fault(&seen.path);
    match fault {
        Some(Fault::Status(status, headers)) => return send(out, seen, status, &headers, b""),
        Some(Fault::Redirect(to)) => return send(out, seen, 302, &[("Location", to)], b""),
        Some(Fault::LoginPage) => {
            let html = [("Content-Type", "text/html; charset=utf-8".to_string())];
            return send(
                out,
                seen,
                200,
                &html,
                b"<html><body>Please log in.</body></html>",
            );
        }
        Some(Fault::Json(text)) => return send(out, seen, 200, &json_type(), text.as_bytes()),
        Some(Fault::Answer(status, headers, body)) => {
            return send(out, seen, status, &headers, body.as_bytes());
        }
        Some(Fault::EndlessHeaders) => return endless_headers(out),
        Some(Fault::EndlessBody) => return endless_body(out, seen),
        _ => {}
    }
    if seen.path == "/api/whoami-v2" {
        return whoami(server, seen, out);
    }
    if seen.at_storage {
        let found = seen.path.trim_start_matches('/').split_once('/');
        let bytes = found.and_then(|(hash, _)| server.content(hash));
        return match bytes {
            Some(bytes) => send_file(server, seen, out, &bytes, fault, &[]),
            None => send(out, seen, 403, &[], b"signature expired"),
        };
    }
    if let Some(rest) = seen.path.strip_prefix("/api/models/") {
        return api(server, seen, out, rest, fault);
    }
    if let Some(rest) = seen.path.strip_prefix("/api/resolve-cache/models/") {
        return small_file(server, seen, out, rest, fault);
    }
    resolve(server, seen, out, fault)
}

impl HubServer {
    fn repository(&self, id: &str) -> Option<Repository> {
        self.lock().repositories.get(id).cloned()
    }

    fn content(&self, hash: &str) -> Option<Vec<u8>> {
        let state = self.lock();
        let mut files = state.repositories.values().flat_map(|one| &one.files);
        files
            .find(|(_, bytes)| sha256(bytes) == hash)
            .map(|(_, bytes)| bytes.to_vec())
    }

    fn knows(&self, seen: &Seen) -> bool {
        let state = self.lock();
        let known = |token: &String| seen.authorization == Some(format!("Bearer {token}"));
        state.tokens.iter().any(known)
    }
}

fn json_type() -> [(&'static str, String); 1] {
    [("Content-Type", "application/json; charset=utf-8".into())]
}

/// The hub's own refusals say why in headers, and again in the body.
fn refuse(
    out: &mut TcpStream,
    seen: &Seen,
    status: u16,
    code: &str,
    message: &str,
) -> io::Result<()> {
    let mut headers: Headers = json_type().to_vec();
    headers.push(("X-Error-Message", message.into()));
    if !code.is_empty() {
        headers.push(("X-Error-Code", code.into()));
    }
    let body = json!({ "error": message }).to_string();
    send(out, seen, status, &headers, body.as_bytes())
}

fn whoami(server: &HubServer, seen: &Seen, out: &mut TcpStream) -> io::Result<()> {
    if server.knows(seen) {
        let body = json!({"type": "user", "name": "jo", "auth": {"type": "access_token"}});
        return send(out, seen, 200, &json_type(), body.to_string().as_bytes());
    }
    refuse(out, seen, 401, "", "Invalid username or password.")
}

/// Refuses those who may not see a repository, as the hub does: an unknown one looks like a private one.
fn permitted(
    server: &HubServer,
    seen: &Seen,
    out: &mut TcpStream,
    id: &str,
    bytes: bool,
) -> io::Result<Option<Repository>> {
    let known = server.knows(seen);
    if seen.authorization.is_some() && !known {
        refuse(
            out,
            seen,
            401,
            "",
            "Invalid credentials in Authorization header",
        )?;
        return Ok(None);
    }
    let Some(repository) = server.repository(id).filter(|one| !one.private || known) else {
        if known {
            refuse(out, seen, 404, "RepoNotFound", "Repository not found")?;
        } else {
            refuse(
                out,
                seen,
                401,
                "RepoNotFound",
                "Invalid username or password.",
            )?;
        }
        return Ok(None);
    };
    // The listing of a gated repository is public, its files are not.
    if let (true, Some(token)) = (bytes, &repository.gated)
        && seen.authorization != Some(format!("Bearer {token}"))
    {
        if known {
            let text = format!(
                "Access to model {id} is restricted and you are not in the authorized list."
            );
            refuse(out, seen, 403, "GatedRepo", &text)?;
        } else {
            let text = format!(
                "Access to model {id} is restricted. You must have access to it and be authenticated to access it."
            );
            refuse(out, seen, 401, "GatedRepo", &text)?;
        }
        return Ok(None);
    }
    Ok(Some(repository))
}

/// `owner/name/revision/main` and `owner/name/tree/<commit>`.
fn api(
    server: &HubServer,
    seen: &Seen,
    out: &mut TcpStream,
    rest: &str,
    fault: Option<Fault>,
) -> io::Result<()> {
    let mut parts = rest.splitn(4, '/');
    let id = [parts.next(), parts.next()]
        .map(Option::unwrap_or_default)
        .join("/");
    let (what, revision) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or("main"),
    );
    let Some(repository) = permitted(server, seen, out, &id, false)? else {
        return Ok(());
    };
    if revision != "main" && revision != repository.commit {
        return refuse(
            out,
            seen,
            404,
            "RevisionNotFound",
            &format!("Invalid rev id: {revision}"),
        );
    }
    let mut headers: Headers = json_type().to_vec();
    let body = match what {
        "tree" => listing(server, seen, &repository, &id, &mut headers),
        _ => {
            let siblings = repository
                .files
                .iter()
                .map(|(path, _)| json!({"rfilename": path}));
            let siblings: Vec<_> = siblings.collect();
            json!({"_id": "1", "id": id, "sha": repository.commit, "private": repository.private, "siblings": siblings})
        }
    };
    let body = body.to_string();
    match fault {
        Some(Fault::CutBody(len)) => send(out, seen, 200, &headers, &body.as_bytes()[..len]),
        _ => send(out, seen, 200, &headers, body.as_bytes()),
    }
}

fn listing(
    server: &HubServer,
    seen: &Seen,
    repository: &Repository,
    id: &str,
    headers: &mut Headers,
) -> serde_json::Value {
    let mut entries =
        vec![json!({"type": "directory", "oid": "0".repeat(40), "size": 0, "path": "original"})];
    entries.extend(repository.files.iter().map(|(path, bytes)| {
        let oid = git_blob(bytes);
        if is_lfs(path, bytes) {
            let lfs = json!({"oid": sha256(bytes), "size": bytes.len(), "pointerSize": 130});
            json!({"type": "file", "oid": oid, "size": bytes.len(), "path": path, "lfs": lfs, "xetHash": sha256(path.as_bytes())})
        } else {
            json!({"type": "file", "oid": oid, "size": bytes.len(), "path": path})
        }
    }));
    let cursor = seen
        .query
        .split('&')
        .find_map(|part| part.strip_prefix("cursor=")?.parse().ok())
        .unwrap_or(0_usize);
    let rest = entries.split_off(cursor.min(entries.len()));
    if rest.len() > repository.page {
        let next = cursor + repository.page;
        let url = format!(
            "{}/api/models/{id}/tree/{}?recursive=true&cursor={next}",
            server.url, repository.commit
        );
        headers.push(("Link", format!("<{url}>; rel=\"next\"")));
    }
    rest.into_iter().take(repository.page).collect()
}

/// `/owner/name/resolve/<commit>/<path>`: redirects with what is known of the file.
fn resolve(
    server: &HubServer,
    seen: &Seen,
    out: &mut TcpStream,
    fault: Option<Fault>,
) -> io::Result<()> {
    let parts: Vec<&str> = seen.path.trim_start_matches('/').splitn(5, '/').collect();
    let [owner, name, "resolve", revision, path] = parts[..] else {
        return send(out, seen, 404, &[], b"Not Found");
    };
    let id = format!("{owner}/{name}");
    let Some(repository) = permitted(server, seen, out, &id, true)? else {
        return Ok(());
    };
    if revision != "main" && revision != repository.commit {
        return refuse(out, seen, 404, "RevisionNotFound", "Invalid rev id");
    }
    let Some((_, bytes)) = repository.files.iter().find(|(known, _)| known == path) else {
        return refuse(out, seen, 404, "EntryNotFound", "Entry not found");
    };
    let commit = ("X-Repo-Commit", repository.commit.clone());
    if is_lfs(path, bytes) {
        let hash = sha256(bytes);
        let headers = [
            commit,
            ("X-Linked-Size", bytes.len().to_string()),
            ("X-Linked-ETag", format!("\"{hash}\"")),
            ("ETag", format!("\"{hash}\"")),
            (
                "Location",
                format!("{}/{hash}/{path}?X-Signature=1", server.storage),
            ),
        ];
        let status = 302;
        return match fault {
            // The faults of bytes are those of the host that has them.
            Some(fault) => {
                server
                    .lock()
                    .faults
                    .entry(format!("{hash}/{path}"))
                    .or_default()
                    .push_back(fault);
                send(out, seen, status, &headers, b"")
            }
            None => send(out, seen, status, &headers, b""),
        };
    }
    let location = format!(
        "/api/resolve-cache/models/{id}/{}/{path}",
        repository.commit
    );
    let headers = [
        commit,
        ("X-Linked-Size", bytes.len().to_string()),
        ("ETag", format!("\"{}\"", git_blob(bytes))),
        ("Location", location),
    ];
    send(out, seen, 307, &headers, b"")
}

fn small_file(
    server: &HubServer,
    seen: &Seen,
    out: &mut TcpStream,
    rest: &str,
    fault: Option<Fault>,
) -> io::Result<()> {
    let parts: Vec<&str> = rest.splitn(4, '/').collect();
    let [owner, name, _, path] = parts[..] else {
        return send(out, seen, 404, &[], b"");
    };
    let Some(repository) = permitted(server, seen, out, &format!("{owner}/{name}"), true)? else {
        return Ok(());
    };
    let found = repository.files.iter().find(|(known, _)| known == path);
    let Some((_, bytes)) = found else {
        return refuse(out, seen, 404, "EntryNotFound", "Entry not found");
    };
    let headers = [
        ("X-Repo-Commit", repository.commit.clone()),
        ("ETag", format!("\"{}\"", git_blob(bytes))),
    ];
    send_file(server, seen, out, bytes, fault, &headers)
}
