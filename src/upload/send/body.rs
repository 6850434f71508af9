//! A request body that knows whether it went out.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};

/// The body goes to the connection in pieces of this size, so that "all taken" lags little behind what was written.
const PIECE: usize = 1024;

/// A request body that notes when its last piece went to the connection. Before that the other side cannot have all
/// of it; after that nobody here can tell.
pub(super) struct TrackedBody {
    left: Bytes,
    sent: Sent,
}

/// Whether a body went to the connection in full.
#[derive(Debug, Clone, Default)]
pub struct Sent(Arc<AtomicBool>);

impl Sent {
    /// Whether it did.
    pub fn in_full(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl TrackedBody {
    pub(super) fn new(body: Bytes, sent: Sent) -> Self {
        Self { left: body, sent }
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
        let piece = PIECE.min(self.left.len());
        let piece = self.left.split_to(piece);
        if self.left.is_empty() {
            self.sent.0.store(true, Ordering::Release);
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
