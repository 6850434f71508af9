//! What a job of several appends changed in the memory of open sessions: when one of them is refused the others are
//! undone without a look at the rows. A single append is refused before it writes.

use super::core::Core;
use super::open::Open;
use crate::session;

/// How the memory was before the job.
#[derive(Debug, Default)]
pub(super) struct Undo {
    /// Whether the job that is running has it kept.
    on: bool,
    /// Sessions that it wrote to, as they were, without their numbers; and what their owner had taken.
    written: Vec<(i64, Open, i64)>,
    /// Numbers that it took.
    numbered: Vec<(i64, i64)>,
    begun: Vec<i64>,
    completed: Vec<(i64, Open)>,
    next_event: Option<i64>,
}

impl Undo {
    /// From here on changes are kept.
    pub(super) fn keep(&mut self) {
        self.on = true;
    }

    /// A session was made. Answers, like the others, whether that can be undone.
    pub(super) fn begun(&mut self, id: i64) -> bool {
        if self.on {
            self.begun.push(id);
        }
        self.on
    }

    /// Rows are about to be written to a session.
    pub(super) fn written_to(&mut self, id: i64, open: &mut Open, taken: i64, next_event: i64) -> bool {
        if self.on && self.written.last().is_none_or(|(last, ..)| *last != id) {
            self.written.push((id, open.without_numbers(), taken));
        }
        self.next_event.get_or_insert(next_event);
        self.on
    }

    /// A row took a number.
    pub(super) fn numbered(&mut self, id: i64, seq: i64) {
        if self.on {
            self.numbered.push((id, seq));
        }
    }

    /// A session was completed.
    pub(super) fn completed(&mut self, id: i64, open: Open) -> bool {
        if self.on {
            self.completed.push((id, open));
        }
        self.on
    }
}

impl Core {
    /// The memory as it was.
    pub(super) fn undo(&mut self, undo: Undo) {
        for (id, open) in undo.completed {
            self.open_by_key.insert((open.owner, open.key.clone()), id);
            self.open.insert(id, open);
        }
        for (id, seq) in undo.numbered {
            if let Some(open) = self.open.get_mut(&id) {
                open.numbers.give_back(seq);
            }
        }
        for (id, mut before, taken) in undo.written.into_iter().rev() {
            self.taken.insert(before.owner, taken);
            if let Some(open) = self.open.get_mut(&id) {
                before.numbers = std::mem::take(&mut open.numbers);
                *open = before;
            }
        }
        for id in undo.begun {
            if let Some(open) = self.open.remove(&id) {
                self.open_by_key.remove(&(open.owner, open.key));
            }
        }
        if let Some(next_event) = undo.next_event {
            self.next_event = next_event;
        }
        self.deadline =
            self.open.values().map(|open| session::deadline(&open.times, &self.policy.limits).0).min();
    }
}
