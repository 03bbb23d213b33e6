//! Ctrl-C in the middle of long work: it ends in order the first time, at once the second time.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use inferno_runtime::hub::{Cancel, HubError};
use signal_hook::consts::{SIGINT, SIGTERM};

/// What shells give to a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// A switch that Ctrl-C and SIGTERM turn.
pub(crate) fn cancel() -> std::io::Result<Cancel> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // Before the flag is set, so that it acts on the second signal only.
        let code = i32::from(INTERRUPTED);
        signal_hook::flag::register_conditional_shutdown(signal, code, Arc::clone(&flag))?;
        signal_hook::flag::register(signal, Arc::clone(&flag))?;
    }
    Ok(Cancel::from(flag))
}

/// The exit code of work that was stopped; `None` for other errors.
pub(crate) fn exit_code(error: &anyhow::Error) -> Option<ExitCode> {
    matches!(error.downcast_ref::<HubError>(), Some(HubError::Cancelled))
        .then(|| ExitCode::from(INTERRUPTED))
}
