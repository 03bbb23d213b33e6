//! PLACEHOLDER: the weights branch replaces this file.
#![allow(missing_docs)]
use crate::config::ConfigFile;
#[derive(Debug)]
pub struct Checkpoint {
    config: ConfigFile,
}
impl Checkpoint {
    pub fn config(&self) -> &ConfigFile {
        &self.config
    }
}
