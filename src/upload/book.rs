//! What the uploader knows beyond single sessions, and what follows from a verdict (contract section 11): pure.
//!
//! The book is written to the journal with each settlement, so that a restart forgets neither a pause nor a
//! `Retry-After`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::verdict::{Judgement, Verdict};
use crate::clock::Moment;
use crate::journal::{Action, Outgoing};

/// Three different sessions refused in a row for the same reason mean that the fault is ours.
const REFUSALS_TO_PAUSE: usize = 3;
/// Attempts that the network failed before a session lets others go first.
const PATIENCE: u32 = 3;
/// A limit on answers holds only once they are spread over this time.
const LIMIT_SPREAD_MS: i64 = 24 * 3600 * 1000;

/// Why nothing is sent for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateKind {
    /// The network did not carry the last attempt; a new path opens it.
    Network,
    /// The endpoint asked to wait.
    Endpoint,
    /// Something must be put right first; a reload or a restart opens it.
    Pause,
}

/// Until when nothing is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// What kind of wait it is.
    pub kind: GateKind,
    /// Short reason.
    pub reason: String,
    /// Reason for a person.
    pub detail: String,
    wait_ms: i64,
    set: Moment,
}

impl Gate {
    /// Milliseconds until it opens.
    pub fn remaining(&self, now: &Moment) -> i64 {
        now.remaining(&self.set, self.wait_ms)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Refusals {
    reason: String,
    sessions: Vec<i64>,
}

/// What the uploader knows beyond single sessions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Book {
    /// Until when nothing is sent.
    pub gate: Option<Gate>,
    /// Failures in a row that concerned all sessions.
    failures: u32,
    /// Probes in a row that found the pause still needed.
    probes: u32,
    refusals: Refusals,
}

/// How long to wait, by attempt number; the shell draws the jitter.
pub trait Delays {
    /// Before attempt `attempt + 1` (contract: BACKOFF).
    fn backoff(&self, attempt: u32) -> Duration;
    /// Before probe `probe + 1` of a pause (contract: PAUSE).
    fn pause(&self, probe: u32) -> Duration;
}

/// What follows from one judgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consequence {
    /// For the session itself.
    pub action: Action,
    /// Quarantined sessions to take back.
    pub requeue: Vec<i64>,
    /// An outage is over: what waited for the network waits no longer.
    pub outage_over: bool,
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl Book {
    /// Enters a judgement and says what follows from it.
    pub fn enter(
        &mut self,
        session: &Outgoing,
        judgement: &Judgement,
        delays: &impl Delays,
        now: Moment,
    ) -> Consequence {
        let outage_over = !judgement.concerns_all && self.failures >= PATIENCE;
        let only = |action| Consequence { action, requeue: Vec::new(), outage_over };
        if !matches!(judgement.verdict, Verdict::Quarantine) && !judgement.concerns_all {
            self.refusals = Refusals::default();
        }
        let pause = matches!(judgement.verdict, Verdict::Pause);
        if judgement.concerns_all && !pause {
            self.failures += 1;
            let (kind, wait) = match judgement.verdict {
                Verdict::RetryAfter(Some(told)) => (GateKind::Endpoint, told),
                Verdict::RetryAfter(None) => (GateKind::Endpoint, delays.backoff(self.failures)),
                _ => (GateKind::Network, delays.backoff(self.failures)),
            };
            self.shut(kind, judgement, wait, now);
            // Of those that wait for the same network the oldest goes first again, but not for ever.
            let failed = session.unreached + 1;
            let own =
                if failed >= PATIENCE { ms(wait).saturating_add(ms(delays.backoff(failed))) } else { 0 };
            return only(Action::Wait { ms: own, network: true, counts: false });
        }
        self.failures = 0;
        self.gate = None;
        if !pause {
            self.probes = 0;
        }
        match judgement.verdict {
            Verdict::Delivered => only(Action::Deliver { receipt: String::new() }),
            Verdict::Pause => {
                self.pause(judgement, delays, now);
                only(Action::Wait { ms: 0, network: false, counts: false })
            }
            Verdict::RetryAfter(told) => only(Action::Wait {
                ms: ms(told.unwrap_or_else(|| delays.backoff(session.attempts + 1))),
                network: false,
                counts: false,
            }),
            Verdict::Backoff { limit } => {
                let answers = session.answers + 1;
                if limit.is_some_and(|limit| answers >= limit) && session.answering_ms >= LIMIT_SPREAD_MS {
                    return only(Action::Quarantine);
                }
                only(Action::Wait {
                    ms: ms(delays.backoff(session.attempts + 1)),
                    network: false,
                    counts: limit.is_some(),
                })
            }
            Verdict::Resize { .. } | Verdict::Consent => only(Action::Quarantine),
            Verdict::Quarantine => self.refuse(session.id, judgement, delays, now),
        }
    }

    fn refuse(&mut self, id: i64, judgement: &Judgement, delays: &impl Delays, now: Moment) -> Consequence {
        if self.refusals.reason != judgement.reason {
            self.refusals = Refusals { reason: judgement.reason.clone(), sessions: Vec::new() };
        }
        if !self.refusals.sessions.contains(&id) {
            self.refusals.sessions.push(id);
        }
        if self.refusals.sessions.len() < REFUSALS_TO_PAUSE {
            return Consequence { action: Action::Quarantine, requeue: Vec::new(), outage_over: false };
        }
        let requeue = self.refusals.sessions.iter().copied().filter(|other| *other != id).collect();
        self.refusals = Refusals::default();
        self.pause(judgement, delays, now);
        let action = Action::Wait { ms: 0, network: false, counts: false };
        Consequence { action, requeue, outage_over: false }
    }

    fn pause(&mut self, judgement: &Judgement, delays: &impl Delays, now: Moment) {
        self.probes += 1;
        self.shut(GateKind::Pause, judgement, delays.pause(self.probes), now);
    }

    fn shut(&mut self, kind: GateKind, judgement: &Judgement, wait: Duration, now: Moment) {
        self.gate = Some(Gate {
            kind,
            reason: judgement.reason.clone(),
            detail: judgement.detail.clone(),
            wait_ms: ms(wait),
            set: now,
        });
    }

    /// Opens the gate if it is of one of these kinds; answers whether it did.
    pub fn open(&mut self, kinds: &[GateKind]) -> bool {
        let opens = self.gate.as_ref().is_some_and(|gate| kinds.contains(&gate.kind));
        if opens {
            self.gate = None;
        }
        opens
    }
}
