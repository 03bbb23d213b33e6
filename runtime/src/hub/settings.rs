//! Where the hub is, who we are to it, and where models go: the environment variables of Hugging Face's own tools.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::HubError;
use super::address::Origin;

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// A secret that says who asks. It is never shown.
#[derive(Clone)]
pub struct Token {
    secret: String,
    source: String,
}

impl Token {
    /// Checks a token; `source` says where it came from, for messages.
    ///
    /// # Errors
    /// If it has characters that no token has.
    pub fn new(secret: &str, source: impl Into<String>) -> Result<Self, HubError> {
        let (secret, source) = (secret.trim(), source.into());
        if secret.is_empty() || !secret.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(HubError::Setting {
                variable: source,
                reason: "a token consists of letters, digits and signs, without spaces".into(),
                hint: "copy the token again, or unset it",
            });
        }
        Ok(Self {
            secret: secret.into(),
            source,
        })
    }

    /// Where it came from: the name of a variable, or the path of a file.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    pub(super) fn header(&self) -> String {
        format!("Bearer {}", self.secret)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token(from {})", self.source)
    }
}

/// How patient a download is.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// To connect, TLS included.
    pub connect: Duration,
    /// For an answer to begin.
    pub answer: Duration,
    /// Without a byte, or with next to none, in the middle of a file.
    pub stall: Duration,
    /// For another process that has a file and does not go on. Longer than `longest_wait`, which that may spend waiting.
    pub other_process: Duration,
    /// Before the second try; doubled for each further one.
    pub backoff: Duration,
    /// The longest that a server may ask to wait.
    pub longest_wait: Duration,
    /// Tries without any progress.
    pub tries: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            answer: Duration::from_secs(30),
            stall: Duration::from_secs(30),
            other_process: Duration::from_secs(360),
            backoff: Duration::from_millis(500),
            longest_wait: Duration::from_secs(300),
            tries: 6,
        }
    }
}

/// All that a [`Hub`](super::Hub) is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Address of the hub, without a slash at its end.
    pub endpoint: String,
    /// Who we are; `None`: nobody.
    pub token: Option<Token>,
    /// Folder of the cache; `None`: there is no place for models.
    pub cache: Option<PathBuf>,
    /// Never use the network.
    pub offline: bool,
    /// Address of a proxy, and the hosts that are reached without it.
    pub proxy: Option<(String, Vec<String>)>,
    /// Certificates to trust instead of the built-in ones (a file of PEM).
    pub certificates: Option<PathBuf>,
    /// Whether snapshots may be links into `blobs`; otherwise they are copies.
    pub links: bool,
    /// The most bytes asked for at once: storage hosts do not serve files of more than 50 GB whole.
    pub piece: u64,
    /// How patient to be.
    pub patience: Patience,
}

impl Settings {
    /// Reads `HF_ENDPOINT`, `HF_TOKEN` (or the token file of `HF_TOKEN_PATH` or `HF_HOME`), `HF_HUB_CACHE`, `HF_HOME`,
    /// `HF_HUB_OFFLINE`, `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`, `SSL_CERT_FILE`, `HF_HUB_DISABLE_SYMLINKS` and
    /// `HF_HUB_DOWNLOAD_TIMEOUT` (seconds without a byte).
    ///
    /// # Errors
    /// Names the variable that makes no sense.
    pub fn from_env() -> Result<Self, HubError> {
        let endpoint = text("HF_ENDPOINT")?.unwrap_or_else(|| DEFAULT_ENDPOINT.into());
        let endpoint = endpoint.trim_end_matches('/').to_string();
        let origin = Origin::of_endpoint(&endpoint)?;
        let mut patience = Patience::default();
        if let Some(seconds) = text("HF_HUB_DOWNLOAD_TIMEOUT")? {
            patience.stall = match seconds.trim().parse::<u32>() {
                Ok(seconds) if seconds > 0 => Duration::from_secs(seconds.into()),
                _ => {
                    return Err(HubError::Setting {
                        variable: "HF_HUB_DOWNLOAD_TIMEOUT".into(),
                        reason: format!("`{}` is no number of seconds", seconds.escape_debug()),
                        hint: "set it to a whole number, or unset it",
                    });
                }
            };
        }
        Ok(Self {
            token: token()?,
            cache: cache_folder(),
            offline: flag("HF_HUB_OFFLINE"),
            proxy: proxy(&origin)?,
            certificates: variable("SSL_CERT_FILE").map(PathBuf::from),
            links: !flag("HF_HUB_DISABLE_SYMLINKS"),
            piece: 16 << 30,
            patience,
            endpoint,
        })
    }
}

/// The folder of the Hugging Face cache; `None` when the environment names none and there is no home directory. A variable
/// that is set to nothing counts as not set.
#[must_use]
pub fn cache_folder() -> Option<PathBuf> {
    variable("HF_HUB_CACHE")
        .map(PathBuf::from)
        .or_else(|| Some(hugging_face_home()?.join("hub")))
}

fn hugging_face_home() -> Option<PathBuf> {
    if let Some(home) = variable("HF_HOME") {
        return Some(home.into());
    }
    if let Some(caches) = variable("XDG_CACHE_HOME") {
        return Some(Path::new(&caches).join("huggingface"));
    }
    // An empty HOME makes a relative path, which would put models wherever the program was started.
    let home = std::env::home_dir().filter(|home| home.is_absolute())?;
    Some(home.join(".cache").join("huggingface"))
}

fn token() -> Result<Option<Token>, HubError> {
    for name in ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"] {
        if let Some(secret) = text(name)? {
            return Token::new(&secret, name).map(Some);
        }
    }
    let file = match variable("HF_TOKEN_PATH") {
        Some(path) => PathBuf::from(path),
        None => match hugging_face_home() {
            Some(home) => hf_hub::Cache::new(home.join("hub")).token_path(),
            None => return Ok(None),
        },
    };
    match std::fs::read_to_string(&file) {
        Ok(secret) if secret.trim().is_empty() => Ok(None),
        Ok(secret) => Token::new(&secret, file.display().to_string()).map(Some),
        // No file, or none that we may read: then we are nobody, and the hub says so where it matters.
        Err(_) => Ok(None),
    }
}

/// The proxy for an endpoint, as curl would choose it.
fn proxy(endpoint: &Origin) -> Result<Option<(String, Vec<String>)>, HubError> {
    let own: [&str; 2] = if endpoint.is_https() {
        ["https_proxy", "HTTPS_PROXY"]
    } else {
        ["http_proxy", "HTTP_PROXY"]
    };
    let names = own.into_iter().chain(["all_proxy", "ALL_PROXY"]);
    let mut found = None;
    for name in names {
        if let Some(address) = text(name)? {
            found = Some((name, address));
            break;
        }
    }
    let Some((name, address)) = found else {
        return Ok(None);
    };
    if ureq::Proxy::new(&address).is_err() {
        return Err(HubError::Setting {
            variable: name.into(),
            reason: "it is no address of a proxy".into(),
            hint: "write it as http://host:port, or unset it",
        });
    }
    let except = match text("no_proxy")? {
        Some(hosts) => Some(hosts),
        None => text("NO_PROXY")?,
    };
    let except = except.unwrap_or_default();
    let except = except
        .split(',')
        .map(str::trim)
        .filter(|host| !host.is_empty());
    Ok(Some((address, except.map(str::to_string).collect())))
}

fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

fn text(name: &str) -> Result<Option<String>, HubError> {
    match variable(name).map(OsString::into_string) {
        None => Ok(None),
        Some(Ok(text)) => Ok(Some(text)),
        Some(Err(_)) => Err(HubError::Setting {
            variable: name.into(),
            reason: "it is not UTF-8 text".into(),
            hint: "set it anew, or unset it",
        }),
    }
}

fn flag(name: &str) -> bool {
    variable(name).is_some_and(|value| {
        let value = value.to_string_lossy().to_ascii_uppercase();
        ["1", "ON", "YES", "TRUE"].contains(&value.as_str())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_never_shown() {
        let token = Token::new("hf_secret\n", "HF_TOKEN").expect("a token");
        assert_eq!(format!("{token:?}"), "Token(from HF_TOKEN)");
        assert_eq!(token.header(), "Bearer hf_secret");
        for bad in ["", " \n", "two words", "x\r\nHost: evil", "é"] {
            assert!(Token::new(bad, "HF_TOKEN").is_err(), "{bad:?}");
        }
    }
}
