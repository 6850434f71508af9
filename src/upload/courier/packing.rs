//! A session made ready to go: its payload, or what is to be done with it first.

use std::sync::Arc;

use super::landing::Made;
use super::{Courier, UNREADABLE_MS};
use crate::config::Config;
use crate::journal::{Beginning, Fit, Outgoing, Refusal, Signals, body_sum, lasts_too_long};
use crate::link::Link;
use crate::session::Consent;
use crate::upload::cut::cut;
use crate::upload::{Shape, fit_of, pack, shape_for};

/// A session and its payload.
pub(super) struct Packed {
    /// Without its events: the payload has them.
    pub(super) session: Outgoing,
    timestamp: Option<i64>,
    fit: Fit,
    pub(super) body: Vec<u8>,
    pub(super) made: Made,
    /// By what it was made.
    shape: Shape,
    config: Arc<Config>,
    /// What the journal had told of by then.
    signals: Signals,
}

impl Packed {
    /// The attempt that is about to be made with it.
    pub(super) fn beginning(&self) -> Beginning {
        let first = self.session.attempts == 0;
        Beginning {
            id: self.session.id,
            timestamp_ms: self.timestamp,
            fit: self.fit,
            timing: self.session.timing,
            bytes: i64::try_from(self.body.len()).unwrap_or(i64::MAX),
            sum: body_sum(&self.body),
            warnings: if first { self.made.repaired.clone() } else { Vec::new() },
        }
    }
}

impl Courier {
    pub(super) fn is_packed(&self, id: i64) -> bool {
        self.packed.as_ref().is_some_and(|packed| packed.session.id == id && self.is_fresh(packed))
    }

    /// Whether it would be made the same way now.
    pub(super) fn is_fresh(&self, packed: &Packed) -> bool {
        packed.signals.changed == self.signals.borrow().changed
            && packed.shape == *self.shape.borrow()
            && Arc::ptr_eq(&packed.config, &self.config)
    }

    /// Whether a session that was next when it was packed may go without a look at what else is due.
    pub(super) fn may_go(&self, packed: &Packed) -> bool {
        let id = packed.session.id;
        self.is_fresh(packed)
            && packed.signals.work == self.signals.borrow().work
            && self.signals.borrow().consent == Consent::In
            && self.link.borrow().link == Link::Online
            && self.patience.until(self.now().boot_ms).is_none()
            && self.held().is_none()
            && self.has_room(Link::Online, self.config.upload.concurrency)
            && !self.book.doubted().contains(&id)
            && !self.ledger.unsettled().any(|unsettled| unsettled == id)
    }

    /// The session and its payload; nothing if it is gone, cannot be sent, or cannot be read for now.
    pub(super) async fn try_pack(&mut self, id: i64) -> Result<Option<Packed>, Refusal> {
        match self.pack(id).await {
            // That is no fault of this session's.
            Err(refusal @ Refusal::NoSpace(_)) => Err(refusal),
            Err(refusal) => {
                // Others may still be readable.
                tracing::warn!("a session could not be read and is left alone for now: {refusal}");
                self.unreadable.insert(id, self.now().boot_ms.saturating_add(UNREADABLE_MS));
                Ok(None)
            }
            packed => packed,
        }
    }

    /// The same; why it cannot be sent the journal is told.
    async fn pack(&self, id: i64) -> Result<Option<Packed>, Refusal> {
        let journal = &self.parts.journal;
        let (config, shape, signals) = (self.config.clone(), *self.shape.borrow(), *self.signals.borrow());
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
        // Left out when nobody can tell.
        let timestamp = session.now_ms.filter(|_| config.upload.timestamp);
        let (mut session, built) = pack(session, timestamp, shape).await?;
        let budget = shape_for(&session, &shape).budget;
        let built = match built {
            // Only a real refusal tells that the endpoint enforces a limit.
            Ok(built) if session.refused_bytes.is_some() && built.body.len() > budget => {
                return self.shorten(&session, built.body.len(), budget).await.map(|()| None);
            }
            Ok(built) => built,
            Err(error) => {
                return journal.quarantine(id, "no_payload", error.to_string()).await.map(|()| None);
            }
        };
        crate::memory::took(session.events.iter().map(|event| event.body.len()).sum());
        let fit = fit_of(&shape_for(&session, &shape));
        let (body, made) = Made::of(built, &session);
        if session.payload_sum.is_some_and(|sum| sum != body_sum(&body)) {
            tracing::error!(session = session.key, "the payload differs from that of the first attempt");
        }
        session.events = Vec::new();
        tracing::debug!(session = session.key, "made ready");
        Ok(Some(Packed { session, timestamp, fit, body, made, shape, config, signals }))
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
    async fn shorten(&self, session: &Outgoing, bytes: usize, budget: usize) -> Result<(), Refusal> {
        let journal = &self.parts.journal;
        match cut(session, bytes, budget) {
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
