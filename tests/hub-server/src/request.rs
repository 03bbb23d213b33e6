//! What clients ask for.

use std::io::{BufRead, Read};
use std::net::TcpStream;

/// A request.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Path without the query, decoded.
    pub path: String,
    /// What stands behind `?`.
    pub query: String,
    /// `Range`, as it was sent.
    pub range: Option<String>,
    /// `Authorization`, as it was sent.
    pub authorization: Option<String>,
    /// Whether the storage host was asked, rather than the hub.
    pub at_storage: bool,
    /// HEAD rather than GET.
    pub head: bool,
    /// What the request's head says as a whole.
    pub text: String,
}

/// Reads one request; `None` when the client is done.
pub(super) fn read(reader: &mut std::io::BufReader<TcpStream>, at_storage: bool) -> Option<Seen> {
    let mut text = String::new();
    loop {
        let before = text.len();
        let mut limited = reader.by_ref().take(64 << 10);
        if limited.read_line(&mut text).ok()? == 0 {
            return None;
        }
        if text[before..].trim_end().is_empty() {
            break;
        }
    }
    let mut lines = text.lines();
    let mut words = lines.next()?.split(' ');
    let (method, target) = (words.next()?.to_string(), words.next()?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let header = |name: &str| {
        text.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name)
                .then(|| value.trim().to_string())
        })
    };
    Some(Seen {
        path: decode(path),
        query: query.into(),
        range: header("range"),
        authorization: header("authorization"),
        at_storage,
        head: method == "HEAD",
        text: text.clone(),
    })
}

fn decode(path: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|hex| {
            let hex = std::str::from_utf8(hex).ok()?;
            u8::from_str_radix(hex, 16).ok()
        });
        match (first, code) {
            (b'%', Some(code)) => {
                bytes.push(code);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
