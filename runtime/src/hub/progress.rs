//! What a download tells while it runs.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

/// Hears what happens; called from several threads.
pub type Listener<'a> = &'a (dyn Fn(&Event) + Sync);

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// What will be fetched is known.
    Planned {
        /// The model.
        model: String,
        /// Commit of the repository.
        commit: String,
        /// Stem of the spec that serves it, if it would run.
        #[serde(skip_serializing_if = "Option::is_none")]
        architecture: Option<String>,
        /// Files of the model.
        files: usize,
        /// Bytes of them all.
        bytes: u64,
        /// Bytes that are here already.
        here: u64,
    },
    /// A file begins.
    Started {
        /// The file.
        file: String,
        /// Its bytes.
        bytes: u64,
        /// Bytes that an earlier download left.
        from: u64,
    },
    /// Bytes of all files together; never fewer than before.
    Progress {
        /// Bytes that are here.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// Another process fetches a file.
    Waiting {
        /// The file.
        file: String,
        /// Bytes it has.
        bytes: u64,
    },
    /// Something failed that may go better soon.
    Retrying {
        /// The file or listing.
        what: String,
        /// Which try this will be, from 2.
        attempt: u32,
        /// Seconds before it.
        seconds: f64,
        /// What failed.
        reason: String,
    },
    /// A file begins anew.
    Restarted {
        /// The file.
        file: String,
        /// Why what was there is of no use.
        reason: String,
    },
    /// A file is whole, and its hash is right.
    Finished {
        /// The file.
        file: String,
        /// Its bytes.
        bytes: u64,
    },
    /// The model is whole.
    Complete {
        /// What `--model` takes.
        model: String,
        /// What to open.
        path: String,
        /// Bytes that came over the network.
        fetched: u64,
    },
}

/// Counts the bytes of all files and tells the sum, which never goes back, at most ten times a second.
pub(super) struct Meter<'a> {
    total: u64,
    listener: Listener<'a>,
    state: Mutex<State>,
}

struct State {
    files: Vec<u64>,
    shown: u64,
    last: Option<Instant>,
    fetched: u64,
}

impl<'a> Meter<'a> {
    pub(super) fn new(files: usize, total: u64, listener: Listener<'a>) -> Self {
        let state = State {
            files: vec![0; files],
            shown: 0,
            last: None,
            fetched: 0,
        };
        Self {
            total,
            listener,
            state: Mutex::new(state),
        }
    }

    pub(super) fn tell(&self, event: &Event) {
        (self.listener)(event);
    }

    /// A file has so many bytes now.
    pub(super) fn set(&self, file: usize, bytes: u64) {
        const PAUSE: Duration = Duration::from_millis(100);
        let mut state = self.lock();
        if let Some(known) = state.files.get_mut(file) {
            *known = bytes;
        }
        let sum: u64 = state.files.iter().sum();
        let due = state.last.is_none_or(|last| last.elapsed() >= PAUSE) || sum == self.total;
        if sum > state.shown && due {
            state.shown = sum;
            state.last = Some(Instant::now());
            // Told under the lock: another thread's larger sum must not overtake it.
            (self.listener)(&Event::Progress {
                done: sum,
                total: self.total,
            });
        }
    }

    /// Bytes that came over the network.
    pub(super) fn add_fetched(&self, bytes: u64) {
        self.lock().fetched += bytes;
    }

    pub(super) fn fetched(&self) -> u64 {
        self.lock().fetched
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_never_goes_back() {
        let told = Mutex::new(Vec::new());
        let listener = |event: &Event| {
            if let Event::Progress { done, total } = event {
                told.lock().expect("lock").push((*done, *total));
            }
        };
        let meter = Meter::new(2, 30, &listener);
        for (file, bytes) in [(0, 5), (0, 10), (0, 0), (1, 4), (0, 10), (1, 20)] {
            meter.set(file, bytes);
            std::thread::sleep(Duration::from_millis(110));
        }
        let told = told.into_inner().expect("lock");
        assert_eq!(told, [(5, 30), (10, 30), (14, 30), (30, 30)]);
    }
}
