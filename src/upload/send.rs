//! One POST to an outcome; the only file that knows `reqwest`.
//!
//! An attempt never panics and never judges: it says what came back, or which kind of trouble kept an answer away and
//! whether the body may have arrived all the same.
#![allow(clippy::disallowed_methods, reason = "this is the one file that speaks to the endpoint")]

mod body;
mod trouble;
mod valid_at;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{self, HeaderMap, HeaderName};
use reqwest::{Client, ClientBuilder, Response, Url};
use tokio::time::{Instant, timeout_at};

pub use self::body::Sent;
use self::body::TrackedBody;
use self::trouble::{Trouble, innermost};
pub use self::valid_at::ValidAt;
use crate::clock::Clock;

/// As much of an answer's body as is read. Adobe's answers have a few hundred bytes.
pub const ANSWER_LIMIT: usize = 64 * 1024;

/// The slowest uplink that is given the time it needs: some 64 kbit/s, a bad mobile or a shared rural line. On a
/// slower one a full body would time out again and again, so the whole deadline grows with the body at this rate.
const SLOWEST_UPLINK_BYTES_PER_SECOND: u64 = 8 * 1024;

/// Shorter than the idle time of common balancers, so that a connection is not reused just as the other side drops it.
const POOL_IDLE: Duration = Duration::from_secs(30);

/// A question for the time that took longer than this is asked again: half of it is how far off the answer may be.
const SLOW_MS: i64 = 3000;

/// As much of one header of an answer as is kept.
const HEADER_LIMIT: usize = 1024;

/// How one attempt ended, before anybody judges it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// An HTTP answer came.
    Answer(Answer),
    /// No complete answer came.
    Failed(Failure),
}

/// An HTTP answer, read up to the limit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// HTTP status code.
    pub status: u16,
    /// `Content-Type`, if given.
    pub content_type: Option<String>,
    /// `Content-Encoding`, if given: bodies are never decompressed.
    pub content_encoding: Option<String>,
    /// `Retry-After`, as given.
    pub retry_after: Option<String>,
    /// `Date`, as given.
    pub date: Option<String>,
    /// `Age`, as given: whoever sends one answers from a cache.
    pub age: Option<String>,
    /// `Location`, as given; never followed.
    pub location: Option<String>,
    /// `x-request-id`, as given.
    pub request_id: Option<String>,
    /// Boot times between which the other side began its answer: as near to each other as can be told.
    pub between: (i64, i64),
    /// The first 64 KiB of the body.
    pub body: Vec<u8>,
    /// Whether more followed, or should have, than was read.
    pub truncated: bool,
}

/// Why no answer came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Which kind of trouble.
    pub kind: FailureKind,
    /// Whether the body may have reached the other side in full.
    pub maybe_delivered: bool,
    /// The innermost cause, for a person.
    pub detail: String,
}

/// Kinds of transport trouble (contract section 11.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The client could not be built or the request not formed.
    Setup,
    /// The name could not be resolved.
    Dns,
    /// No route, refused, reset while connecting.
    Connect,
    /// The certificate is not valid yet or no longer: the device's clock may be wrong.
    CertificateTime,
    /// Any other TLS trouble: somebody else may be answering.
    Tls,
    /// A deadline passed.
    Timeout,
    /// The connection broke after it stood.
    Reset,
    /// What came back is not HTTP, or its headers have no end.
    Protocol,
}

/// Deadlines of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// To a connection, name resolution and TLS included.
    pub connect: Duration,
    /// From start to the whole answer, besides the time the body takes.
    pub total: Duration,
}

impl Default for Deadlines {
    /// Long ones (contract section 11.1): an answer given up on may be a delivery that is repeated.
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), total: Duration::from_secs(60) }
    }
}

impl Deadlines {
    /// The time a body of this size gets from start to the whole answer.
    pub fn whole(&self, body_bytes: usize) -> Duration {
        let body_bytes = u64::try_from(body_bytes).unwrap_or(u64::MAX);
        let uplink = Duration::from_millis(body_bytes.saturating_mul(1000) / SLOWEST_UPLINK_BYTES_PER_SECOND);
        self.total.saturating_add(uplink)
    }
}

/// Sends request bodies to the endpoint. Nothing is opened, read or resolved before the first [`post`](Self::post).
#[derive(Debug)]
pub struct Sender {
    target: Result<Url, String>,
    deadlines: Deadlines,
    valid_at: Arc<ValidAt>,
    client: Mutex<Option<Client>>,
}

impl Sender {
    /// A sender to this endpoint and datastream (contract section 1). Wrong values are reported by the first attempt.
    pub fn new(endpoint: &str, datastream_id: &str, deadlines: Deadlines) -> Self {
        let valid_at = ValidAt::new(Clock::System);
        Self { target: target(endpoint, datastream_id), deadlines, valid_at, client: Mutex::new(None) }
    }

    /// The same, with certificates checked at the time that is known elsewhere.
    #[must_use]
    pub fn valid_at(self, valid_at: Arc<ValidAt>) -> Self {
        Self { valid_at, ..self }
    }

    /// Forgets all connections: after a change of the path they lead nowhere, and waiting on them costs a whole
    /// deadline. The roots of trust are read anew with the next attempt.
    pub fn drop_pool(&self) {
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Posts one body, once.
    pub async fn post(&self, body: Vec<u8>) -> Outcome {
        self.post_noting(body, &Sent::default()).await
    }

    /// Posts one body, once, and notes in `sent` when all of it went out: whoever cuts this off wants to know.
    pub async fn post_noting(&self, body: Vec<u8>, sent: &Sent) -> Outcome {
        let whole = self.deadlines.whole(body.len());
        let deadline = Instant::now() + whole;
        let began = self.valid_at.boot_ms();
        let body = TrackedBody::new(body.into(), sent.clone(), self.valid_at.clone());

        let response = match timeout_at(deadline, self.request(body)).await {
            Ok(Ok(response)) => response,
            Ok(Err(trouble)) => return trouble.failed(sent.in_full()),
            Err(_) => return Trouble::timeout(whole).failed(sent.in_full()),
        };
        // Nothing was asked before the connection stood.
        let between = (sent.first_ms().unwrap_or(began), self.valid_at.boot_ms());
        read_answer(head(&response, between), response, deadline, whole).await
    }

    /// Asks the endpoint's origin for nothing in particular (`HEAD /`): whether it can be reached and is itself.
    pub async fn probe(&self) -> Outcome {
        self.probe_once().await.0
    }

    /// The same to find out what time it is. If that takes long, maybe with the way to a connection, the connection is
    /// asked again.
    pub async fn ask_time(&self) -> Outcome {
        let (first, took_ms) = self.probe_once().await;
        if took_ms <= SLOW_MS || !matches!(first, Outcome::Answer(_)) {
            return first;
        }
        match self.probe_once().await {
            (again @ Outcome::Answer(_), again_ms) if again_ms < took_ms => again,
            _ => first,
        }
    }

    async fn probe_once(&self) -> (Outcome, i64) {
        let began = self.valid_at.boot_ms();
        let whole = self.deadlines.whole(0);
        let deadline = Instant::now() + whole;
        let response = timeout_at(deadline, self.head_request()).await;
        let ended = self.valid_at.boot_ms();
        let outcome = match response {
            Ok(Ok(response)) => Outcome::Answer(head(&response, (began, ended))),
            Ok(Err(trouble)) => trouble.failed(false),
            Err(_) => Trouble::timeout(whole).failed(false),
        };
        (outcome, ended.saturating_sub(began))
    }

    async fn head_request(&self) -> Result<Response, Trouble> {
        let mut origin = self.target.clone().map_err(Trouble::setup)?;
        origin.set_path("/");
        origin.set_query(None);
        // The date of an answer that was kept somewhere is of no use.
        let request = self.client().await?.head(origin).header(header::CACHE_CONTROL, "no-cache");
        request.send().await.map_err(|error| Trouble::from_error(&error))
    }

    async fn request(&self, body: TrackedBody) -> Result<Response, Trouble> {
        let target = self.target.clone().map_err(Trouble::setup)?;
        let request = self
            .client()
            .await?
            .post(target)
            .header(header::CONTENT_TYPE, "application/json")
            .body(reqwest::Body::wrap(body));
        request.send().await.map_err(|error| Trouble::from_error(&error))
    }

    async fn client(&self) -> Result<Client, Trouble> {
        if let Some(client) = &*self.client.lock().unwrap_or_else(PoisonError::into_inner) {
            return Ok(client.clone());
        }
        let (connect, valid_at) = (self.deadlines.connect, self.valid_at.clone());
        // Reading a bundle of roots takes tens of milliseconds on a small box.
        let client = tokio::task::spawn_blocking(move || build_client(connect, valid_at))
            .await
            .map_err(|error| Trouble::setup(error.to_string()))??;
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = Some(client.clone());
        Ok(client)
    }
}

/// The URL to post to, with the datastream as `configId`.
fn target(endpoint: &str, datastream_id: &str) -> Result<Url, String> {
    let mut url =
        Url::parse(endpoint).map_err(|error| format!("endpoint {endpoint:?} is not a URL: {error}"))?;
    match url.scheme() {
        "https" => {}
        "http" if is_loopback(&url) => {}
        "http" => return Err(format!("endpoint {endpoint:?} is not https; plain http is for loopback only")),
        other => return Err(format!("endpoint {endpoint:?} has the scheme {other:?}; https is needed")),
    }
    if datastream_id.is_empty() {
        return Err("datastream_id is not set".to_owned());
    }
    let mut query =
        url.query().filter(|query| !query.is_empty()).map_or(String::new(), |query| format!("{query}&"));
    query.push_str("configId=");
    for byte in datastream_id.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                query.push(char::from(byte))
            }
            _ => query.push_str(&format!("%{byte:02X}")),
        }
    }
    url.set_query(Some(&query));
    url.set_fragment(None);
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn build_client(connect: Duration, valid_at: Arc<ValidAt>) -> Result<Client, Trouble> {
    let tls = valid_at::tls_config(valid_at).map_err(|error| Trouble::setup(error.to_string()))?;
    client_builder(connect)
        .tls_backend_preconfigured(tls)
        .build()
        .map_err(|error| Trouble::setup(innermost(&error)))
}

fn client_builder(connect: Duration) -> ClientBuilder {
    // Decompression and cookies are not compiled in. A proxy from the environment could only be somebody else's idea
    // of where this traffic goes.
    Client::builder()
        .user_agent(concat!("afterplay/", env!("CARGO_PKG_VERSION")))
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_proxy()
        .connect_timeout(connect)
        .pool_idle_timeout(POOL_IDLE)
}

/// Reads an answer up to the limit and then lets go of the connection. A refusal whose body breaks off is still a
/// refusal; of a success the body is what counts, so without all of it nothing is known.
async fn read_answer(
    mut answer: Answer,
    mut response: Response,
    deadline: Instant,
    whole: Duration,
) -> Outcome {
    loop {
        let trouble = match timeout_at(deadline, response.chunk()).await {
            Ok(Ok(None)) => return Outcome::Answer(answer),
            Ok(Ok(Some(piece))) => {
                let room = ANSWER_LIMIT - answer.body.len();
                answer.body.extend_from_slice(&piece[..piece.len().min(room)]);
                if piece.len() <= room {
                    continue;
                }
                answer.truncated = true;
                return Outcome::Answer(answer);
            }
            Ok(Err(error)) => Trouble::from_error(&error),
            Err(_) => Trouble::timeout(whole),
        };
        if (200..300).contains(&answer.status) {
            let detail = format!("the answer with status {} broke off: {}", answer.status, trouble.detail);
            return Trouble { detail, ..trouble }.failed(true);
        }
        answer.truncated = true;
        return Outcome::Answer(answer);
    }
}

fn head(response: &Response, between: (i64, i64)) -> Answer {
    let headers = response.headers();
    Answer {
        status: response.status().as_u16(),
        content_type: text(headers, &header::CONTENT_TYPE),
        content_encoding: text(headers, &header::CONTENT_ENCODING),
        retry_after: text(headers, &header::RETRY_AFTER),
        date: text(headers, &header::DATE),
        age: text(headers, &header::AGE),
        location: text(headers, &header::LOCATION),
        request_id: text(headers, &HeaderName::from_static("x-request-id")),
        between,
        body: Vec::new(),
        truncated: false,
    }
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let value = headers.get(name)?.as_bytes();
    Some(String::from_utf8_lossy(&value[..value.len().min(HEADER_LIMIT)]).into_owned())
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::trouble::classify;
    use super::*;

    #[test]
    fn the_datastream_id_is_appended_percent_encoded() {
        let cases = [
            ("https://h.example/ee/va/v1/downloaded", "a-1_2.3~4", "/ee/va/v1/downloaded?configId=a-1_2.3~4"),
            ("https://h.example/x", "a b&c=d/ü%", "/x?configId=a%20b%26c%3Dd%2F%C3%BC%25"),
            ("https://h.example/x?tenant=7#top", "id:dev", "/x?tenant=7&configId=id%3Adev"),
            ("https://h.example/x?", "id", "/x?configId=id"),
        ];
        for (endpoint, id, expected) in cases {
            let url = target(endpoint, id).unwrap();
            assert_eq!(url.as_str(), format!("https://h.example{expected}"));
        }
    }

    #[test]
    fn endpoints_that_must_not_be_used_are_refused() {
        for good in [
            "http://127.0.0.1:1/x",
            "http://127.9.9.9/",
            "http://[::1]:1/x",
            "http://localhost/x",
            "https://h/",
        ] {
            assert!(target(good, "id").is_ok(), "{good}");
        }
        let bad = [
            "",
            "no url",
            "http://h.example/x",
            "http://127.0.0.1.h.example/",
            "http://10.0.0.1/",
            "ftp://127.0.0.1/",
        ];
        for bad in bad {
            assert!(target(bad, "id").is_err(), "{bad}");
        }
        assert!(target("https://h.example/x", "").is_err());
    }

    /// A name service that knows nobody; a real one might be asked over the network.
    struct NoNames;

    impl reqwest::dns::Resolve for NoNames {
        fn resolve(&self, _: reqwest::dns::Name) -> reqwest::dns::Resolving {
            Box::pin(async { Err(io::Error::other("Name or service not known").into()) })
        }
    }

    #[tokio::test]
    async fn a_name_that_cannot_be_resolved_is_told_from_a_connection_that_fails() {
        let tls = valid_at::tls_config(ValidAt::new(Clock::System)).unwrap();
        let client = client_builder(Duration::from_secs(1))
            .tls_backend_preconfigured(tls)
            .dns_resolver(Arc::new(NoNames))
            .build()
            .unwrap();
        for url in ["http://h.example/", "https://h.example/"] {
            let error = client.post(url).send().await.unwrap_err();
            assert_eq!(classify(&error), FailureKind::Dns);
            assert_eq!(innermost(&error), "Name or service not known");
        }
    }

    #[test]
    fn the_whole_deadline_grows_with_the_body() {
        let deadlines = Deadlines::default();
        assert_eq!(deadlines.whole(0), Duration::from_secs(60));
        assert_eq!(deadlines.whole(64 * 1024), Duration::from_secs(68));
    }
}
