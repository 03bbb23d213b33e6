//! Everything that runs: checkpoints, configurations, layers, KV cache, sampling, tokenizers and chat templates.

mod error;
pub mod weights;

pub use error::{Error, Result};
