//! A request body that knows whether it went out.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use super::ValidAt;
use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};

/// The body goes to the connection in pieces of this size, so that "all taken" lags little behind what was written.
const PIECE: usize = 1024;

/// A request body that notes when its last piece went to the connection. Before that the other side cannot have all
/// of it; after that nobody here can tell.
pub(super) struct TrackedBody {
    left: Bytes,
    sent: Sent,
    valid_at: Arc<ValidAt>,
}

/// How far a body went to the connection.
#[derive(Debug, Clone, Default)]
pub struct Sent(Arc<Progress>);

#[derive(Debug, Default)]
struct Progress {
    /// Boot time at which the connection stood and asked for the first piece.
    first_ms: OnceLock<i64>,
    in_full: AtomicBool,
}

impl Sent {
    /// Whether it did.
    pub fn in_full(&self) -> bool {
        self.0.in_full.load(Ordering::Acquire)
    }

    /// Boot time at which the first piece went, before anything of the request was written.
    pub(super) fn first_ms(&self) -> Option<i64> {
        self.0.first_ms.get().copied()
    }
}

impl TrackedBody {
    pub(super) fn new(body: Bytes, sent: Sent, valid_at: Arc<ValidAt>) -> Self {
        Self { left: body, sent, valid_at }
    }
}

impl fmt::Debug for TrackedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrackedBody").field("left", &self.left.len()).finish_non_exhaustive()
    }
}

impl HttpBody for TrackedBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        self.sent.0.first_ms.get_or_init(|| self.valid_at.boot_ms());
        let piece = PIECE.min(self.left.len());
        let piece = self.left.split_to(piece);
        if self.left.is_empty() {
            self.sent.0.in_full.store(true, Ordering::Release);
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::{Clock, ManualClock};

    #[test]
    fn the_way_to_a_connection_is_no_part_of_the_round_trip() {
        let manual = ManualClock::at(0, "a");
        let (sent, valid_at) = (Sent::default(), ValidAt::new(Clock::Manual(manual.clone())));
        let mut body = TrackedBody::new(vec![0; PIECE + 1].into(), sent.clone(), valid_at);
        manual.advance(Duration::from_secs(5));
        assert_eq!(sent.first_ms(), None);
        for in_full in [false, true] {
            let taken = Pin::new(&mut body).poll_frame(&mut Context::from_waker(std::task::Waker::noop()));
            assert!(matches!(taken, Poll::Ready(Some(Ok(_)))));
            manual.advance(Duration::from_secs(1));
            assert_eq!((sent.first_ms(), sent.in_full()), (Some(6000), in_full));
        }
    }
}
