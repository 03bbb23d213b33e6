//! Section 4 of the reference, rule by rule.

use std::cell::Cell;

use super::*;

fn hf(json: &str) -> ConfigFile {
    ConfigFile::from_json("config.json", json).unwrap()
}

fn config_error<T: std::fmt::Debug>(result: Result<T>) -> ConfigError {
    match result {
        Err(crate::Error::Config(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn keys_are_tried_in_order_and_dots_enter_tables() {
    let file = hf(r#"{"b": 2, "rope": {"theta": 7, "deep": {"x": 1}}, "c": 3}"#);
    assert_eq!(file.field("f", &["a", "b", "c"], "").int().unwrap(), 2.0);
    assert_eq!(
        file.field("f", &["rope.theta", "b"], "").int().unwrap(),
        7.0
    );
    assert_eq!(file.field("f", &["rope.deep.x"], "").int().unwrap(), 1.0);
    assert_eq!(
        file.field("f", &["b.x", "rope.theta.y", "c"], "")
            .int()
            .unwrap(),
        3.0,
        "a dot through no table is absent"
    );
}

#[test]
fn null_is_off_for_optional_fields_and_absent_for_others() {
    let file = hf(r#"{"window": null, "other": 5}"#);
    let keys = &["window", "other"];
    assert_eq!(
        file.field("w", keys, "")
            .int_opt_or(|| Ok(Some(1.0)))
            .unwrap(),
        None
    );
    assert_eq!(file.field("w", keys, "").int_or(|| Ok(1.0)).unwrap(), 5.0);
    assert_eq!(
        file.field("w", keys, "")
            .absent_if_null()
            .int_opt_or(|| Ok(Some(1.0)))
            .unwrap(),
        Some(5.0)
    );
    assert_eq!(
        file.field("w", &["window"], "").int_or(|| Ok(9.0)).unwrap(),
        9.0
    );
    assert!(config_error(file.field("w", &["window"], "").int()).is_missing());
    assert_eq!(
        file.field("w", &["absent"], "")
            .int_opt_or(|| Ok(Some(4096.0)))
            .unwrap(),
        Some(4096.0)
    );
    assert_eq!(file.field("w", &["window"], "").int_opt().unwrap(), None);
    assert!(config_error(file.field("w", &["absent"], "").int_opt()).is_missing());
}

#[test]
fn a_missing_field_is_named_with_all_its_keys() {
    let error = config_error(
        hf("{}")
            .field("num_experts", &["num_local_experts", "num_experts"], "")
            .int(),
    );
    assert_eq!(
        error.to_string(),
        "config.json lacks `num_local_experts` or `num_experts`, which the model's `num_experts` needs"
    );
}

#[test]
fn a_wrong_type_names_field_key_file_and_value() {
    let file = hf(r#"{"n": "twelve", "x": 1.5, "list": [1, "a"], "t": {}, "b": 1}"#);
    let error = config_error(file.field("layers", &["n"], "").int());
    assert_eq!(
        error.to_string(),
        r#"config.json: `n` is "twelve", but `layers` takes a whole number"#
    );
    assert!(!error.is_missing());
    for wrong in [
        file.field("f", &["x"], "").int().is_err(),
        file.field("f", &["list"], "").int().is_err(),
        file.field("f", &["list"], "").ints().is_err(),
        file.field("f", &["list"], "").strs().is_err(),
        file.field("f", &["t"], "").float().is_err(),
        file.field("f", &["b"], "").bool().is_err(),
        file.field("f", &["b"], "").str().is_err(),
        file.field("f", &["b"], "").ints().is_err(),
        file.field("f", &["n"], "").one_or_each().is_err(),
        file.field("f", &["list"], "").one_or_each().is_err(),
        // A wrong value is an error even where a default stands by.
        file.field("f", &["n"], "").int_or(|| Ok(1.0)).is_err(),
    ] {
        assert!(wrong);
    }
}

#[test]
fn numbers_convert() {
    let file =
        hf(r#"{"i": 32, "f": 32.0, "n": -1, "e": 1e-5, "big": 1e300, "l": [1, 2.0], "m": [0.5]}"#);
    assert_eq!(file.field("f", &["f"], "").int().unwrap(), 32.0);
    assert_eq!(file.field("f", &["i"], "").float().unwrap(), 32.0);
    assert_eq!(file.field("f", &["n"], "").int().unwrap(), -1.0);
    assert_eq!(file.field("f", &["e"], "").float().unwrap(), 1e-5);
    assert!(file.field("f", &["big"], "").int().is_err());
    assert_eq!(*file.field("f", &["l"], "").ints().unwrap(), [1.0, 2.0]);
    assert!(file.field("f", &["m"], "").ints().is_err());
    assert_eq!(*file.field("f", &["m"], "").floats().unwrap(), [0.5]);
    assert_eq!(
        file.field("f", &["i"], "").one_or_each().unwrap(),
        OneOrEach::One(32.0)
    );
    assert_eq!(
        file.field("f", &["l"], "").one_or_each().unwrap(),
        OneOrEach::Each([1.0, 2.0].into())
    );
}

#[test]
fn text_config_is_entered_instead_of_the_outer_table() {
    let file = hf(
        r#"{"architectures": ["Outer"], "hidden_size": 1, "only_outer": 2, "rope_scaling": {"type": "linear"},
            "text_config": {"architectures": ["Inner"], "hidden_size": 64, "rope_parameters": {"factor": 2}}}"#,
    );
    assert_eq!(file.field("f", &["hidden_size"], "").int().unwrap(), 64.0);
    assert!(
        config_error(file.field("f", &["only_outer"], "").int())
            .to_string()
            .contains("`text_config.only_outer`")
    );
    assert_eq!(file.architectures(), ["Outer"]);
    assert!(file.table("rope_scaling").is_none());
    assert_eq!(
        file.table("rope_parameters")
            .unwrap()
            .float("factor")
            .unwrap(),
        Some(2.0)
    );
    let null = hf(r#"{"text_config": null, "hidden_size": 8}"#);
    assert_eq!(null.field("f", &["hidden_size"], "").int().unwrap(), 8.0);
}

#[test]
fn defaults_are_computed_when_needed_and_once() {
    let file = hf(r#"{"given": 3}"#);
    let calls = Cell::new(0);
    let default = || {
        calls.set(calls.get() + 1);
        Ok(7.0)
    };
    assert_eq!(
        file.field("given", &["given"], "").int_or(default).unwrap(),
        3.0
    );
    assert_eq!(calls.get(), 0);
    for _ in 0..3 {
        assert_eq!(
            file.field("absent", &["absent"], "")
                .int_or(default)
                .unwrap(),
            7.0
        );
    }
    assert_eq!(calls.get(), 1);
}

struct A<'a>(&'a ConfigFile);
impl A<'_> {
    fn a(&self) -> Result<f64> {
        self.0.field("a", &["a"], "").int_or(|| Ok(self.b()? + 1.0))
    }
    fn b(&self) -> Result<f64> {
        self.0.field("b", &["b"], "").int_or(|| Ok(self.a()? - 1.0))
    }
}

#[test]
fn defaults_may_name_each_other_but_not_run_in_a_circle() {
    assert_eq!(A(&hf(r#"{"b": 4}"#)).a().unwrap(), 5.0);
    assert_eq!(A(&hf(r#"{"a": 4}"#)).b().unwrap(), 3.0);
    let file = hf("{}");
    let error = config_error(A(&file).a());
    assert!(error.to_string().contains("`a` → `b` → `a`"), "{error}");
    // And nothing of the failure is left behind.
    assert!(matches!(
        config_error(A(&file).b()),
        ConfigError::Circle { .. }
    ));
}

#[test]
fn specs_that_are_tried_on_one_file_do_not_share_defaults() {
    fn first(file: &ConfigFile) -> Result<f64> {
        file.field("head_dim", &["head_dim"], "")
            .int_or(|| Ok(64.0))
    }
    fn second(file: &ConfigFile) -> Result<f64> {
        file.field("head_dim", &["head_dim"], "")
            .int_or(|| Ok(256.0))
    }
    let file = hf("{}");
    assert_eq!(
        (
            first(&file).unwrap(),
            second(&file).unwrap(),
            first(&file).unwrap()
        ),
        (64.0, 256.0, 64.0)
    );
}

#[test]
fn lists_take_their_default_from_closures() {
    let file = hf("{}");
    let kinds = file
        .field("kinds", &["kinds"], "")
        .strs_or(|| Ok(vec!["full", "local"]))
        .unwrap();
    assert_eq!(
        kinds.iter().map(|kind| &**kind).collect::<Vec<_>>(),
        ["full", "local"]
    );
    assert_eq!(
        *file
            .field("n", &["n"], "")
            .ints_or(|| Ok(vec![1.0]))
            .unwrap(),
        [1.0]
    );
    let topk = file
        .field("topk", &["topk"], "")
        .one_or_each_or(|| Ok(8.0.into()))
        .unwrap();
    assert_eq!(topk, OneOrEach::One(8.0));
}

#[test]
fn a_billion_layers_are_refused() {
    let file = hf(r#"{"num_hidden_layers": 1000000000}"#);
    let error = config_error(file.field("num_layers", &["num_hidden_layers"], "").int());
    assert!(error.to_string().contains("at most 4096"), "{error}");
}

#[test]
fn broken_json_is_refused() {
    let deep = format!("{}1{}", r#"{"a":"#.repeat(100_000), "}".repeat(100_000));
    for text in [
        "",
        "[]",
        "{",
        "{\"eps\": NaN}",
        "{\"eps\": Infinity}",
        "{\"eps\": 1e999}",
        "{}x",
        &deep,
    ] {
        let error = config_error(ConfigFile::from_json("config.json", text));
        assert!(matches!(error, ConfigError::Malformed { .. }));
    }
}

#[test]
fn rows_of_the_embedding() {
    let file = hf("{}");
    assert!(config_error(file.rows_of_embedding()).is_missing());
    file.set_rows_of_embedding(49152);
    assert_eq!(file.rows_of_embedding().unwrap(), 49152.0);
}

#[test]
fn quantization_is_found_outside_and_inside() {
    assert_eq!(hf("{}").quantization_method(), None);
    assert_eq!(
        hf(r#"{"quantization_config": {"quant_method": "mxfp4"}}"#).quantization_method(),
        Some("mxfp4")
    );
    let inner = hf(r#"{"text_config": {"quantization_config": {"bits": 4}}}"#);
    assert_eq!(inner.quantization_method(), Some("unknown"));
}

#[test]
fn tables_of_rope_settings() {
    let file = hf(
        r#"{"rope_scaling": null, "rope_parameters": {"full": {"rope_theta": 5, "factor": "x"}, "truncate": false,
        "original_max_position_embeddings": null, "long_factor": [1, 2.5]}}"#,
    );
    assert!(file.table("rope_scaling").is_none());
    let table = file.table("rope_parameters").unwrap();
    assert!(table.holds_tables());
    assert_eq!(table.bool("truncate").unwrap(), Some(false));
    assert_eq!(
        table.float("original_max_position_embeddings").unwrap(),
        None
    );
    assert_eq!(*table.floats("long_factor").unwrap().unwrap(), [1.0, 2.5]);
    let full = table.table("full").unwrap();
    assert_eq!(full.float("rope_theta").unwrap(), Some(5.0));
    let error = config_error(full.float("factor"));
    assert!(
        error.to_string().contains("`rope_parameters.full.factor`"),
        "{error}"
    );
}

fn gguf(entries: &[(&str, MetadataValue)]) -> Result<ConfigFile> {
    let metadata = entries
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.clone()))
        .collect();
    ConfigFile::from_metadata("model.gguf", metadata)
}

#[test]
fn gguf_keys_stand_behind_the_architecture() {
    let file = gguf(&[
        (
            "general.architecture",
            MetadataValue::String("llama".into()),
        ),
        ("llama.block_count", MetadataValue::Integer(2)),
        ("llama.rope.scaling.factor", MetadataValue::Float(8.0)),
    ])
    .unwrap();
    assert_eq!(file.architectures(), ["llama"]);
    assert_eq!(
        file.field("num_layers", &["n"], "block_count")
            .int()
            .unwrap(),
        2.0
    );
    assert_eq!(
        file.field("n", &["block_count"], "")
            .int_or(|| Ok(7.0))
            .unwrap(),
        7.0,
        "no key: the default holds"
    );
    let error = config_error(file.field("n", &["n"], "expert_count").int());
    assert!(
        error.to_string().contains("`llama.expert_count`"),
        "{error}"
    );
    assert_eq!(
        file.table("rope.scaling").unwrap().float("factor").unwrap(),
        Some(8.0)
    );
    assert!(file.table("attention").is_none());
    assert_eq!(
        file.top_level().float("rope.scaling.factor").unwrap(),
        Some(8.0)
    );
}

#[test]
fn gguf_without_an_architecture_is_refused() {
    assert!(matches!(
        config_error(gguf(&[])),
        ConfigError::Malformed { .. }
    ));
    let number = gguf(&[("general.architecture", MetadataValue::Integer(1))]);
    assert!(matches!(
        config_error(number),
        ConfigError::Malformed { .. }
    ));
}
