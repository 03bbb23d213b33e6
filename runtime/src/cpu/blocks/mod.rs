//! Products of activations rounded to bytes with ggml's blocks: what [`Precision::Fast`](super::Precision) means.
//!
//! Structure. At load, blocks are repacked without growing: sixteen rows form a group whose bits lie so that one vector
//! holds 4 columns of each of the 16 rows (see [`format`]). A byte dot-product instruction then adds 4 products to 16 sums
//! at once, an activation is one broadcast word, and no sum ever crosses lanes. For every 32 (or 16) columns the integer
//! sums become f32, times the scale of the row times the scale of the activations. All formats decode to the same panel of
//! bytes and f32 scales, so there is one micro-kernel per [`Level`], not one per format. With few tokens a panel is a few
//! units on the stack of the cache, decoded just before use: memory-bound. With many, two groups are decoded once and used
//! for all tokens. The f32 sums of an output are added in the order of the columns in both cases, so the result of a token
//! does not depend on how many there are.

mod activations;
#[cfg(target_arch = "x86_64")]
mod avx2;
mod format;
mod repack;
mod scalar;
mod unpack;
#[cfg(target_arch = "x86_64")]
mod vnni;
#[cfg(target_arch = "x86_64")]
mod vnni_decode;

use std::cell::RefCell;
use std::ops::Range;

use super::output::Output;
use super::{Level, parallel};
use crate::weights::{CheckpointError, Matrix, WeightDtype};
use activations::Strip;
use format::{Format, Layout, ROWS, UNIT, with_format};
use unpack::{Lanes, Panel};

/// Tokens that are still a memory-bound product.
const FEW: usize = 4;
/// Units decoded at a time for few tokens: 4 KiB, well within a first-level cache.
const FEW_UNITS: usize = 8;
/// Groups that share a decoded panel with many tokens.
const GROUPS: usize = 2;
/// Weight bytes of a task with few tokens.
const TASK_BYTES: usize = 32 << 10;

/// A matrix of blocks, repacked in groups of rows.
#[derive(Debug)]
pub(super) struct BlockMatrix {
    rows: usize,
    cols: usize,
    dtype: WeightDtype,
    layout: Layout,
    level: Level,
    groups: Vec<Line>,
}

/// Bytes that are aligned as vectors are.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Line(#[expect(dead_code, reason = "read as plain bytes")] [u8; 64]);

impl BlockMatrix {
    /// Repacks a matrix; `None` if it is one of floats.
    pub(super) fn new(matrix: &Matrix, level: Level) -> Result<Option<Self>, CheckpointError> {
        with_format!(matrix.dtype(), repacked(matrix, level), return Ok(None)).map(Some)
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn cols(&self) -> usize {
        self.cols
    }

    pub(super) fn dtype(&self) -> WeightDtype {
        self.dtype
    }

    pub(super) fn bytes(&self) -> usize {
        self.groups.len() * size_of::<Line>()
    }

    /// The product of `x` `[tokens, cols]` into `out` `[tokens, rows]`; the caller has checked the sizes.
    pub(super) fn matmul(&self, x: &[f32], tokens: usize, out: &Output<'_>, alone: bool) {
        with_format!(self.dtype, product(self, x, tokens, out, alone), ());
    }

    #[expect(unsafe_code, reason = "sees aligned lines as bytes")]
    fn group(&self, index: usize) -> &[u8] {
        let lines = self.layout.bytes / size_of::<Line>();
        let lines = &self.groups[index * lines..(index + 1) * lines];
        // SAFETY: lines are plain bytes without padding.
        unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), size_of_val(lines)) }
    }
}

#[expect(unsafe_code, reason = "threads fill disjoint groups of one allocation")]
fn repacked<F: Format>(matrix: &Matrix, level: Level) -> Result<BlockMatrix, CheckpointError> {
    let (rows, cols) = (matrix.rows(), matrix.cols());
    let too_large = || CheckpointError::Matrix(format!("{matrix} is too large"));
    let layout = Layout::new::<F>(cols).ok_or_else(too_large)?;
    let count = rows.div_ceil(ROWS);
    let lines = layout.bytes / size_of::<Line>();
    let mut groups = vec![Line([0; 64]); lines.checked_mul(count).ok_or_else(too_large)?];
    let row_bytes = matrix.row_bytes();
    if row_bytes > 0 {
        let target = Target(groups.as_mut_ptr());
        parallel(count, |index| {
            // SAFETY: each task has a group of its own, within the allocation, and lines are plain bytes.
            let group = unsafe {
                let first = target.get().add(index * lines);
                std::slice::from_raw_parts_mut(first.cast::<u8>(), layout.bytes)
            };
            let range = index * ROWS..rows.min((index + 1) * ROWS);
            let data = &matrix.data()[range.start * row_bytes..range.end * row_bytes];
            repack::group::<F>(data, row_bytes, &layout, group);
        });
    }
    Ok(BlockMatrix {
        rows,
        cols,
        dtype: F::DTYPE,
        layout,
        level,
        groups,
    })
}

struct Target(*mut Line);

impl Target {
    fn get(&self) -> *mut Line {
        self.0
    }
}

// SAFETY: whoever takes the pointer uses a part of its own.
#[expect(unsafe_code, reason = "threads fill disjoint groups of one allocation")]
unsafe impl Sync for Target {}

fn product<F: Format>(
    matrix: &BlockMatrix,
    x: &[f32],
    tokens: usize,
    out: &Output<'_>,
    alone: bool,
) {
    let run = |tasks: usize, task: &(dyn Fn(usize) + Sync)| {
        if alone {
            (0..tasks).for_each(task);
        } else {
            parallel(tasks, task);
        }
    };
    let width = if tokens <= FEW {
        tokens.max(1)
    } else {
        strip_width(matrix.level)
    };
    let count = tokens.div_ceil(width);
    let strips: Vec<OnceStrip> = (0..count).map(|_| OnceStrip::new()).collect();
    let make = |index: usize| {
        let first = index * width;
        let strip = Strip::new::<F>(
            matrix.level,
            x,
            matrix.cols,
            first,
            width.min(tokens - first),
        );
        // Each task sets its own.
        let _ = strips[index].set(strip);
    };
    if count < 8 {
        (0..count).for_each(make);
    } else {
        run(count, &make);
    }
    let strips: Vec<Strip> = strips
        .into_iter()
        .filter_map(OnceStrip::into_inner)
        .collect();
    let groups = matrix.rows.div_ceil(ROWS);
    let job = Job {
        matrix,
        strips: &strips,
        out,
    };
    let per_task = if tokens <= FEW {
        (TASK_BYTES / matrix.layout.bytes.max(1)).max(1)
    } else {
        GROUPS
    };
    run(groups.div_ceil(per_task), &|task| {
        let first = task * per_task;
        job.groups::<F>(first..groups.min(first + per_task));
    });
}

type OnceStrip = std::sync::OnceLock<Strip>;

/// Tokens of a strip: as many accumulators as the registers hold.
fn strip_width(level: Level) -> usize {
    match level {
        Level::Vnni => 6,
        Level::Scalar | Level::Avx2 | Level::Avx512 => 4,
    }
}

/// One product, seen by all threads.
struct Job<'a> {
    matrix: &'a BlockMatrix,
    strips: &'a [Strip],
    out: &'a Output<'a>,
}

thread_local! {
    static PANEL: RefCell<Panel> = RefCell::default();
}

impl Job<'_> {
    /// Computes the rows of some groups for all tokens.
    fn groups<F: Format>(&self, groups: Range<usize>) {
        PANEL.with_borrow_mut(|panel| match self.strips {
            [strip] if strip.tokens <= FEW => {
                for group in groups {
                    self.few::<F>(group, strip, panel);
                }
            }
            _ => self.many::<F>(groups, panel),
        });
    }

    /// A few units at a time are decoded and used.
    #[cfg_attr(
        target_arch = "x86_64",
        expect(unsafe_code, reason = "calls what the machine has been asked for")
    )]
    fn few<F: Format>(&self, group: usize, strip: &Strip, panel: &mut Panel) {
        let units = self.matrix.cols / UNIT;
        let mut sums = [Lanes::ZERO; FEW];
        #[cfg(target_arch = "x86_64")]
        if self.matrix.level == Level::Vnni {
            let (bytes, layout) = (self.matrix.group(group), &self.matrix.layout);
            // SAFETY: the level is supported, which `PackedMatrix` has checked.
            unsafe { vnni::few::<F>(bytes, layout, strip, units, &mut sums[..strip.tokens]) };
            return self.store(group, strip, &sums);
        }
        panel.reserve::<F>(FEW_UNITS);
        for first in (0..units).step_by(FEW_UNITS) {
            let count = FEW_UNITS.min(units - first);
            unpack::<F>(self.matrix, group, first..first + count, panel, 0);
            let part = Part {
                panel,
                at: 0,
                strip,
                first,
                units: count,
            };
            micro::<F>(self.matrix.level, &part, &mut sums[..strip.tokens]);
        }
        self.store(group, strip, &sums);
    }

    /// All units are decoded, then used for all tokens.
    fn many<F: Format>(&self, groups: Range<usize>, panel: &mut Panel) {
        let units = self.matrix.cols / UNIT;
        panel.reserve::<F>(units * groups.len());
        for (i, group) in groups.clone().enumerate() {
            unpack::<F>(self.matrix, group, 0..units, panel, i * units);
        }
        for strip in self.strips {
            let mut sums = [Lanes::ZERO; GROUPS * MAX_WIDTH];
            let sums = &mut sums[..groups.len() * strip.tokens];
            let part = Part {
                panel,
                at: 0,
                strip,
                first: 0,
                units,
            };
            micro::<F>(self.matrix.level, &part, sums);
            for (group, sums) in groups.clone().zip(sums.chunks(strip.tokens)) {
                self.store(group, strip, sums);
            }
        }
    }

    #[expect(unsafe_code, reason = "passes on `Output::put`")]
    fn store(&self, group: usize, strip: &Strip, sums: &[Lanes]) {
        let row = group * ROWS;
        let rows = ROWS.min(self.matrix.rows - row);
        for (token, sums) in sums.iter().take(strip.tokens).enumerate() {
            // SAFETY: a group belongs to one task.
            unsafe {
                self.out
                    .put(strip.first + token, row, &sums.0[..rows], false)
            };
        }
    }
}

/// The most tokens of a strip.
const MAX_WIDTH: usize = 6;

/// Decoded units and the activations that they meet.
struct Part<'a> {
    panel: &'a Panel,
    /// Where in the panel.
    at: usize,
    strip: &'a Strip,
    /// Where in the strip.
    first: usize,
    units: usize,
}

impl Part<'_> {
    /// That the panel has the units of `groups` and the strip is `tokens` wide: what unchecked kernels rest on.
    #[cfg(target_arch = "x86_64")]
    fn check<F: Format>(&self, groups: usize, tokens: usize) {
        let end = self.at + groups * self.units;
        self.strip.check::<F>(self.first + self.units, tokens);
        assert!(self.panel.steps.len() >= end * format::STEPS);
        assert!(self.panel.scales.len() >= end * F::SUBS);
        assert!(self.panel.minima.len() >= end * F::SUBS);
    }
}

/// Decodes units of a group.
#[cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "calls what the machine has been asked for")
)]
fn unpack<F: Format>(
    matrix: &BlockMatrix,
    group: usize,
    units: Range<usize>,
    panel: &mut Panel,
    at: usize,
) {
    let (group, layout) = (matrix.group(group), &matrix.layout);
    match matrix.level {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the level is supported, which `PackedMatrix` has checked.
        Level::Vnni => unsafe {
            vnni::unpack::<F>(group, layout, units, panel, at);
        },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the same.
        Level::Avx2 | Level::Avx512 => unsafe {
            avx2::unpack::<F>(group, layout, units.start, units.len(), panel, at);
        },
        _ => unpack::units::<F>(group, layout, units.start, units.len(), panel, at),
    }
}

/// Adds the products of decoded units to sums `[group][token]`. Several groups lie in the panel one after the other.
#[cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "calls what the machine has been asked for")
)]
fn micro<F: Format>(level: Level, part: &Part<'_>, sums: &mut [Lanes]) {
    match level {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the level is supported, which `PackedMatrix` has checked.
        Level::Vnni => unsafe { vnni::micro::<F>(part, sums) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the same.
        Level::Avx2 | Level::Avx512 => unsafe { avx2::micro::<F>(part, sums) },
        _ => scalar::micro::<F>(part, sums),
    }
}
