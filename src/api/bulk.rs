//! Answers as large as a session: one at a time for each user.
//!
//! Such an answer stays in memory until its client has taken it. Without turns a client that asks on all of its
//! connections and takes nothing would hold many times what the quota lets it record.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::ApiError;

/// How long a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);
/// Handed to the connection at once; it asks for the next when this is nearly written.
const PIECE: usize = 64 * 1024;

/// Whose turn it is.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<HashMap<u32, Arc<Semaphore>>>);

impl Turns {
    /// Waits for the user's turn.
    pub(super) async fn take(&self, uid: u32) -> Result<Turn, ApiError> {
        let one = {
            let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            users.entry(uid).or_insert_with(|| Arc::new(Semaphore::new(1))).clone()
        };
        match tokio::time::timeout(PATIENCE, one.acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Turn { _permit: permit }),
            _ => Err(ApiError::busy("Another large answer to this user has not been taken yet.")),
        }
    }
}

/// The right to one large answer, given back when the answer is out.
pub(super) struct Turn {
    _permit: OwnedSemaphorePermit,
}

impl Turn {
    /// The answer.
    pub(super) fn json(self, text: impl Into<Bytes>) -> Response {
        let body = Body::new(Pieces { rest: text.into(), _turn: self });
        ([(header::CONTENT_TYPE, "application/json")], body).into_response()
    }
}

struct Pieces {
    rest: Bytes,
    _turn: Turn,
}

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let size = self.rest.len().min(PIECE);
        Poll::Ready((size > 0).then(|| Ok(Frame::data(self.rest.split_to(size)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}
