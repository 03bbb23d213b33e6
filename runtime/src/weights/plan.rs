//! What a model would read and hold, and what is wrong with the checkpoint.

use std::fmt;

use super::StoredDtype;
use crate::kv_cache::BLOCK_SIZE;

/// A checkpoint that does not fit its architecture.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// Tensors that are missing, unexpected, or of another shape or type: all of them.
    #[error("{}", report(architecture, problems))]
    DoesNotFit {
        /// Stem of the spec.
        architecture: &'static str,
        /// Everything that is wrong.
        problems: Vec<Problem>,
    },
    /// Weights in a quantized spelling that is not read yet.
    #[error(
        "the weights are stored as {storage} ({evidence}), which is not supported yet; supported are F32, F16, BF16, MXFP4 \
         as gpt-oss has it, and GGUF's block types"
    )]
    Storage {
        /// The spelling.
        storage: &'static str,
        /// How it was recognized.
        evidence: String,
    },
    /// No alternative prefix fits.
    #[error("{at} expects the token embedding as {}, but the checkpoint has none of them{}", quoted(tried), found(nearest.as_ref()))]
    NoRoot {
        /// The names that would do.
        tried: Vec<String>,
        /// The line of the spec.
        at: &'static str,
        /// The name in the checkpoint that is most like them.
        nearest: Option<String>,
    },
    /// A spec without a name for what it needs in this format.
    #[error("{at} gives no tensor name for this file format")]
    NoName {
        /// The line of the spec.
        at: &'static str,
    },
    /// More tensors than any model has.
    #[error("the config file asks for more than {0} tensors; it is damaged")]
    TooMany(usize),
    /// A tensor for which there is no memory.
    #[error("no memory for `{name}` {shape:?}")]
    NoMemory {
        /// Its name.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
    },
}

/// Something wrong with one tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// It is not in the file.
    Missing {
        /// What the spec asks for.
        tensor: PlannedTensor,
        /// The name in the file that is most like it and that nothing asks for.
        nearest: Option<String>,
    },
    /// It has another shape.
    Shape {
        /// What the spec asks for.
        tensor: PlannedTensor,
        /// Its shape in the file.
        found: Vec<usize>,
    },
    /// Its numbers are stored in a way that does not do.
    Dtype {
        /// What the spec asks for.
        tensor: PlannedTensor,
        /// What would do.
        expected: &'static str,
        /// Its storage in the file.
        found: StoredDtype,
    },
    /// Nothing asks for it.
    Unexpected {
        /// Its name.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { tensor, nearest } => {
                write!(f, "missing     {tensor}{}", found(nearest.as_ref()))
            }
            Self::Shape { tensor, found } => {
                write!(f, "wrong shape {tensor}; in the file it is {found:?}")
            }
            Self::Dtype {
                tensor,
                expected,
                found,
            } => {
                write!(
                    f,
                    "wrong type  {tensor}; it should be {expected} and is {found}"
                )
            }
            Self::Unexpected { name, shape } => {
                write!(
                    f,
                    "unexpected  `{name}` {shape:?}, which no line of the spec asks for or ignores"
                )
            }
        }
    }
}

fn quoted(names: &[String]) -> String {
    names
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(" or ")
}

fn found(nearest: Option<&String>) -> String {
    nearest.map_or(String::new(), |name| format!("; the file has `{name}`"))
}

fn report(architecture: &str, problems: &[Problem]) -> String {
    const SHOWN: usize = 500;
    let mut text = format!("the checkpoint does not fit the architecture {architecture}:");
    for problem in problems.iter().take(SHOWN) {
        text.push_str(&format!("\n  {problem}"));
    }
    if problems.len() > SHOWN {
        text.push_str(&format!("\n  and {} more", problems.len() - SHOWN));
    }
    text
}

/// A tensor that an architecture asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedTensor {
    /// Full name in the file.
    pub name: String,
    /// Expected shape, row-major.
    pub shape: Vec<usize>,
    /// The line of the spec that asks for it.
    pub at: &'static str,
    /// How the file stores it, or how random weights are; `None` when it is missing.
    pub dtype: Option<StoredDtype>,
    /// Its bytes in the file, or of random weights.
    pub bytes: usize,
    /// Of these, how many a token reads when it is computed alone: of an embedding its row, of experts those chosen.
    pub token_bytes: usize,
    /// Weights in it: two in a byte of MXFP4 nibbles, none in their scales.
    pub parameters: u64,
}

impl fmt::Display for PlannedTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {:?} ({})", self.name, self.shape, self.at)
    }
}

/// Keys and values of one attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvLayer {
    /// Key/value heads.
    pub heads: usize,
    /// Width of a key head.
    pub k_dim: usize,
    /// Width of a value head.
    pub v_dim: usize,
    /// Keys that a query sees, its own included.
    pub window: Option<usize>,
    /// Length of the chunks that see only themselves.
    pub chunk: Option<usize>,
}

impl KvLayer {
    /// Bytes of the cache for a sequence of so many tokens, when it is decoded token by token.
    #[must_use]
    pub fn bytes(&self, tokens: usize) -> usize {
        // A window that begins inside a block keeps the whole block.
        let reach = |limit: Option<usize>| {
            limit.map_or(tokens, |limit| limit.saturating_add(BLOCK_SIZE - 1))
        };
        let kept = tokens
            .min(reach(self.window))
            .min(reach(self.chunk))
            .checked_next_multiple_of(BLOCK_SIZE)
            .unwrap_or(usize::MAX);
        let width = self
            .heads
            .saturating_mul(self.k_dim.saturating_add(self.v_dim));
        kept.saturating_mul(width).saturating_mul(size_of::<f32>())
    }
}

/// All that a model would read and hold.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Stem of the spec.
    pub architecture: &'static str,
    /// Tensors, in the order the model asks for them.
    pub tensors: Vec<PlannedTensor>,
    /// Keys and values.
    pub kv: Vec<KvLayer>,
    /// What is wrong with the checkpoint.
    pub problems: Vec<Problem>,
}

impl Plan {
    /// All problems, one a line; `None` if there are none.
    #[must_use]
    pub fn report(&self) -> Option<String> {
        (!self.problems.is_empty()).then(|| report(self.architecture, &self.problems))
    }

    /// Weights of all tensors.
    #[must_use]
    pub fn parameters(&self) -> u64 {
        let parameters = self.tensors.iter().map(|tensor| tensor.parameters);
        parameters.fold(0, u64::saturating_add)
    }

    /// Bytes of all tensors.
    #[must_use]
    pub fn weight_bytes(&self) -> u64 {
        let bytes = self.tensors.iter().map(|tensor| tensor.bytes as u64);
        bytes.fold(0, u64::saturating_add)
    }

    /// Bytes of weights that a token reads when it is computed alone.
    #[must_use]
    pub fn token_bytes(&self) -> u64 {
        let bytes = self.tensors.iter().map(|tensor| tensor.token_bytes as u64);
        bytes.fold(0, u64::saturating_add)
    }

    /// Bytes of keys and values that a token reads which sees so many, in numbers of `each` bytes.
    #[must_use]
    pub fn token_kv_bytes(&self, tokens: usize, each: usize) -> u64 {
        let layer = |layer: &KvLayer| {
            let seen = [Some(tokens), layer.window, layer.chunk];
            let seen = seen.into_iter().flatten().min().unwrap_or(tokens) as u64;
            seen.saturating_mul((layer.heads * (layer.k_dim + layer.v_dim) * each) as u64)
        };
        self.kv.iter().map(layer).fold(0, u64::saturating_add)
    }

    /// Bytes of the KV cache for a sequence of so many tokens.
    #[must_use]
    pub fn kv_bytes(&self, tokens: usize) -> usize {
        self.kv
            .iter()
            .map(|layer| layer.bytes(tokens))
            .fold(0, usize::saturating_add)
    }
}
