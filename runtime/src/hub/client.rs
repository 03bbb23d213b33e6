//! Requests: redirects that do not carry the token away, limits on what is read, answers that are judged.

use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ureq::http::{HeaderMap, Response};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, Proxy};

use super::HubError;
use super::address::{Origin, join};
use super::error::{shown, shown_url};
use super::retry::{Failure, asked_to_wait};
use super::settings::Settings;
use super::status::{self, Subject};

const USER_AGENT: &str = concat!("inferno/", env!("CARGO_PKG_VERSION"));
const MAX_REDIRECTS: usize = 10;
const MAX_HEADER_BYTES: usize = 64 << 10;
/// The whole body of a listing.
const JSON_TIMEOUT: Duration = Duration::from_secs(120);

/// Asks one hub, and the hosts that it redirects to.
#[derive(Debug)]
pub(super) struct Client {
    agent: Agent,
    origin: Origin,
    authorization: Option<String>,
}

/// What is asked for.
pub(super) struct Wanted<'a> {
    /// Absolute.
    pub(super) url: &'a str,
    /// First and last byte; `None`: everything.
    pub(super) range: Option<(u64, u64)>,
    /// A listing rather than a file.
    pub(super) json: bool,
    /// Whose answer is judged, for messages.
    pub(super) subject: Subject<'a>,
}

/// An answer with status 200, 206 or 416.
pub(super) struct Answer {
    response: Response<Body>,
    /// Whoever answered in the end.
    pub(super) url: String,
}

impl Client {
    pub(super) fn new(settings: &Settings) -> Result<Self, HubError> {
        let origin = Origin::of_endpoint(&settings.endpoint)?;
        let patience = &settings.patience;
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(USER_AGENT)
            .max_response_header_size(MAX_HEADER_BYTES)
            .timeout_resolve(Some(patience.connect))
            .timeout_connect(Some(patience.connect))
            .timeout_send_request(Some(patience.answer))
            .timeout_recv_response(Some(patience.answer))
            .timeout_per_read(Some(patience.stall))
            .proxy(proxy(settings)?);
        if let Some(roots) = roots(settings)? {
            config = config.tls_config(TlsConfig::builder().root_certs(roots).build());
        }
        if let Some(token) = &settings.token
            && !origin.is_https()
            && !["localhost", "127.0.0.1", "[::1]"].contains(&origin.host())
        {
            tracing::warn!(
                "the token of {} goes to {} unencrypted, because HF_ENDPOINT is no https address",
                token.source(),
                origin.host()
            );
        }
        Ok(Self {
            agent: Agent::new_with_config(config.build()),
            origin,
            authorization: settings.token.as_ref().map(super::Token::header),
        })
    }

    pub(super) fn host(&self) -> &str {
        self.origin.host()
    }

    /// Ends every request that is under way.
    pub(super) fn hang_up(&self) {
        self.agent.clone().shutdown();
    }

    /// Asks, follows redirects, and judges the answer.
    pub(super) fn get(&self, wanted: &Wanted) -> Result<Answer, Failure> {
        let mut url = wanted.url.to_string();
        for _ in 0..=MAX_REDIRECTS {
            let response = self.ask(&url, wanted)?;
            let status = response.status().as_u16();
            if !matches!(status, 301 | 302 | 303 | 307 | 308) {
                return self.judge(Answer { response, url }, wanted);
            }
            url = self.redirected(&url, response.headers())?;
        }
        Err(Failure::Final(HubError::NotAHub {
            url: shown_url(wanted.url),
            reason: format!("it redirects more than {MAX_REDIRECTS} times"),
        }))
    }

    fn ask(&self, url: &str, wanted: &Wanted) -> Result<Response<Body>, Failure> {
        let mut request = self.agent.get(url);
        if self.is_hub(url)
            && let Some(authorization) = &self.authorization
        {
            request = request.header("authorization", authorization);
        }
        request = if wanted.json {
            request.header("accept", "application/json")
        } else {
            // A compressed answer has another length, and its ranges are those of the compressed bytes.
            request.header("accept-encoding", "identity")
        };
        if let Some((first, last)) = wanted.range {
            request = request.header("range", format!("bytes={first}-{last}"));
        }
        let timeout = wanted.json.then_some(JSON_TIMEOUT);
        let request = request.config().timeout_recv_body(timeout).build();
        tracing::debug!(url = shown_url(url), range = ?wanted.range, "GET");
        request.call().map_err(|error| failure(url, error))
    }

    fn redirected(&self, from: &str, headers: &HeaderMap) -> Result<String, Failure> {
        let not_a_hub = |reason: String| HubError::NotAHub {
            url: shown_url(from),
            reason,
        };
        let location = headers
            .get("location")
            .and_then(|value| value.to_str().ok());
        let Some(location) = location else {
            return Err(not_a_hub("it redirects to nowhere".into()).into());
        };
        let Some(url) = join(from, location) else {
            return Err(not_a_hub(format!(
                "it redirects to `{}`, which is no address",
                shown(location)
            ))
            .into());
        };
        if self.origin.is_https() && !url.to_ascii_lowercase().starts_with("https:") {
            return Err(not_a_hub(format!(
                "it redirects to `{}`, which is not encrypted",
                shown_url(&url)
            ))
            .into());
        }
        Ok(url)
    }

    fn is_hub(&self, url: &str) -> bool {
        Origin::of(url).as_ref() == Some(&self.origin)
    }

    fn judge(&self, answer: Answer, wanted: &Wanted) -> Result<Answer, Failure> {
        let status = answer.status();
        let headers = answer.response.headers();
        tracing::debug!(url = shown_url(&answer.url), status, "answer");
        match status {
            200 | 206 | 416 => {}
            408 | 425 | 429 | 500 | 502 | 503 | 504 => {
                return Err(Failure::Passing {
                    reason: format!("status {status}"),
                    wait: asked_to_wait(headers, SystemTime::now()),
                });
            }
            // The address of a storage host is signed and expires; the hub gives a new one.
            400..500 if !self.is_hub(&answer.url) => {
                let host = Origin::of(&answer.url);
                let host = host.as_ref().map_or("the storage host", Origin::host);
                return Err(Failure::passing(format!(
                    "{host} answers with status {status}"
                )));
            }
            _ => {
                let error = status::error(status, headers, &answer.url, &wanted.subject);
                return Err(Failure::Final(error));
            }
        }
        let kind = answer.header("content-type").unwrap_or_default();
        let page = kind.starts_with("text/html") && !wanted.url.ends_with(".html");
        if status != 416 && page {
            return Err(Failure::Final(HubError::NotAHub {
                url: shown_url(&answer.url),
                reason: "a web page came instead".into(),
            }));
        }
        Ok(answer)
    }
}

impl Answer {
    pub(super) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// Bytes of the body, if the server says.
    pub(super) fn length(&self) -> Option<u64> {
        self.header("content-length")?.trim().parse().ok()
    }

    /// The body, piece by piece.
    pub(super) fn reader(self) -> impl Read {
        self.response.into_body().into_reader()
    }

    /// The body as a whole, if it has at most `limit` bytes.
    pub(super) fn bytes(self, limit: u64) -> Result<Vec<u8>, Failure> {
        let url = self.url.clone();
        let mut bytes = Vec::new();
        let read = self.reader().take(limit + 1).read_to_end(&mut bytes);
        if bytes.len() as u64 > limit {
            return Err(Failure::Final(HubError::NotAHub {
                url: shown_url(&url),
                reason: format!("the answer has more than {limit} bytes"),
            }));
        }
        match read {
            Ok(_) => Ok(bytes),
            Err(error) => Err(Failure::passing(error.to_string())),
        }
    }

    /// The body as JSON. One that is cut short may come whole the next time.
    pub(super) fn json<T: serde::de::DeserializeOwned>(self, limit: u64) -> Result<T, Failure> {
        let url = self.url.clone();
        let bytes = self.bytes(limit)?;
        serde_json::from_slice(&bytes).map_err(|error| {
            if error.is_eof() {
                Failure::passing("the answer is cut short")
            } else {
                Failure::Final(HubError::NotAHub {
                    url: shown_url(&url),
                    reason: format!("the answer is not the expected JSON: {error}"),
                })
            }
        })
    }
}

/// What the HTTP library reports.
fn failure(url: &str, error: ureq::Error) -> Failure {
    match error {
        ureq::Error::LargeResponseHeader(..) => Failure::Final(HubError::NotAHub {
            url: shown_url(url),
            reason: format!("its headers have more than {MAX_HEADER_BYTES} bytes"),
        }),
        ureq::Error::ConnectProxyFailed(reason) => Failure::Final(HubError::Unreachable {
            host: "the proxy".into(),
            reason: shown(&reason),
            hint: "check HTTPS_PROXY, HTTP_PROXY and ALL_PROXY; NO_PROXY names hosts that need none",
        }),
        // A certificate that is not trusted now will not be in a minute.
        ureq::Error::Rustls(error) => Failure::Final(HubError::Unreachable {
            host: Origin::of(url).map_or_else(|| shown_url(url), |origin| origin.host().into()),
            reason: error.to_string(),
            hint: "if a proxy with a certificate of its own stands in between, set SSL_CERT_FILE to that certificate",
        }),
        ureq::Error::HostNotFound => Failure::passing("its name is not known (DNS)"),
        ureq::Error::Io(error) => Failure::passing(error.to_string()),
        other => Failure::passing(other.to_string()),
    }
}

fn proxy(settings: &Settings) -> Result<Option<Proxy>, HubError> {
    let Some((address, except)) = &settings.proxy else {
        return Ok(None);
    };
    let wrong = |_| HubError::Setting {
        variable: "the proxy".into(),
        reason: "it is no address of a proxy".into(),
        hint: "write it as http://host:port",
    };
    let parsed = Proxy::new(address).map_err(wrong)?;
    let mut builder = Proxy::builder(parsed.protocol())
        .host(parsed.host())
        .port(parsed.port());
    if let Some(username) = parsed.username() {
        builder = builder.username(username);
    }
    if let Some(password) = parsed.password() {
        builder = builder.password(password);
    }
    for host in except {
        builder = builder.no_proxy(host);
    }
    builder.build().map(Some).map_err(wrong)
}

/// The certificates of `SSL_CERT_FILE`.
fn roots(settings: &Settings) -> Result<Option<RootCerts>, HubError> {
    let Some(path) = &settings.certificates else {
        return Ok(None);
    };
    let wrong = |reason: String| HubError::Setting {
        variable: format!("SSL_CERT_FILE ({})", path.display()),
        reason,
        hint: "give a file of certificates in PEM form, or unset it",
    };
    let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let mut certificates = Vec::new();
    for item in parse_pem(&pem) {
        match item {
            Ok(PemItem::Certificate(certificate)) => certificates.push(certificate),
            Ok(_) => {}
            Err(error) => return Err(wrong(error.to_string())),
        }
    }
    if certificates.is_empty() {
        return Err(wrong("it holds no certificate".into()));
    }
    Ok(Some(RootCerts::Specific(Arc::new(certificates))))
}
