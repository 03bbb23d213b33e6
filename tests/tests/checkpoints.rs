//! Every golden checkpoint opens, and its tensors have the bytes that their shapes and types say.

use std::path::{Path, PathBuf};

use inferno_runtime::config::Format;
use inferno_runtime::weights::Checkpoint;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

#[test]
fn every_golden_checkpoint_opens_and_reads() {
    let mut seen = 0;
    for case in std::fs::read_dir(golden()).unwrap() {
        let folder = case.unwrap().path();
        if !folder.is_dir() {
            continue;
        }
        let checkpoint = Checkpoint::open(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        assert!(
            !checkpoint.config().architectures().is_empty(),
            "{}",
            folder.display()
        );
        for name in checkpoint.names() {
            let info = checkpoint.tensor(name).unwrap();
            let tensor = checkpoint.read(name).unwrap();
            assert_eq!(
                (&tensor.shape, tensor.data.len()),
                (&info.shape, info.bytes)
            );
            if info.dtype.weight().is_some() {
                let elements: usize = info.shape.iter().product();
                let matrix = tensor.into_matrix().unwrap();
                assert_eq!(matrix.rows() * matrix.cols(), elements);
            }
        }
        seen += 1;
    }
    assert!(seen > 50, "{seen}");
}

#[test]
fn shards_are_one_checkpoint() {
    let checkpoint = Checkpoint::open(&golden().join("gpt-oss-mxfp4-sharded")).unwrap();
    assert_eq!(checkpoint.format(), Format::Hf);
    assert!(checkpoint.files().count() > 1);
    assert!(checkpoint.names().any(|name| name.ends_with("_blocks")));
    assert_eq!(checkpoint.config().quantization_method(), Some("mxfp4"));
}
