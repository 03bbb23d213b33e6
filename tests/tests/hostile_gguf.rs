//! GGUF files that somebody made to break the reader: each is a typed error, at once, and no panic.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, Instant};

use inferno_runtime::weights::{Checkpoint, CheckpointError};
use inferno_runtime::{Error, Result};
use inferno_tests::gguf::{GgufFile, array, sound};

fn open(bytes: &[u8]) -> Result<Checkpoint> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, bytes).unwrap();
    inferno_tests::open(&path)
}

/// The error, which must name the file.
fn refused(file: &GgufFile) -> CheckpointError {
    match open(&file.to_bytes()) {
        Err(Error::Checkpoint(error)) => {
            assert!(error.to_string().contains("model.gguf"), "{error}");
            error
        }
        other => panic!("{other:?}"),
    }
}

/// Refused with a message that holds `text`.
fn refused_for(file: &GgufFile, text: &str) {
    let error = refused(file);
    assert!(error.to_string().contains(text), "{error}");
}

#[test]
fn cut_at_every_byte() {
    let bytes = sound().to_bytes();
    for len in 0..bytes.len() {
        assert!(
            matches!(open(&bytes[..len]), Err(Error::Checkpoint(_))),
            "{len} of {} bytes",
            bytes.len()
        );
    }
}

#[test]
fn any_byte_changed_is_no_panic() {
    let bytes = sound().to_bytes();
    for at in 0..bytes.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut broken = bytes.clone();
            broken[at] = value;
            if let Ok(checkpoint) = open(&broken) {
                for name in checkpoint.names() {
                    let _ = checkpoint.read(name);
                }
            }
        }
    }
}

#[test]
fn wrong_magic() {
    refused_for(
        &GgufFile {
            magic: *b"GGML",
            ..sound()
        },
        "no GGUF file",
    );
}

#[test]
fn other_versions_and_big_endian_are_refused_by_name() {
    refused_for(
        &GgufFile {
            version: 1,
            ..sound()
        },
        "version 1",
    );
    refused_for(
        &GgufFile {
            version: 4,
            ..sound()
        },
        "version 4",
    );
    refused_for(
        &GgufFile {
            version: 0,
            ..sound()
        },
        "version 0",
    );
    refused_for(
        &GgufFile {
            version: 3_u32.swap_bytes(),
            ..sound()
        },
        "big-endian",
    );
}

#[test]
fn more_tensors_or_entries_than_the_file_holds() {
    for claimed in [4, 1000, 1 << 40, 1 << 63, u64::MAX] {
        refused(&GgufFile {
            claimed_tensors: Some(claimed),
            ..sound()
        });
        refused(&GgufFile {
            claimed_entries: Some(claimed),
            ..sound()
        });
    }
}

#[test]
fn fewer_entries_than_there_are() {
    refused(&GgufFile {
        claimed_entries: Some(1),
        ..sound()
    });
}

#[test]
fn keys() {
    refused_for(&sound().entry("", 7, [1]), "empty");
    refused_for(&sound().entry(b"\xff\xfe", 7, [1]), "UTF-8");
    refused_for(&sound().u32("llama.block_count", 3), "twice");
    refused_for(&sound().entry("k".repeat(70_000), 7, [1]), "70000 bytes");
}

#[test]
fn key_longer_than_the_file() {
    let mut bytes = sound().to_bytes();
    bytes[24..32].copy_from_slice(&(1_u64 << 62).to_le_bytes());
    assert!(matches!(
        open(&bytes),
        Err(Error::Checkpoint(CheckpointError::Truncated { .. }))
    ));
}

#[test]
fn values() {
    refused_for(&sound().entry("k", 13, [0; 8]), "unknown type 13");
    refused(&sound().entry("k", 8, u64::MAX.to_le_bytes()));
    refused_for(
        &sound().entry("k", 9, array(99, 1, &[0; 8])),
        "unknown type 99",
    );
    refused_for(
        &sound().entry("k", 9, array(0, 1 << 60, &[])),
        "array elements",
    );
    refused_for(
        &sound().entry("k", 9, array(12, u64::MAX, &[])),
        "array elements",
    );
    refused(&sound().entry("k", 9, array(8, 3, &[0xff; 24])));
}

#[test]
fn deeply_nested_arrays() {
    let mut nested = array(0, 0, &[]);
    for _ in 0..10_000 {
        nested = array(9, 1, &nested);
    }
    refused_for(&sound().entry("k", 9, nested), "nested");
}

#[test]
fn alignment() {
    for wrong in [0, 3, 48, 1 << 21, u32::MAX] {
        refused_for(&sound().u32("general.alignment", wrong), "power of two");
    }
    refused_for(&sound().string("general.alignment", "32"), "power of two");
}

#[test]
fn no_architecture() {
    let opened = open(&GgufFile::default().f32_tensor("a", &[1], &[1.0]).to_bytes());
    assert!(matches!(opened, Err(Error::Config(_))));
    let opened = open(
        &GgufFile::default()
            .u32("general.architecture", 1)
            .to_bytes(),
    );
    assert!(matches!(opened, Err(Error::Config(_))));
}

fn part(file: GgufFile, number: u16, count: u16) -> Vec<u8> {
    let (number, count) = (number.to_le_bytes(), count.to_le_bytes());
    file.entry("split.no", 2, number)
        .entry("split.count", 2, count)
        .to_bytes()
}

/// Opens the first of these files.
fn open_parts(parts: &[(&str, Vec<u8>)]) -> Result<Checkpoint> {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in parts {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    inferno_tests::open(&folder.path().join(parts[0].0))
}

#[test]
fn parts_of_a_model_are_one_checkpoint() {
    let second = || GgufFile::default().f32_tensor("c", &[1], &[7.0]);
    let (one, two) = ("m-00001-of-00002.gguf", "m-00002-of-00002.gguf");
    let both = [(one, part(sound(), 0, 2)), (two, part(second(), 1, 2))];
    let checkpoint = open_parts(&both).unwrap();
    assert_eq!(
        checkpoint.names().collect::<Vec<_>>(),
        ["a.weight", "b.weight", "c"]
    );
    assert_eq!(
        checkpoint
            .read("c")
            .unwrap()
            .into_matrix()
            .unwrap()
            .to_f32()
            .unwrap(),
        [7.0]
    );

    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in &both {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    assert_eq!(
        inferno_tests::open(folder.path()).unwrap().files().count(),
        2
    );

    for (wrong, text) in [
        (
            vec![(one, part(sound(), 0, 2))],
            "m-00002-of-00002.gguf is missing",
        ),
        (
            vec![(one, part(sound(), 0, 2)), (two, part(second(), 0, 2))],
            "another part",
        ),
        (
            vec![(one, part(sound(), 0, 2)), (two, part(second(), 1, 3))],
            "another part",
        ),
        (
            vec![(one, part(sound(), 0, 2)), (two, part(sound(), 1, 2))],
            "`a.weight` is in m-00001-of-00002.gguf and in",
        ),
        (vec![(two, part(sound(), 1, 2))], "give the path of part 1"),
        (
            vec![("model.gguf", part(sound(), 0, 2))],
            "must end with -00001-of-00002.gguf",
        ),
        (vec![(one, part(sound(), 2, 2))], "part 3 of 2"),
        (
            vec![(one, part(sound(), 0, u16::MAX))],
            "no number up to 1000",
        ),
    ] {
        let error = open_parts(&wrong).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
}

fn with_dimensions(dimensions: &[u64]) -> GgufFile {
    let mut file = sound();
    file.tensors[0].dimensions = dimensions.to_vec();
    file
}

#[test]
fn dimensions() {
    refused_for(&with_dimensions(&[]), "0 dimensions");
    refused_for(&with_dimensions(&[1, 1, 1, 1, 6]), "5 dimensions");
    refused_for(&with_dimensions(&[0, 3]), "dimension of 0");
    refused(&with_dimensions(&[1 << 32, 1 << 32]));
    refused(&with_dimensions(&[u64::MAX]));
    refused(&with_dimensions(&[1 << 62, 1]));
    refused(&with_dimensions(&[u64::MAX / 4]));
    refused(&with_dimensions(&[1 << 16, 1 << 16, 1 << 16, 1 << 16]));
    refused(&with_dimensions(&[3, 1_000_000]));
}

#[test]
fn a_row_that_is_no_whole_number_of_blocks() {
    refused_for(
        &sound().tensor("c", &[2, 33], 8, vec![0; 72]),
        "cannot be stored as Q8_0",
    );
    refused_for(
        &sound().tensor("c", &[32, 2], 8, vec![0; 72]),
        "cannot be stored as Q8_0",
    );
    refused_for(
        &sound().tensor("c", &[128], 12, vec![0; 144]),
        "cannot be stored as Q4_K",
    );
}

#[test]
fn names_of_tensors() {
    refused_for(&sound().f32_tensor("a.weight", &[1], &[0.0]), "twice");
    refused(&sound().f32_tensor(&"n".repeat(300), &[1], &[0.0]));
    let mut file = sound();
    file.tensors[0].name = vec![0xff];
    refused_for(&file, "UTF-8");
}

fn with_offset(offset: u64) -> GgufFile {
    let mut file = sound();
    file.tensors[1].offset = Some(offset);
    file
}

#[test]
fn offsets() {
    refused_for(&with_offset(33), "32 does not divide");
    refused_for(&with_offset(0), "overlaps");
    for beyond in [64, 1 << 20, 1 << 40, u64::MAX - 31] {
        refused(&with_offset(beyond));
    }
}

#[test]
fn data_cut_short_says_how_much() {
    let bytes = sound().to_bytes();
    match open(&bytes[..bytes.len() - 1]) {
        Err(Error::Checkpoint(CheckpointError::Truncated {
            expected, actual, ..
        })) => {
            assert_eq!(
                (expected, actual),
                (bytes.len() as u64, bytes.len() as u64 - 1)
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_hundred_thousand_tensors_are_read_quickly() {
    let mut file = GgufFile::new("x");
    for i in 0..100_000 {
        file = file.tensor(&format!("t{i}"), &[1], 24, vec![0]);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, file.to_bytes()).unwrap();
    let start = Instant::now();
    assert_eq!(Checkpoint::open(&path).unwrap().names().count(), 100_000);
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn a_file_that_shrinks_after_opening_is_an_error_and_no_crash() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, sound().to_bytes()).unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    std::fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(10)
        .unwrap();
    assert!(matches!(
        checkpoint.read("a.weight"),
        Err(CheckpointError::Truncated { actual: 10, .. })
    ));
}
