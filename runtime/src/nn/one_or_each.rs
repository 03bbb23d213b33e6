//! What expressions make of a field whose type the spec leaves open.

use super::error::setting;
use super::value::number;
use crate::Result;
use crate::config::OneOrEach;

impl OneOrEach {
    /// The number that stands for all layers.
    ///
    /// # Errors
    /// If it is off, or the file gives a list.
    pub fn number(&self) -> Result<f64> {
        number(self.optional()?)
    }

    /// The number that stands for all layers, if it is not off.
    ///
    /// # Errors
    /// If the file gives a list.
    pub fn optional(&self) -> Result<Option<f64>> {
        match self {
            Self::None => Ok(None),
            Self::One(value) => Ok(Some(*value)),
            Self::Each(_) => setting(
                "an expression of the spec needs one number where this checkpoint has a list",
            ),
        }
    }

    /// The numbers of all layers.
    ///
    /// # Errors
    /// If there is no list.
    pub fn list(&self) -> Result<&[f64]> {
        match self {
            Self::Each(list) => Ok(list),
            _ => setting("an expression of the spec needs a list where this checkpoint has none"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_use_says_what_it_needs() {
        let list = OneOrEach::from(vec![1.0, 2.0]);
        assert!(
            OneOrEach::from(8.0)
                .number()
                .is_ok_and(|number| number == 8.0)
        );
        assert!(
            OneOrEach::None
                .optional()
                .is_ok_and(|number| number.is_none())
        );
        assert!(OneOrEach::None.number().is_err());
        assert!(list.number().is_err() && list.optional().is_err());
        assert!(list.list().is_ok_and(|list| list == [1.0, 2.0]));
        assert!(OneOrEach::from(8.0).list().is_err());
    }
}
