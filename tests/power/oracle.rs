//! Acknowledged = delivered + still stored + losses with a row: told from outside, by what the test handed in, what was
//! acknowledged, and what a journal shows afterwards.

use std::collections::{BTreeMap, HashMap};

use afterplay::session::{Loss, State};

use super::disk::Entry;

/// Something the test asked of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Deed {
    /// One request with these events, each body unlike any other. In the same commit these made room for it.
    Append { key: String, bodies: Vec<String>, evicted: Vec<String> },
    /// An attempt was begun, with this `xdm.timestamp`.
    Attempt { key: String, timestamp_ms: i64 },
    /// The endpoint confirmed it. In the same commit these were let go because their time was over.
    Deliver { key: String, receipt: String, expired: Vec<String>, forgotten: Vec<String> },
    /// Something about a session that neither adds nor removes events.
    Touch,
    /// Dropped by a person.
    Discard { key: String },
    /// The person opted out, or in again.
    Consent { out: bool },
}

/// How far something is: nothing, handed in, acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
enum Known {
    #[default]
    Not,
    Maybe,
    Surely,
}

#[derive(Debug, Clone, Default)]
struct Expected {
    batches: Vec<(usize, Known)>,
    attempts: (u32, Option<i64>),
    delivered: (Known, Option<String>),
    forgotten: Known,
    lost: Option<(Loss, Known)>,
}

/// What may and must be in the journal at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Expectation {
    sessions: BTreeMap<String, Expected>,
    /// Least and most events that an opt-out has erased.
    purged: (i64, i64),
    /// What losses from before an opt-out add up to: they have lost their keys.
    nameless: BTreeMap<&'static str, i64>,
    /// Events delivered before an opt-out.
    delivered: i64,
    /// A change of consent that was handed in.
    opting: Option<bool>,
    out: bool,
}

/// One session as a journal shows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Seen {
    pub(crate) key: String,
    pub(crate) state: State,
    /// Bodies, as the payload would have them; none of a delivered one.
    pub(crate) bodies: Vec<String>,
    pub(crate) events: i64,
    pub(crate) attempts: u32,
    pub(crate) timestamp_ms: Option<i64>,
    pub(crate) receipt: Option<String>,
}

/// Everything a journal shows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Observation {
    pub(crate) sessions: Vec<Seen>,
    /// Name, key, events.
    pub(crate) losses: Vec<(String, Option<String>, i64)>,
    pub(crate) stored: i64,
    pub(crate) delivered: i64,
    pub(crate) counted: Vec<(Loss, i64)>,
    pub(crate) out: bool,
}

impl Expectation {
    /// Takes one entry of the log into account. Answers whether anything has changed.
    pub(crate) fn follow(&mut self, entry: &Entry, deeds: &[Deed]) -> bool {
        match entry {
            Entry::Handed(n) => self.know(*n, deeds, Known::Maybe),
            Entry::Acknowledged(n) => self.know(*n, deeds, Known::Surely),
            _ => return false,
        }
        true
    }

    fn know(&mut self, n: usize, deeds: &[Deed], known: Known) {
        match &deeds[n] {
            Deed::Append { key, evicted, .. } => {
                for key in evicted {
                    self.sessions.entry(key.clone()).or_default().lost = Some((Loss::Evicted, known));
                }
                let batches = &mut self.sessions.entry(key.clone()).or_default().batches;
                match batches.iter_mut().find(|(batch, _)| *batch == n) {
                    Some(batch) => batch.1 = known,
                    None => batches.push((n, known)),
                }
            }
            Deed::Attempt { key, timestamp_ms } if known == Known::Surely => {
                let session = self.sessions.entry(key.clone()).or_default();
                session.attempts.0 += 1;
                session.attempts.1.get_or_insert(*timestamp_ms);
            }
            Deed::Attempt { .. } | Deed::Touch => {}
            Deed::Deliver { key, receipt, expired, forgotten } => {
                self.sessions.entry(key.clone()).or_default().delivered = (known, Some(receipt.clone()));
                for key in expired {
                    self.sessions.entry(key.clone()).or_default().lost = Some((Loss::Expired, known));
                }
                for key in forgotten {
                    self.sessions.entry(key.clone()).or_default().forgotten = known;
                }
            }
            Deed::Discard { key } => {
                self.sessions.entry(key.clone()).or_default().lost = Some((Loss::Discarded, known));
            }
            Deed::Consent { out } => match known {
                Known::Surely => {
                    self.opting = None;
                    self.out = *out;
                    if *out {
                        self.erase(deeds);
                    }
                }
                _ => self.opting = Some(*out),
            },
        }
    }

    /// After an opt-out: no sessions, and of what they were no more than sums.
    fn erase(&mut self, deeds: &[Deed]) {
        for session in std::mem::take(&mut self.sessions).into_values() {
            let (least, most) = (total(&session, deeds, Known::Surely), total(&session, deeds, Known::Maybe));
            match session.lost {
                Some((loss, _)) => *self.nameless.entry(loss.as_str()).or_default() += least,
                None if session.delivered.0 != Known::Not => self.delivered += least,
                None => self.purged = (self.purged.0 + least, self.purged.1 + most),
            }
        }
    }

    /// Whether a journal may look like this now; else what is wrong with it.
    pub(crate) fn check(&self, seen: &Observation, deeds: &[Deed]) -> Result<(), String> {
        if seen.out != self.out {
            if self.opting != Some(seen.out) {
                return Err(format!("consent: opted out is {}, but nobody said so", seen.out));
            }
            // It came through although nobody said so yet: then all of it did.
            let mut then = Expectation { opting: None, out: seen.out, ..self.clone() };
            if seen.out {
                then.erase(deeds);
            }
            return then.check(seen, deeds);
        }
        let found: HashMap<&str, &Seen> =
            seen.sessions.iter().map(|session| (&*session.key, session)).collect();
        if found.len() != seen.sessions.len() {
            return Err("a session appears twice".into());
        }
        if let Some(key) = found.keys().find(|key| !self.sessions.contains_key(**key)) {
            return Err(format!("session {key} was never handed in"));
        }
        let (mut stored, mut delivered) = (0, self.delivered);
        let mut lost = self.nameless.clone();
        for (key, expected) in &self.sessions {
            let row = seen.losses.iter().find(|(_, lost, _)| lost.as_deref() == Some(key));
            let fault = |what: String| Err(format!("session {key}: {what}"));
            match (found.get(&**key), row) {
                (Some(_), Some(_)) => return fault("is there and written down as lost".into()),
                (Some(found), None) if found.state == State::Delivered => {
                    if expected.delivered.0 == Known::Not {
                        return fault("is delivered, but nobody confirmed it".into());
                    }
                    if found.receipt != expected.delivered.1 {
                        return fault(format!("has another receipt: {:?}", found.receipt));
                    }
                    let (least, most) =
                        (total(expected, deeds, Known::Surely), total(expected, deeds, Known::Maybe));
                    if !(least..=most).contains(&found.events) {
                        return fault(format!(
                            "{} events were delivered, not {least}..={most}",
                            found.events
                        ));
                    }
                    delivered += found.events;
                }
                (Some(found), None) => {
                    if expected.delivered.0 == Known::Surely {
                        return fault(format!("was delivered, and is {} again", found.state.as_str()));
                    }
                    if matches!(expected.lost, Some((_, Known::Surely))) {
                        return fault("was let go and is back".into());
                    }
                    expected.compare(found, deeds).or_else(fault)?;
                    stored += found.bodies.len() as i64;
                }
                (None, Some((name, _, events))) => {
                    let Some((loss, _)) = expected.lost else {
                        return fault(format!("is written down as {name}, and nobody asked for that"));
                    };
                    if loss.as_str() != name {
                        return fault(format!("is written down as {name}, not {}", loss.as_str()));
                    }
                    let (least, most) =
                        (total(expected, deeds, Known::Surely), total(expected, deeds, Known::Maybe));
                    if !(least..=most).contains(events) {
                        return fault(format!(
                            "{events} events are written down as {name}, not {least}..={most}"
                        ));
                    }
                    *lost.entry(loss.as_str()).or_default() += events;
                }
                (None, None) if expected.delivered.0 != Known::Not && expected.forgotten != Known::Not => {
                    delivered += total(expected, deeds, Known::Surely);
                }
                (None, None) => {
                    if let Some((n, _)) = expected.batches.iter().find(|(_, known)| *known == Known::Surely) {
                        return fault(format!("is gone, with its acknowledged request {n}"));
                    }
                }
            }
        }
        let mut nameless: BTreeMap<&str, i64> = BTreeMap::new();
        for (name, key, events) in &seen.losses {
            match key {
                None => *nameless.entry(name).or_default() += events,
                Some(key) if !self.sessions.contains_key(key) => {
                    return Err(format!("a loss of {key}, which was never handed in, or was erased"));
                }
                Some(_) => {}
            }
        }
        let purged = nameless.remove("purged").unwrap_or(0);
        if !(self.purged.0..=self.purged.1).contains(&purged) || nameless != self.nameless {
            return Err(format!(
                "{purged} events are written down as purged, and {nameless:?} besides; it should be {:?} and {:?}",
                self.purged, self.nameless
            ));
        }
        if purged > 0 {
            lost.insert(Loss::Purged.as_str(), purged);
        }
        let counted: BTreeMap<&'static str, i64> =
            seen.counted.iter().filter(|(_, n)| *n > 0).map(|(loss, n)| (loss.as_str(), *n)).collect();
        if counted != lost {
            return Err(format!("losses are counted as {counted:?}, and the rows say {lost:?}"));
        }
        if (seen.stored, seen.delivered) != (stored, delivered) {
            return Err(format!(
                "stored and delivered are counted as {:?}, and the sessions say {:?}",
                (seen.stored, seen.delivered),
                (stored, delivered)
            ));
        }
        Ok(())
    }
}

/// Events of a session that are known at least so well.
fn total(expected: &Expected, deeds: &[Deed], known: Known) -> i64 {
    let of = |n: usize| match &deeds[n] {
        Deed::Append { bodies, .. } => bodies.len() as i64,
        _ => 0,
    };
    expected.batches.iter().filter(|batch| batch.1 >= known).map(|batch| of(batch.0)).sum()
}

impl Expected {
    /// Whole requests, in order, every acknowledged one, and nothing else.
    fn compare(&self, found: &Seen, deeds: &[Deed]) -> Result<(), String> {
        let mut rest = &found.bodies[..];
        for (n, known) in &self.batches {
            let Deed::Append { bodies, .. } = &deeds[*n] else { continue };
            if rest.starts_with(bodies) {
                rest = &rest[bodies.len()..];
            } else if *known == Known::Surely {
                return Err(format!("request {n} was acknowledged and is not there, or not whole"));
            }
        }
        if let Some(body) = rest.first() {
            return Err(format!("an event that should not be there: {body}"));
        }
        if found.events != found.bodies.len() as i64 {
            return Err(format!("is said to have {} events and has {}", found.events, found.bodies.len()));
        }
        let (attempts, timestamp_ms) = self.attempts;
        if found.attempts < attempts {
            return Err(format!("knows of {} attempts, not {attempts}", found.attempts));
        }
        if attempts > 0 && found.timestamp_ms != timestamp_ms {
            return Err(format!("its time was frozen as {timestamp_ms:?} and is {:?}", found.timestamp_ms));
        }
        Ok(())
    }
}
