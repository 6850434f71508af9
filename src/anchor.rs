//! Boot times to wall times (product section 6; contract section 4): pure.
//!
//! [`resolve`] gives the events of one session their times, [`boots`] says where on the calendar a boot lies.

pub mod boots;

use crate::clock::BUILT_MS;

/// The times that are known of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventTimes {
    /// What the player said.
    pub said_ms: Option<i64>,
    /// Our wall clock on arrival.
    pub wall_ms: i64,
    /// Boot time on arrival.
    pub boot_ms: i64,
}

/// How boot time becomes wall time in one session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offsets {
    /// Wall time less boot time, as it is believed now.
    pub believed_ms: i64,
    /// The same by the wall clock when the boot was first seen, right or wrong.
    pub first_ms: Option<i64>,
}

/// A player whose timestamp is this close to our wall clock on arrival reads the same clock.
const SAME_CLOCK_MS: i64 = 5000;
/// A clock that is off by less than this was not set. A leap second is a step, even if two readings round it down.
pub const STEP_MS: i64 = 990;

/// The wall time of each event of one session, in the order given.
///
/// One offset between boot time and wall time holds for the whole session, so order and intervals survive a clock that
/// is set in the middle of it. A player that reads the same clock as we do moves along, by as much as that clock was
/// off when the player read it; any other timestamp stays as given.
pub fn resolve(events: &[EventTimes], offsets: &Offsets) -> Vec<i64> {
    let read = readings(events, offsets.first_ms);
    let believed = offsets.believed_ms;
    // All or none are moved: what lies between two events must not change.
    let mut used = read.iter().flatten();
    let one = used.next().copied();
    let stepped =
        one.is_some_and(|one| !is_one_clock(one, believed)) || used.any(|other| Some(*other) != one);
    events
        .iter()
        .zip(read)
        .map(|(event, offset)| match (event.said_ms.unwrap_or(event.wall_ms), offset) {
            (said, None) => said,
            (_, Some(offset)) if event.said_ms.is_none() => {
                event.boot_ms.saturating_add(if stepped { believed } else { offset })
            }
            (said, Some(offset)) if stepped => said.saturating_add(believed.saturating_sub(offset)),
            (said, Some(_)) => said,
        })
        .collect()
}

/// Whether any time of the session depends on our clock, so that it cannot be told before that is known.
pub fn needs_clock(events: &[EventTimes], first_ms: Option<i64>) -> bool {
    readings(events, first_ms).iter().any(Option::is_some)
}

/// For each event the offset that our clock had when the event's time was read from it, by the player or by us; `None`
/// for a time of another clock's.
fn readings(events: &[EventTimes], first_ms: Option<i64>) -> Vec<Option<i64>> {
    let known = clocks(events, first_ms);
    events.iter().map(|event| read_at(event.said_ms.unwrap_or(event.wall_ms), event, &known)).collect()
}

/// The offsets that our wall clock is known to have had, each once; two readings of one clock differ by a millisecond.
fn clocks(events: &[EventTimes], first_ms: Option<i64>) -> Vec<i64> {
    let mut known: Vec<i64> = Vec::new();
    for offset in events.iter().map(offset_of).chain(first_ms) {
        if !known.iter().any(|other| is_one_clock(*other, offset)) {
            known.push(offset);
        }
    }
    known
}

fn offset_of(event: &EventTimes) -> i64 {
    event.wall_ms.saturating_sub(event.boot_ms)
}

fn is_one_clock(one: i64, other: i64) -> bool {
    one.abs_diff(other) < STEP_MS.unsigned_abs()
}

fn read_at(said: i64, event: &EventTimes, known: &[i64]) -> Option<i64> {
    let now = offset_of(event);
    let close =
        |offset: i64| said.abs_diff(event.boot_ms.saturating_add(offset)) <= SAME_CLOCK_MS.unsigned_abs();
    let present = known.iter().copied().find(|offset| is_one_clock(*offset, now)).filter(|_| close(now));
    // Read before the clock was set, sent after: told by the boot time.
    let before = || known.iter().copied().find(|offset| close(*offset));
    // Kept by the player for a while, but within this boot by a clock that had not been set.
    let kept = || {
        let of_this_boot = |offset: &i64| {
            let since_boot = said.saturating_sub(*offset);
            (0..=event.boot_ms.saturating_add(SAME_CLOCK_MS)).contains(&since_boot)
        };
        known.iter().copied().filter(|_| said < BUILT_MS).find(of_this_boot)
    };
    present.or_else(before).or_else(kept)
}

#[cfg(test)]
mod tests;
