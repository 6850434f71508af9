//! Thinning changes no metric: contract section 12.3 against an independent reading of section 9.

mod reading;
mod viewer;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use afterplay::config::Thin;
use afterplay::event::EventType;
use afterplay::upload::payload::{self, Facts, Implementation, Recorded};
use afterplay::upload::shape::{Event, Origin};
use afterplay::upload::thin::{LEVELS, Level, staying, thin};
use afterplay::upload::{Built, Shape};
use reading::{Metrics, Seen, read};
use serde_json::{Value, json};
use viewer::{Session, Told};

fn scale() -> u64 {
    std::env::var("AFTERPLAY_TEST_SCALE").ok().and_then(|scale| scale.parse().ok()).unwrap_or(1)
}

/// The levels, and the longest gap that can be configured.
fn levels() -> impl Iterator<Item = Level> {
    LEVELS.into_iter().skip(1).chain([Level::Gap(540_000)])
}

fn seen(told: &Told) -> Seen<'_> {
    Seen {
        kind: told.kind,
        at: told.at,
        playhead: told.playhead.floor() as i64,
        bitrate: told.bitrate,
        dropped: told.dropped,
        on: (&told.on).into(),
        off: (&told.off).into(),
    }
}

/// As the payload builder would read it.
fn event(n: usize, told: &Told, length: i64) -> Event {
    let playhead = told.playhead.floor() as u64;
    let mut event = Event {
        origin: Origin::Recorded(n),
        starts: told.on.clone(),
        ends: told.off.clone(),
        ..Event::synthetic(told.kind, told.at, playhead)
    };
    event.bare = told.bitrate.is_none() && told.dropped.is_none() && told.kind != EventType::SessionStart;
    if told.kind == EventType::SessionStart {
        event.collection =
            json!({ "playhead": playhead, "sessionDetails": { "length": length } }).to_string();
    }
    event
}

fn events(session: &Session) -> Vec<Event> {
    session.events.iter().enumerate().map(|(n, told)| event(n, told, session.length)).collect()
}

fn remaining<'s>(session: &'s Session, stays: &[bool]) -> Vec<Seen<'s>> {
    session.events.iter().zip(stays).filter(|(_, stays)| **stays).map(|(told, _)| seen(told)).collect()
}

fn longest_gap(events: &[Seen<'_>]) -> i64 {
    events.windows(2).map(|pair| pair[1].at - pair[0].at).max().unwrap_or(0)
}

/// What is left after thinning as a session: merged updates keep the names of all their parts.
fn after<'s>(session: &'s Session, events: &'s [Event]) -> Vec<Seen<'s>> {
    let read = |event: &'s Event| {
        let Origin::Recorded(n) = event.origin else { panic!("nothing is added here") };
        Seen { on: (&event.starts).into(), off: (&event.ends).into(), ..seen(&session.events[n]) }
    };
    events.iter().map(read).collect()
}

/// Pings in a session, and how many of them go at each level; none of its metrics changes.
fn check(seed: u64, gone: &mut BTreeMap<Level, usize>) -> usize {
    let session = viewer::session(seed);
    let events = events(&session);
    let whole: Vec<Seen<'_>> = session.events.iter().map(seen).collect();
    let before = read(&whole, session.length);
    let unchanged = |left: &[Seen<'_>], slack: i64, how: &str| {
        let different = before.differences(&read(left, session.length), slack);
        assert!(different.is_empty(), "seed {seed}, {how}: {different:?}");
        let gap = longest_gap(left);
        assert!(gap < 600_000 || gap <= longest_gap(&whole) + slack, "seed {seed}, {how}: {gap} ms");
    };
    let mut last = vec![true; events.len()];
    for level in levels() {
        let stays = staying(&events, level);
        *gone.entry(level).or_default() += stays.iter().filter(|stays| !**stays).count();
        if stays != last {
            unchanged(&remaining(&session, &stays), 0, &level.to_string());
        }
        last = stays;
    }
    let least = thin(events, Thin::AsNeeded, 0);
    if least.merged > 0 {
        let slack = 10 * i64::try_from(least.merged).unwrap();
        unchanged(&after(&session, &least.events), slack, "level 4, with merged states");
    }
    whole.iter().filter(|e| e.kind == EventType::Ping).count()
}

#[test]
fn s12_no_metric_changes_at_any_level() {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let (mut pings, mut gone) = (0, BTreeMap::<Level, usize>::new());
    std::thread::scope(|scope| {
        let work = |from: usize| {
            move || {
                let mut gone = BTreeMap::new();
                let seeds = (0..10_000 * scale()).skip(from).step_by(workers);
                (seeds.map(|seed| check(seed, &mut gone)).sum::<usize>(), gone)
            }
        };
        let started: Vec<_> = (0..workers).map(|from| scope.spawn(work(from))).collect();
        for worker in started {
            let (some_pings, some_gone) = worker.join().unwrap();
            pings += some_pings;
            some_gone.into_iter().for_each(|(level, count)| *gone.entry(level).or_default() += count);
        }
    });
    // Otherwise nothing was tried.
    let share = |level| 100 * gone[&level] / pings;
    assert!(share(Level::Ads) > 5, "{gone:?} of {pings}");
    assert!(share(Level::Gap(50_000)) > 40, "{gone:?} of {pings}");
    assert!(gone.values().collect::<Vec<_>>().is_sorted(), "{gone:?}");
}

/// The control: the rule that everybody thinks of first.
#[test]
fn a_plain_maximum_gap_changes_metrics_in_most_sessions() {
    let mut changed = BTreeMap::<String, u32>::new();
    let (sessions, mut wrong) = (400, 0);
    for seed in 0..sessions {
        let session = viewer::session(seed);
        let last = session.events.len() - 1;
        let mut kept: Vec<usize> = Vec::new();
        for (n, told) in session.events.iter().enumerate() {
            let ping = told.kind == EventType::Ping && told.bitrate.is_none() && n < last;
            let fits = kept
                .last()
                .is_some_and(|k| session.events[(n + 1).min(last)].at - session.events[*k].at <= 50_000);
            if !(ping && fits) {
                kept.push(n);
            }
        }
        let whole: Vec<Seen<'_>> = session.events.iter().map(seen).collect();
        let left: Vec<Seen<'_>> = kept.iter().map(|n| seen(&session.events[*n])).collect();
        let different = read(&whole, session.length).differences(&read(&left, session.length), 0);
        wrong += u64::from(!different.is_empty());
        different.into_iter().for_each(|name| *changed.entry(name).or_default() += 1);
    }
    assert!(wrong * 10 > sessions * 7, "{wrong} of {sessions}: {changed:?}");
    for part in ["unique time", "segment", "stall", "last ping", "first event at"] {
        assert!(changed.keys().any(|name| name.contains(part)), "{part} never changes: {changed:?}");
    }
}

fn body(told: &Told, length: i64) -> String {
    use EventType as T;
    let names = |names: &[String]| names.iter().map(|name| json!({ "name": name })).collect::<Value>();
    let mut collection = match told.kind {
        T::SessionStart => json!({ "sessionDetails": {
            "name": "n", "playerName": "p", "channel": "c", "contentType": "VOD", "length": length,
        }}),
        T::AdBreakStart => json!({ "advertisingPodDetails": { "index": 1, "offset": 0 } }),
        T::AdStart => {
            json!({ "advertisingDetails": { "name": "a", "length": 1, "playerName": "p", "podPosition": 1 } })
        }
        T::ChapterStart => json!({ "chapterDetails": { "index": 1, "length": 1, "offset": 0 } }),
        T::Error => json!({ "errorDetails": { "name": "e", "source": "player" } }),
        T::StatesUpdate => json!({ "statesStart": names(&told.on), "statesEnd": names(&told.off) }),
        _ => json!({}),
    };
    collection["playhead"] = told.playhead.into();
    for (member, value) in [("bitrate", told.bitrate), ("droppedFrames", told.dropped)] {
        if let Some(value) = value {
            collection["qoeDataDetails"][member] = value.into();
        }
    }
    json!({ "mediaCollection": collection }).to_string()
}

/// The same, from what goes over the wire.
fn sent(built: &Built) -> Vec<Seen<'static>> {
    let body: Value = serde_json::from_slice(&built.body).unwrap();
    let list = body["events"][0]["xdm"]["mediaDownloadedEvents"].as_array().unwrap();
    list.iter()
        .map(|event| {
            let collection = &event["mediaCollection"];
            let names = |list: &str| -> Cow<'static, [String]> {
                let list = collection[list].as_array().into_iter().flatten();
                list.map(|state| state["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>().into()
            };
            Seen {
                kind: EventType::parse(event["mediaEventType"].as_str().unwrap()).unwrap(),
                at: afterplay::event::unix_ms(event["mediaEventTimestamp"].as_str().unwrap()).unwrap(),
                playhead: collection["playhead"].as_i64().unwrap(),
                bitrate: collection["qoeDataDetails"]["bitrate"].as_i64(),
                dropped: collection["qoeDataDetails"]["droppedFrames"].as_i64(),
                on: names("statesStart"),
                off: names("statesEnd"),
            }
        })
        .collect()
}

const FACTS: Facts<'static> = Facts {
    identity_map: r#"{"FPID":[{"id":"5f0c3d1e-6c1b-4f0e-9a52-2f8f6f1f9a10","primary":true}]}"#,
    player_name: None,
    channel: None,
    implementation: Implementation {
        name: "https://ns.adobe.com/experience/edge",
        version: "1",
        environment: "app",
    },
    resumes: false,
    timestamp_ms: Some(1_772_999_999_999),
};

#[test]
fn s12_no_metric_changes_in_the_payload() {
    for seed in 0..120 * scale() {
        let session = viewer::session(seed);
        let bodies: Vec<String> = session.events.iter().map(|told| body(told, session.length)).collect();
        let recorded: Vec<Recorded<'_>> = session
            .events
            .iter()
            .zip(&bodies)
            .map(|(told, body)| Recorded { kind: told.kind, body, at_ms: told.at })
            .collect();
        let build = |thin, budget| payload::build(&FACTS, &recorded, &Shape { budget, thin }).unwrap();
        let whole = build(Thin::Never, 0);
        let before: Metrics = read(&sent(&whole), session.length);
        let all = whole.body.len();
        assert_eq!(whole.thinned + whole.merged, 0);
        for (thin, budget) in [
            (Thin::AsNeeded, all),
            (Thin::AsNeeded, all - 1),
            (Thin::AsNeeded, all * 3 / 4),
            (Thin::AsNeeded, all / 2),
            (Thin::AsNeeded, 0),
            (Thin::Gap(Duration::from_secs(50)), all),
            (Thin::Gap(Duration::from_secs(50)), 0),
        ] {
            let built = build(thin, budget);
            assert_eq!(built, build(thin, budget), "seed {seed}: the same bytes each time");
            let slack = 10 * i64::try_from(built.merged).unwrap();
            let different = before.differences(&read(&sent(&built), session.length), slack);
            assert!(different.is_empty(), "seed {seed}, {thin:?}, {budget}: {different:?}");
            assert_eq!(built.events + built.thinned + built.merged, whole.events, "seed {seed}");
            let largest = built.level == Level::Gap(300_000);
            assert!(built.body.len() <= budget || largest, "seed {seed}: {} bytes", built.body.len());
            assert!(thin != Thin::AsNeeded || budget < all || built.body == whole.body, "only on need");
        }
    }
}
