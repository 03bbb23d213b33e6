//! The hub: is it there, does it know our token. One short request, none in offline mode.

use std::time::Duration;

use inferno_runtime::hub::{self, HubError, Settings, Token};

use crate::commands::doctor::facts::{Hub, Problem, Reached, TokenState};

/// To connect, and again for the answer to begin.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn look() -> Hub {
    match Settings::from_env() {
        Ok(mut settings) => {
            settings.patience.connect = PATIENCE;
            settings.patience.answer = PATIENCE;
            ask(settings)
        }
        Err(error) => Hub {
            endpoint: None,
            offline: false,
            token: None,
            reached: Err(problem(&error)),
        },
    }
}

fn ask(settings: Settings) -> Hub {
    let endpoint = Some(settings.endpoint.clone());
    let offline = settings.offline;
    let token = settings
        .token
        .as_ref()
        .map(Token::source)
        .map(str::to_string);
    let reached = hub::Hub::new(settings).and_then(|hub| hub.reach());
    Hub {
        endpoint,
        offline,
        token,
        reached: match reached {
            Ok(reached) => Ok(Reached {
                seconds: reached.took.as_secs_f64(),
                token: match reached.token {
                    hub::TokenState::None => TokenState::None,
                    hub::TokenState::Accepted { user } => TokenState::Accepted { user },
                    hub::TokenState::Refused => TokenState::Refused,
                },
            }),
            Err(error) => Err(problem(&error)),
        },
    }
}

/// An error of the hub says what to do on its last line.
fn problem(error: &HubError) -> Problem {
    let text = error.to_string();
    let (what, hint) = text.split_once("\nhint: ").unwrap_or((&text, ""));
    Problem {
        what: what.to_string(),
        hint: hint.to_string(),
    }
}
