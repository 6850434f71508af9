//! A stand-in for the upload endpoint that misbehaves on demand: real TCP and TLS on loopback, bytes written by hand.
//!
//! It runs on a thread of its own, so tests with and without a runtime can use it. Each connection or request takes the
//! next act of the script; when the script is over, requests are accepted the way Adobe does it.
#![allow(dead_code, unused_imports, reason = "each test file that includes this uses its own part of it")]

#[path = "acts.rs"]
mod acts;
#[path = "authority.rs"]
mod authority;

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;

pub(crate) use acts::{Act, Reply};
pub(crate) use authority::{Authority, Validity};

/// How long a test waits for something that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A request that was read in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    /// Which connection it came on, counted from 0.
    pub(crate) connection: usize,
    pub(crate) method: String,
    pub(crate) target: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// It was answered in full, with anything but a success.
    pub(crate) refused: bool,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }
}

#[derive(Debug, Default)]
struct State {
    script: VecDeque<Act>,
    rules: Vec<(String, Act)>,
    requests: Vec<Request>,
    connections: usize,
    /// How far off the dates are that answers carry.
    date_off_ms: Option<i64>,
    /// The answers to the first HEADs, with no `Date` but their own.
    first_questions: VecDeque<Reply>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state.lock().unwrap());
        self.changed.notify_all();
        result
    }

    fn next_act(&self, body: &[u8]) -> Act {
        let body = String::from_utf8_lossy(body);
        let ruled = |state: &State| {
            state.rules.iter().find(|(text, _)| body.contains(text)).map(|(_, act)| act.clone())
        };
        self.update(|state| ruled(state).or_else(|| state.script.pop_front()))
            .unwrap_or_else(|| Act::Answer(Reply::accepted()))
    }

    /// How much of the next body is read before the connection is reset.
    fn next_reset(&self) -> Option<usize> {
        self.update(|state| match state.script.front() {
            Some(Act::ResetInBody(bytes)) => {
                let bytes = *bytes;
                state.script.pop_front();
                Some(bytes)
            }
            _ => None,
        })
    }

    /// The `Date` of an answer of now, if answers carry one.
    fn date(&self) -> Option<String> {
        let off = self.update(|state| state.date_off_ms)?;
        let now = afterplay::clock::Clock::System.now().wall_ms + off;
        let now = jiff::Timestamp::from_millisecond(now).unwrap();
        Some(now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())
    }

    /// An act that concerns the connection itself is taken before anything is read.
    fn next_connection_act(&self) -> Option<Act> {
        self.update(|state| match state.script.front() {
            Some(Act::HangOnConnect | Act::SpeakFirst(_) | Act::ResetOnConnect) => state.script.pop_front(),
            _ => None,
        })
    }
}

/// The running stand-in; it stops and drops all connections when this is dropped.
#[derive(Debug)]
pub(crate) struct Endpoint {
    address: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Endpoint {
    /// Plain HTTP on a free port.
    pub(crate) fn start(script: impl IntoIterator<Item = Act>) -> Self {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), None, script)
    }

    /// HTTPS on a free port, for `localhost` and `127.0.0.1` as far as the certificate says so.
    pub(crate) fn start_tls(tls: Arc<ServerConfig>, script: impl IntoIterator<Item = Act>) -> Self {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), Some(tls), script)
    }

    /// Where it is told to: an endpoint that comes back after an outage.
    pub(crate) fn start_at(
        address: SocketAddr,
        tls: Option<Arc<ServerConfig>>,
        script: impl IntoIterator<Item = Act>,
    ) -> Self {
        let state = State { script: script.into_iter().collect(), ..State::default() };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let scheme = if tls.is_some() { "https" } else { "http" };
        let listener = std::net::TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();

        let serving = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    () = serve(listener, tls.map(TlsAcceptor::from), serving) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { address, scheme, shared, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The full URL of the `downloaded` path.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}/ee/va/v1/downloaded", self.scheme, self.address)
    }

    /// Adds to the end of the script.
    pub(crate) fn then(&self, act: Act) {
        self.shared.update(|state| state.script.push_back(act));
    }

    /// From now on answers carry a `Date` that is so far off, and a HEAD is answered without an act of the script.
    pub(crate) fn tell_time(&self, off_ms: i64) {
        self.shared.update(|state| state.date_off_ms = Some(off_ms));
    }

    /// The first HEADs get these answers, with no `Date` but their own.
    pub(crate) fn first_questions(&self, replies: impl IntoIterator<Item = Reply>) {
        self.shared.update(|state| state.first_questions.extend(replies));
    }

    /// Whatever the script says, a request whose body contains this text gets this act.
    pub(crate) fn whenever(&self, text: &str, act: Act) {
        self.shared.update(|state| state.rules.push((text.to_owned(), act)));
    }

    /// Forgets what is left of the script, and all rules.
    pub(crate) fn behave(&self) {
        self.shared.update(|state| {
            state.script.clear();
            state.rules.clear();
        });
    }

    /// The requests read in full so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.shared.update(|state| state.requests.clone())
    }

    /// How many connections were made so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.update(|state| state.connections)
    }

    /// Blocks until so many requests have been read in full.
    pub(crate) fn wait_for(&self, requests: usize) -> Vec<Request> {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.shared.state.lock().unwrap();
        while state.requests.len() < requests {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{} of {requests} requests came", state.requests.len());
            state = self.shared.changed.wait_timeout(state, left).unwrap().0;
        }
        state.requests.clone()
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in there has been printed; a second one while a test unwinds would abort it.
            drop(thread.join());
        }
    }
}

/// An address of loopback on which nobody listens, and which no other test is given: an endpoint can come up there.
pub(crate) fn reserved() -> SocketAddr {
    use std::sync::atomic::{AtomicU8, Ordering};
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [low, high, ..] = std::process::id().to_le_bytes();
    let own = Ipv4Addr::new(127, 100 | (high & 0x7f), low, NEXT.fetch_add(1, Ordering::Relaxed));
    // Elsewhere than on Linux the machine has but one such address.
    let own = if cfg!(target_os = "linux") { own } else { Ipv4Addr::LOCALHOST };
    std::net::TcpListener::bind((own, 0)).unwrap().local_addr().unwrap()
}

/// An address of loopback on which nobody listens.
pub(crate) fn nobody() -> SocketAddr {
    std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

trait ReadWrite: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> ReadWrite for T {}

impl Stream {
    fn io(&mut self) -> &mut dyn ReadWrite {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream,
        }
    }

    fn reset(self) {
        let tcp = match &self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        };
        tcp.set_zero_linger().unwrap();
    }
}

async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let connection = shared.update(|state| {
            state.connections += 1;
            state.connections - 1
        });
        let (tls, shared) = (tls.clone(), Arc::clone(&shared));
        // An error ends the connection, which is what the client gets to see.
        tokio::spawn(async move { drop(converse(stream, tls, connection, &shared).await) });
    }
}

async fn converse(
    mut tcp: TcpStream,
    tls: Option<TlsAcceptor>,
    connection: usize,
    shared: &Shared,
) -> io::Result<()> {
    match shared.next_connection_act() {
        Some(Act::ResetOnConnect) => return tcp.set_zero_linger(),
        Some(Act::SpeakFirst(bytes)) => {
            tcp.write_all(&bytes).await?;
            return forever(tcp).await;
        }
        Some(_) => return forever(tcp).await,
        None => {}
    }
    let mut stream = match tls {
        Some(tls) => Stream::Tls(Box::new(tls.accept(tcp).await?)),
        None => Stream::Plain(tcp),
    };
    let mut unread = Vec::new();
    loop {
        let Some((mut request, length)) = read_head(&mut stream, &mut unread).await? else { return Ok(()) };
        request.connection = connection;
        if let Some(bytes) = shared.next_reset() {
            read_until(&mut stream, &mut unread, bytes.min(length)).await?;
            stream.reset();
            return Ok(());
        }
        read_until(&mut stream, &mut unread, length).await?;
        request.body = unread.drain(..length).collect();
        let question = request.method == "HEAD";
        let first = shared.update(|state| question.then(|| state.first_questions.pop_front()).flatten());
        let date = if first.is_some() { None } else { shared.date() };
        let act = if let Some(reply) = first {
            Act::Answer(reply)
        } else if date.is_some() && question {
            Act::Answer(Reply::new(404, ""))
        } else {
            shared.next_act(&request.body)
        };
        request.refused = matches!(&act, Act::Answer(reply) if !(200..300).contains(&reply.status));
        shared.update(|state| state.requests.push(request));

        match act {
            Act::Answer(reply) => {
                let reply = date.into_iter().fold(reply, |reply, date| reply.header("date", &date));
                stream.io().write_all(&[reply.head(), reply.body.clone()].concat()).await?;
                stream.io().flush().await?;
                if reply.closes() {
                    return stream.io().shutdown().await;
                }
            }
            Act::ResetAfterBody => {
                stream.reset();
                return Ok(());
            }
            last => return perform(&mut stream, last).await,
        }
    }
}

/// The acts after which the connection is of no more use.
async fn perform(stream: &mut Stream, act: Act) -> io::Result<()> {
    match act {
        Act::Cut(reply, bytes) => {
            stream.io().write_all(&[&reply.head(), &reply.body[..bytes]].concat()).await?;
            stream.io().flush().await?;
        }
        Act::Stall(reply, bytes) => {
            stream.io().write_all(&[&reply.head(), &reply.body[..bytes]].concat()).await?;
            stream.io().flush().await?;
            return forever(stream).await;
        }
        Act::Flood(bytes) => {
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {bytes}\r\n\r\n"
            );
            stream.io().write_all(head.as_bytes()).await?;
            let piece = vec![b'['; 64 * 1024];
            let mut left = bytes;
            while left > 0 {
                let now = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
                stream.io().write_all(&piece[..now]).await?;
                left -= now as u64;
            }
        }
        Act::EndlessHeaders => {
            stream.io().write_all(b"HTTP/1.1 200 OK\r\n").await?;
            loop {
                stream.io().write_all(format!("x-{}: {0}\r\n", "filler".repeat(100)).as_bytes()).await?;
            }
        }
        Act::Drip(reply, every) => {
            for byte in [reply.head(), reply.body].concat() {
                stream.io().write_all(&[byte]).await?;
                stream.io().flush().await?;
                tokio::time::sleep(every).await;
            }
        }
        Act::Raw(bytes) => stream.io().write_all(&bytes).await?,
        Act::Hang => return forever(stream).await,
        _ => {}
    }
    stream.io().shutdown().await
}

/// Keeps hold of the connection until the endpoint is dropped.
async fn forever<T>(held: T) -> io::Result<()> {
    std::future::pending::<()>().await;
    drop(held);
    Ok(())
}

async fn read_head(stream: &mut Stream, unread: &mut Vec<u8>) -> io::Result<Option<(Request, usize)>> {
    let end = loop {
        if let Some(end) = unread.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if stream.io().read_buf(unread).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8(unread.drain(..end + 4).collect()).unwrap();
    let mut lines = head.lines();
    let mut first = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    let request = Request {
        connection: 0,
        method: first.next().unwrap_or_default(),
        target: first.next().unwrap_or_default(),
        headers,
        body: Vec::new(),
        refused: false,
    };
    let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
    Ok(Some((request, length)))
}

async fn read_until(stream: &mut Stream, unread: &mut Vec<u8>, length: usize) -> io::Result<()> {
    while unread.len() < length {
        if stream.io().read_buf(unread).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}
