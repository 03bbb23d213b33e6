//! Tensor names.

use crate::config::Format;

/// A tensor or projection name as each format spells it, and the line of the spec that asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    /// In safetensors and in GGUF; empty where the format has no such name.
    pub names: [&'static str; 2],
    /// `file.toml:line`
    pub at: &'static str,
}

impl Name {
    /// `names` are `[safetensors, GGUF]`.
    #[must_use]
    pub const fn new(names: [&'static str; 2], at: &'static str) -> Self {
        Self { names, at }
    }

    /// The spelling of one format.
    #[must_use]
    pub const fn in_format(&self, format: Format) -> &'static str {
        match format {
            Format::Hf => self.names[0],
            Format::Gguf => self.names[1],
        }
    }
}
