//! One matrix product, by each kernel and storage type.
//!
//! `cpu/<dtype>`: a matrix of 4096 x 4096 times a vector, activations exact or rounded to bytes. With the feature `cuda`
//! and a GPU `gpu/plain/<dtype>` and `gpu/decode/<dtype>`: the same there; `gpu/prompt/<dtype>`: the matrix times 2,048
//! tokens, whose elements a second are floating-point operations, two for each multiply-add. Bytes are the weights': they come
//! from memory, since copies that no cache holds take turns.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::cell::LazyCell;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use inferno_runtime::cpu::{PackedMatrix, Precision, random_matrix};
use inferno_runtime::device::DeviceError;
use inferno_runtime::weights::{Matrix, WeightDtype};

const SIZE: usize = 4096;
/// Bytes of all copies of a matrix: more than what the cores of a CPU reach of its last-level cache.
const ROTATION: usize = 256 << 20;

fn bytes(dtype: WeightDtype) -> usize {
    SIZE * dtype.row_bytes(SIZE).unwrap()
}

fn group<'a>(
    criterion: &'a mut Criterion,
    name: &str,
    throughput: Throughput,
) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group
        .throughput(throughput)
        .sampling_mode(SamplingMode::Flat)
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    group
}

fn copies(dtype: WeightDtype, precision: Precision) -> Vec<PackedMatrix> {
    let first = random_matrix(dtype, SIZE, SIZE, 1).unwrap();
    let copy = |_| {
        let matrix = Matrix::new(SIZE, SIZE, dtype, first.data().to_vec().into()).unwrap();
        PackedMatrix::new(matrix, precision).unwrap()
    };
    (0..ROTATION.div_ceil(bytes(dtype))).map(copy).collect()
}

fn cpu(criterion: &mut Criterion) {
    let x: Vec<f32> = (0..SIZE).map(|i| (i as f32).sin()).collect();
    let mut out = vec![0.0; SIZE];
    for dtype in WeightDtype::ALL {
        let throughput = Throughput::Bytes(bytes(dtype) as u64);
        let mut group = group(criterion, &format!("cpu/{dtype}"), throughput);
        for (precision, name) in [(Precision::Exact, "exact"), (Precision::Fast, "fast")] {
            // Floats have one kernel.
            if dtype.is_float() && precision == Precision::Fast {
                continue;
            }
            let matrices = LazyCell::new(|| copies(dtype, precision));
            let mut turn = 0;
            group.bench_function(name, |bencher| {
                let matrices = &*matrices;
                bencher.iter(|| {
                    turn = (turn + 1) % matrices.len();
                    matrices[turn].matmul(&x, 1, &mut out).unwrap();
                });
            });
        }
        group.finish();
    }
}

fn skipped(reason: &DeviceError) {
    eprintln!("SKIPPED gpu/*: {reason}");
}

#[cfg(not(feature = "cuda"))]
fn gpu(_: &mut Criterion) {
    skipped(&DeviceError::NotBuilt);
}

#[cfg(feature = "cuda")]
fn gpu(criterion: &mut Criterion) {
    use inferno_runtime::cuda::{Gpu, KernelFamily};
    use inferno_runtime::device::ComputeDtype;

    const PROMPT: u32 = 2048;
    let shape = (SIZE as u32, SIZE as u32);
    let gpu = match Gpu::open(0, ComputeDtype::default()) {
        Ok(gpu) => gpu,
        Err(error) => return skipped(&error),
    };
    for family in KernelFamily::ALL {
        for dtype in WeightDtype::ALL {
            if !family.serves(dtype, shape.1) {
                continue;
            }
            let (tokens, throughput) = match family {
                KernelFamily::Prompt => {
                    let operations = 2 * (SIZE * SIZE) as u64 * u64::from(PROMPT);
                    (PROMPT, Throughput::Elements(operations))
                }
                _ => (1, Throughput::Bytes(bytes(dtype) as u64)),
            };
            let name = format!("gpu/{}/{dtype}", family.name());
            let mut group = group(criterion, &name, throughput);
            let kernel = LazyCell::new(|| {
                let kernel = gpu.kernel(family, dtype, shape, tokens).unwrap();
                kernel.unwrap()
            });
            group.bench_function(format!("{tokens}"), |bencher| {
                let kernel = &*kernel;
                bencher.iter_custom(|times| {
                    let begin = std::time::Instant::now();
                    kernel.run(times).unwrap();
                    begin.elapsed()
                });
            });
            group.finish();
        }
    }
}

criterion_group!(benches, cpu, gpu);
criterion_main!(benches);
