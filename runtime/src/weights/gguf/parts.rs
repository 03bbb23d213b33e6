//! Models that are split into several GGUF files, `name-00001-of-00003.gguf` and so on.

use std::path::Path;

use super::metadata::MetadataValue;
use crate::config::Metadata;
use crate::weights::CheckpointError;

/// The most parts; models of a terabyte have some thirty.
const MAX_PARTS: u32 = 1000;

/// Where a file stands among the parts of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::weights) struct Part {
    /// From 1.
    pub(in crate::weights) number: u32,
    pub(in crate::weights) count: u32,
}

impl Part {
    /// What a file's metadata says; a model in one file is part 1 of 1.
    pub(in crate::weights) fn of(
        path: &Path,
        metadata: &Metadata,
    ) -> Result<Self, CheckpointError> {
        let integer = |key| match metadata.get(key) {
            None => Ok(0),
            Some(MetadataValue::Integer(value)) if (0..=i128::from(MAX_PARTS)).contains(value) => {
                Ok(*value as u32)
            }
            Some(_) => Err(CheckpointError::damaged(
                path,
                format!("{key} is no number up to {MAX_PARTS}"),
            )),
        };
        let part = Self {
            number: integer("split.no")? + 1,
            count: integer("split.count")?.max(1),
        };
        if part.number > part.count {
            let Self { number, count } = part;
            return Err(CheckpointError::damaged(
                path,
                format!("it says that it is part {number} of {count}"),
            ));
        }
        Ok(part)
    }

    /// The names of the other parts of a model whose first part is this file, called `name`.
    pub(in crate::weights) fn others(
        self,
        path: &Path,
        name: &str,
    ) -> Result<Vec<(String, Self)>, CheckpointError> {
        let Self { number, count } = self;
        if count == 1 {
            return Ok(Vec::new());
        }
        let unsupported = |reason| CheckpointError::Unsupported {
            path: path.into(),
            reason,
        };
        if number != 1 {
            return Err(unsupported(format!(
                "it is part {number} of {count}; give the path of part 1"
            )));
        }
        let end = format!("-00001-of-{count:05}.gguf");
        let Some(stem) = name.strip_suffix(&end) else {
            return Err(unsupported(format!(
                "it is part 1 of {count}, so its name must end with {end}"
            )));
        };
        let other = |number| {
            (
                format!("{stem}-{number:05}-of-{count:05}.gguf"),
                Self { number, count },
            )
        };
        Ok((2..=count).map(other).collect())
    }
}

/// Whether a file is called like a part, but not like the first.
pub(in crate::weights) fn is_later_part(name: &str) -> bool {
    let digits = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    let Some((rest, count)) = name
        .strip_suffix(".gguf")
        .and_then(|stem| stem.rsplit_once("-of-"))
    else {
        return false;
    };
    rest.rsplit_once('-')
        .is_some_and(|(_, number)| digits(count) && digits(number) && number != "00001")
}
