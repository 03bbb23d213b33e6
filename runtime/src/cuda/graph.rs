//! Lists of launches as one graph.

use std::sync::Arc;

use cudarc::driver::sys;

use super::Gpu;
use super::driver::check;
use crate::device::DeviceError;
use crate::kernels::Launch;

/// A list of launches that the device runs by one call.
#[derive(Debug)]
pub(crate) struct Graph {
    gpu: Arc<Gpu>,
    executable: sys::CUgraphExec,
}

// SAFETY: a handle of the driver, owned by this value alone.
unsafe impl Send for Graph {}
// SAFETY: `launch` is a call of the driver on the one stream of the device.
unsafe impl Sync for Graph {}

impl Graph {
    /// Records launches without running them. The buffers they name must outlive the graph.
    pub(crate) fn capture(gpu: &Arc<Gpu>, launches: &[Launch]) -> Result<Self, DeviceError> {
        gpu.bind()?;
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // Functions are found before: finding them may load code, which a capture does not allow.
        gpu.prepare(launches)?;
        // SAFETY: the stream is this device's.
        check("cuStreamBeginCapture", unsafe {
            sys::cuStreamBeginCapture_v2(gpu.stream, mode)
        })?;
        let launched = gpu.launch(launches);
        let mut graph = std::ptr::null_mut();
        // SAFETY: a valid place; the capture ends whatever the launches said.
        let ended = unsafe { sys::cuStreamEndCapture(gpu.stream, &raw mut graph) };
        launched?;
        check("cuStreamEndCapture", ended)?;
        let mut executable = std::ptr::null_mut();
        // SAFETY: a valid place and a whole graph, which is no longer needed afterwards.
        let made = unsafe {
            let made = sys::cuGraphInstantiateWithFlags(&raw mut executable, graph, 0);
            let _ = sys::cuGraphDestroy(graph);
            made
        };
        check("cuGraphInstantiate", made)?;
        Ok(Self {
            gpu: Arc::clone(gpu),
            executable,
        })
    }

    /// Puts the whole list on the stream.
    pub(crate) fn launch(&self) -> Result<(), DeviceError> {
        self.gpu.bind()?;
        // SAFETY: an executable graph and the stream of the same device.
        check("cuGraphLaunch", unsafe {
            sys::cuGraphLaunch(self.executable, self.gpu.stream)
        })
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        if self.gpu.bind().is_ok() {
            // SAFETY: instantiated by `capture`, destroyed once.
            let _ = unsafe { sys::cuGraphExecDestroy(self.executable) };
        }
    }
}
