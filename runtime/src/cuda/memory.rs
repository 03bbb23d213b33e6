//! Memory on the device and pages of the host that it can read.

use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytemuck::Pod;
use cudarc::driver::sys::{self, CUresult};

use super::Gpu;
use super::driver::check;
use crate::device::DeviceError;
use crate::kernels::DevicePtr;

/// Bytes on the device.
#[derive(Debug)]
pub(crate) struct Buffer {
    gpu: Arc<Gpu>,
    ptr: DevicePtr,
    bytes: usize,
}

impl Gpu {
    /// Free and total bytes of the device.
    pub(crate) fn memory_info(&self) -> Result<(usize, usize), DeviceError> {
        self.bind()?;
        let (mut free, mut total) = (0, 0);
        // SAFETY: valid places.
        check("cuMemGetInfo", unsafe {
            sys::cuMemGetInfo_v2(&raw mut free, &raw mut total)
        })?;
        Ok((free, total))
    }

    /// Bytes allocated by this program at most so far.
    #[must_use]
    pub fn peak_allocated(&self) -> u64 {
        self.allocated[1].load(Ordering::Relaxed)
    }
}

impl Buffer {
    /// Uninitialized memory; `what` names it should there be too little.
    pub(crate) fn new(gpu: &Arc<Gpu>, bytes: usize, what: &str) -> Result<Self, DeviceError> {
        gpu.bind()?;
        let mut ptr = 0;
        // SAFETY: a valid place, a current context.
        let result = unsafe { sys::cuMemAlloc_v2(&raw mut ptr, bytes.max(16)) };
        if result == CUresult::CUDA_ERROR_OUT_OF_MEMORY {
            let (free, total) = gpu.memory_info()?;
            let [wanted, free, total] = [bytes, free, total].map(readable);
            return Err(DeviceError::OutOfMemory {
                what: what.into(),
                wanted,
                free,
                total,
            });
        }
        check("cuMemAlloc", result)?;
        let now = gpu.allocated[0].fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        gpu.allocated[1].fetch_max(now, Ordering::Relaxed);
        Ok(Self {
            gpu: Arc::clone(gpu),
            ptr: DevicePtr(ptr),
            bytes,
        })
    }

    /// A copy of host values.
    pub(crate) fn of<T: Pod>(
        gpu: &Arc<Gpu>,
        values: &[T],
        what: &str,
    ) -> Result<Self, DeviceError> {
        let buffer = Self::new(gpu, size_of_val(values), what)?;
        buffer.write(0, values)?;
        Ok(buffer)
    }

    pub(crate) fn ptr(&self) -> DevicePtr {
        self.ptr
    }

    pub(crate) fn gpu(&self) -> &Arc<Gpu> {
        &self.gpu
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether `bytes` from `offset` on lie within.
    fn holds(&self, offset: usize, bytes: usize) -> Result<(), DeviceError> {
        match offset.checked_add(bytes) {
            Some(end) if end <= self.bytes => Ok(()),
            _ => Err(DeviceError::Mixed("a copy reaches beyond its GPU buffer")),
        }
    }

    /// Copies host values to the byte `offset`, in the order of the stream. They may be changed when this returns.
    pub(crate) fn write<T: Pod>(&self, offset: usize, values: &[T]) -> Result<(), DeviceError> {
        let bytes = size_of_val(values);
        self.holds(offset, bytes)?;
        if bytes == 0 {
            return Ok(());
        }
        self.gpu.bind()?;
        // SAFETY: the range lies within the allocation; from pageable memory the call returns when it has been read.
        check("a copy to the GPU", unsafe {
            sys::cuMemcpyHtoDAsync_v2(
                self.ptr.0 + offset as u64,
                values.as_ptr().cast(),
                bytes,
                self.gpu.stream,
            )
        })
    }

    /// Fills with a byte, in the order of the stream.
    pub(crate) fn fill(&self, byte: u8) -> Result<(), DeviceError> {
        self.gpu.bind()?;
        // SAFETY: the whole allocation.
        check("cuMemsetD8", unsafe {
            sys::cuMemsetD8Async(self.ptr.0, byte, self.bytes, self.gpu.stream)
        })
    }

    /// Waits for all work before, then copies `count` values from the byte `offset` on.
    pub(crate) fn read<T: Pod>(&self, offset: usize, count: usize) -> Result<Vec<T>, DeviceError> {
        let mut values = vec![T::zeroed(); count];
        let bytes = size_of_val(&*values);
        self.holds(offset, bytes)?;
        if bytes > 0 {
            self.gpu.bind()?;
            // SAFETY: both ranges are whole; the stream is waited for before the values are used.
            check("a copy from the GPU", unsafe {
                sys::cuMemcpyDtoHAsync_v2(
                    values.as_mut_ptr().cast(),
                    self.ptr.0 + offset as u64,
                    bytes,
                    self.gpu.stream,
                )
            })?;
        }
        self.gpu.synchronize()?;
        Ok(values)
    }

    /// Copies another buffer's first bytes to the byte `offset`, in the order of the stream.
    pub(crate) fn copy_from(
        &self,
        offset: usize,
        other: &Self,
        bytes: usize,
    ) -> Result<(), DeviceError> {
        self.copy(offset, other, 0, bytes)
    }

    /// Copies another buffer's bytes from `from` on to the first ones, in the order of the stream.
    pub(super) fn copy_part(
        &self,
        other: &Self,
        from: usize,
        bytes: usize,
    ) -> Result<(), DeviceError> {
        self.copy(0, other, from, bytes)
    }

    fn copy(
        &self,
        offset: usize,
        other: &Self,
        from: usize,
        bytes: usize,
    ) -> Result<(), DeviceError> {
        self.holds(offset, bytes)?;
        other.holds(from, bytes)?;
        if bytes == 0 {
            return Ok(());
        }
        self.gpu.bind()?;
        // SAFETY: both ranges lie within their allocations, which are two.
        check("a copy on the GPU", unsafe {
            sys::cuMemcpyDtoDAsync_v2(
                self.ptr.0 + offset as u64,
                other.ptr.0 + from as u64,
                bytes,
                self.gpu.stream,
            )
        })
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.gpu.bind().is_ok() {
            // SAFETY: allocated by `new`, freed once; freeing waits for work that uses it.
            let _ = unsafe { sys::cuMemFree_v2(self.ptr.0) };
        }
        self.gpu.allocated[0].fetch_sub(self.bytes as u64, Ordering::Relaxed);
    }
}

/// Pages of the host that the device reads and writes by itself.
#[derive(Debug)]
pub(crate) struct Pinned {
    gpu: Arc<Gpu>,
    data: *mut c_void,
    bytes: usize,
}

// SAFETY: memory of the process, owned by this value alone.
unsafe impl Send for Pinned {}
// SAFETY: shared references only read.
unsafe impl Sync for Pinned {}

impl Pinned {
    pub(crate) fn new(gpu: &Arc<Gpu>, bytes: usize) -> Result<Self, DeviceError> {
        gpu.bind()?;
        let mut data = std::ptr::null_mut();
        // SAFETY: a valid place, a current context.
        check("cuMemHostAlloc", unsafe {
            sys::cuMemHostAlloc(&raw mut data, bytes.max(16), 0)
        })?;
        // SAFETY: as many bytes as were allocated: what is read later has been written.
        unsafe { std::ptr::write_bytes(data.cast::<u8>(), 0, bytes.max(16)) };
        Ok(Self {
            gpu: Arc::clone(gpu),
            data,
            bytes,
        })
    }

    /// The bytes. Whoever reads them after the device has written there waits for it first.
    pub(crate) fn as_slice(&self) -> &[u8] {
        // SAFETY: allocated and initialized for so many bytes.
        unsafe { std::slice::from_raw_parts(self.data.cast(), self.bytes) }
    }

    /// The bytes, to be written. Whoever does waits for the device to have read them first.
    pub(super) fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as above, and borrowed once.
        unsafe { std::slice::from_raw_parts_mut(self.data.cast(), self.bytes) }
    }

    /// Starts a copy of bytes from `from` on to an address on the device, where there is room for them. Neither is touched
    /// until the stream has done it.
    pub(super) fn send(&self, from: usize, bytes: usize, to: DevicePtr) -> Result<(), DeviceError> {
        let part = self.as_slice().get(from..from.saturating_add(bytes));
        let part = part.ok_or(DeviceError::Mixed("a copy reaches beyond its pinned pages"))?;
        self.gpu.bind()?;
        // SAFETY: the bytes are the pages', the room is the caller's, and he waits before he changes either.
        check("a copy to the GPU", unsafe {
            sys::cuMemcpyHtoDAsync_v2(to.0, part.as_ptr().cast(), bytes, self.gpu.stream)
        })
    }

    /// Starts a copy from a buffer into the first bytes.
    pub(crate) fn receive(
        &mut self,
        from: &Buffer,
        offset: usize,
        bytes: usize,
    ) -> Result<(), DeviceError> {
        from.holds(offset, bytes)?;
        if bytes > self.bytes {
            return Err(DeviceError::Mixed("a copy reaches beyond its pinned pages"));
        }
        self.gpu.bind()?;
        // SAFETY: both ranges are whole; the caller waits before it reads the pages.
        check("a copy from the GPU", unsafe {
            sys::cuMemcpyDtoHAsync_v2(
                self.data,
                from.ptr.0 + offset as u64,
                bytes,
                self.gpu.stream,
            )
        })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if self.gpu.bind().is_ok() {
            // SAFETY: allocated by `new`, freed once; copies are over, for their callers wait.
            let _ = unsafe { sys::cuMemFreeHost(self.data) };
        }
    }
}

/// `13.8 GB`, in powers of ten.
pub(crate) fn readable(bytes: usize) -> String {
    let bytes = bytes as f64;
    if bytes >= 1e9 {
        format!("{:.2} GB", bytes / 1e9)
    } else {
        format!("{:.1} MB", bytes / 1e6)
    }
}
