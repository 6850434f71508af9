use super::*;

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
/// Some time after this was made.
const NOW: i64 = BUILT_MS + 100 * DAY;

fn event(said_ms: Option<i64>, wall_ms: i64, boot_ms: i64) -> EventTimes {
    EventTimes { said_ms, wall_ms, boot_ms }
}

fn offsets(believed_ms: i64) -> Offsets {
    Offsets { believed_ms, first_ms: None }
}

#[test]
fn one_offset_holds_for_the_session() {
    let cases: [(&str, i64, Vec<EventTimes>, Vec<i64>); 9] = [
        ("nothing", 0, vec![], vec![]),
        ("stamped on arrival", 4991, vec![event(None, 5000, 10), event(None, 6001, 1010)], vec![5000, 6000]),
        (
            "given times stay",
            4993,
            vec![event(Some(5100), 5000, 10), event(Some(6100), 6003, 1010)],
            vec![5100, 6100],
        ),
        (
            "a step in mid-session moves what came before it",
            4990 + DAY,
            vec![event(None, 5000, 10), event(Some(5900), 6000, 1010), event(None, 7000 + DAY, 2010)],
            vec![5000 + DAY, 5900 + DAY, 7000 + DAY],
        ),
        (
            "a step back too",
            4990 - DAY,
            vec![event(Some(5000), 5000, 10), event(Some(7000 - DAY), 7000 - DAY, 2010)],
            vec![5000 - DAY, 7000 - DAY],
        ),
        (
            "a small step moves all or none: the interval is what passed",
            6190,
            vec![event(Some(5000), 5000, 10), event(Some(7200), 7200, 1010)],
            vec![6200, 7200],
        ),
        (
            "another device's clock is not ours to move",
            500_000 + DAY,
            vec![event(Some(99_000_000), 500_000, 10), event(None, 501_000 + DAY, 1010)],
            vec![99_000_000, 501_000 + DAY],
        ),
        (
            "a slewed clock leaves given times alone",
            5890,
            vec![event(Some(5000), 5000, 10), event(Some(6000), 6900, 1010)],
            vec![5000, 6000],
        ),
        (
            "the trusted time may come after all of it",
            NOW,
            vec![event(Some(7), 7, 7), event(Some(1007), 1007, 1007)],
            vec![NOW + 7, NOW + 1007],
        ),
    ];
    for (name, believed, events, times) in cases {
        assert_eq!(resolve(&events, &offsets(believed)), times, "{name}");
    }
}

#[test]
fn a_stamp_from_before_the_clock_was_set_is_told_by_the_boot_time() {
    // The clock began at 1970 with the boot and was set when an hour had passed.
    let believed = NOW - HOUR;
    let late = event(Some(HOUR - 2000), NOW + 1000, HOUR + 1000);
    let known = [event(None, 5000, 5000), late];
    assert_eq!(resolve(&known, &offsets(believed)), [believed + 5000, NOW - 2000]);
    // The session itself began after the step, but the boot was first seen before.
    let first = Offsets { believed_ms: believed, first_ms: Some(0) };
    assert_eq!(resolve(&[late], &first), [NOW - 2000]);
    // Kept by the player for half an hour.
    let kept = event(Some(HOUR / 2), NOW + 1000, HOUR + 1000);
    assert_eq!(resolve(&[kept], &first), [NOW - HOUR / 2]);
    assert!(needs_clock(&[kept], Some(0)));
    // What cannot have been read in this boot, or has a date of its own, is somebody else's.
    for foreign in [-1, HOUR + 7000, BUILT_MS + 5, NOW - DAY] {
        let event = event(Some(foreign), NOW + 1000, HOUR + 1000);
        assert_eq!(resolve(&[event], &first), [foreign]);
        assert!(!needs_clock(&[event], Some(0)), "{foreign}");
    }
}

#[test]
fn years_and_leap_seconds_are_only_numbers() {
    // 2038-01-19T03:14:07Z, 2106-02-07T06:28:15Z: the ends of 32 bits, signed and not.
    for end in [(1_i64 << 31) * 1000, (1_i64 << 32) * 1000] {
        let events = [event(Some(end - 500), end - 500, 10), event(Some(end + 500), end + 500, 1010)];
        assert_eq!(resolve(&events, &offsets(end - 510)), [end - 500, end + 500]);
        let unset = [event(Some(10), 10, 10), event(Some(1010), 1010, 1010)];
        assert_eq!(resolve(&unset, &offsets(end - 510)), [end - 500, end + 500]);
    }
    // A leap second sets the clock back by one: a second more has passed than the stamps say.
    let events = [event(Some(NOW), NOW, 0), event(Some(NOW + 1000), NOW + 1000, 2000)];
    assert_eq!(resolve(&events, &offsets(NOW - 1000)), [NOW - 1000, NOW + 1000]);
}
