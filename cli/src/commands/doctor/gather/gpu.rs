//! NVIDIA's GPUs, as the driver's own library (NVML, opened at run time) tells them.

use std::fs;
use std::path::Path;

use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};

use crate::commands::doctor::facts::{Gpu, Gpus};

/// Without a driver the answer says so; it is no failure.
pub(super) fn look() -> Gpus {
    let on_bus = cards_in(Path::new("/sys/bus/pci/devices"));
    match ask() {
        Ok(gpus) => Gpus { on_bus, ..gpus },
        Err(error) => Gpus {
            problem: Some(explain(&error)),
            on_bus,
            ..Gpus::default()
        },
    }
}

fn ask() -> Result<Gpus, NvmlError> {
    let nvml = Nvml::init()?;
    let version = |number: i32| format!("{}.{}", number / 1000, number % 1000 / 10);
    let mut devices = Vec::new();
    for index in 0..nvml.device_count()? {
        devices.push(describe(&nvml.device_by_index(index)?)?);
    }
    Ok(Gpus {
        driver: nvml.sys_driver_version().ok(),
        cuda: nvml.sys_cuda_driver_version().ok().map(version),
        devices,
        ..Gpus::default()
    })
}

fn describe(device: &Device<'_>) -> Result<Gpu, NvmlError> {
    let memory = device.memory_info()?;
    Ok(Gpu {
        name: device.name()?,
        compute: device
            .cuda_compute_capability()
            .ok()
            .map(|capability| format!("{}.{}", capability.major, capability.minor)),
        total: memory.total,
        free: memory.free,
    })
}

fn explain(error: &NvmlError) -> String {
    match error {
        NvmlError::LibloadingError(_) => "libnvidia-ml.so.1 is not on this machine".into(),
        other => other.to_string(),
    }
}

/// PCI devices of vendor NVIDIA (0x10de) and of class display controller (0x03....).
fn cards_in(devices: &Path) -> usize {
    let read = |path: &Path, name| fs::read_to_string(path.join(name)).unwrap_or_default();
    fs::read_dir(devices).map_or(0, |entries| {
        entries
            .flatten()
            .filter(|entry| {
                let path = entry.path();
                read(&path, "vendor").trim() == "0x10de" && read(&path, "class").starts_with("0x03")
            })
            .count()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_are_counted_by_vendor_and_class() {
        let bus = tempfile::tempdir().unwrap();
        for (name, vendor, class) in [
            ("gpu", "0x10de\n", "0x030200\n"),
            ("sound", "0x10de\n", "0x040300\n"),
            ("other", "0x8086\n", "0x030000\n"),
        ] {
            let device = bus.path().join(name);
            fs::create_dir(&device).unwrap();
            fs::write(device.join("vendor"), vendor).unwrap();
            fs::write(device.join("class"), class).unwrap();
        }
        assert_eq!(cards_in(bus.path()), 1);
        assert_eq!(cards_in(Path::new("/nonexistent")), 0);
    }

    #[test]
    fn asking_never_fails() {
        let gpus = look();
        assert!(gpus.problem.is_some() || gpus.driver.is_some(), "{gpus:?}");
    }
}
