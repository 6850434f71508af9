use super::*;

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
fn the_anchor_that_counts_is_the_most_certain_one_that_nothing_later_contradicts() {
    let (old, new) = (kernel(10, NOW), kernel(2000, NOW + DAY));
    let date = anchor(500, NOW + DAY, Source::Date, 1200);
    let rtc = anchor(5, NOW - DAY, Source::Rtc, 60_000);
    let agreeing = anchor(500, NOW + DAY - 1000, Source::Date, 1200);
    let stale = anchor(600, NOW - DAY, Source::Date, 10_000);
    let cases: [(&[Anchor], Option<Anchor>); 11] = [
        (&[], None),
        (&[rtc], Some(rtc)),
        (&[rtc, date], Some(date)),
        (&[date, rtc], Some(date)),
        // A claim that a later date contradicts is stale; so is a date that the kernel contradicts.
        (&[old, date], Some(date)),
        (&[old, date, new], Some(new)),
        (&[date, new], Some(new)),
        (&[stale, old], Some(old)),
        (&[old, stale, date], Some(date)),
        // As long as they agree, the more certain one counts, whichever came first.
        (&[new, agreeing], Some(new)),
        (&[agreeing, new], Some(new)),
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

    let later = boot(3, 1000, 0, &[]);
    let floor = (NOW + HOUR + 1000, Some(Source::Kernel));
    assert_eq!(history(&[&boots[..], &[later]].concat()).floor(), floor);
    assert_eq!(history(&[]).floor(), (BUILT_MS, None));

    assert_eq!(place(&[boot(1, HOUR, 0, &[])], 1), estimated(BUILT_MS, false), "nothing at all is known");
    assert_eq!(place(&[], 1), None);
    assert_eq!(history(&boots).floor().0, NOW + HOUR);
}

/// A boot that lasted an hour, anchored at its start by this one.
fn by(source: Source, id: i64, start: i64) -> Boot {
    boot(id, HOUR, start, &[anchor(1000, start + 1000, source, 10)])
}

#[test]
fn only_what_is_sure_holds_later_boots_back() {
    use Source::{Date, Kernel, Rtc};
    const YEAR: i64 = 365 * DAY;
    for (name, before, floor) in [
        ("nothing", vec![], (BUILT_MS, None)),
        ("a kernel", vec![by(Kernel, 1, NOW)], (NOW + HOUR, Some(Kernel))),
        (
            "a date, and a boot since",
            vec![by(Date, 1, NOW), boot(2, 1000, 0, &[])],
            (NOW + HOUR + 1000, Some(Date)),
        ),
        (
            "56 years ahead",
            vec![by(Date, 1, NOW), by(Kernel, 2, NOW + 56 * YEAR)],
            (NOW + 2 * HOUR, Some(Date)),
        ),
        ("56 years ahead and nothing else", vec![by(Kernel, 1, NOW + 56 * YEAR)], (BUILT_MS + HOUR, None)),
        ("56 years, by a date", vec![by(Date, 1, NOW + 56 * YEAR)], (NOW + 56 * YEAR + HOUR, Some(Date))),
        (
            "corrected since",
            vec![by(Kernel, 1, NOW + 3 * YEAR), by(Kernel, 2, NOW)],
            (NOW + HOUR, Some(Kernel)),
        ),
        ("a hardware clock", vec![by(Rtc, 1, NOW + YEAR)], (BUILT_MS + HOUR, None)),
    ] {
        let id = before.len() as i64 + 1;
        let mut history = History { boots: before };
        history.boots.push(boot(id, 5000, 0, &[]));
        assert_eq!(history.floor(), floor, "{name}");
        // A right clock is plausible after any of them, but for a hardware clock's word, which moves estimates only.
        let now = floor.0.max(NOW + DAY);
        history.boots.pop();
        history.boots.push(boot(id, 5000, now, &[]));
        let standing = history.place(id).unwrap().standing;
        assert_eq!(standing == Standing::Assumed, name != "a hardware clock", "{name}");
    }
}

#[test]
fn whoever_is_less_certain_is_held_to_those_who_are_more_so() {
    use Source::{Date, Kernel, Rtc};
    let end = NOW + HOUR;
    for (before, now, start, checked) in [
        // The present anchor lies before the last moment that was sure.
        (Date, Rtc, NOW - DAY, end),
        (Kernel, Rtc, NOW - DAY, end),
        (Rtc, Rtc, NOW - DAY, NOW - DAY),
        (Date, Kernel, NOW - DAY, end),
        (Kernel, Kernel, NOW - DAY, NOW - DAY),
        (Kernel, Date, NOW - DAY, NOW - DAY),
        (Date, Date, NOW - DAY, NOW - DAY),
        // After it.
        (Date, Rtc, NOW + DAY, NOW + DAY),
        (Date, Kernel, NOW + DAY, NOW + DAY),
    ] {
        let history = History { boots: vec![by(before, 1, NOW), by(now, 2, start)] };
        assert_eq!(history.checked_offset_ms(), Some(checked), "{before:?} {now:?} {start}");
    }
    let history = History { boots: vec![by(Kernel, 1, NOW), boot(2, HOUR, 0, &[])] };
    assert_eq!(history.checked_offset_ms(), None);
    for (wall, possible) in
        [(end + 5000, true), (end - 50_000, true), (end - 60_000, false), (BUILT_MS, false)]
    {
        assert_eq!(history.is_possible(&at(5000, wall)), possible, "{wall}");
    }
}

#[test]
fn what_cannot_be_undone_waits_for_time_that_surely_passed() {
    use Source::{Date, Kernel, Rtc};
    let moment = |boot, boot_ms| Moment { boot, boot_ms, wall_ms: 0 };
    let year = 365 * DAY;
    for (then, now, ahead, passed) in [
        (Date, Kernel, year, year),
        (Kernel, Date, year, year),
        (Date, Rtc, year, 2 * HOUR),
        (Rtc, Date, year, 2 * HOUR),
        (Date, Kernel, 56 * year, 2 * HOUR),
        (Date, Date, 56 * year, 56 * year),
    ] {
        let boots = vec![by(then, 1, NOW), by(now, 2, NOW + ahead)];
        let history = History { boots };
        assert_eq!(
            history.surely_since(&moment(1, 0), &moment(2, HOUR)),
            if passed == 2 * HOUR { passed } else { passed + HOUR },
            "{then:?} {now:?}"
        );
        assert_eq!(history.since(&moment(1, 0), &moment(2, HOUR)), ahead + HOUR, "{then:?} {now:?}");
    }
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

mod lived;
