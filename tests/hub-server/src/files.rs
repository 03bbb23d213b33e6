//! The bytes of files, whole and in ranges, and how they go wrong.

use std::io::{self, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::output::{Headers, head, send};
use super::{Fault, HubServer, Seen};

pub(super) fn send_file(
    server: &HubServer,
    seen: &Seen,
    out: &mut TcpStream,
    bytes: &[u8],
    fault: Option<Fault>,
    more: &[(&'static str, String)],
) -> io::Result<()> {
    let size = bytes.len();
    let range = seen.range.as_deref().and_then(|text| {
        let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
        let last = last.parse::<usize>().unwrap_or(usize::MAX);
        Some((
            first.parse::<usize>().ok()?,
            last.min(size.saturating_sub(1)),
        ))
    });
    let mut headers: Headers = vec![
        ("Content-Type", "application/octet-stream".into()),
        ("Accept-Ranges", "bytes".into()),
    ];
    headers.extend(more.iter().cloned());
    let (status, body) = match (range, &fault) {
        (Some((first, _)), _) if first >= size => {
            headers.push(("Content-Range", format!("bytes */{size}")));
            return send(out, seen, 416, &headers, b"");
        }
        (Some(_), Some(Fault::NoRange)) | (None, _) => (200, bytes),
        (Some((first, last)), Some(Fault::OtherRange)) => {
            headers.push((
                "Content-Range",
                format!("bytes {}-{last}/{size}", first / 2),
            ));
            (206, &bytes[first / 2..=last])
        }
        (Some((first, last)), _) => {
            headers.push(("Content-Range", format!("bytes {first}-{last}/{size}")));
            (206, &bytes[first..=last])
        }
    };
    send_body(server, seen, out, status, headers, body, fault)
}

fn send_body(
    server: &HubServer,
    seen: &Seen,
    out: &mut TcpStream,
    status: u16,
    mut headers: Headers,
    body: &[u8],
    fault: Option<Fault>,
) -> io::Result<()> {
    match fault {
        Some(Fault::Short(len)) => send(out, seen, status, &headers, &body[..len.min(body.len())]),
        Some(Fault::Long(more)) => {
            let long = [body, &vec![7; more]].concat();
            headers.push(("Connection", "close".into()));
            head(out, status, &headers, None)?;
            out.write_all(&long)?;
            Err(io::ErrorKind::ConnectionAborted.into())
        }
        Some(Fault::Garbled) => {
            let mut garbled = body.to_vec();
            if let Some(last) = garbled.last_mut() {
                *last ^= 1;
            }
            send(out, seen, status, &headers, &garbled)
        }
        Some(Fault::Drop(len)) => {
            head(out, status, &headers, Some(body.len()))?;
            write(server, out, &body[..len.min(body.len())])?;
            Err(io::ErrorKind::ConnectionAborted.into())
        }
        Some(Fault::CutBody(len)) => {
            headers.push(("Connection", "close".into()));
            head(out, status, &headers, None)?;
            write(server, out, &body[..len.min(body.len())])?;
            Err(io::ErrorKind::ConnectionAborted.into())
        }
        Some(Fault::Stall(len)) => {
            head(out, status, &headers, Some(body.len()))?;
            write(server, out, &body[..len.min(body.len())])?;
            std::thread::sleep(Duration::from_secs(60));
            Err(io::ErrorKind::TimedOut.into())
        }
        Some(Fault::Trickle(pause)) => {
            head(out, status, &headers, Some(body.len()))?;
            for byte in body {
                out.write_all(&[*byte])?;
                std::thread::sleep(pause);
            }
            Ok(())
        }
        _ => {
            head(out, status, &headers, Some(body.len()))?;
            if !seen.head {
                write(server, out, body)?;
            }
            Ok(())
        }
    }
}

/// Writes a body, slowly where that is asked for.
fn write(server: &HubServer, out: &mut TcpStream, body: &[u8]) -> io::Result<()> {
    let mut rest = body;
    while !rest.is_empty() {
        let throttle = server.lock().throttle;
        let (len, pause) = throttle.unwrap_or((64 << 10, Duration::ZERO));
        let (now, later) = rest.split_at(len.min(rest.len()));
        out.write_all(now)?;
        server.lock().sent += now.len() as u64;
        rest = later;
        std::thread::sleep(pause);
    }
    Ok(())
}
