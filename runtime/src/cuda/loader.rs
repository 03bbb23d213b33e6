//! Weights on their way to the device: several cores copy from the file's pages to pinned ones, and the device takes those
//! in while the next ones are filled. What can be made on the device (other block layouts, random numbers) is made there.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use super::event::Event;
use super::memory::Pinned;
use super::{Buffer, Gpu};
use crate::cpu;
use crate::device::DeviceError;
use crate::kernels::DevicePtr;
use crate::kernels::matrix::{self, MAX_PLANES};
use crate::kernels::random::RandomBytes;
use crate::kernels::repack::Repack;
use crate::weights::{Bytes, Content, Layout, Stream, WeightDtype};

/// Places that are filled in turn.
const SLOTS: usize = 4;

/// Bytes of such a place at most: long enough for full speed, short enough that the first copy begins soon.
const SLOT: usize = 16 << 20;

/// Bytes of a small model's place.
const SMALL: usize = 256 << 10;

/// Bytes that one task copies.
const TASK: usize = 512 << 10;

/// Streams of a part begin at multiples of this.
const ALIGN: usize = 256;

/// Loads the weights of one model.
#[derive(Debug)]
pub(crate) struct Loader {
    gpu: Arc<Gpu>,
    ring: RefCell<Ring>,
}

/// Places on the host and on the device.
#[derive(Debug, Default)]
struct Ring {
    slots: Vec<Slot>,
    last: usize,
}

#[derive(Debug)]
struct Slot {
    /// Before it has come, the stream uses the places.
    free: Event,
    host: Option<Pinned>,
    /// Blocks that are to be spread over planes.
    device: Option<Buffer>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        // An error has been or will be seen by whoever uses the device next; the pages are the driver's to free.
        let _ = self.free.wait();
    }
}

impl Slot {
    fn host(&mut self, gpu: &Arc<Gpu>, bytes: usize) -> Result<&mut Pinned, DeviceError> {
        if self
            .host
            .as_ref()
            .is_some_and(|host| host.as_slice().len() < bytes)
        {
            self.host = None;
        }
        match &mut self.host {
            Some(host) => Ok(host),
            host => Ok(host.insert(Pinned::new(gpu, place(bytes))?)),
        }
    }

    fn device(&mut self, gpu: &Arc<Gpu>, bytes: usize) -> Result<DevicePtr, DeviceError> {
        if self
            .device
            .as_ref()
            .is_some_and(|device| device.bytes() < bytes)
        {
            self.device = None;
        }
        match &self.device {
            Some(device) => Ok(device.ptr()),
            None => {
                let device = Buffer::new(gpu, place(bytes), "the loader")?;
                Ok(self.device.insert(device).ptr())
            }
        }
    }
}

/// The size of a place for so many bytes: of few sizes, so that places are seldom made anew.
fn place(bytes: usize) -> usize {
    if bytes <= SMALL {
        SMALL
    } else {
        bytes.max(SLOT + 2 * ALIGN)
    }
}

/// Units of blocks in a chunk, and where its streams begin.
#[derive(Debug, PartialEq, Eq)]
struct Chunk {
    units: Range<usize>,
    starts: [usize; 2],
    bytes: usize,
}

/// Cuts so many units into chunks that fit a place; `None` if not one does.
fn chunks(layout: &Layout, units: usize) -> Option<impl Iterator<Item = Chunk>> {
    let per = SLOT / layout.unit().max(1);
    let sizes: Vec<usize> = layout.streams().iter().map(|stream| stream.unit).collect();
    let chunk = move |first: usize| {
        let units = first..units.min(first + per);
        let (mut starts, mut bytes) = ([0; 2], 0_usize);
        for (start, size) in starts.iter_mut().zip(&sizes) {
            *start = bytes.next_multiple_of(ALIGN);
            bytes = *start + size * units.len();
        }
        Chunk {
            units,
            starts,
            bytes,
        }
    };
    (per > 0).then(|| (0..units).step_by(per).map(chunk))
}

impl Loader {
    pub(crate) fn new(gpu: &Arc<Gpu>) -> Self {
        Self {
            gpu: Arc::clone(gpu),
            ring: RefCell::default(),
        }
    }

    pub(crate) fn gpu(&self) -> &Arc<Gpu> {
        &self.gpu
    }

    /// Writes blocks of a type to their planes, part after part.
    pub(super) fn load(
        &self,
        dtype: WeightDtype,
        parts: &[Bytes],
        mut planes: [DevicePtr; MAX_PLANES],
    ) -> Result<(), DeviceError> {
        for part in parts {
            let mut layout = Layout::of(part, dtype);
            let blocks = part.len() / dtype.block_bytes();
            if layout.unit() > SLOT {
                layout = Layout::plain(part, dtype);
            }
            self.part(dtype, &layout, blocks, planes)?;
            planes
                .iter_mut()
                .zip(matrix::planes(dtype))
                .for_each(|(plane, bytes)| *plane = plane.offset(blocks * bytes));
        }
        Ok(())
    }

    fn part(
        &self,
        dtype: WeightDtype,
        layout: &Layout,
        blocks: usize,
        planes: [DevicePtr; MAX_PLANES],
    ) -> Result<(), DeviceError> {
        let each = layout.unit() / dtype.block_bytes();
        let too_long = DeviceError::Mixed("a block is longer than the loader's places");
        let chunks = chunks(layout, blocks / each.max(1)).ok_or(too_long)?;
        let orders = layout
            .streams()
            .iter()
            .map(|stream| self.order(stream))
            .collect::<Result<Vec<_>, _>>()?;
        let is_plain = matrix::planes(dtype).len() == 1;
        for chunk in chunks {
            let done = chunk.units.start * each;
            let mut to = planes;
            to.iter_mut()
                .zip(matrix::planes(dtype))
                .for_each(|(plane, bytes)| *plane = plane.offset(done * bytes));
            self.with_slot(|slot| {
                let stage = if is_plain {
                    to[0]
                } else {
                    slot.device(&self.gpu, chunk.bytes)?
                };
                for ((stream, order), start) in
                    layout.streams().iter().zip(&orders).zip(chunk.starts)
                {
                    let (at, bytes) = (stage.offset(start), stream.unit * chunk.units.len());
                    match &stream.content {
                        Content::Host(content) => {
                            let host = slot.host(&self.gpu, chunk.bytes)?;
                            let pages = &mut host.as_mut_slice()[start..start + bytes];
                            fill(stream, content, chunk.units.start, pages);
                            host.send(start, bytes, at)?;
                        }
                        Content::Random(filler, first) => {
                            let order = order.as_ref().map(Buffer::ptr);
                            let order = order.map(|ptr| ptr.offset(4 * chunk.units.start));
                            // With an order it says which units they are.
                            let skipped = match order {
                                Some(_) => 0,
                                None => stream.unit * chunk.units.start,
                            };
                            let random = RandomBytes {
                                filler: *filler,
                                out: at,
                                first: first + skipped,
                                bytes,
                                order: order.unwrap_or_default(),
                                unit: stream.unit,
                            };
                            self.gpu.launch(&[random.launch()])?;
                        }
                    }
                }
                let scales = match layout {
                    Layout::Blocks(_) => DevicePtr::NULL,
                    Layout::Mxfp4(_) => stage.offset(chunk.starts[1]),
                };
                let repack = Repack {
                    dtype,
                    blocks: stage,
                    scales,
                    planes: to,
                    count: (chunk.units.len() * each) as u64,
                };
                self.gpu.launch(repack.launch().as_slice())
            })?;
        }
        Ok(())
    }

    /// The order of a random stream's units, on the device.
    fn order(&self, stream: &Stream) -> Result<Option<Buffer>, DeviceError> {
        match (&stream.content, &stream.order) {
            (Content::Random(..), Some((order, range))) => {
                let order = order.get(range.clone()).unwrap_or_default();
                Buffer::of(&self.gpu, order, "the loader").map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Lets `f` use the next slot, once the stream is done with what it had.
    fn with_slot(
        &self,
        f: impl FnOnce(&mut Slot) -> Result<(), DeviceError>,
    ) -> Result<(), DeviceError> {
        let mut ring = self.ring.borrow_mut();
        if ring.slots.len() < SLOTS {
            let free = Event::new(&self.gpu)?;
            ring.slots.push(Slot {
                free,
                host: None,
                device: None,
            });
            ring.last = ring.slots.len() - 1;
        } else {
            ring.last = (ring.last + 1) % SLOTS;
        }
        let last = ring.last;
        let slot = &mut ring.slots[last];
        slot.free.wait()?;
        let result = f(slot);
        slot.free.record()?;
        result
    }
}

/// Copies units from the host's memory, in their order, on all cores. Pages of a file are read as they are touched.
fn fill(stream: &Stream, content: &Bytes, first: usize, out: &mut [u8]) {
    let unit = stream.unit;
    let content = &content[..];
    let per = (TASK / unit).max(1);
    let tasks: Vec<_> = out.chunks_mut(per * unit).map(Mutex::new).collect();
    cpu::parallel(tasks.len(), |task| {
        // Each piece is locked once: the lock only proves that nobody else writes there.
        let mut out = tasks[task].lock().unwrap_or_else(PoisonError::into_inner);
        let first = first + task * per;
        match &stream.order {
            None => {
                let bytes = out.len();
                out.copy_from_slice(&content[first * unit..][..bytes]);
            }
            Some((order, range)) => {
                let order = &order[range.start + first..];
                for (out, unit_index) in out.chunks_exact_mut(unit).zip(order) {
                    out.copy_from_slice(&content[*unit_index as usize * unit..][..unit]);
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::testing::{matrix as random_matrix, rng};
    use crate::cuda::DeviceMatrix;
    use crate::kernels::testing::Gpu as TestGpu;
    use crate::weights::random::{Form, filler};
    use crate::weights::{Matrix, Recipe};

    fn stream(bytes: Vec<u8>, unit: usize, order: Option<Vec<u32>>) -> Stream {
        Stream {
            content: Content::Host(bytes.into()),
            unit,
            order: order.map(|order| {
                let range = 0..order.len();
                (order.into(), range)
            }),
        }
    }

    #[test]
    fn chunks_fit_a_place_and_leave_nothing_out() {
        let streams = [stream(vec![], 1440, None), stream(vec![], 90, None)];
        let layout = Layout::Mxfp4(streams);
        let all: Vec<Chunk> = chunks(&layout, 30_000).unwrap().collect();
        let mut next = 0;
        for chunk in &all {
            assert_eq!(chunk.units.start, next);
            next = chunk.units.end;
            assert!(chunk.starts[1] >= 1440 * chunk.units.len() && chunk.starts[1] % ALIGN == 0);
            assert_eq!(chunk.bytes, chunk.starts[1] + 90 * chunk.units.len());
            assert!(chunk.bytes <= place(SLOT));
        }
        assert_eq!((next, all.len()), (30_000, 3));
        let long = Layout::Blocks(stream(vec![], SLOT + 1, None));
        assert!(chunks(&long, 1).is_none());
    }

    #[test]
    fn pages_are_filled_in_order_and_in_another() {
        let bytes: Vec<u8> = (0..3 * TASK + 40).map(|i| (i / 8 * 7 + i) as u8).collect();
        let plain = stream(bytes.clone(), 8, None);
        let units = bytes.len() / 8 - 3;
        let mut out = vec![0; units * 8];
        let content = Bytes::from(bytes.clone());
        fill(&plain, &content, 3, &mut out);
        assert!(out == bytes[24..]);
        let order: Vec<u32> = (0..units as u32 + 3).rev().collect();
        fill(
            &stream(bytes.clone(), 8, Some(order)),
            &content,
            3,
            &mut out,
        );
        let expected: Vec<u8> = (0..units)
            .flat_map(|unit| &bytes[(units - 1 - unit) * 8..][..8])
            .copied()
            .collect();
        assert!(out == expected);
    }

    /// All planes of a matrix.
    fn download(matrix: &DeviceMatrix, blocks: usize) -> Vec<Vec<u8>> {
        let planes = matrix::planes(matrix.dtype());
        let start = |k: usize| (matrix.arg().planes[k].0 - matrix.arg().planes[0].0) as usize;
        (0..planes.len())
            .map(|k| matrix.read(start(k), blocks * planes[k]).unwrap())
            .collect()
    }

    #[test]
    fn what_is_made_on_the_device_is_what_is_sent() {
        let Some(gpu) = TestGpu::get() else { return };
        let loader = Loader::new(&gpu.0);
        for dtype in [
            WeightDtype::BF16,
            WeightDtype::F32,
            WeightDtype::Q8_0,
            WeightDtype::Q4K,
            WeightDtype::Q6K,
        ] {
            // Two places and a bit.
            let cols = 4096;
            let row = dtype.row_bytes(cols).unwrap();
            let rows = 2 * SLOT / row + 7;
            let filler = filler(1, "a", &[rows, cols], Form::Numbers(dtype)).unwrap();
            let eager: Bytes = filler.make(rows * row).unwrap().into();
            let lazy = Bytes::lazy(Recipe::Random(filler), rows * row);
            let order: Vec<usize> = (0..rows).map(|i| (i * 13 + 5) % rows).collect();
            let [eager, lazy] =
                [eager, lazy].map(|bytes| Matrix::new(rows, cols, dtype, bytes).unwrap());
            let all = [
                eager.clone(),
                lazy.clone(),
                eager.select_rows(&order).unwrap(),
                eager.with_rows(&order).unwrap(),
                lazy.with_rows(&order).unwrap(),
            ];
            let blocks = rows * cols / dtype.block_len();
            let found = all.map(|matrix| {
                let matrix = DeviceMatrix::load(&loader, &[matrix], "a test").unwrap();
                download(&matrix, blocks)
            });
            assert!(found[0] == found[1], "{dtype}: random ones");
            assert!(found[2] == found[3], "{dtype}: rows that are sent");
            assert!(found[2] == found[4], "{dtype}: rows that are made");
            assert!(found[0] != found[2], "{dtype}: the order matters");
        }
    }

    #[test]
    fn experts_in_two_planes_are_those_in_one() {
        let Some(gpu) = TestGpu::get() else { return };
        let loader = Loader::new(&gpu.0);
        let (experts, rows, cols) = (3, 64, 96);
        let blocks = experts * rows * cols / 32;
        let nibbles: Vec<u8> = (0..blocks * 16).map(|i| (i * 37 + i / 11) as u8).collect();
        let scales: Vec<u8> = (0..blocks).map(|i| 100 + (i % 60) as u8).collect();
        let eager: Bytes = crate::weights::joined_mxfp4(&nibbles, &scales).into();
        let (nibbles, scales) = (nibbles.into(), scales.into());
        let lazy = Bytes::lazy(Recipe::Mxfp4 { nibbles, scales }, blocks * 17);
        let order: Vec<usize> = (0..rows).map(|r| r % 2 * rows / 2 + r / 2).collect();
        let each = rows * cols / 32 * 17;
        let parts = |bytes: &Bytes, ordered: bool| -> Vec<Matrix> {
            let part = |e: usize| bytes.slice(e * each..(e + 1) * each).unwrap();
            let matrix = |e| Matrix::new(rows, cols, WeightDtype::Mxfp4, part(e)).unwrap();
            let select = |matrix: Matrix| {
                if ordered {
                    matrix.with_rows(&order).unwrap()
                } else {
                    matrix
                }
            };
            (0..experts).map(|e| select(matrix(e))).collect()
        };
        for ordered in [false, true] {
            let [one, two] = [&eager, &lazy].map(|bytes| {
                let parts = parts(bytes, ordered);
                let matrix = DeviceMatrix::load(&loader, &parts, "a test").unwrap();
                download(&matrix, blocks)
            });
            assert!(one == two, "ordered: {ordered}");
        }
    }

    #[test]
    fn parts_of_every_type_follow_each_other() {
        let Some(gpu) = TestGpu::get() else { return };
        let loader = Loader::new(&gpu.0);
        for dtype in WeightDtype::ALL {
            let cols = 2 * dtype.block_len();
            let parts: Vec<Matrix> = (0..9)
                .map(|i| random_matrix(dtype, i + 1, cols, &mut rng(i as u64)))
                .collect();
            let whole = Matrix::concat(&parts).unwrap();
            let [apart, one] = [&parts[..], &[whole]].map(|parts| {
                let matrix = DeviceMatrix::load(&loader, parts, "a test").unwrap();
                download(&matrix, 45 * 2)
            });
            assert!(apart == one, "{dtype}");
        }
    }
}
