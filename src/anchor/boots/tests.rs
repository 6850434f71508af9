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
    let stale = anchor(600, NOW - DAY, Source::Date, 10_000);
    let cases: [(&[Anchor], Option<Anchor>); 10] = [
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
        (&[new, date], Some(new)),
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
    assert_eq!(history(&[&boots[..], &[later]].concat()).floor_offset_ms(), NOW + HOUR + 1000);
    assert_eq!(history(&[]).floor_offset_ms(), BUILT_MS);

    assert_eq!(place(&[boot(1, HOUR, 0, &[])], 1), estimated(BUILT_MS, false), "nothing at all is known");
    assert_eq!(place(&[], 1), None);
    assert_eq!(history(&boots).floor_offset_ms(), NOW + HOUR);
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
