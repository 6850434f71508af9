//! Section 12: budgets, levels and what they leave of the corpus.

use std::time::Duration;

use afterplay::config::Thin;
use afterplay::event::EventType;
use afterplay::upload::Shape;
use afterplay::upload::thin::{LEVELS, Level};
use serde_json::Value;

use super::corpus::{self, Sent, recorded};
use super::{Sandbox, WHOLE, build, events_of, row};

fn sizes(events: &[Sent]) -> Vec<usize> {
    let gap = |level| match level {
        Level::Gap(ms) => Thin::Gap(Duration::from_millis(ms.unsigned_abs())),
        _ => Thin::Never,
    };
    let size = |thin| build(&recorded(events), Shape { budget: usize::MAX - 1, thin }).body.len();
    LEVELS.into_iter().filter(|level| *level != Level::Ads).map(|level| size(gap(level))).collect()
}

/// Section 12.3: stop at the first level that fits; 12.4.1: what does not fit at the last goes as it is.
#[test]
fn s12_3_no_further_than_the_budget_demands() {
    for (name, events) in corpus::all().into_iter().filter(|(name, _)| *name != "live") {
        let sizes = sizes(&events);
        assert!(sizes.is_sorted_by(|a, b| a >= b), "{name}: {sizes:?}");
        for (budget, thin, level) in [
            (sizes[0], Thin::AsNeeded, Level::Whole),
            (usize::MAX - 1, Thin::AsNeeded, Level::Whole),
            (sizes[1], Thin::Gap(Duration::from_secs(50)), Level::Gap(50_000)),
            (0, Thin::AsNeeded, Level::Gap(300_000)),
            (0, Thin::Gap(Duration::from_secs(50)), Level::Gap(300_000)),
            (0, Thin::Never, Level::Whole),
        ] {
            let built = build(&recorded(&events), Shape { budget, thin });
            assert_eq!(built.level, level, "{name}, {budget} bytes, {thin:?}");
        }
        let whole = build(&recorded(&events), WHOLE).body.len();
        for budget in [whole - 1, whole * 4 / 5, whole / 2, whole / 5] {
            let built = build(&recorded(&events), Shape { budget, thin: Thin::AsNeeded });
            let last = built.level == Level::Gap(300_000);
            assert!(built.body.len() <= budget || last, "{name}: {} for {budget}", built.body.len());
        }
    }
}

/// Section 12.3, level 1: pings in ads go first.
#[test]
fn s12_3_ads_come_first() {
    let events = corpus::live();
    let whole = build(&recorded(&events), WHOLE);
    let built = build(&recorded(&events), Shape { budget: whole.body.len() - 1, thin: Thin::AsNeeded });
    assert_eq!(built.level, Level::Ads);
    // 128 ads of 20 s with a ping a second: all but one in ten of them, at most.
    assert!((2000..=2560).contains(&built.thinned), "{}", built.thinned);
}

/// Section 12.3: only bare pings are left out; all else is sent with every byte.
#[test]
fn s12_3_nothing_but_pings_is_left_out() {
    let sandbox = Sandbox::start();
    for (name, events) in corpus::all() {
        let whole = events_of(&build(&recorded(&events), WHOLE));
        let built = build(&recorded(&events), Shape { budget: 0, thin: Thin::AsNeeded });
        let left = events_of(&built);
        let mut rest = left.iter().peekable();
        let gone: Vec<&Value> = whole.iter().filter(|event| rest.next_if_eq(event).is_none()).collect();
        assert_eq!(rest.next(), None, "{name}");
        assert_eq!(gone.len(), built.thinned, "{name}");
        for event in gone {
            let bare = event["mediaCollection"].as_object().unwrap().len() == 1;
            assert!(event["mediaEventType"] == "media.ping" && bare, "{name}: {event}");
        }
        assert_eq!(sandbox.findings(&built.body), [], "{name}");
    }
}

/// Section 12.3, last paragraph: the figures of the contract's own sessions, which these resemble.
#[test]
fn s12_3_thinning_is_worth_it() {
    for (name, events, at_50, at_300) in [
        ("episode", corpus::episode(), 45, 30),
        ("film", corpus::film(), 35, 20),
        ("live", corpus::live(), 40, 30),
    ] {
        let sizes = sizes(&events);
        let percent = |size: usize| size * 100 / sizes[0];
        assert!(percent(sizes[1]) <= at_50 && percent(sizes[3]) <= at_300, "{name}: {sizes:?}");
    }
}

/// Section 12.3: adjacent state updates go together on need, and no name is lost.
#[test]
fn s12_3_state_updates_of_one_moment_go_together() {
    use EventType as T;
    let update = |second, ms, list: &str, name: &str| {
        let members = serde_json::json!({ list: [{ "name": name }] });
        let event = row(T::StatesUpdate, second, members);
        Sent { at_ms: event.at_ms + ms, ..event }
    };
    let events = [
        row(T::SessionStart, 0, Value::Null),
        update(1, 0, "statesStart", "mute"),
        update(1, 4, "statesStart", "fullScreen"),
        update(1, 9, "statesEnd", "inFocus"),
        row(T::Play, 2, Value::Null),
        row(T::Ping, 12, Value::Null),
        row(T::SessionEnd, 20, Value::Null),
    ];
    assert_eq!(build(&recorded(&events), Shape { thin: Thin::AsNeeded, ..WHOLE }).merged, 0);
    let built = build(&recorded(&events), Shape { budget: 0, thin: Thin::AsNeeded });
    assert_eq!((built.merged, built.events), (2, 5));
    let collection = serde_json::json!({
        "playhead": 1,
        "statesStart": [{ "name": "mute" }, { "name": "fullscreen" }],
        "statesEnd": [{ "name": "inFocus" }],
    });
    assert_eq!(events_of(&built)[1]["mediaCollection"], collection);
}
