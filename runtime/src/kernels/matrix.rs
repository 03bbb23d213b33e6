//! Weight matrices as kernels see them.

use bytemuck::{NoUninit, Zeroable};

use super::DevicePtr;
use crate::weights::WeightDtype;

/// Most planes of a matrix.
pub(crate) const MAX_PLANES: usize = 4;

/// A matrix on the device: `Matrix` of matrix.cuh.
#[derive(Clone, Copy, Debug, NoUninit, Zeroable)]
#[repr(C)]
pub(crate) struct MatrixArg {
    pub(crate) planes: [DevicePtr; MAX_PLANES],
    pub(crate) rows: u32,
    pub(crate) cols: u32,
    pub(crate) dtype: u32,
    pub(crate) unused: u32,
}

/// The number of a storage type in kernels.
pub(crate) const fn dtype_number(dtype: WeightDtype) -> u32 {
    match dtype {
        WeightDtype::F32 => 0,
        WeightDtype::F16 => 1,
        WeightDtype::BF16 => 2,
        WeightDtype::Q4_0 => 3,
        WeightDtype::Q4_1 => 4,
        WeightDtype::Q5_0 => 5,
        WeightDtype::Q5_1 => 6,
        WeightDtype::Q8_0 => 7,
        WeightDtype::Q2K => 8,
        WeightDtype::Q3K => 9,
        WeightDtype::Q4K => 10,
        WeightDtype::Q5K => 11,
        WeightDtype::Q6K => 12,
        WeightDtype::Mxfp4 => 13,
    }
}

/// Bytes of a block in each plane. Types with fast kernels are repacked for them (repack.cu); the others lie as in the file.
pub(crate) const fn planes(dtype: WeightDtype) -> &'static [usize] {
    match dtype {
        WeightDtype::F32 => &[4],
        WeightDtype::F16 | WeightDtype::BF16 => &[2],
        WeightDtype::Q4_0 => &[16, 2],
        WeightDtype::Q8_0 => &[32, 2],
        WeightDtype::Q4K => &[128, 16],
        WeightDtype::Q6K => &[128, 64, 16, 2],
        WeightDtype::Mxfp4 => &[16, 1],
        WeightDtype::Q4_1 => &[20],
        WeightDtype::Q5_0 => &[22],
        WeightDtype::Q5_1 => &[24],
        WeightDtype::Q2K => &[84],
        WeightDtype::Q3K => &[110],
        WeightDtype::Q5K => &[176],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_are_a_block() {
        for dtype in WeightDtype::ALL {
            let parts = planes(dtype);
            assert_eq!(parts.iter().sum::<usize>(), dtype.block_bytes(), "{dtype}");
            assert!(parts.len() <= MAX_PLANES);
        }
    }
}
