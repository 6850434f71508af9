//! A service made of one function, on a real socket, for the tests of the commands and of the client.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex};

use clap::Parser;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use jiff::tz::TimeZone;
use serde_json::Value;
use tokio::net::UnixListener;

use super::style::Style;
use super::{Screen, conclude, converse};
use crate::cli::Cli;
use crate::client::Client;

/// 2026-03-07T18:40:00Z
pub(crate) const NOW_MS: i64 = 1_772_908_800_000;

/// What the fake does with a request.
pub(crate) enum Act {
    /// Answers with status, headers and body.
    Answer(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// Closes the connection without a word.
    HangUp,
}

/// A JSON answer.
pub(crate) fn answer(status: u16, body: Value) -> Act {
    Act::Answer(status, Vec::new(), body.to_string().into_bytes())
}

/// A problem document.
pub(crate) fn problem(status: u16, reason: &str) -> Act {
    answer(
        status,
        serde_json::json!({"type": "about:blank", "title": "No", "status": status, "detail": "not so", "reason": reason}),
    )
}

/// One request as the fake saw it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    /// Method and path.
    pub(crate) line: String,
    pub(crate) body: Vec<u8>,
    /// Which connection it came on.
    pub(crate) connection: usize,
}

/// The fake: stops listening when it is dropped.
pub(crate) struct Fake {
    _dir: tempfile::TempDir,
    pub(crate) socket: PathBuf,
    seen: Arc<Mutex<Vec<Seen>>>,
    listening: tokio::task::JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Fake {
    /// Listens, and asks `act` about each request: its `METHOD path` and its body.
    pub(crate) fn start(act: impl FnMut(&str, &[u8]) -> Act + Send + 'static) -> Fake {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("afterplay.sock");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let listening = listen(socket.clone(), seen.clone(), act);
        Fake { _dir: dir, socket, seen, listening }
    }

    /// Stops listening and closes every connection; the socket file stays, as after a crash.
    pub(crate) async fn stop(&mut self) {
        self.listening.abort();
        let _ = (&mut self.listening).await;
    }

    /// Listens again in the place of the one that was stopped.
    pub(crate) fn restart(&mut self, act: impl FnMut(&str, &[u8]) -> Act + Send + 'static) {
        std::fs::remove_file(&self.socket).unwrap();
        self.listening = listen(self.socket.clone(), self.seen.clone(), act);
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.socket)
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// `METHOD path` of each request.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.line).collect()
    }

    /// Runs a command line against the fake.
    pub(crate) async fn run(&self, args: &[&str]) -> Ran {
        self.run_with(args, b"").await
    }

    /// Runs a command line with something on standard input.
    pub(crate) async fn run_with(&self, args: &[&str], input: &[u8]) -> Ran {
        run(self.client(), args, input).await
    }
}

/// Listens on `socket` until the task is aborted.
fn listen(
    socket: PathBuf,
    seen: Arc<Mutex<Vec<Seen>>>,
    act: impl FnMut(&str, &[u8]) -> Act + Send + 'static,
) -> tokio::task::JoinHandle<()> {
    let listener = UnixListener::bind(socket).unwrap();
    let act = Arc::new(Mutex::new(act));
    tokio::spawn(async move {
        let mut open = tokio::task::JoinSet::new();
        let mut connection = 0;
        while let Ok((stream, _)) = listener.accept().await {
            connection += 1;
            let (act, seen) = (act.clone(), seen.clone());
            let service = service_fn(move |request: Request<Incoming>| {
                let (act, seen) = (act.clone(), seen.clone());
                async move {
                    let line = format!("{} {}", request.method(), request.uri());
                    let body = request.into_body().collect().await.unwrap().to_bytes().to_vec();
                    let done = (*act.lock().unwrap())(&line, &body);
                    seen.lock().unwrap().push(Seen { line, body, connection });
                    match done {
                        Act::Answer(status, headers, body) => {
                            let mut response = Response::builder().status(status);
                            for (name, value) in headers {
                                response = response.header(name, value);
                            }
                            Ok(response.body(Full::new(Bytes::from(body))).unwrap())
                        }
                        Act::HangUp => Err("hung up"),
                    }
                }
            });
            open.spawn(async move {
                let connection = hyper::server::conn::http1::Builder::new();
                let _ = connection.serve_connection(TokioIo::new(stream), service).await;
                Ok::<(), Infallible>(())
            });
        }
    })
}

/// What a command left behind.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: u8,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs a command line with `client`, no terminal, 80 columns, UTC and [`NOW_MS`].
pub(crate) async fn run(mut client: Client, args: &[&str], mut input: &[u8]) -> Ran {
    let cli = Cli::try_parse_from(std::iter::once("afterplay").chain(args.iter().copied())).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = {
        let mut screen = screen(&mut out, &mut err, &mut input);
        let result = converse(&mut client, &cli.command, &mut screen).await;
        conclude(result, &mut screen)
    };
    Ran { code, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
}

/// A screen over buffers.
pub(crate) fn screen<'a>(
    out: &'a mut dyn std::io::Write,
    err: &'a mut dyn std::io::Write,
    input: &'a mut (dyn tokio::io::AsyncBufRead + Unpin),
) -> Screen<'a> {
    Screen {
        out,
        err,
        input,
        live: false,
        err_live: false,
        style: Style::plain(),
        width: 80,
        zone: LazyLock::new(|| TimeZone::UTC),
        now_ms: || NOW_MS,
    }
}
