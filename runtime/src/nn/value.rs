//! Values of spec expressions: sizes, list elements, arithmetic.

use std::sync::Arc;

use super::error::setting;
use crate::Result;
use crate::config::OneOrEach;

/// Layers that a model may have; more are a damaged or hostile config file.
pub(crate) const MAX_LAYERS: usize = 1 << 16;

/// A size out of an expression: a whole number from 1 to 2^31. `what` names it in the error.
///
/// # Errors
/// Anything else.
pub fn size(what: &str, value: f64) -> Result<usize> {
    if value.fract() == 0.0 && (1.0..=2_147_483_648.0).contains(&value) {
        Ok(value as usize)
    } else {
        setting(format!(
            "`{what}` is {value}, but must be a whole number from 1 to 2^31"
        ))
    }
}

/// A count out of an expression: a whole number from 0 to 2^31. `what` names it in the error.
///
/// # Errors
/// Anything else.
pub fn count(what: &str, value: f64) -> Result<usize> {
    if value == 0.0 {
        return Ok(0);
    }
    size(what, value)
}

/// [`size`] of a value that may be off.
///
/// # Errors
/// As [`size`].
pub fn optional_size(what: &str, value: Option<f64>) -> Result<Option<usize>> {
    value.map(|value| size(what, value)).transpose()
}

/// What a list of the config file may hold.
pub trait Element {
    /// How an expression sees it.
    type View<'a>: PartialEq
    where
        Self: 'a;
    /// The element as an expression sees it.
    fn view(&self) -> Self::View<'_>;
}

impl Element for f64 {
    type View<'a> = f64;
    fn view(&self) -> f64 {
        *self
    }
}

impl Element for bool {
    type View<'a> = bool;
    fn view(&self) -> bool {
        *self
    }
}

impl Element for Arc<str> {
    type View<'a> = &'a str;
    fn view(&self) -> &str {
        self
    }
}

/// `list[index]`, from 0.
///
/// # Errors
/// If the list has no such element.
pub fn at<T: Element>(list: &[T], index: f64) -> Result<T::View<'_>> {
    let index = index.trunc();
    if index >= 0.0
        && let Some(element) = list.get(index as usize)
    {
        return Ok(element.view());
    }
    setting(format!(
        "a list of {} values has no element {index}",
        list.len()
    ))
}

/// `at(value, index)`: the element of a list, or the number that stands for all.
///
/// # Errors
/// If the list has no such element.
pub fn at_or_one(value: &OneOrEach, index: f64) -> Result<f64> {
    match value {
        OneOrEach::Each(list) => at(list, index),
        value => value.number(),
    }
}

/// Whether a list has this element.
#[must_use]
pub fn contains<'a, T: Element>(list: &'a [T], value: T::View<'a>) -> bool {
    list.iter().any(|element| element.view() == value)
}

/// The remainder of the floored division, which has the sign of `b`.
///
/// # Errors
/// If `b` is zero.
pub fn rem(a: f64, b: f64) -> Result<f64> {
    if b == 0.0 {
        return setting(format!(
            "an expression of the spec divides {a} by 0; a setting is wrong"
        ));
    }
    let rem = a % b;
    Ok(if rem != 0.0 && (rem < 0.0) != (b < 0.0) {
        rem + b
    } else {
        rem
    })
}

/// A number to calculate with.
///
/// # Errors
/// If it is none.
pub fn number(value: Option<f64>) -> Result<f64> {
    match value {
        Some(value) => Ok(value),
        None => setting(
            "an expression of the spec calculates with a setting that is none (null) in this checkpoint",
        ),
    }
}

/// A list with one value for each of `layers` layers.
///
/// # Errors
/// If `layers` is no possible number of layers, or what `value` reports.
pub fn per_layer<T>(layers: f64, value: impl FnMut(usize) -> Result<T>) -> Result<Vec<T>> {
    let layers = size("number of layers", layers)?;
    if layers > MAX_LAYERS {
        return setting(format!(
            "{layers} layers are more than {MAX_LAYERS}; the config file is damaged"
        ));
    }
    (0..layers).map(value).collect()
}

/// A part of a layer that only some layers have.
///
/// # Errors
/// If this one has not; a step then calls what was not loaded.
pub fn part<'a, T>(part: &'a Option<T>, name: &str) -> Result<&'a T> {
    match part {
        Some(part) => Ok(part),
        None => setting(format!("this layer has no `{name}`")),
    }
}
