//! What follows when a trip is over.

use std::sync::Arc;

use tokio::task::{Id, JoinError};

use super::Courier;
use crate::clock::rfc3339;
use crate::config::Config;
use crate::journal::{Action, Outgoing, Settlement};
use crate::upload::book::Consequence;
use crate::upload::send::{Failure, FailureKind, Outcome, Sent};
use crate::upload::verdict::{self, Context, Hint, Judgement, Verdict};
use crate::upload::{Built, DRAIN};

/// A session on its way.
pub(super) struct Trip {
    pub(super) session: Outgoing,
    pub(super) attempt: u32,
    pub(super) made: Made,
    /// On which path it was sent, and with which configuration.
    pub(super) path: u64,
    pub(super) config: Arc<Config>,
    pub(super) sent: Sent,
}

/// What was made of a session, for its receipt.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub(super) bytes: usize,
    /// Events that came from a player, and events in the body.
    recorded: usize,
    events: usize,
    level: Option<usize>,
    thinned: usize,
    merged: usize,
    synthetic: usize,
    /// What was odd about the order of events.
    pub(super) repaired: Vec<String>,
}

impl Made {
    /// The body, and what is to be remembered of it.
    pub(super) fn of(built: Built, session: &Outgoing) -> (Vec<u8>, Made) {
        let made = Made {
            bytes: built.body.len(),
            recorded: session.events.iter().filter(|event| !event.synthetic).count(),
            events: built.events,
            level: built.level.number(),
            thinned: built.thinned,
            merged: built.merged,
            synthetic: built.synthetic,
            repaired: built.warnings.iter().map(|warning| warning.text.clone()).collect(),
        };
        (built.body, made)
    }
}

impl Courier {
    /// A trip is over.
    pub(super) fn landed(&mut self, done: Result<(Id, Outcome), JoinError>) {
        let (task, outcome) = match done {
            Ok(done) => done,
            Err(error) => {
                tracing::error!("an upload broke off by a fault of its own: {error}");
                let (kind, detail) = (FailureKind::Reset, "the attempt broke off".to_owned());
                (error.id(), Outcome::Failed(Failure { kind, maybe_delivered: true, detail }))
            }
        };
        if self.asking.is_task(task) {
            self.time_told(&outcome);
        } else if let Some(trip) = self.trips.remove(&task) {
            self.date_passing_by(&outcome, trip.config.endpoint.is_tls());
            self.settle(&trip, &outcome);
        }
    }

    /// Judges how a trip ended and sees to what follows.
    fn settle(&mut self, trip: &Trip, outcome: &Outcome) {
        let now = self.now();
        let context = Context {
            identity_from_configuration: trip.session.identity_from_configuration,
            now_ms: self.valid_at.now_ms(),
        };
        let judgement = verdict::judge(outcome, &context);
        let same_way = trip.path == self.link.borrow().path && trip.config.endpoint == self.config.endpoint;
        if same_way {
            self.parts.link.report(judgement.evidence);
        }
        if judgement.concerns_all {
            self.forced = false;
        }
        let mut consequence = if self.is_outdated(trip, &judgement) {
            let action = Action::Wait { ms: 0, network: false, counts: false };
            Consequence { action, requeue: Vec::new(), outage_over: false }
        } else {
            let bytes = u64::try_from(trip.made.bytes).unwrap_or(u64::MAX);
            self.book.enter(&trip.session, &judgement, bytes, self.config.as_ref(), now)
        };
        if let Action::Deliver { receipt } = &mut consequence.action {
            let hint = self.hint_at(&judgement);
            *receipt = receipt_of(trip, &judgement, hint, self.valid_at.now_ms());
        }
        self.reshape();
        self.tell(trip, &judgement, &consequence.action);
        if consequence.outage_over {
            self.ledger.end_network_waits();
        }
        let unsent = !trip.session.frozen && judgement.status.is_none() && !judgement.maybe_delivered;
        if unsent {
            self.asking.ask_first();
        }
        self.ledger.settle(Settlement {
            id: trip.session.id,
            attempt: trip.attempt,
            status: judgement.status,
            verdict: judgement.verdict.name(),
            reason: judgement.reason,
            detail: judgement.detail,
            maybe_delivered: judgement.maybe_delivered,
            unsent,
            action: consequence.action,
            requeue: consequence.requeue,
            // Filled in when it is written: the book may have moved on by then.
            book: String::new(),
        });
    }

    /// Whether what a judgement says of everybody is said of a path, an endpoint or a set-up that is no longer used.
    fn is_outdated(&self, trip: &Trip, judgement: &Judgement) -> bool {
        let other_path = trip.path != self.link.borrow().path;
        let other_set_up = !Arc::ptr_eq(&trip.config, &self.config);
        let other_endpoint = trip.config.endpoint != self.config.endpoint;
        match judgement.verdict {
            Verdict::Pause => other_set_up,
            _ if judgement.concerns_all => other_endpoint || (other_path && judgement.status.is_none()),
            _ => false,
        }
    }

    fn tell(&mut self, trip: &Trip, judgement: &Judgement, action: &Action) {
        let (session, attempt) = (&trip.session.key, trip.attempt);
        let reason = &judgement.reason;
        match action {
            Action::Deliver { .. } => tracing::info!(session, attempt, "delivered"),
            Action::Wait { .. } => tracing::warn!(session, attempt, reason, "not delivered yet; kept"),
            Action::Resize { .. } => tracing::warn!(session, attempt, "too large; it is made smaller"),
            Action::Quarantine => {
                tracing::error!(session, attempt, reason, "refused; set apart until a person decides");
            }
        }
    }

    /// Notes what a delivery suggests about the set-up: in the log and in its receipt once in a run (contract section
    /// 11.4), in the status until a delivery shows that it is not so. Answers what the receipt is to say.
    fn hint_at(&mut self, judgement: &Judgement) -> Option<Hint> {
        let missing = judgement.hint == Some(Hint::NoMediaSession);
        if missing || judgement.new_session {
            self.hint.send_replace(judgement.hint.filter(|_| missing));
        }
        let hint = judgement.hint.filter(|hint| !self.hinted.contains(hint))?;
        self.hinted.push(hint);
        tracing::warn!("{hint}");
        missing.then_some(hint)
    }

    /// Gives what is on its way a moment to end, then cuts it off.
    pub(super) async fn drain(mut self) {
        let deadline = tokio::time::Instant::now() + DRAIN;
        while let Ok(Some(done)) = tokio::time::timeout_at(deadline, self.sends.join_next_with_id()).await {
            self.landed(done);
            self.ledger.write(&self.parts.journal, &self.book, self.now().boot_ms).await;
        }
        self.sends.shutdown().await;
        for (_, trip) in std::mem::take(&mut self.trips) {
            self.ledger.settle(Settlement {
                id: trip.session.id,
                attempt: trip.attempt,
                status: None,
                verdict: "backoff",
                reason: "interrupted".into(),
                detail: "the service was stopped while this attempt was under way".into(),
                maybe_delivered: trip.sent.in_full(),
                unsent: !trip.session.frozen && !trip.sent.in_full(),
                action: Action::Wait { ms: 0, network: false, counts: false },
                requeue: Vec::new(),
                book: String::new(),
            });
        }
        // What cannot be written now is found at the next start as an attempt without an end.
        self.ledger.write(&self.parts.journal, &self.book, i64::MAX).await;
    }
}

fn receipt_of(trip: &Trip, judgement: &Judgement, hint: Option<Hint>, wall_ms: i64) -> String {
    let mut warnings = judgement.warnings.clone();
    warnings.extend(hint.map(|hint| hint.to_string()));
    serde_json::json!({
        "request_id": judgement.request_id,
        "session_id": judgement.session_id,
        "status": judgement.status,
        "bytes": trip.made.bytes,
        "events": trip.made.recorded,
        "sent_events": trip.made.events,
        "thinning_level": trip.made.level,
        "thinned": trip.made.thinned,
        "merged": trip.made.merged,
        "synthetic": trip.made.synthetic,
        "repaired": trip.made.repaired,
        "attempts": trip.attempt,
        "warnings": warnings,
        "uncertain": judgement.uncertain,
        "time": trip.session.timing.basis,
        "delivered_at": rfc3339(wall_ms),
    })
    .to_string()
}
