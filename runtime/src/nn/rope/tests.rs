//! Rotations against the numbers of the language's reference interpreter.

use super::*;
use crate::Error;
use crate::config::{ConfigFile, Format};
use crate::nn::{Architecture, Name, NnError, Step};
use crate::nn::{KvCache, KvCacheOptions, Run, Want};
use crate::weights::{Mode, Source};

/// Cosines and sines of the last position of a sequence, at pairs 0, 1, the middle one and the last.
struct Case {
    name: &'static str,
    config: &'static str,
    length: usize,
    head_dim: usize,
    pairs: usize,
    cos: [f64; 4],
    sin: [f64; 4],
}

// As the reference computes them in double precision.
const CASES: &[Case] = &[
    Case {
        name: "default",
        config: r#"{"max_position_embeddings": 512, "rope_theta": 10000.0}"#,
        length: 9,
        head_dim: 8,
        pairs: 4,
        cos: [-0.145500034, 0.696706709, 0.996801706, 0.999968],
        sin: [0.989358247, 0.717356091, 0.079914694, 0.007999915],
    },
    Case {
        name: "partial",
        config: r#"{"max_position_embeddings": 512, "rope_theta": 10000.0, "partial_rotary_factor": 0.334}"#,
        length: 9,
        head_dim: 24,
        pairs: 4,
        cos: [-0.145500034, 0.696706709, 0.996801706, 0.999968],
        sin: [0.989358247, 0.717356091, 0.079914694, 0.007999915],
    },
    Case {
        name: "linear",
        config: r#"{"max_position_embeddings": 512, "rope_theta": 10000.0, "rope_scaling": {"type": "linear", "factor": 4.0}}"#,
        length: 9,
        head_dim: 8,
        pairs: 4,
        cos: [-0.416146837, 0.980066578, 0.999800007, 0.999998],
        sin: [0.909297427, 0.198669331, 0.019998667, 0.001999999],
    },
    Case {
        name: "linear_v5",
        config: r#"{"max_position_embeddings": 512, "rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 500.0}}"#,
        length: 9,
        head_dim: 8,
        pairs: 4,
        cos: [-0.416146837, 0.911882689, 0.996002666, 0.99982112],
        sin: [0.909297427, 0.410450924, 0.08932351, 0.018913704],
    },
    Case {
        name: "dynamic_within",
        config: r#"{"rope_theta": 10000.0, "max_position_embeddings": 64, "rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}"#,
        length: 64,
        head_dim: 8,
        pairs: 4,
        cos: [0.985896582, 0.999858636, 0.808027508, 0.998016156],
        sin: [0.1673557, 0.0168139, 0.589144758, 0.062958334],
    },
    Case {
        name: "dynamic_beyond",
        config: r#"{"rope_theta": 10000.0, "max_position_embeddings": 64, "rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}"#,
        length: 100,
        head_dim: 8,
        pairs: 4,
        cos: [0.03982088, 0.152938904, 0.825923886, 0.998914964],
        sin: [-0.999206834, 0.988235646, 0.563781638, 0.046571384],
    },
    Case {
        name: "dynamic_alpha",
        config: r#"{"rope_theta": 10000.0, "max_position_embeddings": 64, "rope_scaling": {"rope_type": "dynamic", "factor": 2.0, "alpha": 1000.0}}"#,
        length: 100,
        head_dim: 8,
        pairs: 4,
        cos: [0.03982088, 0.548689861, 0.999950995, 0.999999995],
        sin: [-0.999206834, 0.836025979, 0.009899838, 9.9e-05],
    },
    Case {
        name: "llama3",
        config: r#"{"rope_theta": 500000.0, "max_position_embeddings": 512, "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}}"#,
        length: 100,
        head_dim: 16,
        pairs: 8,
        cos: [0.03982088, -0.00691622, 0.999846863, 0.999999992],
        sin: [-0.999206834, 0.999976083, 0.017499999, 0.000127628],
    },
    Case {
        name: "yarn",
        config: r#"{"rope_theta": 150000.0, "max_position_embeddings": 131072, "rope_scaling": {"rope_type": "yarn", "factor": 32.0, "beta_fast": 32.0, "beta_slow": 1.0, "original_max_position_embeddings": 4096}}"#,
        length: 100,
        head_dim: 64,
        pairs: 32,
        cos: [0.053621746, 0.837410488, 1.344347081, 1.34657359],
        sin: [-1.345505534, -1.054516054, 0.077403878, 4.0307e-05],
    },
    Case {
        name: "yarn_no_truncate",
        config: r#"{"rope_theta": 150000.0, "max_position_embeddings": 131072, "rope_scaling": {"rope_type": "yarn", "factor": 32.0, "beta_fast": 32.0, "beta_slow": 1.0, "original_max_position_embeddings": 4096, "truncate": false}}"#,
        length: 100,
        head_dim: 64,
        pairs: 32,
        cos: [0.053621746, 0.837410488, 1.345198765, 1.34657359],
        sin: [-1.345505534, -1.054516054, 0.060833518, 4.0307e-05],
    },
    Case {
        name: "yarn_mscale",
        config: r#"{"rope_theta": 10000.0, "max_position_embeddings": 256, "rope_scaling": {"type": "yarn", "factor": 4.0, "mscale": 0.7, "mscale_all_dim": 1.3}}"#,
        length: 100,
        head_dim: 16,
        pairs: 8,
        cos: [0.037014444, 0.886949209, 0.901198962, 0.929495023],
        sin: [-0.928786226, 0.278091755, 0.227715509, 0.007274969],
    },
    Case {
        name: "yarn_attention",
        config: r#"{"rope_theta": 10000.0, "max_position_embeddings": 256, "rope_scaling": {"type": "yarn", "factor": 4.0, "attention_factor": 1.5, "beta_fast": 0, "beta_slow": null}}"#,
        length: 100,
        head_dim: 16,
        pairs: 8,
        cos: [0.059731321, 1.431296598, 1.454291855, 1.499954058],
        sin: [-1.498810251, 0.448765024, 0.367471361, 0.011739836],
    },
    Case {
        name: "longrope_short",
        config: r#"{"rope_theta": 10000.0, "max_position_embeddings": 128, "original_max_position_embeddings": 32, "rope_scaling": {"type": "longrope", "short_factor": [1.0, 1.1, 1.2, 1.3], "long_factor": [2.0, 3.0, 4.0, 5.0]}}"#,
        length: 32,
        head_dim: 8,
        pairs: 4,
        cos: [1.082337754, -1.121874449, 1.143953424, 1.182879561],
        sin: [-0.478063789, 0.376028883, 0.302275643, 0.028212476],
    },
    Case {
        name: "longrope_long",
        config: r#"{"rope_theta": 10000.0, "max_position_embeddings": 128, "original_max_position_embeddings": 32, "rope_scaling": {"type": "longrope", "short_factor": [1.0, 1.1, 1.2, 1.3], "long_factor": [2.0, 3.0, 4.0, 5.0]}}"#,
        length: 33,
        head_dim: 8,
        pairs: 4,
        cos: [-1.133117978, 0.571547212, 1.179431684, 1.183191724],
        sin: [-0.340651798, 1.036018236, 0.094556341, 0.00757253],
    },
    Case {
        name: "longrope_attention",
        config: r#"{"rope_theta": 10000.0, "max_position_embeddings": 128, "rope_scaling": {"type": "longrope", "attention_factor": 1.25, "original_max_position_embeddings": 32, "short_factor": [1.0, 1.1, 1.2, 1.3], "long_factor": [2.0, 3.0, 4.0, 5.0]}}"#,
        length: 33,
        head_dim: 8,
        pairs: 4,
        cos: [-1.19707435, 0.603806947, 1.246002133, 1.2499744],
        sin: [-0.359879146, 1.094494025, 0.099893367, 0.007999945],
    },
    Case {
        name: "proportional",
        config: r#"{"max_position_embeddings": 512, "rope_theta": 10000.0, "partial_rotary_factor": 0.25, "rope_scaling": {"type": "proportional", "factor": 2.0}}"#,
        length: 9,
        head_dim: 16,
        pairs: 8,
        cos: [-0.653643621, 0.301137463, 1.0, 1.0],
        sin: [-0.756802495, 0.95358074, 0.0, 0.0],
    },
    Case {
        name: "reverse",
        config: r#"{"max_position_embeddings": 512, "rope_theta": 10000.0}"#,
        length: 9,
        head_dim: 8,
        pairs: 4,
        cos: [-0.145500034, 0.696706709, 0.996801706, 0.999968],
        sin: [-0.989358247, -0.717356091, -0.079914694, -0.007999915],
    },
    Case {
        name: "dim",
        config: r#"{"max_position_embeddings": 512, "rope_theta": 10000.0}"#,
        length: 9,
        head_dim: 8,
        pairs: 3,
        cos: [-0.145500034, 0.931846622, 0.931846622, 0.999851473],
        sin: [0.989358247, 0.362852411, 0.362852411, 0.017234624],
    },
    Case {
        name: "nested",
        config: r#"{"max_position_embeddings": 512, "rope_theta": 7.0, "factor": 3.0, "layer_types": ["full_attention", "sliding_attention"], "rope_parameters": {"rope_theta": 77.0, "sliding_attention": {"rope_type": "default", "rope_theta": 100.0}, "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000.0}}}"#,
        length: 9,
        head_dim: 8,
        pairs: 4,
        cos: [0.540302306, 0.984230234, 0.999500042, 0.999984189],
        sin: [0.841470985, 0.176892186, 0.031617506, 0.005623384],
    },
    Case {
        name: "spec_default",
        config: r#"{"rope_theta": 150000.0, "max_position_embeddings": 131072}"#,
        length: 100,
        head_dim: 64,
        pairs: 32,
        cos: [0.053621746, 0.837410488, 1.345198765, 1.34657359],
        sin: [-1.345505534, -1.054516054, 0.060833518, 4.0307e-05],
    },
    Case {
        name: "gap",
        config: r#"{"rope_theta": 150000.0, "max_position_embeddings": 131072, "rope_scaling": {"rope_type": "yarn", "factor": 32.0, "beta_fast": 32.0, "beta_slow": 1.0, "original_max_position_embeddings": 4096}}"#,
        length: 100,
        head_dim: 64,
        pairs: 32,
        cos: [0.053621746, 0.837410488, 1.345198765, 1.34657359],
        sin: [-1.345505534, -1.054516054, 0.060833518, 4.0307e-05],
    },
    Case {
        name: "fixed",
        config: r#"{"max_position_embeddings": 512, "rope_theta": 10000.0}"#,
        length: 9,
        head_dim: 8,
        pairs: 4,
        cos: [-0.416146837, 0.980066578, 0.999800007, 0.999998],
        sin: [0.909297427, 0.198669331, 0.019998667, 0.001999999],
    },
];

const ARCHITECTURE: Architecture = Architecture {
    name: "test",
    hf: &["Test"],
    gguf: &[],
    formats: &[Format::Hf],
    roots: [&[""], &[""]],
    ignore: [&[], &[]],
    condition: [None, None],
    tokens: Name::new(["tokens", ""], "test.toml:1"),
    max_positions: None,
    load: |_| Err(NnError::Setting("only its settings are used".into()).into()),
};

fn load(config: &str, options: impl FnOnce(&ConfigFile) -> RopeOptions) -> Result<Rope> {
    let config = ConfigFile::from_json("config.json", config)?;
    let mut w = Weights::new(
        &ARCHITECTURE,
        &config,
        Source::Random(0.into()),
        Mode::Planning,
    )?;
    options(&config).load(&mut w)
}

/// What generated code for `theta = "rope_theta", scaling = "config"` asks for.
fn options(config: &ConfigFile, head_dim: usize, layer: usize) -> RopeOptions {
    let theta = config
        .field(
            "rope_theta",
            &["rope_parameters.rope_theta", "rope_theta"],
            "",
        )
        .float();
    let keys = [
        "rope_parameters.partial_rotary_factor",
        "partial_rotary_factor",
    ];
    let partial = config
        .field("partial_rotary_factor", &keys, "")
        .float_or(|| Ok(1.0));
    let positions = config
        .field("max_positions", &["max_position_embeddings"], "")
        .int();
    let layer_types = config.field("layer_types", &["layer_types"], "").strs();
    RopeOptions::new(head_dim, theta)
        .partial(partial)
        .max_positions(positions)
        .layer_type(layer_types.map(|types| types[layer].clone()))
        .scaling(Scaling::Config)
}

fn special(name: &str, options: RopeOptions) -> RopeOptions {
    const YARN: &[(&str, Param)] = &[
        ("type", Param::Word("yarn")),
        ("factor", Param::Number(32.0)),
        ("original", Param::Number(4096.0)),
    ];
    match name {
        "reverse" => options.reverse(),
        "dim" => options.dim(6.0),
        "gap" => options.scaling_gaps(&[("truncate", Param::Bool(false))]),
        "spec_default" => options
            .scaling_default(YARN)
            .scaling_gaps(&[("truncate", Param::Bool(false))]),
        "fixed" => options.scaling(Scaling::Fixed).scaling_gaps(&[
            ("type", Param::Word("linear")),
            ("factor", Param::Number(4.0)),
        ]),
        _ => options,
    }
}

/// Rotates (1, 0) pairs at a position of a sequence of a length: cosines and sines.
fn rotated(
    rope: &Rope,
    length: usize,
    position: usize,
    pairs: usize,
    head_dim: usize,
) -> Vec<(f32, f32)> {
    let mut cache = KvCache::new(&[], KvCacheOptions { max_tokens: length }).unwrap();
    let sequence = cache.open(length).unwrap();
    let tokens = vec![0; length];
    let mut step = Step::new(
        &mut cache,
        &[Run {
            sequence,
            tokens: &tokens,
            logits: Want::None,
        }],
    )
    .unwrap();
    let angles = step.angles(rope);
    let (mut row, half) = (vec![0.0; head_dim], rope.pairs == Pairs::Half);
    for pair in 0..pairs {
        row[if half { pair } else { 2 * pair }] = 1.0;
    }
    angles.rotate(rope, position, &mut row, head_dim);
    (0..pairs)
        .map(|j| {
            if half {
                (row[j], row[j + pairs])
            } else {
                (row[2 * j], row[2 * j + 1])
            }
        })
        .collect()
}

#[test]
fn every_kind_of_scaling_is_that_of_the_reference() {
    for case in CASES {
        for pairs in [Pairs::Half, Pairs::Adjacent] {
            let rope = load(case.config, |config| {
                special(case.name, options(config, case.head_dim, 0)).pairs(pairs)
            });
            let found = rotated(
                &rope.unwrap(),
                case.length,
                case.length - 1,
                case.pairs,
                case.head_dim,
            );
            for (i, j) in [0, 1, case.pairs / 2, case.pairs - 1]
                .into_iter()
                .enumerate()
            {
                let (cos, sin) = found[j];
                let off = (f64::from(cos) - case.cos[i])
                    .abs()
                    .max((f64::from(sin) - case.sin[i]).abs());
                // f32 angles of up to 100 radians.
                assert!(
                    off < 1e-5,
                    "{}, pair {j}: {cos} {sin}, not {} {}",
                    case.name,
                    case.cos[i],
                    case.sin[i]
                );
            }
        }
    }
}

#[test]
fn each_type_of_layer_has_its_own_settings() {
    let nested = CASES.iter().find(|case| case.name == "nested").unwrap();
    let rope = load(nested.config, |config| options(config, 8, 1)).unwrap();
    let (cos, sin) = rotated(&rope, 9, 8, 4, 8)[1];
    assert!(
        (f64::from(cos) + 0.818_632_457).abs() < 1e-6
            && (f64::from(sin) - 0.574_317_769).abs() < 1e-6,
        "{cos} {sin}"
    );
    let unknown = nested
        .config
        .replace(r#"["full_attention""#, r#"["linear_attention""#);
    let error = load(&unknown, |config| options(config, 8, 0)).unwrap_err();
    assert!(error.to_string().contains("linear_attention"), "{error}");
}

#[test]
fn what_does_not_rotate_passes_unchanged() {
    let rope = load(
        r#"{"rope_theta": 100.0, "max_position_embeddings": 8}"#,
        |config| options(config, 8, 0).dim(4.0),
    );
    let rope = rope.unwrap();
    let mut cache = KvCache::new(&[], KvCacheOptions { max_tokens: 8 }).unwrap();
    let sequence = cache.open(8).unwrap();
    let mut step = Step::new(
        &mut cache,
        &[Run {
            sequence,
            tokens: &[0; 8],
            logits: Want::None,
        }],
    )
    .unwrap();
    let mut row: Vec<f32> = (0..16).map(|i| i as f32).collect();
    step.angles(&rope).rotate(&rope, 7, &mut row, 8);
    assert_eq!(row[4..8], [4.0, 5.0, 6.0, 7.0]);
    assert_eq!(row[12..], [12.0, 13.0, 14.0, 15.0]);
    assert_ne!(row[..4], [0.0, 1.0, 2.0, 3.0]);
}

#[test]
fn missing_and_unknown_settings_are_named() {
    let error = |config: &str| {
        load(config, |config| options(config, 8, 0))
            .unwrap_err()
            .to_string()
    };
    assert!(
        error(r#"{"rope_theta": 1.0, "rope_scaling": {"type": "linear"}}"#).contains("`factor`")
    );
    assert!(error(r#"{"rope_theta": 1.0, "rope_scaling": {"type": "su"}}"#).contains("`su`"));
    assert!(error(r#"{"max_position_embeddings": 8}"#).contains("rope_theta"));
    assert!(error(r#"{"rope_theta": -5}"#).contains("rope_theta"));
    assert!(
        error(r#"{"rope_theta": 9, "rope_scaling": {"type": "linear", "factor": 0}}"#)
            .contains("no numbers")
    );
    let dynamic = r#"{"rope_theta": 9, "rope_scaling": {"type": "dynamic", "factor": 2}}"#;
    assert!(error(dynamic).contains("max_position_embeddings"));
    let wide = load(r#"{"rope_theta": 9}"#, |config| options(config, 7, 0)).unwrap_err();
    assert!(matches!(wide, Error::Nn(NnError::Setting(_))), "{wide}");
}

#[test]
fn settings_that_are_not_needed_may_be_missing() {
    let nested = r#"{"layer_types": ["a"], "rope_parameters": {"a": {"rope_type": "default", "rope_theta": 10.0}}}"#;
    load(nested, |config| options(config, 8, 0)).unwrap();
    let alpha = r#"{"rope_theta": 9, "rope_scaling": {"type": "dynamic", "alpha": 2}}"#;
    load(alpha, |config| options(config, 8, 0)).unwrap();
}

#[test]
fn layers_share_equal_frequencies() {
    let config = ConfigFile::from_json("config.json", r#"{"rope_theta": 9.0}"#).unwrap();
    let mut w = Weights::new(
        &ARCHITECTURE,
        &config,
        Source::Random(0.into()),
        Mode::Planning,
    )
    .unwrap();
    let mut load = |theta: f64| RopeOptions::new(8, Ok(theta)).load(&mut w).unwrap();
    let (a, b, c) = (load(9.0), load(9.0), load(8.0));
    assert!(Arc::ptr_eq(&a.frequencies, &b.frequencies));
    assert!(!Arc::ptr_eq(&a.frequencies, &c.frequencies));
}
