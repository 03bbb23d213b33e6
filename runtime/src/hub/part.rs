//! A content that is not whole yet: a file that grows from its start, and the hash of what it holds.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::HubError;
use super::hash::Hasher;
use super::listing::RemoteFile;
use super::lock::is_at;

/// What became of a part that had all its bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is a blob now.
    Whole,
    /// Its hash is this one, and not the listed one.
    WrongHash(String),
}

/// The growing file of one content.
pub(super) struct Part {
    path: PathBuf,
    file: File,
    len: u64,
    hasher: Hasher,
}

impl Part {
    /// Opens what an earlier download left and hashes it again: a crash may have cost some of it. `tick` hears how far that is.
    pub(super) fn open(
        path: &Path,
        remote: &RemoteFile,
        tick: &mut dyn FnMut(u64) -> Result<(), HubError>,
    ) -> Result<Self, HubError> {
        let io = |error| HubError::io("write", path, error);
        // Whatever else has this name is not ours to write through.
        if path.symlink_metadata().is_ok_and(|meta| !meta.is_file()) {
            std::fs::remove_file(path).map_err(io)?;
        }
        let mut options = OpenOptions::new();
        let mut file = options
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .map_err(io)?;
        let mut hasher = Hasher::new(&remote.hash, remote.size);
        let mut len = file.metadata().map_err(io)?.len();
        if len > remote.size {
            file.set_len(0).map_err(io)?;
            len = 0;
        }
        let len = hasher.take_in(&mut file, len, tick).map_err(io)??;
        file.seek(SeekFrom::Start(len)).map_err(io)?;
        Ok(Self {
            path: path.into(),
            file,
            len,
            hasher,
        })
    }

    /// Bytes it has.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), HubError> {
        self.file
            .write_all(bytes)
            .map_err(|error| HubError::io("write", &self.path, error))?;
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Forgets all of it.
    pub(super) fn restart(&mut self, remote: &RemoteFile) -> Result<(), HubError> {
        self.hasher = Hasher::new(&remote.hash, remote.size);
        self.len = 0;
        self.file
            .set_len(0)
            .and_then(|()| self.file.rewind())
            .map_err(|error| HubError::io("write", &self.path, error))
    }

    /// Gives the content its name, if its hash is right and it is on the disk.
    pub(super) fn finish(&mut self, remote: &RemoteFile, blob: &Path) -> Result<Outcome, HubError> {
        let io = |error| HubError::io("write", &self.path, error);
        let found = self.hasher.clone().finish();
        if found != remote.hash {
            return Ok(Outcome::WrongHash(found.as_str().into()));
        }
        self.file.sync_all().map_err(io)?;
        // Where locks do not work, another process may have replaced or cut the file: then it is not the one that was hashed.
        let same =
            is_at(&self.file, &self.path) && self.file.metadata().map_err(io)?.len() == remote.size;
        if !same {
            return Err(io(io::Error::other("another process changed it meanwhile")));
        }
        std::fs::rename(&self.path, blob).map_err(io)?;
        Ok(Outcome::Whole)
    }
}

#[cfg(test)]
mod tests {
    use super::super::hash::ContentHash;
    use super::super::name::FilePath;
    use super::*;

    /// "hi\n"
    fn remote() -> RemoteFile {
        RemoteFile {
            path: FilePath::new("model.safetensors").expect("a path"),
            size: 3,
            hash: ContentHash::sha256(
                "98ea6e4f216f2fb4b69fff9b3a44842c38686ca685f3f55dc48c5d3fb1107be4",
            )
            .expect("a hash"),
        }
    }

    fn open(path: &Path) -> Part {
        Part::open(path, &remote(), &mut |_| Ok(())).expect("opens")
    }

    #[test]
    fn a_part_goes_on_where_it_stopped_and_is_named_when_its_hash_is_right() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, blob) = (folder.path().join("x.incomplete"), folder.path().join("x"));
        open(&path).append(b"h").expect("writes");
        let mut part = open(&path);
        assert_eq!(part.len(), 1);
        part.append(b"i\n").expect("writes");
        assert_eq!(
            part.finish(&remote(), &blob).expect("no error"),
            Outcome::Whole
        );
        assert_eq!(std::fs::read(&blob).expect("reads"), b"hi\n");
        assert!(!path.exists());
    }

    #[test]
    fn a_wrong_hash_gives_no_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, blob) = (folder.path().join("x.incomplete"), folder.path().join("x"));
        std::fs::write(&path, b"X").expect("writes");
        let mut part = open(&path);
        part.append(b"i\n").expect("writes");
        let outcome = part.finish(&remote(), &blob).expect("no error");
        assert!(matches!(outcome, Outcome::WrongHash(_)));
        assert!(!blob.exists());
        part.restart(&remote()).expect("restarts");
        part.append(b"hi\n").expect("writes");
        assert_eq!(
            part.finish(&remote(), &blob).expect("no error"),
            Outcome::Whole
        );
    }

    #[test]
    fn a_part_that_is_too_long_begins_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.incomplete");
        std::fs::write(&path, b"hi\nand more").expect("writes");
        assert_eq!(open(&path).len(), 0);
    }

    #[test]
    fn a_part_replaced_by_another_process_gets_no_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, blob) = (folder.path().join("x.incomplete"), folder.path().join("x"));
        let mut part = open(&path);
        part.append(b"hi\n").expect("writes");
        std::fs::remove_file(&path).expect("removes");
        std::fs::write(&path, b"bad").expect("writes");
        assert!(part.finish(&remote(), &blob).is_err());
        assert!(!blob.exists());
    }

    /// Writing to this device says that the disk is full.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_told_as_such() {
        let mut part = Part {
            path: "/dev/full".into(),
            file: OpenOptions::new()
                .write(true)
                .open("/dev/full")
                .expect("opens"),
            len: 0,
            hasher: Hasher::new(&remote().hash, 3),
        };
        let error = part.append(b"hi\n").expect_err("full");
        assert!(matches!(error, HubError::DiskFull { .. }), "{error}");
        assert!(error.to_string().contains("goes on where it stopped"));
    }
}
