//! Answers: their bodies, and the few forms that they have.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::StatusCode;
use hyper::body::{Frame, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use serde::Serialize;

use super::bulk::Turn;

/// An answer to one request.
pub(super) type Response = hyper::Response<Body>;

/// Of a large answer, handed to the connection at once; it asks for the next when this is nearly written.
const PIECE: usize = 64 * 1024;

/// The body of an answer; its length is always known.
#[derive(Debug, Default)]
pub(super) struct Body {
    rest: Bytes,
    /// That of a large answer, which goes out in pieces.
    turn: Option<Turn>,
}

impl Body {
    /// A body that keeps its user's turn until it is out.
    pub(super) fn large(text: Bytes, turn: Turn) -> Body {
        Body { rest: text, turn: Some(turn) }
    }

    /// Its length in bytes.
    pub(super) fn len(&self) -> usize {
        self.rest.len()
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let whole = self.rest.len();
        let size = if self.turn.is_some() { whole.min(PIECE) } else { whole };
        Poll::Ready((size > 0).then(|| Ok(Frame::data(self.rest.split_to(size)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Response {
    let mut response = Response::default();
    *response.status_mut() = status;
    response
}

/// An answer of any type.
pub(super) fn typed(status: StatusCode, kind: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// An answer whose text is there.
pub(super) fn text(status: StatusCode, kind: &'static str, text: impl Into<Bytes>) -> Response {
    typed(status, kind, Body { rest: text.into(), turn: None })
}

/// An answer in JSON.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(json) => text(status, "application/json", json),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8", error.to_string()),
    }
}
