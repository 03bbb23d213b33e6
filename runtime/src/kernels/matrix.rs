//! Weight matrices as kernels see them.

use bytemuck::{NoUninit, Zeroable};

use super::{DevicePtr, Launch};
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

/// What of a block lies in each plane: first byte and bytes. One plane of whole blocks where 16-byte loads need no more.
pub(crate) const fn planes(dtype: WeightDtype) -> &'static [(u32, u32)] {
    match dtype {
        WeightDtype::F32 => &[(0, 4)],
        WeightDtype::F16 | WeightDtype::BF16 => &[(0, 2)],
        WeightDtype::Q4_0 => &[(2, 16), (0, 2)],
        WeightDtype::Q8_0 => &[(2, 32), (0, 2)],
        WeightDtype::Mxfp4 => &[(1, 16), (0, 1)],
        WeightDtype::Q6K => &[(0, 128), (128, 64), (192, 16), (208, 2)],
        WeightDtype::Q4_1 => &[(0, 20)],
        WeightDtype::Q5_0 => &[(0, 22)],
        WeightDtype::Q5_1 => &[(0, 24)],
        WeightDtype::Q2K => &[(0, 84)],
        WeightDtype::Q3K => &[(0, 110)],
        WeightDtype::Q4K => &[(0, 144)],
        WeightDtype::Q5K => &[(0, 176)],
    }
}

#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct SplitParams {
    blocks: DevicePtr,
    planes: [DevicePtr; MAX_PLANES],
    first: u64,
    count: u64,
    block_bytes: u32,
    plane_count: u32,
    start: [u32; MAX_PLANES],
    bytes: [u32; MAX_PLANES],
}

/// Spreads `count` whole blocks over the planes of a matrix, from its block `first` on.
pub(crate) fn split(dtype: WeightDtype, blocks: DevicePtr, matrix: &MatrixArg, first: u64, count: u64) -> Launch {
    let parts = planes(dtype);
    let block_bytes = dtype.block_bytes() as u32;
    let mut params = SplitParams {
        blocks,
        planes: matrix.planes,
        first,
        count,
        block_bytes,
        plane_count: parts.len() as u32,
        start: [0; MAX_PLANES],
        bytes: [0; MAX_PLANES],
    };
    for (k, (start, bytes)) in parts.iter().enumerate() {
        (params.start[k], params.bytes[k]) = (*start, *bytes);
    }
    Launch::new("split_blocks", super::blocks_for(count * u64::from(block_bytes)), super::THREADS, &params)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_are_a_block() {
        for dtype in WeightDtype::ALL {
            let mut parts = planes(dtype).to_vec();
            parts.sort_unstable();
            let end = parts.iter().fold(0, |end, (start, bytes)| {
                assert_eq!(end, *start, "{dtype}");
                start + bytes
            });
            assert_eq!(end as usize, dtype.block_bytes(), "{dtype}");
            assert!(parts.len() <= MAX_PLANES);
        }
    }
}
