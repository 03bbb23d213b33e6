//! Tables of settings whose keys are not fields of a spec: rope scaling.

use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::value::{Converted, Value};
use super::{ConfigError, Metadata};
use crate::Result;

/// A table in config.json, or the metadata keys of a GGUF file that begin alike.
#[derive(Clone)]
pub struct Table<'a> {
    pub(super) file: &'a str,
    /// Where it is, for messages: `rope_scaling.`
    pub(super) prefix: String,
    pub(super) entries: Entries<'a>,
}

#[derive(Clone, Copy)]
pub(super) enum Entries<'a> {
    Json(&'a Map<String, Json>),
    Metadata(&'a Metadata),
}

impl<'a> Table<'a> {
    /// A number; `None` if the key is absent or null.
    ///
    /// # Errors
    /// If it is something else.
    pub fn float(&self, key: &str) -> Result<Option<f64>> {
        self.get(key, Value::float)
    }

    /// A bool; `None` if the key is absent or null.
    ///
    /// # Errors
    /// If it is something else.
    pub fn bool(&self, key: &str) -> Result<Option<bool>> {
        self.get(key, Value::bool)
    }

    /// A string; `None` if the key is absent or null.
    ///
    /// # Errors
    /// If it is something else.
    pub fn str(&self, key: &str) -> Result<Option<Arc<str>>> {
        self.get(key, Value::str)
    }

    /// A list of numbers; `None` if the key is absent or null.
    ///
    /// # Errors
    /// If it is something else.
    pub fn floats(&self, key: &str) -> Result<Option<Arc<[f64]>>> {
        self.get(key, Value::floats)
    }

    /// A table inside this one; `None` if the key is absent or something else.
    #[must_use]
    pub fn table(&self, key: &str) -> Option<Self> {
        let Entries::Json(table) = self.entries else {
            return None;
        };
        let entries = Entries::Json(table.get(key)?.as_object()?);
        Some(Self {
            file: self.file,
            prefix: format!("{}{key}.", self.prefix),
            entries,
        })
    }

    /// Whether a value of this table is a table: settings for each type of layer.
    #[must_use]
    pub fn holds_tables(&self) -> bool {
        match self.entries {
            Entries::Json(table) => table.values().any(Json::is_object),
            Entries::Metadata(_) => false,
        }
    }

    /// Whether it has no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self.entries {
            Entries::Json(table) => table.is_empty(),
            Entries::Metadata(metadata) => {
                !metadata.keys().any(|key| key.starts_with(&self.prefix))
            }
        }
    }

    fn get<T>(&self, key: &str, convert: impl Fn(Value<'a>) -> Converted<T>) -> Result<Option<T>> {
        let full = format!("{}{key}", self.prefix);
        let value = match self.entries {
            Entries::Json(table) => match table.get(key) {
                None | Some(Json::Null) => return Ok(None),
                Some(value) => Value::Json(value),
            },
            Entries::Metadata(metadata) => match metadata.get(&full) {
                None => return Ok(None),
                Some(value) => Value::Metadata(value),
            },
        };
        convert(value).map(Some).map_err(|expected| {
            ConfigError::WrongValue {
                file: self.file.into(),
                field: key.into(),
                key: format!("`{full}`").into(),
                expected: expected.into(),
                found: value.to_string().into(),
            }
            .into()
        })
    }
}
