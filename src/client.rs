//! Our own client of the local API: HTTP/1.1 over the service's Unix socket.
//!
//! One connection is kept and used again; it is made anew when the service has closed it. A request is repeated only
//! where that can do no harm: when nothing of it was sent, or when its method is idempotent.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST, LOCATION, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::timeout;

const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// The service cannot be reached, or it refused.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens on the socket.
    #[error(
        "the service is not running: nobody answers on {} ({cause}). Start it with `afterplay run`, \
         or as a system service with `systemctl start afterplay`",
        socket.display()
    )]
    NotRunning {
        /// Where the service should be.
        socket: PathBuf,
        /// What connecting said.
        cause: io::Error,
    },
    /// The socket is there and not for us.
    #[error("you may not use the socket {}: {hint}", socket.display())]
    Forbidden {
        /// The socket.
        socket: PathBuf,
        /// What gives access.
        hint: String,
    },
    /// The service refused the request.
    #[error("{0}")]
    Problem(Box<Refusal>),
    /// Talking over the socket failed in some other way.
    #[error("cannot talk to the service on {}: {cause}", socket.display())]
    Io {
        /// The socket.
        socket: PathBuf,
        /// What failed.
        cause: io::Error,
    },
    /// The connection ended before an answer came.
    #[error("the service on {} went away before it answered", socket.display())]
    Unanswered {
        /// The socket.
        socket: PathBuf,
        /// Whether the service may have acted on the request all the same.
        maybe_done: bool,
    },
    /// No answer in time.
    #[error("the service on {} did not answer within {} s", socket.display(), after.as_secs())]
    Timeout {
        /// The socket.
        socket: PathBuf,
        /// How long it was waited for.
        after: Duration,
    },
    /// What came back is not what this version of afterplay understands.
    #[error("the answer to {request} on {} is not understood: {detail}", socket.display())]
    Protocol {
        /// The socket.
        socket: PathBuf,
        /// Method and path.
        request: String,
        /// What is odd about it.
        detail: String,
    },
}

/// A refused request: the decoded problem and the body as it came.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The decoded problem.
    pub problem: Problem,
    /// Seconds after which to try again, when the service named them.
    pub retry_after: Option<u64>,
    /// The body byte for byte.
    pub body: Bytes,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let problem = &self.problem;
        let said = problem.detail.as_deref().or(problem.title.as_deref()).unwrap_or("no reason given");
        write!(f, "the service refused: {said} (")?;
        match &problem.reason {
            Some(reason) => write!(f, "{reason}, status {})", self.status)?,
            None => write!(f, "status {})", self.status)?,
        }
        for field in &problem.problems {
            write!(f, "\n  {}: {}", field.path, field.problem)?;
        }
        if let Some(seconds) = self.retry_after {
            write!(f, "\n  try again in {seconds} s")?;
        }
        Ok(())
    }
}

/// A problem document of the local API.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// Short name of the problem.
    pub title: Option<String>,
    /// What happened this time.
    pub detail: Option<String>,
    /// The word to switch on.
    pub reason: Option<String>,
    /// Every bad field.
    pub problems: Vec<FieldProblem>,
    /// Why a session was completed, for `session_completed`.
    pub why: Option<String>,
}

/// One bad field of a request.
#[derive(Debug, Clone, Deserialize)]
pub struct FieldProblem {
    /// Where.
    pub path: String,
    /// What is wrong.
    pub problem: String,
}

/// One request.
#[derive(Debug, Clone)]
pub struct Call {
    method: Method,
    path: String,
    content_type: Option<&'static str>,
    body: Bytes,
}

impl Call {
    /// A request without a body.
    pub fn new(method: Method, path: impl Into<String>) -> Call {
        Call { method, path: path.into(), content_type: None, body: Bytes::new() }
    }

    /// A `GET`.
    pub fn get(path: impl Into<String>) -> Call {
        Call::new(Method::GET, path)
    }

    /// A `POST`.
    pub fn post(path: impl Into<String>) -> Call {
        Call::new(Method::POST, path)
    }

    /// With a JSON body.
    pub fn json(mut self, body: impl Into<Bytes>) -> Call {
        self.content_type = Some("application/json");
        self.body = body.into();
        self
    }

    fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// A successful answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status, 200 to 299.
    pub status: u16,
    /// The `Location` header.
    pub location: Option<String>,
    /// The body byte for byte.
    pub body: Bytes,
}

/// The client: one kept connection to one service.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
    deadline: Duration,
    kept: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    /// A client of the service behind `socket`; nothing is connected yet.
    pub fn new(socket: impl Into<PathBuf>) -> Client {
        Client { socket: socket.into(), deadline: ANSWER_DEADLINE, kept: None }
    }

    /// With another limit for a whole answer than 30 s.
    pub fn with_deadline(mut self, deadline: Duration) -> Client {
        self.deadline = deadline;
        self
    }

    /// The socket of the service.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// `GET path`, decoded.
    pub async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, ClientError> {
        self.fetch(&Call::get(path)).await
    }

    /// Sends `call` and decodes the answer.
    pub async fn fetch<T: DeserializeOwned>(&mut self, call: &Call) -> Result<T, ClientError> {
        let answer = self.send(call).await?;
        self.decode(call, &answer.body)
    }

    /// Decodes the body of the answer to `call`.
    pub fn decode<T: DeserializeOwned>(&self, call: &Call, body: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(body).map_err(|error| ClientError::Protocol {
            socket: self.socket.clone(),
            request: call.name(),
            detail: format!("{error}; are service and command of the same version?"),
        })
    }

    /// Sends `call`. A status outside 200 to 299 becomes [`ClientError::Problem`].
    pub async fn send(&mut self, call: &Call) -> Result<Answer, ClientError> {
        let deadline = self.deadline;
        match timeout(deadline, self.exchange(call)).await {
            Ok(result) => result,
            Err(_) => Err(ClientError::Timeout { socket: self.socket.clone(), after: deadline }),
        }
    }

    async fn exchange(&mut self, call: &Call) -> Result<Answer, ClientError> {
        let request = self.request(call)?;
        if let Some(mut sender) = self.kept.take()
            && sender.ready().await.is_ok()
        {
            match self.attempt(&mut sender, request.clone()).await {
                Err(ClientError::Unanswered { maybe_done, .. })
                    if !maybe_done || call.method.is_idempotent() => {}
                result => return self.keep(sender, result, call),
            }
        }
        let mut sender = self.connect().await?;
        let result = self.attempt(&mut sender, request).await;
        self.keep(sender, result, call)
    }

    /// One request and its whole answer on `sender`.
    async fn attempt(
        &self,
        sender: &mut SendRequest<Full<Bytes>>,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>, ClientError> {
        let lost = |maybe_done| ClientError::Unanswered { socket: self.socket.clone(), maybe_done };
        let response = match sender.try_send_request(request).await {
            Ok(response) => response,
            Err(error) if error.error().is_parse() => {
                return Err(ClientError::Protocol {
                    socket: self.socket.clone(),
                    request: String::from("the request"),
                    detail: format!("it is not HTTP/1.1 ({})", error.error()),
                });
            }
            Err(error) => return Err(lost(error.message().is_none())),
        };
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(|_| lost(true))?.to_bytes();
        Ok(Response::from_parts(head, body))
    }

    /// Keeps the connection for the next request and sorts good answers from problems.
    fn keep(
        &mut self,
        sender: SendRequest<Full<Bytes>>,
        result: Result<Response<Bytes>, ClientError>,
        call: &Call,
    ) -> Result<Answer, ClientError> {
        let response = result.map_err(|error| match error {
            ClientError::Protocol { socket, detail, .. } => {
                ClientError::Protocol { socket, request: call.name(), detail }
            }
            other => other,
        })?;
        self.kept = Some(sender);
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let (status, location) = (response.status(), header(LOCATION).map(String::from));
        let retry_after = header(RETRY_AFTER).and_then(|value| value.trim().parse().ok());
        let body = response.into_body();
        if status.is_success() {
            return Ok(Answer { status: status.as_u16(), location, body });
        }
        let problem = problem(status, &body);
        Err(ClientError::Problem(Box::new(Refusal { status: status.as_u16(), problem, retry_after, body })))
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, ClientError> {
        let io_error = |cause| ClientError::Io { socket: self.socket.clone(), cause };
        let stream = match timeout(CONNECT_DEADLINE, UnixStream::connect(&self.socket)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(cause)) => return Err(unreachable(&self.socket, cause)),
            Err(_) => return Err(io_error(io::ErrorKind::TimedOut.into())),
        };
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(|error| io_error(io::Error::other(error)))?;
        // How the connection ended shows in the request that was on it.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(sender)
    }

    fn request(&self, call: &Call) -> Result<Request<Full<Bytes>>, ClientError> {
        let mut builder =
            Request::builder().method(call.method.clone()).uri(&call.path).header(HOST, "localhost");
        if let Some(content_type) = call.content_type {
            builder = builder.header(CONTENT_TYPE, content_type);
        }
        builder.body(Full::new(call.body.clone())).map_err(|error| ClientError::Protocol {
            socket: self.socket.clone(),
            request: call.name(),
            detail: error.to_string(),
        })
    }
}

/// A session key as one segment of a path.
pub fn segment(key: &str) -> String {
    let mut out = String::with_capacity(key.len());
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// The path of a session, or of what there is `below` it, such as `/events`: of `owner`'s, or of whoever's the key names.
pub fn session_path(key: &str, below: &str, owner: Option<u32>) -> String {
    let owner = owner.map_or_else(String::new, |uid| format!("?owner={uid}"));
    format!("/v1/sessions/{}{below}{owner}", segment(key))
}

/// The problem in an unsuccessful answer; a body that is none still says its status and its first words.
fn problem(status: StatusCode, body: &[u8]) -> Problem {
    let mut problem: Problem = serde_json::from_slice(body).unwrap_or_default();
    if problem.title.is_none() && problem.detail.is_none() {
        problem.title = status.canonical_reason().map(String::from);
        let words: String = String::from_utf8_lossy(body).trim().chars().take(200).collect();
        problem.detail = (!words.is_empty()).then_some(words);
    }
    if problem.problems.is_empty() {
        problem.problems = adobe_details(body);
    }
    problem
}

/// The bad fields as the Media Edge face names them: `report.details` (contract section 10).
fn adobe_details(body: &[u8]) -> Vec<FieldProblem> {
    #[derive(Deserialize)]
    struct Body {
        report: Report,
    }
    #[derive(Deserialize)]
    struct Report {
        details: Vec<Field>,
    }
    #[derive(Deserialize)]
    struct Field {
        name: String,
        reason: String,
    }
    let fields = serde_json::from_slice::<Body>(body).map(|body| body.report.details).unwrap_or_default();
    fields
        .into_iter()
        .map(|Field { name, reason }| {
            let path = name.strip_prefix("$.").map(str::to_owned).unwrap_or(name);
            FieldProblem { path, problem: reason }
        })
        .collect()
}

fn unreachable(socket: &Path, cause: io::Error) -> ClientError {
    let socket = socket.to_path_buf();
    match cause.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            ClientError::NotRunning { socket, cause }
        }
        io::ErrorKind::PermissionDenied => {
            let hint = group_hint(&socket);
            ClientError::Forbidden { socket, hint }
        }
        _ => ClientError::Io { socket, cause },
    }
}

/// How to get access, by the group of the socket or, where that cannot be seen, of its folder.
#[cfg(unix)]
fn group_hint(socket: &Path) -> String {
    use std::os::unix::fs::MetadataExt;
    let seen = std::fs::metadata(socket).or_else(|error| match socket.parent() {
        Some(folder) => std::fs::metadata(folder),
        None => Err(error),
    });
    let gid = seen.ok().map(|metadata| metadata.gid());
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    way_in(gid, gid.and_then(|gid| group_name(&groups, gid)))
}

/// Nobody should join the group of root to read a status.
fn way_in(gid: Option<u32>, group: Option<&str>) -> String {
    match (gid, group) {
        (Some(0), _) => String::from("it belongs to root; run the command with `sudo`"),
        (_, Some(group)) => format!(
            "it is for members of the group `{group}`; join it with `sudo usermod -aG {group} $USER` and log in again"
        ),
        _ => String::from("it is for members of its group only; ask an administrator to add you to it"),
    }
}

#[cfg(not(unix))]
fn group_hint(_socket: &Path) -> String {
    String::from("ask an administrator for access")
}

/// The name of a group in the text of `/etc/group`.
fn group_name(groups: &str, gid: u32) -> Option<&str> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _password, id) = (fields.next()?, fields.next()?, fields.next()?);
        (id.parse() == Ok(gid)).then_some(name)
    })
}

#[cfg(test)]
mod tests;
