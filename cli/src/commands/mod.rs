//! One command, one file.

pub(crate) mod bench;
pub(crate) mod completions;
pub(crate) mod doctor;
pub(crate) mod download;
pub(crate) mod expand;
pub(crate) mod inspect;
pub(crate) mod list;
pub(crate) mod man;
pub(crate) mod perplexity;
pub(crate) mod play;
pub(crate) mod rm;
pub(crate) mod run;
pub(crate) mod spec;
pub(crate) mod verify;
