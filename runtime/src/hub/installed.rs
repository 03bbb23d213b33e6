//! Which models are on this machine, and what a model's name on the command line means.
//!
//! Models live in the Hugging Face cache (`$HF_HUB_CACHE`, `$HF_HOME/hub` or `~/.cache/huggingface/hub`), in its layout:
//! `models--<owner>--<name>/{refs/<revision>, snapshots/<commit>/<files>}`. Models that another program put there are
//! found as well.

use std::path::{Path, PathBuf};

use hf_hub::Cache;

/// What is wrong with a model's name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// Neither a file or folder nor an installed model.
    #[error(
        "no model `{name}`: it is no file or folder here, and not among the installed models{}\n\
         hint: give the path of a folder with config.json and *.safetensors, or of a .gguf file; `inferno list` shows what is installed",
        similar_names(.similar)
    )]
    NotFound {
        /// The name that was given.
        name: String,
        /// Installed models with a similar name.
        similar: Vec<String>,
    },
    /// A name that cannot be a repository.
    #[error(
        "`{name}` is no model name: {reason}\nhint: write owner/name, owner/name@revision, or a path"
    )]
    BadName {
        /// The name that was given.
        name: String,
        /// Why it is refused.
        reason: &'static str,
    },
    /// A repository with several GGUF files.
    #[error("{name} holds several GGUF files: {}\nhint: choose one with {name}:<file>", .files.join(", "))]
    SeveralFiles {
        /// The repository.
        name: String,
        /// Its GGUF files.
        files: Vec<String>,
    },
}

fn similar_names(names: &[String]) -> String {
    if names.is_empty() {
        String::new()
    } else {
        format!("; did you mean {}?", names.join(" or "))
    }
}

/// A model in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// `owner/name`, or `owner/name:file.gguf` for one GGUF file of a repository.
    pub name: String,
    /// The folder or `.gguf` file to open.
    pub path: PathBuf,
}

/// The folder of the Hugging Face cache; `None` when the environment names none and there is no home directory. A variable
/// that is set to nothing counts as not set.
pub fn cache_folder() -> Option<PathBuf> {
    let folder = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(cache) = folder("HF_HUB_CACHE") {
        return Some(cache.into());
    }
    if let Some(home) = folder("HF_HOME") {
        return Some(Path::new(&home).join("hub"));
    }
    // Asked first, because the cache's own default needs a home directory.
    std::env::home_dir().map(|_| Cache::default().path().clone())
}

/// The models in the cache, sorted by name.
pub fn installed() -> Vec<Installed> {
    cache_folder()
        .map(|folder| installed_in(&folder))
        .unwrap_or_default()
}

/// The models in one cache folder, sorted by name. Unreadable entries are left out.
pub fn installed_in(cache: &Path) -> Vec<Installed> {
    let mut found = Vec::new();
    for entry in entries(cache) {
        let folder = entry
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let Some(name) = folder
            .strip_prefix("models--")
            .map(|name| name.replacen("--", "/", 1))
        else {
            continue;
        };
        if let Some(snapshot) = current_snapshot(&entry) {
            found.extend(models_in(&name, &snapshot));
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// Turns a name from the command line into the path to open: a path as it is, else an installed model
/// (`owner/name`, `owner/name@revision`, `owner/name:file.gguf`, or just `name` where that is unique).
///
/// # Errors
/// [`HubError`] when there is no such model, or several.
pub fn resolve(name: &str) -> Result<PathBuf, HubError> {
    let path = Path::new(name);
    if path.exists() {
        return Ok(path.to_path_buf());
    }
    check_name(name)?;
    match cache_folder() {
        Some(cache) => resolve_in(name, &cache),
        None => Err(HubError::NotFound {
            name: name.into(),
            similar: Vec::new(),
        }),
    }
}

fn resolve_in(name: &str, cache: &Path) -> Result<PathBuf, HubError> {
    if let Some((repository, revision)) = name.split_once('@') {
        let (revision, file) = revision
            .split_once(':')
            .map_or((revision, None), |(r, f)| (r, Some(f)));
        let folder = cache.join(format!("models--{}", repository.replace('/', "--")));
        let snapshot = snapshot_of(&folder, revision);
        let models = snapshot
            .map(|snapshot| models_in(repository, &snapshot))
            .unwrap_or_default();
        return choose(
            name,
            file.map(|f| format!("{repository}:{f}"))
                .as_deref()
                .unwrap_or(repository),
            &models,
        );
    }
    choose(name, name, &installed_in(cache))
}

fn choose(asked: &str, name: &str, models: &[Installed]) -> Result<PathBuf, HubError> {
    let same =
        |model: &&Installed| model.name == name || model.name.rsplit('/').next() == Some(name);
    if let Some(model) = models.iter().find(same) {
        return Ok(model.path.clone());
    }
    let prefix = format!("{name}:");
    let files: Vec<&Installed> = models
        .iter()
        .filter(|model| model.name.starts_with(&prefix))
        .collect();
    match files.as_slice() {
        [one] => Ok(one.path.clone()),
        [] => {
            let wanted = asked.to_lowercase();
            let close = |model: &&Installed| model.name.to_lowercase().contains(&wanted);
            Err(HubError::NotFound {
                name: asked.into(),
                similar: models
                    .iter()
                    .filter(close)
                    .take(3)
                    .map(|model| model.name.clone())
                    .collect(),
            })
        }
        several => Err(HubError::SeveralFiles {
            name: name.into(),
            files: several
                .iter()
                .map(|model| model.name[prefix.len()..].to_string())
                .collect(),
        }),
    }
}

/// Refuses what could become a path outside the cache.
fn check_name(name: &str) -> Result<(), HubError> {
    let bad = |reason| {
        Err(HubError::BadName {
            name: name.escape_debug().to_string(),
            reason,
        })
    };
    if name.is_empty() || name.len() > 256 {
        return bad("it is empty or longer than 256 characters");
    }
    if name.contains('\\') || name.chars().any(char::is_control) {
        return bad("it has a backslash or a control character");
    }
    if name.starts_with(['/', '-', '.'])
        || name
            .split(['/', '@', ':'])
            .any(|part| part.is_empty() || part == "..")
    {
        return bad("no file or folder has this path, and a repository is not named so");
    }
    Ok(())
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .map(|all| all.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    paths.sort();
    paths
}

/// The snapshot `refs/main` points to, else the newest one.
fn current_snapshot(repository: &Path) -> Option<PathBuf> {
    snapshot_of(repository, "main").or_else(|| {
        let newest = |path: &PathBuf| path.metadata().and_then(|meta| meta.modified()).ok();
        entries(&repository.join("snapshots"))
            .into_iter()
            .filter(|path| path.is_dir())
            .max_by_key(newest)
    })
}

fn snapshot_of(repository: &Path, revision: &str) -> Option<PathBuf> {
    let commit = std::fs::read_to_string(repository.join("refs").join(revision))
        .unwrap_or_else(|_| revision.into());
    let commit = commit.trim();
    let plain = !commit.is_empty()
        && commit
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        && commit != "..";
    let folder = repository.join("snapshots").join(commit);
    (plain && folder.is_dir()).then_some(folder)
}

/// A repository is one model when it has config.json and safetensors, and one model for each GGUF file.
fn models_in(name: &str, snapshot: &Path) -> Vec<Installed> {
    let files = entries(snapshot);
    let with_extension = |extension: &'static str| {
        files
            .iter()
            .filter(move |path| path.extension().is_some_and(|found| found == extension))
    };
    let mut found = Vec::new();
    if snapshot.join("config.json").is_file() && with_extension("safetensors").next().is_some() {
        found.push(Installed {
            name: name.into(),
            path: snapshot.to_path_buf(),
        });
    }
    for path in with_extension("gguf") {
        let file = path
            .file_name()
            .and_then(|file| file.to_str())
            .unwrap_or_default();
        found.push(Installed {
            name: format!("{name}:{file}"),
            path: path.clone(),
        });
    }
    found
}

#[cfg(test)]
mod tests {
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
            resolve_in(name, cache.path()).map(|path| {
                path.strip_prefix(cache.path())
                    .expect("inside")
                    .to_path_buf()
            })
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
        let message = path("acme/tin").expect_err("not installed").to_string();
        assert!(message.contains("did you mean acme/tiny?"), "{message}");
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
