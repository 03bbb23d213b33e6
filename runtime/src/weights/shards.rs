//! Which safetensors files make up a checkpoint.

use std::collections::btree_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet};

use super::tensor::Entry;
use super::tensor_table::TensorTable;
use super::{CheckpointError, ModelFolder};

type Result<T> = std::result::Result<T, CheckpointError>;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// A model of 400,000 tensors has an index of some 40 MB.
const MAX_INDEX_BYTES: u64 = 128 << 20;
/// The most files of a checkpoint; the largest have some hundred.
const MAX_FILES: usize = 4096;

/// The files of a checkpoint, and what its index says of them.
pub(super) struct Shards {
    /// Names in the folder, sorted.
    pub(super) files: Vec<String>,
    /// The file of each tensor by the index; empty without an index.
    pub(super) index: BTreeMap<String, String>,
}

/// Finds the weights: `model.safetensors`, or the files of the index, or else whatever is called `model*.safetensors`.
pub(super) fn find(folder: &ModelFolder) -> Result<Shards> {
    let names = folder.names()?;
    if names.iter().any(|name| name == SINGLE) {
        return Ok(Shards {
            files: vec![SINGLE.into()],
            index: BTreeMap::new(),
        });
    }
    if let Some(text) = folder.read_side_file(INDEX, MAX_INDEX_BYTES)? {
        return indexed(folder, &text, &names);
    }
    let has_pickles = names
        .iter()
        .any(|name| name.starts_with("pytorch_model") && name.ends_with(".bin"));
    let files: Vec<_> = names
        .into_iter()
        .filter(|name| name.starts_with("model") && name.ends_with(".safetensors"))
        .collect();
    match files.len() {
        0 => Err(CheckpointError::NoModel {
            path: folder.path().into(),
            reason: if has_pickles {
                "its weights are PyTorch pickles (.bin), which can run code and are not read; convert them to safetensors"
                    .into()
            } else {
                format!("it has neither {SINGLE} nor {INDEX} nor a .gguf file")
            },
        }),
        1..=MAX_FILES => Ok(Shards {
            files,
            index: BTreeMap::new(),
        }),
        count => Err(too_many(folder, count)),
    }
}

fn indexed(folder: &ModelFolder, text: &str, names: &[String]) -> Result<Shards> {
    let index = weight_map(folder, text)?;
    let files: BTreeSet<&String> = index.values().collect();
    if files.len() > MAX_FILES {
        return Err(too_many(folder, files.len()));
    }
    let mut problems = Vec::new();
    for file in &files {
        if folder.find(file)?.is_none() {
            problems.push(format!(
                "{file} is missing, though {INDEX} names it: download it"
            ));
        }
    }
    for name in names
        .iter()
        .filter(|name| is_numbered_shard(name) && !files.contains(name))
    {
        problems.push(format!(
            "{name} is here, though {INDEX} does not name it: it belongs to another checkpoint"
        ));
    }
    if !problems.is_empty() {
        return Err(misfits(folder, problems));
    }
    let files = files.into_iter().cloned().collect();
    Ok(Shards { files, index })
}

/// `weight_map` of the index: the file of each tensor.
fn weight_map(folder: &ModelFolder, text: &str) -> Result<BTreeMap<String, String>> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: TensorTable<String>,
    }
    let damaged = |reason: String| CheckpointError::damaged(&folder.path().join(INDEX), reason);
    let Index {
        weight_map: TensorTable(files),
    } = serde_json::from_str(text).map_err(|error| damaged(error.to_string()))?;
    if files.is_empty() {
        return Err(damaged("its weight_map is empty".into()));
    }
    Ok(files.into_iter().collect())
}

/// `model-00001-of-00003.safetensors`: a name that only a shard has.
fn is_numbered_shard(name: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    name.strip_prefix("model-")
        .and_then(|rest| rest.strip_suffix(".safetensors"))
        .and_then(|rest| rest.split_once("-of-"))
        .is_some_and(|(number_of, total)| number(number_of) && number(total))
}

fn too_many(folder: &ModelFolder, count: usize) -> CheckpointError {
    let reason = format!("it has {count} weight files, and at most {MAX_FILES} are read");
    CheckpointError::Unsupported {
        path: folder.path().into(),
        reason,
    }
}

/// The tensors of all files, each of which must be in one file only, and in that of the index; `files` are their names.
pub(super) fn merge(
    folder: &ModelFolder,
    files: &[String],
    index: &BTreeMap<String, String>,
    headers: Vec<Vec<(String, Entry)>>,
) -> Result<BTreeMap<String, Entry>> {
    let mut tensors: BTreeMap<String, Entry> = BTreeMap::new();
    let mut problems = Vec::new();
    for (file, header) in files.iter().zip(headers) {
        for (tensor, entry) in header {
            if let Some(indexed) = index.get(&tensor).filter(|indexed| *indexed != file) {
                problems.push(format!(
                    "tensor `{tensor}` is in {file}, though the index says {indexed}"
                ));
            }
            match tensors.entry(tensor) {
                Slot::Vacant(slot) => {
                    slot.insert(entry);
                }
                Slot::Occupied(slot) => {
                    let first = &files[slot.get().file];
                    problems.push(format!(
                        "tensor `{}` is in {first} and in {file}",
                        slot.key()
                    ));
                }
            }
        }
    }
    for (tensor, file) in index
        .iter()
        .filter(|(tensor, _)| !tensors.contains_key(*tensor))
    {
        problems.push(format!(
            "tensor `{tensor}` is in no shard, though the index says {file}"
        ));
    }
    if problems.is_empty() {
        Ok(tensors)
    } else {
        Err(misfits(folder, problems))
    }
}

/// A file that should be in the folder is not.
pub(super) fn missing(folder: &ModelFolder, name: &str) -> CheckpointError {
    misfits(folder, vec![format!("{name} is missing: download it")])
}

fn misfits(folder: &ModelFolder, mut problems: Vec<String>) -> CheckpointError {
    const SHOWN: usize = 20;
    if problems.len() > SHOWN {
        let more = problems.len() - SHOWN;
        problems.truncate(SHOWN);
        problems.push(format!("and {more} more"));
    }
    CheckpointError::Shards {
        folder: folder.path().into(),
        problems,
    }
}
