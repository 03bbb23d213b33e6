use super::super::testing::{self, assert_close, halves, random};
use super::*;

const PAGE: usize = 32;

/// A layer's heads and what a query sees.
#[derive(Clone, Copy)]
struct Case {
    half: Half,
    dim: usize,
    kv_heads: usize,
    group: usize,
    window: usize,
    chunk: usize,
    softcap: f32,
    sinks: bool,
    alibi: bool,
}

const PLAIN: Case = Case {
    half: Half::F16,
    dim: 64,
    kv_heads: 2,
    group: 4,
    window: 0,
    chunk: 0,
    softcap: 0.0,
    sinks: false,
    alibi: false,
};

impl Case {
    fn first_seen(&self, position: usize) -> usize {
        let by_window = if self.window == 0 {
            0
        } else {
            (position + 1).saturating_sub(self.window)
        };
        let by_chunk = position
            .checked_div(self.chunk)
            .map_or(0, |chunk| chunk * self.chunk);
        by_window.max(by_chunk)
    }

    fn prefill<'a>(&self, run_tokens: &'a [u32]) -> AttentionPrefill<'a> {
        AttentionPrefill {
            half: self.half,
            q: DevicePtr::NULL,
            out: DevicePtr::NULL,
            out_f32: false,
            k: DevicePtr::NULL,
            v: DevicePtr::NULL,
            table: DevicePtr::NULL,
            table_stride: 0,
            runs: DevicePtr::NULL,
            run_tokens,
            kv_heads: self.kv_heads as u32,
            group: self.group as u32,
            dim: self.dim as u32,
            v_dim: self.dim as u32,
            scale: 1.0 / (self.dim as f32).sqrt(),
            softcap: self.softcap,
            sinks: DevicePtr::NULL,
            slopes: DevicePtr::NULL,
            window: self.window as u32,
            chunk: self.chunk as u32,
        }
    }

    /// The twin: one query head over keys and values `[positions, dim]`.
    fn attend(
        &self,
        q: &[f32],
        k: &[&[f32]],
        v: &[&[f32]],
        position: usize,
        sink: Option<f32>,
        slope: f32,
    ) -> Vec<f32> {
        let scale = 1.0 / f64::from(self.dim as u32).sqrt();
        let score = |(j, key): (usize, &&[f32])| {
            let dot: f64 = q
                .iter()
                .zip(*key)
                .map(|(q, k)| f64::from(*q) * f64::from(*k))
                .sum();
            let mut z = dot * scale;
            if self.softcap != 0.0 {
                let cap = f64::from(self.softcap);
                z = cap * (z / cap).tanh();
            }
            (z + f64::from(slope) * j as f64).exp()
        };
        let first = self.first_seen(position);
        let seen = first..position + 1;
        let weights: Vec<f64> = k
            .iter()
            .enumerate()
            .skip(first)
            .take(seen.len())
            .map(score)
            .collect();
        let sum = weights.iter().sum::<f64>() + sink.map_or(0.0, |sink| f64::from(sink).exp());
        let column = |d: usize| -> f64 {
            weights
                .iter()
                .zip(&v[seen.clone()])
                .map(|(w, v)| w * f64::from(v[d]))
                .sum()
        };
        (0..self.dim).map(|d| (column(d) / sum) as f32).collect()
    }

    /// `runs`: tokens of each and the position of its first.
    fn check(&self, gpu: &testing::Gpu, runs: &[(usize, usize)]) {
        let Self {
            half,
            dim,
            kv_heads,
            group,
            ..
        } = *self;
        let heads = kv_heads * group;
        let tokens: usize = runs.iter().map(|run| run.0).sum();
        let pages = runs
            .iter()
            .map(|(n, start)| (n + start).div_ceil(PAGE))
            .max()
            .unwrap();
        let (q, q_bits) = halves(half, &random(1, tokens * heads * dim));
        let (sinks, slopes) = (
            random(2, heads),
            random(3, heads)
                .iter()
                .map(|x| x * 0.02)
                .collect::<Vec<_>>(),
        );
        // Blocks in an order of their own; what no token wrote is NaN, and pages no query sees lie nowhere.
        let block_len = kv_heads * PAGE * dim;
        let mut k_bits = vec![u16::MAX; runs.len() * pages * block_len];
        let mut v_bits = k_bits.clone();
        let mut table = vec![u32::MAX / 2; runs.len() * pages];
        let mut device_runs = Vec::new();
        let mut expected = Vec::new();
        let mut first_token = 0;
        for (r, &(n, start)) in runs.iter().enumerate() {
            let slot = runs.len() - 1 - r;
            device_runs.extend([first_token, n, start, slot].map(|x| x as u32));
            let length = start + n;
            let (k, k_new) = halves(half, &random(10 + r as u64, length * kv_heads * dim));
            let (v, v_new) = halves(half, &random(20 + r as u64, length * kv_heads * dim));
            for position in self.first_seen(start) / PAGE * PAGE..length {
                let block = (slot * pages + position / PAGE) * 7 % (runs.len() * pages);
                table[slot * pages + position / PAGE] = block as u32;
                for head in 0..kv_heads {
                    let from = (position * kv_heads + head) * dim;
                    let to = block * block_len + (head * PAGE + position % PAGE) * dim;
                    k_bits[to..to + dim].copy_from_slice(&k_new[from..from + dim]);
                    v_bits[to..to + dim].copy_from_slice(&v_new[from..from + dim]);
                }
            }
            for t in 0..n {
                for head in 0..heads {
                    let of = |x: &'_ [f32]| -> Vec<Vec<f32>> {
                        x.chunks_exact(kv_heads * dim)
                            .map(|row| row[head / group * dim..][..dim].to_vec())
                            .collect()
                    };
                    let (k, v) = (of(&k), of(&v));
                    let (k, v): (Vec<&[f32]>, Vec<&[f32]>) = (
                        k.iter().map(Vec::as_slice).collect(),
                        v.iter().map(Vec::as_slice).collect(),
                    );
                    let q = &q[((first_token + t) * heads + head) * dim..][..dim];
                    let slope = if self.alibi { slopes[head] } else { 0.0 };
                    expected.extend(self.attend(
                        q,
                        &k,
                        &v,
                        start + t,
                        self.sinks.then_some(sinks[head]),
                        slope,
                    ));
                }
            }
            first_token += n;
        }
        let run_tokens: Vec<u32> = runs.iter().map(|run| run.0 as u32).collect();
        let (q_d, k_d, v_d) = (
            gpu.upload(&q_bits),
            gpu.upload(&k_bits),
            gpu.upload(&v_bits),
        );
        let (table_d, runs_d) = (gpu.upload(&table), gpu.upload(&device_runs));
        let (sinks_d, slopes_d) = (gpu.upload(&sinks), gpu.upload(&slopes));
        let out = gpu.poisoned_bytes(expected.len() * 2);
        let attention = AttentionPrefill {
            q: q_d.ptr(),
            out: out.ptr(),
            k: k_d.ptr(),
            v: v_d.ptr(),
            table: table_d.ptr(),
            table_stride: pages as u32,
            runs: runs_d.ptr(),
            sinks: if self.sinks {
                sinks_d.ptr()
            } else {
                DevicePtr::NULL
            },
            slopes: if self.alibi {
                slopes_d.ptr()
            } else {
                DevicePtr::NULL
            },
            ..self.prefill(&run_tokens)
        };
        gpu.run(&[attention.launch(&gpu.0.facts()).unwrap()]);
        let bits: Vec<u16> = gpu.download(&out);
        let found: Vec<f32> = match half {
            Half::Bf16 => bits
                .iter()
                .map(|bits| half::bf16::from_bits(*bits).to_f32())
                .collect(),
            Half::F16 => bits
                .iter()
                .map(|bits| half::f16::from_bits(*bits).to_f32())
                .collect(),
        };
        let tolerance = if half == Half::Bf16 { 8e-3 } else { 1.5e-3 };
        assert_close(
            &found,
            &expected,
            tolerance,
            &format!("{half:?} {dim} {runs:?}"),
        );
    }
}

#[test]
fn the_kernel_is_its_twin() {
    let Some(gpu) = testing::Gpu::get() else {
        return;
    };
    PLAIN.check(&gpu, &[(129, 0)]);
    Case {
        dim: 128,
        half: Half::Bf16,
        sinks: true,
        ..PLAIN
    }
    .check(&gpu, &[(17, 0), (1, 70), (9, 33)]);
    Case {
        dim: 96,
        group: 3,
        window: 40,
        sinks: true,
        ..PLAIN
    }
    .check(&gpu, &[(65, 200)]);
    Case {
        dim: 256,
        group: 1,
        chunk: 64,
        softcap: 20.0,
        ..PLAIN
    }
    .check(&gpu, &[(70, 40), (9, 100)]);
    Case {
        group: 5,
        kv_heads: 1,
        alibi: true,
        ..PLAIN
    }
    .check(&gpu, &[(33, 31)]);
}

#[test]
fn only_widths_with_a_kernel_are_served() {
    let facts = DeviceFacts {
        compute_capability: (9, 0),
        sms: 132,
        shared_per_block: 232_448,
        l2_bytes: 50 << 20,
    };
    let launch = PLAIN.prefill(&[129, 1]).launch(&facts).unwrap();
    // 129 tokens × 4 heads are 5 tiles of 128 rows; 1 token is one more.
    assert_eq!(launch.grid, [2, 6, 1]);
    assert!(
        Case { dim: 80, ..PLAIN }
            .prefill(&[9])
            .launch(&facts)
            .is_none()
    );
    assert!(
        AttentionPrefill {
            v_dim: 128,
            ..PLAIN.prefill(&[9])
        }
        .launch(&facts)
        .is_none()
    );
    let small = DeviceFacts {
        shared_per_block: 48 << 10,
        ..facts
    };
    assert!(PLAIN.prefill(&[9]).launch(&small).is_none());
}
