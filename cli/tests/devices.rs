//! `--device`: a machine without what it asks for gets an error that says what is missing; `auto` computes on the CPU there.
#![allow(clippy::unwrap_used)]

use assert_cmd::Command;

fn bench(arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_inferno"));
    command
        .args(["bench", "--rounds", "1", "-p", "4", "-n", "2"])
        .args(arguments);
    let output = command.env_remove("INFERNO_DEVICE").output().unwrap();
    let text =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (output.status.success(), text.concat())
}

#[test]
fn a_gpu_that_is_not_there_is_named() {
    let (success, text) = bench(&["--device", "cuda"]);
    if cfg!(feature = "cuda") {
        // On a machine with a driver the model runs, or the driver says what is wrong.
        let has_driver = std::path::Path::new("/dev/nvidiactl").exists();
        assert!(
            has_driver || (!success && text.contains("no NVIDIA driver")),
            "{text}"
        );
    } else {
        assert!(
            !success && text.contains("built without CUDA") && text.contains("--features cuda"),
            "{text}"
        );
    }
}

#[test]
fn auto_computes_on_the_cpu_where_there_is_no_gpu() {
    let (success, text) = bench(&[]);
    assert!(success, "{text}");
    if !std::path::Path::new("/dev/nvidiactl").exists() {
        assert!(text.contains("device        cpu ("), "{text}");
    }
}

#[test]
fn a_model_beyond_the_memory_limit_is_refused_before_it_is_read() {
    let (success, text) = bench(&["--device", "cpu", "--memory-limit", "1MB"]);
    assert!(
        !success && text.contains("does not fit") && text.contains("1.0 MB are available"),
        "{text}"
    );
    let (success, text) = bench(&["--device", "cpu", "--memory-limit", "1GiB"]);
    assert!(success, "{text}");
    for wrong in ["", "GB", "-1GB", "lots"] {
        let (success, text) = bench(&["--memory-limit", wrong]);
        assert!(!success && text.contains("16GiB"), "{wrong}: {text}");
    }
}

#[test]
fn words_that_are_no_device_are_refused() {
    for wrong in [
        ["--device", "gpu"],
        ["--device", "cuda:x"],
        ["--dtype", "int8"],
    ] {
        let (success, text) = bench(&wrong);
        assert!(!success && text.contains("auto"), "{text}");
    }
}
