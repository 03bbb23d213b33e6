//! Our CUDA kernels: `<op>.cu` beside `<op>.rs`.
//!
//! The Rust side is a pure function from arguments to [`Launch`]es, tested without a GPU, and a plain twin that says what
//! the kernel computes. A kernel takes one struct of parameters by value. docs/cuda.md has the rules.

pub(crate) mod attention;
pub(crate) mod attention_decode;
pub(crate) mod attention_prefill;
pub(crate) mod bandwidth;
pub(crate) mod decode;
pub(crate) mod dequantize;
pub(crate) mod elementwise;
pub(crate) mod experts_prefill;
pub(crate) mod gemm;
pub(crate) mod gemv;
pub(crate) mod linear;
pub(crate) mod matrix;
pub(crate) mod moe_decode;
pub(crate) mod norm;
pub(crate) mod norm_prefill;
pub(crate) mod random;
pub(crate) mod repack;
pub(crate) mod rope_append_prefill;
pub(crate) mod router;
pub(crate) mod sample;
#[cfg(test)]
pub(crate) mod testing;

use bytemuck::{NoUninit, Pod, Zeroable};

/// Compiled kernels: stem of the `.cu` file and its fatbin.
pub(crate) static FATBINS: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/fatbins.rs"));

/// Lanes of a warp.
pub(crate) const WARP: u32 = 32;

/// Threads of a block where nothing else decides.
pub(crate) const THREADS: u32 = 256;

/// Blocks of [`THREADS`] for so many elements; kernels go on where the grid ends.
pub(crate) fn blocks_for(count: u64) -> [u32; 3] {
    [count.div_ceil(u64::from(THREADS)).min(1 << 16) as u32, 1, 1]
}

/// An address on the device; 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(transparent)]
pub struct DevicePtr(pub u64);

impl DevicePtr {
    /// No address.
    pub const NULL: Self = Self(0);

    /// The address so many bytes further.
    #[must_use]
    pub const fn offset(self, bytes: usize) -> Self {
        Self(self.0 + bytes as u64)
    }

    /// Whether it is none.
    #[must_use]
    pub const fn is_null(self) -> bool {
        self.0 == 0
    }
}

/// What launches depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceFacts {
    /// (9, 0) of an H100.
    pub compute_capability: (u32, u32),
    /// Multiprocessors.
    pub sms: u32,
    /// Bytes of shared memory that a block can have.
    pub shared_per_block: u32,
    /// Bytes of the second-level cache.
    pub l2_bytes: u32,
}

impl DeviceFacts {
    /// Whether kernels may start before their predecessors end: only where our machine code, not PTX of an older
    /// generation, runs.
    #[must_use]
    pub const fn pdl(&self) -> bool {
        matches!(self.compute_capability, (9, 0))
    }
}

/// One kernel launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The kernel's name, unlike any other in all `.cu` files.
    pub kernel: &'static str,
    /// Blocks; with a 0 nothing is launched.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: u32,
    /// Bytes of dynamic shared memory.
    pub shared: u32,
    /// Whether it may start before its predecessor ends: then the kernel executes griddepcontrol.wait.
    pub pdl: bool,
    /// The parameter struct.
    pub params: Vec<u8>,
    /// Matrices that the kernel reads by the copy engine; their descriptions go into `params`.
    pub tensor_maps: Vec<TensorMap>,
}

/// A matrix of 16-bit numbers as the copy engine (TMA) sees it. What lies outside is read as zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorMap {
    /// Where in the parameters its 128 bytes belong; a multiple of 128.
    pub offset: usize,
    /// A multiple of 16.
    pub address: DevicePtr,
    /// Rows that exist.
    pub rows: u64,
    /// Numbers in a row.
    pub cols: u64,
    /// Bytes from row to row; a multiple of 16.
    pub row_bytes: u64,
    /// Rows of the boxes that are read, at most 256; a box is 64 numbers (128 bytes) wide.
    pub box_rows: u32,
    /// Of what type they are.
    pub half: Half,
}

/// The 16-bit types that tensor cores multiply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Half {
    /// The upper half of an f32.
    Bf16,
    /// IEEE 754 half precision.
    F16,
}

impl Launch {
    /// A launch that may start early, without dynamic shared memory.
    pub(crate) fn new<P: NoUninit>(
        kernel: &'static str,
        grid: [u32; 3],
        block: u32,
        params: &P,
    ) -> Self {
        let params = bytemuck::bytes_of(params).to_vec();
        Self {
            kernel,
            grid,
            block,
            shared: 0,
            pdl: true,
            params,
            tensor_maps: Vec::new(),
        }
    }

    /// A launch that starts when its predecessor has ended. The plain kernels are so: they read activations through the
    /// first-level cache, which an early start would let hold what a kernel before the predecessor has read there.
    pub(crate) fn alone<P: NoUninit>(
        kernel: &'static str,
        grid: [u32; 3],
        block: u32,
        params: &P,
    ) -> Self {
        Self {
            pdl: false,
            ..Self::new(kernel, grid, block, params)
        }
    }

    /// The same with dynamic shared memory.
    #[must_use]
    pub(crate) fn shared(self, bytes: u32) -> Self {
        Self {
            shared: bytes,
            ..self
        }
    }

    /// The same with matrices for the copy engine.
    #[must_use]
    pub(crate) fn tensor_maps(self, tensor_maps: Vec<TensorMap>) -> Self {
        Self {
            tensor_maps,
            ..self
        }
    }
}
