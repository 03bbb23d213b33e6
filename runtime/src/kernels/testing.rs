//! What tests of kernels share. Without a GPU they say SKIPPED and pass.

use std::io::Write as _;
use std::sync::{Arc, OnceLock};

use bytemuck::Pod;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{Half, Launch};
use crate::cuda::{self, Buffer};
use crate::device::ComputeDtype;

/// The first GPU.
pub(crate) struct Gpu(pub(crate) Arc<cuda::Gpu>);

impl Gpu {
    /// `None`, said aloud, where there is none.
    pub(crate) fn get() -> Option<Self> {
        static OPENED: OnceLock<Option<Arc<cuda::Gpu>>> = OnceLock::new();
        let opened = OPENED.get_or_init(|| match cuda::Gpu::open(0, ComputeDtype::F32) {
            Ok(gpu) => Some(gpu),
            Err(error) => {
                // Not `eprintln!`, which the test harness hides.
                let _ = writeln!(
                    std::io::stderr(),
                    "SKIPPED: tests of kernels need a GPU: {error}"
                );
                None
            }
        });
        opened.clone().map(Self)
    }

    pub(crate) fn upload<T: Pod>(&self, values: &[T]) -> Buffer {
        Buffer::of(&self.0, values, "a test").unwrap()
    }

    /// Memory for f32 numbers, all NaN until somebody writes there.
    pub(crate) fn poisoned(&self, count: usize) -> Buffer {
        self.poisoned_bytes(count * 4)
    }

    /// Memory with all bits set.
    pub(crate) fn poisoned_bytes(&self, bytes: usize) -> Buffer {
        let buffer = Buffer::new(&self.0, bytes, "a test").unwrap();
        buffer.fill(0xff).unwrap();
        buffer
    }

    pub(crate) fn run(&self, launches: &[Launch]) {
        self.0.launch(launches).unwrap();
        self.0.synchronize().unwrap();
    }

    pub(crate) fn download<T: Pod>(&self, buffer: &Buffer) -> Vec<T> {
        buffer.read(0, buffer.bytes() / size_of::<T>()).unwrap()
    }
}

/// Nearly normal numbers that the seed determines.
pub(crate) fn random(seed: u64, count: usize) -> Vec<f32> {
    let mut rng = StdRng::seed_from_u64(seed);
    (0..count)
        .map(|_| (0..4).map(|_| rng.random_range(-1.0_f32..1.0)).sum())
        .collect()
}

/// Numbers rounded to a 16-bit type, and their bits.
pub(crate) fn halves(half: Half, values: &[f32]) -> (Vec<f32>, Vec<u16>) {
    let round = |x: &f32| match half {
        Half::Bf16 => (
            half::bf16::from_f32(*x).to_f32(),
            half::bf16::from_f32(*x).to_bits(),
        ),
        Half::F16 => (
            half::f16::from_f32(*x).to_f32(),
            half::f16::from_f32(*x).to_bits(),
        ),
    };
    values.iter().map(round).unzip()
}

/// The largest difference is at most `tolerance` of the largest expected number, and nothing is NaN.
#[track_caller]
pub(crate) fn assert_close(found: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected
        .iter()
        .fold(f32::MIN_POSITIVE, |max, x| max.max(x.abs()));
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(
            (found - expected).abs() <= tolerance * scale,
            "{what}: at {i} {found}, not {expected}"
        );
    }
}
