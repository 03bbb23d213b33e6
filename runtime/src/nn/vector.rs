//! Small vectors of weights: norms, biases, sinks.

use std::ops::Deref;
use std::sync::Arc;
#[cfg(feature = "cuda")]
use std::sync::OnceLock;

/// A vector of weights; a clone shares it. On a GPU it goes there when it is first used.
#[derive(Clone, Debug)]
pub(crate) struct Vector {
    values: Arc<[f32]>,
    #[cfg(feature = "cuda")]
    device: Arc<OnceLock<Arc<crate::cuda::Buffer>>>,
}

impl From<Vec<f32>> for Vector {
    fn from(values: Vec<f32>) -> Self {
        Self {
            values: values.into(),
            #[cfg(feature = "cuda")]
            device: Arc::default(),
        }
    }
}

impl Deref for Vector {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.values
    }
}

#[cfg(feature = "cuda")]
impl Vector {
    /// The vector on a model's GPU.
    pub(crate) fn on(
        &self,
        gpu: &Arc<crate::cuda::Gpu>,
    ) -> crate::Result<Arc<crate::cuda::Buffer>> {
        if let Some(buffer) = self.device.get() {
            return Ok(Arc::clone(buffer));
        }
        let buffer = Arc::new(crate::cuda::Buffer::of(
            gpu,
            &self.values,
            "a vector of weights",
        )?);
        Ok(Arc::clone(self.device.get_or_init(|| buffer)))
    }
}
