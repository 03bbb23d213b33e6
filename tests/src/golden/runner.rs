use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;

use anyhow::{Context, Result, bail, ensure};
use inferno_runtime::cpu::Precision;
use inferno_runtime::device::Backend;
use inferno_runtime::nn::{
    Architecture, KvCache, KvCacheOptions, Model, Run, SequenceId, Step, Want, forward, load_model,
    select,
};
use inferno_runtime::weights::{Checkpoint, Plan};

use super::{Case, relative_error, typical_error};

/// How far each way of running a case is from the expected logits.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// All tokens in one call.
    pub prefill: f64,
    /// One token a call.
    pub decode: f64,
    /// Calls of 7 tokens, and of 64.
    pub chunked: f64,
    /// Several sequences of unequal lengths in one call, against each alone.
    pub batched: f64,
    /// What most positions are off by in prefill and decode: see [`typical_error`].
    pub typical: f64,
    /// The largest that passes.
    pub tolerance: f64,
}

impl Outcome {
    /// The largest error.
    #[must_use]
    pub fn worst(&self) -> f64 {
        self.prefill
            .max(self.decode)
            .max(self.chunked)
            .max(self.batched)
    }
}

/// What became of a case.
#[derive(Debug)]
pub struct Report {
    /// Name of the case.
    pub name: String,
    /// The errors, or why there are none.
    pub outcome: Result<Outcome>,
}

impl Report {
    /// Whether every error is within the tolerance.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.outcome
            .as_ref()
            .is_ok_and(|outcome| outcome.worst() <= outcome.tolerance)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let verdict = if self.passed() { "ok" } else { "FAIL" };
        match &self.outcome {
            Ok(o) => write!(
                f,
                "{verdict} {} max rel err {:.1e} (prefill {:.1e}, decode {:.1e}, chunked {:.1e}, batched {:.1e}; typical {:.1e})",
                self.name,
                o.worst(),
                o.prefill,
                o.decode,
                o.chunked,
                o.batched,
                o.typical
            ),
            Err(error) => {
                let reason = format!("{error:#}").replace('\n', " ");
                write!(f, "{verdict} {} {reason}", self.name)
            }
        }
    }
}

/// Runs a case with the architecture that its config.json names; the first list that knows it wins. A panic inside is
/// caught and reported.
#[must_use]
pub fn run(folder: &Path, architectures: &[&[Architecture]]) -> Report {
    run_on(folder, architectures, &Precision::Exact.into(), None)
}

/// The same on some device, against a tolerance of its own.
#[must_use]
pub fn run_on(
    folder: &Path,
    architectures: &[&[Architecture]],
    backend: &Backend,
    tolerance: Option<f64>,
) -> Report {
    guarded(folder, |case, checkpoint| {
        let mut refusal = None;
        for list in architectures {
            match select(list, checkpoint.config()) {
                Ok(architecture) => {
                    let outcome = measure(case, checkpoint, architecture, backend)?;
                    let tolerance = tolerance.unwrap_or(outcome.tolerance);
                    return Ok(Outcome {
                        tolerance,
                        ..outcome
                    });
                }
                Err(error) => refusal = refusal.or(Some(error)),
            }
        }
        Err(refusal.map_or_else(|| anyhow::anyhow!("no architectures"), anyhow::Error::from))
    })
}

/// Runs a case with a given architecture, whatever its config.json says.
#[must_use]
pub fn run_as(folder: &Path, architecture: &Architecture) -> Report {
    guarded(folder, |case, checkpoint| {
        measure(case, checkpoint, architecture, &Precision::Exact.into())
    })
}

/// What the last panic said, on whatever thread.
static PANIC: Mutex<Option<String>> = Mutex::new(None);

fn last_panic(new: Option<String>) -> Option<String> {
    let mut message = PANIC
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    std::mem::replace(&mut message, new)
}

fn guarded(folder: &Path, body: impl FnOnce(&Case, &Checkpoint) -> Result<Outcome>) -> Report {
    let name = folder
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    std::panic::set_hook(Box::new(|info| drop(last_panic(Some(info.to_string())))));
    let result = catch_unwind(AssertUnwindSafe(|| {
        let case = Case::read(folder)?;
        let checkpoint = Checkpoint::open(&case.checkpoint()?)?;
        body(&case, &checkpoint)
    }));
    let _ = std::panic::take_hook();
    let outcome = result.unwrap_or_else(|_| {
        let message = last_panic(None).unwrap_or_default();
        Err(anyhow::anyhow!("panicked: {}", message.replace('\n', " ")))
    });
    Report { name, outcome }
}

fn measure(
    case: &Case,
    checkpoint: &Checkpoint,
    architecture: &Architecture,
    backend: &Backend,
) -> Result<Outcome> {
    let (model, plan) = load_model(architecture, checkpoint, backend.clone())?;
    let runner = Runner {
        model: &*model,
        plan: &plan,
        case,
    };
    let theirs = &case.logits;
    let all = runner.in_chunks(case.tokens.len()).context("prefill")?;
    ensure!(
        all == runner.in_chunks(case.tokens.len())?,
        "the same call gives other bits the second time"
    );
    let decoded = runner.in_chunks(1).context("decode")?;
    ensure!(
        decoded == runner.replayed().context("replay")?,
        "single tokens give other bits when the last step's launches are run again"
    );
    let chunked = |size| -> Result<f64> {
        Ok(relative_error(
            &runner.in_chunks(size).context("chunked")?,
            theirs,
        ))
    };
    let vocab = theirs.len() / case.rows.max(1);
    let typical = typical_error(&all, theirs, vocab).max(typical_error(&decoded, theirs, vocab));
    Ok(Outcome {
        typical,
        prefill: relative_error(&all, theirs),
        decode: relative_error(&decoded, theirs),
        chunked: chunked(7)?.max(chunked(64)?),
        batched: runner.batched().context("batched")?,
        tolerance: case.tolerance(),
    })
}

struct Runner<'a> {
    model: &'a dyn Model,
    plan: &'a Plan,
    case: &'a Case,
}

impl Runner<'_> {
    fn cache(&self, sequences: usize) -> Result<KvCache> {
        let room = self.case.tokens.len().next_multiple_of(256);
        Ok(KvCache::new(
            &self.plan.kv,
            KvCacheOptions {
                max_tokens: room * sequences,
            },
        )?)
    }

    /// The logits of the case's last rows, the prompt fed in calls of `size` tokens.
    fn in_chunks(&self, size: usize) -> Result<Vec<f32>> {
        let mut cache = self.cache(1)?;
        let sequence = cache.open(self.case.tokens.len())?;
        let (mut logits, mut end) = (Vec::new(), 0);
        for tokens in self.case.tokens.chunks(size) {
            end += tokens.len();
            let rows = end.saturating_sub(self.case.first()).min(tokens.len());
            let want = if rows == 0 {
                Want::None
            } else {
                Want::LastN(rows)
            };
            let run = Run {
                sequence,
                tokens,
                logits: want,
            };
            let (some, _) = self.step(&mut cache, &[run])?;
            logits.extend(some);
            ensure!(
                cache.len(sequence) == end,
                "{} of {end} tokens are cached",
                cache.len(sequence)
            );
        }
        Ok(logits)
    }

    /// As [`in_chunks`](Self::in_chunks) of one token, through [`forward`], which repeats a step's launches where it can.
    fn replayed(&self) -> Result<Vec<f32>> {
        let mut cache = self.cache(1)?;
        let sequence = cache.open(self.case.tokens.len())?;
        let mut logits = Vec::new();
        for (position, token) in self.case.tokens.iter().enumerate() {
            // The same wishes as there: what nobody wants is not computed, and what is left may be fused otherwise.
            let wanted = position >= self.case.first();
            let run = Run {
                sequence,
                tokens: std::slice::from_ref(token),
                logits: if wanted { Want::Last } else { Want::None },
            };
            logits.extend(forward(self.model, &mut cache, &[run])?.to_vec()?);
        }
        Ok(logits)
    }

    fn step(&self, cache: &mut KvCache, runs: &[Run]) -> Result<(Vec<f32>, usize)> {
        let mut step = Step::new(cache, runs)?;
        let logits = self.model.forward(&mut step)?;
        Ok((logits.to_vec()?, logits.vocab()))
    }

    /// Three sequences of unequal lengths: two start in one call, the third joins while the first goes on alone.
    fn batched(&self) -> Result<f64> {
        let tokens = &self.case.tokens;
        let (half, third) = (tokens.len().div_ceil(2), tokens.len() / 3);
        let prompts: [&[u32]; 3] = [tokens, &tokens[..half], &tokens[third..]];
        let mut cache = self.cache(4)?;
        let ids: Vec<SequenceId> = prompts
            .iter()
            .map(|p| Ok(cache.open(p.len())?))
            .collect::<Result<_>>()?;
        let run = |k: usize, tokens, logits| Run {
            sequence: ids[k],
            tokens,
            logits,
        };
        let last = tokens.len() - 1;
        let mut rows: [Vec<f32>; 3] = Default::default();
        let (head, tail) = tokens.split_at(last);
        let mut first = vec![run(1, prompts[1], Want::All)];
        if !head.is_empty() {
            first.insert(0, run(0, head, Want::All));
        }
        let (logits, vocab) = self.step(&mut cache, &first)?;
        let (of_first, of_second) = logits.split_at(head.len() * vocab);
        rows[0].extend(of_first);
        rows[1].extend(of_second);
        let (logits, _) = self.step(
            &mut cache,
            &[run(2, prompts[2], Want::All), run(0, tail, Want::Last)],
        )?;
        if logits.len() < vocab {
            bail!(
                "{} logits for a call that asks for more than {vocab}",
                logits.len()
            );
        }
        let (of_third, of_first) = logits.split_at(logits.len() - vocab);
        rows[2].extend(of_third);
        rows[0].extend(of_first);
        let mut worst: f64 = 0.0;
        for (prompt, ours) in prompts.iter().zip(&rows) {
            let mut alone = self.cache(1)?;
            let sequence = alone.open(prompt.len())?;
            let run = Run {
                sequence,
                tokens: prompt,
                logits: Want::All,
            };
            worst = worst.max(relative_error(ours, &self.step(&mut alone, &[run])?.0));
        }
        Ok(worst)
    }
}
