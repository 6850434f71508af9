//! Events in: which are new, which were there already, which cannot be.

use std::collections::HashMap;

use bytes::Bytes;
use rusqlite::{OptionalExtension, params};

use super::core::{Core, Open};
use super::rows::{EventRow, Run, SessionRow, event_sum, session_sum};
use super::{Append, Appended, NewEvent, Refusal};
use crate::clock::Moment;
use crate::event::{EventType, Problem};
use crate::session::{Consent, OpenTimes, State, Why};

/// Rough cost of a row besides its body, for the quota.
const ROW_BYTES: i64 = 120;
/// Left free under the quota, so that settling what is there always fits.
const QUOTA_RESERVE: i64 = 256 * 1024;

/// A session that exists and takes no events.
struct Closed {
    id: i64,
    state: State,
    why: Why,
    first_event: i64,
    last_event: i64,
}

/// What an append comes to, decided before anything is written.
struct Plan {
    /// Positions in the request of those to write, with their numbers.
    fresh: Vec<(usize, i64)>,
    duplicates: u64,
    last_seq: i64,
}

/// A problem with a member of the `at`-th event; in a batch the path says which one that is.
fn problem(at: usize, batch: bool, member: &str, problem: impl Into<String>) -> Problem {
    let path = if batch { format!("[{at}].{member}") } else { member.to_owned() };
    Problem { path, problem: problem.into() }
}

/// Whether two event bodies say the same; a player may write the same event differently when it sends it again.
fn same_event(stored: &str, sent: &[u8]) -> bool {
    stored.as_bytes() == sent
        || match (
            serde_json::from_str::<serde_json::Value>(stored),
            serde_json::from_slice::<serde_json::Value>(sent),
        ) {
            (Ok(stored), Ok(sent)) => stored == sent,
            _ => false,
        }
}

impl Core {
    /// Records the events of one session: all or none.
    pub(super) fn append(&mut self, append: Append) -> Result<Appended, Refusal> {
        if self.consent == Consent::Out {
            return Err(Refusal::ConsentOut);
        }
        // A deadline holds from its moment on, whether or not the timer has fired yet.
        self.complete_due()?;
        let open = self.open_by_key.get(&(append.owner, append.key.clone())).copied();
        let (id, plan) = match open {
            Some(id) => (id, self.plan_for_open(id, &append)?),
            None => match self.find_closed(&append)? {
                Some(closed) => return self.append_to_closed(&closed, &append.events),
                None => {
                    let plan = self.plan_for_new(&append)?;
                    self.check_room(&append.events, &plan)?;
                    (self.start_session(&append)?, plan)
                }
            },
        };
        if open.is_some() {
            self.check_room(&append.events, &plan)?;
        }
        self.write_events(id, &append.events, &plan)?;
        if let Some(why) = append.complete {
            self.complete(id, why)?;
        }
        Ok(Appended {
            state: if append.complete.is_some() { State::Completed } else { State::Open },
            created: open.is_none(),
            recorded: plan.fresh.len() as u64,
            duplicates: plan.duplicates,
            seq: plan.last_seq.unsigned_abs(),
        })
    }

    fn find_closed(&self, append: &Append) -> Result<Option<Closed>, Refusal> {
        let row = self
            .conn
            .prepare_cached(
                "SELECT id, state, why, first_event, coalesce(last_event, -1) FROM sessions
                 WHERE owner = ?1 AND key = ?2",
            )?
            .query_row(params![append.owner, append.key.as_str()], |row| {
                Ok(Closed {
                    id: row.get(0)?,
                    state: State::parse(row.get_ref(1)?.as_str()?).unwrap_or(State::Completed),
                    why: row.get_ref(2)?.as_str_or_null()?.and_then(Why::parse).unwrap_or(Why::Complete),
                    first_event: row.get(3)?,
                    last_event: row.get(4)?,
                })
            })
            .optional()?;
        Ok(row)
    }

    /// A late `media.sessionEnd` and a resend of what is there are harmless; anything else is refused.
    fn append_to_closed(&self, closed: &Closed, events: &[NewEvent]) -> Result<Appended, Refusal> {
        let mut answer = Appended { state: closed.state, created: false, recorded: 0, duplicates: 0, seq: 0 };
        for event in events {
            let resent = match event.seq {
                None => false,
                Some(seq) => self
                    .stored_body(closed.id, closed.first_event, closed.last_event, signed(seq))?
                    .is_some_and(|body| same_event(&body, &event.body)),
            };
            if resent {
                answer.duplicates += 1;
            } else if event.kind != EventType::SessionEnd {
                return Err(Refusal::Completed { state: closed.state, why: closed.why });
            }
            answer.seq = match event.seq {
                Some(seq) => seq,
                None => self.last_seq(closed)?,
            };
        }
        Ok(answer)
    }

    fn last_seq(&self, closed: &Closed) -> Result<u64, Refusal> {
        let seq: Option<i64> = self
            .conn
            .prepare_cached("SELECT max(seq) FROM events WHERE id BETWEEN ?2 AND ?3 AND session = ?1")?
            .query_row([closed.id, closed.first_event, closed.last_event], |row| row.get(0))?;
        Ok(seq.unwrap_or(0).unsigned_abs())
    }

    fn stored_body(&self, session: i64, first: i64, last: i64, seq: i64) -> Result<Option<String>, Refusal> {
        Ok(self
            .conn
            .prepare_cached(
                "SELECT body FROM events WHERE id BETWEEN ?2 AND ?3 AND session = ?1 AND seq = ?4 LIMIT 1",
            )?
            .query_row([session, first, last, seq], |row| row.get(0))
            .optional()?)
    }

    fn plan_for_new(&self, append: &Append) -> Result<Plan, Refusal> {
        let events = &append.events;
        if events.first().is_none_or(|first| first.kind != EventType::SessionStart) {
            return Err(match events.iter().position(|event| event.kind == EventType::SessionStart) {
                None => Refusal::NotStarted,
                Some(_) => Refusal::Invalid(vec![problem(
                    0,
                    append.batch,
                    "mediaEventType",
                    "the first event of a session must be media.sessionStart",
                )]),
            });
        }
        let start = &events[0];
        let mut problems = Vec::new();
        for (lacks, default, member) in [
            (start.lacks.0, &self.policy.player_name, "playerName"),
            (start.lacks.1, &self.policy.channel, "channel"),
        ] {
            if lacks && default.is_none() {
                problems.push(problem(
                    0,
                    append.batch,
                    &format!("mediaCollection.sessionDetails.{member}"),
                    "is required (the configuration has no default for it under [defaults])",
                ));
            }
        }
        if !problems.is_empty() {
            return Err(Refusal::Invalid(problems));
        }
        let mine = self.open.values().filter(|open| open.owner == append.owner).count();
        if mine >= self.policy.max_open_per_user {
            return Err(Refusal::TooManyOpen(self.policy.max_open_per_user));
        }
        self.plan(append, -1, |_| Ok(None))
    }

    fn plan_for_open(&self, id: i64, append: &Append) -> Result<Plan, Refusal> {
        let Some(open) = self.open.get(&id) else { return Err(Refusal::UnknownSession) };
        let (first, last) = (open.first_event, open.last_event);
        self.plan(append, open.max_seq, |seq| self.stored_body(id, first, last, seq))
    }

    /// Numbers the events. `stored` finds the body under a number up to `max_seq`.
    fn plan(
        &self,
        append: &Append,
        mut max_seq: i64,
        stored: impl Fn(i64) -> Result<Option<String>, Refusal>,
    ) -> Result<Plan, Refusal> {
        let (events, batch) = (&append.events, append.batch);
        let known = max_seq;
        let mut plan = Plan { fresh: Vec::with_capacity(events.len()), duplicates: 0, last_seq: 0 };
        let mut here: HashMap<i64, &Bytes> = HashMap::new();
        let mut problems = Vec::new();
        for (at, event) in events.iter().enumerate() {
            let seq = match event.seq {
                None => max_seq.saturating_add(1),
                Some(seq) => signed(seq),
            };
            if event.seq.is_none() && seq == max_seq {
                problems.push(problem(at, batch, "seq", "is required: the last number there is was used"));
                continue;
            }
            plan.last_seq = seq;
            if event.seq.is_some() && seq <= max_seq {
                let same = match here.get(&seq) {
                    Some(body) => {
                        Some(std::str::from_utf8(body).is_ok_and(|body| same_event(body, &event.body)))
                    }
                    None if seq <= known => stored(seq)?.map(|body| same_event(&body, &event.body)),
                    None => None,
                };
                match same {
                    Some(true) => {
                        plan.duplicates += 1;
                        continue;
                    }
                    Some(false) => {
                        problems.push(problem(at, batch, "seq", format!("{seq} is used by another event")));
                        continue;
                    }
                    None => {}
                }
            }
            if event.kind == EventType::SessionStart && (known >= 0 || !plan.fresh.is_empty()) {
                problems.push(problem(
                    at,
                    batch,
                    "mediaEventType",
                    "the session has started already: media.sessionStart comes once, first",
                ));
            }
            here.insert(seq, &event.body);
            plan.fresh.push((at, seq));
            max_seq = max_seq.max(seq);
        }
        if problems.is_empty() { Ok(plan) } else { Err(Refusal::Sequence(problems)) }
    }

    fn check_room(&self, events: &[NewEvent], plan: &Plan) -> Result<(), Refusal> {
        let new: i64 = plan
            .fresh
            .iter()
            .map(|(at, _)| ROW_BYTES + i64::try_from(events[*at].body.len()).unwrap_or(0))
            .sum();
        let used = self.used_bytes()?;
        let max = self.policy.max_bytes;
        if new > 0 && used + new + QUOTA_RESERVE > max {
            return Err(Refusal::Full(format!("it holds {used} of at most {max} bytes (journal.max_bytes)")));
        }
        Ok(())
    }

    /// Bytes of pages that hold something.
    pub(super) fn used_bytes(&self) -> Result<i64, Refusal> {
        let number = |pragma: &str| -> rusqlite::Result<i64> {
            self.conn.prepare_cached(pragma)?.query_row([], |row| row.get(0))
        };
        let pages = number("PRAGMA page_count")? - number("PRAGMA freelist_count")?;
        Ok(pages * number("PRAGMA page_size")?)
    }

    fn start_session(&mut self, append: &Append) -> Result<i64, Refusal> {
        let start = &append.events[0];
        let (identity_map, identity_origin) = match &start.identity {
            Some(map) => (map.clone(), "player"),
            None => (self.configured_identity()?, "configuration"),
        };
        let now = self.now();
        let player_name = self.policy.player_name.as_deref().filter(|_| start.lacks.0);
        let channel = self.policy.channel.as_deref().filter(|_| start.lacks.1);
        let row = SessionRow {
            owner: append.owner,
            key: append.key.as_str(),
            identity_map: &identity_map,
            identity_origin,
            player_name,
            channel,
            implementation: append.implementation.as_deref().unwrap_or(&self.policy.implementation),
            started: [now.boot, now.boot_ms, now.wall_ms],
            first_event: self.next_event,
        };
        self.conn
            .prepare_cached(
                "INSERT INTO sessions (owner, key, state, title, identity_map, identity_origin, player_name,
                     channel, implementation, started_boot, started_boot_ms, started_wall_ms, first_event,
                     checksum)
                 VALUES (?1, ?2, 'open', ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
            )?
            .execute(params![
                row.owner,
                row.key,
                start.title,
                row.identity_map,
                row.identity_origin,
                row.player_name,
                row.channel,
                row.implementation,
                now.boot,
                now.boot_ms,
                now.wall_ms,
                row.first_event,
                session_sum(&row),
            ])?;
        let id = self.conn.last_insert_rowid();
        let times = OpenTimes { started_ms: now.boot_ms, last_event_ms: now.boot_ms, closed_ms: None };
        let open = Open {
            owner: append.owner,
            key: append.key.clone(),
            first_event: self.next_event,
            last_event: self.next_event,
            max_seq: -1,
            times,
            run: Run::default(),
        };
        self.touched = true;
        self.open_by_key.insert((open.owner, open.key.clone()), id);
        self.open.insert(id, open);
        Ok(id)
    }

    fn write_events(&mut self, id: i64, events: &[NewEvent], plan: &Plan) -> Result<(), Refusal> {
        let now = self.now();
        let Some(mut open) = self.open.get(&id).cloned() else { return Err(Refusal::UnknownSession) };
        for &(at, seq) in &plan.fresh {
            self.write_event(id, &mut open, &events[at], seq, &now)?;
        }
        self.note_deadline(&open.times);
        self.touched = true;
        self.open.insert(id, open);
        Ok(())
    }

    fn write_event(
        &mut self,
        id: i64,
        open: &mut Open,
        event: &NewEvent,
        seq: i64,
        now: &Moment,
    ) -> Result<(), Refusal> {
        // The edge checked that it is UTF-8.
        let body = std::str::from_utf8(&event.body).map_err(|error| Refusal::Storage(error.to_string()))?;
        let row = EventRow {
            session: id,
            n: open.run.events,
            seq,
            kind: event.kind.as_str(),
            said_ms: event.said_ms,
            boot: now.boot,
            boot_ms: now.boot_ms,
            wall_ms: now.wall_ms,
            body,
        };
        let checksum = event_sum(&row);
        self.conn
            .prepare_cached(
                "INSERT INTO events (id, session, n, seq, type, said_ms, boot, boot_ms, wall_ms, checksum, body)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            )?
            .execute(params![
                self.next_event,
                id,
                row.n,
                seq,
                row.kind,
                row.said_ms,
                row.boot,
                row.boot_ms,
                row.wall_ms,
                checksum,
                body,
            ])?;
        open.last_event = self.next_event;
        self.touched = true;
        self.next_event += 1;
        open.max_seq = open.max_seq.max(seq);
        open.run.add(checksum, i64::try_from(body.len()).unwrap_or(i64::MAX));
        open.times.last_event_ms = now.boot_ms;
        if matches!(event.kind, EventType::SessionComplete | EventType::SessionEnd) {
            open.times.closed_ms = Some(now.boot_ms);
        }
        Ok(())
    }
}

fn signed(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}
