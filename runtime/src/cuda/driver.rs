//! The driver and its devices.

use std::collections::HashMap;
use std::ffi::{CStr, c_int};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use cudarc::driver::sys::{self, CUdevice_attribute as Attribute, CUresult};

use super::launch::Function;
use crate::device::{ComputeDtype, DeviceError, GpuInfo, NEEDS};
use crate::kernels::DeviceFacts;

/// Fails with what the driver says.
pub(super) fn check(call: &'static str, result: CUresult) -> Result<(), DeviceError> {
    if result == CUresult::CUDA_SUCCESS {
        return Ok(());
    }
    let mut text = std::ptr::null();
    // SAFETY: `text` is a valid place; the driver is loaded, for it gave `result`.
    let found = unsafe { sys::cuGetErrorString(result, &raw mut text) };
    let message = if found == CUresult::CUDA_SUCCESS && !text.is_null() {
        // SAFETY: the driver's strings are static and end with a zero.
        unsafe { CStr::from_ptr(text) }
            .to_string_lossy()
            .into_owned()
    } else {
        format!("{result:?}")
    };
    Err(DeviceError::Driver { call, message })
}

/// Loads and initializes the driver, once a call; cheap when it is loaded already.
fn init() -> Result<(), DeviceError> {
    // SAFETY: looks for the library and loads it.
    if !unsafe { sys::is_culib_present() } {
        return Err(DeviceError::NoDriver {
            driver: NEEDS.driver,
        });
    }
    // SAFETY: no other requirement than the library.
    let started = unsafe { sys::cuInit(0) };
    if started == CUresult::CUDA_ERROR_NO_DEVICE {
        return Err(DeviceError::NoDevice { index: 0, count: 0 });
    }
    check("cuInit", started)?;
    let version = version()?;
    if version < NEEDS.cuda {
        return Err(DeviceError::OldDriver {
            found: format!("{}.{}", version.0, version.1),
            needed: format!("{}.{}", NEEDS.cuda.0, NEEDS.cuda.1),
            driver: NEEDS.driver,
        });
    }
    Ok(())
}

/// The newest CUDA version that the driver supports.
fn version() -> Result<(u32, u32), DeviceError> {
    let mut version = 0;
    // SAFETY: a valid place, a loaded driver.
    check("cuDriverGetVersion", unsafe {
        sys::cuDriverGetVersion(&raw mut version)
    })?;
    let version = version.unsigned_abs();
    Ok((version / 1000, version % 1000 / 10))
}

fn count() -> Result<usize, DeviceError> {
    let mut count = 0;
    // SAFETY: a valid place, an initialized driver.
    check("cuDeviceGetCount", unsafe {
        sys::cuDeviceGetCount(&raw mut count)
    })?;
    Ok(count.unsigned_abs() as usize)
}

/// The GPUs of this machine, as the driver lists them.
///
/// # Errors
/// If there is no driver, or one too old.
pub fn devices() -> Result<Vec<GpuInfo>, DeviceError> {
    init()?;
    let driver_cuda = version()?;
    (0..count()?)
        .map(|index| {
            let device = Device::get(index)?;
            Ok(GpuInfo {
                index,
                name: device.name()?,
                compute_capability: device.compute_capability()?,
                memory: device.memory()?,
                driver_cuda,
            })
        })
        .collect()
}

/// A device as the driver numbers it.
#[derive(Clone, Copy)]
struct Device(sys::CUdevice);

impl Device {
    fn get(index: usize) -> Result<Self, DeviceError> {
        let count = count()?;
        let ordinal = c_int::try_from(index).ok().filter(|_| index < count);
        let ordinal = ordinal.ok_or(DeviceError::NoDevice { index, count })?;
        let mut device = 0;
        // SAFETY: a valid place, an initialized driver.
        check("cuDeviceGet", unsafe {
            sys::cuDeviceGet(&raw mut device, ordinal)
        })?;
        Ok(Self(device))
    }

    fn name(self) -> Result<String, DeviceError> {
        let mut text = [0; 256];
        // SAFETY: the driver writes at most the length given, ending with a zero.
        check("cuDeviceGetName", unsafe {
            sys::cuDeviceGetName(text.as_mut_ptr(), 256, self.0)
        })?;
        let bytes: Vec<u8> = text
            .iter()
            .take_while(|c| **c != 0)
            .map(|c| c.cast_unsigned())
            .collect();
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn memory(self) -> Result<u64, DeviceError> {
        let mut bytes = 0;
        // SAFETY: a valid place.
        check("cuDeviceTotalMem", unsafe {
            sys::cuDeviceTotalMem_v2(&raw mut bytes, self.0)
        })?;
        Ok(bytes as u64)
    }

    fn attribute(self, attribute: Attribute) -> Result<u32, DeviceError> {
        let mut value = 0;
        // SAFETY: a valid place.
        let result = unsafe { sys::cuDeviceGetAttribute(&raw mut value, attribute, self.0) };
        check("cuDeviceGetAttribute", result)?;
        Ok(value.unsigned_abs())
    }

    fn compute_capability(self) -> Result<(u32, u32), DeviceError> {
        Ok((
            self.attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            self.attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        ))
    }

    fn facts(self) -> Result<DeviceFacts, DeviceError> {
        Ok(DeviceFacts {
            compute_capability: self.compute_capability()?,
            sms: self.attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
            shared_per_block: self
                .attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?,
            l2_bytes: self.attribute(Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)?,
        })
    }
}

/// An opened GPU: its context, one stream for all work, and the kernels.
pub struct Gpu {
    index: usize,
    device: Device,
    context: sys::CUcontext,
    pub(super) stream: sys::CUstream,
    facts: DeviceFacts,
    name: String,
    memory: u64,
    dtype: ComputeDtype,
    /// Of the fatbins, in their order.
    pub(super) modules: Vec<sys::CUmodule>,
    pub(super) functions: Mutex<HashMap<&'static str, Function>>,
    /// Bytes allocated now, and the most so far.
    pub(super) allocated: [AtomicU64; 2],
}

// SAFETY: handles of the driver may be used from any thread; each use makes the context current first.
unsafe impl Send for Gpu {}
// SAFETY: as above; the driver locks, and so does `functions`.
unsafe impl Sync for Gpu {}

impl Gpu {
    /// Opens a GPU and loads the kernels.
    ///
    /// # Errors
    /// If there is no driver or no such GPU, or one of them is too old.
    pub fn open(index: usize, dtype: ComputeDtype) -> Result<Arc<Self>, DeviceError> {
        init()?;
        let device = Device::get(index)?;
        let (name, facts) = (device.name()?, device.facts()?);
        let (major, minor) = facts.compute_capability;
        if (major, minor) < NEEDS.compute_capability {
            return Err(DeviceError::OldDevice { name, major, minor });
        }
        let mut context = std::ptr::null_mut();
        // SAFETY: a valid place; `drop` releases it.
        check("cuDevicePrimaryCtxRetain", unsafe {
            sys::cuDevicePrimaryCtxRetain(&raw mut context, device.0)
        })?;
        let mut gpu = Self {
            index,
            device,
            context,
            stream: std::ptr::null_mut(),
            facts,
            name,
            memory: device.memory()?,
            dtype,
            modules: Vec::new(),
            functions: Mutex::default(),
            allocated: [AtomicU64::new(0), AtomicU64::new(0)],
        };
        gpu.bind()?;
        let flags = sys::CUstream_flags_enum::CU_STREAM_NON_BLOCKING as u32;
        // SAFETY: a valid place, a current context.
        check("cuStreamCreate", unsafe {
            sys::cuStreamCreate(&raw mut gpu.stream, flags)
        })?;
        gpu.load_modules()?;
        Ok(Arc::new(gpu))
    }

    /// Makes the context current on this thread.
    pub(super) fn bind(&self) -> Result<(), DeviceError> {
        // SAFETY: the context lives as long as `self`.
        check("cuCtxSetCurrent", unsafe {
            sys::cuCtxSetCurrent(self.context)
        })
    }

    /// Its number.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// Where it is on the bus, as other programs name it: `0000:3B:00.0`.
    ///
    /// # Errors
    /// If the driver does not say.
    pub fn bus_id(&self) -> Result<String, DeviceError> {
        let mut text = [0; 32];
        // SAFETY: the driver writes at most the length given, ending with a zero.
        check("cuDeviceGetPCIBusId", unsafe {
            sys::cuDeviceGetPCIBusId(text.as_mut_ptr(), 32, self.device.0)
        })?;
        let bytes = text.iter().take_while(|c| **c != 0);
        Ok(bytes.map(|c| char::from(c.cast_unsigned())).collect())
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The type of keys, values and tensor-core operands.
    #[must_use]
    pub fn dtype(&self) -> ComputeDtype {
        self.dtype
    }

    /// What kernels need to know of it.
    #[must_use]
    pub fn facts(&self) -> DeviceFacts {
        self.facts
    }

    /// Bytes of memory.
    #[must_use]
    pub fn memory(&self) -> u64 {
        self.memory
    }

    /// Waits until all work is done.
    ///
    /// # Errors
    /// If any of it failed.
    pub fn synchronize(&self) -> Result<(), DeviceError> {
        self.bind()?;
        // SAFETY: the stream is this context's.
        check("a kernel", unsafe { sys::cuStreamSynchronize(self.stream) })
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        if self.bind().is_err() {
            return;
        }
        // SAFETY: all handles are this context's, and nobody else has them: buffers and graphs keep the `Gpu` alive.
        unsafe {
            for module in &self.modules {
                let _ = sys::cuModuleUnload(*module);
            }
            if !self.stream.is_null() {
                let _ = sys::cuStreamDestroy_v2(self.stream);
            }
            let _ = sys::cuDevicePrimaryCtxRelease_v2(self.device.0);
        }
    }
}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gpu")
            .field("name", &self.name)
            .field("dtype", &self.dtype)
            .finish_non_exhaustive()
    }
}
