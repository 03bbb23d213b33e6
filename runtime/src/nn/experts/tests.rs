//! The same experts in every spelling, against a plain computation in double precision.

use super::*;
use crate::config::Format;
use crate::cpu::Precision;
use crate::nn::{Act, Architecture, KvCache, KvCacheOptions, NnError, Run, Want};
use crate::weights::testing::{Stored, bytes, checkpoint, floats};
use crate::weights::{Mode, Source as From};

const E: usize = 3;
const I: usize = 5;
const H: usize = 4;

pub(super) const ARCHITECTURE: Architecture = Architecture {
    name: "test",
    hf: &[],
    gguf: &[],
    formats: &[Format::Hf],
    roots: [&[""], &[""]],
    ignore: [&[], &[]],
    condition: [None, None],
    max_positions: None,
    tokens: Name::new(["embed", ""], "test.toml:1"),
    load: |_| Err(NnError::Setting("only its experts are loaded".into()).into()),
};

pub(super) const fn name(name: &'static str) -> Name {
    Name::new([name, ""], "test.toml:9")
}

const SPLIT: ExpertNames = ExpertNames::Split {
    gate: name("gate"),
    up: name("up"),
    down: name("down"),
};
const EACH: ExpertNames = ExpertNames::Split {
    gate: name("{e}.gate"),
    up: name("{e}.up"),
    down: name("{e}.down"),
};

/// The value of a weight: of gate (0), up (1) or down (2) of an expert, at row and column; columns from 100 are biases.
fn weight(part: usize, expert: usize, row: usize, col: usize) -> f32 {
    ((part * 31 + expert * 17 + row * 7 + col * 3) % 23) as f32 / 10.0 - 1.1
}

/// Some of the weights in an order.
fn values(shape: &[usize], value: impl Fn(&[usize]) -> f32) -> Vec<f32> {
    let count = shape.iter().product();
    let index = |mut flat: usize| {
        let mut index = vec![0; shape.len()];
        for (i, dim) in shape.iter().enumerate().rev() {
            index[i] = flat % dim;
            flat /= dim;
        }
        index
    };
    (0..count).map(|flat| value(&index(flat))).collect()
}

fn stacked(name: &str, part: usize, [rows, cols]: [usize; 2]) -> [Stored; 2] {
    let all = values(&[E, rows, cols], |i| weight(part, i[0], i[1], i[2]));
    let biases = values(&[E, rows], |i| weight(part, i[0], i[1], 100));
    [
        floats(&format!("{name}.weight"), &[E, rows, cols], &all),
        floats(&format!("{name}.bias"), &[E, rows], &biases),
    ]
}

fn load(tensors: Vec<Stored>, names: ExpertNames, storage: Option<Storage>, act: Glu) -> Experts {
    let mut all = vec![floats("embed.weight", &[1, H], &[0.0; H])];
    all.extend(tensors);
    let (_folder, checkpoint) = checkpoint("{}", &all);
    let from = From::Checkpoint(&checkpoint);
    let options = ExpertsOptions {
        names,
        storage,
        count: E,
        inter: I,
        hidden: H,
        act,
        bias: true,
    };
    let mut planning =
        Weights::new(&ARCHITECTURE, checkpoint.config(), from, Mode::Planning).unwrap();
    Experts::load(&mut planning, options.clone()).unwrap();
    let problems = planning.finish().problems;
    let embedding =
        |problem: &crate::weights::Problem| problem.to_string().contains("`embed.weight`");
    assert!(problems.iter().all(embedding), "{problems:?}");
    let mode = Mode::Loading(Precision::Exact.into());
    let mut w = Weights::new(&ARCHITECTURE, checkpoint.config(), from, mode).unwrap();
    Experts::load(&mut w, options).unwrap()
}

fn routes(apply: Apply) -> Routes {
    Routes::new(
        2,
        vec![(2, 0.5), (0, 0.25), (0, 1.5), (1, -1.0), (2, 1.0), (1, 2.0)],
        apply,
    )
}

const X: [f32; 12] = [
    0.3, -0.7, 1.1, 0.2, -1.3, 0.4, 0.9, -0.1, 0.6, 0.8, -0.5, 1.2,
];

fn run(experts: &Experts, apply: Apply) -> Vec<f32> {
    let mut cache = KvCache::new(&[], KvCacheOptions { max_tokens: 3 }).unwrap();
    let sequence = cache.open(3).unwrap();
    let step = Step::new(
        &mut cache,
        &[Run {
            sequence,
            tokens: &[0; 3],
            logits: Want::None,
        }],
    )
    .unwrap();
    let x = Activations::new(X.to_vec(), 3, H).unwrap();
    experts
        .forward(&x, &routes(apply), &step)
        .unwrap()
        .values()
        .to_vec()
}

fn reference(apply: Apply, join: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    let mut out = vec![0.0; X.len()];
    let chosen = [
        (0, 2, 0.5),
        (0, 0, 0.25),
        (1, 0, 1.5),
        (1, 1, -1.0),
        (2, 2, 1.0),
        (2, 1, 2.0),
    ];
    for (token, expert, scale) in chosen {
        let (input, output) = if apply == Apply::Input {
            (scale, 1.0)
        } else {
            (1.0, scale)
        };
        let w = |part: usize, row: usize, col: usize| f64::from(weight(part, expert, row, col));
        let x: Vec<f64> = X[token * H..][..H]
            .iter()
            .map(|x| f64::from(*x) * input)
            .collect();
        let project = |part: usize, row: usize, x: &[f64]| {
            w(part, row, 100)
                + x.iter()
                    .enumerate()
                    .map(|(col, x)| w(part, row, col) * x)
                    .sum::<f64>()
        };
        let inner: Vec<f64> = (0..I)
            .map(|row| join(project(0, row, &x), project(1, row, &x)))
            .collect();
        for row in 0..H {
            out[token * H + row] += output * project(2, row, &inner);
        }
    }
    out
}

fn silu(gate: f64, up: f64) -> f64 {
    gate / (1.0 + (-gate).exp()) * up
}

fn assert_close(found: &[f32], expected: &[f64], what: &str) {
    let off = found
        .iter()
        .zip(expected)
        .map(|(a, b)| (f64::from(*a) - b).abs())
        .fold(0.0, f64::max);
    assert!(off < 1e-5, "{what}: off by {off}\n{found:?}\n{expected:?}");
}

fn split() -> Vec<Stored> {
    [
        stacked("gate", 0, [I, H]),
        stacked("up", 1, [I, H]),
        stacked("down", 2, [H, I]),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[test]
fn weights_multiply_outputs_or_inputs() {
    let experts = load(split(), SPLIT, None, Act::Silu.into());
    for apply in [Apply::Output, Apply::Input] {
        assert_close(
            &run(&experts, apply),
            &reference(apply, silu),
            &format!("{apply:?}"),
        );
    }
}

#[test]
fn a_clamped_act_joins_gate_and_up() {
    let experts = load(
        split(),
        SPLIT,
        None,
        Glu::Clamped {
            alpha: 1.7,
            limit: 0.8,
            up_shift: 1.0,
        },
    );
    let clamped = |gate: f64, up: f64| {
        let gate = gate.min(0.8);
        (up.clamp(-0.8, 0.8) + 1.0) * gate / (1.0 + (-1.7 * gate).exp())
    };
    assert_close(
        &run(&experts, Apply::Output),
        &reference(Apply::Output, clamped),
        "clamped",
    );
}

#[test]
fn one_projection_for_each_expert() {
    let mut tensors = Vec::new();
    for expert in 0..E {
        for (part, (name, [rows, cols])) in [("gate", [I, H]), ("up", [I, H]), ("down", [H, I])]
            .into_iter()
            .enumerate()
        {
            let matrix = values(&[rows, cols], |i| weight(part, expert, i[0], i[1]));
            let bias = values(&[rows], |i| weight(part, expert, i[0], 100));
            tensors.push(floats(
                &format!("{expert}.{name}.weight"),
                &[rows, cols],
                &matrix,
            ));
            tensors.push(floats(&format!("{expert}.{name}.bias"), &[rows], &bias));
        }
    }
    let experts = load(tensors, EACH, None, Act::Silu.into());
    assert_close(
        &run(&experts, Apply::Output),
        &reference(Apply::Output, silu),
        "one each",
    );
}

/// Row r of gate_up in a layout: which part, and which of its rows.
type Layout = fn(usize) -> (usize, usize);

fn fused(layout: Layout) -> [Stored; 2] {
    let row = |expert: usize, row: usize, col: usize| {
        let (part, row) = layout(row);
        weight(part, expert, row, col)
    };
    [
        floats(
            "gate_up",
            &[E, H, 2 * I],
            &values(&[E, H, 2 * I], |i| row(i[0], i[2], i[1])),
        ),
        floats(
            "gate_up_bias",
            &[E, 2 * I],
            &values(&[E, 2 * I], |i| row(i[0], i[1], 100)),
        ),
    ]
}

#[test]
fn fused_transposed_and_interleaved_as_gpt_oss_saves_them() {
    const STORAGE: Storage = Storage {
        weight: "{P}",
        bias: Some("{P}_bias"),
        transposed: true,
        transposed_only: None,
        flat: false,
        mxfp4: None,
    };
    let cases: [(Rows, Layout); 3] = [
        (Rows::interleaved(&[I, I]), |row| (row % 2, row / 2)),
        (Rows::blocks(&[I, I]), |row| (row / I, row % I)),
        (Rows::blocks(&[I, I]).order(&[1, 0]), |row| {
            (1 - row / I, row % I)
        }),
    ];
    for (rows, layout) in cases {
        let down = values(&[E, I, H], |i| weight(2, i[0], i[2], i[1]));
        let bias = values(&[E, H], |i| weight(2, i[0], i[1], 100));
        let mut tensors = vec![
            floats("down", &[E, I, H], &down),
            floats("down_bias", &[E, H], &bias),
        ];
        tensors.extend(fused(layout));
        let names = ExpertNames::Fused {
            gate_up: name("gate_up"),
            rows: rows.clone(),
            down: name("down"),
        };
        let experts = load(tensors, names, Some(STORAGE), Act::Silu.into());
        assert_close(
            &run(&experts, Apply::Output),
            &reference(Apply::Output, silu),
            &format!("{rows:?}"),
        );
    }
}

#[test]
fn flat_stacks_of_which_one_is_transposed() {
    let storage = Storage {
        flat: true,
        transposed_only: Some("down"),
        ..PLAIN
    };
    let mut tensors = split();
    tensors
        .retain(|tensor| tensor.is("gate.bias") || tensor.is("up.bias") || tensor.is("down.bias"));
    for (part, name) in ["gate", "up"].into_iter().enumerate() {
        let all = values(&[E, I, H], |i| weight(part, i[0], i[1], i[2]));
        tensors.push(floats(&format!("{name}.weight"), &[E * I, H], &all));
    }
    let down = values(&[E, I, H], |i| weight(2, i[0], i[2], i[1]));
    tensors.push(floats("down.weight", &[E * I, H], &down));
    let experts = load(tensors, SPLIT, Some(storage), Act::Silu.into());
    assert_close(
        &run(&experts, Apply::Output),
        &reference(Apply::Output, silu),
        "flat",
    );
}

#[test]
fn mxfp4_is_read_packed_where_its_blocks_are() {
    const STORAGE: Storage = Storage {
        weight: "{P}",
        bias: None,
        transposed: true,
        transposed_only: None,
        flat: false,
        mxfp4: Some(Mxfp4Storage {
            blocks: "{P}_blocks",
            scales: "{P}_scales",
            bias: None,
        }),
    };
    const WIDE: usize = 32;
    let tensors = ["gate", "up", "down"]
        .into_iter()
        .enumerate()
        .flat_map(|(part, name)| {
            let blocks: Vec<u8> = (0..E * WIDE * 16)
                .map(|i| (i * 37 + i / 13 + part) as u8)
                .collect();
            let scales: Vec<u8> = (0..E * WIDE).map(|i| 120 + (i % 5) as u8).collect();
            [
                bytes(&format!("{name}_blocks"), &[E, WIDE, 1, 16], blocks),
                bytes(&format!("{name}_scales"), &[E, WIDE, 1], scales),
            ]
        });
    let mut all = vec![floats("embed.weight", &[1, H], &[0.0; H])];
    all.extend(tensors);
    let (_folder, checkpoint) = checkpoint("{}", &all);
    let mode = Mode::Loading(Precision::Exact.into());
    let mut w = Weights::new(
        &ARCHITECTURE,
        checkpoint.config(),
        From::Checkpoint(&checkpoint),
        mode,
    )
    .unwrap();
    let (count, inter, hidden, act) = (E, WIDE, WIDE, Act::Identity.into());
    let options = ExpertsOptions {
        names: SPLIT,
        storage: Some(STORAGE),
        count,
        inter,
        hidden,
        act,
        bias: false,
    };
    let experts = Experts::load(&mut w, options.clone()).unwrap();
    // Unit vectors read columns of gate and up: element 1 is the high half of byte 0.
    const LUT: [f32; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
    let value = |part: usize, row: usize, col: usize| {
        let byte = (row * 16 + col / 2) * 37 + (row * 16 + col / 2) / 13 + part;
        let nibble = usize::from(byte as u8 >> (4 * (col % 2)) & 15);
        let sign = if nibble < 8 { 1.0 } else { -1.0 };
        sign * LUT[nibble % 8] * (120.0 + (row % 5) as f32 - 127.0).exp2()
    };
    for col in [0, 1, 15, 16, 31] {
        let mut x = [0.0; WIDE];
        x[col] = 1.0;
        let mut out = [0.0; 2 * WIDE];
        match &experts.experts {
            Place::Host(list) => list[1].gate_up.project(&x, 1, &mut out).unwrap(),
            #[cfg(feature = "cuda")]
            Place::Device(_) => panic!("not on the host"),
        }
        for row in 0..WIDE {
            assert_eq!(out[row], value(0, WIDE + row, col), "gate {row} {col}");
            assert_eq!(out[WIDE + row], value(1, WIDE + row, col), "up {row} {col}");
        }
    }
    let error = Experts::load(
        &mut w,
        ExpertsOptions {
            hidden: 40,
            ..options
        },
    )
    .unwrap_err();
    assert!(error.to_string().contains("MXFP4 blocks of 32"), "{error}");
}
