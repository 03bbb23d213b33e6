//! NVIDIA GPUs: the driver, memory, launches and graphs, and the tape that a forward pass records.
//!
//! Only the driver is used (`libcuda`, opened when first called), so a build with this feature starts on any machine.
//! docs/cuda.md tells the design.

mod ahead;
mod arena;
mod bandwidth;
mod cache;
mod check;
mod driver;
mod event;
mod fast;
mod graph;
mod launch;
mod loader;
mod lower;
mod matrix;
mod memory;
mod plan;
mod product;
mod run;
mod sample;
mod tape;
mod tensor_map;

pub(crate) use ahead::greedy;
pub(crate) use cache::DeviceCache;
pub use driver::{Gpu, devices};
pub(crate) use graph::Graph;
pub(crate) use launch::ARCHS;
pub(crate) use loader::Loader;
pub(crate) use matrix::DeviceMatrix;
pub(crate) use memory::Buffer;
pub use product::{GpuKernel, KernelFamily};
pub(crate) use run::{DeviceLogits, Replay, finish, remember, replay};
pub(crate) use sample::{DeviceRow, DeviceSampler};
pub(crate) use tape::{
    AttendOptions, DeviceExperts, TapeHeadNorm, TapeLinear, TapeNorm, TapeOp, Value,
};
