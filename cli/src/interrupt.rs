//! Ctrl-C in the middle of long work: it ends in order the first time, at once the second time.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use inferno_runtime::hub::{Cancel, HubError};
use signal_hook::SigId;
use signal_hook::consts::{SIGINT, SIGTERM};

/// What shells give to a program that Ctrl-C ended.
pub(crate) const INTERRUPTED: u8 = 130;

/// Work that Ctrl-C and SIGTERM stop, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Interruptible {
    /// The switch that they turn.
    pub(crate) cancel: Cancel,
    handlers: Vec<SigId>,
}

impl Interruptible {
    pub(crate) fn new() -> std::io::Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        let mut work = Self {
            cancel: Cancel::from(Arc::clone(&flag)),
            handlers: Vec::new(),
        };
        for signal in [SIGINT, SIGTERM] {
            // Before the flag is set, so that it acts on the second signal only.
            let code = i32::from(INTERRUPTED);
            let at_once =
                signal_hook::flag::register_conditional_shutdown(signal, code, Arc::clone(&flag))?;
            work.handlers.push(at_once);
            let in_order = signal_hook::flag::register(signal, Arc::clone(&flag))?;
            work.handlers.push(in_order);
        }
        Ok(work)
    }
}

/// What comes after the work has a Ctrl-C of its own, such as a conversation.
impl Drop for Interruptible {
    fn drop(&mut self) {
        for handler in self.handlers.drain(..) {
            signal_hook::low_level::unregister(handler);
        }
    }
}

/// The exit code of work that was stopped; `None` for other errors.
pub(crate) fn exit_code(error: &anyhow::Error) -> Option<ExitCode> {
    matches!(error.downcast_ref::<HubError>(), Some(HubError::Cancelled))
        .then(|| ExitCode::from(INTERRUPTED))
}
