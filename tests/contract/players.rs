//! Random players: whatever they send that is taken, the payload can be sent and nothing of it is missing.

use std::cell::Cell;

use afterplay::config::Thin;
use afterplay::event::{EventType, check};
use afterplay::sandbox::Level;
use afterplay::upload::Shape;
use afterplay::upload::payload::Recorded;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::corpus::{START, Sent, recorded};
use super::{Sandbox, WHOLE, build, build_twice, events_of, least, scale};

/// Something that a player may put into an event.
#[derive(Debug, Clone)]
enum Extra {
    Nothing,
    Quality(f64, u32),
    LiveId,
    Unknown(String),
    Metadata(String),
    States(Vec<usize>, Vec<usize>),
    Wrong,
}

const NAMES: [&str; 12] = [
    "mute",
    "fullScreen",
    "fullscreen",
    "a",
    "b",
    "c.d",
    "e_f",
    "g",
    "h",
    "i",
    "inFocus",
    "pictureInPicture",
];

fn extra() -> impl Strategy<Value = Extra> {
    let few = || proptest::collection::vec(0..NAMES.len(), 0..4);
    prop_oneof![
        6 => Just(Extra::Nothing),
        1 => (0.0..9000.0, 0..9u32).prop_map(|(bitrate, dropped)| Extra::Quality(bitrate, dropped)),
        1 => Just(Extra::LiveId),
        1 => "\\PC{0,8}".prop_map(Extra::Unknown),
        1 => "\\PC{0,8}".prop_map(Extra::Metadata),
        2 => (few(), few()).prop_map(|(on, off)| Extra::States(on, off)),
        1 => Just(Extra::Wrong),
    ]
}

/// Pings are as common as they are in life.
fn kind() -> impl Strategy<Value = EventType> {
    prop_oneof![1 => Just(EventType::Ping), 2 => proptest::sample::select(EventType::ALL)]
}

#[derive(Debug, Clone)]
struct Step {
    kind: EventType,
    pause: i64,
    moves: f64,
    extra: Extra,
}

fn step() -> impl Strategy<Value = Step> {
    let pause = prop_oneof![Just(0), Just(10_000), 0..40_i64, -50..200_000_i64];
    let moves = prop_oneof![2 => Just(0.0), 3 => Just(1.0), 1 => -300.0..300.0];
    (kind(), pause, moves, extra()).prop_map(|(kind, pause, moves, extra)| Step { kind, pause, moves, extra })
}

/// What the player sends: each event carries a tag that is sent along, save pings and states, which must stay bare.
fn events(steps: &[Step]) -> Vec<Sent> {
    let (mut at_ms, mut playhead) = (START, 0.0_f64);
    let mut out = Vec::new();
    let start = Step { kind: EventType::SessionStart, pause: 0, moves: 0.0, extra: Extra::Nothing };
    for (n, step) in std::iter::once(&start).chain(steps).enumerate() {
        at_ms += step.pause;
        playhead = (playhead + step.moves * (step.pause as f64) / 1000.0).clamp(0.0, 600.0);
        let mut collection = least(step.kind);
        collection["playhead"] = playhead.into();
        if !matches!(step.kind, EventType::Ping | EventType::StatesUpdate) {
            collection["tag"] = n.into();
        }
        add(&mut collection, &step.extra);
        let body = json!({ "mediaEventType": step.kind.as_str(), "mediaCollection": collection });
        out.push(Sent { kind: step.kind, at_ms, body: body.to_string() });
    }
    out
}

fn add(collection: &mut Value, extra: &Extra) {
    match extra {
        Extra::Nothing => {}
        Extra::Quality(bitrate, dropped) => {
            collection["qoeDataDetails"] = json!({ "bitrate": bitrate, "droppedFrames": dropped });
        }
        Extra::LiveId => collection["sessionID"] = "of a live session".into(),
        Extra::Unknown(text) => collection["x"] = json!({ text.as_str(): text }),
        Extra::Metadata(text) => collection["customMetadata"] = json!([{ "name": "_a.b", "value": text }]),
        Extra::States(on, off) => {
            let list =
                |names: &[usize]| names.iter().map(|n| json!({ "name": NAMES[*n] })).collect::<Value>();
            if collection.get("statesStart").is_some() {
                collection["statesStart"] = list(on);
                collection["statesEnd"] = list(off);
            }
        }
        Extra::Wrong => collection["playhead"] = json!(-1),
    }
}

/// What intake takes: one start, and events that are sound by themselves.
fn taken(events: Vec<Sent>) -> Vec<Sent> {
    let sound = |(n, e): (usize, Sent)| {
        let once = (n == 0) == (e.kind == EventType::SessionStart);
        (once && check(e.body.as_bytes()).is_ok()).then_some(e)
    };
    events.into_iter().enumerate().filter_map(sound).collect()
}

/// The tags and states of events, in order.
fn content(collections: impl Iterator<Item = Value>) -> (Vec<i64>, Vec<String>) {
    let (mut tags, mut states) = (Vec::new(), Vec::new());
    for collection in collections {
        tags.extend(collection["tag"].as_i64());
        for list in ["statesStart", "statesEnd"] {
            for state in collection[list].as_array().into_iter().flatten() {
                let name = state["name"].as_str().unwrap();
                states.push(format!("{list} {}", if name == "fullScreen" { "fullscreen" } else { name }));
            }
        }
    }
    (tags, states)
}

fn by_time<'e>(events: &'e [Recorded<'e>]) -> Vec<&'e Recorded<'e>> {
    let mut order: Vec<&Recorded<'_>> = events.iter().collect();
    order.sort_by_key(|e| (e.kind != EventType::SessionStart, e.at_ms));
    order
}

#[test]
fn whatever_players_send_can_be_sent() {
    let sandbox = Sandbox::start();
    let config =
        ProptestConfig { cases: 250 * scale(), failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let strategy = proptest::collection::vec(step(), 0..70);
    let done = Cell::new([0; 3]);
    let outcome = runner.run(&strategy, |steps| {
        let events = taken(events(&steps));
        let recorded = recorded(&events);
        let whole = build(&recorded, WHOLE);
        let pings = recorded.iter().filter(|e| e.kind == EventType::Ping).count();
        prop_assert_eq!(whole.events, recorded.len() + whole.synthetic);
        let given = |event: &&Recorded<'_>| {
            let body: Map<String, Value> = serde_json::from_str(event.body).unwrap();
            body["mediaCollection"].clone()
        };
        let expected = content(by_time(&recorded).iter().map(given));
        for shape in [
            WHOLE,
            Shape { budget: whole.body.len() * 2 / 3, thin: Thin::AsNeeded },
            Shape { budget: 0, thin: Thin::AsNeeded },
        ] {
            let built = build_twice(&recorded, shape);
            let list = events_of(&built);
            let mut found = content(list.iter().map(|e| e["mediaCollection"].clone()));
            let mut expected = expected.clone();
            if built.merged > 0 {
                found.1.sort();
                expected.1.sort();
            }
            prop_assert_eq!(found, expected);
            let left = list.iter().filter(|e| e["mediaEventType"] == "media.ping").count();
            prop_assert_eq!(left + built.thinned, pings);
            prop_assert_eq!(built.events + built.thinned + built.merged, whole.events);
            let findings = sandbox.findings(&built.body);
            let problems: Vec<_> = findings.iter().filter(|f| f.level == Level::Problem).collect();
            prop_assert!(problems.is_empty(), "{:?}", problems);
            // What is wrong with the order and was not mended is told.
            let unmended = findings.iter().any(|f| f.level == Level::Warning);
            prop_assert!(!unmended || !built.warnings.is_empty(), "{:?}", findings);
            let mended = |f: &afterplay::sandbox::Finding| {
                f.reason.contains("still open") || f.reason.contains("never closed")
            };
            prop_assert!(!findings.iter().any(mended), "{:?}", findings);
            let [thinned, repaired, warned] = done.get();
            done.set([thinned + built.thinned, repaired + built.synthetic, warned + built.warnings.len()]);
        }
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    assert!(done.get().iter().all(|count| *count > 100), "{done:?}: nothing was tried");
}
