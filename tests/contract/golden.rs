//! The corpus: payloads that do not change unnoticed, and what the sandbox says to them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use afterplay::config::Thin;
use afterplay::event::EventType;
use afterplay::upload::{Built, Shape};
use xxhash_rust::xxh3::xxh3_64;

use super::corpus::{self, Sent, recorded};
use super::{Sandbox, WHOLE, build, build_twice, events_of, kinds};

const BUDGET: Shape = Shape { budget: 60_000, thin: Thin::AsNeeded };

fn line(name: &str, built: &Built) -> String {
    format!(
        "{name}: {} bytes, {} events, {}, {} thinned, {} synthetic, {} warnings, {:016x}\n",
        built.body.len(),
        built.events,
        built.level,
        built.thinned,
        built.synthetic,
        built.warnings.len(),
        xxh3_64(&built.body),
    )
}

#[test]
fn the_payloads_of_the_corpus() {
    let sandbox = Sandbox::start();
    let mut told = String::new();
    for (name, events) in corpus::all() {
        let mut last = Vec::new();
        for (how, shape) in [("whole", WHOLE), ("to the budget", BUDGET)] {
            let built = build_twice(&recorded(&events), shape);
            assert_eq!(sandbox.findings(&built.body), [], "{name} {how}");
            told += &line(&format!("{name}, {how}"), &built);
            last = events_of(&built);
        }
        let mut counts = BTreeMap::<&str, usize>::new();
        kinds(&last).into_iter().for_each(|kind| *counts.entry(kind).or_default() += 1);
        writeln!(told, "    {counts:?}").unwrap();
    }
    insta::assert_snapshot!("corpus", told);
}

/// A short session as a whole, for people to read.
#[test]
fn the_payload_of_a_short_session() {
    let events = corpus::short();
    let built = build(&recorded(&events), Shape { budget: 0, thin: Thin::AsNeeded });
    let body = String::from_utf8(built.body).unwrap();
    let lines = body.replace(",{\"mediaEventType\"", ",\n{\"mediaEventType\"");
    insta::assert_snapshot!("short", lines);
}

/// Bytes that a power cut at every event may come to for one session at scale 1; of longer ones some cuts are made.
const CUT_BYTES: usize = 2 << 20;

/// After which events the power goes: each that is no ping, the first ping after each, and as many others as there is
/// time for.
fn cuts(events: &[Sent], whole: usize) -> Vec<usize> {
    let telling = |n: &usize| n + 2 > events.len() || !is_ping(&events[*n]) || !is_ping(&events[*n - 1]);
    let cost = |cuts: &[usize]| cuts.iter().map(|cut| whole / events.len() * cut).sum::<usize>();
    let all: Vec<usize> = (1..=events.len()).collect();
    let budget = CUT_BYTES * super::scale() as usize;
    if cost(&all) <= budget {
        return all;
    }
    let chosen: Vec<usize> = (0..events.len()).filter(|n| *n == 0 || telling(n)).map(|n| n + 1).collect();
    let step = (cost(&chosen) / budget + 1).min(chosen.len());
    // The last one is always there: it is the session as it ended.
    chosen.iter().rev().step_by(step).rev().copied().collect()
}

fn is_ping(event: &Sent) -> bool {
    event.kind == EventType::Ping
}

/// Contract section 7, last paragraph, and section 8: what was journaled is sent, whatever was open, and no end is
/// invented.
#[test]
fn s07_a_power_cut_at_every_event() {
    let sandbox = Sandbox::start();
    for (name, events) in corpus::all() {
        let mut told = String::new();
        let whole = build(&recorded(&events), WHOLE).body.len();
        for cut in cuts(&events, whole) {
            let journaled = &events[..cut];
            let built = build(&recorded(journaled), WHOLE);
            assert_eq!(sandbox.complaints(&built.body), [""; 0], "{name}, cut after {cut} events");
            assert_eq!(built.events, cut + built.synthetic);
            assert_eq!(built.synthetic, built.warnings.len());
            let list = events_of(&built);
            let sent = kinds(&list);
            let (real, made) = sent.split_at(cut);
            let all: Vec<&str> =
                journaled.iter().map(|e| e.kind.as_str().trim_start_matches("media.")).collect();
            assert_eq!(real, all, "{name}: what was journaled comes first");
            if all[cut - 1] != "ping" {
                writeln!(told, "{}: {}", all[cut - 1], made.join(" ")).unwrap();
            }
            let is_close = |kind: &&&str| matches!(**kind, "sessionComplete" | "sessionEnd");
            let closes = |kinds: &[&str]| kinds.iter().filter(is_close).count();
            assert_eq!(closes(&sent), closes(&all), "{name}: no end is invented");
        }
        match name {
            "short" => insta::assert_snapshot!("power_cut", told),
            "podcast" | "album" => insta::assert_snapshot!(format!("power_cut_{name}"), told),
            _ => {}
        }
    }
}
