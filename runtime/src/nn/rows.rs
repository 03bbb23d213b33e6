//! Row layouts of fused matrices.

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
}
