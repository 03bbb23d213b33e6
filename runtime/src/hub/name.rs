//! Names that become paths and addresses: repositories, revisions, files. Each is checked part by part, because they come
//! from the command line and from servers.

use std::fmt;
use std::str::FromStr;

use super::HubError;

/// A repository of models, `owner/name`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepoId(String);

impl RepoId {
    /// Checks `owner/name` by the hub's rules: letters, digits, `-`, `_` and `.`, at most 96 a part, no `--` or `..`, and
    /// neither `-` nor `.` at an end.
    ///
    /// # Errors
    /// Says which rule is broken.
    pub fn new(text: &str) -> Result<Self, &'static str> {
        const LONGEST: usize = 96;
        let Some((owner, name)) = text.split_once('/') else {
            return Err("it has no owner");
        };
        for part in [owner, name] {
            if part.is_empty() || part.len() > LONGEST {
                return Err("owner and name have 1 to 96 characters each");
            }
            if !part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
            {
                return Err("only letters, digits, `-`, `_` and `.` may be in a repository's name");
            }
            if part.starts_with(['-', '.']) || part.ends_with(['-', '.']) {
                return Err("no part begins or ends with `-` or `.`");
            }
            if part.contains("--") || part.contains("..") {
                return Err("`--` and `..` are in no repository's name");
            }
        }
        Ok(Self(text.into()))
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its folder in the cache, `models--owner--name`.
    #[must_use]
    pub fn folder_name(&self) -> String {
        hf_hub::Repo::model(self.0.clone()).folder_name()
    }

    /// The repository of a folder in the cache. Old repositories have no owner.
    pub(super) fn name_of_folder(folder: &str) -> Option<String> {
        let name = folder.strip_prefix("models--")?;
        let parts: Vec<&str> = name.split("--").collect();
        (parts.len() <= 2 && parts.iter().all(|part| check_part(part).is_ok()))
            .then(|| parts.join("/"))
    }
}

impl fmt::Display for RepoId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A branch, a tag or a commit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Revision(String);

impl Revision {
    /// Checks a revision; branches may have slashes (`refs/pr/1`).
    ///
    /// # Errors
    /// Says which rule is broken.
    pub fn new(text: &str) -> Result<Self, &'static str> {
        const LONGEST: usize = 200;
        if text.len() > LONGEST {
            return Err("a revision has at most 200 characters");
        }
        for part in text.split('/') {
            check_part(part)?;
            if part.starts_with('.') || part.contains("..") {
                return Err("no part of a revision begins with `.` or holds `..`");
            }
            if part.contains([' ', '~', '^', '?', '*', '[', '%']) {
                return Err("a revision has none of the characters ~ ^ ? * [ % and no space");
            }
        }
        Ok(Self(text.into()))
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the whole hash of a commit, which never comes to mean another one.
    #[must_use]
    pub fn is_commit(&self) -> bool {
        is_commit(&self.0)
    }
}

pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// The path of a file in a repository, with `/` between its parts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FilePath(String);

impl FilePath {
    /// Checks a path, so that it can be joined to a folder on any system.
    ///
    /// # Errors
    /// Says which rule is broken.
    pub fn new(text: &str) -> Result<Self, &'static str> {
        const LONGEST: usize = 1024;
        if text.len() > LONGEST {
            return Err("it has more than 1024 bytes");
        }
        text.split('/').try_for_each(check_part)?;
        Ok(Self(text.into()))
    }

    /// As the hub writes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the file lies in the top folder.
    #[must_use]
    pub fn is_at_top(&self) -> bool {
        !self.0.contains('/')
    }

    /// The last part.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One part of a path: nothing that leads elsewhere, here or on Windows.
fn check_part(part: &str) -> Result<(), &'static str> {
    if part.is_empty() {
        return Err("a part of it is empty");
    }
    if part == "." || part == ".." {
        return Err("`.` and `..` are refused");
    }
    if part.len() > 255 {
        return Err("a part of it has more than 255 bytes");
    }
    if part.contains(['\\', ':']) || part.chars().any(char::is_control) {
        return Err("it holds a backslash, a colon or a control character");
    }
    if part.starts_with('-') {
        return Err("a part of it begins with `-`");
    }
    if part.ends_with(['.', ' ']) {
        return Err("a part of it ends with `.` or a space");
    }
    let stem = part.split('.').next().unwrap_or(part).to_ascii_uppercase();
    let numbered = |device: &str| {
        stem.strip_prefix(device)
            .is_some_and(|rest| rest.len() == 1 && rest.bytes().all(|b| b.is_ascii_digit()))
    };
    if ["CON", "PRN", "AUX", "NUL"].contains(&stem.as_str()) || numbered("COM") || numbered("LPT") {
        return Err("it is a device on Windows");
    }
    Ok(())
}

/// A model as the command line names it: `owner/name[@revision][:file or quantization]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelName {
    /// The repository.
    pub repo: RepoId,
    /// The revision; `main` if none is given.
    pub revision: Option<Revision>,
    /// One GGUF model of the repository: a file's name, or a quantization such as `Q4_K_M`.
    pub file: Option<String>,
}

impl ModelName {
    /// The revision to ask for.
    #[must_use]
    pub fn revision(&self) -> &str {
        self.revision.as_ref().map_or("main", Revision::as_str)
    }
}

impl FromStr for ModelName {
    type Err = HubError;

    fn from_str(text: &str) -> Result<Self, HubError> {
        let bad = |reason| HubError::BadName {
            name: text.escape_debug().take(256).collect(),
            reason,
        };
        let (before, file) = match text.split_once(':') {
            Some((before, file)) => (before, Some(file)),
            None => (text, None),
        };
        let (repo, revision) = match before.split_once('@') {
            Some((repo, revision)) => (repo, Some(revision)),
            None => (before, None),
        };
        let repo = RepoId::new(repo).map_err(bad)?;
        let revision = revision.map(Revision::new).transpose().map_err(bad)?;
        let file = file
            .map(|file| FilePath::new(file).map(|path| path.0))
            .transpose()
            .map_err(bad)?;
        Ok(Self {
            repo,
            revision,
            file,
        })
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.repo)?;
        if let Some(revision) = &self.revision {
            write!(f, "@{}", revision.0)?;
        }
        if let Some(file) = &self.file {
            write!(f, ":{file}")?;
        }
        Ok(())
    }
}

/// Whether a name could be that of a repository on the hub, and is nothing on this machine's disk: then a download is worth
/// offering.
#[must_use]
pub fn looks_like_repository(name: &str) -> bool {
    !std::path::Path::new(name).exists() && name.parse::<ModelName>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_apart_and_go_together() {
        let name: ModelName = "acme/tiny-1.5B@refs/pr/1:Q4_K_M".parse().expect("a name");
        assert_eq!(name.repo.as_str(), "acme/tiny-1.5B");
        assert_eq!(name.revision(), "refs/pr/1");
        assert_eq!(name.file.as_deref(), Some("Q4_K_M"));
        assert_eq!(name.to_string(), "acme/tiny-1.5B@refs/pr/1:Q4_K_M");
        assert_eq!(name.repo.folder_name(), "models--acme--tiny-1.5B");
        assert_eq!(
            RepoId::name_of_folder("models--acme--tiny-1.5B").as_deref(),
            Some("acme/tiny-1.5B")
        );
        assert_eq!(
            RepoId::name_of_folder("models--gpt2").as_deref(),
            Some("gpt2")
        );
        assert_eq!(RepoId::name_of_folder("models--..--x"), None);
    }

    #[test]
    fn hostile_repository_names_are_refused() {
        for name in [
            "tiny",
            "",
            "/",
            "a/",
            "/b",
            "../x",
            "a/..",
            "-rf/x",
            "a/-x",
            "a/b/c",
            "a\\b/c",
            "C:\\x/y",
            "a/b\0",
            "a/b\n",
            "a--b/c",
            "a/b--c",
            "a/b.",
            ".a/b",
            "ä/b",
            "a/b c",
            "a/b@..",
            "a/b@x/../y",
            "a/b@-x",
            "a/b@",
            "a/b@x:",
            "a/b:",
            "a/b:../c",
            "a/b:/etc/passwd",
            "a/b:c\\d",
            "a/b@a b",
            "a/b@%2e%2e",
        ] {
            assert!(name.parse::<ModelName>().is_err(), "{name:?} was accepted");
        }
        assert!(
            format!("{}/b", "a".repeat(97))
                .parse::<ModelName>()
                .is_err()
        );
    }

    #[test]
    fn hostile_file_names_are_refused() {
        for name in [
            "",
            "/etc/passwd",
            "a//b",
            "a/../b",
            "..",
            ".",
            "./a",
            "a/.",
            "a\\b",
            "C:x",
            "a\0b",
            "a\nb",
            "-rf",
            "a/-b",
            "a.",
            "a ",
            "NUL",
            "con.json",
            "a/COM1.txt",
            "a:stream",
        ] {
            assert!(FilePath::new(name).is_err(), "{name:?} was accepted");
        }
        for name in [
            "config.json",
            "Q4_K_M/model-00001-of-00002.gguf",
            ".gitattributes",
            "model 日本.safetensors",
        ] {
            assert!(FilePath::new(name).is_ok(), "{name:?} was refused");
        }
    }
}
