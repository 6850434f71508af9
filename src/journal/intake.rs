//! Events in: one append, decided by a plan, written in one transaction.

use std::collections::HashMap;

use rusqlite::{CachedStatement, OptionalExtension, params};

use super::core::{Core, ROW_BYTES};
use super::long::Long;
use super::numbers::Stored;
use super::open::{Followed, Open};
use super::plan::{Plan, asked, plan, problem};
use super::rows::{EventRow, SessionRow, event_sum, session_sum};
use super::undo::Undo;
use super::{Append, Appended, NewEvent, Refusal};
use crate::clock::Moment;
use crate::event::{EventType, Problem};
use crate::session::{Consent, Name, State, Why};

/// Warnings kept a session.
const MAX_WARNINGS: usize = 50;

/// Why a member that the configuration may supply has to be there.
const NO_DEFAULT: &str = "is required (the configuration has no default for it under [defaults])";

/// What is frozen when a session starts.
pub(super) struct Frozen {
    pub(super) generation: u32,
    pub(super) continues: Option<i64>,
    pub(super) title: Option<String>,
    pub(super) identity_map: String,
    pub(super) identity_origin: String,
    pub(super) player_name: Option<String>,
    pub(super) channel: Option<String>,
    pub(super) implementation: String,
}

/// An event row to be written.
pub(super) struct NewRow<'a> {
    pub(super) kind: EventType,
    pub(super) seq: i64,
    pub(super) said_ms: Option<i64>,
    pub(super) playhead: f64,
    pub(super) synthetic: bool,
    pub(super) body: &'a str,
}

impl Core {
    /// Records the events of one session: all or none.
    pub(super) fn append(&mut self, append: Append) -> Result<Appended, Refusal> {
        if self.consent == Consent::Out {
            return Err(Refusal::ConsentOut);
        }
        self.take_reserve(self.now().boot_ms)?;
        // A deadline holds from its moment on, whether or not the timer has fired yet.
        let own = (append.owner, append.key.clone());
        self.complete_due(self.open_by_key.get(&own).copied())?;
        self.look_at_clock()?;
        if let Some(id) = self.open_by_key.get(&own).copied() {
            let plan = self.plan_for_open(id, &append)?;
            self.check_room(&append, &plan)?;
            if !self.complete_full(id, &append, &plan)? {
                return self.write_events(id, &append, &plan, false);
            }
        }
        if let Some(closed) = self.find_closed(append.owner, append.key.as_str())? {
            return self.append_to_closed(&closed, &append);
        }
        self.check_start(&append)?;
        let plan = plan(&append, -1, true, |_| Ok(None))?;
        self.check_room(&append, &plan)?;
        let frozen = self.frozen_by(&append, 1, None)?;
        let id = self.start_session(&append, &frozen)?;
        self.write_events(id, &append, &plan, true)
    }

    fn plan_for_open(&self, id: i64, append: &Append) -> Result<Plan, Refusal> {
        let Some(open) = self.open.get(&id) else { return Err(Refusal::UnknownSession) };
        self.check_ads(id, append)?;
        let unknown = asked(append, open.max_seq).filter(|seq| open.numbers.event(*seq).is_none()).collect();
        let before = if open.generation > 1 { self.stored_before(id, unknown)? } else { HashMap::new() };
        plan(append, open.max_seq, false, |seq| match open.numbers.event(seq) {
            Some(event) => self.body_of(event).map(|body| Some(Stored::Body(body))),
            None => Ok(before.get(&seq).cloned()),
        })
    }

    pub(super) fn body_of(&self, event: i64) -> Result<String, Refusal> {
        let mut query = self.conn.prepare_cached("SELECT body FROM events WHERE id = ?1")?;
        Ok(query.query_row([event], |row| row.get(0))?)
    }

    /// Whether a session can start with these events.
    pub(super) fn check_start(&self, append: &Append) -> Result<(), Refusal> {
        let events = &append.events;
        let Some(start) = events.first().filter(|first| first.kind == EventType::SessionStart) else {
            return Err(match events.iter().position(|event| event.kind == EventType::SessionStart) {
                None => Refusal::NotStarted,
                Some(_) => Refusal::Invalid(vec![problem(
                    0,
                    append.batch,
                    "mediaEventType",
                    "the first event of a session must be media.sessionStart",
                )]),
            });
        };
        let problems: Vec<Problem> = [
            (start.lacks.0, &self.policy.player_name, "playerName"),
            (start.lacks.1, &self.policy.channel, "channel"),
        ]
        .into_iter()
        .filter(|(lacks, default, _)| *lacks && default.is_none())
        .map(|(_, _, member)| {
            let member = format!("mediaCollection.sessionDetails.{member}");
            problem(0, append.batch, &member, NO_DEFAULT)
        })
        .chain(nameless_ads(append, self.policy.player_name.is_some()))
        .collect();
        if problems.is_empty() { Ok(()) } else { Err(Refusal::Invalid(problems)) }
    }

    /// Whether ads that name no player get one from what their session froze.
    pub(super) fn check_ads(&self, id: i64, append: &Append) -> Result<(), Refusal> {
        if nameless_ads(append, false).next().is_none() {
            return Ok(());
        }
        let has_default = self
            .conn
            .prepare_cached("SELECT player_name IS NOT NULL FROM sessions WHERE id = ?1")?
            .query_row([id], |row| row.get(0))?;
        let problems: Vec<Problem> = nameless_ads(append, has_default).collect();
        if problems.is_empty() { Ok(()) } else { Err(Refusal::Invalid(problems)) }
    }

    /// What a start event of the player's own freezes.
    pub(super) fn frozen_by(
        &self,
        append: &Append,
        generation: u32,
        continues: Option<i64>,
    ) -> Result<Frozen, Refusal> {
        let start = &append.events[0];
        let (identity_map, identity_origin) = match &start.identity {
            Some(map) => (map.clone(), "player"),
            None => (self.configured_identity()?, "configuration"),
        };
        let policy = &self.policy;
        Ok(Frozen {
            generation,
            continues,
            title: start.title.clone(),
            identity_map,
            identity_origin: identity_origin.to_owned(),
            // Its ads may need it even if the start does not.
            player_name: policy.player_name.clone(),
            channel: policy.channel.clone().filter(|_| start.lacks.1),
            implementation: append.implementation.clone().unwrap_or_else(|| policy.implementation.clone()),
        })
    }

    /// Makes the session's row; its events follow.
    pub(super) fn start_session(&mut self, append: &Append, frozen: &Frozen) -> Result<i64, Refusal> {
        let mine = self.open.values().filter(|open| open.owner == append.owner).count();
        if mine >= self.policy.max_open_per_user {
            return Err(Refusal::TooManyOpen(self.policy.max_open_per_user));
        }
        let now = self.now();
        let row = SessionRow {
            owner: append.owner,
            key: append.key.as_str(),
            generation: frozen.generation,
            identity_map: &frozen.identity_map,
            identity_origin: &frozen.identity_origin,
            player_name: frozen.player_name.as_deref(),
            channel: frozen.channel.as_deref(),
            implementation: &frozen.implementation,
            started: [now.boot, now.boot_ms, now.wall_ms],
            first_event: self.next_event,
        };
        self.conn
            .prepare_cached(
                "INSERT INTO sessions (owner, key, generation, continues, resumes, state, title, identity_map,
                     identity_origin, player_name, channel, implementation, started_boot, started_boot_ms,
                     started_wall_ms, first_event, checksum)
                 VALUES (?1, ?2, ?3, ?4, ?5, 'open', ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
            )?
            .execute(params![
                row.owner,
                row.key,
                row.generation,
                frozen.continues,
                frozen.continues.is_some(),
                frozen.title,
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
        let open =
            Open::new(append.owner, append.key.clone(), frozen.generation, self.next_event, now.boot_ms);
        self.touched |= !self.undo.begun(id);
        self.open_by_key.insert((open.owner, open.key.clone()), id);
        self.open.insert(id, open);
        Ok(id)
    }

    /// Writes the new events of a request and says what became of all of them.
    pub(super) fn write_events(
        &mut self,
        id: i64,
        append: &Append,
        plan: &Plan,
        created: bool,
    ) -> Result<Appended, Refusal> {
        let now = self.now();
        let mut warnings = Vec::new();
        let mut tail = self.tail_of(id)?;
        for &(at, seq) in &plan.fresh {
            if let Some(warning) = tail.write(&new_row(&append.events[at], seq)?, &now)? {
                warnings.push((at, problem(at, append.batch, "mediaEventType", warning)));
            }
        }
        let (generation, times) = (tail.open.generation, tail.open.times);
        drop(tail);
        self.note_deadline(&times);
        let odd: Vec<String> = append
            .warnings
            .iter()
            .map(ToString::to_string)
            .chain(warnings.iter().map(|(_, warning)| warning.problem.clone()))
            .collect();
        self.keep_warnings(id, &odd)?;
        if let Some(why) = append.complete {
            self.complete(id, why)?;
            if why == Why::Import {
                warnings.extend(self.divide(id, append, plan)?);
            }
        }
        Ok(Appended {
            state: if append.complete.is_some() { State::Completed } else { State::Open },
            created,
            recorded: plan.fresh.len() as u64,
            duplicates: plan.duplicates,
            seq: plan.last_seq.max(0).unsigned_abs(),
            continues_as: (generation > 1).then(|| Name::text(append.key.as_str(), generation)),
            warnings,
        })
    }

    /// Divides what came as a whole and lasted too long, and tells where.
    fn divide(&mut self, id: i64, append: &Append, plan: &Plan) -> Result<Vec<(usize, Problem)>, Refusal> {
        let told = |at, text: String| (at, problem(at, append.batch, "mediaEventTimestamp", text));
        Ok(match self.divide_long(id)? {
            None => Vec::new(),
            Some(Long::Kept(why)) => {
                self.keep_warnings(id, std::slice::from_ref(&why))?;
                vec![told(0, why)]
            }
            Some(Long::Divided(parts)) => parts
                .into_iter()
                .map(|(first, name)| {
                    let at = plan.fresh.iter().find(|(_, seq)| *seq == first).map_or(0, |(at, _)| *at);
                    told(at, format!("24 hours are over: from here on the session is {name}"))
                })
                .collect(),
        })
    }

    /// Writes one row. Answers what is out of order about its event, if anything is.
    pub(super) fn write_event(
        &mut self,
        id: i64,
        new: &NewRow<'_>,
        now: &Moment,
    ) -> Result<Option<String>, Refusal> {
        self.tail_of(id)?.write(new, now)
    }

    /// The end of an open session, where its rows are written.
    fn tail_of(&mut self, id: i64) -> Result<Tail<'_>, Refusal> {
        let open = self.open.get_mut(&id).ok_or(Refusal::UnknownSession)?;
        let insert = self.conn.prepare_cached(
            "INSERT INTO events (id, session, n, seq, type, said_ms, playhead, synthetic, boot, boot_ms,
                 wall_ms, checksum, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        )?;
        let taken = self.taken.entry(open.owner).or_default();
        self.touched |= !self.undo.written_to(id, open, *taken, self.next_event);
        Ok(Tail { insert, id, open, next_event: &mut self.next_event, taken, undo: &mut self.undo })
    }

    /// Adds to what is odd about a session; the same thing is kept once.
    pub(super) fn keep_warnings(&self, id: i64, warnings: &[String]) -> Result<(), Refusal> {
        if warnings.is_empty() {
            return Ok(());
        }
        let kept: Option<String> = self
            .conn
            .prepare_cached("SELECT warnings FROM sessions WHERE id = ?1")?
            .query_row([id], |row| row.get(0))
            .optional()?
            .flatten();
        let mut kept: Vec<String> =
            kept.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        for warning in warnings {
            if kept.len() < MAX_WARNINGS && !kept.contains(warning) {
                kept.push(warning.clone());
            }
        }
        let text = serde_json::to_string(&kept).map_err(|error| Refusal::Storage(error.to_string()))?;
        self.conn
            .prepare_cached("UPDATE sessions SET warnings = ?2 WHERE id = ?1")?
            .execute(params![id, text])?;
        Ok(())
    }
}

/// The problem of each ad that names no player, unless there is a default.
fn nameless_ads(append: &Append, has_default: bool) -> impl Iterator<Item = Problem> + '_ {
    let lacks = move |event: &NewEvent| !has_default && event.kind == EventType::AdStart && event.lacks.0;
    append
        .events
        .iter()
        .enumerate()
        .filter(move |(_, event)| lacks(event))
        .map(|(at, _)| problem(at, append.batch, "mediaCollection.advertisingDetails.playerName", NO_DEFAULT))
}

/// What one more row of an open session needs and changes.
struct Tail<'c> {
    insert: CachedStatement<'c>,
    id: i64,
    open: &'c mut Open,
    next_event: &'c mut i64,
    taken: &'c mut i64,
    undo: &'c mut Undo,
}

impl Tail<'_> {
    fn write(&mut self, new: &NewRow<'_>, now: &Moment) -> Result<Option<String>, Refusal> {
        let row = EventRow {
            session: self.id,
            n: self.open.run.rows,
            seq: new.seq,
            kind: new.kind.as_str(),
            said_ms: new.said_ms,
            synthetic: new.synthetic,
            boot: now.boot,
            boot_ms: now.boot_ms,
            wall_ms: now.wall_ms,
            body: new.body,
        };
        let checksum = event_sum(&row);
        self.insert.execute(params![
            *self.next_event,
            self.id,
            row.n,
            row.seq,
            row.kind,
            row.said_ms,
            new.playhead,
            row.synthetic,
            row.boot,
            row.boot_ms,
            row.wall_ms,
            checksum,
            row.body,
        ])?;
        self.undo.numbered(self.id, new.seq);
        if !new.synthetic {
            *self.taken += i64::try_from(new.body.len()).unwrap_or(i64::MAX) + ROW_BYTES;
        }
        let followed = Followed {
            kind: new.kind,
            seq: new.seq,
            boot_ms: now.boot_ms,
            checksum,
            synthetic: new.synthetic,
            playhead: new.playhead,
            at_ms: new.said_ms.unwrap_or(now.wall_ms),
            body: new.body,
        };
        let warning = self.open.follow(*self.next_event, &followed);
        *self.next_event += 1;
        Ok(warning)
    }
}

fn new_row(event: &NewEvent, seq: i64) -> Result<NewRow<'_>, Refusal> {
    Ok(NewRow {
        kind: event.kind,
        seq,
        said_ms: event.said_ms,
        playhead: event.playhead,
        synthetic: false,
        // The edge checked that it is UTF-8.
        body: std::str::from_utf8(&event.body).map_err(|error| Refusal::Storage(error.to_string()))?,
    })
}
