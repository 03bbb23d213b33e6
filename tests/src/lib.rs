//! What the tests share: golden parity with Hugging Face transformers; small model files, sound and broken.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use inferno_runtime::Result;
use inferno_runtime::weights::Checkpoint;

pub mod gguf;
pub mod golden;
pub mod harmony;
pub mod model_folder;
pub mod real;
pub mod scripted;
pub mod specs;

/// Says aloud that a test has not run, and why.
pub fn skipped(reason: &str) {
    // Not `eprintln!`, which the test harness hides.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {reason}");
}

/// Opens a checkpoint, which must not take long, however broken it is.
///
/// # Errors
/// Those of [`Checkpoint::open`].
///
/// # Panics
/// If it takes more than two seconds.
pub fn open(path: &Path) -> Result<Checkpoint> {
    let start = Instant::now();
    let opened = Checkpoint::open(path);
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    opened
}
