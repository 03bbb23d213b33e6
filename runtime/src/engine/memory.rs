//! How much memory a model needs, known from its headers: the one estimate that the program has.

use serde::Serialize;

use crate::device::{Backend, CPU_PREFILL_CHUNK, ComputeDtype, GPU_PREFILL_CHUNK};
use crate::kv_cache::BLOCK_SIZE;
use crate::weights::{KvLayer, Plan, PlannedTensor, StoredDtype, WeightDtype};

/// Rows of activations as wide as the widest projection that live at once in a pass: input, gate, up, output.
const LIVE_ROWS: u64 = 4;
/// Bytes that a tokenizer takes for each of its tokens: spelling, tables in both directions, merges.
const TOKENIZER_BYTES: u64 = 256;

/// On a GPU: bytes, at most, of weights that are made operands of tensor cores at once.
pub(crate) const GPU_SCRATCH: usize = 256 << 20;
/// On a GPU: what the driver's context and the kernels' code take beside our allocations; 0.6 to 0.7 GB on an H100.
const GPU_DRIVER: u64 = 600_000_000;

/// Whose memory is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryOf {
    /// The machine's, with keys and values as f32.
    Cpu,
    /// A GPU's, with keys and values of this type.
    Gpu(ComputeDtype),
}

impl From<&Backend> for MemoryOf {
    fn from(backend: &Backend) -> Self {
        match backend {
            Backend::Cpu(_) => Self::Cpu,
            #[cfg(feature = "cuda")]
            Backend::Cuda(gpu) => Self::Gpu(gpu.dtype()),
        }
    }
}

/// Memory that a model needs on one device at one context length, in bytes. Weights are exact; the workspace is an estimate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryNeed {
    /// Context length in tokens.
    pub context: usize,
    /// Weights.
    pub weights: u64,
    /// Keys and values of one sequence as long as the context.
    pub cache: u64,
    /// What a pass over a chunk of a prompt works with: activations and logits; on the CPU the tokenizer too, on a GPU
    /// weights on their way to the tensor cores and the driver's own.
    pub workspace: u64,
}

impl MemoryNeed {
    /// What a planned model needs for a context of so many tokens.
    #[must_use]
    pub fn of(plan: &Plan, context: usize, memory: MemoryOf) -> Self {
        let (cache, workspace) = match memory {
            MemoryOf::Cpu => (plan.kv_bytes(context) as u64, cpu_workspace(plan, context)),
            MemoryOf::Gpu(dtype) => (
                gpu_cache(plan, context, dtype.bytes()),
                gpu_workspace(plan, context),
            ),
        };
        Self {
            context,
            weights: plan.weight_bytes(),
            cache,
            workspace,
        }
    }

    /// All of it.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.weights
            .saturating_add(self.cache)
            .saturating_add(self.workspace)
    }

    /// The longest context, at most `limit`, that fits into so many bytes; `None` if not even one token does.
    #[must_use]
    pub fn longest_context(
        plan: &Plan,
        bytes: u64,
        limit: usize,
        memory: MemoryOf,
    ) -> Option<usize> {
        let fits = |context: usize| Self::of(plan, context, memory).total() <= bytes;
        if !fits(1) {
            return None;
        }
        // Fits at `low`; `high` is the first length that may not.
        let (mut low, mut high) = (1, limit.max(1).saturating_add(1));
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if fits(middle) {
                low = middle;
            } else {
                high = middle;
            }
        }
        Some(low)
    }
}

fn cpu_workspace(plan: &Plan, context: usize) -> u64 {
    let rows = |shape: &[usize]| match *shape {
        [.., rows, _] => rows as u64,
        _ => 0,
    };
    let matrices = || plan.tensors.iter().map(|tensor| rows(&tensor.shape));
    // The embedding, and a head of its own, have a row for each token; no projection is as wide.
    let vocabulary = matrices().max().unwrap_or(0);
    let widest = matrices()
        .filter(|rows| *rows < vocabulary)
        .max()
        .unwrap_or(0);
    let tokens = CPU_PREFILL_CHUNK.min(context) as u64;
    let floats = tokens
        .saturating_mul(LIVE_ROWS)
        .saturating_mul(widest)
        .saturating_add(vocabulary);
    floats
        .saturating_mul(size_of::<f32>() as u64)
        .saturating_add(vocabulary.saturating_mul(TOKENIZER_BYTES))
}

/// Keys and values on a GPU: a layer with a window has room for it and for a chunk of a prompt.
fn gpu_cache(plan: &Plan, context: usize, bytes: usize) -> u64 {
    let layer = |layer: &KvLayer| {
        let reach = layer.window.into_iter().chain(layer.chunk).min();
        let blocks = reach.map_or(usize::MAX, |reach| {
            reach.saturating_add(GPU_PREFILL_CHUNK) / BLOCK_SIZE + 2
        });
        let blocks = blocks.min(context.div_ceil(BLOCK_SIZE)) as u64;
        let row = (layer.heads * (layer.k_dim + layer.v_dim) * bytes) as u64;
        blocks.saturating_mul(BLOCK_SIZE as u64).saturating_mul(row)
    };
    plan.kv.iter().map(layer).fold(0, u64::saturating_add)
}

/// The widest layer's results for a chunk, the residual stream and its neighbours, one row of logits, and what the driver
/// takes for itself.
fn gpu_workspace(plan: &Plan, context: usize) -> u64 {
    let (vocabulary, widest) = widths(plan.tensors.iter().filter_map(
        |tensor| match tensor.shape[..] {
            [rows, cols] => Some((rows, cols)),
            _ => None,
        },
    ));
    // Of stacked experts those that a token chooses, with their input and output.
    let experts = plan.tensors.iter().map(|tensor| match tensor.shape[..] {
        [count, rows, cols, ..] => {
            let chosen = (count as u128 * tensor.token_bytes as u128)
                .div_ceil(tensor.bytes.max(1) as u128) as usize;
            chosen.saturating_mul(rows.max(cols))
        }
        _ => 0,
    });
    let experts = experts.max().unwrap_or(0);
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
    let scratch = converted.max().unwrap_or(0).min(GPU_SCRATCH) as u64;
    let each = 6_usize
        .saturating_mul(widest)
        .saturating_add(experts.saturating_mul(2));
    let numbers = GPU_PREFILL_CHUNK
        .min(context)
        .saturating_mul(each)
        .saturating_add(vocabulary);
    (numbers as u64)
        .saturating_mul(4)
        .saturating_add(scratch)
        .saturating_add(GPU_DRIVER)
}

/// Rows of the widest matrix, which is the embedding, and the widest row or column of all others.
fn widths(matrices: impl Iterator<Item = (usize, usize)> + Clone) -> (usize, usize) {
    let vocabulary = matrices.clone().map(|(rows, _)| rows).max().unwrap_or(0);
    let widest = matrices
        .flat_map(|(rows, cols)| [rows, cols])
        .filter(|width| *width < vocabulary)
        .max();
    (vocabulary, widest.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv_cache::BLOCK_SIZE;
    use crate::weights::{KvLayer, PlannedTensor};

    const GPU: MemoryOf = MemoryOf::Gpu(ComputeDtype::Bf16);

    fn plan(window: Option<usize>) -> Plan {
        let tensor = |name: &str, shape: [usize; 2]| PlannedTensor {
            name: name.into(),
            shape: shape.to_vec(),
            at: "test.toml:1:1",
            dtype: None,
            bytes: shape[0] * shape[1] * 2,
            token_bytes: 0,
            parameters: (shape[0] * shape[1]) as u64,
        };
        let layer = KvLayer {
            heads: 2,
            k_dim: 64,
            v_dim: 64,
            window,
            chunk: None,
        };
        Plan {
            architecture: "test",
            tensors: vec![tensor("embed", [1000, 128]), tensor("up", [512, 128])],
            kv: vec![layer; 4],
            problems: Vec::new(),
        }
    }

    #[test]
    fn the_parts_are_the_plans() {
        let need = MemoryNeed::of(&plan(None), 1024, MemoryOf::Cpu);
        assert_eq!(need.weights, 2 * 128 * 1512);
        assert_eq!(need.cache, 4 * 1024 * 2 * 128 * 4);
        assert_eq!(
            need.workspace,
            (512 * 4 * 512 + 1000) * 4 + 1000 * 256,
            "four rows of the widest projection, logits, tokenizer"
        );
        assert_eq!(need.total(), need.weights + need.cache + need.workspace);
    }

    #[test]
    fn the_longest_context_is_the_last_that_fits() {
        let plan = plan(None);
        let bytes = MemoryNeed::of(&plan, 4096, MemoryOf::Cpu).total();
        // Whole blocks of the cache are taken, so a few more tokens cost nothing.
        let longest = MemoryNeed::longest_context(&plan, bytes, 1 << 20, MemoryOf::Cpu).unwrap();
        assert_eq!(longest, 4096);
        assert!(MemoryNeed::of(&plan, longest + BLOCK_SIZE, MemoryOf::Cpu).total() > bytes);
        assert_eq!(
            MemoryNeed::longest_context(&plan, bytes, 1000, MemoryOf::Cpu),
            Some(1000)
        );
        assert_eq!(
            MemoryNeed::longest_context(&plan, 1000, 1000, MemoryOf::Cpu),
            None
        );
        assert_eq!(
            MemoryNeed::longest_context(&plan, u64::MAX, usize::MAX - 1, MemoryOf::Cpu),
            Some(usize::MAX - 1)
        );
    }

    #[test]
    fn a_gpu_has_keys_and_values_of_its_type_and_its_own_workspace() {
        let need = MemoryNeed::of(&plan(None), 1024, GPU);
        assert_eq!(need.weights, 2 * 128 * 1512);
        assert_eq!(need.cache, 4 * 1024 * 2 * 128 * 2);
        // Six rows as wide as the widest projection for each token of a chunk, logits, the driver.
        assert_eq!(need.workspace, (1024 * 6 * 512 + 1000) * 4 + GPU_DRIVER);
        let exact = MemoryNeed::of(&plan(None), 1024, MemoryOf::Gpu(ComputeDtype::F32));
        assert_eq!(exact.cache, 2 * need.cache);
        let longest = MemoryNeed::longest_context(&plan(None), need.total(), 1 << 20, GPU);
        assert_eq!(longest, Some(1024));
    }

    #[test]
    fn a_gpu_keeps_what_a_window_sees_and_a_chunk() {
        let row = 4 * 2 * 128 * 2;
        assert_eq!(gpu_cache(&plan(Some(128)), 8192, 2), row * 70 * 32);
        assert_eq!(gpu_cache(&plan(Some(128)), 64, 2), row * 64);
    }

    #[test]
    fn a_window_bounds_the_cache() {
        let at = |context| MemoryNeed::of(&plan(Some(128)), context, MemoryOf::Cpu).cache;
        assert_eq!(at(10_000), at(100_000));
    }
}
