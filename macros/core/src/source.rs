//! Where things stand in spec files.

/// A place in a spec file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct At {
    /// File name: `llama.toml`.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Length in characters.
    pub len: usize,
}
