//! Attention over the cache.

use super::kernel::Rows;
use super::{Heads, KvSlot, Queries, Sinks, unless_zero};
use crate::kv_cache::{BLOCK_SIZE, Reach};
use crate::nn::parallel::for_chunks;
use crate::nn::step::BatchRun;
use crate::nn::{Activations, Step};
use crate::{Result, cpu};

/// Query rows that one task works on: enough to reuse each block of keys, few enough to stay in the cache.
const ROWS_PER_TASK: usize = 32;

/// Attention over the cached keys and values.
#[derive(Debug)]
#[must_use = "nothing happens before `run`"]
pub struct Attend<'s, 'c> {
    step: &'s Step<'c>,
    kv: &'s KvSlot,
    queries: Queries,
    scale: Option<f64>,
    softcap: Option<f32>,
    alibi: bool,
    sinks: Option<&'s Sinks>,
}

impl<'s, 'c> Attend<'s, 'c> {
    pub(in crate::nn) fn new(step: &'s Step<'c>, kv: &'s KvSlot, queries: Queries) -> Self {
        Self {
            step,
            kv,
            queries,
            scale: None,
            softcap: None,
            alibi: false,
            sinks: None,
        }
    }

    /// Factor of the scores; none is 1/√`head_dim`.
    pub fn scale(self, scale: impl Into<Option<f64>>) -> Self {
        Self {
            scale: scale.into(),
            ..self
        }
    }

    /// cap · tanh(score / cap); none and 0 are off.
    pub fn softcap(self, cap: impl Into<Option<f64>>) -> Self {
        Self {
            softcap: unless_zero(cap.into()),
            ..self
        }
    }

    /// Adds slope · position of the key.
    pub fn alibi(self, on: bool) -> Self {
        Self { alibi: on, ..self }
    }

    /// Adds a logit per head to the softmax's sum.
    pub fn sinks(self, sinks: impl Into<Option<&'s Sinks>>) -> Self {
        Self {
            sinks: sinks.into(),
            ..self
        }
    }

    /// `[tokens, heads * v_dim]`
    ///
    /// # Errors
    /// If the queries are not of these heads.
    pub fn run(self) -> Result<Activations> {
        let heads = self.kv.heads;
        let queries = &self.queries.0;
        queries.check_width("attention", heads.q_rows())?;
        let scale = self.scale.unwrap_or(1.0 / (heads.dim as f64).sqrt()) as f32;
        #[cfg(feature = "cuda")]
        if let Some(q) = queries.recorded() {
            let sinks = self.sinks.map(|sinks| sinks.0.on(&q.gpu())).transpose()?;
            let options = crate::cuda::AttendOptions {
                scale,
                softcap: self.softcap.unwrap_or(0.0),
                alibi: self.alibi,
                sinks,
            };
            return Ok(q.attend(*self.kv, options).into());
        }
        let attention = Attention {
            step: self.step,
            layer: self.kv.layer,
            heads,
            reach: self.step.reach(self.kv.layer)?,
            queries: &queries.values(),
            scale,
            softcap: self.softcap,
            slopes: if self.alibi {
                slopes(heads.q)
            } else {
                Vec::new()
            },
            sinks: self.sinks.map_or(&[], |sinks| &sinks.0),
        };
        let tasks = tasks(self.step.runs(), heads);
        let width = heads.group() * heads.v_dim;
        let mut out = vec![0.0; queries.tokens() * heads.out_rows()];
        let mut rest = out.as_mut_slice();
        let mut chunks = Vec::with_capacity(tasks.len());
        for task in &tasks {
            let (chunk, tail) = rest.split_at_mut(task.tokens * width);
            chunks.push(chunk);
            rest = tail;
        }
        for_chunks(chunks, |i, out| attention.run(&tasks[i], out));
        if tasks.iter().any(|task| task.tokens > 1) {
            out = by_token(&out, &tasks, heads);
        }
        Activations::new(out, queries.tokens(), heads.out_rows())
    }
}

/// Slopes of alibi for `n` heads.
fn slopes(n: usize) -> Vec<f32> {
    let power = 1_usize << n.ilog2();
    let slope = |head: usize| {
        if head < power {
            -8.0 * (head + 1) as f64 / power as f64
        } else {
            -4.0 * (2 * (head - power) + 1) as f64 / power as f64
        }
    };
    (0..n).map(|head| slope(head).exp2() as f32).collect()
}

/// Consecutive tokens of one run, at one key/value head.
#[derive(Clone, Copy, Debug)]
struct Task {
    run: usize,
    /// First token of the step.
    first: usize,
    tokens: usize,
    /// Position of the first token.
    position: usize,
    head: usize,
}

fn tasks(runs: &[BatchRun], heads: Heads) -> Vec<Task> {
    let tile = (ROWS_PER_TASK / heads.group()).max(1);
    let mut tasks = Vec::new();
    for (index, run) in runs.iter().enumerate() {
        for start in (0..run.tokens).step_by(tile) {
            tasks.extend((0..heads.kv).map(|head| Task {
                run: index,
                first: run.first + start,
                tokens: tile.min(run.tokens - start),
                position: run.start + start,
                head,
            }));
        }
    }
    tasks
}

/// Results in the order of tasks → `[tokens, heads * v_dim]`.
fn by_token(results: &[f32], tasks: &[Task], heads: Heads) -> Vec<f32> {
    let width = heads.group() * heads.v_dim;
    let mut out = vec![0.0; results.len()];
    let mut rest = results;
    for task in tasks {
        let (rows, tail) = rest.split_at(task.tokens * width);
        rest = tail;
        for (row, token) in rows.chunks_exact(width).zip(task.first..) {
            out[token * heads.out_rows() + task.head * width..][..width].copy_from_slice(row);
        }
    }
    out
}

/// What all tasks share.
struct Attention<'a, 'c> {
    step: &'a Step<'c>,
    layer: usize,
    heads: Heads,
    reach: Reach,
    queries: &'a [f32],
    scale: f32,
    softcap: Option<f32>,
    slopes: Vec<f32>,
    sinks: &'a [f32],
}

impl Attention<'_, '_> {
    /// `out` is `[tokens, group, v_dim]`.
    fn run(&self, task: &Task, out: &mut [f32]) {
        let Heads { dim, v_dim, .. } = self.heads;
        let group = self.heads.group();
        let mut q = Vec::with_capacity(task.tokens * group * dim);
        for token in task.first..task.first + task.tokens {
            let start = token * self.heads.q_rows() + task.head * group * dim;
            q.extend(
                self.queries[start..start + group * dim]
                    .iter()
                    .map(|q| q * self.scale),
            );
        }
        let mut rows = Rows::new(q, task.tokens * group, dim, v_dim);
        // Blocks begin at fixed positions of the sequence: a row's arithmetic does not depend on its neighbours.
        let last = task.position + task.tokens - 1;
        for index in self.reach.first_seen(task.position) / BLOCK_SIZE..=last / BLOCK_SIZE {
            self.block(task, index, &mut rows);
        }
        for (row, out) in out.chunks_exact_mut(v_dim).enumerate() {
            if let Some(sink) = self.sinks.get(task.head * group + row % group) {
                rows.sink(row, *sink);
            }
            rows.finish(row, out);
        }
    }

    fn block(&self, task: &Task, index: usize, rows: &mut Rows) {
        let Some((place, block)) = self.step.block(self.layer, task.run, index) else {
            return;
        };
        let Heads { dim, v_dim, .. } = self.heads;
        let group = self.heads.group();
        let start = index * BLOCK_SIZE;
        rows.score(&block[place.k + task.head * dim * BLOCK_SIZE..][..dim * BLOCK_SIZE]);
        let mut most = 0;
        for row in 0..rows.len() {
            let position = task.position + row / group;
            // Keys of this block that the row sees; none if `end` is not beyond `first`.
            let first = self
                .reach
                .first_seen(position)
                .saturating_sub(start)
                .min(BLOCK_SIZE);
            let end = (position + 1)
                .saturating_sub(start)
                .min(BLOCK_SIZE)
                .max(first);
            self.adjust(
                &mut rows.scores[row * BLOCK_SIZE..][first..end],
                start + first,
                task.head * group + row % group,
            );
            rows.soften(row, first, end);
            most = most.max(end);
        }
        rows.accumulate(
            &block[place.v + task.head * v_dim * BLOCK_SIZE..][..v_dim * BLOCK_SIZE],
            most,
        );
    }

    /// Caps scores and adds alibi; `position` is that of the first key.
    fn adjust(&self, scores: &mut [f32], position: usize, head: usize) {
        if let Some(cap) = self.softcap {
            cpu::scale(scores, 1.0 / cap);
            cpu::tanh(scores);
            cpu::scale(scores, cap);
        }
        if let Some(slope) = self.slopes.get(head) {
            for (z, position) in scores.iter_mut().zip(position..) {
                *z += slope * position as f32;
            }
        }
    }
}
