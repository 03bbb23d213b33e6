//! Addresses: joining them, and telling whether two lead to the same host.

use ureq::http::Uri;

use super::HubError;

/// Scheme, host and port: what a token is meant for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl Origin {
    /// Of an absolute `http` or `https` address without a user name; `None` for anything else.
    pub(super) fn of(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let scheme = uri.scheme_str()?.to_ascii_lowercase();
        let authority = uri.authority()?;
        let default = match scheme.as_str() {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return None;
        }
        Some(Self {
            scheme,
            host: authority.host().to_ascii_lowercase(),
            port: authority.port_u16().unwrap_or(default),
        })
    }

    pub(super) fn of_endpoint(endpoint: &str) -> Result<Self, HubError> {
        Self::of(endpoint)
            .filter(|_| !endpoint.contains(['?', '#']))
            .ok_or_else(|| HubError::Setting {
                variable: "HF_ENDPOINT".into(),
                reason: format!("`{}` is no address of a hub", endpoint.escape_debug()),
                hint: "write it as https://host, or unset it",
            })
    }

    pub(super) fn is_https(&self) -> bool {
        self.scheme == "https"
    }

    /// For messages.
    pub(super) fn host(&self) -> &str {
        &self.host
    }
}

/// Where a `Location` or `Link` leads from an address; `None` if it is no address.
pub(super) fn join(base: &str, location: &str) -> Option<String> {
    if location.chars().any(|c| c.is_control() || c == ' ') {
        return None;
    }
    let location = location.split('#').next()?;
    let (scheme, rest) = base.split_once("://")?;
    let authority = rest.split(['/', '?']).next()?;
    let path = rest[authority.len()..].split('?').next()?;
    let joined = if location.contains("://") {
        location.to_string()
    } else if let Some(rest) = location.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else if location.starts_with('?') {
        format!("{scheme}://{authority}{path}{location}")
    } else if location.is_empty() {
        return None;
    } else {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{folder}/{location}")
    };
    Origin::of(&joined).map(|_| joined)
}

/// One part of a path, `/` included, as it stands in an address.
pub(super) fn encode(part: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    part.bytes()
        .map(|byte| {
            if plain(byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

/// A path whose parts are encoded and whose slashes stay.
pub(super) fn encode_path(path: &str) -> String {
    path.split('/').map(encode).collect::<Vec<_>>().join("/")
}

/// The address of `rel="next"` in a `Link` header.
pub(super) fn next_link(header: &str) -> Option<&str> {
    header.split(',').find_map(|link| {
        let (address, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        parameters
            .split(';')
            .any(|parameter| matches!(parameter.trim(), "rel=\"next\"" | "rel=next"))
            .then_some(address)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_tell_hosts_apart() {
        let hub = Origin::of("https://huggingface.co/a/b").expect("an address");
        for same in ["https://huggingface.co", "HTTPS://HuggingFace.co:443/x?y"] {
            assert_eq!(Origin::of(same).as_ref(), Some(&hub), "{same}");
        }
        for other in [
            "http://huggingface.co",
            "https://huggingface.co:8443",
            "https://cdn.huggingface.co",
            "https://huggingface.co.evil.com",
            "https://huggingface.com",
        ] {
            assert_ne!(Origin::of(other).as_ref(), Some(&hub), "{other}");
        }
        for bad in [
            "ftp://x/y",
            "file:///etc/passwd",
            "huggingface.co",
            "https://user:secret@huggingface.co",
            "https://",
            "",
        ] {
            assert_eq!(Origin::of(bad), None, "{bad}");
        }
    }

    #[test]
    fn locations_are_joined() {
        let base = "https://hub.example/a/b?c=d";
        for (location, expected) in [
            ("/x/y?z", Some("https://hub.example/x/y?z")),
            ("https://cdn.example/x", Some("https://cdn.example/x")),
            ("//cdn.example/x", Some("https://cdn.example/x")),
            ("x", Some("https://hub.example/a/x")),
            ("?page=2", Some("https://hub.example/a/b?page=2")),
            ("", None),
            ("file:///etc/passwd", None),
            (
                "javascript:alert(1)//",
                Some("https://hub.example/a/javascript:alert(1)//"),
            ),
            ("/x\r\nHost: evil", None),
        ] {
            assert_eq!(join(base, location).as_deref(), expected, "{location:?}");
        }
    }

    #[test]
    fn parts_are_encoded() {
        assert_eq!(encode("refs/pr/1"), "refs%2Fpr%2F1");
        assert_eq!(encode_path("a b/日.gguf"), "a%20b/%E6%97%A5.gguf");
    }

    #[test]
    fn the_next_page_is_found() {
        let header = "<https://hub.example/tree?cursor=a>; rel=\"next\", <https://hub.example/tree>; rel=\"first\"";
        assert_eq!(next_link(header), Some("https://hub.example/tree?cursor=a"));
        assert_eq!(next_link("<https://hub.example/>; rel=\"prev\""), None);
        assert_eq!(next_link("nonsense"), None);
    }
}
