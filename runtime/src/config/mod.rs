//! Settings of a checkpoint: config.json, or the metadata of a GGUF file.
//!
//! A generated `Config` asks for *fields*. A field has keys in the file, a type and perhaps a default, and is looked up
//! when something first needs it, so that a field nobody reads is never missing.

mod error;
mod lookup;
mod table;
mod value;

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value as Json};

pub use error::ConfigError;
pub use lookup::{Lookup, OneOrEach};
pub use table::Table;

use crate::Result;
use crate::weights::MetadataValue;
use lookup::Null;
use table::Entries;
use value::Value;

/// The metadata of a GGUF file by key.
pub type Metadata = BTreeMap<String, MetadataValue>;

/// The largest config.json that is read; real ones have some kilobytes.
pub const MAX_CONFIG_BYTES: u64 = 16 << 20;

/// The most layers a model may have: what is planned per layer is planned before any weight is looked at.
const MAX_LAYERS: f64 = 4096.0;

/// The two forms that checkpoints have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Hugging Face: a folder with config.json and safetensors files.
    Hf,
    /// One GGUF file.
    Gguf,
}

/// The settings of a checkpoint.
///
/// Used by one thread while a model loads.
pub struct ConfigFile {
    /// For messages.
    name: String,
    document: Document,
    rows_of_embedding: Cell<Option<usize>>,
    remembered: RefCell<HashMap<DefaultKey, Box<dyn Any + Send>>>,
    /// Defaults that are being computed, outermost first.
    running: RefCell<Vec<DefaultKey>>,
}

enum Document {
    Hf {
        outer: Map<String, Json>,
        /// `text_config`, which a model of text and images has.
        has_text_config: bool,
    },
    Gguf {
        metadata: Metadata,
        architecture: String,
    },
}

/// A field's name, and the name of its default's closure: two specs that are tried on one file may give a field of the
/// same name different defaults.
type DefaultKey = (&'static str, &'static str);

impl ConfigFile {
    /// Reads the text of a config.json; `name` is for messages.
    ///
    /// # Errors
    /// If it is no JSON object, nests more than 128 deep, or has NaN or Infinity.
    pub fn from_json(name: impl Into<String>, text: &str) -> Result<Self> {
        let name = name.into();
        let outer = match serde_json::from_str(text) {
            Ok(Json::Object(outer)) => outer,
            Ok(_) => {
                return Err(ConfigError::Malformed {
                    file: name.into(),
                    reason: "it is no JSON object".into(),
                }
                .into());
            }
            Err(error) => {
                return Err(ConfigError::Malformed {
                    file: name.into(),
                    reason: error.to_string().into(),
                }
                .into());
            }
        };
        let has_text_config = outer.get("text_config").is_some_and(Json::is_object);
        Ok(Self::new(
            name,
            Document::Hf {
                outer,
                has_text_config,
            },
        ))
    }

    /// Takes the metadata of a GGUF file; `name` is for messages.
    ///
    /// # Errors
    /// If `general.architecture` is not a string there.
    pub fn from_metadata(name: impl Into<String>, metadata: Metadata) -> Result<Self> {
        let name = name.into();
        let Some(architecture) = metadata
            .get("general.architecture")
            .and_then(MetadataValue::as_str)
        else {
            let reason = "its metadata has no string `general.architecture`".into();
            return Err(ConfigError::Malformed {
                file: name.into(),
                reason,
            }
            .into());
        };
        let architecture = architecture.to_owned();
        Ok(Self::new(
            name,
            Document::Gguf {
                metadata,
                architecture,
            },
        ))
    }

    fn new(name: String, document: Document) -> Self {
        Self {
            name,
            document,
            rows_of_embedding: Cell::new(None),
            remembered: RefCell::default(),
            running: RefCell::default(),
        }
    }

    /// The file, for messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Which format the checkpoint has.
    #[must_use]
    pub fn format(&self) -> Format {
        match self.document {
            Document::Hf { .. } => Format::Hf,
            Document::Gguf { .. } => Format::Gguf,
        }
    }

    /// The names that the checkpoint gives its architecture: `architectures` of the outer config.json, or GGUF's
    /// `general.architecture`. Entries that are no strings are left out.
    #[must_use]
    pub fn architectures(&self) -> Vec<&str> {
        match &self.document {
            Document::Hf { outer, .. } => {
                let names = outer.get("architectures").and_then(Json::as_array);
                names
                    .into_iter()
                    .flatten()
                    .filter_map(Json::as_str)
                    .collect()
            }
            Document::Gguf { architecture, .. } => vec![architecture],
        }
    }

    /// `quant_method` of config.json's `quantization_config`; `Some("unknown")` if that table does not say.
    #[must_use]
    pub fn quantization_method(&self) -> Option<&str> {
        let Document::Hf { outer, .. } = &self.document else {
            return None;
        };
        let table = [Some(outer), self.settings()]
            .into_iter()
            .flatten()
            .find_map(|table| table.get("quantization_config").and_then(Json::as_object))?;
        Some(
            table
                .get("quant_method")
                .and_then(Json::as_str)
                .unwrap_or("unknown"),
        )
    }

    /// A value of GGUF metadata by its whole key.
    #[must_use]
    pub fn metadata(&self, key: &str) -> Option<&MetadataValue> {
        match &self.document {
            Document::Gguf { metadata, .. } => metadata.get(key),
            Document::Hf { .. } => None,
        }
    }

    /// Begins to look a field up: `hf_keys` in config.json, where dots enter tables, in order; `gguf_key` behind
    /// `<general.architecture>.`, or empty if GGUF has none.
    pub fn field<'a>(
        &'a self,
        name: &'static str,
        hf_keys: &'a [&'a str],
        gguf_key: &'a str,
    ) -> Lookup<'a> {
        Lookup {
            file: self,
            name,
            hf_keys,
            gguf_key,
            null: Null::Off,
        }
    }

    /// A table of settings that are no fields: of config.json by its key (`rope_scaling`), of GGUF metadata by what its
    /// keys begin with behind the architecture's name (`rope.scaling`). `None` if there is no such table, or an empty
    /// one.
    #[must_use]
    pub fn table(&self, key: &str) -> Option<Table<'_>> {
        let table = match &self.document {
            Document::Hf { .. } => self.top_level().table(key)?,
            Document::Gguf {
                metadata,
                architecture,
            } => Table {
                file: &self.name,
                prefix: format!("{architecture}.{key}."),
                entries: Entries::Metadata(metadata),
            },
        };
        (!table.is_empty()).then_some(table)
    }

    /// The settings themselves as a table, of GGUF those of the architecture.
    #[must_use]
    pub fn top_level(&self) -> Table<'_> {
        match &self.document {
            Document::Hf {
                outer,
                has_text_config,
            } => Table {
                file: &self.name,
                prefix: if *has_text_config { "text_config." } else { "" }.into(),
                entries: Entries::Json(self.settings().unwrap_or(outer)),
            },
            Document::Gguf {
                metadata,
                architecture,
            } => Table {
                file: &self.name,
                prefix: format!("{architecture}."),
                entries: Entries::Metadata(metadata),
            },
        }
    }

    /// Every plain setting (number, string or bool) as text, in the file's order; of GGUF those of the architecture. Made
    /// for people to read.
    #[must_use]
    pub fn plain_settings(&self) -> Vec<(String, String)> {
        match &self.document {
            Document::Hf { outer, .. } => {
                let plain =
                    |value: &Json| !value.is_null() && !value.is_object() && !value.is_array();
                let settings = self.settings().unwrap_or(outer).iter();
                let plain = settings.filter(|(_, value)| plain(value));
                plain
                    .map(|(key, value)| (key.clone(), value.to_string()))
                    .collect()
            }
            Document::Gguf {
                metadata,
                architecture,
            } => {
                let own = |(key, value): (&String, &MetadataValue)| {
                    let key = key.strip_prefix(architecture.as_str())?.strip_prefix('.')?;
                    let text = match value {
                        MetadataValue::Integer(number) => number.to_string(),
                        MetadataValue::Float(number) => number.to_string(),
                        MetadataValue::Bool(flag) => flag.to_string(),
                        MetadataValue::String(text) => format!("{text:?}"),
                        MetadataValue::Array(_) => return None,
                    };
                    Some((key.to_string(), text))
                };
                metadata.iter().filter_map(own).collect()
            }
        }
    }

    /// Tells how many rows the embedding matrix has, for the default `rows(embed.tokens)`.
    pub fn set_rows_of_embedding(&self, rows: usize) {
        self.rows_of_embedding.set(Some(rows));
    }

    /// How many rows the embedding matrix has.
    ///
    /// # Errors
    /// If nobody has told.
    pub fn rows_of_embedding(&self) -> Result<f64> {
        match self.rows_of_embedding.get() {
            Some(rows) => Ok(rows as f64),
            None => Err(ConfigError::NoEmbedding {
                file: self.name.as_str().into(),
            }
            .into()),
        }
    }

    /// The JSON table that fields are read from.
    fn settings(&self) -> Option<&Map<String, Json>> {
        match &self.document {
            Document::Hf {
                outer,
                has_text_config: true,
            } => outer.get("text_config")?.as_object(),
            Document::Hf {
                outer,
                has_text_config: false,
            } => Some(outer),
            Document::Gguf { .. } => None,
        }
    }

    /// A field's value by key, where dots enter tables of JSON.
    fn value(&self, key: &str) -> Option<Value<'_>> {
        match &self.document {
            Document::Hf { .. } => {
                let mut parts = key.split('.');
                let first = self.settings()?.get(parts.next()?)?;
                parts
                    .try_fold(first, |value, part| value.as_object()?.get(part))
                    .map(Value::Json)
            }
            Document::Gguf { metadata, .. } => {
                metadata.get(&self.full_key(key)).map(Value::Metadata)
            }
        }
    }

    /// A key as the user finds it in the file.
    fn full_key(&self, key: &str) -> String {
        match &self.document {
            Document::Hf {
                has_text_config: true,
                ..
            } => format!("text_config.{key}"),
            Document::Hf { .. } => key.to_owned(),
            Document::Gguf { architecture, .. } => format!("{architecture}.{key}"),
        }
    }

    /// The limit that a value exceeds. Sizes have theirs where they are used; the number of layers is used to make lists.
    fn limit(&self, field: &str, value: Value<'_>) -> Option<f64> {
        (field == "num_layers" && value.number().is_some_and(|layers| layers > MAX_LAYERS))
            .then_some(MAX_LAYERS)
    }

    /// A default that has been computed before, or is computed now.
    fn remembered<T: Clone + Send + 'static>(
        &self,
        key: DefaultKey,
        default: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        if let Some(value) = self
            .remembered
            .borrow()
            .get(&key)
            .and_then(|value| value.downcast_ref::<T>())
        {
            return Ok(value.clone());
        }
        if let Some(start) = self
            .running
            .borrow()
            .iter()
            .position(|running| *running == key)
        {
            return Err(self.circle(start));
        }
        self.running.borrow_mut().push(key);
        let value = default();
        self.running.borrow_mut().pop();
        let value = value?;
        self.remembered
            .borrow_mut()
            .insert(key, Box::new(value.clone()));
        Ok(value)
    }

    fn circle(&self, start: usize) -> crate::Error {
        let running = self.running.borrow();
        let names = running[start..]
            .iter()
            .chain([&running[start]])
            .map(|(name, _)| format!("`{name}`"));
        ConfigError::Circle {
            file: self.name.as_str().into(),
            fields: names.collect::<Vec<_>>().join(" → ").into(),
        }
        .into()
    }
}

impl std::fmt::Debug for ConfigFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ConfigFile({})", self.name)
    }
}

#[cfg(test)]
mod tests;
