//! Which pings may go, so that a payload fits and every metric stays what it was (contract section 12.3).
//!
//! A rule is stricter than the contract in four places, each because a metric could be read so that it would change:
//! the last ping before each close stays; a ping of a run of three equal playheads in main playback stays; outside main
//! playback the playhead must stand still or move with the clock; and over the gap that a ping leaves it must have done
//! so, too.

use std::fmt;

use super::shape::{Event, Origin, content_length};
use crate::config::Thin;
use crate::event::EventType as T;
use crate::json;

/// How far pings are thinned out, from nothing on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Every ping is there.
    Whole,
    /// Pings in ad breaks are up to 10 s apart.
    Ads,
    /// All pings are up to so many milliseconds apart.
    Gap(i64),
}

/// The levels in the order in which they are tried.
pub const LEVELS: [Level; 5] =
    [Level::Whole, Level::Ads, Level::Gap(50_000), Level::Gap(120_000), Level::Gap(300_000)];

/// The largest gap that pings in ad breaks leave at [`Level::Ads`].
const AD_GAP_MS: i64 = 10_000;
/// Ten minutes without an event close a session (contract section 8).
const TOO_LONG_MS: i64 = 600_000;
/// The playhead moves with the clock if it is not further off than this.
const WITH_THE_CLOCK_MS: i64 = 1500;
/// State updates that are not further apart may go in one event.
const MERGE_MS: i64 = 10;
/// Percent of the length at which progress is marked.
const MARKERS: [u64; 5] = [10, 25, 50, 75, 95];
/// Events without movement of the playhead that make a stall.
const STALL: usize = 3;

impl Level {
    /// Its number in the contract; none for a gap that is only in the configuration.
    pub fn number(self) -> Option<usize> {
        LEVELS.iter().position(|level| *level == self)
    }

    /// The largest gaps that may be left: in main content (and pauses), in ad breaks.
    fn gaps(self) -> (Option<i64>, Option<i64>) {
        match self {
            Level::Whole => (None, None),
            Level::Ads => (None, Some(AD_GAP_MS)),
            Level::Gap(ms) => {
                let ms = Some(ms.min(TOO_LONG_MS - 1));
                (ms, ms)
            }
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Level::Whole => f.write_str("whole"),
            Level::Ads => f.write_str("ads to 10 s"),
            Level::Gap(ms) if ms % 1000 == 0 => write!(f, "gaps to {} s", ms / 1000),
            Level::Gap(ms) => write!(f, "gaps to {ms} ms"),
        }
    }
}

/// The events that are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thinned {
    /// They, in order.
    pub events: Vec<Event>,
    /// How far it went.
    pub level: Level,
    /// Pings that are left out.
    pub removed: usize,
    /// State updates that went into the one before.
    pub merged: usize,
}

/// Thins out as far as the setting and the room for the events, in bytes with a comma after each, demand.
///
/// Every level starts from the whole session. Events that do not fit at the last one stay too large.
pub fn thin(events: Vec<Event>, setting: Thin, room: usize) -> Thinned {
    let levels = match setting {
        Thin::Never => vec![Level::Whole],
        Thin::AsNeeded => LEVELS.to_vec(),
        Thin::Gap(gap) => {
            let gap = Level::Gap(i64::try_from(gap.as_millis()).unwrap_or(i64::MAX));
            std::iter::once(gap).chain(LEVELS.into_iter().filter(|level| *level > gap)).collect()
        }
    };
    let (mut whole, mut merged) = (events, 0);
    let mut chosen = (Level::Whole, vec![true; whole.len()]);
    for (n, level) in levels.into_iter().enumerate() {
        if n == 1 {
            (whole, merged) = merge_states(whole);
        }
        let stays = staying(&whole, level);
        let size: usize = whole.iter().zip(&stays).filter(|(_, s)| **s).map(|(e, _)| e.bytes() + 1).sum();
        chosen = (level, stays);
        if size <= room {
            break;
        }
    }
    let (level, stays) = chosen;
    let removed = stays.iter().filter(|stays| !**stays).count();
    let mut stays = stays.into_iter();
    whole.retain(|_| stays.next().unwrap_or(true));
    Thinned { events: whole, level, removed, merged }
}

/// Which events stay at that level.
pub fn staying(events: &[Event], level: Level) -> Vec<bool> {
    let mut stays = vec![true; events.len()];
    let (main_gap, ad_gap) = level.gaps();
    if main_gap.is_none() && ad_gap.is_none() {
        return stays;
    }
    let fixed = fixed(events);
    let around = surroundings(events);
    let mut kept = Vec::with_capacity(events.len());
    for n in 0..events.len() {
        let gap = if around[n].in_break { ad_gap } else { main_gap };
        let may_go = match gap {
            Some(gap) if !fixed[n] => {
                let next = n + 1;
                let (Some(&before), true) = (kept.last(), next < events.len()) else {
                    kept.push(n);
                    continue;
                };
                events[next].at_ms.saturating_sub(events[before].at_ms) <= gap
                    && unmoved_by(events, &around, before, n)
                    && !in_a_run(events, &around, &kept, n)
                    && !makes_a_run(events, &around, &kept, next)
            }
            _ => false,
        };
        if may_go {
            stays[n] = false;
        } else {
            kept.push(n);
        }
    }
    stays
}

/// What stays whatever its neighbours are: all that is no bare ping, what holds the lowest or the highest playhead, the
/// first, the last and the last-but-one event, the last ping before each close, and the first event at or past each
/// progress marker.
fn fixed(events: &[Event]) -> Vec<bool> {
    let playheads = || events.iter().map(|event| event.playhead);
    let ends = [playheads().min(), playheads().max()];
    let stays = |e: &Event| e.kind != T::Ping || !e.bare || ends.contains(&Some(e.playhead));
    let mut fixed: Vec<bool> = events.iter().map(stays).collect();
    let last = events.len().saturating_sub(1);
    let closes = events.iter().enumerate().filter(|(n, event)| *n == last || closes(event)).map(|(n, _)| n);
    let last_pings = closes.filter_map(|close| events[..=close].iter().rposition(|e| e.kind == T::Ping));
    let length = content_length(events);
    let marked = MARKERS.into_iter().filter(|_| length > 0).filter_map(|percent| {
        let at = |event: &Event| u128::from(event.playhead) * 100 >= u128::from(length) * u128::from(percent);
        events.iter().position(at)
    });
    for n in last_pings.chain(marked).chain([0, last.saturating_sub(1), last]) {
        if let Some(fixed) = fixed.get_mut(n) {
            *fixed = true;
        }
    }
    fixed
}

fn closes(event: &Event) -> bool {
    matches!(event.kind, T::SessionComplete | T::SessionEnd)
}

/// What goes on around an event.
#[derive(Debug, Clone, Copy, Default)]
struct Around {
    /// Main content plays before it.
    before: bool,
    /// Main content plays after it.
    after: bool,
    /// An ad break is open after it.
    in_break: bool,
}

impl Around {
    fn main(self) -> bool {
        self.before || self.after
    }
}

/// An ad outside a break is booked as main content (contract section 7, rule 4), so it is none here.
fn surroundings(events: &[Event]) -> Vec<Around> {
    let (mut playing, mut in_break, mut main) = (false, false, false);
    events
        .iter()
        .map(|event| {
            match event.kind {
                T::Play => playing = true,
                T::PauseStart | T::BufferStart => playing = false,
                T::AdBreakStart => in_break = true,
                T::AdBreakComplete => in_break = false,
                _ => {}
            }
            let before = std::mem::replace(&mut main, playing && !in_break);
            Around { before, after: main, in_break }
        })
        .collect()
}

/// Whether nothing happens to the playhead at the `n`-th event that its neighbours would not tell without it.
fn unmoved_by(events: &[Event], around: &[Around], before: usize, n: usize) -> bool {
    let (a, b, c) = (&events[before], &events[n], &events[n + 1]);
    if !(a.playhead <= b.playhead && b.playhead <= c.playhead) {
        return false;
    }
    let stands = !around[n].main() && a.playhead == c.playhead;
    stands || [(a, b), (b, c), (a, c)].into_iter().all(|(a, b)| with_the_clock(a, b))
}

fn with_the_clock(a: &Event, b: &Event) -> bool {
    let moved = i64::try_from(b.playhead.saturating_sub(a.playhead)).unwrap_or(i64::MAX).saturating_mul(1000);
    moved.saturating_sub(b.at_ms.saturating_sub(a.at_ms)).saturating_abs() <= WITH_THE_CLOCK_MS
}

/// Whether it belongs to a run of equal playheads in main playback that is long enough for a stall.
fn in_a_run(events: &[Event], around: &[Around], kept: &[usize], n: usize) -> bool {
    around[n].main() && run_before(events, around, kept, n) + 1 + run_after(events, around, n + 1, n) >= STALL
}

/// Whether such a run begins to exist when `next` comes right after what is kept.
fn makes_a_run(events: &[Event], around: &[Around], kept: &[usize], next: usize) -> bool {
    around[next].main()
        && run_before(events, around, kept, next) > 0
        && run_before(events, around, kept, next) + run_after(events, around, next, next) >= STALL
}

/// How many of the last kept events stand where `n` stands, in main playback.
fn run_before(events: &[Event], around: &[Around], kept: &[usize], n: usize) -> usize {
    let same = |&&k: &&usize| around[k].main() && events[k].playhead == events[n].playhead;
    kept.iter().rev().take_while(same).count()
}

/// How many events from there on stand where `n` stands, in main playback.
fn run_after(events: &[Event], around: &[Around], from: usize, n: usize) -> usize {
    let same = |k: &usize| around[*k].main() && events[*k].playhead == events[n].playhead;
    (from..events.len()).take_while(same).count()
}

/// Puts state updates of one moment into one event, as far as no name comes twice, no stall changes, the last event
/// and the one before each close keep their times and no gap becomes too long.
fn merge_states(events: Vec<Event>) -> (Vec<Event>, usize) {
    let around = surroundings(&events);
    let places: Vec<usize> = (0..events.len()).collect();
    let mut merged = 0;
    let mut out: Vec<Event> = Vec::with_capacity(events.len());
    for n in 0..events.len() {
        let next_ms = events.get(n + 1).map_or(0, |next| next.at_ms);
        let last_ms = out.last().map_or(next_ms, |last| last.at_ms);
        let bound = n + 2 >= events.len()
            || closes(&events[n + 1])
            || next_ms - last_ms >= TOO_LONG_MS
            || in_a_run(&events, &around, &places[..n], n);
        match out.last_mut() {
            Some(last) if !bound && can_merge(last, &events[n]) => {
                *last = merge(last, &events[n]);
                merged += 1;
            }
            _ => out.push(events[n].clone()),
        }
    }
    (out, merged)
}

fn can_merge(a: &Event, b: &Event) -> bool {
    let both = [a, b];
    let names = || both.into_iter().flat_map(|event| event.starts.iter().chain(&event.ends));
    both.into_iter().all(|e| e.kind == T::StatesUpdate && e.bare && e.origin != Origin::Synthetic)
        && a.playhead == b.playhead
        && b.at_ms - a.at_ms <= MERGE_MS
        && names().all(|name| names().filter(|other| *other == name).count() == 1)
}

fn merge(a: &Event, b: &Event) -> Event {
    let list =
        |of: fn(&Event) -> &Vec<String>| -> Vec<String> { of(a).iter().chain(of(b)).cloned().collect() };
    let (starts, ends) = (list(|e| &e.starts), list(|e| &e.ends));
    let mut collection = format!("{{\"playhead\":{}", a.playhead);
    for (member, names) in [("statesStart", &starts), ("statesEnd", &ends)] {
        for (n, name) in names.iter().enumerate() {
            match n {
                0 => collection.push_str(&format!(",\"{member}\":[{{\"name\":")),
                _ => collection.push_str("},{\"name\":"),
            }
            json::quote_into(name, &mut collection);
        }
        collection.push_str(if names.is_empty() { "" } else { "}]" });
    }
    collection.push('}');
    Event { starts, ends, collection, ..a.clone() }
}

#[cfg(test)]
mod tests;
