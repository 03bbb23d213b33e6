//! Reading memory and nothing else (`bandwidth.cu`): the time that no kernel can beat.

use bytemuck::NoUninit;

use super::{DeviceFacts, DevicePtr, Launch, THREADS};

/// Bytes that a thread reads at once.
const EACH: u64 = 8 * 16;

/// Reads all of some memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadAll {
    pub(crate) data: DevicePtr,
    pub(crate) bytes: u64,
    /// Room for a word.
    pub(crate) out: DevicePtr,
}

#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct Params {
    data: DevicePtr,
    out: DevicePtr,
    count: u64,
}

impl ReadAll {
    /// The launch, and how many of the bytes it reads: whole rounds of the grid.
    pub(crate) fn launch(&self, facts: &DeviceFacts) -> (Launch, u64) {
        let blocks = facts.sms * 8;
        let round = EACH * u64::from(THREADS) * u64::from(blocks);
        let bytes = self.bytes / round * round;
        let params = Params {
            data: self.data,
            out: self.out,
            count: bytes / 16,
        };
        (
            Launch::alone("read_all", [blocks, 1, 1], THREADS, &params),
            bytes,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Gpu;
    use super::*;

    #[test]
    fn whole_rounds_are_read() {
        let facts = DeviceFacts {
            compute_capability: (9, 0),
            sms: 132,
            shared_per_block: 0,
            l2_bytes: 0,
        };
        let round = 132 * 8 * 256 * 128;
        let read = |bytes| ReadAll {
            data: DevicePtr(256),
            bytes,
            out: DevicePtr(0),
        };
        assert_eq!(read(3 * round + 5).launch(&facts).1, 3 * round);
        assert_eq!(read(round - 1).launch(&facts).1, 0);
    }

    #[test]
    fn memory_has_a_bandwidth() {
        let Some(gpu) = Gpu::get() else { return };
        let bandwidth = gpu.0.bandwidth().unwrap();
        // From the slowest card with 8.0 to well beyond the fastest.
        assert!((1e11..2e13).contains(&bandwidth), "{bandwidth}");
    }
}
