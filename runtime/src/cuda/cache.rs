//! Keys and values on the device, and the buffers that a step's kernels read their inputs from.

use std::sync::Arc;

use super::ahead::Ahead;
use super::fast::COUNTERS;
use super::{Buffer, Gpu, Replay};
use crate::Result;
use crate::kernels::DevicePtr;
use crate::kernels::attention::{Angles, KvArg};
use crate::kernels::decode::MOST_TOKENS;
use crate::kv_cache::{BLOCK_SIZE, KvCache, Place, Pool, Sequence};
use crate::nn::Frequencies;
use crate::weights::KvLayer;

/// Tokens that a window layer's first blocks have room for beside the window: a chunk of a prompt.
const CHUNK: usize = 512;
/// Rooms of the inputs when a cache is placed.
const FIRST_TOKENS: usize = 512;
const FIRST_SLOTS: usize = 4;

/// What a cache has on a device.
#[derive(Debug)]
pub(crate) struct DeviceCache {
    pub(super) gpu: Arc<Gpu>,
    layers: Vec<Layer>,
    pools: Vec<Table>,
    inputs: Inputs,
    ropes: Vec<Rope>,
    /// Tokens of each run of the step.
    run_tokens: Vec<u32>,
    /// Results of operations.
    pub(super) arena: Buffer,
    pub(super) logits: Arc<Buffer>,
    /// The largest logit of each row: its token, then its value.
    pub(super) sampled: Arc<Buffer>,
    /// Zeros between steps: where projections leave the largest logit of each row.
    pub(super) best: Buffer,
    /// Zeros between kernels: blocks of attention count themselves here.
    pub(super) counters: Buffer,
    /// The launches of the last step of single tokens.
    pub(super) replay: Option<Replay>,
    /// Steps that run ahead of the host.
    pub(super) ahead: Option<Ahead>,
}

#[derive(Debug)]
struct Layer {
    /// `[blocks, heads, 32, k_dim]`
    k: Buffer,
    /// `[blocks, heads, 32, v_dim]`
    v: Buffer,
    place: Place,
    shape: KvLayer,
}

/// The block tables of a pool.
#[derive(Debug)]
struct Table {
    /// Blocks that the layers' buffers hold.
    blocks: usize,
    /// `[slots, stride]`
    device: Buffer,
    /// What was sent.
    sent: Vec<u32>,
    stride: usize,
}

/// Token ids, positions, slots and wanted rows of a step, in one buffer.
#[derive(Debug)]
struct Inputs {
    device: Buffer,
    tokens: usize,
    slots: usize,
}

/// The rotation of a step's tokens by one set of frequencies.
#[derive(Debug)]
struct Rope {
    frequencies: Arc<Frequencies>,
    /// Lengths that the sequences in the slots were opened for.
    opened: Vec<usize>,
    pairs: usize,
    /// `[slots, pairs]`
    table: Buffer,
    /// `[tokens, pairs]`, cosines, then sines
    angles: Buffer,
    tokens: usize,
}

/// One run of a step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlotRun<'a> {
    pub(crate) sequence: &'a Sequence,
    pub(crate) tokens: usize,
    pub(crate) start: usize,
}

/// All that a step's kernels read as inputs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StepInputs<'a> {
    pub(crate) runs: &'a [SlotRun<'a>],
    pub(crate) tokens: &'a [u32],
    pub(crate) wanted: &'a [usize],
}

impl KvCache {
    /// Gives the cache its memory on a device, unless it has it.
    pub(crate) fn place_on(&mut self, gpu: &Arc<Gpu>) -> Result<()> {
        if self.device.is_some() {
            return Ok(());
        }
        let mut pools = Vec::new();
        for pool in &self.pools {
            let blocks = first_blocks(pool);
            let stride = pool.limit();
            let device = Buffer::new(gpu, FIRST_SLOTS * stride * 4, "block tables")?;
            pools.push(Table {
                blocks,
                device,
                sent: vec![u32::MAX; FIRST_SLOTS * stride],
                stride,
            });
        }
        let mut layers = Vec::new();
        for (place, shape) in self.places.iter().zip(&self.layers) {
            let blocks = pools.get(place.pool).map_or(0, |pool| pool.blocks);
            let [k, v] = Layer::bytes(gpu, shape, blocks);
            layers.push(Layer {
                k: Buffer::new(gpu, k, "the KV cache")?,
                v: Buffer::new(gpu, v, "the KV cache")?,
                place: *place,
                shape: *shape,
            });
        }
        let counters = Buffer::new(gpu, COUNTERS * 4, "workspace")?;
        counters.fill(0)?;
        let best = Buffer::new(gpu, MOST_TOKENS as usize * 8, "workspace")?;
        best.fill(0)?;
        self.device = Some(Box::new(DeviceCache {
            gpu: Arc::clone(gpu),
            layers,
            pools,
            inputs: Inputs::new(gpu, FIRST_TOKENS, FIRST_SLOTS)?,
            ropes: Vec::new(),
            run_tokens: Vec::new(),
            arena: Buffer::new(gpu, 0, "workspace")?,
            logits: Arc::new(Buffer::new(gpu, 0, "logits")?),
            sampled: Arc::new(Buffer::new(gpu, FIRST_SLOTS * 8, "logits")?),
            best,
            counters,
            replay: None,
            ahead: None,
        }));
        Ok(())
    }
}

/// Blocks to begin with: all, or what a window and a chunk of a prompt need.
fn first_blocks(pool: &Pool) -> usize {
    let reach = pool.reach.window.into_iter().chain(pool.reach.chunk).min();
    let needed = reach.map_or(usize::MAX, |reach| {
        reach.saturating_add(CHUNK) / BLOCK_SIZE + 2
    });
    needed.min(pool.limit())
}

impl Layer {
    fn bytes(gpu: &Gpu, shape: &KvLayer, blocks: usize) -> [usize; 2] {
        [shape.k_dim, shape.v_dim]
            .map(|dim| blocks * shape.heads * BLOCK_SIZE * dim * gpu.dtype().bytes())
    }
}

impl Inputs {
    fn new(gpu: &Arc<Gpu>, tokens: usize, slots: usize) -> Result<Self> {
        let device = Buffer::new(gpu, (4 * tokens + 4 * slots) * 4, "a step's inputs")?;
        Ok(Self {
            device,
            tokens,
            slots,
        })
    }

    fn part(&self, index: usize) -> DevicePtr {
        self.device.ptr().offset(index * self.tokens * 4)
    }
}

impl DeviceCache {
    /// `[tokens]`
    pub(super) fn tokens(&self) -> DevicePtr {
        self.inputs.part(0)
    }

    /// `[tokens]`
    pub(super) fn positions(&self) -> DevicePtr {
        self.inputs.part(1)
    }

    /// `[tokens]`: the run of each token
    pub(super) fn slots(&self) -> DevicePtr {
        self.inputs.part(2)
    }

    /// `[rows]`
    pub(super) fn wanted(&self) -> DevicePtr {
        self.inputs.part(3)
    }

    /// `[runs, 4]`: first token, tokens, position of the first token, slot
    pub(super) fn runs(&self) -> DevicePtr {
        self.inputs.part(4)
    }

    /// Tokens of each run.
    pub(super) fn run_tokens(&self) -> &[u32] {
        &self.run_tokens
    }

    /// A layer's keys and values, the window and the chunk of its queries (0: none).
    pub(super) fn layer(&self, index: usize) -> Result<(KvArg, u32, u32)> {
        let Some(layer) = self.layers.get(index) else {
            return crate::nn::shape_error(
                "the KV cache was made for another model: it has fewer layers",
            );
        };
        let table = &self.pools[layer.place.pool];
        let arg = KvArg {
            k: layer.k.ptr(),
            v: layer.v.ptr(),
            table: table.device.ptr(),
            stride: table.stride as u32,
            heads: layer.shape.heads as u32,
            k_dim: layer.shape.k_dim as u32,
            v_dim: layer.shape.v_dim as u32,
        };
        let limit =
            |limit: Option<usize>| limit.map_or(0, |limit| u32::try_from(limit).unwrap_or(0));
        Ok((arg, limit(layer.shape.window), limit(layer.shape.chunk)))
    }

    /// The cosines, the sines and the pairs of a rotation, and the launch that makes them.
    pub(super) fn rope(&self, frequencies: &Arc<Frequencies>) -> Option<Angles> {
        let rope = self
            .ropes
            .iter()
            .find(|rope| Arc::ptr_eq(&rope.frequencies, frequencies))?;
        Some(Angles {
            frequencies: rope.table.ptr(),
            positions: self.positions(),
            slots: self.slots(),
            cosines: rope.angles.ptr(),
            sines: rope.angles.ptr().offset(rope.tokens * rope.pairs * 4),
            pairs: rope.pairs as u32,
            attention: frequencies.attention(),
            direction: frequencies.direction(),
            unused: 0,
        })
    }

    /// Sends a step's inputs and makes room for its keys and values.
    pub(super) fn prepare(
        &mut self,
        pools: &[Pool],
        step: StepInputs,
        ropes: &[Arc<Frequencies>],
    ) -> Result<()> {
        if let Some(ahead) = &mut self.ahead {
            ahead.forget();
        }
        self.grow_pools(pools)?;
        self.grow_inputs(step.tokens.len(), step.runs.len())?;
        self.run_tokens = step.runs.iter().map(|run| run.tokens as u32).collect();
        for (slot, run) in step.runs.iter().enumerate() {
            for (index, table) in self.pools.iter_mut().enumerate() {
                table.send(slot, run, index)?;
            }
        }
        self.send_inputs(step)?;
        for frequencies in ropes {
            self.send_rope(frequencies, step)?;
        }
        Ok(())
    }

    /// Makes room for one more token of the sequence in slot 0, whose other inputs the device has already.
    pub(super) fn prepare_next(&mut self, pools: &[Pool], run: &SlotRun) -> Result<()> {
        self.grow_pools(pools)?;
        self.pools
            .iter_mut()
            .enumerate()
            .try_for_each(|(index, table)| table.send(0, run, index))
    }

    fn grow_pools(&mut self, pools: &[Pool]) -> Result<()> {
        for (index, pool) in pools.iter().enumerate() {
            let (needed, have) = (pool.made(), self.pools[index].blocks);
            if needed <= have {
                continue;
            }
            let blocks = needed.max(2 * have).min(pool.limit());
            for layer in self
                .layers
                .iter_mut()
                .filter(|layer| layer.place.pool == index)
            {
                let [k, v] = Layer::bytes(&self.gpu, &layer.shape, blocks);
                for (old, bytes) in [(&mut layer.k, k), (&mut layer.v, v)] {
                    let new = Buffer::new(&self.gpu, bytes, "the KV cache")?;
                    new.copy_from(0, old, old.bytes())?;
                    *old = new;
                }
            }
            self.pools[index].blocks = blocks;
            self.replay = None;
        }
        Ok(())
    }

    fn grow_inputs(&mut self, tokens: usize, slots: usize) -> Result<()> {
        if tokens > self.inputs.tokens || slots > self.inputs.slots {
            let tokens = tokens.next_power_of_two().max(self.inputs.tokens);
            let slots = slots.next_power_of_two().max(self.inputs.slots);
            self.inputs = Inputs::new(&self.gpu, tokens, slots)?;
            for table in &mut self.pools {
                table.device = Buffer::new(&self.gpu, slots * table.stride * 4, "block tables")?;
                table.sent = vec![u32::MAX; slots * table.stride];
            }
            self.ropes.clear();
            self.replay = None;
        }
        Ok(())
    }

    fn send_inputs(&self, step: StepInputs) -> Result<()> {
        let room = self.inputs.tokens;
        let mut all = vec![0_u32; 3 * room + step.wanted.len().max(1)];
        all[..step.tokens.len()].copy_from_slice(step.tokens);
        let mut token = 0;
        let mut runs = Vec::new();
        for (slot, run) in step.runs.iter().enumerate() {
            runs.extend([token, run.tokens, run.start, slot].map(|n| n as u32));
            for position in run.start..run.start + run.tokens {
                all[room + token] = position as u32;
                all[2 * room + token] = slot as u32;
                token += 1;
            }
        }
        for (to, from) in all[3 * room..].iter_mut().zip(step.wanted) {
            *to = *from as u32;
        }
        self.inputs.device.write(0, &all)?;
        Ok(self.inputs.device.write(4 * room * 4, &runs)?)
    }

    fn send_rope(&mut self, frequencies: &Arc<Frequencies>, step: StepInputs) -> Result<()> {
        let opened: Vec<usize> = step.runs.iter().map(|run| run.sequence.opened).collect();
        let known = self
            .ropes
            .iter_mut()
            .find(|rope| Arc::ptr_eq(&rope.frequencies, frequencies));
        let rows = |opened: &[usize]| -> Vec<f32> {
            opened
                .iter()
                .flat_map(|length| frequencies.for_length(*length))
                .collect()
        };
        if let Some(rope) = known {
            if rope.opened != opened {
                rope.table.write(0, &rows(&opened))?;
                rope.opened = opened;
            }
            return Ok(());
        }
        let table = rows(&opened);
        let pairs = table.len() / opened.len().max(1);
        let (slots, tokens) = (self.inputs.slots, self.inputs.tokens);
        let rope = Rope {
            frequencies: Arc::clone(frequencies),
            opened,
            pairs,
            table: Buffer::new(&self.gpu, slots * pairs * 4, "a rotation")?,
            angles: Buffer::new(&self.gpu, 2 * tokens * pairs * 4, "a rotation")?,
            tokens,
        };
        rope.table.write(0, &table)?;
        self.ropes.push(rope);
        Ok(())
    }

    /// Makes the workspace at least so large; what is in it is lost.
    pub(super) fn grow_arena(&mut self, bytes: usize) -> Result<()> {
        if bytes > self.arena.bytes() {
            self.replay = None;
            // The old one goes first: both together may be too much.
            self.arena = Buffer::new(&self.gpu, 0, "workspace")?;
            self.arena = Buffer::new(&self.gpu, bytes, "workspace")?;
        }
        Ok(())
    }

    /// Room for logits that nobody else reads any more.
    pub(super) fn fresh_logits(&mut self, rows: usize, vocab: usize) -> Result<()> {
        let bytes = rows * vocab * 4;
        if bytes > self.logits.bytes() || Arc::strong_count(&self.logits) > 1 {
            self.replay = None;
            self.logits = Arc::new(Buffer::new(&self.gpu, bytes, "logits")?);
        }
        if rows * 8 > self.sampled.bytes() || Arc::strong_count(&self.sampled) > 1 {
            self.replay = None;
            self.sampled = Arc::new(Buffer::new(&self.gpu, rows.max(FIRST_SLOTS) * 8, "logits")?);
        }
        Ok(())
    }
}

impl Table {
    /// Sends what has changed of a slot's row.
    fn send(&mut self, slot: usize, run: &SlotRun, pool: usize) -> Result<()> {
        let Some(blocks) = run.sequence.tables.get(pool) else {
            return Ok(());
        };
        let end = (run.start + run.tokens)
            .div_ceil(BLOCK_SIZE)
            .min(self.stride);
        let row = &mut self.sent[slot * self.stride..][..self.stride];
        let (first, mut changed) = (blocks.first_block(), None::<(usize, usize)>);
        for (index, sent) in row.iter_mut().enumerate().take(end).skip(first) {
            let Some(block) = blocks.block(index) else {
                continue;
            };
            let block = block as u32;
            if *sent != block {
                *sent = block;
                changed = Some((changed.map_or(index, |changed| changed.0), index + 1));
            }
        }
        if let Some((first, end)) = changed {
            self.device
                .write((slot * self.stride + first) * 4, &row[first..end])?;
        }
        Ok(())
    }
}
