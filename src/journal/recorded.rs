//! The events of a session as they were recorded, read in parts: what is asked of the journal does not hold up what is
//! recorded.

use super::core::Core;
use super::outbox::{StoredEvent, events_between};
use super::rows::Run;
use super::{Journal, Refusal, Scope};

/// A recorded event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Its number.
    pub seq: u64,
    /// Byte for byte as the player sent it.
    pub body: String,
}

/// Numbers of rows within which events are read at a time.
const EVENTS_AT_ONCE: i64 = 512;

/// Some events of a session.
struct Part {
    events: Vec<StoredEvent>,
    /// Whether they are the first: also when the session has other rows by now than those that were read before.
    is_first: bool,
    /// Where to go on, if any are left.
    next: Option<Mark>,
}

/// How far a session was read.
struct Mark {
    /// The session and its first row: another one where it was cut in two meanwhile.
    of: (i64, i64),
    /// What the events so far add up to.
    run: Run,
    /// The row to go on at.
    from: i64,
}

impl Journal {
    /// The events of one session, as recorded.
    pub async fn recorded(&self, scope: Scope, key: String) -> Result<Vec<Recorded>, Refusal> {
        let mut recorded = Vec::new();
        let mut mark = None;
        loop {
            let key = key.clone();
            let part = self
                .call(move |core| {
                    let id = core.find(scope, &key)?;
                    core.some_events_of(id, mark)
                })
                .await?;
            if part.is_first {
                recorded.clear();
            }
            let played = part.events.into_iter().filter(|event| !event.synthetic);
            recorded.extend(played.map(|event| Recorded { seq: event.seq.unsigned_abs(), body: event.body }));
            mark = part.next;
            if mark.is_none() {
                return Ok(recorded);
            }
        }
    }
}

impl Core {
    /// The events of a session, as many as are read at a time, each checked after those before it.
    fn some_events_of(&self, id: i64, mark: Option<Mark>) -> Result<Part, Refusal> {
        self.still_has_events(id)?;
        let (first, last): (i64, Option<i64>) = self
            .conn
            .prepare_cached("SELECT first_event, last_event FROM sessions WHERE id = ?1")?
            .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let of = (id, first);
        let mark = mark.filter(|mark| mark.of == of);
        let is_first = mark.is_none();
        let Mark { mut run, from, .. } = mark.unwrap_or(Mark { of, run: Run::default(), from: first });
        let last = last.unwrap_or(self.next_event - 1);
        let until = last.min(from + EVENTS_AT_ONCE - 1);
        let events = events_between(&self.conn, id, from, until, &mut run)?;
        let next = (until < last).then_some(Mark { of, run, from: until + 1 });
        Ok(Part { events, is_first, next })
    }
}
