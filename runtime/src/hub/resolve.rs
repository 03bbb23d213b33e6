//! What a model's name on the command line means.

use std::path::{Path, PathBuf};

use super::gguf;
use super::installed::{
    InstallState, Installed, InstalledRepository, models_in, repositories_in, snapshot_of,
};
use super::name::{ModelName, Revision};
use super::settings::cache_folder;
use super::{FilePath, HubError};

/// Turns a name from the command line into the path to open: a path as it is, else an installed model
/// (`owner/name`, `owner/name@revision`, `owner/name:file.gguf`, `owner/name:Q4_K_M`, or just `name` where that is unique).
///
/// # Errors
/// [`HubError`] when there is no such model, several, or it is incomplete.
pub fn resolve(name: &str) -> Result<PathBuf, HubError> {
    let path = Path::new(name);
    if path.exists() {
        return Ok(path.to_path_buf());
    }
    let asked = Asked::parse(name)?;
    match cache_folder() {
        Some(cache) => asked.resolve_in(&cache),
        None => Err(asked.not_found(&[])),
    }
}

/// A name on the command line, taken apart.
pub(super) struct Asked<'a> {
    whole: &'a str,
    /// `owner/name`, or the name alone.
    pub(super) repository: &'a str,
    pub(super) revision: Option<Revision>,
    pub(super) file: Option<&'a str>,
}

impl<'a> Asked<'a> {
    /// Refuses what could become a path outside the cache.
    pub(super) fn parse(name: &'a str) -> Result<Self, HubError> {
        let bad = |reason| HubError::BadName {
            name: name.escape_debug().take(256).collect(),
            reason,
        };
        if name.is_empty() || name.len() > 1024 {
            return Err(bad("it is empty or longer than 1024 bytes"));
        }
        if name.contains('\\') || name.chars().any(char::is_control) {
            return Err(bad("it has a backslash or a control character"));
        }
        let (before, file) = match name.split_once(':') {
            Some((before, file)) => (before, Some(file)),
            None => (name, None),
        };
        let (repository, revision) = match before.split_once('@') {
            Some((repository, revision)) => (repository, Some(revision)),
            None => (before, None),
        };
        const NO_PATH: &str = "no file or folder has this path, and a repository is not named so";
        let part = |part| FilePath::new(part).is_err();
        if repository.split('/').count() > 2 || part(repository) || file.is_some_and(part) {
            return Err(bad(NO_PATH));
        }
        Ok(Self {
            whole: name,
            repository,
            revision: revision.map(Revision::new).transpose().map_err(bad)?,
            file,
        })
    }

    /// Whether a repository is the one that is meant: by its whole name, or by what stands behind the owner.
    pub(super) fn means(&self, repository: &str) -> bool {
        repository == self.repository || repository.rsplit('/').next() == Some(self.repository)
    }

    pub(super) fn resolve_in(&self, cache: &Path) -> Result<PathBuf, HubError> {
        let repositories = repositories_in(cache);
        let repository = self.find(&repositories)?;
        let models = match &self.revision {
            None => repository.models.clone(),
            Some(revision) => snapshot_of(&repository.path, revision.as_str())
                .map(|snapshot| models_in(&repository.name, &snapshot, repository.partial_bytes))
                .unwrap_or_default(),
        };
        let model = self.choose(&repository.name, &models, &repositories)?;
        match &model.state {
            InstallState::Complete => Ok(model.path.clone()),
            InstallState::Incomplete { missing, .. } => Err(HubError::Incomplete {
                name: model.name.clone(),
                download: if self.repository.contains('/') {
                    self.whole.into()
                } else {
                    model.name.clone()
                },
                missing: missing.clone(),
            }),
        }
    }

    /// The repository that is meant, if it is one alone.
    pub(super) fn find<'r>(
        &self,
        repositories: &'r [InstalledRepository],
    ) -> Result<&'r InstalledRepository, HubError> {
        let mut meant: Vec<&InstalledRepository> = repositories
            .iter()
            .filter(|repository| self.means(&repository.name))
            .collect();
        if let Some(exact) = meant
            .iter()
            .position(|repository| repository.name == self.repository)
        {
            meant = vec![meant[exact]];
        }
        match meant[..] {
            [only] => Ok(only),
            _ => Err(self.not_found(repositories)),
        }
    }

    fn choose<'m>(
        &self,
        repository: &str,
        models: &'m [Installed],
        all: &[InstalledRepository],
    ) -> Result<&'m Installed, HubError> {
        let whole = models.iter().find(|model| model.file.is_none());
        if let (None, Some(model)) = (self.file, whole) {
            return Ok(model);
        }
        let files: Vec<FilePath> = models
            .iter()
            .filter_map(|model| model.file.clone())
            .collect();
        let ggufs = gguf::models(&files);
        let chosen = gguf::choose(&ggufs, self.file).and_then(|chosen| {
            let is = |model: &&Installed| {
                let file = model.file.as_ref().map(FilePath::as_str);
                file == Some(chosen.first.as_str())
            };
            models.iter().find(is)
        });
        match chosen {
            Some(model) => Ok(model),
            None if files.is_empty() => Err(self.not_found(all)),
            None => Err(HubError::SeveralFiles {
                name: repository.into(),
                asked: self.file.map(str::to_string),
                files: files.iter().map(ToString::to_string).collect(),
            }),
        }
    }

    fn not_found(&self, repositories: &[InstalledRepository]) -> HubError {
        let wanted = self.repository.to_lowercase();
        let close =
            |repository: &&InstalledRepository| repository.name.to_lowercase().contains(&wanted);
        let similar = repositories
            .iter()
            .filter(close)
            .take(3)
            .map(|repository| repository.name.clone());
        let download = self.whole.parse::<ModelName>();
        HubError::NotFound {
            name: self.whole.into(),
            similar: similar.collect(),
            download: download.ok().map(|name| name.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::installed::installed_in;
    use super::*;
    use std::fs::{create_dir_all, write};

    fn cache() -> tempfile::TempDir {
        let cache = tempfile::tempdir().expect("a temporary folder");
        for (repository, files) in [
            (
                "models--acme--tiny",
                vec!["config.json", "model.safetensors"],
            ),
            (
                "models--acme--quantized",
                vec!["tiny-q4.gguf", "tiny-q8.gguf"],
            ),
            ("models--acme--one", vec!["one-q8.gguf"]),
            (
                "datasets--acme--text",
                vec!["config.json", "model.safetensors"],
            ),
        ] {
            let snapshot = cache.path().join(repository).join("snapshots/abc");
            create_dir_all(&snapshot).expect("folder");
            create_dir_all(cache.path().join(repository).join("refs")).expect("folder");
            write(cache.path().join(repository).join("refs/main"), "abc").expect("file");
            for file in files {
                write(snapshot.join(file), "{}").expect("file");
            }
        }
        cache
    }

    #[test]
    fn installed_models_are_found_and_data_sets_are_not() {
        let cache = cache();
        let names: Vec<String> = installed_in(cache.path())
            .into_iter()
            .map(|model| model.name)
            .collect();
        assert_eq!(
            names,
            [
                "acme/one:one-q8.gguf",
                "acme/quantized:tiny-q4.gguf",
                "acme/quantized:tiny-q8.gguf",
                "acme/tiny"
            ]
        );
    }

    #[test]
    fn names_resolve_by_repository_file_and_revision() {
        let cache = cache();
        let path = |name: &str| {
            let found = Asked::parse(name)?.resolve_in(cache.path())?;
            let inside = found.strip_prefix(cache.path()).expect("inside");
            Ok::<_, HubError>(inside.to_path_buf())
        };
        assert_eq!(
            path("acme/tiny").expect("found"),
            Path::new("models--acme--tiny/snapshots/abc")
        );
        assert_eq!(
            path("tiny").expect("found"),
            Path::new("models--acme--tiny/snapshots/abc")
        );
        assert_eq!(
            path("acme/tiny@abc").expect("found"),
            Path::new("models--acme--tiny/snapshots/abc")
        );
        assert_eq!(
            path("acme/one").expect("found"),
            Path::new("models--acme--one/snapshots/abc/one-q8.gguf")
        );
        assert!(
            matches!(path("acme/quantized"), Err(HubError::SeveralFiles { files, .. }) if files.len() == 2)
        );
        assert!(path("acme/quantized@main:tiny-q8.gguf").is_ok());
        assert_eq!(
            path("quantized:q8").expect("found"),
            Path::new("models--acme--quantized/snapshots/abc/tiny-q8.gguf")
        );
        assert!(
            matches!(path("quantized:q5"), Err(HubError::SeveralFiles { asked: Some(asked), .. }) if asked == "q5")
        );
        let message = path("acme/tin").expect_err("not installed").to_string();
        assert!(message.contains("did you mean acme/tiny?"), "{message}");
    }

    #[test]
    fn a_name_that_two_owners_use_needs_the_owner() {
        let cache = cache();
        let other = cache.path().join("models--corp--tiny/snapshots/abc");
        create_dir_all(&other).expect("folder");
        write(other.join("tiny.gguf"), "x").expect("file");
        let find = |name: &str| Asked::parse(name)?.resolve_in(cache.path());
        assert!(find("corp/tiny").is_ok() && find("acme/tiny").is_ok());
        let message = find("tiny").expect_err("two of them").to_string();
        assert!(message.contains("acme/tiny or corp/tiny"), "{message}");
    }

    #[test]
    fn a_model_that_is_not_here_can_be_downloaded() {
        let error = resolve("acme/no-such-model-anywhere").expect_err("not here");
        assert!(
            error
                .to_string()
                .contains("`inferno download acme/no-such-model-anywhere`"),
            "{error}"
        );
    }

    /// A cache that was half deleted: links without contents, an index without its shards, a part without a link.
    #[cfg(unix)]
    #[test]
    fn half_deleted_models_are_seen_as_incomplete() {
        let cache = tempfile::tempdir().expect("a temporary folder");
        let snapshot = cache.path().join("models--acme--half/snapshots/abc");
        create_dir_all(&snapshot).expect("folder");
        write(snapshot.join("config.json"), "{}").expect("file");
        let index = r#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}"#;
        write(snapshot.join("model.safetensors.index.json"), index).expect("file");
        std::os::unix::fs::symlink("../../blobs/gone", snapshot.join("model-1.safetensors"))
            .expect("link");
        let begun = cache.path().join("models--acme--begun/blobs");
        create_dir_all(&begun).expect("folder");
        write(begun.join("123.incomplete"), "12345").expect("file");
        let models = installed_in(cache.path());
        assert_eq!(models.len(), 2);
        assert_eq!(
            models[0].state,
            InstallState::Incomplete {
                missing: Vec::new(),
                partial_bytes: 5
            }
        );
        let InstallState::Incomplete { missing, .. } = &models[1].state else {
            panic!("complete")
        };
        assert_eq!(missing, &["model-1.safetensors", "model-2.safetensors"]);
        let error = Asked::parse("acme/half")
            .expect("a name")
            .resolve_in(cache.path())
            .expect_err("incomplete");
        assert!(
            error.to_string().contains("`inferno download acme/half`"),
            "{error}"
        );
    }

    #[test]
    fn hostile_names_are_refused() {
        for name in [
            "../../etc/nothing",
            "acme/../../x",
            "-rf",
            "C:\\models",
            "a\0b",
            "",
            "/no/such/path",
            "acme//x",
            "a/b@../../c",
        ] {
            assert!(resolve(name).is_err(), "{name:?} was accepted");
        }
    }
}
