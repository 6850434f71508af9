//! The metrics of contract section 9, computed from a list of events as its table says.
//!
//! Where the table leaves room, each reading is a figure of its own, and none of them may change.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use afterplay::event::EventType;

/// An event as the back end sees it.
#[derive(Debug, Clone)]
pub(crate) struct Seen<'s> {
    pub(crate) kind: EventType,
    pub(crate) at: i64,
    pub(crate) playhead: i64,
    pub(crate) bitrate: Option<i64>,
    pub(crate) dropped: Option<i64>,
    pub(crate) on: Cow<'s, [String]>,
    pub(crate) off: Cow<'s, [String]>,
}

/// Figures by name, with what a reading of it depends on. Times are in milliseconds.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    figures: BTreeMap<(&'static str, i64), i64>,
    /// Time in each state, and how often it began.
    states: BTreeMap<String, (i64, i64)>,
}

impl Metrics {
    fn add(&mut self, name: &'static str, amount: i64) {
        *self.figures.entry((name, 0)).or_default() += amount;
    }

    fn set(&mut self, name: &'static str, value: i64) {
        self.set_for(name, 0, value);
    }

    fn set_for(&mut self, name: &'static str, with: i64, value: i64) {
        self.figures.insert((name, with), value);
    }

    /// Names of the figures that differ; the time in a state may differ by so many milliseconds.
    pub(crate) fn differences(&self, other: &Metrics, state_slack: i64) -> Vec<String> {
        let differs = |name: &&(&str, i64)| self.figures.get(*name) != other.figures.get(*name);
        let names = self.figures.keys().chain(other.figures.keys());
        let mut different: Vec<String> =
            names.filter(differs).map(|(name, with)| format!("{name} ({with})")).collect();
        let states: BTreeSet<&String> = self.states.keys().chain(other.states.keys()).collect();
        for name in states {
            let same = match (self.states.get(name), other.states.get(name)) {
                (Some(a), Some(b)) => a.1 == b.1 && (a.0 - b.0).abs() <= state_slack,
                _ => false,
            };
            if !same {
                different.push(format!("state {name}"));
            }
        }
        different
    }
}

/// Percent of the length at which progress is marked.
const MARKERS: [i64; 5] = [10, 25, 50, 75, 95];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Waiting,
    Playing,
    Paused,
    Buffering,
}

/// What is going on after each event.
#[derive(Debug, Clone, Copy)]
struct Moment {
    mode: Mode,
    pod: bool,
    ad: bool,
    chapter: bool,
}

impl Moment {
    fn main(self) -> bool {
        self.mode == Mode::Playing && !self.pod
    }
}

fn moments(events: &[Seen<'_>]) -> Vec<Moment> {
    use EventType as T;
    let mut now = Moment { mode: Mode::Waiting, pod: false, ad: false, chapter: false };
    let follow = |event: &Seen<'_>| {
        match event.kind {
            T::Play => now.mode = Mode::Playing,
            T::PauseStart => now.mode = Mode::Paused,
            T::BufferStart => now.mode = Mode::Buffering,
            T::AdBreakStart => now.pod = true,
            T::AdBreakComplete => (now.pod, now.ad) = (false, false),
            T::AdStart => now.ad = now.pod,
            T::AdComplete | T::AdSkip => now.ad = false,
            T::ChapterStart => now.chapter = true,
            T::ChapterComplete | T::ChapterSkip => now.chapter = false,
            _ => {}
        }
        now
    };
    events.iter().map(follow).collect()
}

pub(crate) fn read(events: &[Seen<'_>], length: i64) -> Metrics {
    let moments = moments(events);
    let mut m = Metrics::default();
    counts(events, &mut m);
    times(events, &moments, &mut m);
    stalls(events, &moments, &mut m);
    positions(events, &moments, length, &mut m);
    quality(events, &mut m);
    states(events, &mut m);
    closing(events, &mut m);
    m
}

fn counts(events: &[Seen<'_>], m: &mut Metrics) {
    for event in events.iter().filter(|e| e.kind != EventType::Ping && e.kind != EventType::StatesUpdate) {
        m.add(event.kind.as_str(), 1);
    }
}

fn times(events: &[Seen<'_>], moments: &[Moment], m: &mut Metrics) {
    for (n, pair) in events.windows(2).enumerate() {
        let (spent, now) = (pair[1].at - pair[0].at, moments[n]);
        if now.mode == Mode::Playing {
            m.add("media time", spent);
            m.add(if now.pod { "break time" } else { "content time" }, spent);
            if now.ad {
                m.add("ad time, playing", spent);
            }
            if now.chapter && !now.pod {
                m.add("chapter time", spent);
            }
        }
        if now.ad {
            m.add("ad time", spent);
        }
        match now.mode {
            Mode::Paused => m.add("pause time", spent),
            Mode::Buffering => m.add("buffer time", spent),
            _ => {}
        }
    }
    m.set("estimated streams", m.figures.get(&("media time", 0)).copied().unwrap_or(0) / 1_800_000 + 1);
    let first = events.iter().zip(moments).find(|(e, now)| e.kind == EventType::Play && !now.pod);
    m.set("content start", first.map_or(-1, |(event, _)| event.at));
}

/// Three or more consecutive events of main content without movement of the playhead.
fn stalls(events: &[Seen<'_>], moments: &[Moment], m: &mut Metrics) {
    let after = |n: usize| moments[n].main();
    let before = |n: usize| n > 0 && moments[n - 1].main();
    let readings: [&dyn Fn(usize) -> bool; 3] = [&after, &before, &|n| after(n) || before(n)];
    for (reading, counts) in (0..).zip(readings) {
        let (mut count, mut time) = (0, 0);
        let mut run: Vec<usize> = Vec::new();
        for n in 0..=events.len() {
            let goes_on = n < events.len()
                && counts(n)
                && run.last().is_none_or(|last| events[*last].playhead == events[n].playhead);
            if goes_on {
                run.push(n);
                continue;
            }
            if run.len() >= 3 {
                count += 1;
                time += events[run[run.len() - 1]].at - events[run[0]].at;
            }
            run.clear();
            if n < events.len() && counts(n) {
                run.push(n);
            }
        }
        m.set_for("stalls", reading, count);
        m.set_for("stall time", reading, time);
    }
}

/// Unique time, progress and content segment.
fn positions(events: &[Seen<'_>], moments: &[Moment], length: i64, m: &mut Metrics) {
    let moved = |pair: &[Seen<'_>]| pair[1].playhead - pair[0].playhead;
    for tolerance in [1500, 3000, 10_000, i64::MAX] {
        let as_time_went = |pair: &[Seen<'_>]| {
            (1000 * moved(pair) - (pair[1].at - pair[0].at)).saturating_abs() <= tolerance
        };
        let (mut main, mut all) = (Vec::new(), Vec::new());
        for (n, pair) in events.windows(2).enumerate() {
            if moved(pair) > 0 && as_time_went(pair) {
                let interval = (pair[0].playhead, pair[1].playhead);
                all.push(interval);
                main.extend(moments[n].main().then_some(interval));
            }
        }
        for percent in MARKERS {
            let passed =
                |(from, to): &(i64, i64)| from * 100 < length * percent && length * percent <= to * 100;
            let passed = length > 0 && main.iter().any(passed);
            m.set_for("progress without jumps", 1000 * tolerance.min(10_001) + percent, i64::from(passed));
        }
        m.set_for("unique time", tolerance, union(main));
        m.set_for("unique time, paused or not", tolerance, union(all));
    }
    for percent in MARKERS {
        let reached = events.iter().find(|e| length > 0 && e.playhead * 100 >= length * percent);
        m.set_for("first event at", percent, reached.map_or(-1, |e| e.at));
    }
    m.set("segment from", events.iter().map(|e| e.playhead).min().unwrap_or(0));
    m.set("segment to", events.iter().map(|e| e.playhead).max().unwrap_or(0));
}

/// How much the intervals cover together.
fn union(mut intervals: Vec<(i64, i64)>) -> i64 {
    intervals.sort_unstable();
    let (mut covered, mut until) = (0, i64::MIN);
    for (from, to) in intervals {
        covered += (to - from.max(until)).max(0);
        until = until.max(to);
    }
    covered
}

fn quality(events: &[Seen<'_>], m: &mut Metrics) {
    let mut bitrate = None;
    for (n, event) in events.iter().enumerate() {
        bitrate = event.bitrate.or(bitrate);
        if event.bitrate.is_some() {
            m.add("bitrates told", 1);
        }
        if let (Some(bitrate), Some(next)) = (bitrate, events.get(n + 1)) {
            m.add("bitrate by time", bitrate * (next.at - event.at));
            m.add("time with a bitrate", next.at - event.at);
        }
    }
    m.set("dropped frames", events.iter().rev().find_map(|e| e.dropped).unwrap_or(-1));
}

fn states(events: &[Seen<'_>], m: &mut Metrics) {
    let mut open: BTreeMap<&str, i64> = BTreeMap::new();
    for event in events {
        for name in event.off.iter() {
            if let Some(since) = open.remove(name.as_str()) {
                m.states.entry(name.clone()).or_default().0 += event.at - since;
            }
        }
        for name in event.on.iter() {
            m.states.entry(name.clone()).or_default().1 += 1;
            open.entry(name).or_insert(event.at);
        }
    }
}

/// `secondsSinceLastCall`
fn closing(events: &[Seen<'_>], m: &mut Metrics) {
    let closes = |e: &Seen<'_>| matches!(e.kind, EventType::SessionComplete | EventType::SessionEnd);
    let first = events.iter().position(closes).unwrap_or(events.len() - 1);
    for (which, close) in [(0, first), (1, events.len() - 1)] {
        let ping = events[..=close].iter().rev().find(|e| e.kind == EventType::Ping);
        m.set_for("last ping to close", which, ping.map_or(-1, |ping| events[close].at - ping.at));
        let call = close.saturating_sub(1);
        m.set_for("last call to close", which, events[close].at - events[call].at);
    }
    m.set("session time", events[events.len() - 1].at - events[0].at);
}
