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
    /// GPUs as the driver's management library tells them.
    pub(super) gpus: Option<Gpus>,
    /// GPUs as this program would use them; `None` without the CUDA part.
    pub(super) cuda: Option<Cuda>,
    pub(super) hub: Option<Hub>,
    pub(super) models: Option<Models>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Program {
    pub(super) version: &'static str,
    /// What it can compute on.
    pub(super) backends: Vec<Backend>,
    pub(super) architectures: usize,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Backend {
    /// `cpu`, `cuda`.
    pub(super) name: &'static str,
    /// Generations of GPUs that there are kernels for: `90a`, `80-ptx`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) archs: Vec<&'static str>,
    /// The oldest driver that serves it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) driver: Option<&'static str>,
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
#[serde(rename_all = "snake_case")]
pub(super) enum Cuda {
    /// The driver did not come back.
    Silent,
    Refused(Trouble),
    Gpus(Vec<CudaGpu>),
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct CudaGpu {
    /// The N of `--device cuda:N`.
    pub(super) index: usize,
    pub(super) name: String,
    /// Compute capability: `9.0`.
    pub(super) compute: String,
    /// Bytes of memory.
    pub(super) total: u64,
    pub(super) check: Check,
}

/// What a GPU did when its kernels were to compute.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Check {
    Computed {
        kernels: Vec<KernelCheck>,
        /// Bytes free for a model.
        free: u64,
        seconds: f64,
    },
    Failed(Trouble),
    /// It did not come back.
    Silent,
}

/// Why CUDA, or one GPU, does not serve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Trouble {
    NoDriver,
    OldDriver {
        /// The newest CUDA that it serves.
        cuda: String,
    },
    NoGpu {
        /// CUDA_VISIBLE_DEVICES.
        visible: Option<String>,
    },
    OldGpu,
    NoKernels {
        /// What this program has.
        archs: String,
    },
    OutOfMemory {
        message: String,
    },
    Other {
        message: String,
    },
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
    /// The same on the first GPU that serves.
    pub(super) gpu: Option<GpuFit>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct GpuFit {
    /// `cuda:0`
    pub(super) device: String,
    /// The type of keys, values and operands that this is for.
    pub(super) dtype: &'static str,
    /// Bytes free.
    pub(super) free: u64,
    /// At the lengths of [`Fit::needs`].
    pub(super) needs: Vec<MemoryNeed>,
    /// The longest context that the GPU holds now.
    pub(super) longest: Option<usize>,
}

impl Cuda {
    /// The first GPU that computes rightly, and its free bytes.
    pub(super) fn first_sound(&self) -> Option<(usize, u64)> {
        let Self::Gpus(gpus) = self else { return None };
        gpus.iter().find_map(|gpu| match &gpu.check {
            Check::Computed { kernels, free, .. } if kernels.iter().all(|one| one.sound) => {
                Some((gpu.index, *free))
            }
            _ => None,
        })
    }

    /// Whether a call of the driver is still on its way.
    pub(super) fn is_stuck(&self) -> bool {
        match self {
            Self::Silent => true,
            Self::Refused(_) => false,
            Self::Gpus(gpus) => gpus.iter().any(|gpu| matches!(gpu.check, Check::Silent)),
        }
    }
}
