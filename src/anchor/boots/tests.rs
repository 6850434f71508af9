use proptest::prelude::*;

use super::*;
use crate::anchor::{EventTimes, Offsets, needs_clock, resolve};

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
/// Some time after this was made.
const NOW: i64 = BUILT_MS + 100 * DAY;

fn at(boot_ms: i64, wall_ms: i64) -> Reading {
    Reading { wall_ms, boot_ms }
}

/// A boot that lasted so long by a clock that was so far from boot time.
fn boot(id: i64, lasted: i64, own_offset: i64, anchors: &[Anchor]) -> Boot {
    let (first, last) = (at(1000, 1000 + own_offset), at(lasted, lasted + own_offset));
    Boot { id, first, last, anchors: anchors.to_vec() }
}

fn anchor(boot_ms: i64, wall_ms: i64, source: Source, uncertainty_ms: i64) -> Anchor {
    Anchor { boot_ms, wall_ms, source, uncertainty_ms }
}

fn kernel(boot_ms: i64, wall_ms: i64) -> Anchor {
    anchor(boot_ms, wall_ms, Source::Kernel, 10)
}

fn estimated(offset_ms: i64, settled: bool) -> Option<Place> {
    Some(Place { offset_ms, standing: Standing::Estimated, settled })
}

#[test]
fn the_anchor_that_counts_is_the_most_certain_of_the_latest() {
    let (old, new) = (kernel(10, NOW), kernel(2000, NOW + DAY));
    let date = anchor(500, NOW + DAY, Source::Date, 1200);
    let rtc = anchor(5, NOW - DAY, Source::Rtc, 60_000);
    let cases: [(&[Anchor], Option<Anchor>); 6] = [
        (&[], None),
        (&[rtc], Some(rtc)),
        (&[rtc, date], Some(date)),
        (&[date, rtc], Some(date)),
        (&[old, date], Some(old)),
        (&[old, date, new], Some(new)),
    ];
    for (anchors, counts) in cases {
        assert_eq!(boot(1, HOUR, 0, anchors).anchor(), counts.as_ref());
    }
}

#[test]
fn a_boot_without_an_anchor_lies_between_its_neighbours() {
    let known = |id, start: i64| boot(id, HOUR, start, &[kernel(1000, start + 1000)]);
    let history = |boots: &[Boot]| History { boots: boots.to_vec() };
    let place = |boots: &[Boot], id| history(boots).place(id);

    // Two clockless boots between two that are known: as late as fits, in order, one after the other.
    let boots = [known(1, NOW), boot(2, HOUR, 0, &[]), boot(3, 2 * HOUR, 0, &[]), known(4, NOW + DAY)];
    assert_eq!(place(&boots, 3), estimated(NOW + DAY - 2 * HOUR, true));
    assert_eq!(place(&boots, 2), estimated(NOW + DAY - 3 * HOUR, true));

    // A clock that nobody confirmed is believed if it fits in between.
    let own = NOW + 5 * HOUR;
    let boots = [known(1, NOW), boot(2, HOUR, own, &[]), known(3, NOW + DAY)];
    assert_eq!(place(&boots, 2), estimated(own, true));
    for wrong in [NOW + HOUR / 2, NOW + DAY - HOUR / 2, NOW + 9 * DAY] {
        let boots = [known(1, NOW), boot(2, HOUR, wrong, &[]), known(3, NOW + DAY)];
        assert_eq!(place(&boots, 2), estimated(NOW + DAY - HOUR, true), "{wrong}");
    }

    // Nothing is known later: the present clock if it looks right, else right after what is known.
    let boots = [known(1, NOW), boot(2, HOUR, 0, &[]), boot(3, 1000, NOW + DAY, &[])];
    assert_eq!(place(&boots, 2), estimated(NOW + DAY - HOUR, false));
    let looks_right = Place { offset_ms: NOW + DAY, standing: Standing::Assumed, settled: false };
    assert_eq!(place(&boots, 3), Some(looks_right));
    let boots = [known(1, NOW), boot(2, HOUR, 0, &[]), boot(3, 1000, 0, &[])];
    assert_eq!(place(&boots, 2), estimated(NOW + HOUR, false));
    assert_eq!(place(&boots, 3), estimated(NOW + 2 * HOUR, false));
    // Behind what has certainly passed, a clock is wrong even if it was set since this was made.
    let boots = [known(1, NOW), boot(2, 1000, NOW - DAY, &[])];
    assert_eq!(place(&boots, 2), estimated(NOW + HOUR, false));

    assert_eq!(place(&[boot(1, HOUR, 0, &[])], 1), estimated(BUILT_MS, false), "nothing at all is known");
    assert_eq!(place(&[], 1), None);
    assert_eq!(history(&boots).floor_ms(), NOW + HOUR);
}

#[test]
fn time_passes_by_boot_time_and_anchors_and_never_by_a_clock_alone() {
    let moment = |boot, boot_ms| Moment { boot, boot_ms, wall_ms: 0 };
    let unknown = |id, own| boot(id, HOUR, own, &[]);
    let known = |id, start: i64| boot(id, HOUR, start, &[kernel(1000, start + 1000)]);
    for (name, boots, passed) in [
        ("both known", vec![known(1, NOW), known(2, NOW + DAY)], DAY),
        ("a clock 56 years ahead", vec![known(1, NOW), unknown(2, NOW + 20_000 * DAY)], 2 * HOUR - 1000),
        ("a clock a day behind", vec![known(1, NOW), unknown(2, NOW - DAY)], 2 * HOUR - 1000),
        ("1970 then", vec![unknown(1, 0), known(2, NOW)], 2 * HOUR - 1000),
        ("anchors that contradict", vec![known(1, NOW), known(2, NOW - DAY)], 2 * HOUR - 1000),
        ("a boot in between", vec![unknown(1, 0), unknown(2, 0), unknown(3, 0)], 3 * HOUR - 1000),
        ("a known one too", vec![known(1, NOW), unknown(2, 0), known(3, NOW + 9 * DAY)], 9 * DAY),
    ] {
        let now = moment(boots.len() as i64, HOUR);
        let boots = History { boots };
        let at_anchor = if passed % DAY == 0 { HOUR } else { 1000 };
        assert_eq!(boots.since(&moment(1, at_anchor), &now), passed, "{name}");
    }
}

/// What really happened in one boot.
#[derive(Debug, Clone)]
struct Lived {
    /// From the boot before, and how long it lasted.
    pause_ms: i64,
    lasted_ms: i64,
    /// What the clock said at boot: 1970, a time that was kept, or the right one.
    begins: Begins,
    /// Moments (in thousandths of the boot) at which the clock was set, by how much it is off then.
    steps: Vec<(i64, i64)>,
    /// When an anchor was had, if ever, and how far off it was.
    anchored: Option<(i64, i64)>,
    /// Moments of events, and how the player stamps them.
    events: Vec<(i64, Stamp)>,
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
        begins,
        proptest::collection::vec((0..1000_i64, off), 0..2),
        proptest::option::of((0..1000_i64, -400..=400_i64)),
        proptest::collection::vec((0..1000_i64, stamp), 1..5),
    )
        .prop_map(|(pause_ms, lasted_ms, begins, mut steps, anchored, mut events)| {
            steps.sort_unstable_by_key(|step| step.0);
            events.sort_by_key(|event| event.0);
            Lived { pause_ms, lasted_ms, begins, steps, anchored, events }
        })
}

/// A lived history as the journal sees it: the boots, and of each its true start and its events with their true times.
fn recorded(all: &[Lived]) -> (History, Vec<(i64, Vec<EventTimes>)>) {
    let (mut history, mut truth) = (History::default(), Vec::new());
    let mut clock = NOW;
    for (id, lived) in (1..).zip(all) {
        let start = clock + lived.pause_ms;
        clock = start + lived.lasted_ms;
        let moment = |thousandths: i64| lived.lasted_ms * thousandths / 1000;
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
        let (first, last) = (reading(0), reading(lived.lasted_ms));
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
                .map(|((event, recorded), time)| {
                    let ago = if let Stamp::SameClock(ago) = event.1 { ago } else { 0 };
                    (start + recorded.boot_ms + ago, *time)
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
            // Boots follow one another, as long as one of two neighbours had to be put where it fits.
            let end = place.offset_ms + boot.last.boot_ms;
            if let Some((ended, settled)) = before.filter(|_| place.settled) {
                prop_assert!(!settled || place.offset_ms >= ended - 2000, "{} {ended}", place.offset_ms);
            }
            before = Some((end, place.settled));
        }
    }
}
