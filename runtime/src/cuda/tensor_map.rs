//! Descriptions of matrices for the copy engine.

use cudarc::driver::sys::{
    self, CUtensorMap, CUtensorMapDataType as DataType, CUtensorMapFloatOOBfill as Outside,
    CUtensorMapInterleave as Interleave, CUtensorMapL2promotion as Promotion,
    CUtensorMapSwizzle as Swizzle,
};

use super::driver::check;
use crate::device::DeviceError;
use crate::kernels::{Half, TensorMap};

/// Numbers in a row of a box: 128 bytes, over which the copy engine swizzles.
const BOX_COLS: u32 = 64;

/// The 128 bytes that a kernel takes. Only the driver knows their meaning.
pub(super) fn encode(map: &TensorMap) -> Result<[u8; 128], DeviceError> {
    let mut encoded = CUtensorMap { opaque: [0; 16] };
    let data_type = match map.half {
        Half::Bf16 => DataType::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
        Half::F16 => DataType::CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
    };
    let (sizes, strides) = ([map.cols, map.rows], [map.row_bytes]);
    let (boxes, steps) = ([BOX_COLS, map.box_rows], [1, 1]);
    // SAFETY: all arrays are as long as a matrix of two dimensions needs. The driver checks the numbers and reads nothing at
    // the address.
    let result = unsafe {
        sys::cuTensorMapEncodeTiled(
            &raw mut encoded,
            data_type,
            2,
            map.address.0 as *mut _,
            sizes.as_ptr(),
            strides.as_ptr(),
            boxes.as_ptr(),
            steps.as_ptr(),
            Interleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
            Swizzle::CU_TENSOR_MAP_SWIZZLE_128B,
            Promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
            Outside::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
        )
    };
    check("cuTensorMapEncodeTiled", result)?;
    Ok(bytemuck::cast(encoded.opaque))
}
