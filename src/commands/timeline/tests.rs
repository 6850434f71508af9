use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::{text, timeline};

fn event(kind: &str, time: &str, playhead: u64, extra: Value) -> Value {
    let mut collection = json!({ "playhead": playhead });
    if let Some(extra) = extra.as_object() {
        collection.as_object_mut().unwrap().extend(extra.clone());
    }
    json!({
        "mediaEventType": format!("media.{kind}"),
        "mediaEventTimestamp": format!("2026-03-07T{time}Z"),
        "mediaCollection": collection,
    })
}

/// The media session of contract section 3, with an ad break, a chapter, buffering and an error added.
fn evening() -> Vec<Value> {
    let none = Value::Null;
    vec![
        event("sessionStart", "18:30:00.120", 0, json!({"sessionDetails": {"name": "ep-204417"}})),
        event("play", "18:30:00.940", 0, none.clone()),
        event(
            "chapterStart",
            "18:30:01.000",
            0,
            json!({"chapterDetails": {"index": 1, "friendlyName": "Opening"}}),
        ),
        event("statesUpdate", "18:30:04.002", 3, json!({"statesStart": [{"name": "closedCaptioning"}]})),
        event("bufferStart", "18:30:10.000", 9, none.clone()),
        event("play", "18:30:13.000", 9, none.clone()),
        event(
            "error",
            "18:30:20.000",
            16,
            json!({"errorDetails": {"name": "segment-404", "source": "player"}}),
        ),
        event(
            "adBreakStart",
            "18:30:25.000",
            21,
            json!({"advertisingPodDetails": {"index": 1, "offset": 21}}),
        ),
        event(
            "adStart",
            "18:30:25.100",
            21,
            json!({"advertisingDetails": {"name": "ad-7", "friendlyName": "Tea"}}),
        ),
        event("adComplete", "18:30:35.000", 21, none.clone()),
        event("adBreakComplete", "18:30:35.100", 21, none.clone()),
        event("play", "18:30:35.200", 21, none.clone()),
        event("statesUpdate", "18:30:38.000", 24, json!({"statesEnd": [{"name": "closedCaptioning"}]})),
        event("chapterComplete", "18:30:41.000", 27, none.clone()),
        event("pauseStart", "18:30:41.500", 27, none.clone()),
        event("play", "18:31:10.010", 60, none.clone()),
        event("ping", "18:31:20.011", 70, none.clone()),
        event("sessionComplete", "18:31:40.000", 90, none),
    ]
}

fn draw(events: &[Value]) -> String {
    let drawn = timeline(events, 80, &TimeZone::UTC);
    for line in drawn.lines() {
        assert!(text::width(line) <= 80, "{line}");
    }
    drawn
}

#[test]
fn an_evening_with_everything() {
    insta::assert_snapshot!(draw(&evening()), @r"
          1:30 ┤                                                               •••••
               │                                                       ••••••••
               │                                               ••••••••
          0:51 ┤                                               │
               │                                               │
               │                •••••••••••••••••••••••••••••••
               │     •••••••••••
          0:00 ┤•••••
               └────────────────────────────────────────────────────────────────────
                18:30:00                      18:30:50                      18:31:40
    paused                                 ├──────────────────┤
    buffering         ├─┤
    ad breaks                   ├1─────┤
    ads                         ├Tea───┤
    chapters    ├Opening───────────────────┤
    errors                   ×
    closedCap…    ├──────────────────────┤
      18:30:20  × segment-404 (player) at 0:16
    ");
}

#[test]
fn times_are_those_of_the_zone() {
    let drawn = timeline(&evening(), 80, &TimeZone::fixed(jiff::tz::offset(1)));
    assert!(drawn.contains("19:30:00") && drawn.contains("19:31:40"), "{drawn}");
}

#[test]
fn nothing_to_draw() {
    assert_eq!(draw(&[]), "");
    assert_eq!(draw(&[json!({"mediaEventType": "media.ping"}), json!(7)]), "");
}

#[test]
fn a_lone_start() {
    insta::assert_snapshot!(draw(&evening()[..1]), @r"
    0:00 ┤•
         └────────────────────────────────────────────────────────────────────
          18:30:00
    ");
}

#[test]
fn what_was_cut_off_stays_open_to_the_right() {
    let mut events = evening();
    events.truncate(9);
    insta::assert_snapshot!(draw(&events), @r"
          0:21 ┤                                                               •••••
               │                                                       ••••••••
               │                                               ••••••••
          0:12 ┤                                       ••••••••
               │                       ••••••••••••••••
               │               ••••••••
               │       ••••••••
          0:00 ┤•••••••
               └────────────────────────────────────────────────────────────────────
                18:30:00                      18:30:12                      18:30:25
    buffering                             ├───────┤
    ad breaks                                                                     ├→
    ads                                                                            │
    chapters      ├Opening─────────────────────────────────────────────────────────→
    errors                                                           ×
    closedCap…            ├────────────────────────────────────────────────────────→
      18:30:20  × segment-404 (player) at 0:16
    ");
}

#[test]
fn a_seek_is_a_line_up_or_down() {
    let none = Value::Null;
    let events = [
        event("sessionStart", "18:30:00.000", 0, none.clone()),
        event("play", "18:30:00.100", 0, none.clone()),
        event("pauseStart", "18:30:30.000", 30, none.clone()),
        event("play", "18:30:31.000", 500, none.clone()),
        event("pauseStart", "18:31:01.000", 530, none.clone()),
        event("play", "18:31:02.000", 10, none.clone()),
        event("sessionEnd", "18:31:30.000", 38, none),
    ];
    insta::assert_snapshot!(draw(&events), @r"
          8:50 ┤                        •••••••••••••••••••••••
               │                        │                      │
               │                        │                      │
          5:02 ┤                        │                      │
               │                        │                      │
               │                        │                      │
               │                        │                      │                   •
          0:00 ┤••••••••••••••••••••••••                       ••••••••••••••••••••
               └────────────────────────────────────────────────────────────────────
                18:30:00                      18:30:45                      18:31:30
    paused                            ├┤                     ├┤
    ");
}

#[test]
fn a_live_session_is_drawn_around_its_second_of_the_day() {
    let events = [
        event("sessionStart", "18:30:00.000", 66600, Value::Null),
        event("play", "18:30:01.000", 66600, Value::Null),
        event("ping", "18:40:01.000", 67200, Value::Null),
        event("sessionEnd", "20:30:00.000", 73800, Value::Null),
    ];
    let drawn = draw(&events);
    assert!(drawn.contains("18:30:00 ┤•"), "{drawn}");
    assert!(drawn.contains("20:30:00 ┤"), "{drawn}");
}

#[test]
fn names_that_attack_or_do_not_fit() {
    let events = [
        event("sessionStart", "18:30:00.000", 0, Value::Null),
        event("play", "18:30:00.000", 0, Value::Null),
        event(
            "chapterStart",
            "18:30:00.100",
            0,
            json!({"chapterDetails": {"friendlyName": "\u{1b}[2J長い潮の話".repeat(20)}}),
        ),
        event(
            "statesUpdate",
            "18:30:01.000",
            1,
            json!({"statesStart": [{"name": "\u{1b}]0;x\u{7}長い潮の話とその他"}]}),
        ),
        event(
            "error",
            "18:30:02.000",
            2,
            json!({"errorDetails": {"name": "x\n\u{1b}[31m".repeat(40), "source": "player"}}),
        ),
        event("chapterComplete", "18:30:09.000", 9, Value::Null),
        event("sessionEnd", "18:30:10.000", 10, Value::Null),
    ];
    let drawn = draw(&events);
    assert!(drawn.chars().all(|c| c == '\n' || !c.is_control()), "{drawn:?}");
}

#[test]
fn combining_marks_and_wide_letters_keep_the_end_of_a_bar_in_its_column() {
    let chapter = |name: &str| {
        draw(&[
            event("sessionStart", "18:30:00.000", 0, Value::Null),
            event("chapterStart", "18:30:00.000", 0, json!({"chapterDetails": {"friendlyName": name}})),
            event("chapterComplete", "18:30:05.000", 5, Value::Null),
            event("sessionEnd", "18:30:10.000", 10, Value::Null),
        ])
    };
    let ends = |drawn: String| {
        let line = drawn.lines().find(|line| line.starts_with("chapters")).unwrap().to_owned();
        assert!(line.ends_with('┤'), "{line}");
        text::width(&line)
    };
    let plain = ends(chapter("Opening"));
    for name in [
        "",
        "e\u{301}te\u{301}",
        "長い潮の話",
        "👩‍👩‍👧 at sea",
        "a very long name that is cut somewhere in the middle",
    ] {
        assert_eq!(ends(chapter(name)), plain, "{name}");
    }
}

#[test]
fn odd_times_do_no_harm() {
    let events = [
        event("sessionStart", "18:30:10.000", 0, Value::Null),
        event("play", "18:30:00.000", 5, Value::Null),
        json!({"mediaEventType": "media.ping", "mediaCollection": {"playhead": 7}}),
        json!({"mediaEventType": "media.ping", "mediaEventTimestamp": "9999-12-30T00:00:00Z", "mediaCollection": {"playhead": 1e300}}),
        json!({"mediaEventType": 7, "mediaEventTimestamp": "soon", "mediaCollection": []}),
    ];
    assert!(!draw(&events).is_empty());
    let earliest =
        json!({"mediaEventType": "media.sessionStart", "mediaEventTimestamp": "-009999-01-02T00:00:00Z"});
    assert!(!draw(&[earliest, events[3].clone()]).is_empty());
}

#[test]
fn a_narrow_screen_is_kept() {
    for line in timeline(&evening(), 60, &TimeZone::UTC).lines() {
        assert!(text::width(line) <= 60, "{line}");
    }
}
