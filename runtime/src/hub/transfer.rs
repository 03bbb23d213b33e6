//! Fetching one file, from whatever is here of it to a link in the snapshot.

use std::cell::Cell;
use std::io::Read;
use std::time::{Duration, Instant};

use super::cache::RepoCache;
use super::client::{Answer, Client, Wanted};
use super::listing::RemoteFile;
use super::lock::{Lock, Waiting};
use super::name::ModelName;
use super::part::{Outcome, Part};
use super::progress::{Event, Meter};
use super::retry::{Failure, Retries};
use super::{Cancel, Hub, HubError};

/// What a connection must bring within the stall time, and a try to count as progress.
const LEAST: u64 = 64 << 10;
/// How often a file may begin anew.
const RESTARTS: u32 = 2;

/// What all files of a download share.
pub(super) struct Job<'a> {
    pub(super) hub: &'a Hub,
    /// Of this download alone: its connections are closed when it is stopped.
    pub(super) client: &'a Client,
    pub(super) cache: &'a RepoCache,
    pub(super) model: &'a ModelName,
    pub(super) commit: &'a str,
    pub(super) meter: &'a Meter<'a>,
    pub(super) cancel: &'a Cancel,
}

impl Job<'_> {
    /// Makes a file part of the snapshot; `index` is its place in the meter.
    pub(super) fn fetch(&self, file: &RemoteFile, index: usize) -> Result<(), HubError> {
        if !self.cache.has(self.commit, file) {
            let mut lock = self.lock(file, index)?;
            // Another process may have fetched it while we waited.
            if !self.cache.has_blob(file) {
                Transfer {
                    job: self,
                    file,
                    index,
                    lock: &mut lock,
                    restarts: 0,
                    whole: false,
                }
                .run()?;
            }
            self.cache.link(self.commit, file)?;
        }
        self.meter.set(index, file.size);
        self.meter.tell(&Event::Finished {
            file: file.path.to_string(),
            bytes: file.size,
        });
        Ok(())
    }

    fn lock(&self, file: &RemoteFile, index: usize) -> Result<Lock, HubError> {
        let name = file.hash.as_str();
        let is_told = Cell::new(false);
        let waiting = Waiting {
            cancel: self.cancel,
            patience: self.hub.settings().patience.other_process,
            bytes: &|| bytes_under(&self.cache.blobs(), name),
            told: &|bytes| {
                // Said once; from then on the bytes show it.
                if !is_told.replace(true) {
                    self.meter.tell(&Event::Waiting {
                        file: file.path.to_string(),
                        bytes,
                    });
                }
                self.meter.set(index, bytes.min(file.size));
            },
        };
        Lock::wait(&self.cache.blob_lock(&file.hash), &waiting)
    }
}

/// Bytes of all files whose names begin so: huggingface_hub puts a random part into the names of its own.
fn bytes_under(folder: &std::path::Path, name: &str) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(name))
        .filter_map(|entry| Some(entry.metadata().ok()?.len()))
        .max()
        .unwrap_or(0)
}

struct Transfer<'a> {
    job: &'a Job<'a>,
    file: &'a RemoteFile,
    index: usize,
    lock: &'a mut Lock,
    restarts: u32,
    /// Ask for everything: the server has shown that it does not understand ranges.
    whole: bool,
}

impl Transfer<'_> {
    fn run(mut self) -> Result<(), HubError> {
        let mut part = self.open()?;
        self.job.meter.tell(&Event::Started {
            file: self.file.path.to_string(),
            bytes: self.file.size,
            from: part.len(),
        });
        let listener = |event: &Event| self.job.meter.tell(event);
        let path = self.file.path.as_str();
        let mut retries = Retries {
            patience: &self.job.hub.settings().patience,
            cancel: self.job.cancel,
            listener: &listener,
            host: self.job.client.host(),
            what: path,
            failures: 0,
        };
        loop {
            let before = part.len();
            if before < self.file.size {
                let got = self.get(&mut part);
                if part.len() >= before.saturating_add(LEAST) || part.len() == self.file.size {
                    retries.failures = 0;
                }
                if let Err(failure) = got {
                    self.lock.beat();
                    retries.after(failure)?;
                }
            } else if self.finished(&mut part)? {
                return Ok(());
            }
        }
    }

    fn open(&mut self) -> Result<Part, HubError> {
        let (cancel, meter, index) = (self.job.cancel, self.job.meter, self.index);
        let path = self.job.cache.part(&self.file.hash);
        let lock = &mut *self.lock;
        Part::open(&path, self.file, &mut |bytes| {
            lock.beat();
            meter.set(index, bytes);
            cancel.check()
        })
    }

    /// Judges a file that has all its bytes: names it, or lets it begin anew.
    fn finished(&mut self, part: &mut Part) -> Result<bool, HubError> {
        let blob = self.job.cache.blob(&self.file.hash);
        match part.finish(self.file, &blob)? {
            Outcome::Whole => Ok(true),
            Outcome::WrongHash(found) => {
                let reason = format!(
                    "its hash is {found}, the hub lists {}",
                    self.file.hash.as_str()
                );
                self.restart(part, &reason)?;
                Ok(false)
            }
        }
    }

    /// Begins anew because of bytes that cannot be right, which may not happen often.
    fn restart(&mut self, part: &mut Part, reason: &str) -> Result<(), HubError> {
        self.restarts += 1;
        if self.restarts > RESTARTS {
            return Err(HubError::WrongContent {
                file: self.file.path.to_string(),
                reason: reason.into(),
                hint: "something between here and the hub changes files, or the hub's copy is damaged: try another network, or later",
            });
        }
        self.begin_anew(part, reason)
    }

    fn begin_anew(&self, part: &mut Part, reason: &str) -> Result<(), HubError> {
        part.restart(self.file)?;
        self.job.meter.tell(&Event::Restarted {
            file: self.file.path.to_string(),
            reason: reason.into(),
        });
        Ok(())
    }

    /// Asks for what is missing, or a piece of it, and appends what comes.
    fn get(&mut self, part: &mut Part) -> Result<(), Failure> {
        let job = self.job;
        let url = job.hub.file_url(job.model, job.commit, &self.file.path);
        let size = self.file.size;
        let piece = job.hub.settings().piece.max(LEAST);
        let range = (!self.whole && (part.len() > 0 || size > piece))
            .then(|| (part.len(), size.min(part.len().saturating_add(piece)) - 1));
        let answer = job.client.get(&Wanted {
            url: &url,
            range,
            json: false,
            subject: job
                .hub
                .subject(Some(job.model), Some(self.file.path.as_str())),
        })?;
        let end = match (answer.status(), range) {
            (206, Some((first, last))) => match content_range(&answer) {
                Some(sent) if sent.fits(first, last, size) => sent.last + 1,
                sent => {
                    let sent = sent.map_or("no Content-Range".into(), |sent| sent.to_string());
                    let reason = format!("asked for bytes {first}-{last}, the server sent {sent}");
                    self.whole = true;
                    return Ok(self.restart(part, &reason)?);
                }
            },
            (200, _) => {
                if part.len() > 0 {
                    self.whole = true;
                    self.begin_anew(part, "the server sends files whole only")?;
                }
                if let Some(length) = answer.length().filter(|length| *length != size) {
                    return Ok(self.restart(part, &wrong_length(length, size))?);
                }
                size
            }
            (416, Some(_)) => {
                self.whole = true;
                let reason = "the server does not have the bytes that are missing";
                return Ok(self.restart(part, reason)?);
            }
            (status, _) => {
                let reason = format!("status {status}, which was not asked for");
                return Err(Failure::passing(reason));
            }
        };
        self.receive(answer, part, end)
    }

    fn receive(&mut self, answer: Answer, part: &mut Part, end: u64) -> Result<(), Failure> {
        let stall = self.job.hub.settings().patience.stall;
        let mut speed = Speed::new(stall);
        let mut reader = answer.reader();
        let mut buffer = vec![0; 256 << 10];
        loop {
            self.job.cancel.check()?;
            let got = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(got) => got,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Failure::passing(error.to_string())),
            };
            if part.len() + got as u64 > end {
                let reason = wrong_length(part.len() + got as u64, end);
                return Ok(self.restart(part, &reason)?);
            }
            part.append(&buffer[..got])?;
            self.job.meter.add_fetched(got as u64);
            self.job.meter.set(self.index, part.len());
            self.lock.beat();
            if !speed.keeps_up(got as u64) {
                let seconds = stall.as_secs();
                return Err(Failure::passing(format!(
                    "next to nothing came for {seconds} s"
                )));
            }
        }
        if part.len() < end {
            let reason = format!("the connection ended at byte {} of {end}", part.len());
            return Err(Failure::passing(reason));
        }
        Ok(())
    }
}

fn wrong_length(found: u64, listed: u64) -> String {
    format!("{found} bytes or more came, and {listed} are right")
}

/// A `Content-Range`.
#[derive(Debug, PartialEq, Eq)]
struct ContentRange {
    first: u64,
    last: u64,
    /// Of the whole; `None`: the server does not know.
    total: Option<u64>,
}

impl ContentRange {
    /// `bytes 100-199/1000` or `bytes 100-199/*`.
    fn parse(text: &str) -> Option<Self> {
        let (range, total) = text
            .trim()
            .strip_prefix("bytes ")?
            .trim_start()
            .split_once('/')?;
        let (first, last) = range.split_once('-')?;
        Some(Self {
            first: first.trim().parse().ok()?,
            last: last.trim().parse().ok()?,
            total: match total.trim() {
                "*" => None,
                total => Some(total.parse().ok()?),
            },
        })
    }

    /// Whether it begins where it was asked to, ends no later, and is of the listed file. A server may send less than it
    /// was asked for, but not next to nothing again and again.
    fn fits(&self, first: u64, last: u64, size: u64) -> bool {
        let enough = self.last == last || self.last.saturating_sub(first) >= LEAST;
        let of_the_file = self.total.is_none_or(|total| total == size);
        self.first == first && self.last >= first && self.last <= last && enough && of_the_file
    }
}

impl std::fmt::Display for ContentRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "bytes {}-{}", self.first, self.last)?;
        self.total.map_or(Ok(()), |total| write!(f, " of {total}"))
    }
}

fn content_range(answer: &Answer) -> Option<ContentRange> {
    ContentRange::parse(answer.header("content-range")?)
}

/// Watches that a connection brings anything worth waiting for.
struct Speed {
    window: Duration,
    since: Instant,
    bytes: u64,
}

impl Speed {
    fn new(window: Duration) -> Self {
        Self {
            window,
            since: Instant::now(),
            bytes: 0,
        }
    }

    fn keeps_up(&mut self, bytes: u64) -> bool {
        self.bytes += bytes;
        if self.since.elapsed() < self.window {
            return true;
        }
        let enough = self.bytes >= LEAST;
        *self = Self::new(self.window);
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_read_and_judged() {
        for (text, fits) in [
            ("bytes 100-999999/1000000", true),
            ("bytes 100-999999/*", true),
            ("bytes 100-500000/1000000", true),
            ("bytes 100-101/1000000", false),
            ("bytes 0-999999/1000000", false),
            ("bytes 101-999999/1000000", false),
            ("bytes 100-1000000/1000000", false),
            ("bytes 100-99/1000000", false),
            ("bytes 100-999999/2000000", false),
            ("bytes */1000000", false),
            ("bytes 100-/1000000", false),
            ("items 100-999999/1000000", false),
            ("bytes 100-99999999999999999999/1000000", false),
            ("", false),
        ] {
            let range = ContentRange::parse(text);
            let found = range.is_some_and(|range| range.fits(100, 999_999, 1_000_000));
            assert_eq!(found, fits, "{text:?}");
        }
    }

    #[test]
    fn a_trickle_is_a_stall() {
        let mut speed = Speed::new(Duration::from_millis(20));
        assert!(speed.keeps_up(1));
        std::thread::sleep(Duration::from_millis(25));
        assert!(!speed.keeps_up(1));
        std::thread::sleep(Duration::from_millis(25));
        assert!(speed.keeps_up(LEAST));
    }
}
