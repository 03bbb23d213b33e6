//! Compiles the CUDA kernels (feature `cuda`), and rebuilds when a spec is added: the macro sees edits, but not new files.

use std::error::Error;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::{env, thread};

/// What the program carries: machine code of these generations, and PTX for the ones after them.
const ARCHS: [&str; 5] = ["80", "86", "89", "90a", "80-ptx"];

/// Variable with further words for nvcc: `-Xcicc -O1 -Xptxas -O1` compiles six times as fast what only has to compile.
const FLAGS: &str = "INFERNO_NVCC_FLAGS";

const KERNELS: &str = "src/kernels";

fn main() {
    println!("cargo::rerun-if-changed=../model-spec");
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_CUDA").is_some()
        && let Err(error) = kernels()
    {
        println!("cargo::error={error}");
    }
}

/// One fatbin for each `.cu`, and `fatbins.rs` that includes them.
fn kernels() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={KERNELS}");
    for variable in ["NVCC", "CUDA_HOME", "INFERNO_CUDA_ARCHS", FLAGS] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let archs = env::var("INFERNO_CUDA_ARCHS").unwrap_or_else(|_| ARCHS.join(","));
    println!("cargo::rustc-env=INFERNO_BUILT_FOR={archs}");
    let nvcc = Nvcc::new(&archs)?;
    let (mut sources, mut headers) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(KERNELS)? {
        let path = entry?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("cu") => sources.push(path),
            Some("cuh") => headers.push(path),
            _ => {}
        }
    }
    sources.sort();
    headers.sort();
    let mut common = DefaultHasher::new();
    nvcc.flags.hash(&mut common);
    nvcc.path.hash(&mut common);
    for header in &headers {
        fs::read(header)?.hash(&mut common);
    }
    let todo = Mutex::new(sources.iter());
    let failed = Mutex::new(Vec::new());
    let jobs: usize = env::var("NUM_JOBS")
        .ok()
        .and_then(|jobs| jobs.parse().ok())
        .unwrap_or(1);
    thread::scope(|scope| {
        for _ in 0..jobs.min(sources.len()) {
            scope.spawn(|| {
                while let Some(source) = todo.lock().ok().and_then(|mut todo| todo.next()) {
                    if let Err(error) = nvcc.compile(source, &out, common.clone())
                        && let Ok(mut failed) = failed.lock()
                    {
                        failed.push(error.to_string());
                    }
                }
            });
        }
    });
    if let Some(error) = failed
        .into_inner()
        .ok()
        .and_then(|failed| failed.into_iter().next())
    {
        return Err(error.into());
    }
    let mut list = String::from("&[\n");
    for source in &sources {
        let stem = stem(source);
        writeln!(
            list,
            "    ({stem:?}, include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{stem}.fatbin\"))),"
        )?;
    }
    list.push(']');
    Ok(fs::write(out.join("fatbins.rs"), list)?)
}

fn stem(path: &Path) -> String {
    path.file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// The compiler and how it is called.
struct Nvcc {
    path: PathBuf,
    flags: Vec<String>,
}

impl Nvcc {
    fn new(archs: &str) -> Result<Self, Box<dyn Error>> {
        let mut flags: Vec<String> = ["-fatbin", "-O3", "-std=c++17"].map(Into::into).into();
        for arch in archs.split(',').map(str::trim) {
            let gencode = match arch.strip_suffix("-ptx") {
                Some(arch) => format!("-gencode=arch=compute_{arch},code=compute_{arch}"),
                None => format!("-gencode=arch=compute_{arch},code=sm_{arch}"),
            };
            flags.push(gencode);
        }
        // Generations side by side: one source takes minutes, and all others may be done before it.
        flags.push("--threads=0".into());
        let further = env::var(FLAGS).unwrap_or_default();
        flags.extend(further.split_whitespace().map(Into::into));
        Ok(Self {
            path: find()?,
            flags,
        })
    }

    /// Unless an earlier build has made the same.
    fn compile(
        &self,
        source: &Path,
        out: &Path,
        mut hasher: DefaultHasher,
    ) -> Result<(), Box<dyn Error>> {
        let stem = stem(source);
        fs::read(source)?.hash(&mut hasher);
        let stamp = hasher.finish().to_string();
        let (fatbin, stamped) = (
            out.join(format!("{stem}.fatbin")),
            out.join(format!("{stem}.stamp")),
        );
        if fatbin.exists() && fs::read_to_string(&stamped).is_ok_and(|old| old == stamp) {
            return Ok(());
        }
        let output = Command::new(&self.path)
            .args(&self.flags)
            .arg("-o")
            .arg(&fatbin)
            .arg(source)
            .output()?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr).replace('\n', "\ncargo::error=");
            return Err(format!(
                "{} does not compile:\ncargo::error={text}",
                source.display()
            )
            .into());
        }
        Ok(fs::write(stamped, stamp)?)
    }
}

/// `$NVCC`, else the one of `$CUDA_HOME`, else the one on the path.
fn find() -> Result<PathBuf, Box<dyn Error>> {
    let given = |path: OsString| Some(PathBuf::from(path)).filter(|path| path.is_file());
    let on_path = || {
        let paths = env::var_os("PATH")?;
        env::split_paths(&paths)
            .map(|folder| folder.join("nvcc"))
            .find(|nvcc| nvcc.is_file())
    };
    if let Some(nvcc) = env::var_os("NVCC") {
        let text = nvcc.to_string_lossy().into_owned();
        return given(nvcc).ok_or_else(|| format!("NVCC is {text}, which is no file").into());
    }
    let home =
        env::var_os("CUDA_HOME").and_then(|home| given(Path::new(&home).join("bin/nvcc").into()));
    home.or_else(on_path).ok_or_else(|| {
        "the feature `cuda` needs nvcc of CUDA 13: set NVCC or CUDA_HOME, or get one with: eval \"$(tools/cuda-toolkit.sh)\"".into()
    })
}
