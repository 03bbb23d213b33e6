//! One process at a time fetches a content. The operating system drops a dead process's lock, so none is ever stale.

use std::fs::{File, FileTimes, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::HubError;
use super::cancel::Cancel;

/// How often a waiting process looks again.
const PAUSE: Duration = Duration::from_millis(100);
/// How often the owner says that it is alive.
const BEAT: Duration = Duration::from_secs(5);

/// A lock that is held.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
    beaten: Instant,
}

/// How to wait for a lock.
pub(super) struct Waiting<'a> {
    pub(super) cancel: &'a Cancel,
    /// How long the owner may show no progress.
    pub(super) patience: Duration,
    /// Bytes that the owner has, which show its progress.
    pub(super) bytes: &'a dyn Fn() -> u64,
    /// Hears about the wait: at once, and whenever the owner went on.
    pub(super) told: &'a dyn Fn(u64),
}

impl Lock {
    /// Waits for a lock as long as its owner makes progress.
    pub(super) fn wait(path: &Path, waiting: &Waiting) -> Result<Self, HubError> {
        let mut sign = None;
        let mut since = Instant::now();
        loop {
            waiting.cancel.check()?;
            if let Some(lock) = Self::attempt(path)? {
                return Ok(lock);
            }
            let bytes = (waiting.bytes)();
            let seen = Some((bytes, path.metadata().and_then(|meta| meta.modified()).ok()));
            if seen != sign {
                sign = seen;
                since = Instant::now();
                (waiting.told)(bytes);
            }
            if since.elapsed() >= waiting.patience {
                return Err(HubError::Locked {
                    path: path.into(),
                    seconds: waiting.patience.as_secs(),
                });
            }
            waiting.cancel.sleep(PAUSE)?;
        }
    }

    /// Takes a lock if nobody has it.
    pub(super) fn attempt(path: &Path) -> Result<Option<Self>, HubError> {
        Self::open(path, File::try_lock)
    }

    /// Takes a lock that many may have at once, but none beside an owner of it.
    pub(super) fn attempt_shared(path: &Path) -> Result<Option<Self>, HubError> {
        Self::open(path, File::try_lock_shared)
    }

    fn open(
        path: &Path,
        lock: impl Fn(&File) -> Result<(), TryLockError>,
    ) -> Result<Option<Self>, HubError> {
        let io = |error| HubError::io("lock", path, error);
        loop {
            let mut options = OpenOptions::new();
            options.create(true).truncate(false).write(true).read(true);
            let file = match options.open(path) {
                // Nobody has used this repository's locks yet, or whoever removed it took them along.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    std::fs::create_dir_all(path.parent().unwrap_or(path))
                        .and_then(|()| options.open(path))
                }
                opened => opened,
            };
            let file = file.map_err(io)?;
            match lock(&file) {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                // A file system without locks: contents are still checked before they get their names.
                Err(TryLockError::Error(error))
                    if error.kind() == std::io::ErrorKind::Unsupported =>
                {
                    tracing::warn!("{} cannot be locked: {error}", path.display());
                }
                Err(TryLockError::Error(error)) => return Err(io(error)),
            }
            // Some programs remove a lock's file when they let go: then this is the lock of a file that is no more.
            if is_at(&file, path) {
                let beaten = Instant::now();
                return Ok(Some(Self { file, beaten }));
            }
        }
    }

    /// Shows others that the owner is alive though its file does not grow.
    pub(super) fn beat(&mut self) {
        if self.beaten.elapsed() >= BEAT {
            self.beaten = Instant::now();
            let now = FileTimes::new().set_modified(SystemTime::now());
            // Others wait a little less patiently then.
            let _ = self.file.set_times(now);
        }
    }
}

/// Whether an open file is the one that has this path now.
#[cfg(unix)]
pub(super) fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), path.symlink_metadata()) {
        (Ok(open), Ok(there)) => open.dev() == there.dev() && open.ino() == there.ino(),
        _ => false,
    }
}

/// Elsewhere an open file cannot lose its path.
#[cfg(not(unix))]
pub(super) fn is_at(_: &File, _: &Path) -> bool {
    true
}

/// The locks of a repository that exist now.
pub(super) fn locks_in(folder: &Path) -> Vec<PathBuf> {
    let mut locks: Vec<PathBuf> = std::fs::read_dir(folder)
        .map(|all| all.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    locks.retain(|path| path.extension().is_some_and(|end| end == "lock"));
    locks
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_wait_lasts_as_long_as_the_owner_makes_progress() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.lock");
        let owner = Lock::attempt(&path).expect("no error").expect("free");
        assert!(Lock::attempt(&path).expect("no error").is_none());
        let (cancel, count, told) = (Cancel::default(), Cell::new(0), Cell::new(0));
        let growing = || {
            count.set(count.get() + 1);
            count.get().min(6)
        };
        let start = Instant::now();
        let error = Lock::wait(
            &path,
            &Waiting {
                cancel: &cancel,
                patience: Duration::from_millis(400),
                bytes: &growing,
                told: &|_| told.set(told.get() + 1),
            },
        )
        .expect_err("the owner stopped");
        assert!(matches!(error, HubError::Locked { .. }), "{error}");
        assert!(
            start.elapsed() >= Duration::from_millis(900),
            "{:?}",
            start.elapsed()
        );
        assert_eq!(told.get(), 6);
        drop(owner);
        assert!(Lock::attempt(&path).expect("no error").is_some());
    }

    #[test]
    fn a_removed_lock_is_taken_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.lock");
        let first = Lock::attempt(&path).expect("no error").expect("free");
        std::fs::remove_file(&path).expect("removes");
        let second = Lock::attempt(&path).expect("no error").expect("free");
        assert!(!is_at(&first.file, &path) && is_at(&second.file, &path));
    }

    #[test]
    fn shared_locks_exclude_an_owner_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.lock");
        let one = Lock::attempt_shared(&path).expect("no error");
        let two = Lock::attempt_shared(&path).expect("no error");
        assert!(one.is_some() && two.is_some());
        assert!(Lock::attempt(&path).expect("no error").is_none());
    }
}
