//! Trying again: what may be, how long to wait before, and when to give up.

use std::time::{Duration, SystemTime};

use rand::Rng as _;
use ureq::http::HeaderMap;

use super::HubError;
use super::cancel::Cancel;
use super::progress::{Event, Listener};
use super::settings::Patience;

/// Why a request did not succeed.
#[derive(Debug)]
pub(super) enum Failure {
    /// It may go better soon.
    Passing {
        reason: String,
        /// What the server asks to wait.
        wait: Option<Duration>,
    },
    /// It will not.
    Final(HubError),
}

impl Failure {
    pub(super) fn passing(reason: impl Into<String>) -> Self {
        Self::Passing {
            reason: reason.into(),
            wait: None,
        }
    }
}

impl From<HubError> for Failure {
    fn from(error: HubError) -> Self {
        Self::Final(error)
    }
}

/// The tries of one request or file.
pub(super) struct Retries<'a> {
    pub(super) patience: &'a Patience,
    pub(super) cancel: &'a Cancel,
    pub(super) listener: Listener<'a>,
    /// The host that is asked, for messages.
    pub(super) host: &'a str,
    /// The file or listing, for messages.
    pub(super) what: &'a str,
    /// Failures since the last progress.
    pub(super) failures: u32,
}

impl Retries<'_> {
    /// Waits as long as is right after a failure, or gives up.
    pub(super) fn after(&mut self, failure: Failure) -> Result<(), HubError> {
        // Whatever failed: a stop closes connections, which looks like a failure of the network.
        self.cancel.check()?;
        let (reason, asked) = match failure {
            Failure::Final(error) => return Err(error),
            Failure::Passing { reason, wait } => (reason, wait),
        };
        self.failures += 1;
        if self.failures >= self.patience.tries {
            return Err(HubError::Unreachable {
                host: self.host.into(),
                hint: hint(&reason),
                reason,
            });
        }
        if let Some(wait) = asked.filter(|wait| *wait > self.patience.longest_wait) {
            return Err(HubError::RateLimited {
                host: self.host.into(),
                seconds: wait.as_secs(),
            });
        }
        let wait = asked.unwrap_or_else(|| backoff(self.patience.backoff, self.failures));
        (self.listener)(&Event::Retrying {
            what: self.what.into(),
            attempt: self.failures + 1,
            seconds: (wait.as_secs_f64() * 10.0).round() / 10.0,
            reason,
        });
        self.cancel.sleep(wait)
    }

    /// Does it until it succeeds or there is no use in trying further.
    pub(super) fn run<T>(
        &mut self,
        mut once: impl FnMut() -> Result<T, Failure>,
    ) -> Result<T, HubError> {
        loop {
            self.cancel.check()?;
            match once() {
                Ok(value) => return Ok(value),
                Err(failure) => self.after(failure)?,
            }
        }
    }
}

fn hint(reason: &str) -> &'static str {
    if reason.contains("certificate") || reason.contains("UnknownIssuer") {
        "if a proxy with a certificate of its own stands in between, set SSL_CERT_FILE to that certificate"
    } else {
        "check the network; behind a proxy set HTTPS_PROXY; HF_ENDPOINT names another hub; what is already there is kept"
    }
}

/// Doubles with each failure, up to half a minute, a quarter more or less: clients that failed together do not come back
/// together.
fn backoff(first: Duration, failures: u32) -> Duration {
    const LONGEST: Duration = Duration::from_secs(30);
    let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled
        .min(LONGEST)
        .mul_f64(rand::rng().random_range(0.75..1.25))
}

/// What a server asks to wait: `Retry-After` in seconds or as a date, else the reset time of a used-up `RateLimit`.
pub(super) fn asked_to_wait(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    if let Some(text) = text("retry-after") {
        if let Ok(seconds) = text.parse::<u64>() {
            return Some(Duration::from_secs(seconds));
        }
        let date = httpdate::parse_http_date(text).ok()?;
        return Some(date.duration_since(now).unwrap_or_default());
    }
    // `"api";r=0;t=55`: no requests left for 55 seconds.
    let limit = text("ratelimit")?;
    let number = |key: &str| {
        limit
            .split(';')
            .find_map(|part| part.trim().strip_prefix(key)?.parse::<u64>().ok())
    };
    (number("r=") == Some(0)).then(|| number("t=").map(Duration::from_secs))?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().expect("a header"));
        headers
    }

    #[test]
    fn retry_after_is_understood_in_all_its_forms() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").expect("a date");
        for (name, value, seconds) in [
            ("retry-after", "7", Some(7)),
            ("retry-after", "Sun, 06 Nov 1994 08:49:57 GMT", Some(20)),
            ("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("retry-after", "soon", None),
            ("retry-after", "-5", None),
            ("ratelimit", "\"api\";r=0;t=55", Some(55)),
            ("ratelimit", "\"api\";r=12;t=55", None),
            ("ratelimit", "nonsense", None),
        ] {
            let found = asked_to_wait(&headers(name, value), now);
            assert_eq!(found, seconds.map(Duration::from_secs), "{name}: {value}");
        }
    }

    #[test]
    fn waits_double_and_end() {
        let first = Duration::from_millis(500);
        for (failures, seconds) in [(1, 0.5), (2, 1.0), (5, 8.0), (30, 30.0)] {
            let wait = backoff(first, failures).as_secs_f64();
            assert!(
                wait >= seconds * 0.75 && wait <= seconds * 1.25,
                "{failures}: {wait}"
            );
        }
    }
}
