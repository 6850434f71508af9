use proptest::prelude::*;

use super::*;

/// Events a second apart, the playhead moving with them.
fn session(kinds: &[EventType]) -> Vec<Event> {
    kinds
        .iter()
        .enumerate()
        .map(|(n, kind)| Event {
            origin: Origin::Recorded(n),
            ..Event::synthetic(*kind, 1000 * n as i64, n as u64)
        })
        .collect()
}

/// Short names of the result; synthetic ones in capitals, with their time.
fn told(repaired: &Repaired) -> String {
    let short = |event: &Event| {
        let name = event.kind.as_str().trim_start_matches("media.");
        match event.origin {
            Origin::Recorded(_) => name.to_owned(),
            Origin::Synthetic => format!("{}@{}", name.to_uppercase(), event.at_ms),
        }
    };
    repaired.events.iter().map(short).collect::<Vec<_>>().join(" ")
}

/// Contract section 7, rules 4 to 6 and 9, and the paragraph on what is still open at the end.
#[test]
fn s07_what_is_open_is_closed_before_the_event_that_ends_it() {
    type Case<'a> = (&'a str, &'a [T], &'a str, &'a [(&'a str, usize)]);
    let cases: &[Case<'_>] = &[
        ("nothing to do", &[T::SessionStart, T::Play, T::SessionEnd], "sessionStart play sessionEnd", &[]),
        (
            "rule 5: an ad before the next one",
            &[T::SessionStart, T::AdBreakStart, T::AdStart, T::AdStart, T::AdComplete, T::AdBreakComplete],
            "sessionStart adBreakStart adStart ADSKIP@2999 adStart adComplete adBreakComplete",
            &[("ad_open", 2)],
        ),
        (
            "rule 5: an ad before the end of its break",
            &[T::SessionStart, T::AdBreakStart, T::AdStart, T::AdBreakComplete],
            "sessionStart adBreakStart adStart ADSKIP@2999 adBreakComplete",
            &[("ad_open", 2)],
        ),
        (
            "rule 4: a break before the next one, its ad first",
            &[T::SessionStart, T::AdBreakStart, T::AdStart, T::AdBreakStart, T::AdBreakComplete],
            "sessionStart adBreakStart adStart ADSKIP@2998 ADBREAKCOMPLETE@2999 adBreakStart adBreakComplete",
            &[("ad_open", 2), ("ad_break_open", 1)],
        ),
        (
            "rule 6: a chapter before the next one",
            &[T::SessionStart, T::ChapterStart, T::ChapterStart, T::ChapterComplete],
            "sessionStart chapterStart CHAPTERSKIP@1999 chapterStart chapterComplete",
            &[("chapter_open", 1)],
        ),
        (
            "power cut: all three, 1 ms apart after the last event",
            &[T::SessionStart, T::ChapterStart, T::AdBreakStart, T::AdStart, T::Ping],
            "sessionStart chapterStart adBreakStart adStart ping ADSKIP@4001 ADBREAKCOMPLETE@4002 CHAPTERSKIP@4003",
            &[("ad_open", 3), ("ad_break_open", 2), ("chapter_open", 1)],
        ),
        (
            "before the closing event",
            &[T::SessionStart, T::ChapterStart, T::AdBreakStart, T::AdStart, T::SessionEnd],
            "sessionStart chapterStart adBreakStart adStart ADSKIP@3997 ADBREAKCOMPLETE@3998 CHAPTERSKIP@3999 sessionEnd",
            &[("ad_open", 3), ("ad_break_open", 2), ("chapter_open", 1)],
        ),
        (
            "complete and end: before the first of them",
            &[T::SessionStart, T::ChapterStart, T::SessionComplete, T::SessionEnd],
            "sessionStart chapterStart CHAPTERSKIP@1999 sessionComplete sessionEnd",
            &[("chapter_open", 1)],
        ),
        (
            "section 13, line 22: what the player closes after the complete is left to it",
            &[
                T::SessionStart,
                T::ChapterStart,
                T::AdBreakStart,
                T::AdStart,
                T::SessionComplete,
                T::AdComplete,
                T::ChapterComplete,
                T::SessionEnd,
            ],
            "sessionStart chapterStart adBreakStart adStart sessionComplete adComplete chapterComplete \
             ADBREAKCOMPLETE@6999 sessionEnd",
            &[("ad_break_open", 2)],
        ),
        (
            "opened after the complete",
            &[T::SessionStart, T::SessionComplete, T::ChapterStart],
            "sessionStart sessionComplete chapterStart CHAPTERSKIP@2001",
            &[("chapter_open", 2)],
        ),
        (
            "rule 4: an ad outside a break is left where it is",
            &[T::SessionStart, T::AdStart, T::AdComplete, T::Play],
            "sessionStart adStart adComplete play",
            &[("ad_outside_break", 1)],
        ),
        (
            "rule 5: closed all the same",
            &[T::SessionStart, T::AdStart, T::AdBreakStart, T::AdBreakComplete],
            "sessionStart adStart ADSKIP@1999 adBreakStart adBreakComplete",
            &[("ad_outside_break", 1), ("ad_open", 1)],
        ),
        (
            "closed and never opened",
            &[
                T::SessionStart,
                T::AdSkip,
                T::AdComplete,
                T::AdBreakComplete,
                T::ChapterSkip,
                T::ChapterComplete,
            ],
            "sessionStart adSkip adComplete adBreakComplete chapterSkip chapterComplete",
            &[("no_ad", 1), ("no_ad", 2), ("no_ad_break", 3), ("no_chapter", 4), ("no_chapter", 5)],
        ),
        (
            "rule 9: nothing after the end is mended or lost",
            &[T::SessionStart, T::ChapterStart, T::SessionEnd, T::ChapterComplete, T::AdStart, T::SessionEnd],
            "sessionStart chapterStart CHAPTERSKIP@1999 sessionEnd chapterComplete adStart sessionEnd",
            &[("chapter_open", 1), ("after_end", 3), ("after_end", 4), ("after_end", 5)],
        ),
        (
            "rule 9: the order of complete and end stays, a second complete is told",
            &[T::SessionStart, T::SessionComplete, T::SessionComplete, T::SessionEnd],
            "sessionStart sessionComplete sessionComplete sessionEnd",
            &[("complete_again", 2)],
        ),
        ("no events", &[], "", &[]),
    ];
    for (name, kinds, expected, warnings) in cases {
        let repaired = repair(session(kinds));
        assert_eq!(told(&repaired), *expected, "{name}");
        let found: Vec<_> = repaired.warnings.iter().map(|w| (w.code, w.event)).collect();
        assert_eq!(found, *warnings, "{name}");
        let synthetic = repaired.events.iter().filter(|e| e.origin == Origin::Synthetic).count();
        assert_eq!(repaired.synthetic, synthetic, "{name}");
    }
}

#[test]
fn a_synthetic_event_stands_where_its_neighbour_stands() {
    let mut events = session(&[T::SessionStart, T::ChapterStart, T::ChapterStart]);
    events[2].playhead = 300;
    let repaired = repair(events);
    assert_eq!(repaired.events[2].collection, r#"{"playhead":300}"#, "no jump that did not happen");
    assert_eq!(repaired.events[4].collection, r#"{"playhead":300}"#);
}

/// Contract section 6.1: at most ten distinct names, open or closed.
#[test]
fn s06_the_eleventh_state_name_is_told() {
    let update = |n: usize, starts: &[usize], ends: &[usize]| Event {
        starts: starts.iter().map(|s| format!("s{s}")).collect(),
        ends: ends.iter().map(|s| format!("s{s}")).collect(),
        ..session(&vec![T::StatesUpdate; n + 1])[n].clone()
    };
    let ten: Vec<usize> = (0..10).collect();
    let warnings = |events| repair(events).warnings.iter().map(|w| (w.code, w.event)).collect::<Vec<_>>();
    let first = update(0, &ten, &[]);
    assert_eq!(warnings(vec![first.clone(), update(1, &[], &ten), update(2, &[3, 9], &[])]), []);
    let found = warnings(vec![first, update(1, &[10, 11], &[4]), update(2, &[], &[12])]);
    assert_eq!(found, [("too_many_states", 1), ("too_many_states", 2)], "once an event");
}

proptest! {
    #[test]
    fn nothing_is_lost_and_what_can_be_closed_is_closed(
        choice in proptest::collection::vec(0..EventType::ALL.len(), 0..40),
    ) {
        let mut kinds = vec![T::SessionStart];
        kinds.extend(choice.into_iter().map(|n| EventType::ALL[n]).filter(|kind| *kind != T::SessionStart));
        let given = session(&kinds);
        let repaired = repair(given.clone());
        let mut recorded = repaired.events.clone();
        recorded.retain(|event| event.origin != Origin::Synthetic);
        prop_assert_eq!(recorded, given);

        let again: Vec<Event> = repaired
            .events
            .iter()
            .enumerate()
            .map(|(n, event)| Event { origin: Origin::Recorded(n), ..event.clone() })
            .collect();
        let again = repair(again);
        prop_assert_eq!(again.synthetic, 0, "a repaired session needs no repair");
        prop_assert!(again.warnings.iter().all(|w| !w.code.ends_with("_open")));
    }
}
