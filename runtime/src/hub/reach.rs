//! Whether the hub is there, and whether it knows our token.

use std::time::{Duration, Instant};

use serde::Deserialize;

use super::client::Wanted;
use super::error::shown;
use super::retry::Failure;
use super::{Hub, HubError};

/// The longest answer that is read.
const MAX_BYTES: u64 = 1 << 20;

/// A hub that answers.
#[derive(Clone, Debug)]
pub struct Reached {
    /// Its address.
    pub endpoint: String,
    /// How long the answer took.
    pub took: Duration,
    /// What it says of our token.
    pub token: TokenState,
}

/// What a hub says of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenState {
    /// There is none.
    None,
    /// It belongs to this user.
    Accepted {
        /// The user's name.
        user: String,
    },
    /// The hub does not know it.
    Refused,
}

impl Hub {
    /// Asks the hub once who we are.
    ///
    /// # Errors
    /// If it does not answer, or not like a hub, or offline mode forbids to ask.
    pub fn reach(&self) -> Result<Reached, HubError> {
        #[derive(Deserialize)]
        struct User {
            name: String,
        }
        let settings = self.settings();
        if settings.offline {
            return Err(HubError::Offline {
                name: settings.endpoint.clone(),
            });
        }
        let url = format!("{}/api/whoami-v2", settings.endpoint);
        let start = Instant::now();
        let answer = self.client().get(&Wanted {
            url: &url,
            range: None,
            json: true,
            subject: self.subject(None, None),
        });
        let token = match answer.and_then(|answer| answer.json::<User>(MAX_BYTES)) {
            Ok(user) => TokenState::Accepted {
                user: shown(&user.name),
            },
            Err(Failure::Final(HubError::TokenRefused { .. })) => TokenState::Refused,
            // Without a token this is what a hub answers.
            Err(Failure::Final(HubError::Refused { status: 401, .. })) => TokenState::None,
            Err(Failure::Final(error)) => return Err(error),
            Err(Failure::Passing { reason, .. }) => {
                return Err(HubError::Unreachable {
                    host: self.client().host().into(),
                    reason,
                    hint: "check the network; behind a proxy set HTTPS_PROXY; HF_ENDPOINT names another hub",
                });
            }
        };
        Ok(Reached {
            endpoint: settings.endpoint.clone(),
            took: start.elapsed(),
            token,
        })
    }
}
