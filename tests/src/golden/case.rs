use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor, safetensors};

use super::{LONG, LONG_TOLERANCE, TOLERANCE};

/// One folder: a checkpoint, a prompt and the logits of its last positions.
#[derive(Clone, Debug)]
pub struct Case {
    /// The folder.
    pub folder: PathBuf,
    /// The prompt.
    pub tokens: Vec<u32>,
    /// Expected logits of the last positions, row by row.
    pub logits: Vec<f32>,
    /// Number of these positions.
    pub rows: usize,
}

impl Case {
    /// Reads `expected.safetensors`.
    ///
    /// # Errors
    /// If the file is missing or not as the module says.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("expected.safetensors");
        let tensors = safetensors::load(&path, &Device::Cpu)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let get = |name: &str| -> Result<&Tensor> {
            tensors
                .get(name)
                .with_context(|| format!("{} has no `{name}`", path.display()))
        };
        let ids: Vec<i64> = get("input_ids")?
            .to_dtype(DType::I64)?
            .flatten_all()?
            .to_vec1()?;
        let tokens: Vec<u32> = ids
            .iter()
            .map(|id| u32::try_from(*id).with_context(|| format!("token {id}")))
            .collect::<Result<_>>()?;
        let logits = get("logits")?.to_dtype(DType::F32)?;
        let (rows, _) = logits.dims2()?;
        ensure!(
            (1..=tokens.len()).contains(&rows),
            "{rows} rows of logits for {} tokens",
            tokens.len()
        );
        let logits = logits.flatten_all()?.to_vec1()?;
        Ok(Self {
            folder: folder.to_path_buf(),
            tokens,
            logits,
            rows,
        })
    }

    /// The folder, or the GGUF file in it if it has no `config.json`.
    ///
    /// # Errors
    /// If it has neither.
    pub fn checkpoint(&self) -> Result<PathBuf> {
        if self.folder.join("config.json").exists() {
            return Ok(self.folder.clone());
        }
        let files = std::fs::read_dir(&self.folder)?.filter_map(|entry| Some(entry.ok()?.path()));
        let gguf = files.filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "gguf")
        });
        gguf.min()
            .context("the folder has neither config.json nor a .gguf file")
    }

    /// Name of the folder.
    #[must_use]
    pub fn name(&self) -> String {
        self.folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    }

    /// The largest relative error that passes.
    #[must_use]
    pub fn tolerance(&self) -> f64 {
        if self.tokens.len() > LONG {
            LONG_TOLERANCE
        } else {
            TOLERANCE
        }
    }

    /// Position of the first expected row.
    #[must_use]
    pub fn first(&self) -> usize {
        self.tokens.len() - self.rows
    }
}
