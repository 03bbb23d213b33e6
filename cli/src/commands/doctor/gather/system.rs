//! Operating system and processor, as Linux tells them in files; elsewhere what Rust knows.

use std::fs;
use std::path::Path;

use inferno_runtime::cpu::{self, Level};
use inferno_runtime::machine;

use crate::commands::doctor::facts::{Cpu, Memory, System};

pub(super) fn system() -> System {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    System {
        name: value_of(&release, "PRETTY_NAME", '=')
            .map_or_else(|| std::env::consts::OS.to_string(), str::to_string),
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
            .ok()
            .map(|kernel| kernel.trim().to_string()),
        arch: std::env::consts::ARCH,
        container: container(),
    }
}

/// Marks that container runtimes leave.
fn container() -> Option<&'static str> {
    for mark in ["/.dockerenv", "/run/.containerenv"] {
        if Path::new(mark).exists() {
            return Some(mark);
        }
    }
    std::env::var_os("KUBERNETES_SERVICE_HOST").map(|_| "KUBERNETES_SERVICE_HOST")
}

pub(super) fn cpu() -> Cpu {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = value_of(&info, "flags", ':').unwrap_or_default();
    Cpu {
        name: value_of(&info, "model name", ':').map(str::to_string),
        processors: match info.matches("\nprocessor").count()
            + usize::from(info.starts_with("processor"))
        {
            0 => None,
            count => Some(count),
        },
        usable: std::thread::available_parallelism().map_or(1, usize::from),
        threads: cpu::threads(),
        features: features(flags),
        level: match Level::best() {
            Level::Scalar => "plain Rust",
            Level::Avx2 => "AVX2",
            Level::Avx512 => "AVX-512",
            Level::Vnni => "AVX-512 VNNI",
        },
    }
}

pub(super) fn memory() -> Option<Memory> {
    machine::memory().map(|memory| Memory {
        total: memory.total,
        available: memory.available,
    })
}

/// The instruction sets that kernels are written for, and one that would be worth writing for.
fn features(flags: &str) -> Vec<&'static str> {
    let has = |wanted: &[&str]| {
        wanted
            .iter()
            .all(|wanted| flags.split_whitespace().any(|flag| flag == *wanted))
    };
    [
        ("AVX2", &["avx2", "fma", "f16c"][..]),
        ("AVX-512", &["avx512f", "avx512bw", "avx512dq", "avx512vl"]),
        ("VNNI", &["avx512_vnni"]),
        ("AMX", &["amx_tile", "amx_int8"]),
    ]
    .into_iter()
    .filter(|(_, wanted)| has(wanted))
    .map(|(name, _)| name)
    .collect()
}

/// The first value of a key in lines of `key <separator> value`, without quotes.
fn value_of<'a>(text: &'a str, key: &str, separator: char) -> Option<&'a str> {
    let value = text.lines().find_map(|line| {
        let (found, value) = line.split_once(separator)?;
        (found.trim() == key).then(|| value.trim().trim_matches('"'))
    });
    value.filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_key() {
        let text = "processor\t: 0\nmodel name\t: A CPU\nmodel name\t: B\nempty\t:\n";
        assert_eq!(value_of(text, "model name", ':'), Some("A CPU"));
        assert_eq!(value_of(text, "model", ':'), None);
        assert_eq!(value_of(text, "empty", ':'), None);
        assert_eq!(
            value_of("NAME=x\nPRETTY_NAME=\"An OS 1\"\n", "PRETTY_NAME", '='),
            Some("An OS 1")
        );
    }

    #[test]
    fn features_need_all_their_flags() {
        assert_eq!(features("sse avx2 fma"), Vec::<&str>::new());
        assert_eq!(features("avx2 fma f16c avx512_vnni"), ["AVX2", "VNNI"]);
    }
}
