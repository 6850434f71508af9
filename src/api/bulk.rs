//! Answers as large as a session: one at a time for each user.
//!
//! Such an answer stays in memory until its client has taken it. Without turns a client that asks on all of its
//! connections and takes nothing would hold many times what the quota lets it record.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::answer::{Body, Response, typed};
use super::problem::ApiError;

/// How long a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whose turn it is.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<BTreeMap<u32, Arc<Semaphore>>>);

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
#[derive(Debug)]
pub(super) struct Turn {
    _permit: OwnedSemaphorePermit,
}

impl Turn {
    /// The answer.
    pub(super) fn json(self, text: impl Into<Bytes>) -> Response {
        typed(StatusCode::OK, "application/json", Body::large(text.into(), self))
    }
}
