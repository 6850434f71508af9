//! The corpus: payloads that do not change unnoticed, and what the sandbox says to them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use afterplay::config::Thin;
use afterplay::upload::{Built, Shape};
use xxhash_rust::xxh3::xxh3_64;

use super::corpus::{self, recorded};
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

/// Contract section 7, last paragraph, and section 8: what was journaled is sent, whatever was open, and no end is
/// invented.
#[test]
fn s07_a_power_cut_at_every_event() {
    let sandbox = Sandbox::start();
    let events = corpus::short();
    let mut told = String::new();
    for cut in 1..=events.len() {
        let journaled = &events[..cut];
        let built = build(&recorded(journaled), WHOLE);
        assert_eq!(sandbox.complaints(&built.body), [""; 0], "cut after {cut} events");
        assert_eq!(built.events, cut + built.synthetic);
        assert_eq!(built.synthetic, built.warnings.len());
        let list = events_of(&built);
        let sent = kinds(&list);
        let (real, made) = sent.split_at(cut);
        let all: Vec<&str> = journaled.iter().map(|e| e.kind.as_str().trim_start_matches("media.")).collect();
        assert_eq!(real, all, "what was journaled comes first");
        if all[cut - 1] != "ping" {
            writeln!(told, "{}: {}", all[cut - 1], made.join(" ")).unwrap();
        }
        let closes =
            |kinds: &[&str]| kinds.iter().filter(|k| matches!(**k, "sessionComplete" | "sessionEnd")).count();
        assert_eq!(closes(&sent), closes(&all), "no end is invented");
    }
    insta::assert_snapshot!("power_cut", told);
}
