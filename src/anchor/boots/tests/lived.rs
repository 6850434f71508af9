//! Histories as they may be lived: random boots, suspends, steps of the clock and anchors, and what the journal sees of
//! them.

use proptest::prelude::*;

use super::*;
use crate::anchor::{EventTimes, Offsets, needs_clock, resolve};

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
    Foreign,
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
    let stamp =
        prop_oneof![Just(Stamp::None), (-4000..=0_i64).prop_map(Stamp::SameClock), Just(Stamp::Foreign)];
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

/// A lived history as the journal sees it: the boots, and of each its true start and its events with their true times.
fn recorded(all: &[Lived]) -> (History, Vec<(i64, Vec<EventTimes>)>) {
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
        let events = lived.events.iter().map(|(at, stamp)| {
            let boot_ms = moment(*at);
            let wall_ms = boot_ms + offset(boot_ms);
            let said_ms = match stamp {
                Stamp::None => None,
                Stamp::SameClock(ago) => Some(wall_ms + ago),
                Stamp::Foreign => Some(NOW - 4000 * DAY + boot_ms),
            };
            EventTimes { said_ms, wall_ms, boot_ms }
        });
        truth.push((start, events.collect()));
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
        for ((boot, lived), (start, events)) in history.boots.iter().zip(&all).zip(&truth) {
            let place = history.place(boot.id).unwrap();
            let offsets = Offsets {
                believed_ms: place.offset_ms,
                first_ms: Some(boot.first.wall_ms - boot.first.boot_ms),
            };
            let times = resolve(events, &offsets);
            let ours: Vec<(i64, i64)> = lived.events.iter().zip(events).zip(&times)
                .filter(|((event, _), _)| !matches!(event.1, Stamp::Foreign))
                .map(|((event, _), time)| {
                    let ago = if let Stamp::SameClock(ago) = event.1 { ago } else { 0 };
                    (start + lived.boot_ms(event.0) + ago, *time)
                })
                .collect();
            prop_assert_eq!(needs_clock(events, offsets.first_ms), !ours.is_empty());
            for pair in ours.windows(2) {
                prop_assert_eq!(pair[1].0 - pair[0].0, pair[1].1 - pair[0].1, "intervals are exact");
            }
            for (really, told) in &ours {
                prop_assert!(*told >= BUILT_MS - 4000, "{told} lies before this was made");
                if lived.anchored.is_some() {
                    prop_assert!(really.abs_diff(*told) < 1000, "{really} {told}");
                }
            }
            for ((event, recorded), time) in lived.events.iter().zip(events).zip(&times) {
                if matches!(event.1, Stamp::Foreign) {
                    prop_assert_eq!(recorded.said_ms, Some(*time), "another clock's stamps stay");
                }
            }
            // What waits or ages does so by the time that passed: suspends count, steps of a clock do not.
            let (last, now) = (history.boots.last().unwrap(), truth.last().unwrap().0 + all.last().unwrap().lasted_ms());
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
