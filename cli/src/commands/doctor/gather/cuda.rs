//! What CUDA makes of this machine's GPUs, as a model would find them: each is opened and lets its kernels compute.

use std::time::{Duration, Instant};

use inferno_runtime::Error;
use inferno_runtime::device::{self, ComputeDtype, DeviceError, GpuCheck, GpuInfo};

use super::Asked;
use crate::commands::doctor::facts::{Check, Cuda, CudaGpu, Trouble};

/// For the driver to start, which takes seconds where it has to wake many GPUs.
const START: Duration = Duration::from_secs(20);
/// For a GPU to load the kernels and compute.
const CHECK: Duration = Duration::from_secs(20);

/// `None`: this program has no CUDA part.
pub(super) fn look() -> Option<Cuda> {
    match Asked::new(START, || Some(device::gpus())).answer() {
        None => Some(Cuda::Silent),
        Some(Err(DeviceError::NotBuilt)) => None,
        Some(Err(error)) => Some(Cuda::Refused(trouble(error))),
        Some(Ok(gpus)) => Some(Cuda::Gpus(check_all(gpus))),
    }
}

/// All at once.
fn check_all(gpus: Vec<GpuInfo>) -> Vec<CudaGpu> {
    let begin = Instant::now();
    let ask = |gpu: GpuInfo| {
        let index = gpu.index;
        let check = move || {
            let checked = device::check_gpu(index, ComputeDtype::default());
            Some((checked, begin.elapsed()))
        };
        (gpu, Asked::new(CHECK, check))
    };
    let asked: Vec<_> = gpus.into_iter().map(ask).collect();
    let answered = |(gpu, asked): (GpuInfo, Asked<_>)| {
        let (major, minor) = gpu.compute_capability;
        CudaGpu {
            index: gpu.index,
            name: gpu.name,
            compute: format!("{major}.{minor}"),
            total: gpu.memory,
            check: asked.answer().map_or(Check::Silent, judge),
        }
    };
    asked.into_iter().map(answered).collect()
}

fn judge((checked, took): (Result<GpuCheck, Error>, Duration)) -> Check {
    match checked {
        Ok(check) => Check::Computed {
            kernels: check.kernels,
            free: check.free,
            seconds: took.as_secs_f64(),
        },
        Err(Error::Device(error)) => Check::Failed(trouble(error)),
        Err(error) => Check::Failed(Trouble::Other {
            message: error.to_string(),
        }),
    }
}

fn trouble(error: DeviceError) -> Trouble {
    match error {
        DeviceError::NoDriver { .. } => Trouble::NoDriver,
        DeviceError::OldDriver { found, .. } => Trouble::OldDriver { cuda: found },
        DeviceError::NoDevice { .. } => Trouble::NoGpu {
            visible: std::env::var_os("CUDA_VISIBLE_DEVICES")
                .map(|value| value.to_string_lossy().into_owned()),
        },
        DeviceError::OldDevice { .. } => Trouble::OldGpu,
        DeviceError::NoKernels { archs, .. } => Trouble::NoKernels {
            archs: archs.to_string(),
        },
        DeviceError::OutOfMemory { .. } => Trouble::OutOfMemory {
            message: error.to_string(),
        },
        // A context that does not fit fails in the driver.
        DeviceError::Driver { ref message, .. } if message.contains("out of memory") => {
            Trouble::OutOfMemory {
                message: error.to_string(),
            }
        }
        error => Trouble::Other {
            message: error.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_without_cuda_says_so_and_one_with_it_has_an_answer() {
        assert_eq!(look().is_some(), cfg!(feature = "cuda"));
    }

    #[test]
    fn each_error_is_its_own_trouble() {
        let driver = |message: &str| DeviceError::Driver {
            call: "cuInit",
            message: message.into(),
        };
        let name = || "A GPU".to_string();
        assert_eq!(
            trouble(DeviceError::NoDriver { driver: "580" }),
            Trouble::NoDriver
        );
        let old = DeviceError::OldDevice {
            name: name(),
            major: 7,
            minor: 5,
        };
        assert_eq!(trouble(old), Trouble::OldGpu);
        let missing = DeviceError::NoKernels {
            name: name(),
            major: 8,
            minor: 6,
            archs: "90a",
        };
        let archs = "90a".to_string();
        assert_eq!(trouble(missing), Trouble::NoKernels { archs });
        assert!(matches!(
            trouble(driver("out of memory")),
            Trouble::OutOfMemory { .. }
        ));
        let Trouble::Other { message } = trouble(driver("system not yet initialized")) else {
            panic!("no other trouble fits");
        };
        assert!(
            message.contains("cuInit") && message.contains("not yet"),
            "{message}"
        );
    }
}
