//! Room on the disk.

use std::path::Path;

use super::HubError;
use crate::machine::disk_free;

/// Kept free for everybody else.
const MARGIN: u64 = 64 << 20;

/// Refuses what will not fit, before anything is fetched.
pub(super) fn check(cache: &Path, needed: u64) -> Result<(), HubError> {
    let Some(free) = disk_free(cache) else {
        return Ok(());
    };
    if needed > 0 && needed.saturating_add(MARGIN) > free {
        return Err(HubError::NoSpace {
            folder: cache.into(),
            needed,
            free,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let missing = folder.path().join("not/there/yet");
        assert!(check(&missing, 0).is_ok());
        assert!(check(&missing, 1).is_ok());
        let error = check(&missing, u64::MAX).expect_err("too much").to_string();
        assert!(error.contains("HF_HUB_CACHE"), "{error}");
    }
}
