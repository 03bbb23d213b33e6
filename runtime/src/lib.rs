//! Everything that runs: checkpoints, configurations, layers, KV cache, sampling, tokenizers and chat templates.

extern crate self as inferno_runtime;

pub mod chat;
pub mod config;
pub mod cpu;
#[cfg(feature = "cuda")]
#[expect(unsafe_code, reason = "calls of the driver")]
pub mod cuda;
pub mod device;
pub mod engine;
mod error;
pub mod hub;
#[cfg(feature = "cuda")]
pub mod kernels;
pub mod kv_cache;
pub mod machine;
pub mod models;
pub mod nn;
pub mod prompt;
pub mod sampling;
pub mod stop;
pub mod tokenizer;
pub mod weights;

pub use error::{Error, Result};
