//! One connection: HTTP as long as all is well, bare bytes when the script wants it broken.

use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::Sandbox;
use super::answer::Answer;

/// How long a request may take to arrive, head and body each.
const ARRIVAL: Duration = Duration::from_secs(30);

/// A body that is too large is read up to here, so that its client gets to read the answer.
const MAX_DRAIN: u64 = 16 * 1024 * 1024;

/// How long the rest of what a client sends is read after the last answer.
const LINGER: Duration = Duration::from_millis(500);

/// The length of the huge answer.
const HUGE: u64 = 1 << 30;

/// What is done about a request.
#[derive(Debug)]
pub(super) enum Reply {
    Answer(Answer),
    After(Duration, Answer),
    /// Leaves HTTP and ends the connection.
    Exit(Exit),
}

/// How a connection ends that is not left to HTTP.
#[derive(Debug)]
pub(super) enum Exit {
    Close,
    Hang,
    Reset,
    Cut(Answer),
    Slow(Answer, Duration),
    Huge,
}

impl Reply {
    /// The status that the client is to see.
    pub(super) fn status(&self) -> Option<u16> {
        match self {
            Reply::Answer(answer) | Reply::After(_, answer) => Some(answer.status),
            Reply::Exit(Exit::Cut(answer) | Exit::Slow(answer, _)) => Some(answer.status),
            Reply::Exit(Exit::Huge) => Some(200),
            Reply::Exit(Exit::Close | Exit::Hang | Exit::Reset) => None,
        }
    }
}

/// Serves one connection until it ends or the sandbox stops.
pub(super) async fn run(stream: TcpStream, sandbox: Arc<Sandbox>, mut stopped: watch::Receiver<bool>) {
    let exit = Arc::new(Mutex::new(None));
    let service = service_fn({
        let (exit, stopped) = (Arc::clone(&exit), stopped.clone());
        move |request| {
            let (sandbox, exit, stopped) = (Arc::clone(&sandbox), Arc::clone(&exit), stopped.clone());
            Box::pin(respond(request, sandbox, exit, stopped))
        }
    });
    let mut http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(ARRIVAL)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        _ = poll_fn(|cx| http.poll_without_shutdown(cx)) => {}
        () = stop(&mut stopped) => {
            std::pin::Pin::new(&mut http).graceful_shutdown();
            let _ = poll_fn(|cx| http.poll_without_shutdown(cx)).await;
        }
    }
    let mut stream = http.into_parts().io.into_inner();
    let exit = exit.lock().unwrap_or_else(PoisonError::into_inner).take();
    tokio::select! {
        _ = leave(&mut stream, exit.unwrap_or(Exit::Close)) => {}
        () = stop(&mut stopped) => {}
    }
}

async fn stop(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Tells the HTTP server to let go of the connection.
#[derive(Debug, thiserror::Error)]
#[error("the connection is taken over")]
struct TakenOver;

async fn respond(
    request: Request<Incoming>,
    sandbox: Arc<Sandbox>,
    exit: Arc<Mutex<Option<Exit>>>,
    mut stopped: watch::Receiver<bool>,
) -> Result<Response<Full<Bytes>>, TakenOver> {
    let (head, body) = request.into_parts();
    let taken_over = match sandbox.handle(&head, Body(body)).await {
        Reply::Answer(answer) => return Ok(response(answer)),
        Reply::After(wait, answer) => tokio::select! {
            () = sleep(wait) => return Ok(response(answer)),
            () = stop(&mut stopped) => Exit::Close,
        },
        Reply::Exit(exit) => exit,
    };
    *exit.lock().unwrap_or_else(PoisonError::into_inner) = Some(taken_over);
    Err(TakenOver)
}

fn response(answer: Answer) -> Response<Full<Bytes>> {
    let mut builder = Response::builder().status(answer.status);
    for (name, value) in answer.headers {
        builder = builder.header(name, value);
    }
    builder.body(Full::from(answer.body)).unwrap_or_default()
}

async fn leave(stream: &mut TcpStream, exit: Exit) -> io::Result<()> {
    match exit {
        Exit::Close => {
            stream.shutdown().await?;
            let _ = timeout(LINGER, gone(stream)).await;
        }
        Exit::Hang => gone(stream).await,
        Exit::Reset => stream.set_zero_linger()?,
        Exit::Cut(answer) => {
            stream.write_all(head(&answer, answer.body.len() as u64).as_bytes()).await?;
            stream.write_all(&answer.body[..answer.body.len() / 2]).await?;
            stream.shutdown().await?;
            let _ = timeout(LINGER, gone(stream)).await;
        }
        Exit::Slow(answer, pause) => {
            stream.set_nodelay(true)?;
            stream.write_all(head(&answer, answer.body.len() as u64).as_bytes()).await?;
            for byte in &answer.body {
                sleep(pause).await;
                stream.write_all(&[*byte]).await?;
            }
            stream.shutdown().await?;
        }
        Exit::Huge => {
            let answer =
                Answer { headers: vec![("content-type", "application/json".into())], ..Answer::empty(200) };
            stream.write_all(head(&answer, HUGE).as_bytes()).await?;
            let opening = br#"{"requestId":""#;
            stream.write_all(opening).await?;
            let filling = vec![b'a'; 64 * 1024];
            let mut left = HUGE - opening.len() as u64;
            while left > 0 {
                let next = left.min(filling.len() as u64);
                stream.write_all(&filling[..next as usize]).await?;
                left -= next;
            }
            stream.shutdown().await?;
        }
    }
    Ok(())
}

/// Reads until the client has gone.
async fn gone(stream: &mut TcpStream) {
    let mut buffer = [0; 4096];
    while matches!(stream.read(&mut buffer).await, Ok(n) if n > 0) {}
}

fn head(answer: &Answer, length: u64) -> String {
    let mut head =
        format!("HTTP/1.1 {} \r\ncontent-length: {length}\r\nconnection: close\r\n", answer.status);
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head + "\r\n"
}

/// The body of a request, not read yet.
pub(super) struct Body(Incoming);

/// What came of reading it.
#[derive(Debug, Default)]
pub(super) struct Received {
    /// The whole body; `None` if it is too large.
    pub(super) body: Option<Vec<u8>>,
    /// Bytes that arrived.
    pub(super) bytes: u64,
    /// It ended before its end, or took too long.
    pub(super) broken: bool,
}

impl Body {
    /// Reads it, and keeps no more than `max` bytes of it.
    pub(super) async fn collect(mut self, max: u64) -> Received {
        let mut received = Received { body: Some(Vec::new()), ..Received::default() };
        let reading = async {
            while received.bytes < MAX_DRAIN
                && let Some(frame) = self.0.frame().await
            {
                let Ok(data) = frame.map(|frame| frame.into_data().unwrap_or_default()) else {
                    received.broken = true;
                    break;
                };
                received.bytes += data.len() as u64;
                if received.bytes > max {
                    received.body = None;
                }
                if let Some(body) = &mut received.body {
                    body.extend_from_slice(&data);
                }
            }
        };
        let late = timeout(ARRIVAL, reading).await.is_err();
        received.broken |= late;
        received
    }

    /// Reads it away.
    pub(super) async fn drain(self) -> u64 {
        self.collect(0).await.bytes
    }
}
