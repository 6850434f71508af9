//! A session whose events came in another order than they happened in, looked at once more when it is completed
//! (contract section 7): what it comes to, and what is odd about it, follow the times.

use rusqlite::params;

use super::Refusal;
use super::core::Core;
use super::outbox::StoredEvent;
use super::split::in_order;
use crate::course::Course;
use crate::event::EventType;

impl Core {
    /// What the events of a session come to in the order in which they are sent. Warnings that hold only in the order
    /// in which they came are taken back, those that hold only in the other are added. `None`: it cannot be told.
    pub(super) fn review(&self, id: i64) -> Result<Option<Course>, Refusal> {
        let session = match self.outgoing(id) {
            Ok(Some(session)) => session,
            // What is damaged is found out and told when it is sent.
            Ok(None) | Err(Refusal::Damaged(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let events = &session.events;
        let (at, order) = in_order(events, &session.timing.offsets);
        let arrival: Vec<usize> = (0..events.len()).collect();
        let (_, as_they_came) = follow(events, &arrival);
        let (course, mut odd) = follow(events, &order);
        self.take_back(id, as_they_came.iter().filter(|text| !odd.contains(text)))?;
        odd.retain(|text| !as_they_came.contains(text));
        odd.extend(late_start(events, &at));
        self.keep_warnings(id, &odd)?;
        Ok(Some(course))
    }

    fn take_back<'a>(&self, id: i64, warnings: impl Iterator<Item = &'a String>) -> Result<(), Refusal> {
        for warning in warnings {
            self.conn
                .prepare_cached(
                    "UPDATE sessions SET warnings = (SELECT nullif(json_group_array(value), '[]')
                         FROM json_each(warnings) WHERE value <> ?2)
                     WHERE id = ?1 AND warnings IS NOT NULL",
                )?
                .execute(params![id, warning])?;
        }
        Ok(())
    }
}

/// What the events come to in this order, and what is out of order about them, each thing once.
fn follow(events: &[StoredEvent], order: &[usize]) -> (Course, Vec<String>) {
    let mut course = Course::default();
    let mut odd = Vec::new();
    for event in order.iter().map(|&n| &events[n]) {
        if let Some(text) = course.note(event.kind, &event.body)
            && !odd.contains(&text)
        {
            odd.push(text);
        }
    }
    (course, odd)
}

/// A start that says it came after other events is sent at the time of the first of them.
fn late_start(events: &[StoredEvent], at: &[i64]) -> Option<String> {
    let start = events.iter().position(|event| event.kind == EventType::SessionStart)?;
    let shift_ms = at[start].saturating_sub(at.iter().copied().min()?);
    (shift_ms > 0).then(|| {
        format!("its start is not the earliest of its events: it is sent {shift_ms} ms earlier than it says")
    })
}
