use super::*;

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
/// Some time after this was made.
const NOW: i64 = BUILT_MS + 100 * DAY;

fn event(said_ms: Option<i64>, wall_ms: i64, boot_ms: i64) -> EventTimes {
    EventTimes { said_ms, wall_ms, boot_ms }
}

fn offsets(believed_ms: i64) -> Offsets {
    Offsets { believed_ms, context: Context::default() }
}

fn first(first_ms: i64) -> Context {
    Context { first_ms: Some(first_ms), whole: false }
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
            vec![event(Some(NOW), 500_000, 10), event(None, 501_000 + DAY, 1010)],
            vec![NOW, 501_000 + DAY],
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
    let seen = Offsets { believed_ms: believed, context: first(0) };
    assert_eq!(resolve(&[late], &seen), [NOW - 2000]);
    // Kept by the player for half an hour; whether or not we have seen the clock before it was set.
    let kept = event(Some(HOUR / 2), NOW + 1000, HOUR + 1000);
    for context in [first(0), first(believed), Context { whole: true, ..first(believed) }] {
        assert_eq!(resolve(&[kept], &Offsets { believed_ms: believed, context }), [NOW - HOUR / 2]);
        assert_eq!(basis(&[kept], &context), Basis::Clock);
    }
    // What has a date of its own is somebody else's.
    for foreign in [SET_SINCE_MS, BUILT_MS - 1, BUILT_MS + 5, NOW - DAY] {
        let event = event(Some(foreign), NOW + 1000, HOUR + 1000);
        assert_eq!(resolve(&[event], &seen), [foreign]);
        assert_eq!(basis(&[event], &first(0)), Basis::Given, "{foreign}");
    }
}

#[test]
fn what_a_player_kept_is_of_the_clock_that_it_reads_now() {
    const SECOND: i64 = 1000;
    // Two days behind, and nobody has seen it otherwise.
    let behind = NOW - 2 * DAY - HOUR;
    let believed = NOW - HOUR;
    let late = |read: i64, came: i64| event(Some(behind + read), behind + came, came);
    let prompt = |at: i64| late(at - 20, at);
    let at = |boot_ms: i64| believed + boot_ms;
    let resolved =
        |events: &[EventTimes]| resolve(events, &Offsets { believed_ms: believed, context: first(behind) });
    let half = [late(HOUR, HOUR + 30 * SECOND), prompt(HOUR + 31 * SECOND)];
    assert_eq!(resolved(&half), [at(HOUR), at(HOUR + 31 * SECOND - 20)], "half a minute late");
    let hours = [prompt(HOUR), late(HOUR + 1, 6 * HOUR), late(5 * HOUR, 6 * HOUR)];
    assert_eq!(resolved(&hours), [at(HOUR - 20), at(HOUR + 1), at(5 * HOUR)], "for hours");
    assert_eq!(basis(&hours, &first(behind)), Basis::Clock);
    // Without a stamp that came at once it may be any clock's; so may one that was read before the boot.
    let alone = [late(HOUR, HOUR + 30 * SECOND)];
    assert_eq!(resolved(&alone), [behind + HOUR]);
    let earlier = [late(-1, HOUR), prompt(HOUR)];
    assert_eq!(resolved(&earlier), [behind - 1, at(HOUR - 20)]);
    // What we stamped on arrival says nothing of the player's clock.
    let ours = [late(HOUR, HOUR + 30 * SECOND), event(None, behind + 2 * HOUR, 2 * HOUR)];
    assert_eq!(resolved(&ours), [behind + HOUR, at(2 * HOUR)]);

    // Set an hour ahead when three hours had passed: what was read tells by which clock, where that was seen.
    let ahead = NOW;
    let set = |read: i64, came: i64| event(Some(ahead + read), ahead + came, came);
    let seen = Offsets { believed_ms: ahead, context: first(believed) };
    let came = set(5 * HOUR, 5 * HOUR);
    let before = event(Some(believed + 2 * HOUR), ahead + 5 * HOUR, 5 * HOUR);
    assert_eq!(resolve(&[set(4 * HOUR, 4 * HOUR), before, came], &seen)[1], ahead + 2 * HOUR);
    let after = set(3 * HOUR + HOUR / 2, 5 * HOUR);
    assert_eq!(resolve(&[set(3 * HOUR, 3 * HOUR), after, came], &seen)[1], after.said_ms.unwrap());
}

#[test]
fn no_stamp_of_a_clock_that_was_never_set_leaves_as_it_is() {
    let believed = NOW - HOUR;
    let offsets = |whole| Offsets { believed_ms: believed, context: Context { whole, ..first(believed) } };
    // 2009: the player's own clock began there, and it kept two events for a while.
    let old = 1_230_768_000_000;
    let events = [
        event(Some(old), NOW + 9000, HOUR + 9000),
        event(Some(old + 5000), NOW + 9000, HOUR + 9000),
        event(Some(old + 12_000), NOW + 19_000, HOUR + 19_000),
    ];
    assert_eq!(resolve(&events, &offsets(false)), [NOW + 4000, NOW + 9000, NOW + 16_000]);
    assert_eq!(basis(&events, &first(believed)), Basis::Guess);
    // An import of then.
    assert_eq!(resolve(&events, &offsets(true)), [old, old + 5000, old + 12_000]);
    assert_eq!(basis(&events, &offsets(true).context), Basis::Given);
    // Stamps that cannot be of one clock, or of any.
    for said in [-1, i64::MIN, HOUR + 7000, SET_SINCE_MS - 1] {
        let events = [event(Some(said), NOW + 1000, HOUR + 1000), events[2]];
        for time in resolve(&events, &offsets(false)) {
            assert!((BUILT_MS..=NOW + 19_000).contains(&time), "{said}: {time}");
        }
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
