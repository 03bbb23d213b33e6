//! Where results lie in the workspace: first fit, freed after their last reader.

/// Alignment of every result.
const ALIGN: usize = 256;

/// Ranges of the workspace in use.
#[derive(Debug, Default)]
pub(super) struct Arena {
    /// Start and end, sorted.
    used: Vec<(usize, usize)>,
    peak: usize,
}

impl Arena {
    /// The most bytes in use so far.
    pub(super) fn peak(&self) -> usize {
        self.peak
    }

    /// The offset of so many bytes.
    pub(super) fn take(&mut self, bytes: usize) -> usize {
        let bytes = bytes.max(1).next_multiple_of(ALIGN);
        let (mut start, mut place) = (0, self.used.len());
        for (index, (first, end)) in self.used.iter().enumerate() {
            if first - start >= bytes {
                place = index;
                break;
            }
            start = *end;
        }
        self.used.insert(place, (start, start + bytes));
        self.peak = self.peak.max(start + bytes);
        start
    }

    /// Frees what begins at an offset.
    pub(super) fn free(&mut self, offset: usize) {
        self.used.retain(|(start, _)| *start != offset);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn gaps_are_used_again() {
        let mut arena = Arena::default();
        let (a, b, c) = (arena.take(1000), arena.take(10), arena.take(300));
        assert_eq!((a, b, c), (0, 1024, 1280));
        arena.free(a);
        assert_eq!(
            (arena.take(600), arena.take(300), arena.take(100)),
            (0, 1792, 768)
        );
        assert_eq!(arena.peak(), 2304);
    }

    proptest! {
        #[test]
        fn ranges_in_use_never_meet(sizes in prop::collection::vec((0_usize..3000, any::<bool>()), 1..60)) {
            let mut arena = Arena::default();
            let mut held: Vec<(usize, usize)> = Vec::new();
            for (bytes, free) in sizes {
                if free && !held.is_empty() {
                    arena.free(held.remove(bytes % held.len()).0);
                }
                let start = arena.take(bytes);
                for (other, size) in &held {
                    prop_assert!(start + bytes <= *other || other + size <= start);
                }
                held.push((start, bytes.max(1)));
            }
        }
    }
}
