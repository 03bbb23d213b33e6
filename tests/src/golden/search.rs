use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Every case below `root`, sorted: the folders that hold a `config.json` or expected logits, `root` itself included.
///
/// # Errors
/// If a folder cannot be read.
pub fn folders(root: &Path) -> Result<Vec<PathBuf>> {
    if ["config.json", "expected.safetensors"]
        .iter()
        .any(|file| root.join(file).exists())
    {
        return Ok(vec![root.to_path_buf()]);
    }
    let entries =
        std::fs::read_dir(root).with_context(|| format!("cannot read {}", root.display()))?;
    let mut inside = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            inside.push(path);
        }
    }
    inside.sort();
    let mut found = Vec::new();
    for folder in inside {
        found.extend(folders(&folder)?);
    }
    Ok(found)
}
