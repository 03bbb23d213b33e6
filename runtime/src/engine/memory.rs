//! How much memory a model needs, known from its headers.

use serde::Serialize;

use super::generate::PREFILL_CHUNK;
use crate::weights::Plan;

/// Rows of activations as wide as the widest projection that live at once in a pass: input, gate, up, output.
const LIVE_ROWS: u64 = 4;
/// Bytes that a tokenizer takes for each of its tokens: spelling, tables in both directions, merges.
const TOKENIZER_BYTES: u64 = 256;

/// Memory that a model needs on the CPU at one context length, in bytes. Weights are exact; the workspace is an estimate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryNeed {
    /// Context length in tokens.
    pub context: usize,
    /// Weights.
    pub weights: u64,
    /// Keys and values of a full context.
    pub cache: u64,
    /// Activations of a prefill chunk, logits and tokenizer.
    pub workspace: u64,
}

impl MemoryNeed {
    /// What a planned model needs for a context of so many tokens.
    #[must_use]
    pub fn of(plan: &Plan, context: usize) -> Self {
        Self {
            context,
            weights: plan.weight_bytes(),
            cache: plan.kv_bytes(context) as u64,
            workspace: workspace(plan, context),
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
    pub fn longest_context(plan: &Plan, bytes: u64, limit: usize) -> Option<usize> {
        let fits = |context: usize| Self::of(plan, context).total() <= bytes;
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

fn workspace(plan: &Plan, context: usize) -> u64 {
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
    let tokens = PREFILL_CHUNK.min(context) as u64;
    let floats = tokens
        .saturating_mul(LIVE_ROWS)
        .saturating_mul(widest)
        .saturating_add(vocabulary);
    floats
        .saturating_mul(size_of::<f32>() as u64)
        .saturating_add(vocabulary.saturating_mul(TOKENIZER_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv_cache::BLOCK_SIZE;
    use crate::weights::{KvLayer, PlannedTensor};

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
        let need = MemoryNeed::of(&plan(None), 1024);
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
        let bytes = MemoryNeed::of(&plan, 4096).total();
        // Whole blocks of the cache are taken, so a few more tokens cost nothing.
        let longest = MemoryNeed::longest_context(&plan, bytes, 1 << 20).unwrap();
        assert_eq!(longest, 4096);
        assert!(MemoryNeed::of(&plan, longest + BLOCK_SIZE).total() > bytes);
        assert_eq!(MemoryNeed::longest_context(&plan, bytes, 1000), Some(1000));
        assert_eq!(MemoryNeed::longest_context(&plan, 1000, 1000), None);
        assert_eq!(
            MemoryNeed::longest_context(&plan, u64::MAX, usize::MAX - 1),
            Some(usize::MAX - 1)
        );
    }

    #[test]
    fn a_window_bounds_the_cache() {
        let at = |context| MemoryNeed::of(&plan(Some(128)), context).cache;
        assert_eq!(at(10_000), at(100_000));
    }
}
