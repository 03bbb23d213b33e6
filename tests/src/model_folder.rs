//! Writes small model folders, sound ones and broken ones.

use std::path::Path;

/// A safetensors file from the text of its header and its data.
#[must_use]
pub fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend(header.as_bytes());
    out.extend(data);
    out
}

/// A sound safetensors file whose tensors are f32 `[2]`, with the values 1 and 2.
#[must_use]
pub fn pairs(names: &[&str]) -> Vec<u8> {
    let entry = |(i, name): (usize, &&str)| {
        format!(
            r#""{name}":{{"dtype":"F32","shape":[2],"data_offsets":[{},{}]}}"#,
            i * 8,
            i * 8 + 8
        )
    };
    let entries: Vec<_> = names.iter().enumerate().map(entry).collect();
    let data: Vec<u8> = names
        .iter()
        .flat_map(|_| [1.0_f32, 2.0])
        .flat_map(f32::to_le_bytes)
        .collect();
    safetensors(&format!("{{{}}}", entries.join(",")), &data)
}

/// An index that says in which file each tensor is.
#[must_use]
pub fn index(weight_map: &[(&str, &str)]) -> String {
    let map: serde_json::Map<_, _> = weight_map
        .iter()
        .map(|(tensor, file)| ((*tensor).to_owned(), (*file).into()))
        .collect();
    serde_json::json!({ "metadata": {}, "weight_map": map }).to_string()
}

/// Writes config.json and the given files into a folder.
///
/// # Errors
/// What the operating system reports.
pub fn write(folder: &Path, files: &[(&str, Vec<u8>)]) -> std::io::Result<()> {
    std::fs::write(
        folder.join("config.json"),
        r#"{"architectures": ["LlamaForCausalLM"]}"#,
    )?;
    for (name, data) in files {
        std::fs::write(folder.join(name), data)?;
    }
    Ok(())
}
