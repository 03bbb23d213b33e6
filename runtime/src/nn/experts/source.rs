//! Where the experts' projections are in a checkpoint.

use super::{ExpertNames, Mxfp4Storage, Storage};
use crate::Result;
use crate::nn::error::setting;
use crate::nn::{Linear, Name};
use crate::weights::{Matrix, WeightDtype, Weights};

/// Elements and bytes of an MXFP4 block, its scale apart.
const BLOCK: usize = 32;
const NIBBLES: usize = BLOCK / 2;

/// What the projections of a layer's experts have in common.
pub(super) struct Source<'s, 'a> {
    pub(super) w: &'s Weights<'a>,
    pub(super) storage: Storage,
    pub(super) count: usize,
    pub(super) bias: bool,
}

/// One expert's projection.
pub(super) struct Projection {
    matrices: Vec<Matrix>,
    bias: Option<Vec<f32>>,
}

impl Projection {
    /// This projection's rows, then another's.
    pub(super) fn beside(mut self, other: Self) -> Self {
        self.matrices.extend(other.matrices);
        if let (Some(bias), Some(other)) = (&mut self.bias, other.bias) {
            bias.extend(other);
        }
        self
    }

    pub(super) fn linear(self, w: &Weights, shape: [usize; 2]) -> Result<Linear> {
        Linear::from_matrices(w, self.matrices, self.bias, shape)
    }
}

/// The projections of all experts as one matrix and one bias on a GPU.
#[cfg(feature = "cuda")]
pub(super) fn on_device(
    loader: &crate::cuda::Loader,
    all: Vec<Projection>,
) -> Result<(crate::cuda::DeviceMatrix, Option<crate::cuda::Buffer>)> {
    let (mut matrices, mut biases) = (Vec::new(), Vec::new());
    for projection in all {
        matrices.extend(projection.matrices);
        biases.extend(projection.bias.into_iter().flatten());
    }
    let bias = if biases.is_empty() {
        None
    } else {
        Some(crate::cuda::Buffer::of(
            loader.gpu(),
            &biases,
            "the experts' biases",
        )?)
    };
    Ok((
        crate::cuda::DeviceMatrix::load(loader, &matrices, "the experts")?,
        bias,
    ))
}

impl Source<'_, '_> {
    /// Gate and up, and down, of each expert; of none when planning.
    pub(super) fn all(
        &self,
        names: ExpertNames,
        [inter, hidden]: [usize; 2],
    ) -> Result<(Vec<Projection>, Vec<Projection>)> {
        let (gate_up, down) = match names {
            ExpertNames::Split { gate, up, down } => {
                let gate = self.projections(gate, [inter, hidden], None)?;
                let up = self.projections(up, [inter, hidden], None)?;
                (
                    gate.into_iter()
                        .zip(up)
                        .map(|(gate, up)| gate.beside(up))
                        .collect(),
                    down,
                )
            }
            ExpertNames::Fused {
                gate_up,
                rows,
                down,
            } => {
                rows.check()?;
                // Lists as long as the config file likes are made only when the plan has found the rows in the file.
                let places = if self.w.planning() {
                    None
                } else {
                    rows.places()
                };
                (
                    self.projections(gate_up, [rows.total(), hidden], places.as_deref())?,
                    down,
                )
            }
        };
        Ok((gate_up, self.projections(down, [hidden, inter], None)?))
    }

    /// A projection `[rows, cols]` of each expert, its rows taken from the given places; of none when planning.
    fn projections(
        &self,
        name: Name,
        shape: [usize; 2],
        places: Option<&[usize]>,
    ) -> Result<Vec<Projection>> {
        let full = self.w.full_name(name)?;
        let all = if full.contains("{e}") {
            self.single(&full, shape, name.at)?
        } else {
            self.stacked(&full, shape, name.at)?
        };
        let Some(places) = places else { return Ok(all) };
        let select = |projection: Projection| -> Result<Projection> {
            let matrices = projection
                .matrices
                .iter()
                .map(|matrix| self.w.select_rows(matrix, places));
            let bias = projection
                .bias
                .map(|bias| places.iter().map(|place| bias[*place]).collect());
            Ok(Projection {
                matrices: matrices.collect::<Result<_, _>>()?,
                bias,
            })
        };
        all.into_iter().map(select).collect()
    }

    /// One projection for each expert.
    fn single(
        &self,
        full: &str,
        [rows, cols]: [usize; 2],
        at: &'static str,
    ) -> Result<Vec<Projection>> {
        let mut all = Vec::new();
        for expert in 0..self.count {
            let name = full.replace("{e}", &expert.to_string());
            let matrix = self
                .w
                .matrix(format!("{name}.weight"), [rows, cols], false, at)?;
            let bias = if self.bias {
                Some(self.w.numbers(format!("{name}.bias"), &[rows], at)?)
            } else {
                None
            };
            all.extend(matrix.map(|matrix| Projection {
                matrices: vec![matrix],
                bias,
            }));
        }
        Ok(all)
    }

    /// All experts in one tensor.
    fn stacked(&self, full: &str, shape: [usize; 2], at: &'static str) -> Result<Vec<Projection>> {
        let spelt = |pattern: &str| pattern.replace("{P}", full);
        let mxfp4 = self
            .storage
            .mxfp4
            .filter(|mxfp4| self.w.has_mxfp4(&spelt(mxfp4.blocks)));
        let matrices = match mxfp4 {
            Some(mxfp4) => self.mxfp4(&mxfp4, full, shape, at)?,
            None => self.plain(full, shape, at)?,
        };
        let mut biases = None;
        if self.bias {
            let Some(pattern) = mxfp4.and_then(|mxfp4| mxfp4.bias).or(self.storage.bias) else {
                return setting(format!("{at}: the storage of `{full}` names no bias"));
            };
            biases = Some(
                self.w
                    .numbers(spelt(pattern), &[self.count, shape[0]], at)?,
            );
        }
        let bias = |expert: usize| Some(biases.as_ref()?[expert * shape[0]..][..shape[0]].to_vec());
        let all = matrices.into_iter().enumerate();
        Ok(all
            .map(|(expert, matrix)| Projection {
                matrices: vec![matrix],
                bias: bias(expert),
            })
            .collect())
    }

    fn plain(&self, full: &str, [rows, cols]: [usize; 2], at: &'static str) -> Result<Vec<Matrix>> {
        let Storage {
            weight,
            transposed,
            transposed_only,
            flat,
            ..
        } = self.storage;
        let transposed = transposed || transposed_only.is_some_and(|end| full.ends_with(end));
        let [outer, inner] = if transposed {
            [cols, rows]
        } else {
            [rows, cols]
        };
        let flat_shape = [self.count.saturating_mul(outer), inner];
        let stacked_shape = [self.count, outer, inner];
        let shape: &[usize] = if flat { &flat_shape } else { &stacked_shape };
        let Some(stack) = self
            .w
            .stack(weight.replace("{P}", full), shape, transposed, at)?
        else {
            return Ok(Vec::new());
        };
        let expert = |expert: usize| -> Result<Matrix> {
            let matrix = stack.slice_rows(expert * outer..(expert + 1) * outer)?;
            Ok(if transposed {
                matrix.transpose()?
            } else {
                matrix
            })
        };
        (0..self.count).map(expert).collect()
    }

    fn mxfp4(
        &self,
        names: &Mxfp4Storage,
        full: &str,
        [rows, cols]: [usize; 2],
        at: &'static str,
    ) -> Result<Vec<Matrix>> {
        if !cols.is_multiple_of(BLOCK) {
            return setting(format!(
                "{at}: rows of {cols} are no whole number of MXFP4 blocks of {BLOCK}"
            ));
        }
        let (blocks, scales) = (
            names.blocks.replace("{P}", full),
            names.scales.replace("{P}", full),
        );
        let blocks = self
            .w
            .packed(blocks, &[self.count, rows, cols / BLOCK, NIBBLES], true, at)?;
        let scales = self
            .w
            .packed(scales, &[self.count, rows, cols / BLOCK], false, at)?;
        let (Some(blocks), Some(scales)) = (blocks, scales) else {
            return Ok(Vec::new());
        };
        // The plan has checked both shapes.
        let each = rows * (cols / BLOCK);
        let all = self.w.joined_mxfp4(blocks, scales);
        let matrix = |data| Ok(Matrix::new(rows, cols, WeightDtype::Mxfp4, data)?);
        (0..self.count)
            .map(|expert| all(expert * each..(expert + 1) * each).and_then(matrix))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use ::safetensors::{Dtype, SafeTensors};

    use super::*;
    use crate::cpu::Precision;
    use crate::nn::experts::tests::{ARCHITECTURE, name};
    use crate::weights::testing::{checkpoint, floats, zeros};
    use crate::weights::{Mode, Source as From};

    /// Experts in each form and what transformers makes of them (mxfp4_experts.py).
    const FORMS: &[u8] = include_bytes!("../../../tests/fixtures/mxfp4_experts.safetensors");
    const SHAPE: [usize; 2] = [96, 64];
    const GPT_OSS: Storage = Storage {
        weight: "{P}",
        bias: None,
        transposed: true,
        transposed_only: None,
        flat: false,
        mxfp4: Some(Mxfp4Storage {
            blocks: "{P}_blocks",
            scales: "{P}_scales",
            bias: None,
        }),
    };

    /// The bits of every weight of two experts, `[expert][out][in]`, read from a checkpoint with these tensors.
    fn read(forms: &SafeTensors, tensors: &[(&str, &str, Dtype)], storage: Storage) -> Vec<u32> {
        let mut all = vec![floats("embed.weight", &[1, 1], &[0.0])];
        for (form, name, dtype) in tensors {
            let form = forms.tensor(form).unwrap();
            let mut stored = zeros(name, *dtype, form.shape());
            stored.fill(form.data().to_vec());
            all.push(stored);
        }
        let (_folder, checkpoint) = checkpoint("{}", &all);
        let mode = Mode::Loading(Precision::Exact.into());
        let from = From::Checkpoint(&checkpoint);
        let w = Weights::new(&ARCHITECTURE, checkpoint.config(), from, mode).unwrap();
        let source = Source {
            w: &w,
            storage,
            count: 2,
            bias: false,
        };
        let experts = source.projections(name("up"), SHAPE, None).unwrap();
        let matrices = experts.iter().flat_map(|expert| &expert.matrices);
        matrices.flat_map(bits).collect()
    }

    fn bits(matrix: &Matrix) -> Vec<u32> {
        let values = matrix.to_f32().unwrap();
        values.into_iter().map(f32::to_bits).collect()
    }

    #[test]
    fn every_form_has_the_bits_of_transformers() {
        let forms = SafeTensors::deserialize(FORMS).unwrap();
        let plain = forms.tensor("plain").unwrap();
        let [rows, cols] = SHAPE;
        let expected: Vec<u32> = (0..2 * rows * cols)
            .map(|at| {
                let (expert, row, col) = (at / (rows * cols), at / cols % rows, at % cols);
                let place = (expert * cols + col) * rows + row;
                u32::from(plain.data()[2 * place]) << 16
                    | u32::from(plain.data()[2 * place + 1]) << 24
            })
            .collect();
        assert!(
            expected
                .iter()
                .any(|bits| bits & 0x7f80_0000 == 0 && bits & 0x7f_ffff != 0),
            "no subnormal number is among them"
        );
        let packed = [
            ("blocks", "up_blocks", Dtype::U8),
            ("scales", "up_scales", Dtype::U8),
        ];
        assert!(read(&forms, &packed, GPT_OSS) == expected, "MXFP4 blocks");
        let plain = [("plain", "up", Dtype::BF16)];
        assert!(read(&forms, &plain, GPT_OSS) == expected, "transposed bf16");
        let gguf = forms.tensor("gguf").unwrap();
        let gguf = Matrix::new(
            2 * rows,
            cols,
            WeightDtype::Mxfp4,
            gguf.data().to_vec().into(),
        );
        assert!(bits(&gguf.unwrap()) == expected, "GGUF type 39");
    }
}
