//! The folder of models: is it there, can it be written to, how much room is left.

use std::io;
use std::path::{Path, PathBuf};

use inferno_runtime::{hub, machine};

use crate::commands::doctor::facts::{Cache, CacheState};

/// `None` without a folder.
pub(super) fn look() -> Option<Cache> {
    let folder = hub::cache_folder()?;
    let state = state(&folder);
    Some(Cache {
        free: machine::disk_free(&folder),
        state,
        folder,
    })
}

fn state(folder: &Path) -> CacheState {
    if folder.is_dir() {
        return match try_write(folder) {
            Ok(()) => CacheState::Writable,
            Err(error) => CacheState::ReadOnly {
                reason: error.to_string(),
            },
        };
    }
    let nearest = nearest_existing(folder);
    if !nearest.is_dir() {
        return CacheState::NotAFolder { at: nearest };
    }
    match try_write(&nearest) {
        Ok(()) => CacheState::Absent,
        Err(error) => CacheState::Impossible {
            reason: format!("{}: {error}", nearest.display()),
        },
    }
}

/// The path itself or the closest folder above that exists, broken links included.
fn nearest_existing(path: &Path) -> PathBuf {
    path.ancestors()
        .find(|path| path.symlink_metadata().is_ok())
        .map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// Permissions lie (read-only mounts, root, quotas): a file is made and taken away again.
fn try_write(folder: &Path) -> io::Result<()> {
    let probe = folder.join(format!(".inferno-doctor-{}", std::process::id()));
    std::fs::File::create_new(&probe)?;
    std::fs::remove_file(&probe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_of_a_folder() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(state(home.path()), CacheState::Writable);
        assert_eq!(state(&home.path().join("a/b")), CacheState::Absent);
        assert_eq!(
            state(&file.join("hub")),
            CacheState::NotAFolder { at: file.clone() }
        );
        assert_eq!(state(&file), CacheState::NotAFolder { at: file });
        assert!(
            std::fs::read_dir(home.path()).unwrap().count() == 1,
            "the probe is gone"
        );
        // A folder that nobody may write to, root included.
        assert!(matches!(
            state(Path::new("/proc/self")),
            CacheState::ReadOnly { .. }
        ));
        assert!(matches!(
            state(Path::new("/proc/self/none/hub")),
            CacheState::Impossible { .. }
        ));
    }
}
