//! The kernels that multiply a matrix, each by itself: to be checked, or to be run as often as a measurement wants.

use std::sync::Arc;

use half::{bf16, f16};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{Buffer, DeviceMatrix, Gpu, Graph, Loader};
use crate::Result;
use crate::cpu::self_test::{byte_activations, matrix};
use crate::kernels::decode::{Input, Weights};
use crate::kernels::gemm::{Gemm, HalfRows, Store};
use crate::kernels::gemv::Project;
use crate::kernels::linear::Linear;
use crate::kernels::{DevicePtr, Half, Launch};
use crate::nn::Act;
use crate::weights::WeightDtype;

/// Kernels of one purpose that multiply activations and weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelFamily {
    /// Those that serve every type and size.
    Plain,
    /// Those of the few tokens of a decode step.
    Decode,
    /// Those of the many tokens of a prompt, on tensor cores.
    Prompt,
}

impl KernelFamily {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Plain, Self::Decode, Self::Prompt];

    /// The name in reports: `plain`, `decode`, `prompt`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Decode => "decode",
            Self::Prompt => "prompt",
        }
    }

    /// Whether it multiplies with such rows of weights as they are. Prompts unpack the types that are no halves first.
    #[must_use]
    pub const fn serves(self, dtype: WeightDtype, cols: u32) -> bool {
        match self {
            Self::Plain => dtype.row_bytes(cols as usize).is_some(),
            Self::Decode => Weights {
                dtype,
                planes: [DevicePtr::NULL; 4],
                rows: 1,
                cols,
            }
            .served(),
            Self::Prompt => matches!(dtype, WeightDtype::BF16 | WeightDtype::F16),
        }
    }
}

/// What the second-level cache holds is read this many times over before the same weights are read again.
const CACHES: usize = 4;
/// Products of one graph, at least: so many that its own start does not count.
const PRODUCTS: usize = 64;

/// One kernel with random weights on a GPU, to be run as often as a measurement wants.
///
/// Several copies of the weights take turns, so that they come from memory and not from the second-level cache, and
/// products follow each other in a graph, as those of a decode step do. Activations are the same each time.
#[derive(Debug)]
pub struct GpuKernel {
    gpu: Arc<Gpu>,
    /// Of a product with each copy.
    products: Vec<Vec<Launch>>,
    graph: Graph,
    /// Products of the graph.
    round: usize,
    /// What the launches read and write: copies of the weights, activations and results.
    _memory: (Vec<DeviceMatrix>, [Buffer; 2]),
}

impl Gpu {
    /// Prepares a kernel for a matrix of so many rows and columns and so many tokens; `None` if the family does not serve
    /// them.
    ///
    /// # Errors
    /// If a row is no whole number of blocks, memory does not suffice or the device fails.
    pub fn kernel(
        self: &Arc<Self>,
        family: KernelFamily,
        dtype: WeightDtype,
        (rows, cols): (u32, u32),
        tokens: u32,
    ) -> Result<Option<GpuKernel>> {
        if !family.serves(dtype, cols) {
            return Ok(None);
        }
        let what = "a kernel's measurement";
        let [m, n, k] = [tokens, rows, cols].map(|size| size as usize);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let matrix = matrix(dtype, n, k, &mut rng)?;
        let loader = Loader::new(self);
        let cached = CACHES * self.facts().l2_bytes as usize;
        let weights = (0..=cached / matrix.data().len().max(1))
            .map(|_| DeviceMatrix::load(&loader, std::slice::from_ref(&matrix), what))
            .collect::<Result<Vec<_>>>()?;
        let product = |weights| Product { family, weights };
        let x = product(&weights[0]).activations(&byte_activations(m * k, &mut rng), what)?;
        let out = Buffer::new(self, m * n * 4, what)?;
        // Poisoned, so that a test can tell what was written.
        out.fill(0xff)?;
        let products: Vec<_> = weights
            .iter()
            .map(|weights| product(weights).launches(&x, m, out.ptr()))
            .collect();
        if products.iter().any(Vec::is_empty) {
            return Ok(None);
        }
        let round = PRODUCTS.next_multiple_of(products.len());
        let all: Vec<_> = products
            .iter()
            .cycle()
            .take(round)
            .flatten()
            .cloned()
            .collect();
        let graph = Graph::capture(self, &all)?;
        self.synchronize()?;
        Ok(Some(GpuKernel {
            gpu: Arc::clone(self),
            products,
            graph,
            round,
            _memory: (weights, [x, out]),
        }))
    }
}

impl GpuKernel {
    /// Multiplies so many times, one product after the other, and waits for the last one.
    ///
    /// What does not fill a graph (64 products or a few more) is launched one by one, where the host may be the slower part.
    ///
    /// # Errors
    /// If the device fails.
    pub fn run(&self, times: u64) -> Result<()> {
        let round = self.round as u64;
        for _ in 0..times / round {
            self.graph.launch()?;
        }
        let rest = (times % round) as usize;
        for launches in self.products.iter().cycle().take(rest) {
            self.gpu.launch(launches)?;
        }
        Ok(self.gpu.synchronize()?)
    }
}

/// Weights, and the kernels that multiply with them.
pub(super) struct Product<'a> {
    pub(super) family: KernelFamily,
    pub(super) weights: &'a DeviceMatrix,
}

impl Product<'_> {
    /// Activations as the kernels read them.
    pub(super) fn activations(&self, x: &[f32], what: &str) -> Result<Buffer> {
        let gpu = self.weights.gpu();
        let halves = |bits: fn(f32) -> u16| x.iter().map(|x| bits(*x)).collect::<Vec<_>>();
        Ok(match (self.family, self.weights.dtype()) {
            (KernelFamily::Prompt, WeightDtype::F16) => {
                Buffer::of(gpu, &halves(|x| f16::from_f32(x).to_bits()), what)?
            }
            (KernelFamily::Prompt, _) => {
                Buffer::of(gpu, &halves(|x| bf16::from_f32(x).to_bits()), what)?
            }
            _ => Buffer::of(gpu, x, what)?,
        })
    }

    /// The launches for so many tokens of activations, and a place for the products; none if the kernels do not serve.
    pub(super) fn launches(&self, x: &Buffer, tokens: usize, out: DevicePtr) -> Vec<Launch> {
        match self.family {
            KernelFamily::Plain => self.plain(x, tokens, out),
            KernelFamily::Decode => self.decode(x, tokens, out),
            KernelFamily::Prompt => self.prompt(x, tokens, out),
        }
    }

    fn size(&self) -> (u32, u32) {
        let arg = self.weights.arg();
        (arg.rows, arg.cols)
    }

    fn plain(&self, x: &Buffer, tokens: usize, out: DevicePtr) -> Vec<Launch> {
        let (rows, cols) = self.size();
        let linear = Linear {
            matrix: self.weights.arg(),
            dtype: self.weights.dtype(),
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
            weights: self.weights.weights(),
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
        project.launches(self.weights.gpu().facts())
    }

    fn prompt(&self, x: &Buffer, tokens: usize, out: DevicePtr) -> Vec<Launch> {
        let (rows, cols) = self.size();
        let halves = |ptr, rows| HalfRows {
            ptr,
            rows,
            stride: cols,
        };
        let gemm = Gemm {
            half: match self.weights.dtype() {
                WeightDtype::F16 => Half::F16,
                _ => Half::Bf16,
            },
            a: halves(x.ptr(), tokens as u32),
            w: halves(self.weights.arg().planes[0], rows),
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
        gemm.launch(&self.weights.gpu().facts())
            .into_iter()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing;

    #[test]
    fn families_serve_what_they_have_kernels_for() {
        let served = |family: KernelFamily| {
            let dtypes = WeightDtype::ALL.into_iter();
            dtypes.filter(|dtype| family.serves(*dtype, 4096)).count()
        };
        assert_eq!(KernelFamily::ALL.map(served), [14, 8, 2]);
        assert!(!KernelFamily::Decode.serves(WeightDtype::Q4K, 4096 + 32));
    }

    #[test]
    fn kernels_run_as_often_as_asked() {
        let Some(gpu) = testing::Gpu::get() else {
            return;
        };
        let shape = (70, 512);
        for family in KernelFamily::ALL {
            let kernel = gpu.0.kernel(family, WeightDtype::BF16, shape, 3).unwrap();
            let kernel = kernel.unwrap();
            let (_, [_, out]) = &kernel._memory;
            // Alone, and in the graph.
            for times in [1, kernel.round as u64] {
                out.fill(0xff).unwrap();
                kernel.run(times).unwrap();
                let products: Vec<f32> = out.read(0, 3 * 70).unwrap();
                assert!(products.iter().all(|x| x.is_finite()), "{family:?} {times}");
            }
        }
        let none = |family, dtype, tokens| gpu.0.kernel(family, dtype, shape, tokens).unwrap();
        assert!(none(KernelFamily::Decode, WeightDtype::Q2K, 1).is_none());
        assert!(none(KernelFamily::Decode, WeightDtype::BF16, 9).is_none());
    }
}
