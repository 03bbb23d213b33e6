//! Safetensors files that somebody made to break the reader: each is a typed error, at once, and no panic.
#![allow(clippy::unwrap_used, reason = "tests")]

use inferno_runtime::weights::{Checkpoint, CheckpointError, StoredDtype};
use inferno_runtime::{Error, Result};
use inferno_tests::model_folder::{pairs, safetensors, write};
use inferno_tests::open;

fn open_files(files: &[(&str, Vec<u8>)]) -> Result<Checkpoint> {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), files).unwrap();
    open(folder.path())
}

/// The error of a folder whose only weights are these bytes; it must name the file.
fn refused(bytes: &[u8]) -> CheckpointError {
    match open_files(&[("model.safetensors", bytes.to_vec())]) {
        Err(Error::Checkpoint(error)) => {
            assert!(error.to_string().contains("model.safetensors"), "{error}");
            error
        }
        other => panic!("{other:?}"),
    }
}

fn refused_for(bytes: &[u8], text: &str) {
    let error = refused(bytes).to_string();
    assert!(error.contains(text), "{error}");
}

/// A file of one tensor with this entry and 8 bytes of data.
fn one(entry: &str) -> Vec<u8> {
    safetensors(&format!(r#"{{"a":{entry}}}"#), &[0; 8])
}

#[test]
fn a_sound_file_reads() {
    let checkpoint = open_files(&[("model.safetensors", pairs(&["b", "a"]))]).unwrap();
    assert_eq!(checkpoint.names().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(checkpoint.total_bytes(), 16);
    assert_eq!(
        checkpoint
            .read("a")
            .unwrap()
            .into_matrix()
            .unwrap()
            .to_f32()
            .unwrap(),
        [1.0, 2.0]
    );
}

#[test]
fn cut_at_every_byte() {
    let bytes = pairs(&["a", "b"]);
    for len in 0..bytes.len() {
        refused(&bytes[..len]);
    }
}

#[test]
fn data_cut_short_says_how_much() {
    let bytes = pairs(&["a", "b"]);
    let whole = bytes.len() as u64;
    match refused(&bytes[..bytes.len() - 5]) {
        CheckpointError::Truncated {
            expected, actual, ..
        } => assert_eq!((expected, actual), (whole, whole - 5)),
        other => panic!("{other}"),
    }
}

#[test]
fn bytes_behind_the_last_tensor() {
    let mut bytes = pairs(&["a"]);
    bytes.push(0);
    refused(&bytes);
}

#[test]
fn header_lengths() {
    for len in [
        0,
        1,
        7,
        100_000_000,
        100_000_001,
        1 << 63,
        u64::MAX,
        u64::MAX - 7,
    ] {
        let mut bytes = pairs(&["a"]);
        bytes[..8].copy_from_slice(&u64::to_le_bytes(len));
        refused(&bytes);
    }
}

#[test]
fn header_of_a_hundred_megabytes() {
    // Spaces, then a table that is never closed: all of it has to be looked at.
    let mut header = " ".repeat(100_000_000);
    header.replace_range(0..1, "{");
    refused(&safetensors(&header, &[]));
}

#[test]
fn header_that_is_not_utf8() {
    let mut bytes = pairs(&["a"]);
    bytes[10] = 0xff;
    refused_for(&bytes, "UTF-8");
}

#[test]
fn header_that_is_no_table_of_tensors() {
    for header in [
        "",
        "[]",
        "null",
        "{",
        r#"{"a":1}"#,
        r#"{"a":{}}"#,
        r#"{"a":{"dtype":"F32"}}"#,
    ] {
        refused(&safetensors(header, &[0; 8]));
    }
}

#[test]
fn deep_json_in_the_header() {
    let deep = format!(
        r#"{{"__metadata__":{}{}}}"#,
        "[".repeat(1_000_000),
        "]".repeat(1_000_000)
    );
    let _ = open_files(&[("model.safetensors", safetensors(&deep, &[]))]);
    let deep = format!(
        r#"{{"a":{}{}}}"#,
        r#"{"a":"#.repeat(1_000_000),
        "}".repeat(1_000_000)
    );
    refused(&safetensors(&deep, &[]));
}

#[test]
fn tensors_listed_twice() {
    let entry = r#""a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#;
    refused_for(
        &safetensors(&format!("{{{entry},{entry}}}"), &[0; 8]),
        "twice",
    );
    let second = r#""a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}"#;
    refused_for(
        &safetensors(&format!("{{{entry},{second}}}"), &[0; 16]),
        "twice",
    );
}

#[test]
fn a_hundred_thousand_tensors() {
    let names: Vec<String> = (0..100_000).map(|i| format!("layers.{i}.weight")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let checkpoint = open_files(&[("model.safetensors", pairs(&names))]).unwrap();
    assert_eq!(checkpoint.names().count(), 100_000);
}

#[test]
fn more_tensors_than_any_model_has() {
    let entries: Vec<String> = (0..600_000)
        .map(|i| format!(r#""{i}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#))
        .collect();
    refused_for(
        &safetensors(&format!("{{{}}}", entries.join(",")), &[]),
        "tensors",
    );
}

#[test]
fn a_tensor_of_a_million_dimensions() {
    let shape = vec!["1"; 1_000_000].join(",");
    let entry = format!(r#"{{"dtype":"F32","shape":[{shape},2],"data_offsets":[0,8]}}"#);
    refused_for(&one(&entry), "dimensions");
}

#[test]
fn overlapping_gapped_and_reversed_offsets() {
    let two = |first: &str, second: &str| {
        let header = format!(
            r#"{{"a":{{"dtype":"F32","shape":[2],"data_offsets":{first}}},"b":{{"dtype":"F32","shape":[2],"data_offsets":{second}}}}}"#
        );
        safetensors(&header, &[0; 16])
    };
    assert!(
        open_files(&[("model.safetensors", two("[8,16]", "[0,8]"))]).is_ok(),
        "any order is sound"
    );
    for (first, second) in [
        ("[0,8]", "[0,8]"),
        ("[0,8]", "[4,12]"),
        ("[0,8]", "[9,17]"),
        ("[0,8]", "[16,24]"),
        ("[8,0]", "[8,16]"),
        ("[0,8]", "[8,18446744073709551615]"),
        ("[0,8]", "[18446744073709551608,18446744073709551615]"),
        ("[-1,7]", "[8,16]"),
        ("[0,8]", "[8]"),
    ] {
        refused(&two(first, second));
    }
}

#[test]
fn sizes_that_do_not_follow_from_shape_and_type() {
    for entry in [
        r#"{"dtype":"F32","shape":[3],"data_offsets":[0,8]}"#,
        r#"{"dtype":"F16","shape":[2],"data_offsets":[0,8]}"#,
        r#"{"dtype":"F32","shape":[2,0],"data_offsets":[0,8]}"#,
        r#"{"dtype":"F32","shape":[],"data_offsets":[0,8]}"#,
        r#"{"dtype":"F99","shape":[2],"data_offsets":[0,8]}"#,
        r#"{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}"#,
        r#"{"dtype":"F32","shape":[2.5],"data_offsets":[0,8]}"#,
    ] {
        refused(&one(entry));
    }
}

#[test]
fn shapes_that_overflow() {
    for shape in [
        "[4611686018427387904,4]",
        "[4611686018427387906]",
        "[18446744073709551615,18446744073709551615]",
        "[4294967296,4294967296]",
        "[18446744073709551616]",
    ] {
        refused(&one(&format!(
            r#"{{"dtype":"F32","shape":{shape},"data_offsets":[0,8]}}"#
        )));
    }
}

#[test]
fn a_tensor_without_elements_is_an_error_when_asked_for() {
    let header = r#"{"a":{"dtype":"F32","shape":[2,0],"data_offsets":[0,0]},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
    let checkpoint = open_files(&[("model.safetensors", safetensors(header, &[0; 8]))]).unwrap();
    assert!(checkpoint.read("b").is_ok());
    assert!(matches!(
        checkpoint.read("a"),
        Err(CheckpointError::Damaged { .. })
    ));
}

#[test]
fn types_that_are_no_weights_stay_bytes_with_a_name() {
    let header = r#"{"a":{"dtype":"F8_E4M3","shape":[2,2],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}}"#;
    let checkpoint = open_files(&[("model.safetensors", safetensors(header, &[7; 8]))]).unwrap();
    assert_eq!(checkpoint.tensor("a").unwrap().dtype.to_string(), "F8_E4M3");
    let blocks = checkpoint.read("b").unwrap();
    assert!(matches!(blocks.dtype, StoredDtype::Raw(_)));
    assert_eq!(*blocks.data, [7; 4]);
    assert!(blocks.into_matrix().unwrap_err().to_string().contains("U8"));
}

#[test]
fn any_byte_of_the_header_changed_is_no_panic() {
    let bytes = pairs(&["a", "b"]);
    for at in 0..bytes.len() - 16 {
        for value in [0, b'"', b'9', b'[', 0xff] {
            let mut broken = bytes.clone();
            broken[at] = value;
            if let Ok(checkpoint) = open_files(&[("model.safetensors", broken)]) {
                for name in checkpoint.names() {
                    let _ = checkpoint.read(name);
                }
            }
        }
    }
}
