//! Golden cases: folders with a checkpoint and the logits that transformers computed from it.
//!
//! A case holds `config.json`, `model*.safetensors` (with an index if sharded) and `expected.safetensors`: `input_ids`
//! I64 `[T]`, and `logits` f32 `[n, vocab]` of the last n positions. Or a `.gguf` file instead of the first two. The scripts
//! `tests/tools/make_*_goldens.py` and `make_goldens.py` make them.

mod case;
mod compare;
mod runner;
mod search;

pub use case::Case;
pub use compare::{relative_error, typical_error};
pub use runner::{Outcome, Report, run, run_as, run_on};
pub use search::folders;

/// Largest max |ours − theirs| ÷ max |theirs| of a case.
pub const TOLERANCE: f64 = 2e-5;

/// The same for cases longer than [`LONG`] tokens, where transformers' own f32 angles are that far from exact ones.
pub const LONG_TOLERANCE: f64 = 1e-4;

/// Tokens up to which [`TOLERANCE`] holds.
pub const LONG: usize = 256;
