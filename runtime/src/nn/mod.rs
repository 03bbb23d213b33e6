//! The vocabulary of generated code: all that an expanded model spec may call.

mod act;
mod activations;
mod architecture;
mod attention;
mod embedding;
mod error;
mod experts;
mod linear;
mod name;
mod norm;
mod one_or_each;
mod parallel;
mod qk_norm;
mod rope;
mod router;
mod rows;
mod simd;
mod step;
#[cfg(test)]
mod tests;
mod value;
mod vector;

pub use crate::config::{ConfigFile, Format, OneOrEach};
pub use crate::kv_cache::{KvCache, KvCacheOptions, SequenceId};
pub use crate::weights::Weights;
pub use crate::{Error, Result};
pub use act::{Act, Glu};
#[cfg(all(test, feature = "cuda"))]
pub(crate) use act::{apply as apply_act, join as join_glu};
pub use activations::Activations;
pub use architecture::{Architecture, Condition, Model, load_model, select};
pub use attention::{Append, Attend, Heads, KvSlot, QTemperature, Queries, Sinks};
pub use embedding::{Embedding, EmbeddingOptions};
pub use error::NnError;
#[cfg(feature = "cuda")]
pub(crate) use error::shape as shape_error;
pub use experts::{ExpertNames, Experts, ExpertsOptions, Mxfp4Storage, Storage};
pub use linear::Linear;
pub use name::Name;
pub use norm::{Norm, NormKind, NormOptions};
pub use qk_norm::{QkNorm, QkNormOptions, Scope};
pub(crate) use rope::Frequencies;
pub use rope::{FreqFactors, Pairs, Param, Rope, RopeOptions, Scaling};
pub use router::{Apply, Groups, Over, Rank, Router, RouterOptions, Routes, Score};
pub use rows::Rows;
pub use step::{Logits, LogitsOptions, Run, SamplerMemory, Step, Want, forward, next_token};
pub use value::{
    Element, at, at_or_one, contains, count, number, optional_size, part, per_layer, rem, size,
};
pub(crate) use vector::Vector;
