//! Looking a field up: its keys in order, then its default.

use std::any::type_name;
use std::sync::Arc;

use super::value::{Converted, Value};
use super::{ConfigError, ConfigFile, Format};
use crate::{Error, Result};

/// A number for all layers, or one for each: fields whose type the spec leaves open.
#[derive(Clone, Debug, PartialEq)]
pub enum OneOrEach {
    /// Off: only a default says so.
    None,
    /// The same for all.
    One(f64),
    /// By layer.
    Each(Arc<[f64]>),
}

impl From<f64> for OneOrEach {
    fn from(value: f64) -> Self {
        Self::One(value)
    }
}

impl From<Option<f64>> for OneOrEach {
    fn from(value: Option<f64>) -> Self {
        value.map_or(Self::None, Self::One)
    }
}

impl From<Vec<f64>> for OneOrEach {
    fn from(values: Vec<f64>) -> Self {
        Self::Each(values.into())
    }
}

impl From<Arc<[f64]>> for OneOrEach {
    fn from(values: Arc<[f64]>) -> Self {
        Self::Each(values)
    }
}

/// A field that is about to be looked up; the method called last says what it is taken for.
///
/// Plain methods are for required fields, `_or` takes the default. Where JSON says null, `_opt` methods give `None` at
/// once and the others go on as if the key were absent. A default is computed once.
#[derive(Clone, Copy)]
#[must_use = "a lookup does nothing until its type is said"]
pub struct Lookup<'a> {
    pub(super) file: &'a ConfigFile,
    pub(super) name: &'static str,
    pub(super) hf_keys: &'a [&'a str],
    pub(super) gguf_key: &'a str,
    pub(super) null: Null,
}

/// What a JSON null means.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Null {
    /// The setting is off, where the type knows that.
    Off,
    /// As if the key were not there.
    Absent,
}

/// What the file says of a field.
enum Found<T> {
    Value(T),
    Null,
    Nothing,
}

/// The methods of a type whose values may be off.
macro_rules! scalar {
    ($ty:ty, $what:literal, $plain:ident, $or:ident, $opt:ident, $opt_or:ident) => {
        #[doc = concat!("The field as ", $what, ".")]
        ///
        /// # Errors
        /// If the file does not have it, or something else there.
        pub fn $plain(self) -> Result<$ty> {
            self.required(Value::$plain)
        }

        #[doc = concat!("The field as ", $what, ", or its default.")]
        ///
        /// # Errors
        /// If the file has something else there, or the default fails.
        pub fn $or<F: FnOnce() -> Result<$ty>>(self, default: F) -> Result<$ty> {
            self.or(Value::$plain, default, type_name::<F>())
        }

        #[doc = concat!("The field as ", $what, "; null is `None`.")]
        ///
        /// # Errors
        /// If the file does not have it, or something else there.
        pub fn $opt(self) -> Result<Option<$ty>> {
            match self.find(Value::$plain)? {
                Found::Value(value) => Ok(Some(value)),
                Found::Null if self.null == Null::Off => Ok(None),
                Found::Null | Found::Nothing => Err(self.missing()),
            }
        }

        #[doc = concat!("The field as ", $what, ", or its default; null is `None`.")]
        ///
        /// # Errors
        /// If the file has something else there, or the default fails.
        pub fn $opt_or<F: FnOnce() -> Result<Option<$ty>>>(
            self,
            default: F,
        ) -> Result<Option<$ty>> {
            match self.find(Value::$plain)? {
                Found::Value(value) => Ok(Some(value)),
                Found::Null if self.null == Null::Off => Ok(None),
                Found::Null | Found::Nothing => self.remembered(default, type_name::<F>()),
            }
        }
    };
}

/// The methods of a list of plain values.
macro_rules! list {
    ($element:ty, $what:literal, $plain:ident, $or:ident) => {
        #[doc = concat!("The field as a list of ", $what, ".")]
        ///
        /// # Errors
        /// If the file does not have it, or something else there.
        pub fn $plain(self) -> Result<Arc<[$element]>> {
            self.required(Value::$plain)
        }

        #[doc = concat!("The field as a list of ", $what, ", or its default.")]
        ///
        /// # Errors
        /// If the file has something else there, or the default fails.
        pub fn $or<F: FnOnce() -> Result<Vec<$element>>>(
            self,
            default: F,
        ) -> Result<Arc<[$element]>> {
            self.or(Value::$plain, || Ok(default()?.into()), type_name::<F>())
        }
    };
}

impl<'a> Lookup<'a> {
    scalar!(f64, "a whole number", int, int_or, int_opt, int_opt_or);
    scalar!(f64, "a number", float, float_or, float_opt, float_opt_or);
    scalar!(bool, "a bool", bool, bool_or, bool_opt, bool_opt_or);
    scalar!(Arc<str>, "a string", str, str_or, str_opt, str_opt_or);
    scalar!(
        OneOrEach,
        "a number or a list of numbers",
        one_or_each,
        one_or_each_or,
        one_or_each_opt,
        one_or_each_opt_or
    );
    list!(f64, "whole numbers", ints, ints_or);
    list!(f64, "numbers", floats, floats_or);
    list!(bool, "bools", bools, bools_or);

    /// The field as a list of strings.
    ///
    /// # Errors
    /// If the file does not have it, or something else there.
    pub fn strs(self) -> Result<Arc<[Arc<str>]>> {
        self.required(Value::strs)
    }

    /// The field as a list of strings, or its default, for which borrowed ones will do.
    ///
    /// # Errors
    /// If the file has something else there, or the default fails.
    pub fn strs_or<S, F>(self, default: F) -> Result<Arc<[Arc<str>]>>
    where
        S: Into<Arc<str>>,
        F: FnOnce() -> Result<Vec<S>>,
    {
        let default = || Ok(default()?.into_iter().map(Into::into).collect());
        self.or(Value::strs, default, type_name::<F>())
    }

    /// From here on a null is as if the key were absent, in `_opt` methods too: for a field whose type knows no null, but
    /// whose default may be none.
    pub fn absent_if_null(self) -> Self {
        Self {
            null: Null::Absent,
            ..self
        }
    }

    fn required<T>(self, convert: impl Fn(Value<'a>) -> Converted<T>) -> Result<T> {
        match self.absent_if_null().find(convert)? {
            Found::Value(value) => Ok(value),
            Found::Null | Found::Nothing => Err(self.missing()),
        }
    }

    fn or<T: Clone + Send + 'static>(
        self,
        convert: impl Fn(Value<'a>) -> Converted<T>,
        default: impl FnOnce() -> Result<T>,
        spec: &'static str,
    ) -> Result<T> {
        match self.absent_if_null().find(convert)? {
            Found::Value(value) => Ok(value),
            Found::Null | Found::Nothing => self.remembered(default, spec),
        }
    }

    /// `spec` tells apart the defaults that two specs give a field of one name.
    fn remembered<T: Clone + Send + 'static>(
        &self,
        default: impl FnOnce() -> Result<T>,
        spec: &'static str,
    ) -> Result<T> {
        self.file.remembered((self.name, spec), default)
    }

    /// The first key that the file has, converted.
    fn find<T>(&self, convert: impl Fn(Value<'a>) -> Converted<T>) -> Result<Found<T>> {
        for key in self.keys() {
            let Some(value) = self.file.value(key) else {
                continue;
            };
            if value.is_null() {
                match self.null {
                    Null::Off => return Ok(Found::Null),
                    Null::Absent => continue,
                }
            }
            let checked = convert(value).map_err(str::to_owned).and_then(|converted| {
                let limit = self.file.limit(self.name, value);
                limit.map_or(Ok(converted), |limit| Err(format!("at most {limit}")))
            });
            return match checked {
                Ok(converted) => Ok(Found::Value(converted)),
                Err(expected) => Err(self.wrong(key, expected, value)),
            };
        }
        Ok(Found::Nothing)
    }

    fn keys(&self) -> &[&'a str] {
        match self.file.format() {
            Format::Hf => self.hf_keys,
            Format::Gguf if self.gguf_key.is_empty() => &[],
            Format::Gguf => std::slice::from_ref(&self.gguf_key),
        }
    }

    fn wrong(&self, key: &str, expected: String, found: Value<'_>) -> Error {
        ConfigError::WrongValue {
            file: self.file.name().into(),
            field: self.name.into(),
            key: format!("`{}`", self.file.full_key(key)).into(),
            expected: expected.into(),
            found: found.to_string().into(),
        }
        .into()
    }

    fn missing(&self) -> Error {
        let keys: Vec<_> = self
            .keys()
            .iter()
            .map(|key| format!("`{}`", self.file.full_key(key)))
            .collect();
        ConfigError::Missing {
            file: self.file.name().into(),
            field: self.name.into(),
            key: if keys.is_empty() {
                "a key".into()
            } else {
                keys.join(" or ").into()
            },
        }
        .into()
    }
}
