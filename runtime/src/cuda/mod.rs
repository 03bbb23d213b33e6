//! NVIDIA GPUs: the driver, memory, launches and graphs, and the tape that a forward pass records.
//!
//! Only the driver is used (`libcuda`, opened when first called), so a build with this feature starts on any machine.
//! docs/cuda.md tells the design.

mod driver;
mod graph;
mod launch;
mod memory;

pub use driver::{DeviceInfo, Gpu, devices};
pub(crate) use graph::Graph;
pub(crate) use memory::Buffer;
