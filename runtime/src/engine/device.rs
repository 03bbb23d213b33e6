//! Whether a model fits a device, before a byte of it is read.

use super::{EngineOptions, MemoryNeed};
use crate::Result;
use crate::device::{Backend, DeviceChoice, DeviceError};
use crate::weights::Plan;

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
    let need = MemoryNeed::of(plan, context, backend.into());
    if need.total() <= available {
        return Ok(());
    }
    let advice = match MemoryNeed::longest_context(plan, available, context, backend.into()) {
        Some(longest) => format!("use --context {longest} or less"),
        None => {
            let elsewhere = match backend {
                Backend::Cpu(_) => "",
                #[cfg(feature = "cuda")]
                Backend::Cuda(_) => ", or --device cpu",
            };
            format!("use a smaller or more strongly quantized model{elsewhere}")
        }
    };
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
        // 1 kB a token and layer, 64 tokens of the window's block more at most; 0.26 MB are logits and tokenizer.
        assert!(check(&plan(), 1024, &backend, Some(3_000_000)).is_ok());
        let error = check(&plan(), 100_000, &backend, Some(3_000_000))
            .unwrap_err()
            .to_string();
        assert!(error.contains("use --context 1536 or less"), "{error}");
        let error = check(&plan(), 1024, &backend, Some(500_000))
            .unwrap_err()
            .to_string();
        assert!(error.contains("smaller"), "{error}");
    }
}
