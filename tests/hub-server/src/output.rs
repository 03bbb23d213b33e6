//! Writing answers.

use std::io::{self, Write};
use std::net::TcpStream;

use super::Seen;

pub(super) type Headers = Vec<(&'static str, String)>;

pub(super) fn send(
    out: &mut TcpStream,
    seen: &Seen,
    status: u16,
    headers: &[(&'static str, String)],
    body: &[u8],
) -> io::Result<()> {
    head(out, status, headers, Some(body.len()))?;
    if seen.head {
        return Ok(());
    }
    out.write_all(body)
}

pub(super) fn head(
    out: &mut TcpStream,
    status: u16,
    headers: &[(&'static str, String)],
    length: Option<usize>,
) -> io::Result<()> {
    let mut text = format!("HTTP/1.1 {status} Answer\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if let Some(length) = length {
        text.push_str(&format!("Content-Length: {length}\r\n"));
    }
    text.push_str("\r\n");
    out.write_all(text.as_bytes())
}

pub(super) fn endless_headers(out: &mut TcpStream) -> io::Result<()> {
    out.write_all(b"HTTP/1.1 200 OK\r\n")?;
    loop {
        out.write_all(b"X-More: and more and more and more and more and more and more\r\n")?;
    }
}

pub(super) fn endless_body(out: &mut TcpStream, seen: &Seen) -> io::Result<()> {
    let kind = if seen.path.starts_with("/api/") {
        "application/json"
    } else {
        "application/octet-stream"
    };
    head(
        out,
        200,
        &[
            ("Content-Type", kind.into()),
            ("Connection", "close".into()),
        ],
        None,
    )?;
    out.write_all(b"[")?;
    let block = vec![b' '; 64 << 10];
    loop {
        out.write_all(&block)?;
    }
}
