//! Sampling next to the logits: the device tells the host the few that matter.

use std::sync::Arc;

use super::event::Event;
use super::memory::Pinned;
use super::{Buffer, DeviceLogits, Gpu};
use crate::Result;
use crate::device::DeviceError;
use crate::kernels::sample::{HEAD, Sample, WORK_BYTES, sum_words, words};
use crate::sampling::shortlist::{BINS, BLOCK, Edit, MOST, MOST_EDITS, Request, Shortlist, Source};

/// Memory for the shortlists of one vocabulary.
#[derive(Debug)]
pub(crate) struct DeviceSampler {
    vocab: usize,
    scores: Buffer,
    edits: Buffer,
    work: Buffer,
    out: Buffer,
    pinned: Pinned,
    arrived: Event,
}

impl DeviceSampler {
    fn new(gpu: &Arc<Gpu>, vocab: usize) -> Result<Self, DeviceError> {
        let what = "the sampler";
        let bytes = 4 * words(vocab, MOST);
        Ok(Self {
            vocab,
            scores: Buffer::new(gpu, 4 * vocab, what)?,
            edits: Buffer::new(gpu, size_of::<Edit>() * MOST_EDITS, what)?,
            work: Buffer::new(gpu, WORK_BYTES, what)?,
            out: Buffer::new(gpu, bytes, what)?,
            pinned: Pinned::new(gpu, bytes)?,
            arrived: Event::new(gpu)?,
        })
    }

    fn shortlist(
        &mut self,
        logits: (&Buffer, usize),
        request: &Request<'_>,
    ) -> Result<Shortlist, DeviceError> {
        let (buffer, offset) = logits;
        if !request.edits.is_empty() {
            self.edits.write(0, request.edits)?;
            self.scores.copy_part(buffer, offset, 4 * self.vocab)?;
        }
        let sample = Sample {
            logits: buffer.ptr().offset(offset),
            scores: self.scores.ptr(),
            edits: self.edits.ptr(),
            work: self.work.ptr(),
            out: self.out.ptr(),
            vocab: self.vocab as u32,
        };
        let gpu = buffer.gpu();
        gpu.launch(&sample.launches(request))?;
        let sums = if request.sums {
            sum_words(self.vocab)
        } else {
            0
        };
        let pairs = if request.keep > 0 { request.most } else { 0 };
        let count = HEAD + sums + 2 * pairs;
        self.pinned.receive(&self.out, 0, 4 * count)?;
        self.arrived.record()?;
        self.arrived.wait()?;
        let words: Vec<u32> = self.pinned.as_slice()[..4 * count]
            .chunks_exact(4)
            .map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
            .collect();
        Ok(read(&words, sums, self.vocab, request.keep > 0))
    }
}

/// A result of the kernels.
fn read(words: &[u32], sums: usize, vocab: usize, listed: bool) -> Shortlist {
    let (head, rest) = words.split_at(HEAD);
    let (sums, pairs) = rest.split_at(sums);
    let count = head[2] as usize;
    let pairs = pairs.chunks_exact(2).take(count);
    let blocks = if sums.is_empty() {
        0
    } else {
        vocab.div_ceil(BLOCK)
    };
    Shortlist {
        max: f32::from_bits(head[0]),
        broken: head[1] != 0,
        candidates: pairs
            .map(|pair| (pair[0], f32::from_bits(pair[1])))
            .collect(),
        complete: listed && head[3] == BINS,
        sums: sums
            .iter()
            .take(blocks)
            .map(|bits| f32::from_bits(*bits))
            .collect(),
    }
}

/// The last row of logits, and memory to work in.
#[derive(Debug)]
pub(crate) struct DeviceRow<'a> {
    logits: &'a DeviceLogits,
    sampler: &'a mut DeviceSampler,
    /// Where the row begins.
    offset: usize,
    edited: bool,
}

impl<'a> DeviceRow<'a> {
    /// `memory` is made when it is first needed.
    pub(crate) fn last(
        logits: &'a DeviceLogits,
        memory: &'a mut Option<DeviceSampler>,
    ) -> Result<Self> {
        let Some(row) = logits.rows.checked_sub(1) else {
            return crate::nn::shape_error("a step without logits has no next token");
        };
        if memory
            .as_ref()
            .is_some_and(|memory| memory.vocab != logits.vocab)
        {
            *memory = None;
        }
        let sampler = match memory {
            Some(memory) => memory,
            None => memory.insert(DeviceSampler::new(logits.buffer().gpu(), logits.vocab)?),
        };
        Ok(Self {
            logits,
            sampler,
            offset: row * logits.vocab * 4,
            edited: false,
        })
    }
}

impl Source for DeviceRow<'_> {
    fn vocab(&self) -> usize {
        self.logits.vocab
    }

    fn shortlist(&mut self, request: &Request<'_>) -> Result<Shortlist> {
        self.edited = !request.edits.is_empty();
        let logits = (self.logits.buffer(), self.offset);
        Ok(self.sampler.shortlist(logits, request)?)
    }

    fn block(&mut self, block: usize) -> Result<Vec<f32>> {
        let first = block * BLOCK;
        let count = self.vocab().saturating_sub(first).min(BLOCK);
        Ok(if self.edited {
            self.sampler.scores.read(4 * first, count)?
        } else {
            let buffer = self.logits.buffer();
            buffer.read(self.offset + 4 * first, count)?
        })
    }

    fn all(&mut self) -> Result<Vec<f32>> {
        let buffer = self.logits.buffer();
        Ok(buffer.read(self.offset, self.vocab())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{Gpu as TestGpu, random};
    use crate::sampling::shortlist::twin::Twin;
    use crate::sampling::{Sampler, SamplingParams};

    #[test]
    fn a_result_is_read_part_by_part() {
        let bits = f32::to_bits;
        let mut words = vec![bits(2.0), 0, 2, BINS, 0, 0, 0, 0];
        words.extend([
            bits(1.5),
            bits(0.5),
            3,
            bits(2.0),
            7,
            bits(1.0),
            9,
            bits(9.0),
        ]);
        let list = read(&words, 2, 65, true);
        assert_eq!(list.candidates, [(3, 2.0), (7, 1.0)]);
        assert_eq!((list.max, list.complete, list.broken), (2.0, true, false));
        assert_eq!(list.sums, [1.5, 0.5]);
        // An odd number of sums is padded.
        assert_eq!(read(&words, 2, 64, true).sums, [1.5]);
        assert!(!read(&words, 0, 64, false).complete);
    }

    fn row(gpu: &TestGpu, logits: &[f32]) -> DeviceLogits {
        let sampled = gpu.upload(&[0_u32; 2]);
        DeviceLogits::new(gpu.upload(logits).into(), sampled.into(), 1, logits.len())
    }

    #[test]
    fn the_kernels_list_what_their_twin_lists() {
        let Some(gpu) = TestGpu::get() else { return };
        for vocab in [1, 63, 1000, 50_257, 128_256] {
            for (spread, masked) in [(6.0, 0), (0.05, vocab / 2), (0.0, 0)] {
                let mut logits: Vec<f32> = random(vocab as u64, vocab);
                logits.iter_mut().for_each(|x| *x *= spread);
                logits[..masked].fill(f32::NEG_INFINITY);
                let device = row(&gpu, &logits);
                let mut twin = Twin::new(logits);
                let edits: Vec<Edit> = (0..vocab.min(600) as u32)
                    .step_by(3)
                    .map(|token| Edit {
                        token,
                        flags: 1 + token % 7,
                        add: token as f32 * 0.3 - 20.0,
                        subtract: 0.7,
                    })
                    .collect();
                let mut memory = None;
                for (edits, keep, sums) in [
                    (&[][..], 40, false),
                    (&edits, MOST, true),
                    (&[], 0, true),
                    (&edits, 1, false),
                ] {
                    let request = Request {
                        scale: 1.0 / 0.7,
                        repetition: 1.3,
                        edits,
                        keep,
                        most: MOST,
                        sums,
                    };
                    let mut row = DeviceRow::last(&device, &mut memory).unwrap();
                    let mut found = row.shortlist(&request).unwrap();
                    let mut expected = twin.shortlist(&request).unwrap();
                    found.candidates.sort_unstable_by_key(|pair| pair.0);
                    if keep == 0 {
                        expected.candidates.clear();
                        expected.complete = false;
                    }
                    let what = format!("{vocab} tokens, spread {spread}, keep {keep}");
                    assert_eq!(found.sums, expected.sums, "{what}");
                    assert_eq!(found, expected, "{what}");
                    let last = (vocab - 1) / BLOCK;
                    assert_eq!(row.block(last).unwrap(), twin.block(last).unwrap());
                }
            }
        }
    }

    #[test]
    fn tokens_are_those_of_the_host() {
        let Some(gpu) = TestGpu::get() else { return };
        let vocab = 20_000;
        let default = SamplingParams {
            seed: Some(11),
            ..SamplingParams::default()
        };
        for params in [
            default.clone(),
            SamplingParams {
                top_p: 0.9,
                temperature: 0.7,
                ..default.clone()
            },
            SamplingParams {
                top_k: 50,
                min_p: 0.02,
                repetition_penalty: 1.2,
                presence_penalty: 0.5,
                ..default.clone()
            },
            SamplingParams {
                min_p: 0.1,
                temperature: 2.0,
                ..default.clone()
            },
            SamplingParams {
                logprobs: Some(3),
                ..default
            },
        ] {
            let mut host = Sampler::new(params.clone(), vocab).unwrap();
            let mut device = Sampler::new(params.clone(), vocab).unwrap();
            let mut memory = None;
            for step in 0..30 {
                let mut logits = random(step, vocab);
                logits.iter_mut().for_each(|x| *x *= 5.0);
                let expected = host.sample(&logits).unwrap();
                let row = row(&gpu, &logits);
                let mut row = DeviceRow::last(&row, &mut memory).unwrap();
                let found = device.sample_from(&mut row).unwrap();
                assert_eq!(found, expected, "step {step} of {params:?}");
            }
        }
    }

    #[test]
    fn broken_logits_are_an_error() {
        let Some(gpu) = TestGpu::get() else { return };
        let mut logits = vec![0.0; 500];
        logits[300] = f32::NAN;
        let row = row(&gpu, &logits);
        let mut memory = None;
        let mut row = DeviceRow::last(&row, &mut memory).unwrap();
        let mut sampler = Sampler::new(SamplingParams::default(), 500).unwrap();
        let error = sampler.sample_from(&mut row).unwrap_err().to_string();
        assert!(error.contains("token 300"), "{error}");
    }
}
