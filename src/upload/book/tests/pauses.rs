//! What makes a pause, how long it lasts, and which sessions are doubted meanwhile.

use super::*;

#[test]
fn three_in_a_row_that_reach_a_limit_are_a_pause() {
    // Contract section 11: three QUARANTINE in a row with one code, however each came to it.
    let limited = judged(Verdict::Backoff { limit: Some(10) }, "500");
    let small = judged(Verdict::Resize { max: None }, "413");
    for (judgement, between) in [(&limited, Some(&limited)), (&limited, None), (&small, None)] {
        let mut book = Book::default();
        for id in 1..=2 {
            assert_eq!(
                book.enter(&exhausted(id), judgement, BYTES, &Plain, at(0)).action,
                Action::Quarantine
            );
            if let Some(between) = between {
                assert_eq!(enter(&mut book, 10 + id, between, 0).action, waits(5 * SECOND, false, true));
            }
        }
        let third = book.enter(&exhausted(3), judgement, BYTES, &Plain, at(0));
        assert_eq!((third.action, third.requeue), (waits(0, false, false), vec![1, 2]));
        assert_held(&book, 0, Some((GateKind::Pause, 15 * MINUTE)));
    }
}

#[test]
fn a_pause_is_probed_ever_more_seldom() {
    // Contract section 11: after 15 min, doubling to 6 h.
    let mut book = Book::default();
    let mut now = 0;
    for minutes in [15, 30, 60, 120, 240, 360, 360] {
        enter(&mut book, 1, &judged(Verdict::Pause, "401"), now);
        assert_held(&book, now, Some((GateKind::Pause, minutes * MINUTE)));
        // A second answer to what was sent together with the first is not a probe.
        enter(&mut book, 2, &judged(Verdict::Pause, "401"), now);
        assert_held(&book, now, Some((GateKind::Pause, minutes * MINUTE)));
        now += minutes * MINUTE;
        assert!(book.is_cautious(), "one at a time");
    }
    enter(&mut book, 1, &delivered(), now);
    assert_held(&book, now, None);
    assert!(!book.is_cautious());
    enter(&mut book, 3, &judged(Verdict::Pause, "401"), now);
    assert_held(&book, now, Some((GateKind::Pause, 15 * MINUTE)));
}

#[test]
fn three_refused_in_a_row_for_one_reason_are_a_pause() {
    // Each row: (session, judgement) in turn, and whether the last of them pauses and takes the others back.
    let bad = || refused("400");
    let other = || refused("422");
    type Case = (&'static str, Vec<(i64, Judgement)>, Option<Vec<i64>>);
    let cases: [Case; 9] = [
        ("three", vec![(1, bad()), (2, bad()), (3, bad())], Some(vec![1, 2])),
        ("two", vec![(1, bad()), (2, bad())], None),
        ("one of them twice", vec![(1, bad()), (1, bad()), (2, bad())], None),
        ("different reasons", vec![(1, bad()), (2, other()), (3, bad())], None),
        ("a delivery between", vec![(1, bad()), (2, bad()), (4, delivered()), (3, bad())], None),
        (
            "another verdict between",
            vec![(1, bad()), (2, bad()), (4, judged(Verdict::Backoff { limit: None }, "502")), (3, bad())],
            None,
        ),
        ("no network between", vec![(1, bad()), (2, bad()), (4, unreached()), (3, bad())], Some(vec![1, 2])),
        ("told to wait between", vec![(1, bad()), (2, bad()), (4, told(1)), (3, bad())], Some(vec![1, 2])),
        (
            "after two of another reason",
            vec![(8, other()), (9, other()), (1, bad()), (2, bad()), (3, bad())],
            Some(vec![1, 2]),
        ),
    ];
    for (name, steps, requeued) in cases {
        let mut book = Book::default();
        let mut last = None;
        for (id, judgement) in &steps {
            last = Some(enter(&mut book, *id, judgement, 0));
        }
        let last = last.unwrap();
        assert_eq!(last.requeue, requeued.clone().unwrap_or_default(), "{name}");
        let expected = if requeued.is_some() { waits(0, false, false) } else { Action::Quarantine };
        assert_eq!(last.action, expected, "{name}");
        let paused = book.held(&at(0)).is_some_and(|(gate, _)| gate.kind == GateKind::Pause);
        assert_eq!(paused, requeued.is_some(), "{name}");
    }
}

/// A book in which sessions 1 to 3 were refused for the same reason.
fn suspicious() -> Book {
    let mut book = Book::default();
    for id in 1..=3 {
        enter(&mut book, id, &refused("400"), 0);
    }
    assert_eq!(book.doubted(), [1, 2, 3]);
    book
}

#[test]
fn after_a_pause_others_go_first_and_clear_the_way() {
    let mut book = suspicious();
    let now = 15 * MINUTE;
    assert_eq!(enter(&mut book, 4, &delivered(), now).action, receipt());
    assert_held(&book, now, None);
    assert!(book.doubted().is_empty() && !book.is_cautious());
    // So the fault was theirs: each is set apart, and no more of a pause comes of it.
    for id in 1..=3 {
        let expected = Consequence { action: Action::Quarantine, requeue: Vec::new(), outage_over: false };
        assert_eq!(enter(&mut book, id, &refused("400"), now), expected);
    }
    assert_held(&book, now, None);
    assert_eq!(
        enter(&mut book, 1, &refused("400"), now).action,
        Action::Quarantine,
        "and may be tried again"
    );
}

#[test]
fn as_long_as_everything_is_refused_the_pause_goes_on_and_nothing_is_set_apart() {
    let mut book = suspicious();
    let mut now = 15 * MINUTE;
    for (id, minutes) in [(4, 30), (5, 60), (1, 120), (1, 240)] {
        let consequence = enter(&mut book, id, &refused("400"), now);
        let kept = Consequence { action: waits(0, false, false), requeue: Vec::new(), outage_over: false };
        assert_eq!(consequence, kept);
        assert_held(&book, now, Some((GateKind::Pause, minutes * MINUTE)));
        now += minutes * MINUTE;
    }
    assert_eq!(book.doubted(), [2, 3, 4, 5, 1]);
    // One of them gets through: it has been put right.
    enter(&mut book, 2, &delivered(), now);
    assert!(book.doubted().is_empty() && !book.is_cautious());
    assert_eq!(enter(&mut book, 3, &refused("400"), now).action, Action::Quarantine);
    assert_eq!(enter(&mut book, 4, &refused("400"), now).action, Action::Quarantine);
    assert_eq!(enter(&mut book, 5, &refused("400"), now).requeue, [3, 4], "a new streak is a new pause");
}

#[test]
fn one_session_that_asks_for_a_pause_by_itself_does_not_get_it_twice() {
    let mut book = Book::default();
    enter(&mut book, 1, &judged(Verdict::Pause, "403"), 0);
    assert_eq!(book.doubted(), [1]);
    enter(&mut book, 2, &delivered(), 15 * MINUTE);
    let tried = Outgoing { attempts: 1, ..session(1) };
    let again = book.enter(&tried, &judged(Verdict::Pause, "403"), BYTES, &Plain, at(15 * MINUTE));
    assert_eq!(again.action, waits(30 * MINUTE, false, false), "it waits alone, and is kept");
    assert_held(&book, 15 * MINUTE, None);
    // Should it concern all after all, the next one says so.
    enter(&mut book, 3, &judged(Verdict::Pause, "403"), 15 * MINUTE);
    assert_held(&book, 15 * MINUTE, Some((GateKind::Pause, 15 * MINUTE)));
    assert_eq!(book.doubted(), [3]);
    assert!(book.is_convicted(1));
}

#[test]
fn the_memory_is_bounded_and_survives_the_journal() {
    let mut book = suspicious();
    for id in 10..1000 {
        enter(&mut book, id, &refused("400"), 0);
    }
    assert_eq!(book.doubted().len(), SUSPECTS);
    assert_eq!(*book.doubted().last().unwrap(), 999);
    enter(&mut book, 1, &told(60), 0);
    let text = serde_json::to_string(&book).unwrap();
    assert_eq!(serde_json::from_str::<Book>(&text).unwrap(), book);
    // What an older version wrote is no reason to fail.
    assert_eq!(serde_json::from_str::<Book>(r#"{"gate":null,"failures":0}"#).unwrap(), Book::default());
}
