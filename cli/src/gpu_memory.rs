//! Memory of a GPU as its driver counts it (NVML, opened at run time): with the context, the kernels and what the driver
//! keeps, of which the program itself knows nothing.

use nvml_wrapper::Nvml;
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use serde::Serialize;

/// The most that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Seen {
    pub(crate) bytes: u64,
    /// Whose: of this process alone, or of all, where the driver does not tell them apart (in a container).
    pub(crate) of: Whose,
}

/// Who uses memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Whose {
    Process,
    All,
}

/// Looks at one GPU when asked: looking goes on at no other time, for it would disturb what is measured.
pub(crate) struct Watch {
    nvml: Nvml,
    bus_id: String,
    most: Option<Seen>,
}

impl Watch {
    /// `None` where there is no NVML.
    pub(crate) fn of(bus_id: String) -> Option<Self> {
        let nvml = Nvml::init().ok()?;
        Some(Self {
            nvml,
            bus_id,
            most: None,
        })
    }

    /// Looks, and gives the most seen so far.
    pub(crate) fn look(&mut self) -> Option<Seen> {
        if let Ok(seen) = self.now() {
            self.most = Some(most(self.most, seen));
        }
        self.most
    }

    fn now(&self) -> Result<Seen, NvmlError> {
        let device = self.nvml.device_by_pci_bus_id(self.bus_id.as_str())?;
        let processes = device.running_compute_processes().unwrap_or_default();
        let processes = processes
            .iter()
            .map(|process| (process.pid, &process.used_gpu_memory));
        Ok(match of_process(processes, std::process::id()) {
            Some(bytes) => Seen {
                bytes,
                of: Whose::Process,
            },
            None => Seen {
                bytes: device.memory_info()?.used,
                of: Whose::All,
            },
        })
    }
}

/// The larger one; what is known of this process alone goes before what all use.
fn most(known: Option<Seen>, seen: Seen) -> Seen {
    match known {
        Some(known) if known.of == seen.of => Seen {
            bytes: known.bytes.max(seen.bytes),
            ..seen
        },
        Some(known) if known.of == Whose::Process => known,
        _ => seen,
    }
}

fn of_process<'a>(
    mut processes: impl Iterator<Item = (u32, &'a UsedGpuMemory)>,
    id: u32,
) -> Option<u64> {
    match processes.find(|process| process.0 == id)?.1 {
        UsedGpuMemory::Used(bytes) => Some(*bytes),
        UsedGpuMemory::Unavailable => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_is_kept_and_a_process_goes_before_all() {
        let seen = |bytes, of| Seen { bytes, of };
        let (one, all) = (Whose::Process, Whose::All);
        assert_eq!(most(None, seen(5, all)), seen(5, all));
        assert_eq!(most(Some(seen(5, one)), seen(3, one)), seen(5, one));
        assert_eq!(most(Some(seen(5, one)), seen(9, all)), seen(5, one));
        assert_eq!(most(Some(seen(9, all)), seen(5, one)), seen(5, one));
    }

    #[test]
    fn a_process_is_found_by_its_id() {
        let (used, unknown) = (UsedGpuMemory::Used(7), UsedGpuMemory::Unavailable);
        let all = [(1, &used), (2, &unknown)];
        assert_eq!(of_process(all.into_iter(), 1), Some(7));
        assert_eq!(of_process(all.into_iter(), 2), None);
        assert_eq!(of_process(all.into_iter(), 3), None);
    }
}
