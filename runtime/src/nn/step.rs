//! One forward pass over runs of tokens of several sequences.

use std::ops::Range;
use std::sync::Arc;

use candle_core::Tensor;

use super::error::shape;
use super::rope::Angles;
use super::{
    Act, Activations, Append, Attend, Glu, KvSlot, Linear, Model, NnError, Queries, Rope, act,
};
#[cfg(feature = "cuda")]
use crate::kernels::elementwise::Map;
use crate::kv_cache::{BLOCK_SIZE, BlockTable, CacheError, KvCache, Place, Reach, SequenceId};
use crate::nn::parallel::for_rows;
use crate::sampling::{Sampled, Sampler};
use crate::{Result, cpu};

/// Which tokens' logits are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// The last token's.
    Last,
    /// Those of the last so many tokens.
    LastN(usize),
    /// All.
    All,
    /// None.
    None,
}

/// The next tokens of one sequence.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// The sequence.
    pub sequence: SequenceId,
    /// Its next tokens.
    pub tokens: &'a [u32],
    /// Which of their logits are wanted.
    pub logits: Want,
}

/// A run's place in the step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchRun {
    sequence: SequenceId,
    /// Its first token in the step.
    pub(crate) first: usize,
    pub(crate) tokens: usize,
    /// Position of its first token in the sequence.
    pub(crate) start: usize,
    /// Length that the sequence was opened for.
    pub(crate) opened: usize,
}

impl BatchRun {
    /// Positions of its tokens in the sequence.
    pub(crate) fn positions(&self) -> Range<usize> {
        self.start..self.start + self.tokens
    }
}

/// A model's next tokens of some sequences: their logits. On a GPU a step that differs from the last one by nothing but its
/// tokens and positions runs that one's graph, without asking the model again.
///
/// # Errors
/// If the cache has no room, a run is empty, a token is not in the vocabulary, or the device fails.
pub fn forward(model: &dyn Model, cache: &mut KvCache, runs: &[Run]) -> Result<Logits> {
    #[cfg(feature = "cuda")]
    {
        let id = std::ptr::from_ref(model).addr();
        if let Some(logits) = crate::cuda::replay(cache, id, runs)? {
            return Ok(Logits(Numbers::Device(logits)));
        }
        let logits = model.forward(&mut Step::new(cache, runs)?)?;
        crate::cuda::remember(cache, id);
        Ok(logits)
    }
    #[cfg(not(feature = "cuda"))]
    model.forward(&mut Step::new(cache, runs)?)
}

/// The most likely token after the next tokens of one sequence. On a GPU the step after it has begun already when this
/// returns: it costs nothing if the caller goes on with that token.
///
/// # Errors
/// As [`forward`], and if a logit is no number.
pub fn next_token(
    model: &dyn Model,
    cache: &mut KvCache,
    sequence: SequenceId,
    tokens: &[u32],
) -> Result<u32> {
    #[cfg(feature = "cuda")]
    if let [token] = *tokens
        && let Some(next) =
            crate::cuda::greedy(cache, std::ptr::from_ref(model).addr(), sequence, token)?
    {
        return Ok(next);
    }
    let run = Run {
        sequence,
        tokens,
        logits: Want::Last,
    };
    forward(model, cache, &[run])?.argmax()
}

/// One forward pass: tokens, their positions, and the cache that keeps their keys and values.
#[derive(Debug)]
pub struct Step<'c> {
    cache: &'c mut KvCache,
    runs: Vec<BatchRun>,
    /// Of all runs, one after the other.
    tokens: Vec<u32>,
    /// Of each token in its sequence.
    positions: Vec<usize>,
    /// Tokens whose logits are wanted.
    wanted: Vec<usize>,
    /// Rotations that layers of this step have asked for.
    angles: Vec<Arc<Angles>>,
}

impl<'c> Step<'c> {
    /// Makes room in the cache. The runs count as cached when their logits have been computed; after a failed forward pass
    /// the sequences are as before.
    ///
    /// # Errors
    /// If the cache has no room, a sequence is not open or twice in the step, or a run is empty.
    pub fn new(cache: &'c mut KvCache, runs: &[Run]) -> Result<Self> {
        if runs.is_empty() {
            return Err(CacheError::Empty("a step").into());
        }
        let lengths: Vec<_> = runs
            .iter()
            .map(|run| (run.sequence, run.tokens.len()))
            .collect();
        cache.reserve(&lengths)?;
        let (mut placed, mut wanted) = (Vec::with_capacity(runs.len()), Vec::new());
        let (mut tokens, mut positions) = (Vec::new(), Vec::new());
        for run in runs {
            let sequence = cache.sequence(run.sequence)?;
            let place = BatchRun {
                sequence: run.sequence,
                first: tokens.len(),
                tokens: run.tokens.len(),
                start: sequence.len,
                opened: sequence.opened,
            };
            tokens.extend_from_slice(run.tokens);
            positions.extend(place.positions());
            let count = match run.logits {
                Want::Last => 1,
                Want::LastN(count) => count.min(run.tokens.len()),
                Want::All => run.tokens.len(),
                Want::None => 0,
            };
            wanted.extend(tokens.len() - count..tokens.len());
            placed.push(place);
        }
        Ok(Self {
            cache,
            runs: placed,
            tokens,
            positions,
            wanted,
            angles: Vec::new(),
        })
    }

    /// Token ids of all runs, one after the other.
    pub(crate) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Positions of the tokens in their sequences.
    pub(crate) fn positions(&self) -> &[usize] {
        &self.positions
    }

    pub(crate) fn runs(&self) -> &[BatchRun] {
        &self.runs
    }

    /// The step's rotations by a rope, computed once for all layers that share it.
    pub(super) fn angles(&mut self, rope: &Rope) -> Arc<Angles> {
        if let Some(angles) = self.angles.iter().find(|angles| angles.are_of(rope)) {
            return Arc::clone(angles);
        }
        let angles = Arc::new(Angles::new(rope, &self.runs));
        self.angles.push(Arc::clone(&angles));
        angles
    }

    fn place(&self, layer: usize) -> Result<Place> {
        self.cache.places.get(layer).copied().ok_or_else(|| {
            NnError::Shape("the KV cache was made for another model: it has fewer layers".into())
                .into()
        })
    }

    pub(super) fn reach(&self, layer: usize) -> Result<Reach> {
        Ok(self.cache.pools[self.place(layer)?.pool].reach)
    }

    fn table(&self, pool: usize, run: usize) -> Option<&BlockTable> {
        self.cache
            .sequence(self.runs[run].sequence)
            .ok()?
            .tables
            .get(pool)
    }

    /// The cache block with positions `index * BLOCK_SIZE` and following of a run's sequence.
    pub(super) fn block(&self, layer: usize, run: usize, index: usize) -> Option<(Place, &[f32])> {
        let place = self.place(layer).ok()?;
        let block = self.table(place.pool, run)?.block(index)?;
        Some((place, self.cache.pools[place.pool].block(block)))
    }

    /// The cache block that holds a position.
    pub(super) fn block_mut(
        &mut self,
        layer: usize,
        run: usize,
        position: usize,
    ) -> Result<(Place, &mut [f32])> {
        let place = self.place(layer)?;
        let block = self
            .table(place.pool, run)
            .and_then(|table| table.block(position / BLOCK_SIZE));
        match block {
            Some(block) => Ok((place, self.cache.pools[place.pool].block_mut(block))),
            None => shape(format!("position {position} has no block in the KV cache")),
        }
    }

    /// Prepares queries, keys and values out of rows q, k, v (v not for a slot that [`v_is_k`](KvSlot::v_is_k)) and
    /// writes keys and values to the cache.
    pub fn append<'s>(&'s mut self, kv: &'s KvSlot, qkv: Activations) -> Append<'s, 'c> {
        Append::new(self, kv, qkv)
    }

    /// Attention of queries over the cached keys and values.
    pub fn attend<'s>(&'s self, kv: &'s KvSlot, queries: Queries) -> Attend<'s, 'c> {
        Attend::new(self, kv, queries)
    }

    /// `[tokens, gate | up]` → `[tokens, half of it]`
    ///
    /// # Errors
    /// If the width is odd.
    pub fn glu(&self, gate_up: Activations, glu: impl Into<Glu>) -> Result<Activations> {
        let (tokens, width, glu) = (gate_up.tokens(), gate_up.width(), glu.into());
        if !width.is_multiple_of(2) || width == 0 {
            return shape(format!(
                "rows of {width} are not gate and up of the same width"
            ));
        }
        let inter = width / 2;
        #[cfg(feature = "cuda")]
        if let Some(x) = gate_up.recorded() {
            return Ok(x.glu(glu).into());
        }
        let gate_up = gate_up.values();
        let mut out = vec![0.0; tokens * inter];
        for_rows(&mut out, inter, |first, rows| {
            act::join(
                glu,
                &gate_up[first * width..][..rows.len() * 2],
                rows,
                inter,
            );
        });
        Activations::new(out, tokens, inter)
    }

    /// Applies an activation function.
    ///
    /// # Errors
    /// If the device fails.
    pub fn activate(&self, mut x: Activations, act: Act) -> Result<Activations> {
        #[cfg(feature = "cuda")]
        if let Some(x) = x.recorded() {
            let map = Map {
                act,
                ..Map::IDENTITY
            };
            return Ok(x.map(map).into());
        }
        x.change_rows(|_, rows| act::apply(act, rows))?;
        Ok(x)
    }

    /// The rows whose logits are wanted.
    ///
    /// # Errors
    /// If `x` has not a row for each token.
    pub fn wanted(&self, x: Activations) -> Result<Activations> {
        if x.tokens() != self.tokens.len() {
            return shape(format!(
                "{} rows are not those of {} tokens",
                x.tokens(),
                self.tokens.len()
            ));
        }
        if self.wanted.len() == self.tokens.len() {
            return Ok(x);
        }
        #[cfg(feature = "cuda")]
        if let Some(x) = x.recorded() {
            return Ok(x.wanted(self.wanted.len()).into());
        }
        x.rows(&self.wanted)
    }

    /// Runs what a GPU's tape has recorded, and counts the runs as cached.
    #[cfg(feature = "cuda")]
    fn finish(&mut self, logits: &crate::cuda::Value) -> Result<Logits> {
        let runs: Vec<_> = self
            .runs
            .iter()
            .map(|run| (run.sequence, run.tokens, run.start))
            .collect();
        let logits = crate::cuda::finish(self.cache, &runs, &self.tokens, &self.wanted, logits)?;
        self.commit();
        Ok(Logits(Numbers::Device(logits)))
    }

    /// Counts the runs as cached.
    pub(super) fn commit(&mut self) {
        let Self { cache, runs, .. } = self;
        cache.commit(runs.drain(..).map(|run| (run.sequence, run.tokens)));
    }

    /// The last projection. Its end counts the runs as cached.
    pub fn logits<'s>(&'s mut self, out: &'s Linear, x: Activations) -> LogitsOptions<'s, 'c> {
        LogitsOptions {
            step: self,
            out,
            x,
            scale: 1.0,
            softcap: None,
        }
    }
}

/// The last projection of a model.
#[derive(Debug)]
#[must_use = "nothing happens before `run`"]
pub struct LogitsOptions<'s, 'c> {
    step: &'s mut Step<'c>,
    out: &'s Linear,
    x: Activations,
    scale: f64,
    softcap: Option<f64>,
}

impl LogitsOptions<'_, '_> {
    /// Factor of the logits, after the bias.
    pub fn scale(self, factor: f64) -> Self {
        Self {
            scale: factor,
            ..self
        }
    }

    /// cap · tanh(logits / cap), after the factor; none and 0 are off.
    pub fn softcap(self, cap: impl Into<Option<f64>>) -> Self {
        Self {
            softcap: cap.into().filter(|cap| *cap != 0.0),
            ..self
        }
    }

    /// Computes them.
    ///
    /// # Errors
    /// If the width of the hidden state is another.
    pub fn run(self) -> Result<Logits> {
        let mut logits = self.out.forward(&self.x, self.step)?;
        #[cfg(feature = "cuda")]
        if let Some(logits) = logits.recorded() {
            let factor = self.scale as f32;
            let softcap = self.softcap.unwrap_or(0.0) as f32;
            let map = Map {
                factor,
                softcap,
                ..Map::IDENTITY
            };
            let plain = factor == 1.0 && softcap == 0.0;
            let logits = if plain {
                logits.clone()
            } else {
                logits.map(map)
            };
            return self.step.finish(&logits);
        }
        if self.scale != 1.0 {
            logits.scale_by(self.scale)?;
        }
        if let Some(cap) = self.softcap {
            let cap = cap as f32;
            logits.change_rows(|_, rows| {
                cpu::scale(rows, 1.0 / cap);
                cpu::tanh(rows);
                cpu::scale(rows, cap);
            })?;
        }
        self.step.commit();
        Ok(Logits(Numbers::Host(logits)))
    }
}

/// What [`Logits::sample`] works with, kept from token to token; for any model.
#[derive(Debug, Default)]
pub struct SamplerMemory {
    #[cfg(feature = "cuda")]
    device: Option<crate::cuda::DeviceSampler>,
}

/// Logits `[rows, vocab]`, f32: the wanted rows of all runs, in their order.
#[derive(Clone, Debug)]
pub struct Logits(Numbers);

#[derive(Clone, Debug)]
enum Numbers {
    Host(Activations),
    #[cfg(feature = "cuda")]
    Device(crate::cuda::DeviceLogits),
}

impl Logits {
    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        match &self.0 {
            Numbers::Host(logits) => logits.tokens(),
            #[cfg(feature = "cuda")]
            Numbers::Device(logits) => logits.rows,
        }
    }

    /// Number of columns.
    #[must_use]
    pub fn vocab(&self) -> usize {
        match &self.0 {
            Numbers::Host(logits) => logits.width(),
            #[cfg(feature = "cuda")]
            Numbers::Device(logits) => logits.vocab,
        }
    }

    /// As a candle tensor `[rows, vocab]` in the CPU's memory.
    ///
    /// # Errors
    /// If the device fails.
    pub fn tensor(&self) -> Result<Tensor> {
        match &self.0 {
            Numbers::Host(logits) => logits.tensor().cloned(),
            #[cfg(feature = "cuda")]
            Numbers::Device(logits) => {
                let shape = (logits.rows, logits.vocab);
                Ok(Tensor::from_vec(
                    logits.to_vec()?,
                    shape,
                    &candle_core::Device::Cpu,
                )?)
            }
        }
    }

    /// The most likely token after the last row; of equals the first.
    ///
    /// # Errors
    /// If there is no row, a logit is no number, or the device fails.
    pub fn argmax(&self) -> Result<u32> {
        match &self.0 {
            Numbers::Host(logits) => {
                let values = logits.values();
                Ok(crate::sampling::argmax(
                    values.rchunks(logits.width()).next().unwrap_or(&[]),
                )?)
            }
            #[cfg(feature = "cuda")]
            Numbers::Device(logits) => logits.argmax(),
        }
    }

    /// Chooses the token after the last row. On a GPU the host gets only the logits that matter, with the same choice.
    ///
    /// # Errors
    /// If there is no row, the logits are not the sampler's or no numbers, or the device fails.
    #[cfg_attr(not(feature = "cuda"), expect(unused_variables, reason = "for GPUs"))]
    pub fn sample(&self, sampler: &mut Sampler, memory: &mut SamplerMemory) -> Result<Sampled> {
        match &self.0 {
            Numbers::Host(logits) => {
                let values = logits.values();
                Ok(sampler.sample(values.rchunks(logits.width()).next().unwrap_or(&[]))?)
            }
            #[cfg(feature = "cuda")]
            Numbers::Device(logits) => sampler.sample_from(&mut crate::cuda::DeviceRow::last(
                logits,
                &mut memory.device,
            )?),
        }
    }

    /// All of them, row by row.
    ///
    /// # Errors
    /// If the device fails.
    pub fn to_vec(&self) -> Result<Vec<f32>> {
        match &self.0 {
            Numbers::Host(logits) => Ok(logits.values().to_vec()),
            #[cfg(feature = "cuda")]
            Numbers::Device(logits) => logits.to_vec(),
        }
    }
}
