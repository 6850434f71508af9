use std::time::Duration;

use super::*;
use crate::event::EventType;

/// An event of a table: type, seconds, playhead.
fn event(n: usize, (kind, seconds, playhead): (EventType, f64, u64)) -> Event {
    #[expect(clippy::cast_possible_truncation, reason = "seconds of a table")]
    let at_ms = (seconds * 1000.0) as i64;
    let mut event = Event { origin: Origin::Recorded(n), ..Event::synthetic(kind, at_ms, playhead) };
    if kind == T::SessionStart {
        event.collection = r#"{"playhead":0,"sessionDetails":{"length":100000}}"#.into();
        event.bare = false;
    }
    event
}

fn events(table: &[(EventType, f64, u64)]) -> Vec<Event> {
    table.iter().enumerate().map(|(n, row)| event(n, *row)).collect()
}

/// Which rows are left out.
fn gone(table: &[(EventType, f64, u64)], level: Level) -> Vec<usize> {
    gone_of(&events(table), level)
}

fn gone_of(events: &[Event], level: Level) -> Vec<usize> {
    staying(events, level).iter().enumerate().filter(|(_, stays)| !**stays).map(|(n, _)| n).collect()
}

const GAP_50: Level = Level::Gap(50_000);

#[test]
fn s12_levels() {
    let numbers: Vec<_> = LEVELS.iter().map(|level| level.number()).collect();
    assert_eq!(numbers, [Some(0), Some(1), Some(2), Some(3), Some(4)]);
    assert!(LEVELS.is_sorted());
    assert_eq!(Level::Gap(7000).number(), None);
    let told: Vec<String> = LEVELS.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["whole", "ads to 10 s", "gaps to 50 s", "gaps to 120 s", "gaps to 300 s"]);
    assert_eq!(Level::Gap(1500).to_string(), "gaps to 1500 ms");
}

/// Contract section 12.3, one case a condition.
#[test]
fn s12_conditions_under_which_a_ping_may_go() {
    use EventType as T;
    type Case<'a> = (&'a str, Vec<(T, f64, u64)>, &'a [usize]);
    /// A session of pings 10 s apart up to the third ping, then what the case is about.
    fn steady(rest: &[(T, f64, u64)]) -> Vec<(T, f64, u64)> {
        let mut rows = vec![(T::SessionStart, 0.0, 0), (T::Play, 0.1, 0), (T::Ping, 10.1, 10)];
        rows.extend(rest);
        rows
    }
    let tail = [(T::Ping, 40.1, 40), (T::Ping, 50.1, 50), (T::SessionComplete, 60.1, 60)];
    let with_tail = |rows: &[(T, f64, u64)]| {
        let mut all = steady(rows);
        all.extend(tail);
        all
    };
    let cases: Vec<Case<'_>> = vec![
        ("all hold", with_tail(&[(T::Ping, 20.1, 20), (T::Ping, 30.1, 30)]), &[2, 3, 4, 5]),
        ("other types stay", with_tail(&[(T::BitrateChange, 20.1, 20)]), &[2, 4]),
        (
            "the last-but-one and the last event stay",
            steady(&[(T::Ping, 20.1, 20), (T::Ping, 30.1, 30), (T::Ping, 40.1, 40)]),
            &[2, 3],
        ),
        (
            "the last ping before a close stays, wherever it is",
            steady(&[
                (T::Ping, 20.1, 20),
                (T::Error, 25.1, 25),
                (T::Error, 26.1, 26),
                (T::SessionComplete, 27.1, 27),
                (T::Ping, 37.1, 37),
                (T::PauseStart, 38.1, 38),
                (T::SessionEnd, 39.1, 38),
            ]),
            &[2],
        ),
        ("a jump forward keeps both sides", with_tail(&[(T::Ping, 20.1, 28), (T::Ping, 30.1, 38)]), &[]),
        ("1.5 s off the clock is with it", with_tail(&[(T::Ping, 20.6, 21)]), &[2, 3, 4]),
        ("more is not", with_tail(&[(T::Ping, 18.5, 20)]), &[]),
        ("a jump back keeps both sides", with_tail(&[(T::Ping, 20.1, 5), (T::Ping, 30.1, 30)]), &[5]),
        (
            "a standstill keeps both sides",
            with_tail(&[(T::Ping, 20.1, 10), (T::Ping, 30.1, 10), (T::Ping, 38.0, 38)]),
            &[6],
        ),
        (
            "the gap stays within the level",
            steady(&[
                (T::Ping, 20.1, 20),
                (T::Ping, 30.1, 30),
                (T::Ping, 40.1, 40),
                (T::Ping, 50.1, 50),
                (T::Ping, 60.1, 60),
                (T::Ping, 70.1, 70),
                (T::SessionEnd, 80.1, 80),
            ]),
            &[2, 3, 4, 5, 7],
        ),
        (
            "three equal playheads in playback are a stall and stay one",
            with_tail(&[
                (T::BufferStart, 20.1, 20),
                (T::Play, 20.2, 20),
                (T::Ping, 20.3, 20),
                (T::Error, 20.4, 20),
            ]),
            &[2, 7],
        ),
        (
            "and none comes into being",
            with_tail(&[
                (T::Error, 10.8, 11),
                (T::PauseStart, 11.0, 11),
                (T::Ping, 20.0, 11),
                (T::Play, 21.0, 11),
                (T::Ping, 31.0, 21),
                (T::Ping, 39.0, 39),
            ]),
            &[2, 9],
        ),
        (
            "in a pause pings may go",
            with_tail(&[
                (T::PauseStart, 10.5, 10),
                (T::Ping, 12.0, 10),
                (T::Ping, 13.0, 10),
                (T::Play, 14.0, 10),
                (T::Ping, 24.0, 20),
            ]),
            &[2, 4, 5],
        ),
        (
            "a seek in a pause keeps both sides",
            with_tail(&[
                (T::PauseStart, 10.5, 10),
                (T::Ping, 11.0, 10),
                (T::Ping, 12.0, 30),
                (T::Ping, 13.0, 30),
                (T::Play, 14.0, 30),
                (T::Ping, 15.0, 31),
            ]),
            &[2, 6],
        ),
        (
            "an ad outside a break is main content",
            with_tail(&[
                (T::AdStart, 10.2, 10),
                (T::Ping, 15.0, 10),
                (T::Ping, 20.0, 10),
                (T::AdComplete, 25.0, 10),
            ]),
            &[],
        ),
    ];
    for (name, table, expected) in cases {
        assert_eq!(gone(&table, GAP_50), expected, "{name}");
    }
}

#[test]
fn s12_a_ping_with_qoe_stays() {
    let mut session = events(&[
        (T::SessionStart, 0.0, 0),
        (T::Play, 0.1, 0),
        (T::Ping, 10.1, 10),
        (T::Ping, 20.1, 20),
        (T::Ping, 30.1, 30),
        (T::SessionEnd, 40.1, 40),
    ]);
    assert_eq!(gone_of(&session, GAP_50), [2, 3]);
    session[2].bare = false;
    assert_eq!(gone_of(&session, GAP_50), [3]);
}

#[test]
fn s12_the_first_event_past_a_marker_stays() {
    let mut session = events(&[
        (T::SessionStart, 0.0, 0),
        (T::Play, 0.1, 0),
        (T::Ping, 9.1, 9),
        (T::Ping, 10.1, 10),
        (T::Ping, 20.1, 20),
        (T::Ping, 25.1, 25),
        (T::Ping, 30.1, 30),
        (T::Ping, 35.1, 35),
        (T::SessionEnd, 40.1, 40),
    ]);
    session[0].collection = r#"{"playhead":0,"sessionDetails":{"length":100}}"#.into();
    assert_eq!(gone_of(&session, GAP_50), [2, 4, 6], "10 and 25 percent");
    session[0].collection = r#"{"playhead":0,"sessionDetails":{"length":0}}"#.into();
    assert_eq!(gone_of(&session, GAP_50), [2, 3, 4, 5, 6], "no length, no markers");
}

#[test]
fn s12_every_holder_of_the_lowest_or_highest_playhead_stays() {
    let rows = [
        (T::SessionStart, 0.0, 7),
        (T::PauseStart, 0.1, 7),
        (T::Ping, 1.0, 6),
        (T::Ping, 2.0, 6),
        (T::Ping, 3.0, 7),
        (T::Ping, 4.0, 8),
        (T::Ping, 5.0, 8),
        (T::PauseStart, 6.0, 8),
        (T::SessionEnd, 7.0, 8),
    ];
    assert_eq!(gone(&rows, GAP_50), [4]);
}

/// Contract section 12.3, level 1.
#[test]
fn s12_ads_come_first() {
    let mut rows = vec![(T::SessionStart, 0.0, 0), (T::AdBreakStart, 0.1, 3), (T::AdStart, 0.2, 3)];
    rows.extend((1..=25).map(|s| (T::Ping, f64::from(s) + 0.2, 3)));
    rows.extend([(T::AdComplete, 26.2, 3), (T::AdBreakComplete, 26.3, 3), (T::Play, 26.4, 3)]);
    rows.extend((1_u32..=5).map(|s| (T::Ping, f64::from(s) + 26.4, u64::from(s) + 3)));
    rows.push((T::SessionEnd, 33.0, 9));
    let left: Vec<f64> = {
        let gone = gone(&rows, Level::Ads);
        rows.iter().enumerate().filter(|(n, _)| !gone.contains(n)).map(|(_, row)| row.1).collect()
    };
    assert_eq!(left[3..5], [10.2, 20.2]);
    assert_eq!(left.len(), rows.len() - 23);
    assert!(gone(&rows, Level::Whole).is_empty());
}

/// Contract section 8: a gap of ten minutes is never made.
#[test]
fn s08_ten_minutes_are_never_reached() {
    let mut rows = vec![(T::SessionStart, 0.0, 0), (T::PauseStart, 1.0, 5)];
    rows.extend((1..=20).map(|n| (T::Ping, 1.0 + 60.0 * f64::from(n), 5)));
    rows.extend([(T::Play, 1261.0, 5), (T::SessionEnd, 1262.0, 6)]);
    let session = events(&rows);
    for level in [Level::Gap(300_000), Level::Gap(540_000), Level::Gap(i64::MAX)] {
        let stays = staying(&session, level);
        let times: Vec<i64> = session.iter().zip(&stays).filter(|(_, s)| **s).map(|(e, _)| e.at_ms).collect();
        assert!(times.len() < session.len());
        assert!(times.windows(2).all(|w| w[1] - w[0] < 600_000), "{times:?}");
    }
}

/// Contract section 12.3: stop at the first level that fits.
#[test]
fn s12_no_further_than_the_room_demands() {
    let mut rows = vec![(T::SessionStart, 0.0, 0), (T::Play, 0.1, 0)];
    rows.extend((1..=200_u32).map(|n| (T::Ping, 0.1 + 10.0 * f64::from(n), u64::from(10 * n))));
    rows.extend([(T::AdBreakStart, 2000.2, 2000), (T::AdStart, 2000.3, 2000)]);
    rows.extend((1..=20_u32).map(|n| (T::Ping, 2000.3 + f64::from(n), 2000)));
    rows.extend([(T::AdComplete, 2020.5, 2000), (T::AdBreakComplete, 2020.6, 2000)]);
    rows.extend([(T::Ping, 2030.0, 2009), (T::SessionEnd, 2031.0, 2010)]);
    let session = events(&rows);
    let bytes = |level| {
        let stays = staying(&session, level);
        session.iter().zip(&stays).filter(|(_, s)| **s).map(|(e, _)| e.bytes() + 1).sum::<usize>()
    };
    let sizes: Vec<usize> = LEVELS.into_iter().map(bytes).collect();
    assert!(sizes.windows(2).all(|w| w[1] < w[0]), "{sizes:?}");
    let gap = |seconds| Thin::Gap(Duration::from_secs(seconds));
    let cases = [
        (Thin::AsNeeded, usize::MAX, Level::Whole),
        (Thin::AsNeeded, sizes[0], Level::Whole),
        (Thin::AsNeeded, sizes[0] - 1, Level::Ads),
        (Thin::AsNeeded, sizes[1], Level::Ads),
        (Thin::AsNeeded, sizes[1] - 1, GAP_50),
        (Thin::AsNeeded, sizes[2] - 1, Level::Gap(120_000)),
        (Thin::AsNeeded, sizes[3] - 1, Level::Gap(300_000)),
        (Thin::AsNeeded, 0, Level::Gap(300_000)),
        (Thin::Never, 0, Level::Whole),
        (gap(50), usize::MAX, GAP_50),
        (gap(60), usize::MAX, Level::Gap(60_000)),
        (gap(60), 0, Level::Gap(300_000)),
        (gap(540), 0, Level::Gap(540_000)),
    ];
    for (setting, room, level) in cases {
        let thinned = thin(session.clone(), setting, room);
        assert_eq!(thinned.level, level, "{setting:?} {room}");
        assert_eq!(thinned.removed, session.len() - thinned.events.len());
        if let Some(n) = level.number() {
            assert_eq!(thinned.events.iter().map(|e| e.bytes() + 1).sum::<usize>(), sizes[n]);
        }
    }
}

fn update(at_ms: i64, playhead: u64, starts: &[&str], ends: &[&str]) -> Event {
    let list = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
    Event {
        origin: Origin::Recorded(0),
        starts: list(starts),
        ends: list(ends),
        ..Event::synthetic(T::StatesUpdate, at_ms, playhead)
    }
}

/// Contract section 12.3: adjacent state updates.
#[test]
fn s12_state_updates_of_one_moment_go_together() {
    let a = update(1000, 5, &["mute"], &[]);
    let tail = [event(8, (T::Ping, 20.0, 6)), event(9, (T::SessionEnd, 30.0, 6))];
    let merged = |rest: &[Event]| {
        let (events, count) = merge_states([std::slice::from_ref(&a), rest, &tail].concat());
        assert_eq!(events.len() + count, rest.len() + 3);
        (count, events[0].collection.clone())
    };
    let (count, collection) = merged(&[update(1010, 5, &[], &["inFocus", "own"])]);
    assert_eq!(count, 1);
    assert_eq!(
        collection,
        r#"{"playhead":5,"statesStart":[{"name":"mute"}],"statesEnd":[{"name":"inFocus"},{"name":"own"}]}"#
    );
    let (count, collection) = merged(&[update(1004, 5, &["b"], &[]), update(1008, 5, &["c"], &["d"])]);
    assert_eq!((count, collection.matches("\"name\"").count()), (2, 4));
    for (name, other) in [
        ("too far apart", vec![update(1011, 5, &["b"], &[])]),
        ("another playhead", vec![update(1001, 6, &["b"], &[])]),
        ("a name twice", vec![update(1001, 5, &[], &["mute"])]),
        ("something else between", vec![event(1, (T::Ping, 1.001, 5)), update(1002, 5, &["b"], &[])]),
        ("something else in it", vec![Event { bare: false, ..update(1001, 5, &["b"], &[]) }]),
        ("counted from the first", vec![update(1011, 5, &["b"], &[]), update(1022, 5, &["c"], &[])]),
    ] {
        assert_eq!(merged(&other).0, 0, "{name}");
    }
    let play = |playhead| event(0, (T::Play, 0.9, playhead));
    let b = update(1001, 5, &["b"], &[]);
    let session = |playhead| [&[play(playhead), a.clone(), b.clone()], &tail[..]].concat();
    assert_eq!(merge_states(session(5)).1, 0, "three of a stall");
    assert_eq!(merge_states(session(4)).1, 1);
    assert_eq!(merge_states(session(4)[..4].to_vec()).1, 0, "the last-but-one event");
    assert_eq!(merge_states(session(4)[..3].to_vec()).1, 0, "the last event");
    assert_eq!(thin(session(4), Thin::AsNeeded, usize::MAX).merged, 0);
    assert_eq!(thin(session(4), Thin::AsNeeded, 0).merged, 1, "only on need");
}
