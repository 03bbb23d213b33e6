//! The CPU path: a thread pool, matrix products over packed weights, and vector helpers.
//!
//! The default build runs on any x86-64 or aarch64. Faster instructions (AVX2 with FMA, AVX-512, VNNI) are found at run
//! time, see [`Level`]; every kernel has a plain Rust twin at [`Level::Scalar`] that tests compare it with.

#![expect(
    clippy::needless_range_loop,
    reason = "tiles of registers and lanes of rows are indexed alike in several arrays"
)]

mod blocks;
mod float;
mod level;
mod output;
mod packed;
mod pool;
pub(crate) mod self_test;
mod vector;

pub use level::Level;
pub use packed::{PackedMatrix, Precision};
pub use pool::{parallel, set_threads, threads};
pub use self_test::{KernelCheck, random_matrix, self_test};
pub use vector::{
    add, axpy, dot, exp_in_place, exp_minus, gelu, gelu_tanh, max, mul, scale, sigmoid, silu, sum,
    sum_squares, tanh,
};

#[cfg(test)]
pub(crate) mod testing;
