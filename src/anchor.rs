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
    /// What is known besides the events themselves.
    pub context: Context,
}

/// What is known of a session besides the times of its events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Context {
    /// Wall time less boot time by the wall clock when the boot was first seen, right or wrong.
    pub first_ms: Option<i64>,
    /// It came as a whole, so that it may be as old as it says.
    pub whole: bool,
}

/// What the times of a session go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// The player's own clock gave all of them.
    Given,
    /// Our clock, at least in part.
    Clock,
    /// Our clock, and a guess: stamps of a clock that was never set were put at their arrival.
    Guess,
}

impl Basis {
    /// The fixed name.
    pub fn as_str(self) -> &'static str {
        match self {
            Basis::Given => "given",
            Basis::Clock => "clock",
            Basis::Guess => "guess",
        }
    }

    /// The one with this name.
    pub fn parse(text: &str) -> Option<Basis> {
        [Basis::Given, Basis::Clock, Basis::Guess].into_iter().find(|basis| basis.as_str() == text)
    }
}

/// 2020-01-01T00:00:00Z. No player of an earlier day can have met this program: its clock was never set. A later time is
/// its own affair, even if it lies before this program was made.
const SET_SINCE_MS: i64 = 1_577_836_800_000;
/// A player whose timestamp is this close to our wall clock on arrival reads the same clock.
const SAME_CLOCK_MS: i64 = 5000;
/// A clock that is off by less than this was not set. A leap second is a step, even if two readings round it down.
pub const STEP_MS: i64 = 990;

/// Whose clock a time was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Read {
    /// Ours, when wall time less boot time was this.
    Ours(i64),
    /// One that was never set, and that lies so far from boot time, if what was sent soonest was sent at once.
    Unset(i64),
    /// Another one.
    Foreign,
}

/// The wall time of each event of one session, in the order given.
///
/// One offset between boot time and wall time holds for the whole session, so order and intervals survive a clock that
/// is set in the middle of it. A player that reads the same clock as we do moves along, by as much as that clock was
/// off when the player read it; any other timestamp stays as given, unless it is of a clock that was never set.
pub fn resolve(events: &[EventTimes], offsets: &Offsets) -> Vec<i64> {
    let read = readings(events, &offsets.context);
    let believed = offsets.believed_ms;
    // All or none are moved: what lies between two events must not change.
    let mut used =
        read.iter().filter_map(|read| if let Read::Ours(offset) = read { Some(*offset) } else { None });
    let one = used.next();
    let stepped = one.is_some_and(|one| !is_one_clock(one, believed)) || used.any(|other| Some(other) != one);
    events
        .iter()
        .zip(read)
        .map(|(event, read)| match (event.said_ms, read) {
            (None, Read::Ours(offset)) if !stepped => event.boot_ms.saturating_add(offset),
            (None, _) => event.boot_ms.saturating_add(believed),
            (Some(said), Read::Ours(offset)) if stepped => {
                said.saturating_add(believed.saturating_sub(offset))
            }
            (Some(said), Read::Ours(_) | Read::Foreign) => said,
            (Some(said), Read::Unset(offset)) => {
                let moved = said.saturating_add(believed.saturating_sub(offset));
                if moved < BUILT_MS { event.boot_ms.saturating_add(believed) } else { moved }
            }
        })
        .collect()
}

/// What the times of a session go by. All but [`Basis::Given`] cannot be told before our clock is known.
pub fn basis(events: &[EventTimes], context: &Context) -> Basis {
    readings(events, context).into_iter().fold(Basis::Given, |basis, read| match (basis, read) {
        (Basis::Guess, _) | (_, Read::Unset(_)) => Basis::Guess,
        (_, Read::Ours(_)) => Basis::Clock,
        (basis, Read::Foreign) => basis,
    })
}

/// For each event the clock that its time was read from, by the player or by us.
fn readings(events: &[EventTimes], context: &Context) -> Vec<Read> {
    let known = clocks(events, context.first_ms);
    let at_once: Vec<Option<i64>> = events.iter().map(|event| read_at_once(event, &known)).collect();
    // A player has one clock: what it kept was read from the one that it reads now.
    let reads_ours =
        events.iter().zip(&at_once).any(|(event, read)| event.said_ms.is_some() && read.is_some());
    let kept = |event: &EventTimes| {
        let clocks = Clocks { events, known: &known, first_ms: context.first_ms };
        event.said_ms.filter(|said| reads_ours || *said < BUILT_MS).and_then(|said| clocks.kept(said, event))
    };
    let ours: Vec<Option<i64>> =
        events.iter().zip(at_once).map(|(event, read)| read.or_else(|| kept(event))).collect();
    let is_unset = |said: i64| said < SET_SINCE_MS && !context.whole;
    let unset = |(event, read): (&EventTimes, &Option<i64>)| {
        let said = event.said_ms.filter(|said| read.is_none() && is_unset(*said))?;
        Some(said.saturating_sub(event.boot_ms))
    };
    let unset = events.iter().zip(&ours).filter_map(unset).max();
    events
        .iter()
        .zip(&ours)
        .map(|(event, read)| match (read, unset) {
            (Some(offset), _) => Read::Ours(*offset),
            (None, Some(offset)) if event.said_ms.is_some_and(is_unset) => Read::Unset(offset),
            (None, _) => Read::Foreign,
        })
        .collect()
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

/// The offset that our clock had when this time was read, a moment before it came.
fn read_at_once(event: &EventTimes, known: &[i64]) -> Option<i64> {
    let (said, now) = (event.said_ms.unwrap_or(event.wall_ms), offset_of(event));
    let close =
        |offset: i64| said.abs_diff(event.boot_ms.saturating_add(offset)) <= SAME_CLOCK_MS.unsigned_abs();
    let present = known.iter().copied().find(|offset| is_one_clock(*offset, now)).filter(|_| close(now));
    // Read before the clock was set, sent after: told by the boot time.
    present.or_else(|| known.iter().copied().find(|offset| close(*offset)))
}

/// What our clock showed while a session was recorded.
struct Clocks<'a> {
    events: &'a [EventTimes],
    known: &'a [i64],
    first_ms: Option<i64>,
}

impl Clocks<'_> {
    /// The offset that our clock had when the player read this time, which it kept for a while: in this boot, while
    /// the clock can have had that offset, and as late as that fits.
    fn kept(&self, said: i64, event: &EventTimes) -> Option<i64> {
        let until = event.boot_ms.saturating_add(SAME_CLOCK_MS);
        let fits = |offset: &i64| {
            let at = said.saturating_sub(*offset);
            (0..=until).contains(&at) && self.may_show(*offset, at)
        };
        // A clock that nobody has set begins at 1970 with the boot, whether or not we have seen it.
        let unset = || Some(0).filter(|_| said < BUILT_MS && (0..=until).contains(&said));
        self.known.iter().copied().filter(fits).min().or_else(unset)
    }

    /// Whether our clock may have had this offset then: it had it when it was seen last before, or first after.
    fn may_show(&self, offset: i64, boot_ms: i64) -> bool {
        let next = self.events.partition_point(|event| event.boot_ms <= boot_ms);
        let before = next.checked_sub(1).and_then(|at| self.events.get(at)).map(offset_of).or(self.first_ms);
        let after = self.events.get(next).map(offset_of);
        before.into_iter().chain(after).any(|seen| is_one_clock(seen, offset))
    }
}

#[cfg(test)]
mod tests;
