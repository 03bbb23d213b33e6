//! Places in the stream.

use std::sync::Arc;

use cudarc::driver::sys;

use super::Gpu;
use super::driver::check;
use crate::device::DeviceError;

/// A place in the stream that the host can wait for.
#[derive(Debug)]
pub(super) struct Event {
    gpu: Arc<Gpu>,
    event: sys::CUevent,
}

// SAFETY: a handle of the driver, owned by this value alone.
unsafe impl Send for Event {}
// SAFETY: its calls may come from any thread.
unsafe impl Sync for Event {}

impl Event {
    pub(super) fn new(gpu: &Arc<Gpu>) -> Result<Self, DeviceError> {
        gpu.bind()?;
        let mut event = std::ptr::null_mut();
        let flags = sys::CUevent_flags_enum::CU_EVENT_DISABLE_TIMING as u32;
        // SAFETY: a valid place, a current context.
        check("cuEventCreate", unsafe {
            sys::cuEventCreate(&raw mut event, flags)
        })?;
        Ok(Self {
            gpu: Arc::clone(gpu),
            event,
        })
    }

    /// Puts it behind the work that has been given to the stream.
    pub(super) fn record(&self) -> Result<(), DeviceError> {
        self.gpu.bind()?;
        // SAFETY: an event and the stream of one context.
        check("cuEventRecord", unsafe {
            sys::cuEventRecord(self.event, self.gpu.stream)
        })
    }

    /// Waits until the stream has come here.
    pub(super) fn wait(&self) -> Result<(), DeviceError> {
        // SAFETY: an event that lives.
        check("a kernel", unsafe { sys::cuEventSynchronize(self.event) })
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if self.gpu.bind().is_ok() {
            // SAFETY: made by `new`, destroyed once.
            let _ = unsafe { sys::cuEventDestroy_v2(self.event) };
        }
    }
}
