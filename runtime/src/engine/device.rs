//! Whether a model fits a device, before a byte of it is read.

use super::EngineOptions;
use crate::Result;
use crate::device::{Backend, DeviceChoice, DeviceError};
#[cfg(any(test, feature = "cuda"))]
use crate::kv_cache::BLOCK_SIZE;
use crate::weights::Plan;
#[cfg(feature = "cuda")]
use crate::weights::{PlannedTensor, StoredDtype, WeightDtype};

/// Prompt tokens of one forward pass.
#[cfg(any(test, feature = "cuda"))]
const CHUNK: usize = super::generate::PREFILL_CHUNK;

/// Experts per token that the estimate counts with; the plan does not know the true number.
#[cfg(feature = "cuda")]
const EXPERTS_PER_TOKEN: usize = 8;

/// Bytes that a model takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Weights.
    pub weights: u64,
    /// Keys and values of one sequence as long as the context.
    pub cache: u64,
    /// Results of operations while a chunk of a prompt is computed, by estimate; 0 on the CPU.
    pub workspace: u64,
}

impl Need {
    /// What a model needs at a context length.
    #[must_use]
    pub fn of(plan: &Plan, context: usize, backend: &Backend) -> Self {
        let weights = plan.weight_bytes();
        match backend {
            Backend::Cpu(_) => Self {
                weights,
                cache: plan.kv_bytes(context) as u64,
                workspace: 0,
            },
            #[cfg(feature = "cuda")]
            Backend::Cuda(gpu) => Self {
                weights,
                cache: gpu_cache(plan, context, gpu.dtype().bytes()),
                workspace: workspace(plan, context),
            },
        }
    }

    /// All together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.weights
            .saturating_add(self.cache)
            .saturating_add(self.workspace)
    }
}

/// Keys and values on a GPU: a layer with a window has room for it and for a chunk of a prompt.
#[cfg(any(test, feature = "cuda"))]
fn gpu_cache(plan: &Plan, context: usize, bytes: usize) -> u64 {
    let layer = |layer: &crate::weights::KvLayer| {
        let reach = layer.window.into_iter().chain(layer.chunk).min();
        let blocks = reach.map_or(usize::MAX, |reach| {
            reach.saturating_add(CHUNK) / BLOCK_SIZE + 2
        });
        let blocks = blocks.min(context.div_ceil(BLOCK_SIZE)) as u64;
        let row = (layer.heads * (layer.k_dim + layer.v_dim) * bytes) as u64;
        blocks.saturating_mul(BLOCK_SIZE as u64).saturating_mul(row)
    };
    plan.kv.iter().map(layer).fold(0, u64::saturating_add)
}

/// The widest layer's results for a chunk, the residual stream and its neighbours, and one row of logits.
#[cfg(feature = "cuda")]
fn workspace(plan: &Plan, context: usize) -> u64 {
    let (mut widest, mut vocab, mut experts) = (0, 0, 0);
    for tensor in &plan.tensors {
        match tensor.shape[..] {
            [rows, cols] if rows > 4 * cols && rows > 16_384 => vocab = vocab.max(rows),
            [rows, cols] => widest = widest.max(rows).max(cols),
            [_, rows, cols, ..] => experts = experts.max(rows).max(cols),
            _ => {}
        }
    }
    // Weights that are no operands of tensor cores become them there, some rows at a time.
    let is_operand =
        |tensor: &PlannedTensor| match tensor.dtype.as_ref().and_then(StoredDtype::weight) {
            Some(dtype) => matches!(
                dtype,
                WeightDtype::BF16 | WeightDtype::F16 | WeightDtype::Mxfp4
            ),
            None => true,
        };
    let converted = plan
        .tensors
        .iter()
        .filter(|tensor| tensor.shape.len() > 1 && !is_operand(tensor));
    let converted = converted.map(|tensor| {
        tensor
            .shape
            .iter()
            .fold(2_usize, |bytes, dim| bytes.saturating_mul(*dim))
    });
    let scratch = converted.max().unwrap_or(0).min(crate::cuda::SCRATCH) as u64;
    let each = 6_usize
        .saturating_mul(widest)
        .saturating_add(3 * EXPERTS_PER_TOKEN * experts);
    let numbers = CHUNK
        .min(context)
        .saturating_mul(each)
        .saturating_add(vocab);
    (numbers as u64).saturating_mul(4).saturating_add(scratch)
}

/// The device that the options ask for, if the model fits it. `auto` takes the CPU where no GPU serves.
///
/// # Errors
/// If a GPU was asked for by name and does not serve, or the model does not fit.
pub fn choose(plan: &Plan, context: usize, options: &EngineOptions) -> Result<Backend> {
    let backend = Backend::choose(options.device, options.precision, options.dtype)?;
    match check(plan, context, &backend, options.memory_limit) {
        Err(error)
            if options.device == DeviceChoice::Auto && !matches!(backend, Backend::Cpu(_)) =>
        {
            tracing::warn!(%error, "computing on the CPU");
            let backend = Backend::Cpu(options.precision);
            check(plan, context, &backend, options.memory_limit)?;
            Ok(backend)
        }
        checked => checked.map(|()| backend),
    }
}

/// Refuses a model that needs more than there is, and says what would fit.
fn check(plan: &Plan, context: usize, backend: &Backend, limit: Option<u64>) -> Result<()> {
    let free = match backend {
        Backend::Cpu(_) => None,
        #[cfg(feature = "cuda")]
        Backend::Cuda(gpu) => Some(gpu.memory_info()?.0 as u64),
    };
    let Some(available) = limit.into_iter().chain(free).min() else {
        return Ok(());
    };
    let fits = |context: usize| Need::of(plan, context, backend).total() <= available;
    if fits(context) {
        return Ok(());
    }
    let (mut most, mut beyond) = (0, context);
    while beyond - most > 1 {
        let middle = most + (beyond - most) / 2;
        if fits(middle) {
            most = middle
        } else {
            beyond = middle
        }
    }
    let advice = if most > 0 {
        format!("use --context {most} or less")
    } else {
        "use a smaller or more strongly quantized model, or --device cpu".into()
    };
    let need = Need::of(plan, context, backend);
    let [weights, cache, workspace] = [need.weights, need.cache, need.workspace].map(readable);
    Err(DeviceError::DoesNotFit {
        need: format!(
            "{weights} of weights, {cache} of KV cache at a context of {context} tokens and {workspace} of workspace"
        ),
        available: readable(available),
        advice,
    }
    .into())
}

/// `13.8 GB`, in powers of ten.
fn readable(bytes: u64) -> String {
    let bytes = bytes as f64;
    if bytes >= 1e9 {
        format!("{:.2} GB", bytes / 1e9)
    } else {
        format!("{:.1} MB", bytes / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Precision;
    use crate::weights::{KvLayer, PlannedTensor};

    fn plan() -> Plan {
        let tensor = PlannedTensor {
            name: "w".into(),
            shape: vec![1000, 500],
            at: "",
            dtype: None,
            bytes: 1_000_000,
            token_bytes: 0,
            parameters: 500_000,
        };
        let layer = |window| KvLayer {
            heads: 2,
            k_dim: 64,
            v_dim: 64,
            window,
            chunk: None,
        };
        Plan {
            architecture: "test",
            tensors: vec![tensor],
            kv: vec![layer(None), layer(Some(128))],
            problems: Vec::new(),
        }
    }

    #[test]
    fn the_largest_context_that_fits_is_named() {
        let backend = Backend::Cpu(Precision::Fast);
        // 1 kB a token and layer, 64 tokens of the window's block more at most.
        assert!(check(&plan(), 1024, &backend, Some(3_000_000)).is_ok());
        let error = check(&plan(), 100_000, &backend, Some(3_000_000))
            .unwrap_err()
            .to_string();
        assert!(error.contains("use --context 1792 or less"), "{error}");
        let error = check(&plan(), 1024, &backend, Some(500_000))
            .unwrap_err()
            .to_string();
        assert!(error.contains("smaller"), "{error}");
    }

    #[test]
    fn a_window_keeps_what_it_sees_and_a_chunk() {
        let row = 2 * 128 * 2;
        assert_eq!(gpu_cache(&plan(), 8192, 2), row * (8192 + 22 * 32));
        assert_eq!(gpu_cache(&plan(), 64, 2), row * 128);
    }
}
