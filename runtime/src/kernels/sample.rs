//! The part of sampling that a device does (`sample.cu`): see [`shortlist`](crate::sampling::shortlist), which has the twin.

use bytemuck::NoUninit;

use super::{DevicePtr, Launch, THREADS};
use crate::sampling::shortlist::{BINS, BLOCK, Edit, Request};

/// Blocks of threads.
const PARTS: u32 = 64;

/// Words before the sums in the result.
pub(crate) const HEAD: usize = 8;

/// Bytes that the kernels work with beside scores and result.
pub(crate) const WORK_BYTES: usize = PARTS as usize * 8 + BINS as usize * 4;

/// Makes a shortlist of a row of logits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) logits: DevicePtr,
    /// Room for a copy of them, which has been made if there are edits.
    pub(crate) scores: DevicePtr,
    pub(crate) edits: DevicePtr,
    /// [`WORK_BYTES`]
    pub(crate) work: DevicePtr,
    /// [`words`] of u32
    pub(crate) out: DevicePtr,
    pub(crate) vocab: u32,
}

#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct Params {
    logits: DevicePtr,
    scores: DevicePtr,
    edits: DevicePtr,
    parts: DevicePtr,
    histogram: DevicePtr,
    out: DevicePtr,
    vocab: u32,
    edit_count: u32,
    repetition: f32,
    scale: f32,
    keep: u32,
    most: u32,
    sums: u32,
    unused: u32,
}

/// Words of the sums in a result; an even number, so that the pairs behind are aligned.
pub(crate) fn sum_words(vocab: usize) -> usize {
    vocab.div_ceil(BLOCK).next_multiple_of(2)
}

/// Words of a result with all its parts.
pub(crate) fn words(vocab: usize, most: usize) -> usize {
    HEAD + sum_words(vocab) + 2 * most
}

impl Sample {
    pub(crate) fn launches(&self, request: &Request<'_>) -> Vec<Launch> {
        let sums = if request.sums {
            sum_words(self.vocab as usize)
        } else {
            0
        };
        let edits: &[Edit] = request.edits;
        let params = Params {
            logits: self.logits,
            scores: if edits.is_empty() {
                self.logits
            } else {
                self.scores
            },
            edits: self.edits,
            parts: self.work,
            histogram: self.work.offset(PARTS as usize * 8),
            out: self.out,
            vocab: self.vocab,
            edit_count: edits.len() as u32,
            repetition: request.repetition,
            scale: request.scale,
            keep: request.keep as u32,
            most: request.most as u32,
            sums: sums as u32,
            unused: 0,
        };
        let launch = |kernel, blocks| Launch::alone(kernel, [blocks, 1, 1], THREADS, &params);
        let mut launches = vec![
            launch("sample_edit", params.edit_count.div_ceil(THREADS)),
            launch("sample_max", PARTS),
            launch("sample_count", PARTS),
        ];
        if request.keep > 0 {
            launches.push(launch("sample_take", PARTS));
        }
        launches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_asked_for_is_not_launched() {
        let sample = Sample {
            logits: DevicePtr(256),
            scores: DevicePtr(512),
            edits: DevicePtr(768),
            work: DevicePtr(1024),
            out: DevicePtr(2048),
            vocab: 1000,
        };
        let request = Request {
            scale: 1.0,
            repetition: 1.0,
            edits: &[],
            keep: 0,
            most: 1024,
            sums: true,
        };
        let launches = sample.launches(&request);
        let grids: Vec<_> = launches.iter().map(|l| (l.kernel, l.grid[0])).collect();
        assert_eq!(
            grids,
            [("sample_edit", 0), ("sample_max", 64), ("sample_count", 64)]
        );
        // Without edits the logits are the scores.
        assert_eq!(launches[1].params[..8], launches[1].params[8..16]);
        let edits = [Edit::default(); 300];
        let request = Request {
            edits: &edits,
            keep: 10,
            ..request
        };
        let launches = sample.launches(&request);
        assert_eq!((launches[0].grid[0], launches.len()), (2, 4));
        assert_ne!(launches[1].params[..8], launches[1].params[8..16]);
        assert_eq!(words(1000, 4), 8 + 16 + 8);
    }
}
