//! Small checkpoints for tests.

use std::collections::HashMap;
use std::fs;

use ::safetensors::{Dtype, serialize, tensor::TensorView};
use tempfile::TempDir;

use super::Checkpoint;

/// A tensor to be written.
pub(crate) struct Stored {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    data: Vec<u8>,
}

impl Stored {
    pub(crate) fn is(&self, name: &str) -> bool {
        self.name == name
    }

    /// Gives it other bytes.
    pub(crate) fn fill(&mut self, data: Vec<u8>) {
        self.data = data;
    }

    /// A copy.
    pub(crate) fn again(&self) -> Self {
        let Self {
            name,
            dtype,
            shape,
            data,
        } = self;
        Self {
            name: name.clone(),
            dtype: *dtype,
            shape: shape.clone(),
            data: data.clone(),
        }
    }
}

/// A tensor of f32.
pub(crate) fn floats(name: &str, shape: &[usize], values: &[f32]) -> Stored {
    let data = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    Stored {
        name: name.into(),
        dtype: Dtype::F32,
        shape: shape.to_vec(),
        data,
    }
}

/// A tensor of zeros of a type.
pub(crate) fn zeros(name: &str, dtype: Dtype, shape: &[usize]) -> Stored {
    let bytes = shape.iter().product::<usize>() * dtype.bitsize() / 8;
    Stored {
        name: name.into(),
        dtype,
        shape: shape.to_vec(),
        data: vec![0; bytes],
    }
}

/// A tensor of bytes.
pub(crate) fn bytes(name: &str, shape: &[usize], data: Vec<u8>) -> Stored {
    Stored {
        name: name.into(),
        dtype: Dtype::U8,
        shape: shape.to_vec(),
        data,
    }
}

/// A folder with config.json and model.safetensors, which goes when the first of the pair is dropped.
pub(crate) fn checkpoint(config: &str, tensors: &[Stored]) -> (TempDir, Checkpoint) {
    let folder = TempDir::new().unwrap();
    let views = tensors.iter().map(|tensor| {
        let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.data).unwrap();
        (tensor.name.clone(), view)
    });
    let data = serialize(views.collect::<HashMap<_, _>>(), None).unwrap();
    fs::write(folder.path().join("model.safetensors"), data).unwrap();
    fs::write(folder.path().join("config.json"), config).unwrap();
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    (folder, checkpoint)
}
