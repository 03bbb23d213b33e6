//! Harmony: prompts against OpenAI's own renderer, answers against its parser and against any sequence of tokens whatever.
#![allow(clippy::unwrap_used)]

mod cases;
mod conversation;
mod format;
mod oracle;
mod parse;
mod render;
