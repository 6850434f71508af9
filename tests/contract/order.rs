//! Sections 4, 7 and 8: times, order, start and end.

use afterplay::config::Thin;
use afterplay::event::EventType;
use afterplay::upload::payload::{self, PayloadError};
use afterplay::upload::{Built, Shape};
use serde_json::{Value, json};

use super::corpus::{self, START, Sent, recorded};
use super::{FACTS, Sandbox, WHOLE, build, events_of, kinds, row};

use EventType as T;

fn stamps(built: &Built) -> Vec<String> {
    let seconds = |event: &Value| event["mediaEventTimestamp"].as_str().unwrap()[17..].to_owned();
    events_of(built).iter().map(seconds).collect()
}

/// Section 4: UTC with three decimals; neighbours differ by 1 ms at least, by moving the later one; never reordered.
#[test]
fn s04_time() {
    let at = |kind, ms| Sent { at_ms: START + ms, ..row(kind, 0, Value::Null) };
    let cases: [(&str, &[(T, i64)], &[&str], &str); 5] = [
        ("as given", &[(T::SessionStart, 120), (T::Play, 940)], &["00.120Z", "00.940Z"], "sessionStart play"),
        (
            "one millisecond ripples",
            &[(T::SessionStart, 0), (T::Play, 0), (T::Error, 0), (T::PauseStart, 2), (T::Play, 9)],
            &["00.000Z", "00.001Z", "00.002Z", "00.003Z", "00.009Z"],
            "sessionStart play error pauseStart play",
        ),
        (
            "by time, not by arrival",
            &[(T::SessionStart, 0), (T::PauseStart, 30), (T::Play, 20)],
            &["00.000Z", "00.020Z", "00.030Z"],
            "sessionStart play pauseStart",
        ),
        (
            "of equal times, by arrival",
            &[(T::SessionStart, 0), (T::PauseStart, 20), (T::Play, 20)],
            &["00.000Z", "00.020Z", "00.021Z"],
            "sessionStart pauseStart play",
        ),
        (
            "7, rule 1: the start is first, whatever its time",
            &[(T::Play, 0), (T::SessionStart, 50), (T::Error, 60)],
            &["00.050Z", "00.051Z", "00.060Z"],
            "sessionStart play error",
        ),
    ];
    let sandbox = Sandbox::start();
    for (name, events, times, order) in cases {
        let events: Vec<Sent> = events.iter().map(|(kind, ms)| at(*kind, *ms)).collect();
        let built = build(&recorded(&events), WHOLE);
        assert_eq!(stamps(&built), times, "{name}");
        assert_eq!(kinds(&events_of(&built)).join(" "), order, "{name}");
        assert_eq!(sandbox.complaints(&built.body), [""; 0], "{name}");
    }
}

/// Section 4: times place a session in the past where it was; the years that can be written.
#[test]
fn s04_any_age_can_be_sent() {
    for (at_ms, first) in [
        (-86_400_000, "1969-12-31T00:00:00.000Z"),
        (0, "1970-01-01T00:00:00.000Z"),
        (START, "2026-03-07T18:30:00.000Z"),
        (4_102_444_800_000, "2100-01-01T00:00:00.000Z"),
    ] {
        let start = Sent { at_ms, ..row(T::SessionStart, 0, Value::Null) };
        assert_eq!(events_of(&build(&recorded(&[start]), WHOLE))[0]["mediaEventTimestamp"], first);
    }
}

/// A session of the given types, a second apart.
fn session(kinds: &[EventType]) -> Vec<Sent> {
    (0..).zip(kinds).map(|(second, kind)| row(*kind, second, Value::Null)).collect()
}

type Case<'a> = (&'a str, &'a [EventType], &'a str, &'a [(&'a str, &'a str)], &'a [&'a str]);

/// What is sent, which warnings there are and about which type, and what the sandbox still complains of.
fn hold(cases: &[Case<'_>]) {
    let sandbox = Sandbox::start();
    for (name, given, expected, warnings, complaints) in cases {
        let events = session(given);
        let built = build(&recorded(&events), WHOLE);
        assert_eq!(kinds(&events_of(&built)).join(" "), *expected, "{name}");
        let found: Vec<(&str, &str)> = built
            .warnings
            .iter()
            .map(|w| (w.code, given[w.event].as_str().trim_start_matches("media.")))
            .collect();
        assert_eq!(found, *warnings, "{name}");
        let said = sandbox.complaints(&built.body);
        assert_eq!(said.len(), complaints.len(), "{name}: {said:?}");
        assert!(said.iter().zip(*complaints).all(|(said, part)| said.contains(part)), "{name}: {said:?}");
    }
}

/// Section 7, rule 1.
#[test]
fn s07_a_session_starts_with_its_start() {
    for (events, error) in [
        (session(&[T::Play, T::Ping]), PayloadError::NoStart),
        (session(&[]), PayloadError::NoStart),
        (session(&[T::SessionStart, T::Play, T::SessionStart]), PayloadError::SecondStart),
    ] {
        assert_eq!(payload::build(&FACTS, &recorded(&events), &WHOLE), Err(error));
    }
}

/// Section 7, rules 2 and 3: `play` ends pauses, buffering and seeks; a pre-roll comes before the first one.
#[test]
fn s07_play_and_the_pre_roll_stay_as_they_are() {
    hold(&[
        (
            "rule 2",
            &[
                T::SessionStart,
                T::AdBreakStart,
                T::AdStart,
                T::AdComplete,
                T::AdBreakComplete,
                T::Play,
                T::SessionEnd,
            ],
            "sessionStart adBreakStart adStart adComplete adBreakComplete play sessionEnd",
            &[],
            &[],
        ),
        (
            "rule 3",
            &[T::SessionStart, T::Play, T::PauseStart, T::Play, T::BufferStart, T::Play, T::SessionComplete],
            "sessionStart play pauseStart play bufferStart play sessionComplete",
            &[],
            &[],
        ),
    ]);
}

/// Section 7, rule 4: without both ends all ad events of a break are ignored.
#[test]
fn s07_ads_outside_a_break() {
    hold(&[
        (
            "rule 4: an ad outside a break is sent as it is and told",
            &[T::SessionStart, T::Play, T::AdStart, T::AdComplete, T::SessionEnd],
            "sessionStart play adStart adComplete sessionEnd",
            &[("ad_outside_break", "adStart")],
            &["outside an ad break"],
        ),
        (
            "rule 4: a break gets its end before the next one begins",
            &[
                T::SessionStart,
                T::AdBreakStart,
                T::AdStart,
                T::AdComplete,
                T::AdBreakStart,
                T::AdBreakComplete,
            ],
            "sessionStart adBreakStart adStart adComplete adBreakComplete adBreakStart adBreakComplete",
            &[("ad_break_open", "adBreakStart")],
            &[],
        ),
        (
            "an end without a beginning is sent as it is and told",
            &[T::SessionStart, T::AdBreakComplete, T::SessionEnd],
            "sessionStart adBreakComplete sessionEnd",
            &[("no_ad_break", "adBreakComplete")],
            &["No ad break is open"],
        ),
    ]);
}

/// Section 7, rule 5.
#[test]
fn s07_two_open_ads() {
    hold(&[
        (
            "skipped before the next one",
            &[T::SessionStart, T::AdBreakStart, T::AdStart, T::AdStart, T::AdComplete, T::AdBreakComplete],
            "sessionStart adBreakStart adStart adSkip adStart adComplete adBreakComplete",
            &[("ad_open", "adStart")],
            &[],
        ),
        (
            "skipped before the end of the break",
            &[T::SessionStart, T::AdBreakStart, T::AdStart, T::AdBreakComplete],
            "sessionStart adBreakStart adStart adSkip adBreakComplete",
            &[("ad_open", "adStart")],
            &[],
        ),
    ]);
}

/// Section 7, rule 6.
#[test]
fn s07_overlapping_chapters() {
    hold(&[
        (
            "skipped before the next one",
            &[T::SessionStart, T::ChapterStart, T::ChapterStart, T::ChapterComplete],
            "sessionStart chapterStart chapterSkip chapterStart chapterComplete",
            &[("chapter_open", "chapterStart")],
            &[],
        ),
        (
            "a chapter may have a break in it",
            &[T::SessionStart, T::ChapterStart, T::AdBreakStart, T::ChapterComplete, T::AdBreakComplete],
            "sessionStart chapterStart adBreakStart chapterComplete adBreakComplete",
            &[],
            &[],
        ),
    ]);
}

/// Section 7, rule 7: an open state is no fault; section 6.1: ten names.
#[test]
fn s07_states_and_the_eleventh_name() {
    let names =
        |from: u32, to: u32| -> Value { (from..to).map(|n| json!({ "name": format!("s{n}") })).collect() };
    let sandbox = Sandbox::start();
    for (last, warnings) in [(names(0, 2), 0), (names(9, 10), 0), (names(9, 11), 1), (names(10, 14), 1)] {
        let events = [
            row(T::SessionStart, 0, Value::Null),
            row(T::StatesUpdate, 1, json!({ "statesStart": names(0, 10) })),
            row(T::StatesUpdate, 2, json!({ "statesStart": last })),
        ];
        let built = build(&recorded(&events), WHOLE);
        assert_eq!(built.warnings.len(), warnings, "{last}");
        assert!(built.warnings.iter().all(|w| w.code == "too_many_states" && w.event == 2));
        assert_eq!(events_of(&built)[2]["mediaCollection"]["statesStart"], last, "it is sent all the same");
        assert_eq!(sandbox.complaints(&built.body).is_empty(), warnings == 0);
    }
}

/// Section 7, rule 9 and the paragraph after it; section 13, line 22.
#[test]
fn s07_the_end() {
    hold(&[
        (
            "complete, then end",
            &[T::SessionStart, T::Play, T::SessionComplete, T::SessionEnd],
            "sessionStart play sessionComplete sessionEnd",
            &[],
            &[],
        ),
        (
            "13, line 22: events after the complete are kept in order",
            &[T::SessionStart, T::Play, T::SessionComplete, T::Ping, T::Error, T::SessionEnd],
            "sessionStart play sessionComplete ping error sessionEnd",
            &[],
            &[],
        ),
        (
            "after the end nothing counts: it is sent as it is and told",
            &[T::SessionStart, T::Play, T::SessionEnd, T::Play],
            "sessionStart play sessionEnd play",
            &[("after_end", "play")],
            &["Nothing counts after"],
        ),
        (
            "what is open is closed in the order of the SDK, before the end",
            &[
                T::SessionStart,
                T::ChapterStart,
                T::AdBreakStart,
                T::AdStart,
                T::SessionComplete,
                T::SessionEnd,
            ],
            "sessionStart chapterStart adBreakStart adStart adSkip adBreakComplete chapterSkip sessionComplete sessionEnd",
            &[("ad_open", "adStart"), ("ad_break_open", "adBreakStart"), ("chapter_open", "chapterStart")],
            &[],
        ),
        (
            "8: a crash invents no end",
            &[T::SessionStart, T::ChapterStart, T::AdBreakStart, T::AdStart],
            "sessionStart chapterStart adBreakStart adStart adSkip adBreakComplete chapterSkip",
            &[("ad_open", "adStart"), ("ad_break_open", "adBreakStart"), ("chapter_open", "chapterStart")],
            &[],
        ),
    ]);
}

/// Section 7, last sentence: 1 ms apart after the last real event.
#[test]
fn s07_synthetic_events_are_a_millisecond_apart() {
    let built =
        build(&recorded(&session(&[T::SessionStart, T::ChapterStart, T::AdBreakStart, T::AdStart])), WHOLE);
    assert_eq!(stamps(&built)[3..], ["03.000Z", "03.001Z", "03.002Z", "03.003Z"]);
    assert_eq!(built.synthetic, 3);
    // Right before an end they leave its time alone, unless the event before it is too near.
    let mut events = session(&[T::SessionStart, T::ChapterStart, T::SessionEnd]);
    assert_eq!(stamps(&build(&recorded(&events), WHOLE)), ["00.000Z", "01.000Z", "01.999Z", "02.000Z"]);
    events[2].at_ms = events[1].at_ms + 1;
    assert_eq!(stamps(&build(&recorded(&events), WHOLE)), ["00.000Z", "01.000Z", "01.001Z", "01.002Z"]);
}

/// Section 8: a gap of ten minutes is never made where there is a heartbeat, whatever is asked for.
#[test]
fn s08_ten_minutes_without_an_event() {
    let mut player = corpus::Player::start(0, json!({ "name": "n", "contentType": "VOD", "length": 9000 }));
    player.play();
    player.pass(1200);
    player.pause(1700);
    player.pass(1200);
    let events = player.end(T::SessionEnd);
    let gap = |seconds| Thin::Gap(std::time::Duration::from_secs(seconds));
    for thin in [Thin::AsNeeded, gap(540), gap(599), gap(600), gap(86_400)] {
        let built = build(&recorded(&events), Shape { budget: 0, thin });
        assert!(built.thinned > 300, "{thin:?}");
        let at = |event: &Value| {
            afterplay::event::unix_ms(event["mediaEventTimestamp"].as_str().unwrap()).unwrap()
        };
        let times: Vec<i64> = events_of(&built).iter().map(at).collect();
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] < 600_000), "{thin:?}");
    }
}

/// Section 8: a session that goes on says so, whatever the player said.
#[test]
fn s08_a_successor_resumes() {
    let events = session(&[T::SessionStart, T::Play]);
    let facts = payload::Facts { resumes: true, ..FACTS };
    let built = payload::build(&facts, &recorded(&events), &WHOLE).unwrap();
    assert_eq!(events_of(&built)[0]["mediaCollection"]["sessionDetails"]["hasResume"], true);
}
