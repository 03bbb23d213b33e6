//! What a model is, without loading it.

use serde::Serialize;

use super::{MemoryNeed, MemoryOf};
use crate::device::ComputeDtype;
use crate::nn::select;
use crate::weights::{Checkpoint, Source};
use crate::{Result, models};

/// A model seen from its headers.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Architecture: the stem of its spec.
    pub architecture: &'static str,
    /// Longest sequence it was made for.
    pub max_positions: Option<usize>,
    /// Plain settings of config.json or of the architecture's GGUF metadata.
    pub settings: Vec<(String, String)>,
    /// Parameters.
    pub parameters: u64,
    /// Memory that it needs on the CPU.
    pub memory: MemoryNeed,
    /// Memory that it needs on a GPU, with the type that is the default there.
    pub gpu_memory: MemoryNeed,
    /// Every tensor that the model reads.
    pub tensors: Vec<ReportedTensor>,
    /// What keeps the checkpoint from loading; empty if nothing does.
    pub problems: Vec<String>,
}

/// A tensor of a [`Report`].
#[derive(Clone, Debug, Serialize)]
pub struct ReportedTensor {
    /// Full name.
    pub name: String,
    /// Shape, row-major.
    pub shape: Vec<usize>,
    /// Storage type, if the file has it.
    pub dtype: Option<String>,
    /// Bytes in the file.
    pub bytes: u64,
    /// The line of the spec that asks for it.
    pub at: &'static str,
}

impl Report {
    /// Judges an opened checkpoint at a context length (by default what the model was made for). Reads headers only.
    ///
    /// # Errors
    /// When no architecture serves it, or a setting is missing or out of range.
    pub fn of(checkpoint: &Checkpoint, context: Option<usize>) -> Result<Self> {
        let config = checkpoint.config();
        let architecture = select(models::ARCHITECTURES, config)?;
        let plan = architecture.plan(config, Source::Checkpoint(checkpoint))?;
        let max_positions = architecture.max_positions(config)?;
        let context = context.or(max_positions).unwrap_or(super::DEFAULT_CONTEXT);
        Ok(Self {
            architecture: architecture.name,
            max_positions,
            settings: config.plain_settings(),
            parameters: plan.parameters(),
            memory: MemoryNeed::of(&plan, context, MemoryOf::Cpu),
            gpu_memory: MemoryNeed::of(&plan, context, MemoryOf::Gpu(ComputeDtype::default())),
            problems: plan.problems.iter().map(ToString::to_string).collect(),
            tensors: plan
                .tensors
                .into_iter()
                .map(|tensor| ReportedTensor {
                    name: tensor.name,
                    shape: tensor.shape,
                    dtype: tensor.dtype.map(|dtype| dtype.to_string()),
                    bytes: tensor.bytes as u64,
                    at: tensor.at,
                })
                .collect(),
        })
    }
}
