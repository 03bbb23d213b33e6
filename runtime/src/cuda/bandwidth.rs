//! What the device's memory gives.

use std::sync::Arc;
use std::time::Instant;

use super::{Buffer, Gpu};
use crate::device::DeviceError;
use crate::kernels::bandwidth::ReadAll;

/// Bytes that are read at once: many times the second-level cache.
const BYTES: usize = 2 << 30;

/// How often.
const PASSES: u32 = 10;

impl Gpu {
    /// Bytes a second that a kernel which only reads gets from memory.
    ///
    /// # Errors
    /// If there is no memory left to read, or the device fails.
    pub fn bandwidth(self: &Arc<Self>) -> Result<f64, DeviceError> {
        let bytes = BYTES.min(self.memory_info()?.0 / 2);
        let what = "the measurement of bandwidth";
        let (data, out) = (
            Buffer::new(self, bytes, what)?,
            Buffer::new(self, 16, what)?,
        );
        data.fill(0)?;
        let read = ReadAll {
            data: data.ptr(),
            bytes: bytes as u64,
            out: out.ptr(),
        };
        let (launch, bytes) = read.launch(&self.facts());
        self.launch(std::slice::from_ref(&launch))?;
        self.synchronize()?;
        let begin = Instant::now();
        for _ in 0..PASSES {
            self.launch(std::slice::from_ref(&launch))?;
        }
        self.synchronize()?;
        Ok(f64::from(PASSES) * bytes as f64 / begin.elapsed().as_secs_f64())
    }
}
