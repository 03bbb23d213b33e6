//! What the macro rejects: one test per row, with message, place and hint.

mod config;
mod expressions;
mod keys;
mod names;
mod parts;
mod steps;
mod top;

use super::told;
