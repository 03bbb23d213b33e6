//! Where a model computes: the CPU, or an NVIDIA GPU in a build with the feature `cuda`.

use std::fmt;
use std::str::FromStr;

#[cfg(feature = "cuda")]
use std::sync::Arc;

use crate::Result;
use crate::cpu::{KernelCheck, Level, Precision};

/// What the CUDA part asks of a machine, built in or not.
pub const NEEDS: Needs = Needs {
    cuda: (13, 0),
    driver: "580",
    compute_capability: (8, 0),
};

/// As [`NEEDS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// The CUDA version whose compiler makes the kernels.
    pub cuda: (u32, u32),
    /// The first driver that takes them.
    pub driver: &'static str,
    /// The oldest GPUs that run them.
    pub compute_capability: (u32, u32),
}

/// Prompt tokens of one forward pass on the CPU: large enough for full speed, small enough to notice a cancel and to bound
/// memory.
pub(crate) const CPU_PREFILL_CHUNK: usize = 512;

/// The same on a GPU, where a pass reads all weights of a mixture of experts and fills its tensor cores with many tokens only.
pub(crate) const GPU_PREFILL_CHUNK: usize = 2048;

/// The device that a user asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The first GPU when this build, the machine and the model allow it, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The GPU of this number.
    Cuda(usize),
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let number = |word: &str| word.parse().ok();
        match word {
            "auto" => Some(Self::Auto),
            "cpu" => Some(Self::Cpu),
            "cuda" => Some(Self::Cuda(0)),
            _ => word.strip_prefix("cuda:").and_then(number).map(Self::Cuda),
        }
        .ok_or_else(|| format!("`{word}` is no device: auto, cpu, cuda or cuda:N"))
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

/// The type of keys, values and tensor-core operands on a GPU; sums, norms, the residual stream and logits are f32 always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ComputeDtype {
    /// The upper half of an f32.
    #[default]
    Bf16,
    /// IEEE 754 half precision.
    F16,
    /// IEEE 754 single precision: exact, and slower.
    F32,
}

impl ComputeDtype {
    /// Bytes of a number.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Bf16 | Self::F16 => 2,
            Self::F32 => 4,
        }
    }

    /// The name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::F32 => "f32",
        }
    }
}

impl FromStr for ComputeDtype {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "auto" | "bf16" => Ok(Self::Bf16),
            "f16" => Ok(Self::F16),
            "f32" => Ok(Self::F32),
            _ => Err(format!(
                "`{word}` is no type to compute in: auto, bf16, f16 or f32"
            )),
        }
    }
}

impl fmt::Display for ComputeDtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a device does not serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The program was built for the CPU alone.
    #[error(
        "this inferno was built without CUDA: build it with `cargo build --release --features cuda`, or use --device cpu"
    )]
    NotBuilt,
    /// The machine has no NVIDIA driver.
    #[error(
        "no NVIDIA driver: libcuda.so.1 is not on this machine; install driver {driver} or newer, or use --device cpu"
    )]
    NoDriver {
        /// The version that this build needs.
        driver: &'static str,
    },
    /// The driver does not know this build's CUDA version.
    #[error(
        "the NVIDIA driver supports CUDA {found}, and this build needs {needed}: install driver {driver} or newer, or use \
         --device cpu"
    )]
    OldDriver {
        /// The newest CUDA version that it supports.
        found: String,
        /// The CUDA version that this build needs.
        needed: String,
        /// The first driver with it.
        driver: &'static str,
    },
    /// There is no such GPU.
    #[error("there is no GPU {index}: this machine has {count} (numbered from 0)")]
    NoDevice {
        /// The number asked for.
        index: usize,
        /// GPUs there are.
        count: usize,
    },
    /// This build has no code for the GPU, though other builds have.
    #[error(
        "{name} has compute capability {major}.{minor}, and this inferno was built for {archs} alone: build it without \
         INFERNO_CUDA_ARCHS, or use --device cpu"
    )]
    NoKernels {
        /// Its name.
        name: String,
        /// Its compute capability.
        major: u32,
        /// Behind the point.
        minor: u32,
        /// What the build has: `86,89`.
        archs: &'static str,
    },
    /// The GPU is older than the kernels.
    #[error(
        "{name} has compute capability {major}.{minor}, and the kernels need 8.0 or newer; use --device cpu"
    )]
    OldDevice {
        /// Its name.
        name: String,
        /// Its compute capability.
        major: u32,
        /// Behind the point.
        minor: u32,
    },
    /// An allocation failed.
    #[error(
        "out of GPU memory: {what} needs {wanted}, and {free} of {total} are free; use a smaller --context or model"
    )]
    OutOfMemory {
        /// What it was for.
        what: String,
        /// Bytes asked for, readable.
        wanted: String,
        /// Bytes free.
        free: String,
        /// Bytes in all.
        total: String,
    },
    /// The estimate says that a model does not fit.
    #[error("the model does not fit: it needs {need}, and {available} are available; {advice}")]
    DoesNotFit {
        /// Bytes of weights, cache and workspace, readable.
        need: String,
        /// Bytes there are.
        available: String,
        /// What would fit.
        advice: String,
    },
    /// An operation that has no kernel.
    #[error("`{0}` has no CUDA path in this build; use --device cpu")]
    Unsupported(String),
    /// A call of the driver failed.
    #[error("the NVIDIA driver refused {call}: {message}")]
    Driver {
        /// What was called.
        call: &'static str,
        /// What it said.
        message: String,
    },
    /// Host and device values in one operation, or a value of another step.
    #[error("{0}")]
    Mixed(&'static str),
}

/// Where a model's weights live and its layers run.
#[derive(Clone, Debug)]
pub enum Backend {
    /// The CPU.
    Cpu(Precision),
    /// A GPU.
    #[cfg(feature = "cuda")]
    Cuda(Arc<crate::cuda::Gpu>),
}

impl Default for Backend {
    fn default() -> Self {
        Self::Cpu(Precision::default())
    }
}

impl From<Precision> for Backend {
    fn from(precision: Precision) -> Self {
        Self::Cpu(precision)
    }
}

impl Backend {
    /// Tokens of a prompt that one forward pass takes best.
    #[must_use]
    pub const fn prefill_chunk(&self) -> usize {
        match self {
            Self::Cpu(_) => CPU_PREFILL_CHUNK,
            #[cfg(feature = "cuda")]
            Self::Cuda(_) => GPU_PREFILL_CHUNK,
        }
    }

    /// The device that a user asks for; `precision` is the CPU's, `dtype` the GPU's.
    ///
    /// # Errors
    /// If a GPU was asked for by name and does not serve.
    pub fn choose(choice: DeviceChoice, precision: Precision, dtype: ComputeDtype) -> Result<Self> {
        match choice {
            DeviceChoice::Cpu => Ok(Self::Cpu(precision)),
            DeviceChoice::Cuda(index) => Self::cuda(index, dtype),
            DeviceChoice::Auto => match Self::cuda(0, dtype) {
                Ok(backend) => Ok(backend),
                Err(error) => {
                    tracing::debug!(%error, "computing on the CPU");
                    Ok(Self::Cpu(precision))
                }
            },
        }
    }

    /// Most bytes of the GPU that this program has allocated; `None` on the CPU.
    #[must_use]
    pub fn peak_memory(&self) -> Option<u64> {
        match self {
            Self::Cpu(_) => None,
            #[cfg(feature = "cuda")]
            Self::Cuda(gpu) => Some(gpu.peak_allocated()),
        }
    }

    /// Where the GPU is on the bus, as other programs name it; `None` on the CPU.
    ///
    /// # Errors
    /// If the driver does not say.
    pub fn bus_id(&self) -> Result<Option<String>> {
        match self {
            Self::Cpu(_) => Ok(None),
            #[cfg(feature = "cuda")]
            Self::Cuda(gpu) => Ok(Some(gpu.bus_id()?)),
        }
    }

    /// Bytes a second that the GPU reads from its memory, measured; `None` on the CPU.
    ///
    /// # Errors
    /// If there is no memory left to read, or the device fails.
    pub fn bandwidth(&self) -> Result<Option<f64>> {
        match self {
            Self::Cpu(_) => Ok(None),
            #[cfg(feature = "cuda")]
            Self::Cuda(gpu) => Ok(Some(gpu.bandwidth()?)),
        }
    }

    /// Bytes of a number of keys and values.
    #[must_use]
    pub fn cache_number_bytes(&self) -> usize {
        match self {
            Self::Cpu(_) => size_of::<f32>(),
            #[cfg(feature = "cuda")]
            Self::Cuda(gpu) => gpu.dtype().bytes(),
        }
    }

    /// Waits until all that the device was given is done.
    ///
    /// # Errors
    /// If any of it failed.
    pub fn synchronize(&self) -> Result<()> {
        match self {
            Self::Cpu(_) => Ok(()),
            #[cfg(feature = "cuda")]
            Self::Cuda(gpu) => Ok(gpu.synchronize()?),
        }
    }

    #[cfg(feature = "cuda")]
    fn cuda(index: usize, dtype: ComputeDtype) -> Result<Self> {
        Ok(Self::Cuda(crate::cuda::Gpu::open(index, dtype)?))
    }

    #[cfg(not(feature = "cuda"))]
    fn cuda(_: usize, _: ComputeDtype) -> Result<Self> {
        Err(DeviceError::NotBuilt.into())
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu(_) => write!(f, "cpu ({})", Level::best()),
            #[cfg(feature = "cuda")]
            Self::Cuda(gpu) => write!(f, "cuda:{} {} ({})", gpu.index(), gpu.name(), gpu.dtype()),
        }
    }
}

/// A GPU as the driver lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuInfo {
    /// Its number.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// Compute capability.
    pub compute_capability: (u32, u32),
    /// Bytes of memory.
    pub memory: u64,
    /// The newest CUDA version that the driver supports: (13, 0).
    pub driver_cuda: (u32, u32),
}

/// What a GPU did when it was asked to compute.
#[derive(Clone, Debug)]
pub struct GpuCheck {
    /// Products of every storage type, by each kernel that serves it.
    pub kernels: Vec<KernelCheck>,
    /// Bytes free, the program's own context and kernels taken off.
    pub free: u64,
    /// Bytes in all.
    pub total: u64,
}

/// The generations of GPUs that this build has kernels for: `90a`, `80-ptx`. None without the feature `cuda`.
#[must_use]
pub fn cuda_archs() -> Vec<&'static str> {
    #[cfg(feature = "cuda")]
    return crate::cuda::ARCHS.split(',').map(str::trim).collect();
    #[cfg(not(feature = "cuda"))]
    Vec::new()
}

/// The GPUs of this machine that the driver shows to this program.
///
/// # Errors
/// [`DeviceError::NotBuilt`] without the feature `cuda`; if there is no driver, none that serves, or no GPU.
pub fn gpus() -> Result<Vec<GpuInfo>, DeviceError> {
    #[cfg(feature = "cuda")]
    return crate::cuda::devices();
    #[cfg(not(feature = "cuda"))]
    Err(DeviceError::NotBuilt)
}

/// Opens a GPU as a model would, and lets it compute what plain Rust computes too. Takes a second or two, most of it for the
/// driver to start.
///
/// # Errors
/// [`DeviceError::NotBuilt`] without the feature `cuda`; if the GPU does not serve, or fails on the way. Wrong results are
/// no error: [`KernelCheck::sound`] says so.
pub fn check_gpu(index: usize, dtype: ComputeDtype) -> Result<GpuCheck> {
    #[cfg(feature = "cuda")]
    return crate::cuda::Gpu::open(index, dtype)?.self_check();
    #[cfg(not(feature = "cuda"))]
    {
        let _ = (index, dtype);
        Err(DeviceError::NotBuilt.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_have_names() {
        for (word, choice) in [
            ("auto", DeviceChoice::Auto),
            ("cpu", DeviceChoice::Cpu),
            ("cuda:3", DeviceChoice::Cuda(3)),
        ] {
            assert_eq!(word.parse(), Ok(choice));
            assert_eq!(choice.to_string(), word);
        }
        assert_eq!("cuda".parse(), Ok(DeviceChoice::Cuda(0)));
        for word in ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "CPU"] {
            assert!(word.parse::<DeviceChoice>().is_err(), "{word}");
        }
        assert_eq!("auto".parse(), Ok(ComputeDtype::Bf16));
        assert!("int8".parse::<ComputeDtype>().is_err());
    }
}
