//! Settings of a checkpoint: config.json or GGUF metadata. PLACEHOLDER: the weights branch replaces this file.
#![allow(missing_docs, unused_variables)]

use crate::Result;
use std::sync::Arc;

/// A file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// config.json and safetensors.
    Hf,
    /// GGUF.
    Gguf,
}

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    #[error("config field `{0}` is missing")]
    Missing(String),
}

#[derive(Debug)]
pub struct ConfigFile {
    format: Format,
}

/// A number, or one number for each layer.
#[derive(Clone, Debug, PartialEq)]
pub enum OneOrEach {
    One(f64),
    Each(Arc<[f64]>),
}

#[derive(Debug)]
pub struct Lookup<'a> {
    file: &'a ConfigFile,
    name: &'static str,
}

impl ConfigFile {
    pub fn format(&self) -> Format {
        self.format
    }
    pub fn field<'a>(
        &'a self,
        name: &'static str,
        hf: &[&'static str],
        gguf: &'static str,
    ) -> Lookup<'a> {
        Lookup { file: self, name }
    }
    pub fn rows_of_embedding(&self) -> Result<f64> {
        Err(ConfigError::Missing("rows(embed.tokens)".into()).into())
    }
}

macro_rules! lookups {
    ($($required:ident $or:ident $ty:ty, $opt:ident $opt_or:ident;)*) => {
        impl<'a> Lookup<'a> {
            $(
                pub fn $required(self) -> Result<$ty> {
                    Err(ConfigError::Missing(self.name.into()).into())
                }
                pub fn $or(self, default: impl FnOnce() -> Result<$ty>) -> Result<$ty> {
                    default()
                }
                pub fn $opt(self) -> Result<Option<$ty>> {
                    Err(ConfigError::Missing(self.name.into()).into())
                }
                pub fn $opt_or(self, default: impl FnOnce() -> Result<Option<$ty>>) -> Result<Option<$ty>> {
                    default()
                }
            )*
        }
    };
}
lookups! {
    int int_or f64, int_opt int_opt_or;
    float float_or f64, float_opt float_opt_or;
    bool bool_or bool, bool_opt bool_opt_or;
    str str_or Arc<str>, str_opt str_opt_or;
}
impl Lookup<'_> {
    pub fn ints(self) -> Result<Arc<[f64]>> {
        self.floats()
    }
    pub fn ints_or(self, default: impl FnOnce() -> Result<Vec<f64>>) -> Result<Arc<[f64]>> {
        Ok(default()?.into())
    }
    pub fn floats(self) -> Result<Arc<[f64]>> {
        Err(ConfigError::Missing(self.name.into()).into())
    }
    pub fn floats_or(self, default: impl FnOnce() -> Result<Vec<f64>>) -> Result<Arc<[f64]>> {
        Ok(default()?.into())
    }
    pub fn bools(self) -> Result<Arc<[bool]>> {
        Err(ConfigError::Missing(self.name.into()).into())
    }
    pub fn bools_or(self, default: impl FnOnce() -> Result<Vec<bool>>) -> Result<Arc<[bool]>> {
        Ok(default()?.into())
    }
    pub fn strs(self) -> Result<Arc<[Arc<str>]>> {
        Err(ConfigError::Missing(self.name.into()).into())
    }
    pub fn strs_or<S: Into<Arc<str>>>(
        self,
        default: impl FnOnce() -> Result<Vec<S>>,
    ) -> Result<Arc<[Arc<str>]>> {
        Ok(default()?.into_iter().map(Into::into).collect())
    }
    pub fn one_or_each(self) -> Result<OneOrEach> {
        Err(ConfigError::Missing(self.name.into()).into())
    }
    pub fn one_or_each_or(self, default: impl FnOnce() -> Result<OneOrEach>) -> Result<OneOrEach> {
        default()
    }
}
