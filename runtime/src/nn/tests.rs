//! Layers that read a checkpoint, and steps.

use half::bf16;

use super::*;
use crate::weights::testing::{Stored, checkpoint, floats, zeros};
use crate::weights::{Mode, Plan, Source};
use crate::{Error, cpu::Precision};

const ARCHITECTURE: Architecture = Architecture {
    name: "test",
    hf: &[],
    gguf: &[],
    formats: &[Format::Hf],
    roots: [&[""], &[""]],
    ignore: [&[], &[]],
    condition: [None, None],
    tokens: TOKENS,
    max_positions: None,
    load: |_| Err(NnError::Setting("only its layers are loaded".into()).into()),
};

const TOKENS: Name = name("embed");

const fn name(name: &'static str) -> Name {
    Name::new([name, ""], "test.toml:9")
}

/// The same part planned and loaded.
fn load<T>(tensors: &[Stored], part: impl Fn(&mut Weights) -> Result<T>) -> (Plan, Result<T>) {
    let mut all: Vec<Stored> = tensors.iter().map(Stored::again).collect();
    if !all.iter().any(|tensor| tensor.is("embed.weight")) {
        all.push(zeros("embed.weight", ::safetensors::Dtype::F32, &[1, 1]));
    }
    let (_folder, checkpoint) = checkpoint("{}", &all);
    let weights = |mode| {
        Weights::new(
            &ARCHITECTURE,
            checkpoint.config(),
            Source::Checkpoint(&checkpoint),
            mode,
        )
        .unwrap()
    };
    let mut planning = weights(Mode::Planning);
    part(&mut planning).unwrap();
    (
        planning.finish(),
        part(&mut weights(Mode::Loading(Precision::Exact.into()))),
    )
}

fn cache() -> (KvCache, SequenceId) {
    let mut cache = KvCache::new(&[], KvCacheOptions { max_tokens: 64 }).unwrap();
    let sequence = cache.open(32).unwrap();
    (cache, sequence)
}

fn project(linear: &Linear, x: &[f32], tokens: usize) -> Vec<f32> {
    let (mut cache, sequence) = cache();
    let run = Run {
        sequence,
        tokens: &vec![0; tokens],
        logits: Want::None,
    };
    let step = Step::new(&mut cache, &[run]).unwrap();
    let x = Activations::new(x.to_vec(), tokens, x.len() / tokens).unwrap();
    linear.forward(&x, &step).unwrap().values().to_vec()
}

const X: [f32; 4] = [1.0, 2.0, -1.0, 0.5];

#[test]
fn projections_of_different_types_stand_side_by_side() {
    let half: Vec<f32> = [3.0, 4.0]
        .iter()
        .map(|x| bf16::from_f32(*x).to_f32())
        .collect();
    let mut k = zeros("k.weight", ::safetensors::Dtype::BF16, &[1, 2]);
    k.fill(
        half.iter()
            .flat_map(|x| bf16::from_f32(*x).to_le_bytes())
            .collect(),
    );
    let tensors = [
        floats("q.weight", &[2, 2], &[1.0, 0.0, 0.0, 1.0]),
        floats("q.bias", &[2], &[10.0, 20.0]),
        k,
        floats("k.bias", &[1], &[30.0]),
    ];
    let (_, linear) = load(&tensors, |w| {
        Linear::stacked(w, &[(name("q"), 2), (name("k"), 1)], 2, true, false)
    });
    let linear = linear.unwrap();
    assert_eq!(linear.out_features(), 3);
    assert_eq!(project(&linear, &X[..2], 1), [11.0, 22.0, 41.0]);
    assert_eq!(project(&linear, &X, 2), [11.0, 22.0, 41.0, 9.0, 20.5, 29.0]);
}

#[test]
fn a_fused_matrix_is_put_in_order_after_it_is_turned() {
    // Rows of "(q v k)*2", one of each in a group, wanted q, k, v; stored [in, out].
    let tensors = [
        floats("qkv.weight", &[1, 6], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
        floats("qkv.bias", &[6], &[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]),
    ];
    let rows = Rows::grouped(2, &[2, 2, 2]).order(&[0, 2, 1]);
    let (plan, linear) = load(&tensors, |w| {
        Linear::fused(w, name("qkv"), &rows, 1, true, true)
    });
    assert_eq!(plan.tensors[0].shape, [1, 6]);
    assert_eq!(
        project(&linear.unwrap(), &[10.0], 1),
        [10.1, 40.4, 30.3, 60.6, 20.2, 50.5]
    );
}

#[test]
fn the_file_decides_how_wide_a_gate_is() {
    for rows in [4, 2] {
        let tensors = [floats("gate.weight", &[rows, 1], &vec![1.0; rows])];
        let (_, linear) = load(&tensors, |w| Linear::gate(w, name("gate"), &[4, 2], 1));
        assert_eq!(linear.unwrap().out_features(), rows);
    }
    let (plan, _) = load(&[floats("gate.weight", &[3, 1], &[1.0; 3])], |w| {
        Linear::gate(w, name("gate"), &[4, 2], 1)
    });
    let problem = plan.problems[0].to_string();
    assert!(
        problem.contains("wrong shape `gate.weight` [4, 1]"),
        "{problem}"
    );
}

fn embedding() -> Embedding {
    let tensors = [
        floats("embed.weight", &[3, 2], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]),
        floats(
            "positions.weight",
            &[7, 2],
            &(0..14).map(|i| i as f32 * 100.0).collect::<Vec<_>>(),
        ),
    ];
    let options = EmbeddingOptions {
        vocab: 3,
        hidden: 2,
        scale: 0.5,
        positions: Some((name("positions"), 7, 2)),
    };
    load(&tensors, |w| Embedding::load(w, TOKENS, options))
        .1
        .unwrap()
}

#[test]
fn tokens_are_scaled_before_positions_are_added() {
    let (mut cache, sequence) = cache();
    let step = Step::new(
        &mut cache,
        &[Run {
            sequence,
            tokens: &[2, 0],
            logits: Want::None,
        }],
    )
    .unwrap();
    let rows = embedding().forward(&step).unwrap().values().to_vec();
    assert_eq!(rows, [402.0, 502.5, 600.0, 700.5]);
}

#[test]
fn a_token_or_position_that_is_not_there_leaves_the_sequence_as_it_was() {
    let (mut cache, sequence) = cache();
    let mut run = |tokens: &[u32]| {
        let step = Step::new(
            &mut cache,
            &[Run {
                sequence,
                tokens,
                logits: Want::None,
            }],
        )
        .unwrap();
        embedding().forward(&step).unwrap_err()
    };
    assert!(matches!(
        run(&[0, 3]),
        Error::Nn(NnError::Token { token: 3, vocab: 3 })
    ));
    assert!(matches!(
        run(&[0; 6]),
        Error::Nn(NnError::Position {
            position: 5,
            positions: 5
        })
    ));
    assert_eq!(cache.len(sequence), 0);
}

#[test]
fn only_wanted_rows_go_on_and_logits_end_a_step() {
    let (mut cache, a) = cache();
    let (b, c) = (cache.open(8).unwrap(), cache.open(8).unwrap());
    let runs = [
        Run {
            sequence: a,
            tokens: &[0, 0, 0],
            logits: Want::LastN(2),
        },
        Run {
            sequence: b,
            tokens: &[0, 0],
            logits: Want::None,
        },
        Run {
            sequence: c,
            tokens: &[0, 0],
            logits: Want::Last,
        },
    ];
    let tensors = [
        floats("out.weight", &[2, 1], &[1.0, -2.0]),
        floats("out.bias", &[2], &[0.0, 1.0]),
    ];
    let (_, out) = load(&tensors, |w| {
        Linear::stacked(w, &[(name("out"), 2)], 1, true, false)
    });
    let out = out.unwrap();
    let mut step = Step::new(&mut cache, &runs).unwrap();
    let x = Activations::new((0..7).map(|i| i as f32).collect(), 7, 1).unwrap();
    let x = step.wanted(x).unwrap();
    assert_eq!(*x.values(), [1.0, 2.0, 6.0]);
    let logits = step.logits(&out, x).scale(0.5).softcap(2.0).run().unwrap();
    assert_eq!((logits.rows(), logits.vocab()), (3, 2));
    let capped = |z: f32| 2.0 * (z / 2.0).tanh();
    let expected = [0.5, -0.5, 1.0, -1.5, 3.0, -5.5].map(capped);
    for (found, expected) in logits.to_vec().unwrap().iter().zip(expected) {
        assert!((found - expected).abs() < 1e-6, "{found} {expected}");
    }
    assert_eq!([a, b, c].map(|id| cache.len(id)), [3, 2, 2]);
    let run = Run {
        sequence: a,
        tokens: &[0],
        logits: Want::None,
    };
    let mut step = Step::new(&mut cache, &[run]).unwrap();
    let none = step
        .wanted(Activations::new(vec![1.0], 1, 1).unwrap())
        .unwrap();
    assert_eq!(step.logits(&out, none).run().unwrap().rows(), 0);
    assert_eq!(cache.len(a), 4);
}

#[test]
fn queries_and_keys_are_normalized_in_every_scope() {
    let heads = Heads {
        q: 2,
        kv: 1,
        dim: 2,
        v_dim: 2,
    };
    let norm = NormOptions {
        shift: 1.0,
        bias: false,
        ..NormOptions::default()
    };
    let tensors = [
        floats("one.weight", &[2], &[0.0, 1.0]),
        floats("all.weight", &[4], &[0.0, 1.0, 2.0, 3.0]),
        floats("each.weight", &[2, 2], &[0.0, 1.0, 2.0, 3.0]),
        floats("0.weight", &[2], &[0.0, 1.0]),
        floats("1.weight", &[2], &[2.0, 3.0]),
    ];
    // Root mean squares: 1 of the first head, 7 of the second, 5 of both.
    let cases: [(Scope, Option<&'static str>, [f32; 4]); 5] = [
        (Scope::Head, Some("one"), [1.0, 2.0, 1.0, -2.0]),
        (Scope::Whole, Some("all"), [0.2, 0.4, 4.2, -5.6]),
        (Scope::PerHead, Some("each"), [1.0, 2.0, 3.0, -4.0]),
        (Scope::PerHead, Some("{h}"), [1.0, 2.0, 3.0, -4.0]),
        (Scope::Head, None, [1.0, 1.0, 1.0, -1.0]),
    ];
    for (scope, q, expected) in cases {
        let options = QkNormOptions {
            scope,
            q: q.map(name),
            k: None,
            norm,
        };
        let (plan, qk_norm) = load(&tensors, |w| QkNorm::load(w, options, heads));
        assert!(
            !plan
                .problems
                .iter()
                .any(|problem| problem.to_string().starts_with("wrong")),
            "{:?}",
            plan.problems
        );
        let (mut queries, mut keys) = ([1.0, 1.0, 7.0, -7.0], [2.0, -2.0]);
        qk_norm.unwrap().apply(&mut queries, &mut keys, 2);
        for (found, expected) in queries.iter().zip(expected) {
            assert!(
                (found - expected).abs() < 1e-6,
                "{scope:?} {q:?}: {queries:?}"
            );
        }
        assert_eq!(keys, [1.0, -1.0]);
    }
}

#[test]
fn sizes_and_lists_are_checked() {
    assert!(size("heads", 2.0).is_ok_and(|size| size == 2));
    for wrong in [0.0, -1.0, 2.5, f64::NAN, f64::INFINITY, 3e9] {
        assert!(
            size("heads", wrong)
                .unwrap_err()
                .to_string()
                .contains("`heads`"),
            "{wrong}"
        );
    }
    let words: Vec<std::sync::Arc<str>> = vec!["a".into(), "b".into()];
    assert_eq!(at(&words, 1.0).unwrap(), "b");
    assert!(at(&words, 2.0).is_err() && at(&words, -1.0).is_err() && at(&words, f64::NAN).is_err());
    assert!(contains(&words, "a") && !contains(&words, "c") && !contains::<f64>(&[], 1.0));
    assert_eq!(
        [rem(-7.0, 3.0), rem(7.0, -3.0), rem(6.0, 3.0), rem(5.5, 2.0)].map(|rem| rem.unwrap()),
        [2.0, -2.0, 0.0, 1.5]
    );
    assert!(
        number(None).is_err()
            && part(&None::<()>, "mlp")
                .unwrap_err()
                .to_string()
                .contains("`mlp`")
    );
    assert!(per_layer(1e9, Ok).is_err() && per_layer(3.0, Ok).is_ok_and(|list| list == [0, 1, 2]));
}
