//! What was found on this machine: plain data, so that it can be judged, printed and made up in tests.

use std::path::PathBuf;

use inferno_runtime::cpu::KernelCheck;
use inferno_runtime::engine::MemoryNeed;
use inferno_runtime::hub::Verification;
use serde::Serialize;

/// Everything that a verdict rests on. `None` where a question got no answer in time, or makes no sense on this system.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Facts {
    pub(super) program: Program,
    pub(super) system: System,
    pub(super) cpu: Cpu,
    /// Products of every storage type on this processor.
    pub(super) kernels: Option<Vec<KernelCheck>>,
    pub(super) memory: Option<Memory>,
    pub(super) cache: Option<Cache>,
    pub(super) gpus: Option<Gpus>,
    pub(super) hub: Option<Hub>,
    pub(super) models: Option<Models>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Program {
    pub(super) version: &'static str,
    /// What it can compute on.
    pub(super) backends: &'static [&'static str],
    pub(super) architectures: usize,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct System {
    /// `Debian GNU/Linux 12 (bookworm)`, or the bare name of the system.
    pub(super) name: String,
    pub(super) kernel: Option<String>,
    pub(super) arch: &'static str,
    /// What shows that this is a container.
    pub(super) container: Option<&'static str>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Cpu {
    pub(super) name: Option<String>,
    /// Logical processors of the machine.
    pub(super) processors: Option<usize>,
    /// Those that this process may use: affinity and control-group quotas count.
    pub(super) usable: usize,
    /// Threads that kernels will use.
    pub(super) threads: usize,
    /// Instruction sets that matter here.
    pub(super) features: Vec<&'static str>,
    /// The kernels that will be used.
    pub(super) level: &'static str,
}

/// Bytes.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Memory {
    pub(super) total: u64,
    pub(super) available: u64,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Cache {
    pub(super) folder: PathBuf,
    pub(super) state: CacheState,
    /// Bytes free for this user.
    pub(super) free: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum CacheState {
    Writable,
    /// It does not exist, and can be made.
    Absent,
    ReadOnly {
        reason: String,
    },
    /// Something else is in its place.
    NotAFolder {
        at: PathBuf,
    },
    /// It does not exist, and cannot be made.
    Impossible {
        reason: String,
    },
}

#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Gpus {
    pub(super) driver: Option<String>,
    /// Newest CUDA that the driver serves: `13.0`.
    pub(super) cuda: Option<String>,
    /// Why there is no driver to ask.
    pub(super) problem: Option<String>,
    /// NVIDIA display controllers on the PCI bus, driver or not.
    pub(super) on_bus: usize,
    pub(super) devices: Vec<Gpu>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Gpu {
    pub(super) name: String,
    /// Compute capability: `9.0`.
    pub(super) compute: Option<String>,
    pub(super) total: u64,
    pub(super) free: u64,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Hub {
    /// `None` when the settings make no sense.
    pub(super) endpoint: Option<String>,
    pub(super) offline: bool,
    /// Where a token was found.
    pub(super) token: Option<String>,
    pub(super) reached: Result<Reached, Problem>,
}

/// Something that does not work, and what to do.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Problem {
    pub(super) what: String,
    pub(super) hint: String,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Reached {
    pub(super) seconds: f64,
    pub(super) token: TokenState,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum TokenState {
    None,
    Accepted { user: String },
    Refused,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Models {
    pub(super) models: Vec<Model>,
    /// Links and names of each repository, and with --deep the hash of every file.
    pub(super) repositories: Vec<Verification>,
    pub(super) deep: bool,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Model {
    pub(super) name: String,
    pub(super) state: ModelState,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ModelState {
    Sound(Fit),
    /// Files are missing; its repository's verification says which.
    Incomplete,
    /// All files are there, but no architecture here serves them.
    Unknown {
        reason: String,
    },
    /// Files contradict each other or themselves.
    Damaged {
        problems: Vec<String>,
    },
}

/// Memory at the context lengths that people ask about.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Fit {
    pub(super) architecture: &'static str,
    /// At 4,096 and 32,768 tokens, as far as the model was made for that, and at its full length.
    pub(super) needs: Vec<MemoryNeed>,
    /// The longest context that memory holds now; `None` if not even the weights fit.
    pub(super) longest: Option<usize>,
}
