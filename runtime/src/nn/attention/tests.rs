//! Attention against a plain one in double precision, and against itself in other batches.

use super::*;
use crate::kv_cache::{KvCache, KvCacheOptions, SequenceId};
use crate::nn::{Activations, Run, Step, Want};
use crate::weights::KvLayer;

/// Everything an attention may have.
#[derive(Clone, Debug)]
struct Case {
    heads: Heads,
    window: Option<usize>,
    chunk: Option<usize>,
    scale: Option<f64>,
    softcap: Option<f64>,
    alibi: bool,
    sinks: Option<Sinks>,
}

const HEADS: Heads = Heads {
    q: 6,
    kv: 2,
    dim: 12,
    v_dim: 7,
};

impl Default for Case {
    fn default() -> Self {
        Self {
            heads: HEADS,
            window: None,
            chunk: None,
            scale: None,
            softcap: None,
            alibi: false,
            sinks: None,
        }
    }
}

/// Numbers around 0 that look random and are the same each time.
fn noise(count: usize, seed: usize) -> Vec<f32> {
    (0..count)
        .map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 700.0 - 1.43)
        .collect()
}

impl Case {
    fn cache(&self, max_tokens: usize) -> (KvCache, KvSlot) {
        let Heads { kv, dim, v_dim, .. } = self.heads;
        // A second layer, so that places in a block matter.
        let layer = KvLayer {
            heads: kv,
            k_dim: dim,
            v_dim,
            window: self.window,
            chunk: self.chunk,
        };
        let other = KvLayer {
            heads: 1,
            k_dim: 3,
            v_dim: 2,
            ..layer
        };
        let cache = KvCache::new(&[other, layer], KvCacheOptions { max_tokens }).unwrap();
        (
            cache,
            KvSlot {
                layer: 1,
                heads: self.heads,
                v_is_k: false,
            },
        )
    }

    /// Rows q, k, v of a sequence.
    fn rows(&self, tokens: usize, seed: usize) -> Vec<f32> {
        noise(tokens * self.width(), seed)
    }

    fn width(&self) -> usize {
        self.heads.q_rows() + self.heads.k_rows() + self.heads.v_rows()
    }

    fn step(&self, cache: &mut KvCache, slot: &KvSlot, runs: &[(SequenceId, &[f32])]) -> Vec<f32> {
        let width = self.width();
        let tokens: Vec<Vec<u32>> = runs
            .iter()
            .map(|run| vec![0; run.1.len() / width])
            .collect();
        let placed: Vec<Run> = runs
            .iter()
            .zip(&tokens)
            .map(|(run, tokens)| Run {
                sequence: run.0,
                tokens,
                logits: Want::None,
            })
            .collect();
        let rows: Vec<f32> = runs.iter().flat_map(|run| run.1).copied().collect();
        let mut step = Step::new(cache, &placed).unwrap();
        let qkv = Activations::new(rows.clone(), rows.len() / width, width).unwrap();
        let queries = step.append(slot, qkv).run().unwrap();
        let out = step
            .attend(slot, queries)
            .scale(self.scale)
            .softcap(self.softcap)
            .alibi(self.alibi);
        let out = out.sinks(self.sinks.as_ref()).run().unwrap();
        step.commit();
        out.values().to_vec()
    }

    /// A sequence in steps of these lengths.
    fn run(&self, rows: &[f32], lengths: &[usize]) -> Vec<f32> {
        let (mut cache, slot) = self.cache(rows.len() / self.width());
        let sequence = cache.open(rows.len() / self.width()).unwrap();
        let (mut out, mut rest) = (Vec::new(), rows);
        for length in lengths {
            let (now, later) = rest.split_at(length * self.width());
            out.extend(self.step(&mut cache, &slot, &[(sequence, now)]));
            rest = later;
        }
        out
    }

    fn sees(&self, query: usize, key: usize) -> bool {
        key <= query
            && self.window.is_none_or(|window| query - key < window)
            && self.chunk.is_none_or(|chunk| query / chunk == key / chunk)
    }

    fn slope(&self, head: usize) -> f64 {
        let n = self.heads.q;
        let p = (1..=n).filter(|p| p.is_power_of_two()).max().unwrap();
        let exponent = if head < p {
            -8.0 * (head + 1) as f64 / p as f64
        } else {
            -4.0 * (2 * (head - p) + 1) as f64 / p as f64
        };
        if self.alibi { exponent.exp2() } else { 0.0 }
    }

    fn reference(&self, rows: &[f32]) -> Vec<f64> {
        let Heads { q, kv, dim, v_dim } = self.heads;
        let rows: Vec<Vec<f64>> = rows
            .chunks(self.width())
            .map(|row| row.iter().map(|&x| f64::from(x)).collect())
            .collect();
        let mut out = Vec::new();
        for (i, row) in rows.iter().enumerate() {
            for head in 0..q {
                let shared = head / (q / kv);
                let query = &row[head * dim..][..dim];
                let keys: Vec<usize> = (0..=i).filter(|j| self.sees(i, *j)).collect();
                let score = |j: &usize| {
                    let key = &rows[*j][(q + shared) * dim..][..dim];
                    let dot: f64 = query.iter().zip(key).map(|(q, k)| q * k).sum();
                    let z = dot * self.scale.unwrap_or(1.0 / (dim as f64).sqrt());
                    let z = self
                        .softcap
                        .filter(|cap| *cap != 0.0)
                        .map_or(z, |cap| cap * (z / cap).tanh());
                    (z + self.slope(head) * *j as f64).exp()
                };
                let weights: Vec<f64> = keys.iter().map(score).collect();
                let sink = self
                    .sinks
                    .as_ref()
                    .map_or(0.0, |sinks| f64::from(sinks.0[head]).exp());
                let sum = weights.iter().sum::<f64>() + sink;
                for d in 0..v_dim {
                    let value = |j: &usize| rows[*j][(q + kv) * dim + shared * v_dim + d];
                    out.push(
                        keys.iter()
                            .zip(&weights)
                            .map(|(j, w)| w / sum * value(j))
                            .sum(),
                    );
                }
            }
        }
        out
    }
}

fn assert_close(found: &[f32], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let off = found
        .iter()
        .zip(expected)
        .map(|(a, b)| (f64::from(*a) - b).abs())
        .fold(0.0, f64::max);
    assert!(
        off < 3e-6 && found.iter().all(|x| x.is_finite()),
        "{what}: off by {off}"
    );
}

fn cases() -> Vec<Case> {
    let plain = Case::default();
    let sinks = Some(Sinks(vec![-1.0, 0.0, 3.0, 0.5, 40.0, -30.0].into()));
    let mut cases = vec![
        plain.clone(),
        Case {
            scale: Some(0.7),
            softcap: Some(1.5),
            ..plain.clone()
        },
        Case {
            softcap: Some(0.0),
            ..plain.clone()
        },
        Case {
            alibi: true,
            ..plain.clone()
        },
        Case {
            sinks: sinks.clone(),
            ..plain.clone()
        },
        Case {
            heads: Heads {
                q: 5,
                kv: 1,
                dim: 64,
                v_dim: 64,
            },
            ..plain.clone()
        },
        Case {
            heads: Heads {
                q: 40,
                kv: 1,
                dim: 1,
                v_dim: 1,
            },
            ..plain.clone()
        },
        Case {
            heads: Heads {
                q: 3,
                kv: 3,
                dim: 40,
                v_dim: 41,
            },
            alibi: true,
            ..plain.clone()
        },
        Case {
            window: Some(40),
            chunk: Some(33),
            softcap: Some(2.0),
            alibi: true,
            sinks,
            ..plain.clone()
        },
    ];
    for window in [1, 2, 31, 32, 33, 64, 500] {
        cases.push(Case {
            window: Some(window),
            ..plain.clone()
        });
        cases.push(Case {
            chunk: Some(window),
            ..plain.clone()
        });
    }
    cases
}

#[test]
fn attention_is_that_of_the_reference_with_every_option() {
    for case in cases() {
        for tokens in [1, 2, 31, 32, 33, 100] {
            let rows = case.rows(tokens, 1);
            assert_close(
                &case.run(&rows, &[tokens]),
                &case.reference(&rows),
                &format!("{case:?} {tokens}"),
            );
        }
    }
}

#[test]
fn steps_of_any_length_give_the_same_bits() {
    for case in cases() {
        let rows = case.rows(100, 2);
        let whole = case.run(&rows, &[100]);
        for lengths in [&[1; 100][..], &[33, 1, 1, 65], &[31, 2, 3, 64]] {
            assert_eq!(case.run(&rows, lengths), whole, "{case:?} {lengths:?}");
        }
    }
}

#[test]
fn a_batch_gives_each_sequence_what_it_gets_alone() {
    for case in cases() {
        let (width, lengths) = (case.width(), [50, 3, 81]);
        let rows: Vec<Vec<f32>> = lengths
            .iter()
            .enumerate()
            .map(|(seed, tokens)| case.rows(*tokens, seed))
            .collect();
        let alone: Vec<Vec<f32>> = rows
            .iter()
            .map(|rows| case.run(rows, &[rows.len() / width]))
            .collect();
        let (mut cache, slot) = case.cache(300);
        let ids: Vec<SequenceId> = lengths
            .iter()
            .map(|tokens| cache.open(*tokens).unwrap())
            .collect();
        // The first parts together, then the rest of two of them.
        let cuts = [17, 3, 40];
        let first: Vec<_> = (0..3)
            .map(|i| (ids[i], &rows[i][..cuts[i] * width]))
            .collect();
        let second: Vec<_> = [2, 0]
            .into_iter()
            .map(|i| (ids[i], &rows[i][cuts[i] * width..]))
            .collect();
        let out_rows = case.heads.out_rows();
        let out = case.step(&mut cache, &slot, &first);
        let expected: Vec<f32> = (0..3)
            .flat_map(|i| &alone[i][..cuts[i] * out_rows])
            .copied()
            .collect();
        assert_eq!(out, expected, "{case:?}");
        let out = case.step(&mut cache, &slot, &second);
        let expected: Vec<f32> = [2, 0]
            .into_iter()
            .flat_map(|i| &alone[i][cuts[i] * out_rows..])
            .copied()
            .collect();
        assert_eq!(out, expected, "{case:?}");
    }
}

#[test]
fn what_comes_after_going_back_counts() {
    let case = Case {
        window: Some(20),
        ..Case::default()
    };
    let (width, out_rows) = (case.width(), case.heads.out_rows());
    let (mut cache, slot) = case.cache(200);
    let sequence = cache.open(100).unwrap();
    let (old, new) = (case.rows(70, 3), case.rows(70, 4));
    case.step(&mut cache, &slot, &[(sequence, &old[..50 * width])]);
    case.step(&mut cache, &slot, &[(sequence, &old[50 * width..])]);
    cache.truncate(sequence, 60).unwrap();
    let out = case.step(&mut cache, &slot, &[(sequence, &new[60 * width..])]);
    let mixed = [&old[..60 * width], &new[60 * width..]].concat();
    assert_close(
        &out,
        &case.reference(&mixed)[60 * out_rows..],
        "after going back",
    );
}

#[test]
fn a_block_used_before_leaves_nothing_behind() {
    let case = Case::default();
    let (mut cache, slot) = case.cache(64);
    let first = cache.open(64).unwrap();
    case.step(
        &mut cache,
        &slot,
        &[(first, &vec![f32::NAN; 64 * case.width()])],
    );
    cache.close(first);
    let second = cache.open(40).unwrap();
    let rows = case.rows(40, 5);
    assert_close(
        &case.step(&mut cache, &slot, &[(second, &rows)]),
        &case.reference(&rows),
        "a used block",
    );
}

#[test]
fn values_may_be_keys() {
    let heads = Heads {
        q: 4,
        kv: 2,
        dim: 8,
        v_dim: 8,
    };
    let case = Case {
        heads,
        ..Case::default()
    };
    let (mut cache, slot) = case.cache(40);
    let slot = slot.v_is_k();
    let sequence = cache.open(40).unwrap();
    let qk = noise(40 * 48, 6);
    let mut step = Step::new(
        &mut cache,
        &[Run {
            sequence,
            tokens: &[0; 40],
            logits: Want::None,
        }],
    )
    .unwrap();
    let queries = step
        .append(&slot, Activations::new(qk.clone(), 40, 48).unwrap())
        .clip(0.9)
        .v_scale(0.5)
        .run()
        .unwrap();
    let out = step.attend(&slot, queries).run().unwrap().values().to_vec();
    let rows: Vec<f32> = qk
        .chunks(48)
        .flat_map(|row| {
            let row = row.iter().map(|x| x.clamp(-0.9, 0.9)).collect::<Vec<_>>();
            let values: Vec<f32> = row[32..].iter().map(|x| x * 0.5).collect();
            [row, values].concat()
        })
        .collect();
    assert_close(&out, &case.reference(&rows), "values are keys");
}

#[test]
fn temperature_grows_with_the_position() {
    let factor = |from_one, position| {
        QTemperature {
            scale: 0.1,
            floor: 8.0,
            from_one,
        }
        .factor(position)
    };
    for (position, steps) in [(0, 0.0), (6, 0.0), (7, 0.0), (8, 1.0), (15, 1.0), (16, 2.0)] {
        let expected = 1.0 + 0.1 * f64::ln_1p(steps);
        assert!(
            (f64::from(factor(false, position)) - expected).abs() < 1e-7,
            "{position}"
        );
    }
    assert_eq!(factor(true, 7), factor(false, 8));
}

#[test]
fn rows_of_another_width_are_refused() {
    let case = Case::default();
    let (mut cache, slot) = case.cache(40);
    let sequence = cache.open(1).unwrap();
    let mut step = Step::new(
        &mut cache,
        &[Run {
            sequence,
            tokens: &[0],
            logits: Want::None,
        }],
    )
    .unwrap();
    assert!(
        step.append(&slot, Activations::new(vec![0.0; 5], 1, 5).unwrap())
            .run()
            .is_err()
    );
    assert!(Heads::new(6.0, 4.0, 8.0, 8.0).is_err());
    assert!(Heads::new(0.0, 0.0, 8.0, 8.0).is_err());
    assert!(Heads::new(2.5, 1.0, 8.0, 8.0).is_err());
}
