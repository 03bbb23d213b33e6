//! Whether driver, memory and kernels of a GPU work together: products of every storage type against plain Rust.

use std::sync::Arc;

use half::{bf16, f16};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{Buffer, DeviceMatrix, Gpu, Loader};
use crate::Result;
use crate::cpu::KernelCheck;
use crate::cpu::self_test::{byte_activations, matrix, reference, worst_error};
use crate::device::GpuCheck;
use crate::kernels::decode::Input;
use crate::kernels::gemm::{Gemm, HalfRows, Store};
use crate::kernels::gemv::Project;
use crate::kernels::linear::Linear;
use crate::kernels::{DevicePtr, Half, Launch};
use crate::nn::Act;
use crate::weights::{Matrix, WeightDtype};

/// Rows that fill no tile, and columns of four of the longest blocks.
const SHAPE: (usize, usize) = (37, 1024);
/// A token, and as many as a decode step of several sequences may have.
const FEW: [usize; 2] = [1, 7];
/// Tokens of a prompt that fill no tile.
const PROMPT: usize = 70;

/// f32 sums of numbers that 16 bits hold exactly, relative to the magnitude of the terms.
const TOLERANCE: f64 = 1e-5;

impl Gpu {
    /// Lets every kernel of the products compute: the plain ones, those of decoding, those of prompts.
    ///
    /// # Errors
    /// If memory, a copy or a launch fails. Wrong results are no error: [`KernelCheck::sound`] says so.
    pub fn self_check(self: &Arc<Self>) -> Result<GpuCheck> {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut kernels = Vec::new();
        let loader = Loader::new(self);
        for dtype in WeightDtype::ALL {
            let matrix = matrix(dtype, SHAPE.0, SHAPE.1, &mut rng)?;
            let device = DeviceMatrix::load(&loader, std::slice::from_ref(&matrix), "a check")?;
            let work = Work {
                gpu: self,
                matrix: &matrix,
                device: &device,
            };
            kernels.push(work.check("plain", &FEW, &mut rng, Work::plain)?);
            if device.weights().served() {
                kernels.push(work.check("decode", &FEW, &mut rng, Work::decode)?);
            }
            if matches!(dtype, WeightDtype::BF16 | WeightDtype::F16) {
                kernels.push(work.check("prompt", &[PROMPT], &mut rng, Work::prompt)?);
            }
        }
        let (free, total) = self.memory_info()?;
        Ok(GpuCheck {
            kernels,
            free: free as u64,
            total: total as u64,
        })
    }
}

/// A matrix, here and there.
struct Work<'a> {
    gpu: &'a Arc<Gpu>,
    matrix: &'a Matrix,
    device: &'a DeviceMatrix,
}

/// Launches for activations, so many tokens of them, and a place for the products.
type Launches<'a> = fn(&Work<'a>, &Buffer, usize, DevicePtr) -> Vec<Launch>;

impl<'a> Work<'a> {
    fn check(
        &self,
        kernel: &'static str,
        tokens: &[usize],
        rng: &mut ChaCha8Rng,
        launches: Launches<'a>,
    ) -> Result<KernelCheck> {
        let mut worst = 0.0_f64;
        for tokens in tokens.iter().copied() {
            // Halves hold these exactly, so that only the kernels' own rounding shows.
            let x = byte_activations(tokens * self.matrix.cols(), rng);
            let on_device = match (kernel, self.matrix.dtype()) {
                ("prompt", WeightDtype::F16) => self.halves(&x, |x| f16::from_f32(x).to_bits())?,
                ("prompt", _) => self.halves(&x, |x| bf16::from_f32(x).to_bits())?,
                _ => Buffer::of(self.gpu, &x, "a check")?,
            };
            let out = Buffer::new(self.gpu, tokens * self.matrix.rows() * 4, "a check")?;
            // Poisoned, so that a result that is never written cannot pass.
            out.fill(0xff)?;
            self.gpu
                .launch(&launches(self, &on_device, tokens, out.ptr()))?;
            let products: Vec<f32> = out.read(0, tokens * self.matrix.rows())?;
            worst = worst.max(worst_error(&products, &reference(self.matrix, &x, tokens)?));
        }
        Ok(KernelCheck {
            dtype: self.matrix.dtype().name(),
            precision: kernel,
            worst,
            sound: worst <= TOLERANCE,
        })
    }

    fn halves(&self, x: &[f32], bits: fn(f32) -> u16) -> Result<Buffer> {
        let bits: Vec<u16> = x.iter().map(|x| bits(*x)).collect();
        Ok(Buffer::of(self.gpu, &bits, "a check")?)
    }

    fn size(&self) -> (u32, u32) {
        (self.matrix.rows() as u32, self.matrix.cols() as u32)
    }

    fn plain(&self, x: &Buffer, tokens: usize, out: DevicePtr) -> Vec<Launch> {
        let (rows, cols) = self.size();
        let linear = Linear {
            matrix: self.device.arg(),
            dtype: self.device.dtype(),
            x: x.ptr(),
            bias: DevicePtr::NULL,
            residual: DevicePtr::NULL,
            out,
            experts: DevicePtr::NULL,
            factors: DevicePtr::NULL,
            tokens: tokens as u32,
            rows,
            x_stride: cols,
            out_stride: rows,
            x_tokens: 1,
        };
        vec![linear.launch()]
    }

    fn decode(&self, x: &Buffer, tokens: usize, out: DevicePtr) -> Vec<Launch> {
        let (rows, cols) = self.size();
        let project = Project {
            weights: self.device.weights(),
            input: Input::plain(x.ptr(), cols, cols),
            tokens: tokens as u32,
            bias: DevicePtr::NULL,
            act: Act::Identity,
            scale: 1.0,
            softcap: 0.0,
            glu: None,
            residual: DevicePtr::NULL,
            out,
            out_stride: rows,
            best: DevicePtr::NULL,
        };
        project.launches(self.gpu.facts())
    }

    fn prompt(&self, x: &Buffer, tokens: usize, out: DevicePtr) -> Vec<Launch> {
        let (rows, cols) = self.size();
        let halves = |ptr, rows| HalfRows {
            ptr,
            rows,
            stride: cols,
        };
        let gemm = Gemm {
            half: match self.device.dtype() {
                WeightDtype::F16 => Half::F16,
                _ => Half::Bf16,
            },
            a: halves(x.ptr(), tokens as u32),
            w: halves(self.device.arg().planes[0], rows),
            up: None,
            n: rows,
            k: cols,
            bias: None,
            store: Store::F32 {
                residual: DevicePtr::NULL,
            },
            out,
            out_stride: rows,
            grouped: None,
        };
        gemm.launch(&self.gpu.facts()).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::kernels::testing;
    use crate::weights::WeightDtype;

    #[test]
    fn a_sound_gpu_agrees_with_plain_rust() {
        let Some(gpu) = testing::Gpu::get() else {
            return;
        };
        let check = gpu.0.self_check().unwrap();
        for kernel in ["plain", "decode", "prompt"] {
            assert!(
                check.kernels.iter().any(|one| one.precision == kernel),
                "{kernel}"
            );
        }
        assert!(check.kernels.len() > WeightDtype::ALL.len());
        for one in &check.kernels {
            assert!(one.sound, "{one:?}");
        }
        assert!(check.free > 0 && check.free <= check.total);
    }
}
