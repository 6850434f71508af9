//! A stand-in for Adobe's `downloaded` endpoint.
//!
//! It validates each request against the contract on its own (`contract`, `members`,
//! `order`), answers as Adobe does (`answer`) or as a script says (`script`), and keeps what
//! it received (`keep`). `connection` does to a connection what no well-behaved server would.

mod answer;
mod connection;
mod contract;
mod keep;
mod members;
mod order;
mod script;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::header::{ALLOW, CONTENT_ENCODING, CONTENT_TYPE};
use hyper::http::request;
use hyper::{Method, Uri};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use answer::{Answer, Asked};
use connection::{Body, Exit, Reply};
use contract::Reading;
pub use contract::{Finding, Level};
use keep::Keep;
pub use script::{GRAMMAR, Script, ScriptError};
use script::{Playback, Step};

/// More connections than this wait to be accepted.
const MAX_CONNECTIONS: usize = 256;

/// How long requests under way may take once the sandbox is told to stop.
const DRAIN: Duration = Duration::from_secs(2);

/// How a sandbox behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder that keeps each body and what was found in it.
    pub save: Option<PathBuf>,
    /// What happens to the first requests.
    pub script: Script,
    /// The datastream ids that exist; `None` takes any that is not empty.
    pub datastream_ids: Option<Vec<String>>,
    /// Refuses what Adobe takes silently and books wrongly.
    pub strict: bool,
    /// The largest body that is taken, in bytes.
    pub max_body: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            save: None,
            script: Script::default(),
            datastream_ids: None,
            strict: false,
            max_body: 65_536,
        }
    }
}

/// A request and what became of it, told just before the answer goes out.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Counts the requests of this sandbox from 1.
    pub n: u64,
    /// The path, without the query.
    pub path: String,
    /// The status, or the step of the script that stands for one: `200`, `207`, `hang`, `cut`.
    pub answer: String,
    /// The status that the client is to see, if it is to see one.
    pub status: Option<u16>,
    /// The step of the script that decided.
    pub step: Option<String>,
    /// Bytes of body received.
    pub bytes: u64,
    /// The content id of the media session.
    pub session: Option<String>,
    /// The title of the media session.
    pub title: Option<String>,
    /// How many events the request holds.
    pub events: usize,
    /// All that was found, whatever the script made of it.
    pub findings: Vec<Finding>,
    /// Where the body was kept, or its report when there is no body.
    pub saved: Option<PathBuf>,
    /// Why it could not be kept.
    pub save_error: Option<String>,
}

impl Seen {
    /// What Adobe would refuse the request for.
    pub fn problems(&self) -> impl Iterator<Item = &Finding> {
        self.of(Level::Problem)
    }

    /// What Adobe would take and book wrongly.
    pub fn warnings(&self) -> impl Iterator<Item = &Finding> {
        self.of(Level::Warning)
    }

    /// What is unusual.
    pub fn hints(&self) -> impl Iterator<Item = &Finding> {
        self.of(Level::Hint)
    }

    fn of(&self, level: Level) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(move |finding| finding.level == level)
    }
}

/// Serves until `shutdown` is done; requests under way are finished within two seconds.
pub async fn serve(
    listener: TcpListener,
    options: Options,
    shutdown: impl Future<Output = ()>,
    on_request: impl Fn(&Seen) + Send + Sync + 'static,
) -> io::Result<()> {
    let keep = options.save.as_deref().map(Keep::open).transpose()?;
    let sandbox = Arc::new(Sandbox {
        keep: keep.map(Arc::new),
        playback: Mutex::new(Playback::new(options.script)),
        datastream_ids: options.datastream_ids,
        strict: options.strict,
        max_body: options.max_body,
        count: AtomicU64::new(0),
        on_request: Box::new(on_request),
    });
    let (stop, stopped) = watch::channel(false);
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            (place, accepted) = accepted => match accepted {
                Ok((stream, _)) => {
                    let connection = connection::run(stream, Arc::clone(&sandbox), stopped.clone());
                    connections.spawn(async move {
                        connection.await;
                        drop(place);
                    });
                }
                // Out of descriptors, or a client that has gone already: neither ends the sandbox.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }
    drop(listener);
    let _ = stop.send(true);
    let drained = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(DRAIN, drained).await;
    connections.shutdown().await;
    Ok(())
}

/// What all connections share.
struct Sandbox {
    keep: Option<Arc<Keep>>,
    playback: Mutex<Playback>,
    datastream_ids: Option<Vec<String>>,
    strict: bool,
    max_body: u64,
    count: AtomicU64,
    on_request: Box<dyn Fn(&Seen) + Send + Sync>,
}

impl Sandbox {
    /// Decides on one request and tells about it.
    async fn handle(&self, head: &request::Parts, body: Body) -> Reply {
        let n = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        let mut seen = Seen::new(n, head.uri.path());
        if let Some(answer) = elsewhere(head) {
            seen.bytes = body.drain().await;
            seen.outcome(answer.status.to_string(), Some(answer.status));
            (self.on_request)(&seen);
            return Reply::Answer(answer);
        }
        let scripted = self.playback.lock().unwrap_or_else(PoisonError::into_inner).next();
        let (step, text) = scripted.map_or((Step::Validate(None), None), |(step, text)| (step, Some(text)));
        seen.step = text.clone();
        if step == Step::ResetBefore {
            seen.outcome("reset-before".into(), None);
            self.tell(seen, None).await;
            return Reply::Exit(Exit::Reset);
        }
        let received = body.collect(self.max_body).await;
        seen.bytes = received.bytes;
        if received.broken {
            seen.outcome("aborted".into(), None);
            self.tell(seen, received.body).await;
            return Reply::Exit(Exit::Close);
        }

        let config_id = config_id(&head.uri);
        let asked = Asked { request_id: uuid::Uuid::new_v4().to_string(), config_id };
        let (usual, reading) = self.validate(&asked, head, received.body.as_deref());
        seen.read(reading);
        let (label, reply) = reply(step, &text.unwrap_or_default(), &asked, usual);
        seen.outcome(label, reply.status());
        self.tell(seen, received.body).await;
        reply
    }

    /// The answer of the contract; the checks come in the order in which the gateway makes them.
    fn validate(&self, asked: &Asked, head: &request::Parts, body: Option<&[u8]>) -> (Answer, Reading) {
        let fatal = |code, detail: &str| (Answer::fatal(asked, code, detail, &[]), Reading::default());
        let known = |id: &String| self.datastream_ids.as_ref().is_none_or(|ids| ids.contains(id));
        match &asked.config_id {
            None => return fatal("EXEG-0002-400", "The configId parameter is missing or empty."),
            Some(id) if !known(id) => {
                return fatal("EXEG-0003-400", "There is no datastream with this configId.");
            }
            Some(_) => {}
        }
        let header = |name| head.headers.get(name).map(|value| value.to_str().unwrap_or("\u{fffd}"));
        match content_type(header(CONTENT_TYPE)) {
            ContentType::Json => {}
            ContentType::Wrong => return fatal("EXEG-0106-400", "Content-Type should be application/json."),
            ContentType::Other => return fatal("EXEG-0111-415", "Content-Type should be application/json."),
        }
        if header(CONTENT_ENCODING).is_some_and(|coding| !coding.eq_ignore_ascii_case("identity")) {
            return fatal("EXEG-0111-415", "The body should be sent without a Content-Encoding.");
        }
        match body {
            None => (Answer::too_large(asked, self.max_body), Reading::default()),
            Some([]) => fatal("EXEG-0109-408", "The request body is empty."),
            Some(body) => match contract::read(body) {
                Err(e) => fatal("EXEG-0101-400", &format!("The request body is not valid JSON: {e}.")),
                Ok(reading) => (Answer::judged(asked, &reading, self.strict), reading),
            },
        }
    }

    async fn tell(&self, mut seen: Seen, body: Option<Vec<u8>>) {
        if let Some(keep) = self.keep.clone() {
            let (label, report) = (seen.answer.clone(), seen.report());
            let saving = move || keep.save(&label, body.as_deref(), &report);
            match tokio::task::spawn_blocking(saving).await.unwrap_or_else(|e| Err(io::Error::other(e))) {
                Ok(path) => seen.saved = Some(path),
                Err(e) => seen.save_error = Some(e.to_string()),
            }
        }
        (self.on_request)(&seen);
    }
}

impl Seen {
    fn new(n: u64, path: &str) -> Self {
        Seen {
            n,
            path: path.to_owned(),
            answer: String::new(),
            status: None,
            step: None,
            bytes: 0,
            session: None,
            title: None,
            events: 0,
            findings: Vec::new(),
            saved: None,
            save_error: None,
        }
    }

    fn outcome(&mut self, answer: String, status: Option<u16>) {
        self.answer = answer;
        self.status = status;
    }

    fn read(&mut self, reading: Reading) {
        self.events = reading.sessions.iter().map(|session| session.events).sum();
        if let Some(first) = reading.sessions.into_iter().next() {
            self.session = first.name;
            self.title = first.title;
        }
        self.findings = reading.findings;
    }

    fn report(&self) -> Vec<u8> {
        let report = json!({
            "request": self.n, "path": self.path, "answer": self.answer, "status": self.status, "step": self.step,
            "bytes": self.bytes, "session": self.session, "title": self.title, "events": self.events,
            "problems": self.problems().collect::<Vec<_>>(),
            "warnings": self.warnings().collect::<Vec<_>>(),
            "hints": self.hints().collect::<Vec<_>>(),
        });
        format!("{report:#}\n").into_bytes()
    }
}

/// Another path is 404, another method 405; neither takes a step of the script.
fn elsewhere(head: &request::Parts) -> Option<Answer> {
    let segments: Vec<&str> = head.uri.path().split('/').collect();
    match segments.as_slice() {
        ["", "ee", "va", "v1", "downloaded"] => {}
        ["", "ee", hint, "va", "v1", "downloaded"] if !hint.is_empty() => {}
        _ => return Some(Answer::plain(404, "There is nothing here but /ee/va/v1/downloaded")),
    }
    (head.method != Method::POST).then(|| {
        let mut answer = Answer::plain(405, "Only POST is allowed here");
        answer.headers.push((ALLOW.as_str(), "POST".into()));
        answer
    })
}

/// What a step makes of the usual answer, and how that is called in reports and file names.
fn reply(step: Step, text: &str, asked: &Asked, usual: Answer) -> (String, Reply) {
    let numbered = |answer: Answer| (answer.status.to_string(), Reply::Answer(answer));
    let named = |reply| (text.split(':').next().unwrap_or_default().to_owned(), reply);
    match step {
        Step::Validate(None) => numbered(usual),
        Step::Validate(Some(wait)) => (usual.status.to_string(), Reply::After(wait, usual)),
        Step::Canned(canned) => numbered(Answer::canned(asked, &canned, unix_seconds())),
        Step::Redirect => named(Reply::Answer(Answer::redirect(302))),
        Step::Html => named(Reply::Answer(Answer::html())),
        Step::Gzip => named(Reply::Answer(Answer::gzip())),
        Step::Empty => named(Reply::Answer(Answer::empty(200))),
        Step::Hang => named(Reply::Exit(Exit::Hang)),
        Step::Reset | Step::ResetBefore => named(Reply::Exit(Exit::Reset)),
        Step::Cut => named(Reply::Exit(Exit::Cut(usual))),
        Step::Slow(pause) => named(Reply::Exit(Exit::Slow(usual, pause))),
        Step::Huge => named(Reply::Exit(Exit::Huge)),
    }
}

fn config_id(uri: &Uri) -> Option<String> {
    let mut pairs = form_urlencoded::parse(uri.query()?.as_bytes());
    pairs.find(|(name, _)| name == "configId").map(|(_, id)| id.into_owned()).filter(|id| !id.is_empty())
}

#[derive(Debug, PartialEq, Eq)]
enum ContentType {
    Json,
    /// None, or not even a media type.
    Wrong,
    /// A media type or a charset that is not taken.
    Other,
}

fn content_type(value: Option<&str>) -> ContentType {
    let Some(value) = value else { return ContentType::Wrong };
    let mut parts = value.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default();
    let Some((kind, subtype)) = media.split_once('/') else { return ContentType::Wrong };
    let token = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&^_.+-*".contains(&b))
    };
    if !token(kind) || !token(subtype) {
        return ContentType::Wrong;
    }
    let utf8 = |parameter: &str| match parameter.split_once('=') {
        Some((name, charset)) if name.eq_ignore_ascii_case("charset") => {
            charset.trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        _ => true,
    };
    if media.eq_ignore_ascii_case("application/json") && parts.all(utf8) {
        ContentType::Json
    } else {
        ContentType::Other
    }
}

#[expect(clippy::disallowed_methods, reason = "only the text of a header depends on it, no decision")]
fn unix_seconds() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types() {
        use ContentType::{Json, Other, Wrong};
        let cases = [
            (Some("application/json"), Json),
            (Some("Application/JSON; charset=UTF-8"), Json),
            (Some("application/json;charset=\"utf-8\""), Json),
            (Some("application/json; charset=latin1"), Other),
            (Some("text/plain"), Other),
            (Some("application/problem+json"), Other),
            (Some("json"), Wrong),
            (Some(""), Wrong),
            (Some("/"), Wrong),
            (Some("application /json"), Wrong),
            (None, Wrong),
        ];
        for (value, wanted) in cases {
            assert_eq!(content_type(value), wanted, "{value:?}");
        }
    }
}
