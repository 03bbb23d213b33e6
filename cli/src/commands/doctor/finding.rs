//! What the facts come to.

use serde::Serialize;

/// How bad it is, worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Level {
    Ok,
    /// Worth knowing; nothing needs to be done.
    Note,
    /// Something works less well than it could.
    Warning,
    /// Something does not work.
    Error,
}

impl Level {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One line of the verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) level: Level,
    /// What it is about: `cpu`, `hub`, `models`.
    pub(super) topic: &'static str,
    pub(super) what: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hint: Option<String>,
}

impl Finding {
    pub(super) fn ok(topic: &'static str, what: impl Into<String>) -> Self {
        Self::new(Level::Ok, topic, what, None)
    }

    pub(super) fn note(
        topic: &'static str,
        what: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self::new(Level::Note, topic, what, Some(hint.into()))
    }

    pub(super) fn warning(
        topic: &'static str,
        what: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self::new(Level::Warning, topic, what, Some(hint.into()))
    }

    pub(super) fn error(
        topic: &'static str,
        what: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self::new(Level::Error, topic, what, Some(hint.into()))
    }

    fn new(
        level: Level,
        topic: &'static str,
        what: impl Into<String>,
        hint: Option<String>,
    ) -> Self {
        Self {
            level,
            topic,
            what: what.into(),
            hint,
        }
    }
}
