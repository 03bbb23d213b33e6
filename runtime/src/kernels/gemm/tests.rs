use super::super::testing::{self, assert_close, halves, random};
use super::*;
use crate::cuda::DeviceMatrix;
use crate::nn::{Act, Glu};
use crate::weights::WeightDtype;

const H100: DeviceFacts = DeviceFacts {
    compute_capability: (9, 0),
    sms: 132,
    shared_per_block: 232_448,
    l2_bytes: 50 << 20,
};
const A100: DeviceFacts = DeviceFacts {
    compute_capability: (8, 0),
    sms: 108,
    shared_per_block: 166_912,
    l2_bytes: 40 << 20,
};

fn dense(tokens: u32, n: u32, k: u32) -> Gemm {
    Gemm {
        half: Half::Bf16,
        a: HalfRows {
            ptr: DevicePtr(256),
            rows: tokens,
            stride: k,
        },
        w: HalfRows {
            ptr: DevicePtr(512),
            rows: n,
            stride: k,
        },
        up: None,
        n,
        k,
        bias: None,
        store: Store::F32 {
            residual: DevicePtr::NULL,
        },
        out: DevicePtr(1024),
        out_stride: n,
        grouped: None,
    }
}

#[test]
fn shapes_choose_their_kernel() {
    for (tokens, n, k, facts, kernel) in [
        (512, 4096, 4096, H100, "gemm_sm90_bf16_128"),
        (2048, 28672, 4096, H100, "gemm_sm90_bf16_256"),
        (16, 4096, 4096, H100, "gemm_sm90_bf16_64"),
        // Rows that do not begin at 16 bytes.
        (512, 4096, 4095, H100, "gemm_mma_bf16"),
        (512, 4096, 4096, A100, "gemm_mma_bf16"),
    ] {
        let launch = dense(tokens, n, k).launch(&facts).unwrap();
        assert_eq!(launch.kernel, kernel, "{tokens} × {n} × {k}");
        // Those of Hopper stay and take tile after tile.
        assert!(!kernel.starts_with("gemm_sm90") || launch.grid[0] <= facts.sms);
        assert!(launch.shared <= facts.shared_per_block);
    }
}

#[test]
fn parameters_are_whole_maps_long() {
    assert_eq!(size_of::<Sm90Params>() % 128, 0);
    assert_eq!(size_of::<Mxfp4Params>() % 128, 0);
    let launch = dense(100, 200, 64).launch(&H100).unwrap();
    assert_eq!(launch.tensor_maps[1].rows, 200);
    assert_eq!(launch.params[384..388], 100_u32.to_le_bytes());
}

#[test]
fn unknown_activations_are_refused() {
    let up = HalfRows {
        ptr: DevicePtr(512),
        rows: 64,
        stride: 64,
    };
    let gated = |act| Gemm {
        up: Some(up),
        store: Store::Glu(Glu::Act(act).into()),
        ..dense(9, 64, 64)
    };
    assert!(gated(Act::Silu).launch(&H100).is_some());
    assert!(gated(Act::Relu2).launch(&H100).is_none());
    assert!(
        Gemm {
            up: None,
            ..gated(Act::Silu)
        }
        .launch(&H100)
        .is_none()
    );
}

/// The twin: a row of A and a row of W.
fn dot(a: &[f32], w: &[f32]) -> f64 {
    a.iter()
        .zip(w)
        .map(|(a, w)| f64::from(*a) * f64::from(*w))
        .sum()
}

fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

#[test]
fn dense_products_are_their_twin() {
    let Some(gpu) = testing::Gpu::get() else {
        return;
    };
    for half in [Half::Bf16, Half::F16] {
        for (tokens, n, k) in [
            (9, 7, 64),
            (17, 100, 72),
            (127, 515, 200),
            (129, 258, 1000),
            (513, 40, 33),
        ] {
            let (a, a_bits) = halves(half, &random(1, tokens * k));
            let (w, w_bits) = halves(half, &random(2, n * k));
            let bias = random(3, n);
            let (a_d, w_d, bias_d) = (gpu.upload(&a_bits), gpu.upload(&w_bits), gpu.upload(&bias));
            let facts = gpu.0.facts();
            for facts in [
                facts,
                DeviceFacts {
                    compute_capability: (8, 0),
                    ..facts
                },
            ] {
                let out = gpu.poisoned(tokens * n);
                let gemm = Gemm {
                    half,
                    a: HalfRows {
                        ptr: a_d.ptr(),
                        ..dense(tokens as u32, n as u32, k as u32).a
                    },
                    w: HalfRows {
                        ptr: w_d.ptr(),
                        ..dense(tokens as u32, n as u32, k as u32).w
                    },
                    bias: Some(Bias {
                        ptr: bias_d.ptr(),
                        up: DevicePtr::NULL,
                        experts: 0,
                    }),
                    out: out.ptr(),
                    ..dense(tokens as u32, n as u32, k as u32)
                };
                gpu.run(&[gemm.launch(&facts).unwrap()]);
                let expected: Vec<f32> = a
                    .chunks_exact(k)
                    .flat_map(|a| {
                        w.chunks_exact(k)
                            .zip(&bias)
                            .map(|(w, b)| (dot(a, w) + f64::from(*b)) as f32)
                    })
                    .collect();
                assert_close(
                    &gpu.download(&out),
                    &expected,
                    1e-5,
                    &format!("{half:?} {tokens} × {n} × {k}"),
                );
            }
        }
    }
}

#[test]
fn grouped_gated_products_are_their_twin() {
    let Some(gpu) = testing::Gpu::get() else {
        return;
    };
    let (tokens, inter, k, half) = (300, 52, 136, Half::F16);
    // The second expert has no rows.
    let offsets = [0_u32, 150, 150, 163, 300];
    let experts = offsets.len() - 1;
    let (a, a_bits) = halves(half, &random(1, tokens * k));
    let (w, w_bits) = halves(half, &random(2, experts * 2 * inter * k));
    let (a_d, w_d, offsets_d) = (
        gpu.upload(&a_bits),
        gpu.upload(&w_bits),
        gpu.upload(&offsets),
    );
    let expected: Vec<f32> = (0..tokens)
        .flat_map(|t| {
            let expert = offsets
                .iter()
                .rposition(|first| *first as usize <= t)
                .unwrap();
            let (a, w) = (
                &a[t * k..][..k],
                &w[expert * 2 * inter * k..][..2 * inter * k],
            );
            // Gate and up alternate.
            w.chunks_exact(2 * k)
                .map(|pair| (silu(dot(a, &pair[..k])) * dot(a, &pair[k..])) as f32)
        })
        .collect();
    let facts = gpu.0.facts();
    for facts in [
        facts,
        DeviceFacts {
            compute_capability: (8, 0),
            ..facts
        },
    ] {
        let out = gpu.poisoned_bytes(tokens * inter * 2);
        let rows = HalfRows {
            ptr: w_d.ptr(),
            rows: (experts * inter) as u32,
            stride: 2 * k as u32,
        };
        let gemm = Gemm {
            half,
            a: HalfRows {
                ptr: a_d.ptr(),
                rows: tokens as u32,
                stride: k as u32,
            },
            w: rows,
            up: Some(HalfRows {
                ptr: w_d.ptr().offset(2 * k),
                ..rows
            }),
            store: Store::Glu(Glu::Act(Act::Silu).into()),
            out: out.ptr(),
            grouped: Some(Grouped {
                experts: experts as u32,
                first: 0,
                rows: inter as u32,
                offsets: offsets_d.ptr(),
            }),
            ..dense(tokens as u32, inter as u32, k as u32)
        };
        gpu.run(&[gemm.launch(&facts).unwrap()]);
        let found: Vec<half::f16> = gpu.download(&out);
        let found: Vec<f32> = found.iter().map(|x| x.to_f32()).collect();
        assert_close(&found, &expected, 1e-3, "grouped");
    }
}

#[test]
fn mxfp4_products_are_their_twin() {
    let Some(gpu) = testing::Gpu::get() else {
        return;
    };
    if gpu.0.facts().compute_capability != (9, 0) {
        return;
    }
    let (tokens, inter, k, half) = (140, 40, 96, Half::Bf16);
    let offsets = [0_u32, 3, 3, 140];
    let experts = offsets.len() - 1;
    let (a, a_bits) = halves(half, &random(1, tokens * k));
    let matrix = crate::cpu::testing::matrix(
        WeightDtype::Mxfp4,
        experts * 2 * inter,
        k,
        &mut crate::cpu::testing::rng(5),
    );
    let device = DeviceMatrix::upload(&gpu.0, std::slice::from_ref(&matrix), "a test").unwrap();
    let w = matrix.to_f32().unwrap();
    let (a_d, offsets_d) = (gpu.upload(&a_bits), gpu.upload(&offsets));
    let expert_of = |t: usize| {
        offsets
            .iter()
            .rposition(|first| *first as usize <= t)
            .unwrap()
    };
    let out = gpu.poisoned(tokens * 2 * inter);
    let gemm = GemmMxfp4 {
        half,
        a: HalfRows {
            ptr: a_d.ptr(),
            rows: tokens as u32,
            stride: k as u32,
        },
        quants: device.arg().planes[0],
        scales: device.arg().planes[1],
        up: None,
        n: 2 * inter as u32,
        k: k as u32,
        bias: None,
        store: Store::F32 {
            residual: DevicePtr::NULL,
        },
        out: out.ptr(),
        out_stride: 2 * inter as u32,
        grouped: Grouped {
            experts: experts as u32,
            first: 0,
            rows: 2 * inter as u32,
            offsets: offsets_d.ptr(),
        },
    };
    gpu.run(&[gemm.launch(&gpu.0.facts()).unwrap()]);
    let expected: Vec<f32> = (0..tokens)
        .flat_map(|t| {
            let w = &w[expert_of(t) * 2 * inter * k..][..2 * inter * k];
            let a = &a[t * k..][..k];
            w.chunks_exact(k).map(move |w| dot(a, w) as f32)
        })
        .collect();
    assert_close(&gpu.download(&out), &expected, 1e-5, "mxfp4");
}
