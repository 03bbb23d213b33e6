//! Greedy decoding one step ahead of the host: the device feeds a step's token into the next one, and the host reads it while
//! that one runs.

use std::sync::Arc;

use super::cache::DeviceCache;
use super::event::Event;
use super::memory::Pinned;
use super::run::{self, sampled_token};
use super::{Buffer, Gpu};
use crate::Result;
use crate::device::DeviceError;
use crate::kv_cache::{KvCache, SequenceId};
use crate::nn::{Run, Want};

/// Bytes of a result: a token and its logit.
const RESULT: usize = 8;

/// Results on their way to the host.
#[derive(Debug)]
pub(super) struct Ahead {
    slots: [Slot; 2],
    /// The slot of the step that was begun last.
    last: usize,
    /// The step that runs already: its sequence and the sequence's length before it.
    begun: Option<(SequenceId, usize)>,
    /// The token that was given out last, which that step begins with.
    given: u32,
}

/// One result.
#[derive(Debug)]
struct Slot {
    pinned: Pinned,
    arrived: Event,
}

impl Ahead {
    fn new(gpu: &Arc<Gpu>) -> Result<Self, DeviceError> {
        let slot = || -> Result<Slot, DeviceError> {
            Ok(Slot {
                pinned: Pinned::new(gpu, RESULT)?,
                arrived: Event::new(gpu)?,
            })
        };
        Ok(Self {
            slots: [slot()?, slot()?],
            last: 0,
            begun: None,
            given: 0,
        })
    }

    /// What runs ahead is not what comes next.
    pub(super) fn forget(&mut self) {
        self.begun = None;
    }

    /// Sends the result of the step that was begun last.
    fn send(&mut self, sampled: &Buffer) -> Result<(), DeviceError> {
        self.last = 1 - self.last;
        let slot = &mut self.slots[self.last];
        slot.pinned.receive(sampled, 0, RESULT)?;
        slot.arrived.record()
    }
}

/// Runs one token of a sequence and gives the most likely next one; `None` if the last step was no such step, which
/// the caller then runs the long way.
pub(crate) fn greedy(
    cache: &mut KvCache,
    model: usize,
    sequence: SequenceId,
    token: u32,
) -> Result<Option<u32>> {
    let start = cache.len(sequence);
    let Some(device) = cache.device.as_mut() else {
        return Ok(None);
    };
    let ahead = device.ahead.as_mut();
    let running = device.replay.is_some()
        && ahead.is_some_and(|ahead| {
            ahead.begun.take() == Some((sequence, start)) && ahead.given == token
        });
    if running {
        cache.commit([(sequence, 1)].into_iter());
    } else {
        let tokens = [token];
        let run = Run {
            sequence,
            tokens: &tokens,
            logits: Want::Last,
        };
        if run::replay(cache, model, &[run])?.is_none() {
            return Ok(None);
        }
        with(cache, |_, ahead, sampled| Ok(ahead.send(sampled)?))?;
    }
    let mine = with(cache, |_, ahead, _| Ok(ahead.last))?;
    begin_next(cache, sequence)?;
    with(cache, |_, ahead, _| {
        let slot = &ahead.slots[mine];
        slot.arrived.wait()?;
        let [token, largest]: [u32; 2] = bytemuck::pod_read_unaligned(slot.pinned.as_slice());
        ahead.given = sampled_token(token, f32::from_bits(largest))?;
        Ok(Some(ahead.given))
    })
}

/// Begins the step after the running one, if the sequence has room for it.
fn begin_next(cache: &mut KvCache, sequence: SequenceId) -> Result<()> {
    let length = cache.len(sequence);
    if cache.sequence(sequence)?.opened <= length || cache.reserve(&[(sequence, 1)]).is_err() {
        return Ok(());
    }
    if !run::launch_again(cache, sequence)? {
        return Ok(());
    }
    with(cache, |_, ahead, sampled| {
        ahead.send(sampled)?;
        ahead.begun = Some((sequence, length));
        Ok(())
    })
}

fn with<T>(
    cache: &mut KvCache,
    f: impl FnOnce(&Arc<Gpu>, &mut Ahead, &Buffer) -> Result<T>,
) -> Result<T> {
    let Some(device) = cache.device.as_deref_mut() else {
        return crate::nn::shape_error("the KV cache is on no GPU");
    };
    let DeviceCache {
        gpu,
        ahead,
        sampled,
        ..
    } = device;
    let ahead = match ahead {
        Some(ahead) => ahead,
        None => ahead.insert(Ahead::new(gpu)?),
    };
    f(gpu, ahead, sampled)
}
