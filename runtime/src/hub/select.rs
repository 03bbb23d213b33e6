//! Which of a repository's files a model needs. Never other formats of the same weights (`.bin`, `original/`, `onnx/`).

use std::collections::{BTreeMap, BTreeSet};

use super::HubError;
use super::gguf::{self, GgufModel};
use super::listing::{Listing, RemoteFile};
use super::name::{FilePath, ModelName};

/// Beside the weights: what this engine reads, and what others that share the cache want with it.
const SIDE_FILES: &[&str] = &[
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
];
pub(super) const CONFIG: &str = "config.json";
const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// A model of 400,000 tensors has an index of some 40 MB.
pub(super) const MAX_INDEX_BYTES: u64 = 128 << 20;

/// What a model consists of.
#[derive(Debug)]
pub(super) enum Selection {
    /// config.json, tokenizer and safetensors.
    HuggingFace {
        side: Vec<RemoteFile>,
        weights: Weights,
    },
    /// One GGUF model.
    Gguf(GgufModel<RemoteFile>),
}

/// Where the weights are.
#[derive(Debug)]
pub(super) enum Weights {
    Files(Vec<RemoteFile>),
    /// The index must be read first.
    Indexed(RemoteFile),
}

/// Chooses the files, as far as their names tell.
pub(super) fn select(listing: &Listing, name: &ModelName) -> Result<Selection, HubError> {
    let ggufs = gguf::models(&listing.files);
    if name.file.is_none()
        && listing.find(CONFIG).is_some()
        && let Some(weights) = safetensors(listing)
    {
        let side = SIDE_FILES.iter().filter_map(|file| listing.find(file));
        return Ok(Selection::HuggingFace {
            side: side.cloned().collect(),
            weights,
        });
    }
    match gguf::choose(&ggufs, name.file.as_deref()) {
        Some(model) => complete(model, name),
        None if ggufs.is_empty() => Err(no_weights(listing, name)),
        None => Err(HubError::SeveralFiles {
            name: name.repo.to_string(),
            asked: name.file.clone(),
            files: ggufs.iter().map(choice).collect(),
        }),
    }
}

fn complete(model: &GgufModel<RemoteFile>, name: &ModelName) -> Result<Selection, HubError> {
    match model.missing().first() {
        None => Ok(Selection::Gguf(model.clone())),
        Some(part) => Err(HubError::NoWeights {
            name: name.to_string(),
            reason: format!("its part {part} is not in the repository"),
            hint: "choose another file of the repository, or tell its owner",
        }),
    }
}

/// `tiny-Q4_K_M.gguf (4.1 GB)`
fn choice(model: &GgufModel<RemoteFile>) -> String {
    let bytes: u64 = model.parts.iter().map(|part| part.size).sum();
    let size = if bytes >= 1_000_000_000 {
        format!("{:.1} GB", bytes as f64 / 1e9)
    } else {
        format!("{:.1} MB", bytes as f64 / 1e6)
    };
    match model.unread_quantization() {
        Some(kind) => format!("{} ({size}; {kind} is not read yet)", model.first),
        None => format!("{} ({size})", model.first),
    }
}

/// The weights in the order in which a checkpoint is opened: one file, the files of an index, files called `model*`.
fn safetensors(listing: &Listing) -> Option<Weights> {
    if let Some(single) = listing.find(SINGLE) {
        return Some(Weights::Files(vec![single.clone()]));
    }
    if let Some(index) = listing.find(INDEX) {
        return Some(Weights::Indexed(index.clone()));
    }
    let called = |file: &&RemoteFile| {
        let name = file.path.as_str();
        file.path.is_at_top() && name.starts_with("model") && name.ends_with(".safetensors")
    };
    let files: Vec<RemoteFile> = listing.files.iter().filter(called).cloned().collect();
    (!files.is_empty()).then_some(Weights::Files(files))
}

/// The files that an index names.
pub(super) fn indexed(
    text: &[u8],
    listing: &Listing,
    name: &ModelName,
) -> Result<Vec<RemoteFile>, HubError> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let unusable = |reason: String| HubError::NoWeights {
        name: name.to_string(),
        reason: format!("{INDEX}: {reason}"),
        hint: "try another revision, or tell the repository's owner",
    };
    let index: Index = serde_json::from_slice(text).map_err(|error| unusable(error.to_string()))?;
    let files: BTreeSet<&String> = index.weight_map.values().collect();
    if files.is_empty() {
        return Err(unusable("it names no file".into()));
    }
    let mut found = Vec::new();
    for file in files {
        if let Err(reason) = FilePath::new(file) {
            return Err(unusable(format!(
                "the file name `{}` is refused: {reason}",
                file.escape_debug()
            )));
        }
        match listing.find(file) {
            Some(remote) => found.push(remote.clone()),
            None => {
                return Err(unusable(format!(
                    "it names {file}, which is not in the repository"
                )));
            }
        }
    }
    Ok(found)
}

fn no_weights(listing: &Listing, name: &ModelName) -> HubError {
    let any = |end: &str| {
        listing
            .files
            .iter()
            .any(|file| file.path.as_str().ends_with(end))
    };
    let convert = "look for a repository with *.safetensors or *.gguf, or convert the weights";
    let (reason, hint) = if name.file.is_some() {
        (
            "it has no GGUF files".to_string(),
            "leave the part behind `:` away",
        )
    } else if any("adapter_config.json") {
        (
            "it is an adapter (LoRA), which belongs onto another model".to_string(),
            "download the model that it was made for",
        )
    } else if any(".safetensors") {
        (
            format!("it has no {CONFIG} beside model*.safetensors"),
            convert,
        )
    } else if any(".bin") || any(".pth") || any(".pt") {
        (
            "they are PyTorch pickles (.bin), which can run code and are not read".to_string(),
            convert,
        )
    } else {
        (
            format!("none of its {} files is", listing.files.len()),
            convert,
        )
    };
    HubError::NoWeights {
        name: name.to_string(),
        reason,
        hint,
    }
}

#[cfg(test)]
mod tests {
    use super::super::hash::ContentHash;
    use super::*;

    fn listing(names: &[&str]) -> Listing {
        let file = |name: &&str| RemoteFile {
            path: FilePath::new(name).expect("a path"),
            size: 1,
            hash: ContentHash::sha256(&"0".repeat(64)).expect("a hash"),
        };
        Listing {
            commit: "0".repeat(40),
            files: names.iter().map(file).collect(),
        }
    }

    fn name(text: &str) -> ModelName {
        text.parse().expect("a name")
    }

    fn names(files: &[RemoteFile]) -> Vec<&str> {
        files.iter().map(|file| file.path.as_str()).collect()
    }

    #[test]
    fn only_what_the_model_needs_is_chosen() {
        let listing = listing(&[
            ".gitattributes",
            "LICENSE",
            "README.md",
            "config.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
            "original/model.safetensors",
            "metal/model.bin",
            "pytorch_model.bin",
            "onnx/model.onnx",
            "consolidated.safetensors",
            "tiny-q4_0.gguf",
        ]);
        let Selection::HuggingFace { side, weights } =
            select(&listing, &name("acme/tiny")).expect("selects")
        else {
            panic!("GGUF was chosen");
        };
        assert_eq!(
            names(&side),
            ["config.json", "tokenizer.json", "tokenizer_config.json"]
        );
        let Weights::Indexed(index) = weights else {
            panic!("the index was not seen");
        };
        assert_eq!(index.path.as_str(), INDEX);
        let map = r#"{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}"#;
        let weights = indexed(map.as_bytes(), &listing, &name("acme/tiny")).expect("reads");
        assert_eq!(
            names(&weights),
            [
                "model-00001-of-00002.safetensors",
                "model-00002-of-00002.safetensors"
            ]
        );
        let Selection::Gguf(model) = select(&listing, &name("acme/tiny:Q4_0")).expect("selects")
        else {
            panic!("safetensors were chosen");
        };
        assert_eq!(model.first, "tiny-q4_0.gguf");
    }

    #[test]
    fn hostile_indexes_are_refused() {
        let listing = listing(&["config.json", INDEX]);
        for map in [
            "",
            "[]",
            "{}",
            r#"{"weight_map": {}}"#,
            r#"{"weight_map": {"a": "../../.ssh/id_rsa"}}"#,
            r#"{"weight_map": {"a": "/etc/passwd"}}"#,
            r#"{"weight_map": {"a": "C:\\x"}}"#,
            r#"{"weight_map": {"a": "missing.safetensors"}}"#,
            r#"{"weight_map": {"a": 1}}"#,
        ] {
            let error = indexed(map.as_bytes(), &listing, &name("acme/tiny")).expect_err(map);
            assert!(error.to_string().contains("hint:"), "{error}");
        }
    }

    #[test]
    fn repositories_without_weights_say_what_they_have() {
        for (files, word) in [
            (&["config.json", "pytorch_model.bin"][..], "pickles"),
            (
                &["adapter_config.json", "adapter_model.safetensors"],
                "adapter",
            ),
            (&["model.safetensors"], "config.json"),
            (&["README.md"], "none of its 1 files"),
            (&["a-00001-of-00002.gguf"], "part a-00002-of-00002.gguf"),
            (&["a-q4_0.gguf", "a-iq4_xs.gguf"], "IQ4 is not read yet"),
        ] {
            let error = select(&listing(files), &name("acme/tiny"))
                .expect_err(word)
                .to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
