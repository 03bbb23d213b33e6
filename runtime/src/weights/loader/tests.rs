//! What is asked for, and what a report says.

use super::*;
use crate::nn::{
    Embedding, EmbeddingOptions, FreqFactors, Linear, Model, Norm, NormOptions, RopeOptions,
    load_model, select,
};
use crate::weights::Plan;
use crate::weights::testing::{Stored, checkpoint, floats, zeros};
use ::safetensors::Dtype::{BF16, F8_E4M3, F32, I8, I32, U8};

const TOKENS: Name = Name::new(["embed", "token_embd"], "test.toml:5");
const NORM: Name = Name::new(["norm", "norm"], "test.toml:7");
const UP: Name = Name::new(["up_proj", "up"], "test.toml:8");
const OUT: Name = Name::new(["lm_head", "output"], "test.toml:9");

const ARCHITECTURE: Architecture = Architecture {
    name: "test",
    hf: &["TestForCausalLM"],
    gguf: &["test"],
    formats: &[Format::Hf, Format::Gguf],
    roots: [&["", "model."], &[""]],
    ignore: [
        &["mtp.*", "layers.{i}.inv_freq", "layers.{num_layers}.*"],
        &[],
    ],
    condition: [None, None],
    max_positions: None,
    tokens: TOKENS,
    load,
};

#[derive(Debug)]
struct Test;

impl Model for Test {
    fn forward(&self, _: &mut crate::nn::Step) -> Result<crate::nn::Logits> {
        Err(LoadError::TooMany(0).into())
    }
}

/// Embedding, two layers of a norm and a projection with bias, and a head.
fn load(w: &mut Weights) -> Result<Box<dyn Model>> {
    let tied = w
        .config()
        .field("tied", &["tied"], "")
        .bool_or(|| Ok(false))?;
    let options = EmbeddingOptions {
        vocab: 6,
        hidden: 4,
        scale: 1.0,
        positions: None,
    };
    let embed = Embedding::load(w, TOKENS, options)?;
    for i in 0..2 {
        let w = &mut w.layer(["layers.{i}.", "blk.{i}."], i);
        Norm::load(w, NORM, 4, &NormOptions::default())?;
        Linear::stacked(w, &[(UP, 8)], 4, true, false)?;
    }
    RopeOptions::new(4, Ok(100.0))
        .freq_factors(FreqFactors::One("rope_freqs"))
        .load(w)?;
    Linear::head(w, OUT, &embed, tied, 6, 4, false)?;
    Ok(Box::new(Test))
}

const CONFIG: &str = r#"{"architectures": ["TestForCausalLM"]}"#;

/// All that `load` asks for, behind a prefix.
fn sound(root: &str) -> Vec<Stored> {
    let mut tensors = vec![
        zeros(&format!("{root}embed.weight"), BF16, &[6, 4]),
        zeros("lm_head.weight", F32, &[6, 4]),
    ];
    for i in 0..2 {
        tensors.push(zeros(&format!("{root}layers.{i}.norm.weight"), F32, &[4]));
        tensors.push(zeros(
            &format!("{root}layers.{i}.up_proj.weight"),
            BF16,
            &[8, 4],
        ));
        tensors.push(zeros(&format!("{root}layers.{i}.up_proj.bias"), F32, &[8]));
    }
    tensors
}

fn judge_all(config: &str, tensors: &[Stored]) -> Result<Plan> {
    let (_folder, checkpoint) = checkpoint(config, tensors);
    let architecture = select(std::slice::from_ref(&ARCHITECTURE), checkpoint.config())?;
    load_model(architecture, &checkpoint, Precision::Exact).map(|loaded| loaded.1)
}

#[test]
fn a_sound_checkpoint_loads_under_either_root() {
    for root in ["", "model."] {
        let plan = judge_all(CONFIG, &sound(root)).unwrap();
        assert_eq!(plan.tensors.len(), 8);
        assert_eq!(plan.tensors[1].name, format!("{root}layers.0.norm.weight"));
        assert_eq!(
            (plan.tensors[1].at, &plan.tensors[1].shape[..]),
            ("test.toml:7", &[4][..])
        );
        assert_eq!(plan.parameters(), 24 + 2 * (4 + 32 + 8) + 24);
    }
}

#[test]
fn one_report_lists_everything_with_its_line() {
    let mut tensors = sound("");
    tensors.retain(|tensor| {
        !tensor.is("layers.1.up_proj.weight") && !tensor.is("layers.0.norm.weight")
    });
    tensors.push(zeros("layers.1.up_pro.weight", BF16, &[8, 4]));
    tensors.push(zeros("layers.0.norm.weight", F32, &[5]));
    tensors.retain(|tensor| !tensor.is("layers.0.up_proj.bias"));
    tensors.push(zeros("layers.0.up_proj.bias", I32, &[8]));
    let report = judge_all(CONFIG, &tensors).unwrap_err().to_string();
    for line in [
        "architecture test",
        "missing     `layers.1.up_proj.weight` [8, 4] (test.toml:8); the file has `layers.1.up_pro.weight`",
        "wrong shape `layers.0.norm.weight` [4] (test.toml:7); in the file it is [5]",
        "wrong type  `layers.0.up_proj.bias` [8] (test.toml:8); it should be F32, F16, BF16 or a GGUF block type and is I32",
        "unexpected  `layers.1.up_pro.weight` [8, 4]",
    ] {
        assert!(report.contains(line), "{line}\nis not in\n{report}");
    }
    assert_eq!(report.lines().count(), 5, "{report}");
}

#[test]
fn ignored_tensors_may_be_there_with_or_without_the_root() {
    for (name, fine) in [
        ("mtp.head.weight", true),
        ("model.mtp.head", true),
        ("model.layers.7.inv_freq", true),
        ("layers.2.anything", true),
        ("layers.3.anything", false),
        ("other", false),
    ] {
        let mut tensors = sound("model.");
        tensors.push(zeros(name, F32, &[3]));
        let result = judge_all(CONFIG, &tensors);
        assert_eq!(result.is_ok(), fine, "{name}");
        assert!(
            fine || result
                .unwrap_err()
                .to_string()
                .contains(&format!("unexpected  `{name}` [3]")),
            "{name}"
        );
    }
}

#[test]
fn a_tied_model_may_have_its_head_and_another_must() {
    let tied = r#"{"architectures": ["TestForCausalLM"], "tied": true}"#;
    let without: Vec<Stored> = sound("")
        .into_iter()
        .filter(|tensor| !tensor.is("lm_head.weight"))
        .collect();
    judge_all(tied, &sound("")).unwrap();
    judge_all(tied, &without).unwrap();
    let error = judge_all(CONFIG, &without).unwrap_err().to_string();
    assert!(
        error.contains("missing     `lm_head.weight` [6, 4] (test.toml:9)"),
        "{error}"
    );
}

#[test]
fn a_token_reads_a_row_of_the_embedding_unless_it_is_the_head() {
    let tied = r#"{"architectures": ["TestForCausalLM"], "tied": true}"#;
    let read = |config| {
        let plan = judge_all(config, &sound("")).unwrap();
        let all: usize = plan.tensors.iter().map(|tensor| tensor.bytes).sum();
        (
            all,
            plan.token_bytes() as usize,
            plan.tensors[0].token_bytes,
        )
    };
    let (all, read_of_all, row) = read(CONFIG);
    assert_eq!((read_of_all, row), (all - 6 * 8 + 8, 8));
    let (all, read_of_all, table) = read(tied);
    assert_eq!((read_of_all, table), (all, 6 * 8));
}

#[test]
fn frequency_factors_are_optional_and_checked_when_there() {
    let with = |count: usize| {
        let mut tensors = sound("");
        tensors.push(floats("rope_freqs.weight", &[count], &vec![2.0; count]));
        judge_all(CONFIG, &tensors)
    };
    with(2).unwrap();
    assert!(
        with(3)
            .unwrap_err()
            .to_string()
            .contains("wrong shape `rope_freqs.weight` [2]")
    );
}

#[test]
fn without_an_embedding_the_names_tried_are_told() {
    let error = judge_all(CONFIG, &[zeros("model.embedding.weight", F32, &[6, 4])])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("`embed.weight` or `model.embed.weight`"),
        "{error}"
    );
    assert!(error.contains("test.toml:5"), "{error}");
}

#[test]
fn later_spellings_are_refused_by_name() {
    let cases: [(&str, &[Stored]); 8] = [
        (
            "gptq",
            &[
                zeros("up.qweight", I32, &[1, 8]),
                zeros("up.g_idx", I32, &[4]),
            ],
        ),
        (
            "awq",
            &[
                zeros("up.qweight", I32, &[4, 1]),
                zeros("up.scales", BF16, &[1, 8]),
            ],
        ),
        (
            "fp8_block",
            &[
                zeros("up.weight", F8_E4M3, &[8, 4]),
                zeros("up.weight_scale_inv", F32, &[1, 1]),
            ],
        ),
        (
            "compressed_pack",
            &[
                zeros("up.weight_packed", I32, &[8, 1]),
                zeros("up.weight_scale", BF16, &[8, 1]),
            ],
        ),
        (
            "compressed_float",
            &[
                zeros("up.weight", F8_E4M3, &[8, 4]),
                zeros("up.weight_scale", BF16, &[8, 1]),
            ],
        ),
        (
            "compressed-tensors INT8",
            &[
                zeros("up.weight", I8, &[8, 4]),
                zeros("up.weight_scale", BF16, &[8, 1]),
            ],
        ),
        (
            "mxfp4_pack",
            &[
                zeros("up.weight_packed", U8, &[8, 2]),
                zeros("up.weight_scale", U8, &[8, 1]),
            ],
        ),
        (
            "nvfp4",
            &[
                zeros("up.weight", U8, &[8, 2]),
                zeros("up.weight_scale_2", F32, &[1]),
            ],
        ),
    ];
    for (name, extra) in cases {
        let mut tensors = sound("");
        tensors.extend(extra.iter().map(Stored::again));
        let error = judge_all(CONFIG, &tensors).unwrap_err();
        assert!(
            matches!(error, Error::Load(LoadError::Storage { .. })),
            "{name}: {error}"
        );
        assert!(
            error.to_string().contains(&format!("stored as {name}")),
            "{name}: {error}"
        );
    }
    let config =
        r#"{"architectures": ["TestForCausalLM"], "quantization_config": {"quant_method": "fp8"}}"#;
    let error = judge_all(config, &sound("")[..4]).unwrap_err().to_string();
    assert!(
        error.contains("stored as fp8_block (quantization_config says `fp8`)"),
        "{error}"
    );
    judge_all(config, &sound("")).unwrap();
}

#[test]
fn gguf_drops_leading_ones() {
    assert!(
        same_shape(&[1, 8], &[8], true)
            && same_shape(&[8], &[1, 8], true)
            && same_shape(&[1], &[1], true)
    );
    assert!(
        !same_shape(&[1, 8], &[8], false)
            && !same_shape(&[8, 1], &[8], true)
            && !same_shape(&[2, 8], &[8], true)
    );
}

#[test]
fn random_weights_need_no_checkpoint_and_repeat() {
    let config = ConfigFile::from_json("config.json", CONFIG).unwrap();
    let vector = |seed: u64| {
        let mode = Mode::Loading(Precision::Exact.into());
        Weights::new(&ARCHITECTURE, &config, Source::Random(seed.into()), mode)
            .unwrap()
            .vector(NORM, ".weight", 5)
            .unwrap()
    };
    assert_eq!(vector(1), vector(1));
    assert_ne!(vector(1), vector(2));
    let (_, plan) = ARCHITECTURE.random(&config, 1, Precision::Exact).unwrap();
    assert!(plan.report().is_none() && plan.tensors.len() == 8);
}

#[test]
fn a_name_that_the_format_lacks_is_an_error() {
    let config = ConfigFile::from_json("config.json", CONFIG).unwrap();
    let w = Weights::new(
        &ARCHITECTURE,
        &config,
        Source::Random(0.into()),
        Mode::Planning,
    )
    .unwrap();
    let error = w
        .vector(Name::new(["", "norm"], "test.toml:3"), ".weight", 5)
        .unwrap_err();
    assert!(error.to_string().contains("test.toml:3"), "{error}");
}

mod selection {
    use super::*;

    const fn architecture(
        name: &'static str,
        condition: Option<crate::nn::Condition>,
    ) -> Architecture {
        Architecture {
            name,
            condition: [condition, None],
            ..ARCHITECTURE
        }
    }

    fn is_big(config: &ConfigFile) -> Result<bool> {
        Ok(config.field("size", &["size"], "").int()? > 3.0)
    }

    fn choose(
        architectures: &[Architecture],
        config: &str,
    ) -> std::result::Result<&'static str, String> {
        let config = ConfigFile::from_json("config.json", config).unwrap();
        select(architectures, &config)
            .map(|architecture| architecture.name)
            .map_err(|error| error.to_string())
    }

    const BIG: &str = r#"{"architectures": ["TestForCausalLM"], "size": 4}"#;
    const SMALL: &str = r#"{"architectures": ["Unknown", "TestForCausalLM"], "size": 3}"#;

    #[test]
    fn a_true_condition_goes_before_none() {
        let specs = [
            architecture("plain", None),
            architecture("big", Some(is_big)),
        ];
        assert_eq!(choose(&specs, BIG), Ok("big"));
        assert_eq!(choose(&specs, SMALL), Ok("plain"));
        // A setting that is missing makes the condition false.
        assert_eq!(choose(&specs, CONFIG), Ok("plain"));
        assert!(choose(&specs[1..], SMALL).unwrap_err().contains("variant"));
        assert!(
            choose(
                &specs,
                r#"{"architectures": ["TestForCausalLM"], "size": "x"}"#
            )
            .unwrap_err()
            .contains("size")
        );
    }

    #[test]
    fn two_true_conditions_are_an_error_that_names_both() {
        let specs = [
            architecture("one", Some(is_big)),
            architecture("two", Some(is_big)),
        ];
        let error = choose(&specs, BIG).unwrap_err();
        assert!(error.contains("one.toml and two.toml"), "{error}");
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = choose(
            &[ARCHITECTURE],
            r#"{"architectures": ["Mamba2ForCausalLM"]}"#,
        )
        .unwrap_err();
        for part in [
            "`Mamba2ForCausalLM`",
            "TestForCausalLM",
            "model-spec/<name>.toml",
        ] {
            assert!(error.contains(part), "{error}");
        }
        assert!(
            choose(&[ARCHITECTURE], "{}")
                .unwrap_err()
                .contains("no architecture")
        );
        assert!(
            choose(
                &[Architecture {
                    formats: &[Format::Gguf],
                    ..ARCHITECTURE
                }],
                BIG
            )
            .is_err()
        );
    }
}
