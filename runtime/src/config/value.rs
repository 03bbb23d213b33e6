//! A value in config.json or GGUF metadata, and what it can be taken for.

use std::sync::Arc;

use serde_json::Value as Json;

use super::OneOrEach;
use crate::weights::MetadataValue;

/// The largest integer below which f64 has all of them.
const MAX_INTEGER: f64 = 9_007_199_254_740_992.0;

/// A value as the file has it.
#[derive(Clone, Copy)]
pub(super) enum Value<'a> {
    Json(&'a Json),
    Metadata(&'a MetadataValue),
}

/// A conversion that failed: what was expected instead.
pub(super) type Converted<T> = Result<T, &'static str>;

impl Value<'_> {
    pub(super) fn is_null(self) -> bool {
        matches!(self, Self::Json(Json::Null))
    }

    /// A whole number, also written `32.0`, or per layer the same.
    pub(super) fn int(self) -> Converted<f64> {
        let Some(number) = self.number().or_else(|| self.same_number_each_layer()) else {
            return Err("a whole number");
        };
        whole(number)
    }

    /// A finite number.
    pub(super) fn float(self) -> Converted<f64> {
        match self.number().or_else(|| self.same_number_each_layer()) {
            Some(number) if number.is_finite() => Ok(number),
            _ => Err("a number"),
        }
    }

    pub(super) fn bool(self) -> Converted<bool> {
        match self {
            Self::Json(Json::Bool(value)) | Self::Metadata(MetadataValue::Bool(value)) => {
                Ok(*value)
            }
            _ => Err("true or false"),
        }
    }

    pub(super) fn str(self) -> Converted<Arc<str>> {
        match self {
            Self::Json(Json::String(value)) | Self::Metadata(MetadataValue::String(value)) => {
                Ok(value.as_str().into())
            }
            _ => Err("a string"),
        }
    }

    pub(super) fn ints(self) -> Converted<Arc<[f64]>> {
        let numbers = self.numbers().ok_or("a list of whole numbers")?;
        numbers
            .into_iter()
            .map(whole)
            .collect::<Converted<_>>()
            .map_err(|_| "a list of whole numbers")
    }

    pub(super) fn floats(self) -> Converted<Arc<[f64]>> {
        let numbers = self
            .numbers()
            .filter(|all| all.iter().all(|number| number.is_finite()));
        Ok(numbers.ok_or("a list of numbers")?.into())
    }

    pub(super) fn bools(self) -> Converted<Arc<[bool]>> {
        let bools = match self {
            Self::Json(Json::Array(values)) => values.iter().map(Json::as_bool).collect(),
            Self::Metadata(MetadataValue::Array(array)) => array.bools().map(Into::into),
            _ => None,
        };
        bools.ok_or("a list of true and false")
    }

    pub(super) fn strs(self) -> Converted<Arc<[Arc<str>]>> {
        let strings = match self {
            Self::Json(Json::Array(values)) => values
                .iter()
                .map(|value| value.as_str().map(Arc::from))
                .collect(),
            Self::Metadata(MetadataValue::Array(array)) => array
                .strings()
                .map(|strings| strings.into_iter().map(Arc::from).collect()),
            _ => None,
        };
        strings.ok_or("a list of strings")
    }

    pub(super) fn one_or_each(self) -> Converted<OneOrEach> {
        let expected = "a number or a list of numbers";
        match self.number() {
            Some(number) if number.is_finite() => Ok(OneOrEach::One(number)),
            Some(_) => Err(expected),
            None => self.floats().map(OneOrEach::Each).map_err(|_| expected),
        }
    }

    /// A plain number.
    pub(super) fn number(self) -> Option<f64> {
        match self {
            Self::Json(value) => value.as_f64(),
            Self::Metadata(value) => value.as_f64(),
        }
    }

    fn numbers(self) -> Option<Vec<f64>> {
        match self {
            Self::Json(Json::Array(values)) => values.iter().map(Json::as_f64).collect(),
            Self::Metadata(MetadataValue::Array(array)) => array.numbers(),
            _ => None,
        }
    }

    /// GGUF converters write some per-layer numbers as an array though all layers agree.
    fn same_number_each_layer(self) -> Option<f64> {
        let Self::Metadata(MetadataValue::Array(_)) = self else {
            return None;
        };
        let numbers = self.numbers()?;
        let first = *numbers.first()?;
        numbers
            .iter()
            .all(|number| *number == first)
            .then_some(first)
    }
}

fn whole(number: f64) -> Converted<f64> {
    if number.fract() != 0.0 || number.abs() > MAX_INTEGER {
        return Err("a whole number up to 2^53");
    }
    Ok(number)
}

/// How a message shows a value: as the file has it, cut short.
impl std::fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const LONGEST: usize = 60;
        let text = match self {
            Self::Json(Json::Array(values)) if values.len() > 8 => {
                format!("a list of {}", values.len())
            }
            Self::Json(Json::Object(table)) => format!("a table of {}", table.len()),
            Self::Json(value) => value.to_string(),
            Self::Metadata(MetadataValue::Integer(value)) => value.to_string(),
            Self::Metadata(MetadataValue::Float(value)) => value.to_string(),
            Self::Metadata(MetadataValue::Bool(value)) => value.to_string(),
            Self::Metadata(MetadataValue::String(value)) => format!("{value:?}"),
            Self::Metadata(MetadataValue::Array(array)) => format!("an array of {}", array.len()),
        };
        match text.char_indices().nth(LONGEST) {
            Some((end, _)) => write!(f, "{}…", &text[..end]),
            None => f.write_str(&text),
        }
    }
}
