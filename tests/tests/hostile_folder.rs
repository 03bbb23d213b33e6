//! Model folders that somebody made to break the reader: each is a typed error, at once, and no panic.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use inferno_runtime::weights::{Checkpoint, CheckpointError};
use inferno_runtime::{Error, Result};
use inferno_tests::model_folder::{index, pairs, write};
use inferno_tests::open;

const INDEX: &str = "model.safetensors.index.json";

fn open_files(files: &[(&str, Vec<u8>)]) -> Result<Checkpoint> {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), files).unwrap();
    open(folder.path())
}

fn refused_files(files: &[(&str, Vec<u8>)]) -> CheckpointError {
    match open_files(files) {
        Err(Error::Checkpoint(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// A folder of two shards and their index.
fn sharded(
    weight_map: &[(&str, &str)],
    one: &[&str],
    two: &[&str],
) -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("model-1.safetensors", pairs(one)),
        ("model-2.safetensors", pairs(two)),
        (INDEX, index(weight_map).into_bytes()),
    ]
}

#[test]
fn shards_with_and_without_an_index_are_one_checkpoint() {
    let files = sharded(
        &[("a", "model-1.safetensors"), ("b", "model-2.safetensors")],
        &["a"],
        &["b"],
    );
    assert_eq!(open_files(&files).unwrap().names().count(), 2);
    assert_eq!(open_files(&files[..2]).unwrap().names().count(), 2);
}

#[test]
fn missing_shards_are_all_named() {
    let map = [
        ("a", "model-1.safetensors"),
        ("b", "model-3.safetensors"),
        ("c", "model-4.safetensors"),
    ];
    let error = refused_files(&sharded(&map, &["a"], &["b"])).to_string();
    assert!(
        error.contains("model-3.safetensors is missing") && error.contains("model-4"),
        "{error}"
    );
}

#[test]
fn a_shard_of_another_checkpoint() {
    let mut files = sharded(
        &[("a", "model-1.safetensors"), ("b", "model-2.safetensors")],
        &["a"],
        &["b"],
    );
    files.push(("model-00003-of-00009.safetensors", pairs(&["c"])));
    let error = refused_files(&files).to_string();
    assert!(
        error.contains("model-00003-of-00009.safetensors is here"),
        "{error}"
    );
}

#[test]
fn the_same_tensor_in_two_shards() {
    let map = [("a", "model-1.safetensors"), ("b", "model-2.safetensors")];
    for with_index in [3, 2] {
        let files = sharded(&map, &["a", "b"], &["b"]);
        let error = refused_files(&files[..with_index]).to_string();
        assert!(
            error.contains("`b` is in model-1.safetensors and in model-2.safetensors"),
            "{error}"
        );
    }
}

#[test]
fn a_tensor_in_another_shard_than_the_index_says_or_in_none() {
    let map = [
        ("a", "model-2.safetensors"),
        ("b", "model-2.safetensors"),
        ("c", "model-1.safetensors"),
    ];
    let error = refused_files(&sharded(&map, &["a"], &["b"])).to_string();
    assert!(
        error.contains("`a` is in model-1.safetensors, though the index says model-2.safetensors"),
        "{error}"
    );
    assert!(error.contains("`c` is in no shard"), "{error}");
}

#[test]
fn broken_indexes() {
    for text in [
        "",
        "[]",
        "{}",
        r#"{"weight_map":{}}"#,
        r#"{"weight_map":{"a":1}}"#,
        r#"{"weight_map":["a"]}"#,
    ] {
        refused_files(&[("model-1.safetensors", pairs(&["a"])), (INDEX, text.into())]);
    }
}

#[test]
fn names_in_the_index_that_lead_out_of_the_folder() {
    let outside = tempfile::tempdir().unwrap();
    let path = outside.path().join("model-1.safetensors");
    std::fs::write(&path, pairs(&["a"])).unwrap();
    for name in [
        path.to_str().unwrap(),
        "../model-1.safetensors",
        "sub/../../model-1.safetensors",
        "..",
        ".",
        "/",
        "",
        "/dev/zero",
        "model-1.safetensors\0",
        r"..\model-1.safetensors",
        r"C:\model.safetensors",
    ] {
        let error = refused_files(&[(INDEX, index(&[("a", name)]).into_bytes())]);
        assert!(
            matches!(error, CheckpointError::Unsafe { .. }),
            "{name:?}: {error}"
        );
    }
}

#[cfg(unix)]
mod links {
    use super::*;
    use std::os::unix::fs::symlink;

    fn refused_link(target: &Path) -> CheckpointError {
        let folder = tempfile::tempdir().unwrap();
        write(
            folder.path(),
            &[(INDEX, index(&[("a", "model-1.safetensors")]).into_bytes())],
        )
        .unwrap();
        symlink(target, folder.path().join("model-1.safetensors")).unwrap();
        match open(folder.path()) {
            Err(Error::Checkpoint(error)) => error,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_symbolic_link_that_leads_out_of_the_folder() {
        let outside = tempfile::tempdir().unwrap();
        let target = outside.path().join("weights");
        std::fs::write(&target, pairs(&["a"])).unwrap();
        assert!(matches!(
            refused_link(&target),
            CheckpointError::Unsafe { .. }
        ));
    }

    #[test]
    fn a_symbolic_link_to_a_device_or_a_folder() {
        for target in ["/dev/zero", "/dev/stdin", "/proc/self/mem", "/tmp", "."] {
            let error = refused_link(Path::new(target));
            assert!(
                matches!(error, CheckpointError::Unsafe { .. }),
                "{target}: {error}"
            );
        }
    }

    #[test]
    fn a_config_that_is_a_link_out_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("model.safetensors"), pairs(&["a"])).unwrap();
        symlink("/etc/passwd", folder.path().join("config.json")).unwrap();
        assert!(matches!(
            open(folder.path()),
            Err(Error::Checkpoint(CheckpointError::Unsafe { .. }))
        ));
    }

    #[test]
    fn a_dangling_link_is_a_missing_shard() {
        let error = refused_link(Path::new("gone")).to_string();
        assert!(error.contains("is missing"), "{error}");
    }

    #[test]
    fn a_pipe_is_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &[]).unwrap();
        let made = std::process::Command::new("mkfifo")
            .arg(folder.path().join("model.safetensors"))
            .status();
        assert!(made.unwrap().success());
        assert!(matches!(
            open(folder.path()),
            Err(Error::Checkpoint(CheckpointError::Unsafe { .. }))
        ));
    }

    /// `models--org--name/{blobs, snapshots/<commit>}` as a Hugging Face cache has it.
    #[test]
    fn a_snapshot_leads_to_the_contents_of_its_own_repository_only() {
        let cache = tempfile::tempdir().unwrap();
        let [ours, other] =
            ["models--org--ours", "models--org--other"].map(|name| cache.path().join(name));
        for repository in [&ours, &other] {
            std::fs::create_dir_all(repository.join("blobs")).unwrap();
            std::fs::write(repository.join("blobs/abc"), pairs(&["a"])).unwrap();
        }
        let snapshot = ours.join("snapshots/main");
        std::fs::create_dir_all(&snapshot).unwrap();
        write(&snapshot, &[]).unwrap();
        let link = snapshot.join("model.safetensors");
        symlink("../../blobs/abc", &link).unwrap();
        assert_eq!(open(&snapshot).unwrap().names().count(), 1);
        std::fs::remove_file(&link).unwrap();
        symlink("../../../models--org--other/blobs/abc", &link).unwrap();
        assert!(matches!(
            open(&snapshot),
            Err(Error::Checkpoint(CheckpointError::Unsafe { .. }))
        ));
    }

    /// `<cache>/blobs/<2 digits>/<hash>`, which newer versions of huggingface_hub share between repositories; it has a mark.
    #[test]
    fn a_snapshot_may_lead_to_the_store_that_repositories_share() {
        let cache = tempfile::tempdir().unwrap();
        let store = cache.path().join("blobs/ab");
        std::fs::create_dir_all(&store).unwrap();
        std::fs::write(store.join("abc"), pairs(&["a"])).unwrap();
        let repository = cache.path().join("models--org--ours");
        let snapshot = repository.join("snapshots/main");
        std::fs::create_dir_all(&snapshot).unwrap();
        std::fs::create_dir_all(repository.join("blobs")).unwrap();
        write(&snapshot, &[]).unwrap();
        symlink("../../blobs/ab/abc", repository.join("blobs/123")).unwrap();
        symlink("../../blobs/123", snapshot.join("model.safetensors")).unwrap();
        assert!(matches!(
            open(&snapshot),
            Err(Error::Checkpoint(CheckpointError::Unsafe { .. }))
        ));
        std::fs::write(cache.path().join("blobs/.huggingface-shared-blobs"), "1").unwrap();
        assert_eq!(open(&snapshot).unwrap().names().count(), 1);
    }
}

#[test]
fn a_folder_without_weights_or_config_says_what_is_missing() {
    let empty = tempfile::tempdir().unwrap();
    assert!(
        open(empty.path())
            .unwrap_err()
            .to_string()
            .contains("model.safetensors")
    );
    std::fs::write(empty.path().join("pytorch_model.bin"), b"x").unwrap();
    assert!(
        open(empty.path())
            .unwrap_err()
            .to_string()
            .contains("convert them to safetensors")
    );
    std::fs::write(empty.path().join("model.safetensors"), pairs(&["a"])).unwrap();
    assert!(
        open(empty.path())
            .unwrap_err()
            .to_string()
            .contains("config.json")
    );
    let error = open(&empty.path().join("absent")).unwrap_err();
    assert!(
        matches!(error, Error::Checkpoint(CheckpointError::Io { .. })),
        "{error}"
    );
}

#[test]
fn a_path_to_a_file_of_the_folder_opens_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &[("model.safetensors", pairs(&["a"]))]).unwrap();
    assert!(open(&folder.path().join("model.safetensors")).is_ok());
    assert!(open(&folder.path().join("config.json")).is_err());
}

#[test]
fn a_shard_that_shrinks_after_opening_is_an_error_and_no_crash() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &[("model.safetensors", pairs(&["a"]))]).unwrap();
    let checkpoint = open(folder.path()).unwrap();
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(folder.path().join("model.safetensors"));
    file.unwrap().set_len(20).unwrap();
    assert!(matches!(
        checkpoint.read("a"),
        Err(CheckpointError::Truncated { actual: 20, .. })
    ));
}

#[test]
fn side_files_are_capped_and_text() {
    let folder = tempfile::tempdir().unwrap();
    let files = [
        ("model.safetensors", pairs(&["a"])),
        ("chat.jinja", b"{{ x }}".to_vec()),
        ("raw", vec![0xff]),
    ];
    write(folder.path(), &files).unwrap();
    let checkpoint = open(folder.path()).unwrap();
    let folder = checkpoint.folder().unwrap();
    assert_eq!(
        folder.read_side_file("chat.jinja", 7).unwrap().unwrap(),
        "{{ x }}"
    );
    assert!(matches!(
        folder.read_side_file("chat.jinja", 6),
        Err(CheckpointError::TooLarge { actual: 7, .. })
    ));
    assert!(matches!(
        folder.read_side_file("raw", 7),
        Err(CheckpointError::Damaged { .. })
    ));
    assert_eq!(folder.read_side_file("tokenizer.json", 7).unwrap(), None);
    assert!(folder.read_side_file("../raw", 7).is_err());
}
