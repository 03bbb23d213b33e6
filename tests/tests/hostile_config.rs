//! Settings that somebody made to break the reader: each is a typed error, at once, and no panic.
#![allow(clippy::unwrap_used, reason = "tests")]

use inferno_runtime::config::{ConfigError, ConfigFile};
use inferno_runtime::weights::{Checkpoint, CheckpointError};
use inferno_runtime::{Error, Result};
use inferno_tests::model_folder::pairs;

fn open(config: &[u8]) -> Result<Checkpoint> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("model.safetensors"), pairs(&["a"])).unwrap();
    std::fs::write(folder.path().join("config.json"), config).unwrap();
    inferno_tests::open(folder.path())
}

fn config(text: &str) -> ConfigFile {
    ConfigFile::from_json("config.json", text).unwrap()
}

#[test]
fn a_sound_config_opens() {
    assert!(open(b"{}").is_ok());
}

#[test]
fn cut_at_every_byte() {
    let text = br#"{"architectures": ["LlamaForCausalLM"], "hidden_size": 64, "rope_scaling": {"factor": 8.0}}"#;
    for len in 0..text.len() {
        assert!(
            matches!(
                open(&text[..len]),
                Err(Error::Config(ConfigError::Malformed { .. }))
            ),
            "{len}"
        );
    }
}

#[test]
fn json_that_is_too_deep() {
    for (open_with, close_with) in [("[", "]"), (r#"{"a":"#, "}")] {
        let text = format!(
            r#"{{"a":{}0{}}}"#,
            open_with.repeat(500_000),
            close_with.repeat(500_000)
        );
        assert!(matches!(
            open(text.as_bytes()),
            Err(Error::Config(ConfigError::Malformed { .. }))
        ));
    }
}

#[test]
fn a_config_beyond_the_cap_is_not_read() {
    let text = format!("{{}}{}", " ".repeat(17 << 20));
    assert!(matches!(
        open(text.as_bytes()),
        Err(Error::Checkpoint(CheckpointError::TooLarge { .. }))
    ));
}

#[test]
fn not_utf8() {
    assert!(matches!(
        open(b"{\"a\": \"\xff\"}"),
        Err(Error::Checkpoint(CheckpointError::Damaged { .. }))
    ));
}

#[test]
fn nan_and_infinity_are_refused() {
    for number in ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"] {
        let text = format!(r#"{{"rms_norm_eps": {number}}}"#);
        assert!(
            matches!(
                open(text.as_bytes()),
                Err(Error::Config(ConfigError::Malformed { .. }))
            ),
            "{number}"
        );
    }
}

#[test]
fn a_billion_layers() {
    let file = config(r#"{"num_hidden_layers": 1000000000}"#);
    let error = file
        .field("num_layers", &["num_hidden_layers"], "block_count")
        .int()
        .unwrap_err();
    assert!(error.to_string().contains("at most 4096"), "{error}");
}

#[test]
fn numbers_that_no_size_has() {
    for number in [
        "1.5",
        "1e300",
        "-1e300",
        "18446744073709551615",
        "99999999999999999999999",
        r#""64""#,
        "[64]",
        "true",
    ] {
        let file = config(&format!(r#"{{"hidden_size": {number}}}"#));
        let error = file
            .field("hidden_size", &["hidden_size"], "")
            .int()
            .unwrap_err();
        assert!(
            error.to_string().contains("`hidden_size`"),
            "{number}: {error}"
        );
    }
}

#[test]
fn architectures_of_any_shape() {
    for text in [
        r#"{"architectures": null}"#,
        r#"{"architectures": "Llama"}"#,
        r#"{"architectures": [1, {}]}"#,
    ] {
        assert!(config(text).architectures().is_empty(), "{text}");
    }
}

#[test]
fn tables_that_are_none() {
    for text in [
        r#"{"rope_scaling": 1}"#,
        r#"{"rope_scaling": []}"#,
        r#"{"rope_scaling": {}}"#,
        "{}",
    ] {
        assert!(config(text).table("rope_scaling").is_none(), "{text}");
    }
}

#[test]
fn remote_code_is_ignored() {
    assert!(open(br#"{"auto_map": {"AutoModel": "modeling_evil.Model"}}"#).is_ok());
}

#[test]
fn long_values_are_cut_in_messages() {
    let file = config(&format!(r#"{{"n": "{}"}}"#, "é".repeat(100_000)));
    let error = file.field("n", &["n"], "").int().unwrap_err().to_string();
    assert!(error.len() < 400, "{}", error.len());
}
