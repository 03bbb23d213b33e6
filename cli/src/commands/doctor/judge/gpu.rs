//! What the GPUs come to: those that the driver knows, those that this program can use, and what they computed.

use inferno_runtime::device::NEEDS;

use super::REPORT;
use crate::commands::doctor::facts::{Check, Cuda, CudaGpu, Facts, Gpu, Gpus, Trouble};
use crate::commands::doctor::finding::Finding;
use crate::printer::bytes;

const TOPIC: &str = "gpu";

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let gpus = facts.gpus.as_ref();
    match &facts.cuda {
        None => vec![without_cuda(gpus)],
        Some(Cuda::Silent) => vec![silent("the NVIDIA driver does not answer this program")],
        Some(Cuda::Refused(trouble)) => vec![refused(trouble, gpus)],
        Some(Cuda::Gpus(found)) if found.is_empty() => {
            vec![refused(&Trouble::NoGpu { visible: None }, gpus)]
        }
        Some(Cuda::Gpus(found)) => found.iter().map(|gpu| one(gpu, found, gpus)).collect(),
    }
}

/// `driver 580 or newer`
fn needed() -> String {
    format!("driver {} or newer", NEEDS.driver)
}

fn oldest() -> String {
    format!(
        "{}.{}",
        NEEDS.compute_capability.0, NEEDS.compute_capability.1
    )
}

fn silent(what: &str) -> Finding {
    Finding::error(
        TOPIC,
        what,
        "does nvidia-smi hang as well? Then reload the driver or reboot; until then --device cpu (or INFERNO_DEVICE=cpu) leaves \
         it alone",
    )
}

/// This program has no CUDA part.
fn without_cuda(gpus: Option<&Gpus>) -> Finding {
    let Some(gpus) = gpus else {
        return Finding::warning(
            TOPIC,
            "the NVIDIA driver does not answer",
            "does nvidia-smi hang as well? Then reload the driver or reboot",
        );
    };
    if gpus.devices.is_empty() {
        return no_gpu(gpus, problem(gpus), false);
    }
    let what = format!(
        "{}; this program was built without CUDA and computes on the CPU alone",
        list(gpus)
    );
    if gpus.devices.iter().all(is_too_old) {
        let hint = format!(
            "its CUDA part would need compute capability {} or newer",
            oldest()
        );
        return Finding::note(TOPIC, what, hint);
    }
    let driver = match major(gpus) {
        Some(major) if major < needed_major() => format!("install {} and ", needed()),
        _ => String::new(),
    };
    Finding::warning(TOPIC, what, format!("{driver}{}", build()))
}

/// How to get a program with CUDA.
fn build() -> String {
    format!(
        "build with CUDA: cargo build --release --features cuda (first, where there is no CUDA toolkit {}: eval \
         \"$(tools/cuda-toolkit.sh)\")",
        NEEDS.cuda.0
    )
}

fn is_too_old(gpu: &Gpu) -> bool {
    let Some((major, minor)) = gpu
        .compute
        .as_deref()
        .and_then(|compute| compute.split_once('.'))
    else {
        return false;
    };
    match (major.parse(), minor.parse()) {
        (Ok(major), Ok(minor)) => (major, minor) < NEEDS.compute_capability,
        _ => false,
    }
}

/// The driver's: 580 of `580.95.05`.
fn major(gpus: &Gpus) -> Option<u32> {
    gpus.driver.as_deref()?.split('.').next()?.parse().ok()
}

fn needed_major() -> u32 {
    NEEDS.driver.parse().unwrap_or(0)
}

/// `A GPU (compute capability 9.0, 79.0 GB free of 80.0 GB); driver 580.95.05; CUDA 13.0`
fn list(gpus: &Gpus) -> String {
    let one = |gpu: &Gpu| {
        let compute = gpu.compute.as_ref().map_or(String::new(), |compute| {
            format!("compute capability {compute}, ")
        });
        format!(
            "{} ({compute}{} free of {})",
            gpu.name,
            bytes(gpu.free),
            bytes(gpu.total)
        )
    };
    let version = |what: &str, version: &Option<String>| {
        version
            .as_ref()
            .map_or(String::new(), |version| format!("; {what} {version}"))
    };
    format!(
        "{}{}{}",
        gpus.devices.iter().map(one).collect::<Vec<_>>().join(", "),
        version("driver", &gpus.driver),
        version("CUDA", &gpus.cuda)
    )
}

/// No GPU that a driver knows.
fn no_gpu(gpus: &Gpus, problem: &str, with_cuda: bool) -> Finding {
    if gpus.on_bus > 0 {
        let build = if with_cuda {
            String::new()
        } else {
            format!(", and {}", build())
        };
        return Finding::warning(
            TOPIC,
            format!(
                "{} NVIDIA card(s) on the bus, but no driver to use them: {problem}",
                gpus.on_bus
            ),
            format!(
                "install NVIDIA's {} (in a container: start it with --gpus all){build}; until then models run on the CPU",
                needed()
            ),
        );
    }
    let would_need = if with_cuda {
        format!("; CUDA would need {}", needed())
    } else {
        String::new()
    };
    Finding::ok(
        TOPIC,
        format!("none ({problem}{would_need}); models run on the CPU"),
    )
}

fn problem(gpus: &Gpus) -> &str {
    gpus.problem
        .as_deref()
        .unwrap_or("the driver knows of no device")
}

/// CUDA did not start.
fn refused(trouble: &Trouble, gpus: Option<&Gpus>) -> Finding {
    let unknown = Gpus::default();
    let gpus = gpus.unwrap_or(&unknown);
    let driver = gpus
        .driver
        .as_ref()
        .map_or("NVIDIA's driver".into(), |version| {
            format!("NVIDIA's driver {version}")
        });
    match trouble {
        Trouble::NoDriver if gpus.devices.is_empty() => {
            no_gpu(gpus, "libcuda.so.1 is not on this machine", true)
        }
        Trouble::NoDriver => Finding::warning(
            TOPIC,
            format!("{}; but libcuda.so.1 is missing", list(gpus)),
            format!(
                "install all of NVIDIA's {} (in a container: NVIDIA_DRIVER_CAPABILITIES=compute,utility); until then models \
                 run on the CPU",
                needed()
            ),
        ),
        Trouble::OldDriver { cuda } => Finding::warning(
            TOPIC,
            format!(
                "{driver} serves CUDA {cuda}, and this program needs {}.{}",
                NEEDS.cuda.0, NEEDS.cuda.1
            ),
            format!("install {}; until then models run on the CPU", needed()),
        ),
        Trouble::NoGpu { visible } if !gpus.devices.is_empty() => hidden(visible.as_deref(), gpus),
        Trouble::NoGpu { .. } => no_gpu(gpus, problem(gpus), true),
        other => Finding::error(
            TOPIC,
            format!("CUDA does not start: {}; {driver}", message(other)),
            format!(
                "does nvidia-smi work? Then reboot, or install {}; until then models run on the CPU",
                needed()
            ),
        ),
    }
}

/// The driver knows of GPUs, and shows this program none.
fn hidden(visible: Option<&str>, gpus: &Gpus) -> Finding {
    let what = format!("{}; none is shown to this program", list(gpus));
    match visible {
        Some(value) => Finding::note(
            TOPIC,
            format!("{what}: CUDA_VISIBLE_DEVICES is \"{value}\""),
            "unset CUDA_VISIBLE_DEVICES to compute on them; until then models run on the CPU",
        ),
        None => Finding::warning(
            TOPIC,
            what,
            "in a container: start it with --gpus all; else reboot. Until then models run on the CPU",
        ),
    }
}

fn message(trouble: &Trouble) -> &str {
    match trouble {
        Trouble::NoDriver => "there is no driver",
        Trouble::OldDriver { .. } => "the driver is too old",
        Trouble::NoGpu { .. } => "there is no GPU",
        Trouble::OldGpu => "the GPU is too old",
        Trouble::NoKernels { .. } => "there are no kernels for it",
        Trouble::OutOfMemory { message } | Trouble::Other { message } => message,
    }
}

/// A GPU that the driver shows to this program.
fn one(gpu: &CudaGpu, all: &[CudaGpu], gpus: Option<&Gpus>) -> Finding {
    let driver = gpus.and_then(|gpus| gpus.driver.as_deref());
    let name = format!("cuda:{} {}", gpu.index, gpu.name);
    match &gpu.check {
        Check::Silent => silent(&format!(
            "{name} does not answer: its kernels never came back"
        )),
        Check::Computed { kernels, free, .. } => {
            let wrong: Vec<String> = kernels
                .iter()
                .filter(|check| !check.sound)
                .map(|check| {
                    format!(
                        "{} {} (error {:.0e})",
                        check.dtype, check.precision, check.worst
                    )
                })
                .collect();
            if !wrong.is_empty() {
                return Finding::error(
                    TOPIC,
                    format!("{name} computes wrong results: {}", wrong.join(", ")),
                    format!(
                        "its answers cannot be trusted: --device cpu (or INFERNO_DEVICE=cpu) does without it; nvidia-smi -q -d \
                         ECC counts errors of its memory; if there are none, {REPORT}"
                    ),
                );
            }
            let worst = kernels.iter().map(|check| check.worst).fold(0.0, f64::max);
            let driver = driver.map_or(String::new(), |driver| format!("; driver {driver}"));
            Finding::ok(
                TOPIC,
                format!(
                    "{name} (compute capability {}, {} free of {}{driver}, {} or newer needed): {} products agree with plain \
                     Rust, largest error {worst:.0e}",
                    gpu.compute,
                    bytes(*free),
                    bytes(gpu.total),
                    NEEDS.driver,
                    kernels.len(),
                ),
            )
        }
        Check::Failed(trouble) => failed(gpu, &name, trouble, all),
    }
}

fn failed(gpu: &CudaGpu, name: &str, trouble: &Trouble, all: &[CudaGpu]) -> Finding {
    // Who names no device gets the first one, or the CPU.
    let other = all.iter().find(|other| {
        matches!(&other.check, Check::Computed { kernels, .. } if kernels.iter().all(|one| one.sound))
    });
    let instead = match other {
        Some(other) => format!(
            "--device cuda:{} (or INFERNO_DEVICE) computes on the {}",
            other.index, other.name
        ),
        None => "until then models run on the CPU".into(),
    };
    match trouble {
        Trouble::OldGpu => {
            let what = format!(
                "{name} has compute capability {}, and the kernels need {} or newer",
                gpu.compute,
                oldest()
            );
            match other {
                // The program takes the first by itself.
                Some(other) if other.index < gpu.index => {
                    Finding::note(TOPIC, what, format!("cuda:{} is used instead", other.index))
                }
                Some(_) => Finding::warning(TOPIC, what, instead),
                None => Finding::warning(
                    TOPIC,
                    what,
                    "models run on the CPU; GPUs since 2020 (A100, RTX 30) are new enough",
                ),
            }
        }
        Trouble::NoKernels { archs } => Finding::warning(
            TOPIC,
            format!(
                "{name} has compute capability {}, and this program was built for {archs} alone",
                gpu.compute
            ),
            format!(
                "build it for all GPUs: env -u INFERNO_CUDA_ARCHS cargo build --release --features cuda; {instead}"
            ),
        ),
        Trouble::OutOfMemory { message } => Finding::warning(
            TOPIC,
            format!("{name} has no memory left for the kernels: {message}"),
            format!("nvidia-smi shows which programs have it: end them; {instead}"),
        ),
        other => Finding::error(
            TOPIC,
            format!("{name} does not compute: {}", message(other)),
            format!(
                "does nvidia-smi show it? Then reboot, or install {}; {instead}",
                needed()
            ),
        ),
    }
}
