//! Bytes of tensors: a range of a memory-mapped file, or a buffer.

use std::fs::File;
use std::ops::{Deref, Range};
use std::sync::Arc;

use memmap2::Mmap;

#[cfg(feature = "cuda")]
use super::lazy::{Lazy, Recipe};

/// A cheaply cloned range of a memory-mapped file, of an owned buffer, or of the program itself.
///
/// Nothing is known about its alignment: a float at byte 3 of a file stays at byte 3.
#[derive(Clone)]
pub struct Bytes {
    source: Arc<Source>,
    range: Range<usize>,
}

enum Source {
    Mapped(Mmap),
    Owned(Vec<u8>),
    Static(&'static [u8]),
    /// Made when they are read, unless a GPU makes them itself.
    #[cfg(feature = "cuda")]
    Lazy(Lazy),
}

impl Source {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Owned(buffer) => buffer,
            Self::Static(bytes) => bytes,
            #[cfg(feature = "cuda")]
            Self::Lazy(lazy) => lazy.made(),
        }
    }
}

impl Bytes {
    /// Maps a whole file into memory; its pages are read when first touched.
    ///
    /// # Errors
    /// What the operating system reports.
    ///
    /// The file must not be cut short while the map lives: touching a page that is gone ends the process. Whoever
    /// replaces model files must write new ones and rename them, as the downloader does.
    #[expect(unsafe_code, reason = "memory-mapping has no safe interface")]
    pub fn map(file: &File) -> std::io::Result<Self> {
        // SAFETY: the map is read-only and private to this process, and it is only ever seen as plain bytes, which have
        // no invalid values. That nobody changes the file meanwhile is a requirement on its owner, stated above.
        let map = unsafe { Mmap::map(file)? };
        let range = 0..map.len();
        Ok(Self {
            source: Arc::new(Source::Mapped(map)),
            range,
        })
    }

    /// A part of these bytes, without copying; `None` if it reaches beyond their end.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Option<Self> {
        let start = self.range.start.checked_add(range.start)?;
        let end = self.range.start.checked_add(range.end)?;
        (start <= end && end <= self.range.end).then(|| Self {
            source: Arc::clone(&self.source),
            range: start..end,
        })
    }

    /// Bytes that a recipe makes, `len` in all.
    #[cfg(feature = "cuda")]
    pub(crate) fn lazy(recipe: Recipe, len: usize) -> Self {
        Self {
            source: Arc::new(Source::Lazy(Lazy::new(recipe, len))),
            range: 0..len,
        }
    }

    /// What would make them, and which part of it they are; `None` if they are there.
    #[cfg(feature = "cuda")]
    pub(crate) fn recipe(&self) -> Option<(&Recipe, Range<usize>)> {
        match &*self.source {
            Source::Lazy(lazy) => Some((lazy.recipe(), self.range.clone())),
            _ => None,
        }
    }

    /// These bytes and the next ones, if they lie one after the other.
    #[cfg(feature = "cuda")]
    pub(crate) fn followed_by(&self, next: &Self) -> Option<Self> {
        let adjacent =
            Arc::ptr_eq(&self.source, &next.source) && self.range.end == next.range.start;
        adjacent.then(|| Self {
            source: Arc::clone(&self.source),
            range: self.range.start..next.range.end,
        })
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// Whether these are pages of a file that the operating system may drop and read again.
    #[must_use]
    pub fn is_mapped(&self) -> bool {
        matches!(*self.source, Source::Mapped(_))
    }
}

impl From<&'static [u8]> for Bytes {
    fn from(bytes: &'static [u8]) -> Self {
        Self {
            source: Arc::new(Source::Static(bytes)),
            range: 0..bytes.len(),
        }
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(buffer: Vec<u8>) -> Self {
        let range = 0..buffer.len();
        Self {
            source: Arc::new(Source::Owned(buffer)),
            range,
        }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // `range` lies within the source: `map` and `from` take all of it, `slice` only narrows.
        self.source
            .as_slice()
            .get(self.range.clone())
            .unwrap_or_default()
    }
}

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match &*self.source {
            Source::Mapped(_) => "mapped",
            Source::Owned(_) | Source::Static(_) => "owned",
            #[cfg(feature = "cuda")]
            Source::Lazy(_) => "to be made",
        };
        write!(f, "Bytes({} {kind})", self.range.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn slices_narrow_and_never_widen() {
        let bytes = Bytes::from((0..10).collect::<Vec<u8>>());
        let middle = bytes.slice(2..6).unwrap();
        assert_eq!(*middle, [2, 3, 4, 5]);
        assert_eq!(*middle.slice(1..3).unwrap(), [3, 4]);
        assert!(
            middle.slice(0..5).is_none(),
            "beyond its own end, though not beyond the source's"
        );
        #[expect(
            clippy::reversed_empty_ranges,
            reason = "a reversed range is what is tried"
        )]
        let reversed = middle.slice(3..1);
        assert!(reversed.is_none());
        assert!(middle.slice(usize::MAX..usize::MAX).is_none());
        assert_eq!(middle.slice(4..4).unwrap().len(), 0);
    }

    #[test]
    fn a_mapped_file_reads_as_its_bytes() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"weights").unwrap();
        let bytes = Bytes::map(&file).unwrap();
        assert!(bytes.is_mapped());
        assert_eq!(*bytes.slice(1..4).unwrap(), *b"eig");
    }
}
