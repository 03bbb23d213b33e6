//! Choosing the architecture of a checkpoint and loading it.

use super::error::NnError;
use super::{Logits, Name, Step};
use crate::Result;
use crate::config::{ConfigFile, Format};
use crate::cpu::Precision;
use crate::weights::{Checkpoint, Plan, Weights};

/// How a checkpoint says what it is, and what loads it: one per spec.
#[derive(Clone, Copy, Debug)]
pub struct Architecture {
    /// Stem of the spec.
    pub name: &'static str,
    /// Values of config.json's `architectures`.
    pub hf: &'static [&'static str],
    /// Values of GGUF's `general.architecture`.
    pub gguf: &'static [&'static str],
    /// Formats it reads.
    pub formats: &'static [Format],
    /// Alternative prefixes of all names, `[safetensors, GGUF]`.
    pub roots: [&'static [&'static str]; 2],
    /// Patterns of tensors that may be in the file, `[safetensors, GGUF]`.
    pub ignore: [&'static [&'static str]; 2],
    /// What a checkpoint must fulfil beside its name, `[safetensors, GGUF]`.
    pub condition: [Option<fn(&ConfigFile) -> Result<bool>>; 2],
    /// The token embedding, which tells the root.
    pub tokens: Name,
    /// Loads the model.
    pub load: fn(&mut Weights) -> Result<Box<dyn Model>>,
}

/// A model in memory.
pub trait Model: Send + Sync + std::fmt::Debug {
    /// Runs the step's tokens and gives the logits that it asks for.
    ///
    /// # Errors
    /// If a token is not in the vocabulary, or the device fails.
    fn forward(&self, step: &mut Step) -> Result<Logits>;
}

/// The architecture that serves a checkpoint.
///
/// # Errors
/// If none does, or two claim it.
pub fn select<'a>(
    architectures: &'a [Architecture],
    config: &ConfigFile,
) -> Result<&'a Architecture> {
    let _ = config;
    architectures
        .first()
        .ok_or_else(|| NnError::Architecture("unfinished".into()).into())
}

/// Plans the whole checkpoint, refuses it with one report of all that is wrong, else loads it.
///
/// # Errors
/// If the checkpoint does not fit the architecture, or a setting is missing or out of range.
pub fn load_model(
    architecture: &Architecture,
    checkpoint: &Checkpoint,
    precision: Precision,
) -> Result<(Box<dyn Model>, Plan)> {
    let _ = (architecture, checkpoint, precision);
    Err(NnError::Architecture("unfinished".into()).into())
}
