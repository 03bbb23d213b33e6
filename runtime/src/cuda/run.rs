//! Running a step: what a forward pass has recorded, or the launches of the step before.

use std::sync::Arc;

use super::cache::{DeviceCache, SlotRun, StepInputs};
use super::lower::Lowering;
use super::tape::{Op, Tape, TapeOp, Value};
use super::{Buffer, Graph};
use crate::Result;
use crate::kernels::gemv::TakeBest;
use crate::kernels::router::{Argmax, Next};
use crate::kernels::{DevicePtr, Launch};
use crate::kv_cache::{KvCache, SequenceId};
use crate::nn::{Frequencies, Run, Want};
use crate::sampling::SamplingError;

/// Logits on the device, `[rows, vocab]`.
#[derive(Clone, Debug)]
pub(crate) struct DeviceLogits {
    buffer: Arc<Buffer>,
    sampled: Arc<Buffer>,
    pub(crate) rows: usize,
    pub(crate) vocab: usize,
}

impl DeviceLogits {
    #[cfg(test)]
    pub(super) fn new(
        buffer: Arc<Buffer>,
        sampled: Arc<Buffer>,
        rows: usize,
        vocab: usize,
    ) -> Self {
        Self {
            buffer,
            sampled,
            rows,
            vocab,
        }
    }

    pub(super) fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    /// All of them, row by row.
    pub(crate) fn to_vec(&self) -> Result<Vec<f32>> {
        Ok(self.buffer.read(0, self.rows * self.vocab)?)
    }

    /// The first token with the last row's largest logit.
    pub(crate) fn argmax(&self) -> Result<u32> {
        let sampled: Vec<u32> = self.sampled.read(0, 2 * self.rows)?;
        let Some((token, largest)) = self.rows.checked_sub(1).and_then(|row| {
            Some((
                *sampled.get(row)?,
                f32::from_bits(*sampled.get(self.rows + row)?),
            ))
        }) else {
            return crate::nn::shape_error("a step without logits has no next token");
        };
        sampled_token(token, largest)
    }
}

/// The token, unless its logit says that the computation broke down.
pub(super) fn sampled_token(token: u32, largest: f32) -> Result<u32> {
    if largest.is_nan() || largest == f32::INFINITY {
        return Err(SamplingError::NotANumber {
            token: token as usize,
            value: largest,
        }
        .into());
    }
    if largest == f32::NEG_INFINITY {
        return Err(SamplingError::NothingLeft.into());
    }
    Ok(token)
}

/// The launches of a step of one token a sequence: they depend on nothing but how many there are.
#[derive(Debug)]
pub(crate) struct Replay {
    model: usize,
    runs: usize,
    /// No token may be beyond this position: attention's share of blocks was made for it.
    context: u32,
    vocab: usize,
    /// Tokens and positions that the embeddings have rows for.
    rows: [usize; 2],
    ropes: Vec<Arc<Frequencies>>,
    launches: Vec<Launch>,
    graph: Option<Graph>,
}

/// Runs what a tape has recorded up to its last value, the logits.
pub(crate) fn finish(
    cache: &mut KvCache,
    runs: &[(SequenceId, usize, usize)],
    tokens: &[u32],
    wanted: &[usize],
    logits: &Value,
) -> Result<DeviceLogits> {
    let gpu = logits.gpu();
    cache.place_on(&gpu)?;
    let ropes = ropes(logits);
    with_device(cache, runs, tokens, wanted, &ropes, |device| {
        let tape = logits.tape();
        device.fresh_logits(logits.tokens(), logits.width())?;
        let single = runs.iter().all(|run| run.1 == 1);
        let context = bucket(runs.iter().map(|run| run.2 + run.1).max().unwrap_or(0));
        let mut lowered = Lowering::run(&tape.nodes, logits.id(), device, single, context)?;
        if lowered.workspace > device.arena.bytes() {
            device.grow_arena(lowered.workspace)?;
            lowered = Lowering::run(&tape.nodes, logits.id(), device, single, context)?;
        }
        let mut launches = lowered.launches;
        let (rows, vocab) = (logits.tokens(), logits.width());
        let forward = launches.len();
        launches.extend(argmax(device, rows, vocab, lowered.best));
        gpu.launch(&launches)?;
        device.replay = None;
        // The graph alone ends with the next step's token and position.
        if single && logits.tokens() == runs.len() {
            launches.truncate(forward);
            launches.extend(next(device, rows, vocab, lowered.best));
            let rows = embedding_rows(&tape);
            let (model, runs, vocab) = (0, runs.len(), logits.width());
            device.replay = Some(Replay {
                model,
                runs,
                context,
                vocab,
                rows,
                ropes: ropes.clone(),
                launches,
                graph: None,
            });
        }
        Ok(device.logits_of(logits.tokens(), logits.width()))
    })
}

/// Says which model the last step was of, so that [`replay`] can go on with it.
pub(crate) fn remember(cache: &mut KvCache, model: usize) {
    if let Some(replay) = cache
        .device
        .as_mut()
        .and_then(|device| device.replay.as_mut())
    {
        replay.model = model;
    }
}

/// Runs the last step's launches for the next tokens, if nothing but tokens and positions differs; they become one graph.
pub(crate) fn replay(
    cache: &mut KvCache,
    model: usize,
    runs: &[Run],
) -> Result<Option<DeviceLogits>> {
    let Some(device) = &cache.device else {
        return Ok(None);
    };
    let Some(known) = device
        .replay
        .as_ref()
        .filter(|known| known.model == model && known.runs == runs.len())
    else {
        return Ok(None);
    };
    let single = runs
        .iter()
        .all(|run| run.logits == Want::Last && run.tokens.len() == 1);
    if !single || !device.is_idle() {
        return Ok(None);
    }
    let (rows, vocab, ropes) = (known.rows, known.vocab, known.ropes.clone());
    let lengths: Vec<_> = runs.iter().map(|run| (run.sequence, 1)).collect();
    let tokens: Vec<u32> = runs.iter().flat_map(|run| run.tokens).copied().collect();
    let starts: Vec<usize> = runs.iter().map(|run| cache.len(run.sequence)).collect();
    if bucket(starts.iter().map(|start| start + 1).max().unwrap_or(0)) != known.context {
        return Ok(None);
    }
    let inside = tokens.iter().all(|token| (*token as usize) < rows[0])
        && starts.iter().all(|start| *start < rows[1]);
    if !inside {
        // The forward pass says what is wrong.
        return Ok(None);
    }
    cache.reserve(&lengths)?;
    let placed: Vec<_> = runs
        .iter()
        .zip(&starts)
        .map(|(run, start)| (run.sequence, 1, *start))
        .collect();
    let wanted: Vec<usize> = (0..runs.len()).collect();
    let logits = with_device(cache, &placed, &tokens, &wanted, &ropes, |device| {
        let gpu = Arc::clone(&device.gpu);
        // Making room may have moved what the launches name.
        let Some(known) = &mut device.replay else {
            return Ok(None);
        };
        let graph = match &known.graph {
            Some(graph) => graph,
            None => known.graph.insert(Graph::capture(&gpu, &known.launches)?),
        };
        graph.launch()?;
        Ok(Some(device.logits_of(runs.len(), vocab)))
    })?;
    if logits.is_some() {
        cache.commit(lengths.into_iter());
    }
    Ok(logits)
}

/// Runs the last step's launches once more, with the token that they chose; `false` if they no longer fit.
pub(super) fn launch_again(cache: &mut KvCache, sequence: SequenceId) -> Result<bool> {
    let Some(mut device) = cache.device.take() else {
        return Ok(false);
    };
    let start = cache.len(sequence);
    let result = (|| {
        let run = SlotRun {
            sequence: cache.sequence(sequence)?,
            tokens: 1,
            start,
        };
        device.prepare_next(&cache.pools, &run)?;
        let Some(known) = device.replay.as_ref().filter(|known| start < known.rows[1]) else {
            return Ok(false);
        };
        if bucket(start + 1) != known.context {
            return Ok(false);
        }
        let Some(graph) = &known.graph else {
            return Ok(false);
        };
        graph.launch()?;
        Ok(true)
    })();
    cache.device = Some(device);
    result
}

/// The context lengths that share one plan: up to this one, beyond the half of it.
fn bucket(positions: usize) -> u32 {
    u32::try_from(positions.max(256).next_power_of_two()).unwrap_or(u32::MAX)
}

/// Sends a step's inputs, then lets `f` work with the device's part of the cache.
fn with_device<T>(
    cache: &mut KvCache,
    runs: &[(SequenceId, usize, usize)],
    tokens: &[u32],
    wanted: &[usize],
    ropes: &[Arc<Frequencies>],
    f: impl FnOnce(&mut DeviceCache) -> Result<T>,
) -> Result<T> {
    let Some(mut device) = cache.device.take() else {
        return crate::nn::shape_error("the KV cache is on no GPU");
    };
    let result = (|| {
        let slots = runs
            .iter()
            .map(|(id, tokens, start)| {
                Ok(SlotRun {
                    sequence: cache.sequence(*id)?,
                    tokens: *tokens,
                    start: *start,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        device.prepare(
            &cache.pools,
            StepInputs {
                runs: &slots,
                tokens,
                wanted,
            },
            ropes,
        )?;
        f(&mut device)
    })();
    cache.device = Some(device);
    result
}

/// The rotations that a tape uses.
fn ropes(value: &Value) -> Vec<Arc<Frequencies>> {
    let mut found: Vec<Arc<Frequencies>> = Vec::new();
    for node in &value.tape().nodes {
        let Op::Append { ops, .. } = &node.op else {
            continue;
        };
        for op in ops {
            if let TapeOp::Rope { frequencies, .. } = op
                && !found.iter().any(|known| Arc::ptr_eq(known, frequencies))
            {
                found.push(Arc::clone(frequencies));
            }
        }
    }
    found
}

/// Tokens and positions that the embeddings of a tape have rows for.
fn embedding_rows(tape: &Tape) -> [usize; 2] {
    match &tape.nodes[0].op {
        Op::Embed { table, places, .. } => {
            let positions = places.as_ref().map_or(usize::MAX, |(table, offset)| {
                table.rows().saturating_sub(*offset)
            });
            [table.rows(), positions]
        }
        _ => [0, 0],
    }
}

/// The most likely tokens; `best`: the projection has found them.
fn argmax(device: &DeviceCache, rows: usize, vocab: usize, best: bool) -> Option<Launch> {
    if rows == 0 {
        return None;
    }
    if best {
        return Some(take_best(device, rows).launch());
    }
    let token = device.sampled.ptr();
    let argmax = Argmax {
        logits: device.logits.ptr(),
        token,
        largest: token.offset(rows * 4),
        vocab: vocab as u32,
        unused: 0,
    };
    Some(argmax.launch(rows as u32))
}

/// The most likely tokens, which become the next step's, with the positions after these.
fn next(device: &DeviceCache, runs: usize, vocab: usize, best: bool) -> Vec<Launch> {
    let (tokens, positions) = (device.tokens(), device.positions());
    if best {
        let take = TakeBest {
            tokens,
            positions,
            ..take_best(device, runs)
        };
        return vec![take.launch()];
    }
    let next = Next {
        sampled: device.sampled.ptr(),
        tokens,
        positions,
        runs: runs as u32,
        unused: 0,
    };
    argmax(device, runs, vocab, false)
        .into_iter()
        .chain([next.launch()])
        .collect()
}

fn take_best(device: &DeviceCache, rows: usize) -> TakeBest {
    let token = device.sampled.ptr();
    TakeBest {
        best: device.best.ptr(),
        token,
        largest: token.offset(rows * 4),
        tokens: DevicePtr::NULL,
        positions: DevicePtr::NULL,
        rows: rows as u32,
        unused: 0,
    }
}

impl DeviceCache {
    /// Whether nobody reads the last step's logits any more.
    fn is_idle(&self) -> bool {
        Arc::strong_count(&self.logits) == 1 && Arc::strong_count(&self.sampled) == 1
    }

    fn logits_of(&self, rows: usize, vocab: usize) -> DeviceLogits {
        let (buffer, sampled) = (Arc::clone(&self.logits), Arc::clone(&self.sampled));
        DeviceLogits {
            buffer,
            sampled,
            rows,
            vocab,
        }
    }
}
