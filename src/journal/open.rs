//! Open sessions in memory: what their rows add up to.

use super::numbers::Numbers;
use super::rows::Run;
use crate::course::Course;
use crate::event::EventType;
use crate::session::{Key, OpenTimes};

/// An open session, as far as an append needs to know it.
#[derive(Debug, Clone)]
pub(super) struct Open {
    pub(super) owner: u32,
    pub(super) key: Key,
    pub(super) generation: u32,
    pub(super) first_event: i64,
    pub(super) last_event: i64,
    pub(super) max_seq: i64,
    pub(super) times: OpenTimes,
    pub(super) playhead: f64,
    pub(super) run: Run,
    /// What its events come to in the order in which they came.
    pub(super) course: Course,
    pub(super) span: Span,
    pub(super) numbers: Numbers,
}

/// When the events happened, by what was said of each as it came.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Span {
    first_and_last: Option<(i64, i64)>,
    /// Whether one came after another that happened later.
    pub(super) out_of_order: bool,
}

impl Span {
    fn add(&mut self, at_ms: i64) {
        let (first, last) = self.first_and_last.unwrap_or((at_ms, at_ms));
        self.out_of_order |= at_ms < last;
        self.first_and_last = Some((first.min(at_ms), last.max(at_ms)));
    }

    /// From the earliest to the latest.
    pub(super) fn ms(&self) -> i64 {
        self.first_and_last.map_or(0, |(first, last)| last.saturating_sub(first))
    }
}

/// What an open session learns from one of its rows.
pub(super) struct Followed<'a> {
    pub(super) kind: EventType,
    pub(super) seq: i64,
    pub(super) boot_ms: i64,
    pub(super) checksum: i64,
    pub(super) synthetic: bool,
    pub(super) playhead: f64,
    /// When it happened, by what was said as it came.
    pub(super) at_ms: i64,
    pub(super) body: &'a str,
}

impl Open {
    pub(super) fn new(owner: u32, key: Key, generation: u32, first_event: i64, started_ms: i64) -> Open {
        Open {
            owner,
            key,
            generation,
            first_event,
            last_event: first_event,
            max_seq: -1,
            times: OpenTimes { started_ms, last_event_ms: started_ms, moved_ms: started_ms, closed_ms: None },
            playhead: f64::NAN,
            run: Run::default(),
            course: Course::default(),
            span: Span::default(),
            numbers: Numbers::default(),
        }
    }

    /// Itself but for its numbers, of which there may be many.
    pub(super) fn without_numbers(&mut self) -> Open {
        let numbers = std::mem::take(&mut self.numbers);
        let copy = self.clone();
        self.numbers = numbers;
        copy
    }

    /// Takes a row into account. Answers what is out of order about its event, if anything is.
    pub(super) fn follow(&mut self, id: i64, row: &Followed<'_>) -> Option<String> {
        self.last_event = id;
        self.max_seq = self.max_seq.max(row.seq);
        self.numbers.take(row.seq, id, row.body);
        self.times.last_event_ms = row.boot_ms;
        // NaN, before the first event, differs from everything.
        if self.playhead != row.playhead {
            self.playhead = row.playhead;
            self.times.moved_ms = row.boot_ms;
        }
        if matches!(row.kind, EventType::SessionComplete | EventType::SessionEnd) {
            self.times.closed_ms = Some(row.boot_ms);
        }
        self.run.add(row.checksum, row.synthetic, i64::try_from(row.body.len()).unwrap_or(i64::MAX));
        self.span.add(row.at_ms);
        let odd = self.course.note(row.kind, row.body);
        let beyond = row.kind != EventType::SessionStart && self.course.is_beyond(row.playhead);
        odd.or_else(|| beyond.then(|| "the playhead lies beyond the content's length".to_owned()))
    }
}
