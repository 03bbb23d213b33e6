//! What the hub says a file's content is: sha256 of large files (their LFS id), git's blob id of small ones.

use std::io::Read;

use sha1::{Digest as _, Sha1};
use sha2::Sha256;

/// The hash of a file, which names its content in the cache.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ContentHash {
    /// Sha256 of the content: 64 hexadecimal digits.
    Sha256(String),
    /// Sha1 of `blob <length>\0` and the content, as git counts: 40 hexadecimal digits.
    GitBlob(String),
}

impl ContentHash {
    /// Reads an LFS id.
    pub(super) fn sha256(hex: &str) -> Option<Self> {
        is_hex(hex, 64).then(|| Self::Sha256(hex.into()))
    }

    /// Reads a git blob's id.
    pub(super) fn git_blob(hex: &str) -> Option<Self> {
        is_hex(hex, 40).then(|| Self::GitBlob(hex.into()))
    }

    /// The hash that a name in the cache's `blobs` stands for; `None` if it is no hash.
    pub(super) fn of_blob_name(name: &str) -> Option<Self> {
        Self::sha256(name).or_else(|| Self::git_blob(name))
    }

    /// Its hexadecimal digits, which are the content's name in the cache.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Sha256(hex) | Self::GitBlob(hex) => hex,
        }
    }
}

fn is_hex(text: &str, len: usize) -> bool {
    text.len() == len
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Computes the hash of a content piece by piece.
#[derive(Clone)]
pub(super) enum Hasher {
    Sha256(Sha256),
    GitBlob(Sha1),
}

impl Hasher {
    /// For a content of `size` bytes, of the kind that `expected` is.
    pub(super) fn new(expected: &ContentHash, size: u64) -> Self {
        match expected {
            ContentHash::Sha256(_) => Self::Sha256(Sha256::new()),
            ContentHash::GitBlob(_) => {
                Self::GitBlob(Sha1::new_with_prefix(format!("blob {size}\0")))
            }
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::GitBlob(hasher) => hasher.update(bytes),
        }
    }

    pub(super) fn finish(self) -> ContentHash {
        match self {
            Self::Sha256(hasher) => ContentHash::Sha256(hex(&hasher.finalize())),
            Self::GitBlob(hasher) => ContentHash::GitBlob(hex(&hasher.finalize())),
        }
    }

    /// Takes in up to `len` bytes from a reader and says how many there were; `tick` hears the count and may stop it.
    pub(super) fn take_in<E>(
        &mut self,
        reader: &mut impl Read,
        len: u64,
        tick: &mut dyn FnMut(u64) -> Result<(), E>,
    ) -> std::io::Result<Result<u64, E>> {
        let mut buffer = vec![0; 1 << 20];
        let mut done = 0;
        while done < len {
            let want = buffer
                .len()
                .min((len - done).try_into().unwrap_or(usize::MAX));
            let got = reader.read(&mut buffer[..want])?;
            if got == 0 {
                break;
            }
            self.update(&buffer[..got]);
            done += got as u64;
            if let Err(stopped) = tick(done) {
                return Ok(Err(stopped));
            }
        }
        Ok(Ok(done))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(expected: &ContentHash, content: &[u8]) -> ContentHash {
        let mut hasher = Hasher::new(expected, content.len() as u64);
        let done: Result<u64, ()> = hasher
            .take_in(&mut &content[..], u64::MAX, &mut |_| Ok(()))
            .expect("reads");
        assert_eq!(done, Ok(content.len() as u64));
        hasher.finish()
    }

    /// From `sha256sum` and `git hash-object`.
    #[test]
    fn hashes_are_those_of_git_and_lfs() {
        let sha256 =
            ContentHash::sha256("98ea6e4f216f2fb4b69fff9b3a44842c38686ca685f3f55dc48c5d3fb1107be4")
                .expect("a hash");
        assert_eq!(hash(&sha256, b"hi\n"), sha256);
        let git =
            ContentHash::git_blob("45b983be36b73c0788dc9cbcb76cbb80fc7bb057").expect("a hash");
        assert_eq!(hash(&git, b"hi\n"), git);
    }

    #[test]
    fn only_hashes_are_hashes() {
        for name in [
            "",
            "abc",
            "../../etc/passwd",
            &"g".repeat(64),
            &"A".repeat(40),
            &"0".repeat(63),
        ] {
            assert_eq!(ContentHash::of_blob_name(name), None, "{name}");
        }
        assert!(ContentHash::of_blob_name(&"0".repeat(64)).is_some());
    }
}
