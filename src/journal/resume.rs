//! Events for a session that takes no more: resends, late ends, and those that open a successor (product section 4.1;
//! contract section 8).

use std::collections::{HashMap, HashSet};

use rusqlite::{OptionalExtension, params};

use super::core::Core;
use super::intake::{Frozen, NewRow};
use super::numbers::{Kept, Stored};
use super::plan::{Plan, asked, plan};
use super::{Append, Appended, Refusal};
use crate::course::{Continuing, Course};
use crate::event::EventType;
use crate::session::{Name, State, Why};

/// A session's rows from the last on.
const EACH_ROW: &str =
    "SELECT seq, body FROM events WHERE id BETWEEN ?2 AND ?3 AND session = ?1 ORDER BY id DESC";

/// The last session under a key, when it takes no events.
pub(super) struct Closed {
    id: i64,
    generation: u32,
    state: State,
    why: Why,
    max_seq: i64,
}

impl Closed {
    fn refusal(&self) -> Refusal {
        Refusal::Completed { state: self.state, why: self.why }
    }

    /// Only what we completed goes on under its key: the player did not know.
    fn can_go_on(&self) -> bool {
        self.why.is_ours()
    }
}

/// What the player said of the end of a session that we had completed, if it has.
fn ended_later(course: &str) -> Option<Why> {
    serde_json::from_str::<&str>(course).ok().and_then(Why::parse)
}

impl Core {
    pub(super) fn find_closed(&self, owner: u32, key: &str) -> Result<Option<Closed>, Refusal> {
        Ok(self
            .conn
            .prepare_cached(
                "SELECT id, generation, state, why, coalesce(max_seq, -1), course FROM sessions
                 WHERE owner = ?1 AND key = ?2
                     AND NOT EXISTS (SELECT 1 FROM sessions later WHERE later.continues = sessions.id)
                 ORDER BY generation DESC LIMIT 1",
            )?
            .query_row(params![owner, key], |row| {
                Ok(Closed {
                    id: row.get(0)?,
                    generation: row.get(1)?,
                    state: State::parse(row.get_ref(2)?.as_str()?).unwrap_or(State::Completed),
                    why: match row.get_ref(5)?.as_str_or_null()?.and_then(ended_later) {
                        Some(own) => own,
                        None => {
                            row.get_ref(3)?.as_str_or_null()?.and_then(Why::parse).unwrap_or(Why::Complete)
                        }
                    },
                    max_seq: row.get(4)?,
                })
            })
            .optional()?)
    }

    /// A resend and a late `media.sessionEnd` are harmless; anything else goes on in a successor, or is refused.
    pub(super) fn append_to_closed(&mut self, closed: &Closed, append: &Append) -> Result<Appended, Refusal> {
        let stored = self.stored_in_chain(Some(closed.id), asked(append, closed.max_seq).collect())?;
        let plan = plan(append, closed.max_seq, closed.can_go_on(), |seq| Ok(stored.get(&seq).cloned()));
        let plan = match plan {
            Err(Refusal::Sequence(_)) if !closed.can_go_on() => return Err(closed.refusal()),
            plan => plan?,
        };
        let late_end = |(at, _): &(usize, i64)| append.events[*at].kind == EventType::SessionEnd;
        if plan.fresh.iter().all(late_end) {
            if closed.can_go_on() && !plan.fresh.is_empty() {
                self.note_own_end(closed.id, Why::End)?;
            }
            return Ok(Appended {
                state: closed.state,
                created: false,
                recorded: 0,
                duplicates: plan.duplicates,
                seq: plan.last_seq.max(0).unsigned_abs(),
                continues_as: (closed.generation > 1)
                    .then(|| Name::text(append.key.as_str(), closed.generation)),
                warnings: Vec::new(),
            });
        }
        if !closed.can_go_on() {
            return Err(closed.refusal());
        }
        self.check_room(append, &plan)?;
        self.go_on(closed, append, &plan)
    }

    /// The player ended a session that we had completed before: nothing goes on in a successor from then on. That takes
    /// the place of what a successor would go on from.
    pub(super) fn note_own_end(&self, id: i64, why: Why) -> Result<(), Refusal> {
        let own = serde_json::Value::from(why.as_str()).to_string();
        self.conn
            .prepare_cached("UPDATE sessions SET course = ?2 WHERE id = ?1")?
            .execute(params![id, own])?;
        Ok(())
    }

    /// The same for the sessions that an open one continues.
    pub(super) fn stored_before(
        &self,
        id: i64,
        asked: HashSet<i64>,
    ) -> Result<HashMap<i64, Stored>, Refusal> {
        if asked.is_empty() {
            return Ok(HashMap::new());
        }
        let mut query = self.conn.prepare_cached("SELECT continues FROM sessions WHERE id = ?1")?;
        self.stored_in_chain(query.query_row([id], |row| row.get(0))?, asked)
    }

    /// What is known of the events under these numbers in a session that takes no more, and in those it continues.
    fn stored_in_chain(
        &self,
        mut next: Option<i64>,
        mut asked: HashSet<i64>,
    ) -> Result<HashMap<i64, Stored>, Refusal> {
        let mut found = HashMap::new();
        let mut delivered = HashMap::new();
        while let Some(id) = next.filter(|_| !asked.is_empty()) {
            let mut query = self.conn.prepare_cached(
                "SELECT continues, state, first_event, coalesce(last_event, first_event), numbers
                 FROM sessions WHERE id = ?1",
            )?;
            let mut rows = query.query([id])?;
            let Some(row) = rows.next()? else { break };
            next = row.get(0)?;
            let kept: Option<Kept> =
                row.get_ref(4)?.as_str_or_null()?.and_then(|text| serde_json::from_str(text).ok());
            let mut here = Vec::new();
            for seq in &asked {
                if let Some(stored) = kept.as_ref().and_then(|kept| kept.find(*seq)) {
                    delivered.entry(*seq).or_insert(stored);
                    here.push(*seq);
                }
            }
            if row.get_ref(1)?.as_str()? == State::Delivered.as_str() {
                continue;
            }
            let rows = (row.get(2)?, row.get(3)?);
            for seq in &here {
                if let Some(event) = self.event_numbered(id, rows, *seq)? {
                    found.insert(*seq, Stored::Body(self.body_of(event)?));
                    asked.remove(seq);
                }
            }
            if kept.is_none() || here.iter().any(|seq| asked.contains(seq)) {
                self.search_rows(id, rows, &mut asked, &mut found)?;
            }
        }
        delivered.extend(found);
        Ok(delivered)
    }

    /// Which of a session's rows has a number, looked for as if numbers grew from row to row: a player counts up, and a
    /// large session has many rows. `None` also where they do not grow.
    fn event_numbered(
        &self,
        id: i64,
        (mut first, mut last): (i64, i64),
        seq: i64,
    ) -> rusqlite::Result<Option<i64>> {
        let mut query = self.conn.prepare_cached(
            "SELECT id, seq FROM events WHERE id BETWEEN ?2 AND ?3 AND session = ?1 AND seq >= 0 ORDER BY id LIMIT 1",
        )?;
        while first <= last {
            let middle = first + (last - first) / 2;
            let next = query
                .query_row([id, middle, last], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))
                .optional()?;
            match next {
                Some((event, there)) if there == seq => return Ok(Some(event)),
                Some((event, there)) if there < seq => first = event + 1,
                _ => last = middle - 1,
            }
        }
        Ok(None)
    }

    /// The bodies of a session's events with these numbers, from its last row on, each row looked at.
    fn search_rows(
        &self,
        id: i64,
        (first, last): (i64, i64),
        asked: &mut HashSet<i64>,
        found: &mut HashMap<i64, Stored>,
    ) -> rusqlite::Result<()> {
        let mut query = self.conn.prepare_cached(EACH_ROW)?;
        let mut rows = query.query([id, first, last])?;
        while !asked.is_empty()
            && let Some(row) = rows.next()?
        {
            let seq = row.get(0)?;
            if asked.remove(&seq) {
                found.insert(seq, Stored::Body(row.get(1)?));
            }
        }
        Ok(())
    }

    fn go_on(&mut self, closed: &Closed, append: &Append, plan: &Plan) -> Result<Appended, Refusal> {
        let Some((at, _)) = plan.fresh.first().copied() else { return Err(closed.refusal()) };
        let first = &append.events[at];
        let generation = self.conn.query_row(
            "SELECT max(generation) + 1 FROM sessions WHERE owner = ?1 AND key = ?2",
            params![append.owner, append.key.as_str()],
            |row| row.get(0),
        )?;
        if first.kind == EventType::SessionStart {
            let own = Append { events: append.events[at..].to_vec(), ..append.clone() };
            self.check_start(&own)?;
            let frozen = self.frozen_by(&own, generation, Some(closed.id))?;
            let id = self.start_session(append, &frozen)?;
            return self.write_events(id, append, plan, false);
        }
        let course: Option<String> = self
            .conn
            .prepare_cached("SELECT course FROM sessions WHERE id = ?1")?
            .query_row([closed.id], |row| row.get(0))?;
        let course: Course =
            course.and_then(|text| serde_json::from_str(&text).ok()).ok_or_else(|| closed.refusal())?;
        self.check_ads(closed.id, append)?;
        let body = std::str::from_utf8(&first.body).map_err(|error| Refusal::Storage(error.to_string()))?;
        let next = Continuing { kind: first.kind, body };
        let again = course.reopen(&next).ok_or_else(|| closed.refusal())?;
        let frozen = self.frozen_of(closed.id, generation)?;
        let id = self.start_session(append, &frozen)?;
        let now = self.now();
        for (n, (kind, body)) in (1..).zip(&again) {
            let row = NewRow {
                kind: *kind,
                seq: -n,
                said_ms: first.said_ms,
                playhead: first.playhead,
                synthetic: true,
                body,
            };
            self.write_event(id, &row, &now)?;
        }
        self.write_events(id, append, plan, false)
    }

    /// What the predecessor froze holds for its successor too.
    fn frozen_of(&self, id: i64, generation: u32) -> Result<Frozen, Refusal> {
        Ok(self
            .conn
            .prepare_cached(
                "SELECT title, identity_map, identity_origin, player_name, channel, implementation
                 FROM sessions WHERE id = ?1",
            )?
            .query_row([id], |row| {
                Ok(Frozen {
                    generation,
                    continues: Some(id),
                    title: row.get(0)?,
                    identity_map: row.get(1)?,
                    identity_origin: row.get(2)?,
                    player_name: row.get(3)?,
                    channel: row.get(4)?,
                    implementation: row.get(5)?,
                })
            })?)
    }
}

#[cfg(test)]
mod tests;
