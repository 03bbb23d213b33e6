//! Random weights, made where they are needed (`random.cu`). The twin is [`Filler::make`].

use bytemuck::NoUninit;

use super::{DevicePtr, Launch, THREADS};
use crate::weights::random::{Filler, MAX_FIXED, Values};

const MOST_BLOCKS: u64 = 16 * 1024;

/// Makes some bytes of a tensor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RandomBytes {
    pub(crate) filler: Filler,
    pub(crate) out: DevicePtr,
    /// Where they are in the tensor, a whole number of elements.
    pub(crate) first: usize,
    /// A whole number of elements.
    pub(crate) bytes: usize,
    /// u32: unit u of the result is unit `order[u]` of the tensor from `first` on; null is as they lie.
    pub(crate) order: DevicePtr,
    /// Bytes of a unit, a whole number of elements.
    pub(crate) unit: usize,
}

#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct Params {
    out: DevicePtr,
    order: DevicePtr,
    state: u64,
    first: u64,
    count: u64,
    unit: u64,
    mean: f32,
    scale: f32,
    block: u32,
    at: u32,
    len: u32,
    fixed: [u8; MAX_FIXED],
}

impl RandomBytes {
    pub(crate) fn launch(&self) -> Launch {
        let mut params = Params {
            out: self.out,
            order: self.order,
            state: self.filler.state,
            first: 0,
            count: 0,
            unit: 0,
            mean: 0.0,
            scale: 0.0,
            block: 1,
            at: 0,
            len: 0,
            fixed: [0; MAX_FIXED],
        };
        let (kernel, element) = match self.filler.values {
            Values::F32 { mean, scale } => {
                (params.mean, params.scale) = (mean, scale);
                ("random_f32", 4)
            }
            Values::Bf16 { scale } => {
                params.scale = scale;
                ("random_bf16", 2)
            }
            Values::Bytes(pattern) => {
                params.block = pattern.block as u32;
                params.at = pattern.at as u32;
                params.len = pattern.len as u32;
                params.fixed = pattern.fixed;
                ("random_bytes", 1)
            }
        };
        [params.first, params.count, params.unit] =
            [self.first, self.bytes, self.unit].map(|bytes| (bytes / element) as u64);
        let blocks = params.count.div_ceil(u64::from(THREADS)).min(MOST_BLOCKS) as u32;
        Launch::alone(kernel, [blocks, 1, 1], THREADS, &params)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Gpu;
    use super::*;
    use crate::weights::WeightDtype;
    use crate::weights::random::{Form, filler};

    const FORMS: [Form; 7] = [
        Form::Numbers(WeightDtype::F32),
        Form::Numbers(WeightDtype::BF16),
        Form::Numbers(WeightDtype::Q8_0),
        Form::Numbers(WeightDtype::Q4K),
        Form::Numbers(WeightDtype::Q6K),
        Form::Nibbles,
        Form::Scales,
    ];

    #[test]
    fn sizes_are_in_elements() {
        for (form, element) in [(FORMS[0], 4), (FORMS[1], 2), (FORMS[2], 1)] {
            let random = RandomBytes {
                filler: filler(1, "a", &[4, 256], form).unwrap(),
                out: DevicePtr(256),
                first: 64,
                bytes: 1 << 20,
                order: DevicePtr::NULL,
                unit: 16,
            };
            let launch = random.launch();
            let number = |at: usize| {
                let bytes: [u8; 8] = launch.params[at..at + 8].try_into().unwrap();
                u64::from_le_bytes(bytes)
            };
            assert_eq!(number(16), random.filler.state);
            let sizes = [24, 32, 40].map(number);
            assert_eq!(sizes, [64, 1 << 20, 16].map(|bytes| bytes / element));
            assert_eq!(u64::from(launch.grid[0]) * 256, (1 << 20) / element);
        }
    }

    #[test]
    fn the_kernels_make_the_bits_of_their_twin() {
        let Some(gpu) = Gpu::get() else { return };
        for form in FORMS {
            let filler = filler(3, "layers.0.up.weight", &[64, 512], form).unwrap();
            let (first, bytes, unit) = (840 * 4, 1 << 18, 840);
            let whole = filler.make(first + bytes + unit * 5).unwrap();
            let out = gpu.poisoned_bytes(bytes);
            let random = RandomBytes {
                filler,
                out: out.ptr(),
                first,
                bytes,
                order: DevicePtr::NULL,
                unit,
            };
            gpu.run(&[random.launch()]);
            assert!(
                gpu.download::<u8>(&out) == whole[first..first + bytes],
                "{form:?}"
            );
            let order = [4_u32, 0, 3, 3];
            let (order_d, out) = (gpu.upload(&order), gpu.poisoned_bytes(4 * unit));
            let ordered = RandomBytes {
                out: out.ptr(),
                bytes: 4 * unit,
                order: order_d.ptr(),
                ..random
            };
            gpu.run(&[ordered.launch()]);
            let expected: Vec<u8> = order
                .iter()
                .flat_map(|u| &whole[first + *u as usize * unit..][..unit])
                .copied()
                .collect();
            assert!(gpu.download::<u8>(&out) == expected, "{form:?} in an order");
        }
    }
}
