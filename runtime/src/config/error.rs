//! What may be wrong with a configuration.

/// A configuration that cannot be read, or lacks what a model needs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The text is no JSON object.
    #[error("{file} is not usable: {reason}")]
    Malformed {
        /// The file.
        file: Box<str>,
        /// What is wrong with it, and where.
        reason: Box<str>,
    },
    /// No key of a field is in the file, and the spec gives no default.
    #[error("{file} lacks {key}, which the model's `{field}` needs")]
    Missing {
        /// The file.
        file: Box<str>,
        /// The field of the spec.
        field: Box<str>,
        /// The keys that were tried.
        key: Box<str>,
    },
    /// A value has the wrong type, or is out of range.
    #[error("{file}: {key} is {found}, but `{field}` takes {expected}")]
    WrongValue {
        /// The file.
        file: Box<str>,
        /// The field of the spec.
        field: Box<str>,
        /// The key it was read from.
        key: Box<str>,
        /// What the field takes.
        expected: Box<str>,
        /// What the file says.
        found: Box<str>,
    },
    /// Defaults that name each other, and none of them has a value in the file.
    #[error(
        "{file} lacks the value of {fields}: the default of each is computed from the next; give one of them"
    )]
    Circle {
        /// The file.
        file: Box<str>,
        /// The fields, from the one that was asked for back to itself.
        fields: Box<str>,
    },
    /// A field takes the number of rows of the embedding, and there is no embedding.
    #[error(
        "{file}: the size of the vocabulary is that of the embedding matrix, which the checkpoint lacks"
    )]
    NoEmbedding {
        /// The file.
        file: Box<str>,
    },
}

impl ConfigError {
    /// Whether a needed value is not there, as opposed to being there and wrong. A spec's `when` counts as false then.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Missing { .. } | Self::NoEmbedding { .. })
    }
}
