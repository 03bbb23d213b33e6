//! Whether driver, memory and kernels of a GPU work together: products of every storage type against plain Rust.

use std::sync::Arc;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::product::{KernelFamily, Product};
use super::{Buffer, DeviceMatrix, Gpu, Loader};
use crate::Result;
use crate::cpu::KernelCheck;
use crate::cpu::self_test::{byte_activations, matrix, reference, worst_error};
use crate::device::GpuCheck;
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
            for family in KernelFamily::ALL {
                if family.serves(dtype, SHAPE.1 as u32) {
                    let weights = &device;
                    kernels.push(Product { family, weights }.check(&matrix, &mut rng)?);
                }
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

impl Product<'_> {
    /// Compares with the same matrix of the host.
    fn check(&self, matrix: &Matrix, rng: &mut ChaCha8Rng) -> Result<KernelCheck> {
        let gpu = self.weights.gpu();
        let tokens: &[usize] = match self.family {
            KernelFamily::Plain | KernelFamily::Decode => &FEW,
            KernelFamily::Prompt => &[PROMPT],
        };
        let mut worst = 0.0_f64;
        for tokens in tokens.iter().copied() {
            // Halves hold these exactly, so that only the kernels' own rounding shows.
            let x = byte_activations(tokens * matrix.cols(), rng);
            let on_device = self.activations(&x, "a check")?;
            let out = Buffer::new(gpu, tokens * matrix.rows() * 4, "a check")?;
            // Poisoned, so that a result that is never written cannot pass.
            out.fill(0xff)?;
            gpu.launch(&self.launches(&on_device, tokens, out.ptr()))?;
            let products: Vec<f32> = out.read(0, tokens * matrix.rows())?;
            worst = worst.max(worst_error(&products, &reference(matrix, &x, tokens)?));
        }
        Ok(KernelCheck {
            dtype: matrix.dtype().name(),
            precision: self.family.name(),
            worst,
            sound: worst <= TOLERANCE,
        })
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
