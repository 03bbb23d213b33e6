//! Random bytes and random damage to sound files: whatever comes, an answer and no panic.
//!
//! `cargo test` runs each target for a bounded time; with cargo-bolero they are coverage-guided fuzzers.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::time::Duration;

use bolero::check;
use inferno_runtime::config::ConfigFile;
use inferno_runtime::weights::Checkpoint;
use inferno_tests::gguf::GgufFile;
use inferno_tests::model_folder::{index, pairs};

const TIME: Duration = Duration::from_secs(2);
const INDEX: &str = "model.safetensors.index.json";

/// Damage to a file: bytes to overwrite, and where to cut it.
type Damage = (Vec<(u16, u8)>, Option<u16>);

fn damaged(sound: &[u8], (changes, cut): &Damage) -> Vec<u8> {
    let mut bytes = sound.to_vec();
    for (at, value) in changes {
        let at = usize::from(*at) % sound.len();
        bytes[at] = *value;
    }
    bytes.truncate(cut.map_or(sound.len(), |cut| usize::from(cut) % sound.len()));
    bytes
}

fn read_all(path: &Path) {
    let Ok(checkpoint) = Checkpoint::open(path) else {
        return;
    };
    for name in checkpoint.names() {
        if let Ok(matrix) = checkpoint
            .read(name)
            .and_then(|tensor| tensor.into_matrix())
        {
            let _ = matrix.to_f32();
        }
    }
    let config = checkpoint.config();
    let _ = config.field("n", &["n", "a.b"], "block_count").int();
    let _ = config.field("n", &["n"], "tokens").strs();
    let _ = config
        .table("rope_scaling")
        .map(|table| table.float("factor"));
}

#[test]
fn damaged_gguf() {
    let file = GgufFile::new("x")
        .u32("x.block_count", 2)
        .f32s("x.scales", &[1.0, 2.0])
        .strings("x.tokens", &["a", "b"])
        .f32_tensor("a", &[2, 2], &[1.0; 4])
        .tensor("b", &[1, 32], 39, vec![3; 17])
        .to_bytes();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    check!()
        .with_type::<Damage>()
        .with_test_time(TIME)
        .for_each(|damage| {
            std::fs::write(&path, damaged(&file, damage)).unwrap();
            read_all(&path);
        });
}

#[test]
fn damaged_shards_index_and_config() {
    let folder = tempfile::tempdir().unwrap();
    let shard = pairs(&["a", "b"]);
    let index = index(&[("a", "model-1.safetensors"), ("b", "model-1.safetensors")]).into_bytes();
    let config = br#"{"architectures":["X"],"n":2,"a":{"b":[1,2]},"rope_scaling":{"factor":8.0}}"#;
    check!()
        .with_type::<(Damage, Damage, Damage)>()
        .with_test_time(TIME)
        .for_each(|(first, second, third)| {
            std::fs::write(
                folder.path().join("model-1.safetensors"),
                damaged(&shard, first),
            )
            .unwrap();
            std::fs::write(folder.path().join(INDEX), damaged(&index, second)).unwrap();
            std::fs::write(folder.path().join("config.json"), damaged(config, third)).unwrap();
            read_all(folder.path());
        });
}

#[test]
fn random_json_settings() {
    check!().with_test_time(TIME).for_each(|text: &[u8]| {
        let Ok(text) = str::from_utf8(text) else {
            return;
        };
        let value = format!(r#"{{"n": {text}, "rope_scaling": {{"factor": {text}}}}}"#);
        for text in [text, &value] {
            let Ok(config) = ConfigFile::from_json("config.json", text) else {
                continue;
            };
            let _ = config.field("n", &["n"], "").int_or(|| Ok(1.0));
            let _ = config.field("n", &["n.a"], "").floats();
            let _ = config.field("n", &["n"], "").one_or_each();
            let _ = config
                .table("rope_scaling")
                .map(|table| table.floats("factor"));
        }
    });
}
