//! Kernels by name, and their launches.

use std::borrow::Cow;
use std::ffi::{CString, c_void};
use std::sync::PoisonError;

use cudarc::driver::sys::{self, CUfunction_attribute as Attribute, CUresult};

use super::Gpu;
use super::driver::check;
use super::tensor_map;
use crate::device::DeviceError;
use crate::kernels::{FATBINS, Launch};

/// The generations that the kernels were compiled for, by commas.
pub(crate) const ARCHS: &str = env!("INFERNO_BUILT_FOR");

/// A kernel of a loaded module.
#[derive(Clone, Copy)]
pub(super) struct Function(sys::CUfunction);

// SAFETY: a handle of the driver, good in any thread while its module is loaded.
unsafe impl Send for Function {}

impl Gpu {
    pub(super) fn load_modules(&mut self) -> Result<(), DeviceError> {
        self.bind()?;
        for (_, fatbin) in FATBINS {
            let mut module = std::ptr::null_mut();
            // SAFETY: the compiler's own fatbin, whole.
            let loaded = unsafe { sys::cuModuleLoadData(&raw mut module, fatbin.as_ptr().cast()) };
            if loaded == CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU {
                let (major, minor) = self.facts().compute_capability;
                return Err(DeviceError::NoKernels {
                    name: self.name().into(),
                    major,
                    minor,
                    archs: ARCHS,
                });
            }
            check("cuModuleLoadData", loaded)?;
            self.modules.push(module);
        }
        Ok(())
    }

    fn function(&self, name: &'static str) -> Result<Function, DeviceError> {
        let mut functions = self
            .functions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(function) = functions.get(name) {
            return Ok(*function);
        }
        let missing = || DeviceError::Unsupported(format!("the kernel {name}"));
        let symbol = CString::new(name).map_err(|_| missing())?;
        for module in &self.modules {
            let mut function = std::ptr::null_mut();
            // SAFETY: a valid place, a loaded module, a string that ends with a zero.
            let found =
                unsafe { sys::cuModuleGetFunction(&raw mut function, *module, symbol.as_ptr()) };
            if found == CUresult::CUDA_ERROR_NOT_FOUND {
                continue;
            }
            check("cuModuleGetFunction", found)?;
            self.allow_shared(function)?;
            functions.insert(name, Function(function));
            return Ok(Function(function));
        }
        Err(missing())
    }

    /// Lets a kernel have all the shared memory that a block can get.
    fn allow_shared(&self, function: sys::CUfunction) -> Result<(), DeviceError> {
        let mut fixed = 0;
        let (stat, dynamic) = (
            Attribute::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES,
            Attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
        );
        // SAFETY: a valid place and a loaded function.
        check("cuFuncGetAttribute", unsafe {
            sys::cuFuncGetAttribute(&raw mut fixed, stat, function)
        })?;
        let rest = self
            .facts()
            .shared_per_block
            .cast_signed()
            .saturating_sub(fixed);
        // SAFETY: a loaded function.
        check("cuFuncSetAttribute", unsafe {
            sys::cuFuncSetAttribute(function, dynamic, rest)
        })
    }

    /// Finds the kernels of launches before they are needed.
    pub(super) fn prepare(&self, launches: &[Launch]) -> Result<(), DeviceError> {
        launches
            .iter()
            .try_for_each(|launch| self.function(launch.kernel).map(|_| ()))
    }

    /// Puts launches on the stream, one after the other.
    pub(crate) fn launch(&self, launches: &[Launch]) -> Result<(), DeviceError> {
        self.bind()?;
        launches
            .iter()
            .try_for_each(|launch| self.launch_one(launch))
    }

    fn launch_one(&self, launch: &Launch) -> Result<(), DeviceError> {
        if launch.grid.contains(&0) {
            return Ok(());
        }
        let function = self.function(launch.kernel)?;
        let mut attribute = sys::CUlaunchAttribute {
            id: sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
            pad: [0; 4],
            value: sys::CUlaunchAttributeValue {
                programmaticStreamSerializationAllowed: 1,
            },
        };
        let config = sys::CUlaunchConfig {
            gridDimX: launch.grid[0],
            gridDimY: launch.grid[1],
            gridDimZ: launch.grid[2],
            blockDimX: launch.block,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: launch.shared,
            hStream: self.stream,
            attrs: &raw mut attribute,
            numAttrs: u32::from(launch.pdl && self.facts().pdl()),
        };
        let params = with_tensor_maps(launch)?;
        let mut params: *mut c_void = params.as_ptr().cast_mut().cast();
        // SAFETY: the kernel takes one struct by value, which its launch function has written whole; the driver copies it.
        // Device addresses in it are of buffers that whoever made the list keeps alive until the stream is done.
        let result = unsafe {
            sys::cuLaunchKernelEx(
                &raw const config,
                function.0,
                &raw mut params,
                std::ptr::null_mut(),
            )
        };
        check(launch.kernel, result)
    }
}

/// The parameters, with the descriptions of matrices filled in.
fn with_tensor_maps(launch: &Launch) -> Result<Cow<'_, [u8]>, DeviceError> {
    let mut params = Cow::Borrowed(&launch.params[..]);
    for map in &launch.tensor_maps {
        let bytes = tensor_map::encode(map)?;
        if let Some(place) = params
            .to_mut()
            .get_mut(map.offset..)
            .and_then(|rest| rest.first_chunk_mut())
        {
            *place = bytes;
        }
    }
    Ok(params)
}
