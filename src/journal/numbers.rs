//! The numbers that a session's events have, so that a resend is known for one: with the events while they are stored,
//! without them once they were delivered.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::plan::same_event;

/// Numbers of which the journal keeps a print of the event when the session is completed: a player resends the last.
const PRINTS: usize = 32;
/// Stretches of numbers that are kept then. A player counts up, so that there is one.
const STRETCHES: usize = 64;

/// The numbers of an open session: where each event is.
#[derive(Debug, Clone, Default)]
pub(super) struct Numbers(BTreeMap<i64, Used>);

#[derive(Debug, Clone, Copy)]
struct Used {
    event: i64,
    print: u32,
}

/// Tells most events from each other.
fn print_of(body: &[u8]) -> u32 {
    let sum = xxhash_rust::xxh3::xxh3_64(body);
    u32::try_from(sum >> 32).unwrap_or(0)
}

impl Numbers {
    /// The row of an event takes its number; rows of ours have negative ones, which nobody can ask for.
    pub(super) fn take(&mut self, seq: i64, event: i64, body: &str) {
        if seq >= 0 {
            self.0.insert(seq, Used { event, print: print_of(body.as_bytes()) });
        }
    }

    /// A row was undone.
    pub(super) fn give_back(&mut self, seq: i64) {
        self.0.remove(&seq);
    }

    /// Which event has a number.
    pub(super) fn event(&self, seq: i64) -> Option<i64> {
        self.0.get(&seq).map(|used| used.event)
    }

    /// What is kept of them when the session takes no more.
    pub(super) fn keep(&self) -> Kept {
        let mut used: Vec<(i64, i64)> = Vec::new();
        for &seq in self.0.keys() {
            match used.last_mut() {
                Some((_, last)) if *last + 1 == seq => *last = seq,
                _ => used.push((seq, seq)),
            }
        }
        used.drain(..used.len().saturating_sub(STRETCHES));
        let mut prints: Vec<u32> = self.0.values().rev().take(PRINTS).map(|used| used.print).collect();
        prints.reverse();
        Kept { used, prints }
    }
}

/// The numbers of a session that takes no more events.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// First and last of each stretch, in ascending order; the lowest are missing if there were very many.
    used: Vec<(i64, i64)>,
    /// Of the events with the highest numbers, in ascending order.
    prints: Vec<u32>,
}

/// What is known of the event under a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stored {
    /// All of it.
    Body(String),
    /// It was delivered; its print is left.
    Print(u32),
    /// It was delivered; that is all.
    Delivered,
}

impl Stored {
    /// Whether `body` is that event. One of which nothing is left is taken for it: a resend must not be sent twice.
    pub(super) fn is(&self, body: &[u8]) -> bool {
        match self {
            Stored::Body(stored) => same_event(stored, body),
            Stored::Print(print) => *print == print_of(body),
            Stored::Delivered => true,
        }
    }
}

impl Kept {
    /// What is known without the events.
    pub(super) fn find(&self, seq: i64) -> Option<Stored> {
        if !self.used.iter().any(|(first, last)| (*first..=*last).contains(&seq)) {
            return None;
        }
        // Position from the end.
        let mut above: i64 = 0;
        for (first, last) in self.used.iter().rev() {
            if seq >= *first {
                above = above.saturating_add(last - seq);
                break;
            }
            above = above.saturating_add(last - first + 1);
        }
        let at = usize::try_from(above).ok().and_then(|above| self.prints.len().checked_sub(above + 1));
        Some(at.and_then(|at| self.prints.get(at)).map_or(Stored::Delivered, |print| Stored::Print(*print)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(seqs: impl Iterator<Item = i64>) -> Numbers {
        let mut numbers = Numbers::default();
        for (event, seq) in (1..).zip(seqs) {
            numbers.take(seq, event, &format!("{{{seq}}}"));
        }
        numbers
    }

    #[test]
    fn what_is_kept_knows_the_last_and_the_rest_by_number() {
        let kept = numbers((0..100).chain(200..210)).keep();
        assert_eq!(kept.used, [(0, 99), (200, 209)]);
        for seq in (78..100).chain(200..210) {
            let found = kept.find(seq).unwrap();
            assert!(matches!(found, Stored::Print(_)), "{seq}");
            assert!(found.is(format!("{{{seq}}}").as_bytes()) && !found.is(b"{}"), "{seq}");
        }
        assert_eq!(kept.find(77), Some(Stored::Delivered));
        assert_eq!(kept.find(0), Some(Stored::Delivered));
        for seq in [-1, 100, 199, 210] {
            assert_eq!(kept.find(seq), None);
        }
    }

    #[test]
    fn numbers_full_of_gaps_are_kept_in_part() {
        let kept = numbers((0..1000).map(|n| n * 2)).keep();
        assert_eq!(kept.used.len(), STRETCHES);
        assert!(matches!(kept.find(1998), Some(Stored::Print(_))));
        assert_eq!(kept.find(1000), None);
        assert_eq!(kept.find(1900), Some(Stored::Delivered));
    }

    #[test]
    fn rows_of_ours_have_no_number_and_undone_ones_none_any_more() {
        let mut numbers = numbers([-2, -1, 0, 1].into_iter());
        assert_eq!(numbers.event(-1), None);
        assert_eq!(numbers.event(1), Some(4));
        numbers.give_back(1);
        assert_eq!(numbers.event(1), None);
    }
}
