//! Histories as they may be lived: random boots, suspends, steps of the clock and anchors, and what the journal sees of
//! them.

use proptest::prelude::*;

use super::*;
use crate::anchor::{Basis, Context, EventTimes, Offsets, basis, resolve};

/// What really happened in one boot. Moments are thousandths of the time awake.
#[derive(Debug, Clone)]
struct Lived {
    /// From the boot before, and how long it was awake.
    pause_ms: i64,
    awake_ms: i64,
    /// When it slept, and for how long: boot time goes on, and nothing runs.
    suspends: Vec<(i64, i64)>,
    /// What the clock said at boot: 1970, a time that was kept, or the right one.
    begins: Begins,
    /// When the clock was set, and by how much it is off then.
    steps: Vec<(i64, i64)>,
    /// When an anchor was had, if ever, and how far off it was.
    anchored: Option<(i64, i64)>,
    /// When there were events, and how the player stamps them.
    events: Vec<(i64, Stamp)>,
}

impl Lived {
    /// Boot time of a moment. A suspend at the same moment is over by then.
    fn boot_ms(&self, thousandths: i64) -> i64 {
        let slept = self.suspends.iter().filter(|(at, _)| *at <= thousandths).map(|(_, slept)| slept);
        self.awake_ms * thousandths / 1000 + slept.sum::<i64>()
    }

    /// How long it lasted, asleep or awake.
    fn lasted_ms(&self) -> i64 {
        self.boot_ms(1000)
    }
}

#[derive(Debug, Clone, Copy)]
enum Begins {
    AtZero,
    Behind(i64),
    Right,
}

#[derive(Debug, Clone, Copy)]
enum Stamp {
    None,
    SameClock(i64),
    /// Read so long before it came.
    Kept(i64),
    /// Of another device's clock.
    Foreign,
    /// Of another clock that was never set.
    Unset,
}

/// What can be told of an event's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// This is when it was.
    Exactly(i64),
    /// It may have been read from one clock or another.
    Perhaps,
    /// It was so by another clock.
    AsGiven,
    /// It was not later.
    AtLatest(i64),
}

fn lived() -> impl Strategy<Value = Lived> {
    let begins =
        prop_oneof![Just(Begins::AtZero), (HOUR..400 * DAY).prop_map(Begins::Behind), Just(Begins::Right),];
    // Off by less than a second and more, a clock is not set: that is slewed, and ignored.
    let off = prop_oneof![
        Just(0),
        (-40_000..40_000_i64).prop_map(|off| off * 2000),
        Just(DAY),
        Just(-DAY),
        Just(56 * 365 * DAY)
    ];
    let stamp = prop_oneof![
        Just(Stamp::None),
        (-4000..=0_i64).prop_map(Stamp::SameClock),
        (5001..20 * HOUR).prop_map(Stamp::Kept),
        Just(Stamp::Foreign),
        Just(Stamp::Unset),
    ];
    (
        1000..30 * DAY,
        10_000..5 * DAY,
        proptest::collection::vec((0..1000_i64, 1..60 * DAY), 0..3),
        begins,
        proptest::collection::vec((0..1000_i64, off), 0..3),
        proptest::option::of((0..1000_i64, -400..=400_i64)),
        proptest::collection::vec((0..1000_i64, stamp), 1..5),
    )
        .prop_map(|(pause_ms, awake_ms, suspends, begins, mut steps, anchored, mut events)| {
            steps.sort_unstable_by_key(|step| step.0);
            events.sort_by_key(|event| event.0);
            Lived { pause_ms, awake_ms, suspends, begins, steps, anchored, events }
        })
}

/// The events of one boot, what can be told of each, and when the boot began.
struct Truth {
    start: i64,
    events: Vec<EventTimes>,
    told: Vec<Told>,
}

/// A lived history as the journal sees it, and what it was.
fn recorded(all: &[Lived]) -> (History, Vec<Truth>) {
    let (mut history, mut truth) = (History::default(), Vec::new());
    let mut clock = NOW;
    for (id, lived) in (1..).zip(all) {
        let start = clock + lived.pause_ms;
        clock = start + lived.lasted_ms();
        let moment = |thousandths: i64| lived.boot_ms(thousandths);
        let begins = match lived.begins {
            Begins::AtZero => 0,
            Begins::Behind(by) => start - by,
            Begins::Right => start,
        };
        let offset = |boot_ms: i64| {
            let step = lived.steps.iter().rev().find(|(at, _)| moment(*at) <= boot_ms);
            step.map_or(begins, |(_, off)| start + off)
        };
        // When the player read its clock, by boot time.
        let read = |at: i64, stamp: Stamp| match stamp {
            Stamp::SameClock(ago) => moment(at) + ago,
            Stamp::Kept(ago) => (moment(at) - ago).max(0),
            _ => moment(at),
        };
        let events: Vec<EventTimes> = lived
            .events
            .iter()
            .map(|(at, stamp)| {
                let boot_ms = moment(*at);
                let wall_ms = boot_ms + offset(boot_ms);
                let said_ms = match stamp {
                    Stamp::None => None,
                    Stamp::SameClock(ago) => Some(wall_ms + ago),
                    Stamp::Kept(_) => Some(read(*at, *stamp) + offset(read(*at, *stamp))),
                    Stamp::Foreign => Some(NOW + 4000 * DAY + boot_ms),
                    Stamp::Unset => Some(NOW - 6000 * DAY + boot_ms),
                };
                EventTimes { said_ms, wall_ms, boot_ms }
            })
            .collect();
        let by = |event: &EventTimes| event.wall_ms - event.boot_ms;
        let prompt = lived.events.iter().any(|(_, stamp)| matches!(stamp, Stamp::SameClock(_)));
        // What the clock may have shown then: what it was last seen to, or was next.
        let shown = |at: i64| {
            let before = events.iter().rfind(|event| event.boot_ms <= at).map(by);
            [before.unwrap_or(begins)]
                .into_iter()
                .chain(events.iter().find(|event| event.boot_ms > at).map(by))
        };
        // Whether a stamp that was read at this boot time cannot have been read at another.
        let sure = |at: i64, said: i64, event: &EventTimes| {
            let fits = |clock: &i64| {
                let at = said - clock;
                (-5000..=event.boot_ms + 5000).contains(&at) && shown(at).any(|shown| shown == *clock)
            };
            let mut possible: Vec<i64> = events.iter().map(by).chain([begins]).filter(fits).collect();
            possible.sort_unstable();
            possible.dedup();
            // Read before it was set and sent then, it may pass for one that was not kept.
            let prompt = |clock: i64| said.abs_diff(event.boot_ms + clock) <= 5000;
            possible == [offset(at)] && said - offset(at) == at && !events.iter().map(by).any(prompt)
        };
        let told = lived
            .events
            .iter()
            .zip(&events)
            .map(|((at, stamp), event)| match (stamp, event.said_ms) {
                (Stamp::Foreign, _) => Told::AsGiven,
                (Stamp::Unset, _) => Told::AtLatest(start + event.boot_ms),
                (Stamp::Kept(_), Some(said))
                    if !sure(read(*at, *stamp), said, event) || !(prompt || said < BUILT_MS) =>
                {
                    Told::Perhaps
                }
                _ => Told::Exactly(start + read(*at, *stamp)),
            })
            .collect();
        truth.push(Truth { start, events, told });
        let anchors = lived
            .anchored
            .map(|(at, error)| anchor(moment(at), start + moment(at) + error, Source::Date, 1000));
        let reading = |boot_ms| at(boot_ms, boot_ms + offset(boot_ms));
        let (first, last) = (reading(0), reading(lived.lasted_ms()));
        history.boots.push(Boot { id, first, last, anchors: anchors.into_iter().collect() });
    }
    (history, truth)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_clock_does_time_is_told_as_it_was(all in proptest::collection::vec(lived(), 1..5)) {
        let (history, truth) = recorded(&all);
        let mut before: Option<(i64, bool)> = None;
        for ((boot, lived), Truth { start, events, told }) in history.boots.iter().zip(&all).zip(&truth) {
            let place = history.place(boot.id).unwrap();
            let context = Context { first_ms: Some(boot.first.wall_ms - boot.first.boot_ms), whole: false };
            let times = resolve(events, &Offsets { believed_ms: place.offset_ms, context });
            let ours: Vec<(i64, i64)> = told.iter().zip(&times)
                .filter_map(|(told, time)| if let Told::Exactly(really) = told { Some((*really, *time)) } else { None })
                .collect();
            if !told.contains(&Told::Perhaps) {
                let guessed = told.iter().any(|told| matches!(told, Told::AtLatest(_)));
                let goes_by = if guessed { Basis::Guess } else if ours.is_empty() { Basis::Given } else { Basis::Clock };
                prop_assert_eq!(basis(events, &context), goes_by);
            }
            for pair in ours.windows(2) {
                prop_assert_eq!(pair[1].0 - pair[0].0, pair[1].1 - pair[0].1, "intervals are exact");
            }
            for (really, told) in &ours {
                prop_assert!(*told >= BUILT_MS - 4000, "{told} lies before this was made");
                if lived.anchored.is_some() {
                    prop_assert!(really.abs_diff(*told) < 1000, "{really} {told}");
                }
            }
            for ((event, told), time) in events.iter().zip(told).zip(&times) {
                match told {
                    Told::AsGiven => prop_assert_eq!(event.said_ms, Some(*time), "another clock's stamps stay"),
                    Told::AtLatest(at) => {
                        prop_assert!(*time >= BUILT_MS, "{time} lies before this was made");
                        if lived.anchored.is_some() {
                            prop_assert!(*time < at + 1000, "{time} is later than {at}");
                        }
                    }
                    Told::Exactly(_) | Told::Perhaps => {}
                }
            }
            // What waits or ages does so by the time that passed: suspends count, steps of a clock do not.
            let (last, now) = (history.boots.last().unwrap(), truth.last().unwrap().start + all.last().unwrap().lasted_ms());
            let end = Moment { boot: last.id, boot_ms: last.last.boot_ms, wall_ms: last.last.wall_ms };
            for (event, recorded) in lived.events.iter().zip(events) {
                let then = Moment { boot: boot.id, boot_ms: recorded.boot_ms, wall_ms: recorded.wall_ms };
                let (really, told) = (now - start - lived.boot_ms(event.0), history.since(&then, &end));
                prop_assert!((0..really + 1000).contains(&told), "{told} ms of {really} ms");
                if boot.id == last.id {
                    prop_assert_eq!(really, told);
                } else if lived.anchored.is_some() && last.anchor().is_some() {
                    prop_assert!(really.abs_diff(told) < 1000, "{told} ms of {really} ms");
                }
            }
            // Boots follow one another, as long as one of two neighbours had to be put where it fits.
            let end = place.offset_ms + boot.last.boot_ms;
            if let Some((ended, settled)) = before.filter(|_| place.settled) {
                prop_assert!(!settled || place.offset_ms >= ended - 2000, "{} {ended}", place.offset_ms);
            }
            before = Some((end, place.settled));
        }
    }
}
