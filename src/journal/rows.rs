//! Rows and their checksums.
//!
//! SQLite notices few flipped bits, so each event and each frozen session carries a checksum over every column that
//! reaches a payload. Fields are length-prefixed, so that moving a byte from one to the next is noticed too.

/// More than the numbers of a row take.
const FIXED_BYTES: usize = 128;

/// The columns of an event that its checksum covers.
#[derive(Debug, Clone, Copy)]
pub(super) struct EventRow<'a> {
    pub(super) session: i64,
    pub(super) n: i64,
    pub(super) seq: i64,
    pub(super) kind: &'a str,
    pub(super) said_ms: Option<i64>,
    pub(super) synthetic: bool,
    pub(super) boot: i64,
    pub(super) boot_ms: i64,
    pub(super) wall_ms: i64,
    pub(super) body: &'a str,
}

/// The columns of a session that are frozen when it starts.
#[derive(Debug, Clone, Copy)]
pub(super) struct SessionRow<'a> {
    pub(super) owner: u32,
    pub(super) key: &'a str,
    pub(super) generation: u32,
    pub(super) identity_map: &'a str,
    pub(super) identity_origin: &'a str,
    pub(super) player_name: Option<&'a str>,
    pub(super) channel: Option<&'a str>,
    pub(super) implementation: &'a str,
    pub(super) started: [i64; 3],
    pub(super) first_event: i64,
}

/// What is summed up, end to end: one pass over it costs a fraction of many small ones.
struct Sum(Vec<u8>);

impl Sum {
    fn of(texts: usize) -> Sum {
        Sum(Vec::with_capacity(FIXED_BYTES + texts))
    }

    fn number(&mut self, number: i64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(i64::try_from(text.len()).unwrap_or(i64::MAX));
        self.0.extend_from_slice(text.as_bytes());
    }

    fn maybe(&mut self, number: Option<i64>) {
        self.number(i64::from(number.is_some()));
        self.number(number.unwrap_or(0));
    }

    fn maybe_text(&mut self, text: Option<&str>) {
        self.number(i64::from(text.is_some()));
        self.text(text.unwrap_or(""));
    }

    fn finish(&self) -> i64 {
        body_sum(&self.0)
    }
}

/// The checksum that an event row must have.
pub(super) fn event_sum(event: &EventRow<'_>) -> i64 {
    let mut sum = Sum::of(event.kind.len() + event.body.len());
    for number in [event.session, event.n, event.seq, event.boot, event.boot_ms, event.wall_ms] {
        sum.number(number);
    }
    sum.maybe(event.said_ms);
    sum.number(i64::from(event.synthetic));
    sum.text(event.kind);
    sum.text(event.body);
    sum.finish()
}

/// The checksum that a session row must have.
pub(super) fn session_sum(session: &SessionRow<'_>) -> i64 {
    let mut sum = Sum::of(session.identity_map.len() + session.implementation.len());
    sum.number(i64::from(session.owner));
    sum.number(i64::from(session.generation));
    for text in [session.key, session.identity_map, session.identity_origin, session.implementation] {
        sum.text(text);
    }
    sum.maybe_text(session.player_name);
    sum.maybe_text(session.channel);
    for number in session.started {
        sum.number(number);
    }
    sum.number(session.first_event);
    sum.finish()
}

/// A checksum of a request body.
pub(crate) fn body_sum(body: &[u8]) -> i64 {
    xxhash_rust::xxh3::xxh3_64(body).cast_signed()
}

/// What the events of a session add up to, in order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Run {
    /// All rows.
    pub(super) rows: i64,
    /// Those that came from a player.
    pub(super) events: i64,
    /// Bytes of the bodies that came from a player.
    pub(super) bytes: i64,
    pub(super) sum: i64,
}

impl Run {
    /// Adds the next event. The sum depends on the order, so that rows cannot be swapped unnoticed.
    pub(super) fn add(&mut self, checksum: i64, synthetic: bool, bytes: i64) {
        self.rows += 1;
        if !synthetic {
            self.events += 1;
            self.bytes += bytes;
        }
        self.sum = self.sum.rotate_left(7) ^ checksum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_counts() {
        let row = EventRow {
            session: 1,
            n: 2,
            seq: 3,
            kind: "media.play",
            said_ms: None,
            synthetic: false,
            boot: 4,
            boot_ms: 5,
            wall_ms: 6,
            body: "{}",
        };
        let changed = [
            EventRow { session: 2, ..row },
            EventRow { n: 3, ..row },
            EventRow { seq: 4, ..row },
            EventRow { kind: "media.ping", ..row },
            EventRow { said_ms: Some(0), ..row },
            EventRow { synthetic: true, ..row },
            EventRow { boot: 5, ..row },
            EventRow { boot_ms: 6, ..row },
            EventRow { wall_ms: 7, ..row },
            EventRow { body: "[]", ..row },
            EventRow { kind: "media.play{", body: "}", ..row },
        ];
        let mut sums: Vec<i64> = changed.iter().chain([&row]).map(event_sum).collect();
        sums.sort_unstable();
        sums.dedup();
        assert_eq!(sums.len(), changed.len() + 1);
    }

    #[test]
    fn a_run_knows_its_order() {
        let run = |sums: &[i64]| {
            let mut run = Run::default();
            sums.iter().for_each(|sum| run.add(*sum, false, 1));
            run
        };
        assert_ne!(run(&[1, 2, 3]), run(&[1, 3, 2]));
    }
}
