//! What the uploader knows beyond single sessions, and what follows from a verdict (contract section 11): pure.
//!
//! The book is written to the journal with each settlement, so that a restart forgets neither a pause nor a
//! `Retry-After`.
//!
//! Two rules of the contract pull in opposite directions: some answers stop the whole uploader, and one bad session must
//! never block the others. So whoever stopped it is a suspect, and another session goes first when it is tried again. If
//! that one gets through, the suspects were at fault themselves and from then on wait, or are set apart, alone.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::verdict::{Judgement, Verdict};
use crate::clock::{Moment, left_of};
use crate::journal::{Action, Outgoing};
use crate::link::Evidence;

/// Three different sessions refused in a row for the same reason mean that the fault is ours.
const REFUSALS_TO_PAUSE: usize = 3;
/// Attempts that the network failed before a session lets others go first.
const PATIENCE: u32 = 3;
/// A limit on answers holds only once they are spread over this time.
const LIMIT_SPREAD_MS: i64 = 24 * 3600 * 1000;
/// Suspects that are remembered; beyond, the oldest is forgotten.
const SUSPECTS: usize = 32;

/// A body this small is never made smaller, whatever the endpoint says of its size.
const SMALLEST_CUT: u64 = 4096;
/// The same when the endpoint names no maximum: Adobe takes twice as much (contract section 12.1).
const SMALLEST_UNNAMED: u64 = 32 * 1024;
/// What headers and the like may add to a body: nobody says what a maximum counts (contract section 12.1).
const BESIDE_BODY: u64 = 4096;
/// Adobe's code for a body that is too large, without its status.
const TOO_LARGE_CODE: &str = "0112";

/// Why nothing is sent for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateKind {
    /// The network did not carry the last attempt; a new path opens it.
    Network,
    /// The endpoint asked to wait; nothing but time or another endpoint opens it.
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
    fn remaining(&self, now: &Moment) -> i64 {
        now.remaining(&self.set, self.wait_ms)
    }
}

/// Different sessions that were refused in a row for the same reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Refusals {
    reason: String,
    sessions: Vec<i64>,
}

/// A session that stopped the uploader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Suspect {
    id: i64,
    reason: String,
    /// Another session got through since: the fault is its own.
    convicted: bool,
}

/// What the uploader knows beyond single sessions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Book {
    /// The endpoint that all this was learnt of.
    endpoint: String,
    /// At most one of each kind.
    gates: Vec<Gate>,
    /// Failures in a row that concerned all sessions.
    failures: u32,
    /// The session that all of them were of, if it was one.
    failing: Option<i64>,
    /// Probes in a row that found the pause still needed.
    probes: u32,
    refusals: Refusals,
    suspects: Vec<Suspect>,
    /// The largest body that the endpoint takes, once it has said so.
    largest: Option<u64>,
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

/// Waits on its own account, for as long.
fn wait(duration: Duration) -> Action {
    Action::Wait { ms: ms(duration), network: false, counts: false }
}

/// Whether the session is tried again, without an end or until it has been answered too often.
fn keeps_trying(judgement: &Judgement) -> bool {
    matches!(judgement.verdict, Verdict::RetryAfter(_) | Verdict::Backoff { .. })
}

/// Whether this was the last answer of a BACKOFF-n.
fn is_exhausted(session: &Outgoing, judgement: &Judgement) -> bool {
    let Verdict::Backoff { limit: Some(limit) } = judgement.verdict else { return false };
    session.answers + 1 >= limit && session.answering_ms >= LIMIT_SPREAD_MS
}

/// Whether a smaller body can help: only if size really may be what was refused.
fn can_shrink(sent_bytes: u64, max: Option<u64>) -> bool {
    match max {
        Some(max) => sent_bytes.saturating_add(BESIDE_BODY) > max && sent_bytes > SMALLEST_CUT,
        None => sent_bytes > SMALLEST_UNNAMED,
    }
}

/// The largest body to send from now on, after one that [`can_shrink`]: a maximum that it kept to counts more than
/// the body.
fn largest_after(sent_bytes: u64, max: u64) -> u64 {
    if sent_bytes > max { max } else { max.saturating_sub(BESIDE_BODY).max(SMALLEST_CUT) }
}

impl Book {
    /// Nothing that was learnt of one endpoint holds for another; answers whether something was forgotten.
    pub fn turn_to(&mut self, endpoint: &str) -> bool {
        if self.endpoint == endpoint {
            return false;
        }
        *self = Book { endpoint: endpoint.to_owned(), ..Book::default() };
        true
    }

    /// When the waits were begun, in the order in which [`Book::wake`] wants to know how long ago that was.
    pub fn begun(&self) -> Vec<Moment> {
        self.gates.iter().map(|gate| gate.set).collect()
    }

    /// The service starts, now; `passed` are the milliseconds since each wait was begun, in whatever boot. What a pause
    /// waits for may have been put right while it was down, and a new boot is a new path.
    pub fn wake(&mut self, now: Moment, passed: &[i64]) {
        for (gate, passed) in self.gates.iter_mut().zip(passed) {
            let is_old = gate.set.boot != now.boot;
            if gate.kind == GateKind::Network && is_old {
                gate.wait_ms = 0;
            } else if is_old {
                (gate.wait_ms, gate.set) = (left_of(gate.wait_ms, *passed), now);
            }
        }
        self.gates.retain(|gate| gate.kind != GateKind::Pause && gate.wait_ms > 0);
    }

    /// What holds everything back, and for how many milliseconds more.
    pub fn held(&self, now: &Moment) -> Option<(&Gate, i64)> {
        let running =
            || self.gates.iter().map(|gate| (gate, gate.remaining(now))).filter(|(_, left)| *left > 0);
        let (last, left) = running().max_by_key(|(_, left)| *left)?;
        // A pause is what a person must know of.
        let named = running().find(|(gate, _)| gate.kind == GateKind::Pause).map_or(last, |(gate, _)| gate);
        Some((named, left))
    }

    /// Whether the way is unproven, so that one session at a time is enough.
    pub fn is_cautious(&self) -> bool {
        !self.gates.is_empty() || self.failures > 0 || self.probes > 0 || !self.doubted().is_empty()
    }

    /// Sessions that others go before.
    pub fn doubted(&self) -> Vec<i64> {
        self.suspects.iter().filter(|suspect| !suspect.convicted).map(|suspect| suspect.id).collect()
    }

    fn is_convicted(&self, id: i64) -> bool {
        self.suspects.iter().any(|suspect| suspect.id == id && suspect.convicted)
    }

    fn suspect(&mut self, id: i64, reason: &str) {
        self.suspects.retain(|known| known.id != id);
        self.suspects.push(Suspect { id, reason: reason.to_owned(), convicted: false });
        let over = self.suspects.len().saturating_sub(SUSPECTS);
        self.suspects.drain(..over);
    }

    /// A session got through: either what was wrong has been put right, or it never was wrong for all.
    fn hear_of_delivery(&mut self, id: i64) {
        let put_right = self.doubted().contains(&id);
        self.suspects.retain(|known| known.id != id && (known.convicted || !put_right));
        for suspect in &mut self.suspects {
            suspect.convicted = true;
        }
    }

    /// Bytes of body to stay within: what the endpoint said last, else what is configured.
    pub fn budget(&self, configured: usize) -> usize {
        self.largest.and_then(|largest| usize::try_from(largest).ok()).unwrap_or(configured)
    }

    /// Opens gates of these kinds; answers whether there were any.
    pub fn open(&mut self, kinds: &[GateKind]) -> bool {
        let before = self.gates.len();
        self.gates.retain(|gate| !kinds.contains(&gate.kind));
        self.gates.len() < before
    }

    /// Enters a judgement on a body of `sent_bytes` and says what follows from it.
    pub fn enter(
        &mut self,
        session: &Outgoing,
        judgement: &Judgement,
        sent_bytes: u64,
        delays: &impl Delays,
        now: Moment,
    ) -> Consequence {
        let exhausted = is_exhausted(session, judgement);
        if judgement.concerns_all && !exhausted && keeps_trying(judgement) {
            let action = self.fail(session, judgement, delays, now);
            return Consequence { action, requeue: Vec::new(), outage_over: false };
        }
        let answered = judgement.evidence == Evidence::Answered;
        let outage_over = self.failures >= PATIENCE && judgement.status.is_some() && answered;
        self.failures = 0;
        self.failing = None;
        let paused = self.gates.iter().any(|gate| gate.kind == GateKind::Pause && gate.remaining(&now) > 0);
        // One answer that was under way while another asked to wait does not take that back.
        self.gates.retain(|gate| gate.kind == GateKind::Endpoint && gate.remaining(&now) > 0);
        // Two that were on their way together are one probe.
        let probes = std::mem::take(&mut self.probes).saturating_add(u32::from(!paused)).max(1);
        let refused = match judgement.verdict {
            Verdict::Quarantine => true,
            Verdict::Resize { max } => !can_shrink(sent_bytes, max),
            // What lies on the way to the endpoint consumes no session, unless others get through.
            _ => exhausted && (answered || self.is_convicted(session.id)),
        };
        // The same trouble that does not refuse yet is no sign that the sessions themselves were at fault.
        let same = keeps_trying(judgement) && judgement.reason == self.refusals.reason;
        if !refused && !same {
            self.refusals = Refusals::default();
        }
        let mut requeue = Vec::new();
        let action = match judgement.verdict {
            _ if refused => self.refuse(session.id, probes, judgement, delays, now, &mut requeue),
            Verdict::Delivered => {
                self.hear_of_delivery(session.id);
                Action::Deliver { receipt: String::new() }
            }
            Verdict::Pause if self.is_convicted(session.id) => wait(delays.pause(session.attempts + 1)),
            Verdict::Backoff { .. } if exhausted => self.pause(&[session.id], probes, judgement, delays, now),
            Verdict::Pause => self.pause(&[session.id], probes, judgement, delays, now),
            Verdict::RetryAfter(told) => wait(told.unwrap_or_else(|| delays.backoff(session.attempts + 1))),
            Verdict::Backoff { limit } => Action::Wait {
                ms: ms(delays.backoff(session.attempts + 1)),
                network: false,
                counts: limit.is_some(),
            },
            Verdict::Resize { max } => self.resize(session, sent_bytes, max, judgement, delays),
            Verdict::Consent | Verdict::Quarantine => Action::Quarantine,
        };
        Consequence { action, requeue, outage_over }
    }

    /// A body was too large and is made smaller.
    fn resize(
        &mut self,
        session: &Outgoing,
        sent_bytes: u64,
        max: Option<u64>,
        judgement: &Judgement,
        delays: &impl Delays,
    ) -> Action {
        // Only Adobe's own word is remembered for all.
        if judgement.reason.starts_with(TOO_LARGE_CODE) {
            self.largest = max.map(|max| largest_after(sent_bytes, max)).or(self.largest);
        }
        let again = session.refused_bytes.is_some();
        let wait_ms = if again { ms(delays.backoff(session.attempts + 1)) } else { 0 };
        Action::Resize { bytes: i64::try_from(sent_bytes).unwrap_or(i64::MAX), wait_ms }
    }

    /// What concerns all sessions alike is no fault of this one.
    fn fail(
        &mut self,
        session: &Outgoing,
        judgement: &Judgement,
        delays: &impl Delays,
        now: Moment,
    ) -> Action {
        self.failing = match self.failures {
            0 => Some(session.id),
            _ => self.failing.filter(|id| *id == session.id),
        };
        self.failures = self.failures.saturating_add(1);
        let failed = session.unreached.saturating_add(1);
        let tired = failed >= PATIENCE;
        let (kind, wait) = match judgement.verdict {
            Verdict::RetryAfter(Some(told)) => (GateKind::Endpoint, told),
            Verdict::RetryAfter(None) => (GateKind::Endpoint, delays.backoff(self.failures)),
            // Only this one has failed so far, and often: others need not wait as long as it does.
            _ if tired && self.failing.is_some() => (GateKind::Network, delays.backoff(1)),
            _ => (GateKind::Network, delays.backoff(self.failures)),
        };
        self.shut(kind, judgement, wait, now);
        // Of those that wait for the same network the oldest goes first again, but not for ever.
        let own = if tired { ms(wait).saturating_add(ms(delays.backoff(failed))) } else { 0 };
        let counts = matches!(judgement.verdict, Verdict::Backoff { limit: Some(_) });
        Action::Wait { ms: own, network: true, counts }
    }

    fn refuse(
        &mut self,
        id: i64,
        probes: u32,
        judgement: &Judgement,
        delays: &impl Delays,
        now: Moment,
        requeue: &mut Vec<i64>,
    ) -> Action {
        if self.is_convicted(id) {
            self.suspects.retain(|known| known.id != id);
            return Action::Quarantine;
        }
        if self.suspects.iter().any(|known| !known.convicted && known.reason == judgement.reason) {
            // The refusal that led to the pause once more: it is still needed.
            return self.pause(&[id], probes, judgement, delays, now);
        }
        if self.refusals.reason != judgement.reason {
            self.refusals = Refusals { reason: judgement.reason.clone(), sessions: Vec::new() };
        }
        if !self.refusals.sessions.contains(&id) {
            self.refusals.sessions.push(id);
        }
        if self.refusals.sessions.len() < REFUSALS_TO_PAUSE {
            return Action::Quarantine;
        }
        let refused = std::mem::take(&mut self.refusals).sessions;
        requeue.extend(refused.iter().filter(|other| **other != id));
        self.pause(&refused, probes, judgement, delays, now)
    }

    fn pause(
        &mut self,
        suspects: &[i64],
        probes: u32,
        judgement: &Judgement,
        delays: &impl Delays,
        now: Moment,
    ) -> Action {
        self.probes = probes;
        for id in suspects {
            self.suspect(*id, &judgement.reason);
        }
        self.shut(GateKind::Pause, judgement, delays.pause(self.probes), now);
        wait(Duration::ZERO)
    }

    fn shut(&mut self, kind: GateKind, judgement: &Judgement, wait: Duration, now: Moment) {
        let gate = Gate {
            kind,
            reason: judgement.reason.clone(),
            detail: judgement.detail.clone(),
            wait_ms: ms(wait),
            set: now,
        };
        match self.gates.iter_mut().find(|old| old.kind == kind) {
            // Of two words of the endpoint the one that asks for more counts.
            Some(old) if kind == GateKind::Endpoint && old.remaining(&now) > gate.wait_ms => {}
            Some(old) => *old = gate,
            None => self.gates.push(gate),
        }
    }
}

#[cfg(test)]
mod tests;
