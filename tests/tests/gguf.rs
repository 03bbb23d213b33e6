//! GGUF files as they should be.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use inferno_runtime::Result;
use inferno_runtime::config::Format;
use inferno_runtime::weights::{
    Checkpoint, CheckpointError, MetadataValue, StoredDtype, WeightDtype,
};
use inferno_tests::gguf::{GgufFile, array, sound, string};

fn open(bytes: &[u8]) -> Result<Checkpoint> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, bytes).unwrap();
    inferno_tests::open(&path)
}

#[test]
fn a_sound_file_reads() {
    for version in [2, 3] {
        let file = GgufFile { version, ..sound() };
        let checkpoint = open(&file.to_bytes()).unwrap();
        assert_eq!(checkpoint.format(), Format::Gguf);
        assert_eq!(
            checkpoint.names().collect::<Vec<_>>(),
            ["a.weight", "b.weight"]
        );
        assert_eq!(checkpoint.tensor("a.weight").unwrap().shape, [2, 3]);
        assert_eq!(checkpoint.total_bytes(), 24 + 68);
        let matrix = checkpoint.read("a.weight").unwrap().into_matrix().unwrap();
        assert_eq!(matrix.to_f32().unwrap(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(
            checkpoint.tensor("b.weight").unwrap().dtype,
            StoredDtype::Weight(WeightDtype::Q8_0)
        );
        assert!(matches!(
            checkpoint.read("c"),
            Err(CheckpointError::NoTensor(_))
        ));
    }
}

#[test]
fn every_type_of_metadata_reads() {
    let scalars: [(u32, Vec<u8>, f64); 10] = [
        (0, vec![200], 200.0),
        (1, vec![0xff], -1.0),
        (2, vec![1, 1], 257.0),
        (3, vec![0xfe, 0xff], -2.0),
        (4, vec![0, 0, 0, 0x80], 2_147_483_648.0),
        (5, vec![0xff; 4], -1.0),
        (6, 0.5_f32.to_le_bytes().to_vec(), 0.5),
        (10, 1_u64.to_le_bytes().to_vec(), 1.0),
        (11, (-9_i64).to_le_bytes().to_vec(), -9.0),
        (12, 0.1_f64.to_le_bytes().to_vec(), 0.1),
    ];
    for (kind, bytes, want) in scalars {
        let twice = [bytes.clone(), bytes.clone()].concat();
        let file =
            GgufFile::new("x")
                .entry("k", kind, bytes)
                .entry("ks", 9, array(kind, 2, &twice));
        let checkpoint = open(&file.to_bytes()).unwrap();
        assert_eq!(
            checkpoint.config().metadata("k").unwrap().as_f64(),
            Some(want),
            "type {kind}"
        );
        let Some(MetadataValue::Array(values)) = checkpoint.config().metadata("ks") else {
            panic!("type {kind}")
        };
        assert_eq!(values.numbers().unwrap(), [want, want], "type {kind}");
    }
    let nested = array(
        9,
        2,
        &[array(4, 1, &[1, 0, 0, 0]), array(8, 1, &string(b"x"))].concat(),
    );
    let file = sound()
        .bool("yes", true)
        .entry("nested", 9, nested)
        .u32("after", 7);
    let checkpoint = open(&file.to_bytes()).unwrap();
    assert!(matches!(
        checkpoint.config().metadata("yes"),
        Some(MetadataValue::Bool(true))
    ));
    assert_eq!(
        checkpoint.config().metadata("after").unwrap().as_f64(),
        Some(7.0)
    );
    let Some(MetadataValue::Array(tokens)) = checkpoint.config().metadata("tokenizer.ggml.tokens")
    else {
        panic!()
    };
    assert_eq!(tokens.strings().unwrap(), ["a", "", "é"]);
    assert_eq!(tokens.numbers(), None);
}

#[test]
fn numbers_of_layers_as_arrays() {
    let file = GgufFile::new("x")
        .i32s("x.same", &[4, 4, 4])
        .i32s("x.mixed", &[4, 8])
        .i32s("x.none", &[]);
    let checkpoint = open(&file.to_bytes()).unwrap();
    let config = checkpoint.config();
    assert_eq!(config.field("heads", &[], "same").int().unwrap(), 4.0);
    assert!(config.field("heads", &[], "mixed").int().is_err());
    assert!(config.field("heads", &[], "none").int().is_err());
    assert_eq!(
        *config.field("heads", &[], "mixed").ints().unwrap(),
        [4.0, 8.0]
    );
}

#[test]
fn tensors_may_stand_in_any_order_and_with_gaps() {
    let mut file = sound();
    file.tensors[0].offset = Some(96);
    file.tensors[1].offset = Some(0);
    let mut bytes = file.to_bytes();
    bytes.resize(bytes.len() + 64, 0);
    assert!(open(&bytes).is_ok());
}

#[test]
fn another_alignment() {
    let file = GgufFile {
        alignment: 64,
        ..sound().u32("general.alignment", 64)
    };
    let checkpoint = open(&file.to_bytes()).unwrap();
    let matrix = checkpoint.read("a.weight").unwrap().into_matrix().unwrap();
    assert_eq!(matrix.to_f32().unwrap()[5], 6.0);
}

#[test]
fn a_tensor_of_unknown_type_is_an_error_only_when_asked_for() {
    let file = sound()
        .tensor("iq.weight", &[1, 256], 23, vec![0; 136])
        .tensor("new.weight", &[4], 999, vec![0; 8]);
    let checkpoint = open(&file.to_bytes()).unwrap();
    assert!(checkpoint.read("a.weight").is_ok());
    assert_eq!(
        checkpoint.tensor("iq.weight").unwrap().dtype.to_string(),
        "IQ4_XS"
    );
    let error = checkpoint.read("iq.weight").unwrap_err().to_string();
    assert!(
        error.contains("iq.weight") && error.contains("IQ4_XS"),
        "{error}"
    );
    assert!(
        checkpoint
            .read("new.weight")
            .unwrap_err()
            .to_string()
            .contains("ggml type 999")
    );
}

#[test]
fn doubles_become_singles_and_integers_stay_bytes() {
    let doubles = [0.5_f64, -2.0]
        .iter()
        .flat_map(|v| v.to_le_bytes())
        .collect::<Vec<_>>();
    let file = sound()
        .tensor("d", &[2], 28, doubles)
        .tensor("i", &[2], 26, vec![0; 8]);
    let checkpoint = open(&file.to_bytes()).unwrap();
    assert_eq!(
        checkpoint
            .read("d")
            .unwrap()
            .into_matrix()
            .unwrap()
            .to_f32()
            .unwrap(),
        [0.5, -2.0]
    );
    assert!(checkpoint.read("i").unwrap().into_matrix().is_err());
}

#[test]
fn a_folder_with_one_gguf_file_is_a_model_and_with_two_is_none() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.gguf"), sound().to_bytes()).unwrap();
    assert_eq!(
        Checkpoint::open(folder.path()).unwrap().format(),
        Format::Gguf
    );
    std::fs::write(folder.path().join("b.gguf"), sound().to_bytes()).unwrap();
    let error = Checkpoint::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("2 .gguf files"), "{error}");
}

/// The file that another implementation wrote (fixtures/gguf_py.py).
#[test]
fn a_file_of_gguf_py() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/gguf_py.gguf");
    let checkpoint = inferno_tests::open(&path).unwrap();
    let config = checkpoint.config();
    assert_eq!(config.architectures(), ["llama"]);
    assert_eq!(
        config
            .field("num_layers", &[], "block_count")
            .int()
            .unwrap(),
        3.0
    );
    assert_eq!(
        config
            .field("num_kv_heads", &[], "attention.head_count_kv")
            .int()
            .unwrap(),
        2.0
    );
    let eps = config
        .field("eps", &[], "attention.layer_norm_rms_epsilon")
        .float()
        .unwrap();
    assert_eq!(eps as f32, 1e-5);
    assert_eq!(
        &*config
            .table("rope.scaling")
            .unwrap()
            .str("type")
            .unwrap()
            .unwrap(),
        "yarn"
    );
    assert!(
        matches!(config.metadata("a.int"), Some(MetadataValue::Integer(value)) if *value == -(1 << 40))
    );
    assert_eq!(config.metadata("a.double").unwrap().as_f64(), Some(0.1));
    let Some(MetadataValue::Array(tokens)) = config.metadata("tokenizer.ggml.tokens") else {
        panic!()
    };
    assert_eq!(tokens.strings().unwrap(), ["<s>", "é", "▁hello"]);

    let matrix = |name: &str| checkpoint.read(name).unwrap().into_matrix().unwrap();
    let exact = matrix("f32").to_f32().unwrap();
    assert_eq!((matrix("f32").rows(), matrix("f32").cols()), (3, 64));
    for (name, tolerance) in [
        ("f16", 1e-3),
        ("BF16", 1e-2),
        ("Q8_0", 0.02),
        ("Q5_1", 0.1),
        ("Q5_0", 0.15),
        ("Q4_1", 0.2),
        ("Q4_0", 0.3),
    ] {
        let values = matrix(name).to_f32().unwrap();
        let worst = values
            .iter()
            .zip(&exact)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(worst > 0.0 && worst < tolerance, "{name}: {worst}");
    }
    assert_eq!(
        checkpoint.tensor("MXFP4").unwrap().dtype,
        StoredDtype::Weight(WeightDtype::Mxfp4)
    );
    let values = matrix("MXFP4").to_f32().unwrap();
    let error = values
        .iter()
        .zip(&exact)
        .map(|(a, b)| (a - b).powi(2))
        .sum::<f32>();
    assert!(
        error < 0.05 * exact.iter().map(|v| v * v).sum::<f32>(),
        "{error}"
    );
}
