//! Row layouts of fused matrices.

use super::error::setting;
use crate::Result;

/// How the rows of several projections lie in one matrix of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows {
    groups: usize,
    parts: Vec<usize>,
    order: Vec<usize>,
}

impl Rows {
    /// `"a b"`: the parts one after the other, in the file's order, each with its number of rows.
    #[must_use]
    pub fn blocks(parts: &[usize]) -> Self {
        Self::grouped(1, parts)
    }

    /// `"(a b)*n"`: n groups, each with a 1/n slice of every part.
    #[must_use]
    pub fn grouped(groups: usize, parts: &[usize]) -> Self {
        Self {
            groups,
            parts: parts.to_vec(),
            order: (0..parts.len()).collect(),
        }
    }

    /// `"(a b)*"`: as many groups as the first part has rows.
    #[must_use]
    pub fn interleaved(parts: &[usize]) -> Self {
        Self::grouped(parts.first().copied().unwrap_or(1), parts)
    }

    /// The order wanted: indices into the file's parts (`[1, 0]` for `"up gate"`).
    #[must_use]
    pub fn order(mut self, order: &[usize]) -> Self {
        self.order = order.to_vec();
        self
    }

    /// Rows of all parts.
    pub(crate) fn total(&self) -> usize {
        self.parts.iter().sum()
    }

    /// Whether the layout is possible.
    ///
    /// # Errors
    /// If the groups do not divide the parts, or the order names a part that is not there.
    pub(crate) fn check(&self) -> Result<()> {
        let Self {
            groups,
            parts,
            order,
        } = self;
        if *groups == 0 || parts.iter().any(|part| part % groups != 0) {
            return setting(format!(
                "parts of {parts:?} rows cannot lie in {groups} groups"
            ));
        }
        match order.iter().find(|part| **part >= parts.len()) {
            Some(part) => setting(format!(
                "a matrix of {} parts has no part {part}",
                parts.len()
            )),
            None => Ok(()),
        }
    }

    /// For each row wanted, its place in the file; `None` if they lie as wanted. Of a layout that is possible.
    pub(crate) fn places(&self) -> Option<Vec<usize>> {
        let Self {
            groups,
            parts,
            order,
        } = self;
        let sizes: Vec<usize> = parts.iter().map(|part| part / groups).collect();
        let stride: usize = sizes.iter().sum();
        let mut places = Vec::with_capacity(self.total());
        for &part in order {
            let start: usize = sizes[..part].iter().sum();
            for group in 0..*groups {
                places.extend((0..sizes[part]).map(|row| group * stride + start + row));
            }
        }
        let identity = places.iter().enumerate().all(|(row, place)| row == *place);
        (!identity || places.len() != self.total()).then_some(places)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_lie_as_they_are() {
        assert_eq!(Rows::blocks(&[4, 2, 2]).places(), None);
        assert_eq!(
            Rows::blocks(&[1, 2]).order(&[1, 0]).places(),
            Some(vec![1, 2, 0])
        );
    }

    #[test]
    fn groups_hold_a_slice_of_each_part() {
        // (q k v)*2 with 4, 2, 2 rows: q0 q1 k0 v0 q2 q3 k1 v1
        let places = Rows::grouped(2, &[4, 2, 2]).places();
        assert_eq!(places, Some(vec![0, 1, 4, 5, 2, 6, 3, 7]));
        // (q v k)*2, wanted q, k, v
        let places = Rows::grouped(2, &[4, 2, 2]).order(&[0, 2, 1]).places();
        assert_eq!(places, Some(vec![0, 1, 4, 5, 3, 7, 2, 6]));
    }

    #[test]
    fn interleaved_parts_alternate() {
        assert_eq!(
            Rows::interleaved(&[3, 3]).places(),
            Some(vec![0, 2, 4, 1, 3, 5])
        );
    }

    #[test]
    fn groups_must_divide_the_parts() {
        assert!(Rows::grouped(3, &[4, 2]).check().is_err());
        assert!(Rows::grouped(0, &[4, 2]).check().is_err());
        assert!(Rows::blocks(&[4, 2]).order(&[0, 2]).check().is_err());
        assert!(Rows::grouped(2, &[4, 2]).check().is_ok());
    }
}
