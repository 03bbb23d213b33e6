//! Models of a hub: finding them on this machine, fetching, checking and removing them.
//!
//! Models live in the Hugging Face cache (`$HF_HUB_CACHE`, `$HF_HOME/hub` or `~/.cache/huggingface/hub`), in its layout, so
//! that models which another program put there are found, and the other way round.
//!
//! A download goes on where an earlier one stopped, however that ended. A file gets its name when its hash is right, not
//! before. Everything that a server says is checked before it becomes a path, a length or an allocation, and the token goes
//! to the hub's own host alone.

mod address;
mod cache;
mod cancel;
mod client;
mod download;
mod error;
mod gguf;
mod hash;
mod installed;
mod listing;
mod lock;
mod name;
mod part;
mod plan;
mod progress;
mod reach;
mod remove;
mod resolve;
mod retry;
mod select;
mod settings;
mod snapshot;
mod space;
mod status;
mod transfer;
mod verify;

pub use cancel::Cancel;
pub use download::Downloaded;
pub use error::HubError;
pub use hash::ContentHash;
pub use installed::{
    InstallState, Installed, InstalledRepository, installed, installed_in, repositories,
    repositories_in,
};
pub use listing::RemoteFile;
pub use name::{FilePath, ModelName, RepoId, Revision, looks_like_repository};
pub use plan::{DownloadPlan, PlanOptions, PlannedFile};
pub use progress::{Event, Listener};
pub use reach::{Reached, TokenState};
pub use remove::{Removal, Removed};
pub use resolve::resolve;
pub use settings::{Patience, Settings, Token, cache_folder};
pub use verify::{Finding, Verification, check_links, remove_damaged, verify};

use client::Client;
use status::Subject;

/// A model hub, as the settings describe it.
#[derive(Debug)]
pub struct Hub {
    settings: Settings,
    client: Client,
}

impl Hub {
    /// Checks the settings; asks nobody yet.
    ///
    /// # Errors
    /// Names the setting that makes no sense.
    pub fn new(settings: Settings) -> Result<Self, HubError> {
        let client = Client::new(&settings)?;
        Ok(Self { settings, client })
    }

    /// The hub of this environment.
    ///
    /// # Errors
    /// As [`Settings::from_env`].
    pub fn from_env() -> Result<Self, HubError> {
        Self::new(Settings::from_env()?)
    }

    /// What it was made with.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    fn client(&self) -> &Client {
        &self.client
    }

    fn subject<'a>(&'a self, model: Option<&'a ModelName>, file: Option<&'a str>) -> Subject<'a> {
        Subject {
            endpoint: &self.settings.endpoint,
            model,
            file,
            token: self.settings.token.as_ref().map(Token::source),
        }
    }
}
