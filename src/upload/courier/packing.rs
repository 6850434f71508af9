//! A session made ready to go: its payload, or what is to be done with it first.

use super::Courier;
use crate::journal::{Outgoing, Refusal, lasts_too_long};
use crate::upload::cut::cut;
use crate::upload::{Built, pack, shape_for};

impl Courier {
    /// The session and its payload; nothing if it is gone or cannot be sent, which the journal is told.
    pub(super) async fn pack(&self, id: i64) -> Result<Option<(Outgoing, Option<i64>, Built)>, Refusal> {
        let journal = &self.parts.journal;
        let session = match journal.outgoing(id).await {
            Ok(Some(session)) => session,
            Ok(None) => return Ok(None),
            Err(Refusal::Damaged(detail)) => {
                tracing::error!("a session was set apart because its rows are damaged: {detail}");
                return journal.quarantine(id, "corrupt", detail).await.map(|()| None);
            }
            Err(refusal) => return Err(refusal),
        };
        if !session.frozen && lasts_too_long(&session) && self.divide(&session).await? {
            return Ok(None);
        }
        let shape = *self.shape.borrow();
        // Left out when nobody can tell.
        let timestamp = session.now_ms.filter(|_| self.config.upload.timestamp);
        let (session, built) = pack(session, timestamp, shape).await?;
        match built {
            // Only a real refusal tells that the endpoint enforces a limit.
            Ok(built)
                if session.refused_bytes.is_some()
                    && built.body.len() > shape_for(&session, &shape).budget =>
            {
                self.shorten(&session, built.body.len()).await.map(|()| None)
            }
            Ok(built) => Ok(Some((session, timestamp, built))),
            Err(error) => journal.quarantine(id, "no_payload", error.to_string()).await.map(|()| None),
        }
    }

    /// Ends a session where 24 hours are over; then both parts are looked at anew. Answers whether it was done. A
    /// disk without room for it is no reason not to send what would free some.
    async fn divide(&self, session: &Outgoing) -> Result<bool, Refusal> {
        match self.parts.journal.divide(session.id).await {
            Ok(second) => {
                if let Some(second) = &second {
                    tracing::info!(
                        session = session.key,
                        second,
                        "longer than 24 hours; goes on in a successor"
                    );
                }
                Ok(second.is_some())
            }
            Err(refusal @ Refusal::NoSpace(_)) => {
                let session = &session.key;
                tracing::warn!(session, "longer than 24 hours, but sent as it came: {refusal}");
                Ok(false)
            }
            Err(refusal) => Err(refusal),
        }
    }

    /// Pings alone do not make it small enough: it is cut in two, or set apart when there is no place for a cut.
    async fn shorten(&self, session: &Outgoing, bytes: usize) -> Result<(), Refusal> {
        let journal = &self.parts.journal;
        match cut(session, bytes) {
            Some(split) => {
                if let Some(second) = journal.split(split).await? {
                    tracing::warn!(session = session.key, second, "too large for the endpoint; cut in two");
                }
                Ok(())
            }
            None => {
                let detail = format!("its body has {bytes} bytes and there is no place to cut it");
                journal.quarantine(session.id, "too_large", detail).await
            }
        }
    }
}
