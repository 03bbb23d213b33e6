//! What this machine has.

use std::path::Path;

/// Memory of the machine, or of the container that the program runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Bytes in all.
    pub total: u64,
    /// Bytes that programs may still take.
    pub available: u64,
}

/// How much memory there is; `None` where the operating system does not say.
#[must_use]
pub fn memory() -> Option<Memory> {
    let physical = meminfo(&std::fs::read_to_string("/proc/meminfo").ok()?)?;
    let file = |name| {
        let text = std::fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok()?;
        // `max`: no limit.
        text.trim().parse::<u64>().ok()
    };
    Some(within(physical, file("memory.max"), file("memory.current")))
}

/// Bytes that this user may still write to the disk of a folder, which need not be there yet; `None` where the operating
/// system does not say.
#[must_use]
pub fn disk_free(folder: &Path) -> Option<u64> {
    // The disk is that of the first folder above that is there.
    folder
        .ancestors()
        .find_map(|folder| fs4::available_space(folder).ok())
}

fn meminfo(text: &str) -> Option<Memory> {
    let bytes = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
        kilobytes.checked_mul(1024)
    };
    Some(Memory {
        total: bytes("MemTotal:")?,
        available: bytes("MemAvailable:")?,
    })
}

/// A container's limit on top of what the machine has.
fn within(physical: Memory, limit: Option<u64>, used: Option<u64>) -> Memory {
    let Some(limit) = limit else { return physical };
    Memory {
        total: physical.total.min(limit),
        available: physical
            .available
            .min(limit.saturating_sub(used.unwrap_or(0))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_has_what_its_limit_leaves() {
        let text = "MemTotal:       16000000 kB\nMemFree: 1 kB\nMemAvailable:    8000000 kB\n";
        let physical = meminfo(text).expect("parses");
        assert_eq!(physical.total, 16_384_000_000);
        assert_eq!(within(physical, None, None), physical);
        let limited = within(physical, Some(4_000_000_000), Some(1_000_000_000));
        assert_eq!(
            limited,
            Memory {
                total: 4_000_000_000,
                available: 3_000_000_000
            }
        );
        assert_eq!(meminfo("nonsense"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_machine_has_memory() {
        let memory = memory().expect("Linux says");
        assert!(memory.total > 0 && memory.available <= memory.total);
    }
}
