//! Listeners and connections: caps, deadlines, drain.
//!
//! A connection that is silent costs nothing and may stay; when the caps are reached the user who has most makes room,
//! silent connections first, for whoever has less ([`super::standing`]). One that has begun a request has a deadline for its head, each piece
//! of its body, and each piece of the answer it takes.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep};

use super::bare;
use super::caller::{WEB_UID, scope_of};
use super::local::LocalStream;
use super::router::Router;
use super::standing::{Activity, Caps, Registry, Standing};
use crate::journal::Scope;
use crate::stop::Stop;

/// From the first byte of a request to the end of its head.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// For a client to take a piece of an answer.
const WRITE_DEADLINE: Duration = Duration::from_secs(10);
/// Largest head; also what a connection buffers.
const MAX_HEAD: usize = 16 * 1024;
/// How long requests that are under way may take to end when the service stops.
const DRAIN: Duration = Duration::from_secs(3);
/// Between two accepts when the process has no descriptor left.
const NO_DESCRIPTOR: Duration = Duration::from_millis(50);
/// Between two lines in the log that say so.
const SAY_AGAIN: Duration = Duration::from_secs(60);
/// For a request that began just when its connection was told to go.
const LEAVE: Duration = Duration::from_secs(1);

/// Where connections come from.
#[derive(Debug)]
pub enum Listener {
    /// The Unix socket; the kernel names the peer. Where it had to be bound anew, the new listener takes its place.
    Unix(UnixListener, mpsc::Receiver<UnixListener>),
    /// Loopback TCP, for web players.
    Tcp(TcpListener),
}

/// Serves all listeners until `stop` turns true, then lets requests that are under way end.
pub async fn serve(
    listeners: Vec<(Listener, Router)>,
    caps: watch::Receiver<Caps>,
    own_uid: u32,
    stop: Stop,
) {
    let registry = Arc::new(Registry::default());
    let mut accepting = JoinSet::new();
    for (listener, router) in listeners {
        accepting.spawn(accept(listener, router, registry.clone(), caps.clone(), own_uid, stop.clone()));
    }
    while accepting.join_next().await.is_some() {}
}

async fn accept(
    mut listener: Listener,
    router: Router,
    registry: Arc<Registry>,
    caps: watch::Receiver<Caps>,
    own_uid: u32,
    stop: Stop,
) {
    let router = Arc::new(router);
    let mut connections = JoinSet::new();
    let mut stopping = stop.clone();
    let mut said: Option<Instant> = None;
    loop {
        tokio::select! {
            () = stopping.requested() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = accept_one(&mut listener) => match accepted {
                Ok((stream, uid)) => {
                    let scope = if uid == WEB_UID { Scope { uid, admin: false } } else { scope_of(uid, own_uid) };
                    let caps = *caps.borrow();
                    match registry.enter(uid, caps) {
                        Some(standing) => {
                            connections.spawn(connection(stream, standing, router.clone(), scope, stop.clone()));
                        }
                        None => { connections.spawn(turn_away(stream)); }
                    }
                    // What it has sent already is read before the next one may push it out as silent, and what was
                    // pushed out or turned away gives its descriptor back.
                    tokio::task::yield_now().await;
                }
                Err(error) if is_shortage(&error) => {
                    if said.is_none_or(|at| at.elapsed() >= SAY_AGAIN) {
                        said = Some(Instant::now());
                        tracing::warn!("a connection could not be accepted, others make room for it: {error}");
                    }
                    registry.shed();
                    tokio::time::sleep(NO_DESCRIPTOR).await;
                }
                // It went away before it was accepted: nobody has to make room.
                Err(error) => {
                    tracing::debug!("a connection broke off: {error}");
                    tokio::task::yield_now().await;
                }
            }
        }
    }
    drop(listener);
    let _ = tokio::time::timeout(DRAIN, async { while connections.join_next().await.is_some() {} }).await;
}

/// Whether accepting failed for want of something that closing a connection gives back.
fn is_shortage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn accept_one(listener: &mut Listener) -> io::Result<(Box<dyn Stream>, u32)> {
    match listener {
        Listener::Unix(listener, successors) => loop {
            tokio::select! {
                // Whoever waits at the old one is let in before it goes.
                biased;
                accepted = listener.accept() => {
                    let (stream, _) = accepted?;
                    let uid = stream.peer_cred()?.uid();
                    return Ok((Box::new(LocalStream::new(stream.into_std()?)?), uid));
                }
                Some(successor) = successors.recv() => *listener = successor,
            }
        },
        Listener::Tcp(listener) => {
            let (stream, _) = listener.accept().await?;
            // One that was reset meanwhile is found out when it is read.
            let _ = stream.set_nodelay(true);
            Ok((Box::new(stream), WEB_UID))
        }
    }
}

/// Every place is taken by a connection that is at work.
async fn turn_away(mut stream: Box<dyn Stream>) {
    let body = "{\"type\":\"about:blank\",\"title\":\"Too Many Requests\",\"status\":429,\"reason\":\"busy\",\
                \"detail\":\"Too many connections are at work. Try again.\"}";
    let head = format!(
        "HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let answer = async {
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body.as_bytes()).await?;
        stream.shutdown().await
    };
    let _ = tokio::time::timeout(Duration::from_secs(1), answer).await;
}

async fn connection(
    stream: Box<dyn Stream>,
    standing: Standing,
    router: Arc<Router>,
    scope: Scope,
    mut stop: Stop,
) {
    let (standing, activity) = (&standing, standing.activity());
    let router = &*router;
    let io = TokioIo::new(Guarded::new(stream, activity.clone()));
    let serve_one = |request: hyper::Request<Incoming>| {
        activity.head_is_in();
        async move {
            let response = router.answer(scope, request, activity).await;
            standing.is_answered();
            Ok::<_, Infallible>(response)
        }
    };
    let served = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .half_close(true)
        .serve_connection(io, hyper::service::service_fn(serve_one));
    tokio::pin!(served);
    tokio::select! {
        // Errors are the client's: it went away or broke off.
        _ = served.as_mut() => {}
        may_end = activity.told_to_go() => {
            if may_end {
                served.as_mut().graceful_shutdown();
                let _ = tokio::time::timeout(LEAVE, served).await;
            }
        }
        () = stop.requested() => {
            served.as_mut().graceful_shutdown();
            let _ = served.await;
        }
    }
}

/// A stream with deadlines for a head that has begun and for an answer that is not taken, and with no bare answers.
struct Guarded {
    stream: Box<dyn Stream>,
    activity: Arc<Activity>,
    read_by: Option<Pin<Box<Sleep>>>,
    write_by: Option<Pin<Box<Sleep>>>,
    /// What is left of what goes out in the place of a bare answer.
    instead: Option<Bytes>,
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the client is too slow")
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Ready(done) => {
                if buf.filled().len() > before && self.activity.came_in() {
                    self.read_by = None;
                }
                Poll::Ready(done)
            }
            Poll::Pending => {
                if !self.activity.is_in_head() {
                    self.read_by = None;
                    return Poll::Pending;
                }
                // Most heads are there at once, and need no timer.
                let timer = self.read_by.get_or_insert_with(|| {
                    Box::pin(tokio::time::sleep_until(Instant::now() + HEAD_DEADLINE))
                });
                ready!(timer.as_mut().poll(cx));
                Poll::Ready(Err(late()))
            }
        }
    }
}

impl Guarded {
    fn new(stream: Box<dyn Stream>, activity: Arc<Activity>) -> Guarded {
        Guarded { stream, activity, read_by: None, write_by: None, instead: None }
    }

    fn write_or_replace(&mut self, cx: &mut Context<'_>, mut buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.instead.is_none() {
            match bare::find(buf) {
                Some((0, instead)) => self.instead = Some(instead.into()),
                Some((before, _)) => buf = &buf[..before],
                None => {}
            }
        }
        let Some(instead) = &mut self.instead else { return Pin::new(&mut self.stream).poll_write(cx, buf) };
        while instead.has_remaining() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, instead))? {
                0 => return Poll::Ready(Ok(0)),
                wrote => instead.advance(wrote),
            }
        }
        self.instead = None;
        Poll::Ready(Ok(buf.len()))
    }

    fn watch_write<T>(&mut self, cx: &mut Context<'_>, wrote: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if wrote.is_ready() {
            self.write_by = None;
            return wrote;
        }
        let timer = self
            .write_by
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + WRITE_DEADLINE)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(late()))
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = self.write_or_replace(cx, buf);
        self.watch_write(cx, wrote)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch_write(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
