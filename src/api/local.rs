//! A connection of the Unix socket that is woken by what there is to read alone.
//!
//! A stream that also watches for room is woken each time its peer takes an answer: once more for each request, and
//! nobody waits for it. Room is only watched while there is none.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

/// Bytes that are read at first: most requests are smaller, and what is read into is cleared before.
const FIRST_READ: usize = 1024;

pub(super) struct LocalStream {
    /// `None` where it could not be watched any more.
    stream: Option<AsyncFd<UnixStream>>,
    /// Bytes to read at once; more from each time on that they were all there.
    at_once: usize,
    /// Whether it is watched for room too: from a write on that found none until all is written.
    awaits_room: bool,
}

impl LocalStream {
    /// Takes over a stream that does not block.
    pub(super) fn new(stream: UnixStream) -> io::Result<LocalStream> {
        let stream = Some(watch(stream, Interest::READABLE)?);
        Ok(LocalStream { stream, at_once: FIRST_READ, awaits_room: false })
    }

    fn stream(&self) -> io::Result<&AsyncFd<UnixStream>> {
        self.stream.as_ref().ok_or_else(gone)
    }

    /// Watches it anew, for room too or no more. Who waits for something to read has to ask again: `cx` is woken, as one
    /// task does both.
    fn await_room(&mut self, awaits: bool, cx: &mut Context<'_>) -> io::Result<()> {
        if self.awaits_room != awaits {
            let stream = self.stream.take().ok_or_else(gone)?.into_inner();
            let interest = if awaits { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
            self.stream = Some(watch(stream, interest)?);
            self.awaits_room = awaits;
            cx.waker().wake_by_ref();
        }
        Ok(())
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the connection cannot be watched")
}

#[expect(
    deprecated,
    reason = "what its unsafe successor asks for, a descriptor that stays, every UnixStream is"
)]
fn watch(stream: UnixStream, interest: Interest) -> io::Result<AsyncFd<UnixStream>> {
    AsyncFd::with_interest(stream, interest)
}

impl AsyncRead for LocalStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let LocalStream { stream, at_once, .. } = self.get_mut();
        let stream = stream.as_ref().ok_or_else(gone)?;
        loop {
            let mut ready = ready!(stream.poll_read_ready(cx))?;
            let space = buf.initialize_unfilled_to(buf.remaining().min(*at_once));
            match ready.get_inner().read(space) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(read) => {
                    // Less than there was space for is all there was; what comes later, the end too, is told anew.
                    if read == space.len() {
                        *at_once = at_once.saturating_mul(2);
                    } else if read > 0 {
                        ready.clear_ready();
                    }
                    buf.advance(read);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl AsyncWrite for LocalStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            match self.stream()?.get_ref().write(buf) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.await_room(true, cx)?;
                    let mut ready = ready!(self.stream()?.poll_write_ready(cx))?;
                    // Said before the write that found none: that it is there again is told anew.
                    ready.clear_ready();
                }
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.await_room(false, cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.stream()?.get_ref().shutdown(Shutdown::Write))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::{Duration, Instant};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn pair() -> (LocalStream, tokio::net::UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        (LocalStream::new(ours).unwrap(), tokio::net::UnixStream::from_std(theirs).unwrap())
    }

    #[tokio::test]
    async fn reads_all_that_comes_whatever_its_pieces_and_then_the_end() {
        let (mut ours, mut theirs) = pair();
        let sent: Vec<u8> = (0..100_000u32).map(|n| n as u8).collect();
        let pieces = sent.clone();
        let sender = tokio::spawn(async move {
            let mut left = &pieces[..];
            for size in [1, FIRST_READ, 1, 2 * FIRST_READ, 3, 4 * FIRST_READ, usize::MAX] {
                let (piece, rest) = left.split_at(size.min(left.len()));
                theirs.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
                left = rest;
            }
        });
        let mut read = Vec::new();
        ours.read_to_end(&mut read).await.unwrap();
        sender.await.unwrap();
        assert_eq!(read, sent);
    }

    #[tokio::test]
    async fn an_answer_goes_out_whole_to_a_peer_that_takes_it_late_and_bit_by_bit() {
        let (mut ours, mut theirs) = pair();
        let answer = vec![7; 3 << 20];
        let mut taken = Vec::new();
        let write = async {
            ours.write_all(&answer).await.unwrap();
            ours.write_all(&answer).await.unwrap();
            ours.shutdown().await.unwrap();
        };
        let take = async {
            let mut piece = vec![0; 10_000];
            loop {
                tokio::task::yield_now().await;
                match theirs.read(&mut piece).await.unwrap() {
                    0 => break,
                    read => taken.extend_from_slice(&piece[..read]),
                }
            }
        };
        tokio::join!(write, take);
        assert_eq!(taken.len(), 2 * answer.len());
        assert!(ours.awaits_room, "it was never full");
        ours.flush().await.unwrap();
        assert!(!ours.awaits_room, "all is written");
    }

    #[tokio::test]
    async fn who_waits_to_read_is_told_of_what_comes_also_while_there_is_no_room_and_after() {
        let (mut ours, mut theirs) = pair();
        let mut piece = [0; 8];
        for full in [true, false, true, false] {
            // One task reads and writes, as a connection does.
            let work = poll_fn(|cx| {
                let mut room = ReadBuf::new(&mut piece);
                if Pin::new(&mut ours).poll_read(cx, &mut room).is_ready() {
                    return Poll::Ready(room.filled().len());
                }
                while full && Pin::new(&mut ours).poll_write(cx, &[7; 4096]).is_ready() {}
                assert!(full || Pin::new(&mut ours).poll_flush(cx).is_ready());
                Poll::Pending
            });
            // It comes when both have been asked for, and nothing but the stream has them asked again.
            let both = async { tokio::join!(biased; work, theirs.write_all(b"x")) };
            let limit = Duration::from_secs(10);
            let begun = Instant::now();
            let (read, sent) = tokio::time::timeout(limit, both).await.expect("not woken");
            // At its end the limit has them asked as well.
            assert!(begun.elapsed() < limit, "not woken");
            sent.unwrap();
            assert_eq!(read, 1);
        }
    }

    #[tokio::test]
    async fn a_peer_that_is_gone_is_an_error_and_the_end() {
        let (mut ours, theirs) = pair();
        drop(theirs);
        assert_eq!(ours.write_all(b"x").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(ours.read(&mut [0; 8]).await.unwrap(), 0);
    }
}
