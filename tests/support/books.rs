//! The books: what players were promised, kept outside the process under test, and held against what the endpoint got.
//!
//! acknowledged = delivered + still stored + losses with a row; the events equal, their order equal, nothing else.
#![allow(dead_code, reason = "each test file that includes this uses its own part of it")]

use std::collections::BTreeMap;
use std::io;

use serde_json::{Value, json};

use crate::endpoint::Request;
use crate::service::{Answer, Connection};

/// One session, as its player knows it.
#[derive(Debug, Default, Clone)]
pub(crate) struct Play {
    /// In the order of their numbers; those beyond `acknowledged` are in doubt.
    pub(crate) events: Vec<Value>,
    pub(crate) acknowledged: usize,
    /// The service said that it is completed.
    pub(crate) completed: bool,
}

/// What all players of a test know.
#[derive(Debug, Default, Clone)]
pub(crate) struct Books {
    pub(crate) plays: BTreeMap<String, Play>,
}

/// What came of a request.
#[derive(Debug)]
pub(crate) enum Came {
    /// The service took it.
    Acknowledged,
    /// The service refused it; nothing of it may be recorded.
    Refused(Answer),
    /// No answer: it may be recorded or not.
    Nothing,
}

impl Books {
    /// Records the next `count` events of a session, each with `filler` bytes of filler. Events in doubt are sent
    /// again first, under their numbers.
    pub(crate) fn record(
        &mut self,
        connection: &mut io::Result<Connection>,
        key: &str,
        count: usize,
        filler: usize,
    ) -> Came {
        let Ok(open) = connection else { return Came::Nothing };
        let play = self.plays.entry(key.to_owned()).or_default();
        for n in play.events.len()..play.acknowledged + count {
            play.events.push(event(key, n, filler));
        }
        let body = serde_json::to_vec(&play.events[play.acknowledged..]).unwrap();
        let path = format!("/v1/sessions/{key}/events");
        match open.send("POST", &path, &[("content-type", "application/json")], &body) {
            Ok(answer) if matches!(answer.status, 200 | 201) => {
                play.acknowledged = play.events.len();
                Came::Acknowledged
            }
            Ok(answer) => {
                assert!(matches!(answer.status, 429 | 503), "{key}: {} {}", answer.status, answer.text());
                Came::Refused(answer)
            }
            Err(error) => {
                *connection = Err(error);
                Came::Nothing
            }
        }
    }

    /// Completes a session.
    pub(crate) fn complete(&mut self, connection: &mut io::Result<Connection>, key: &str) -> Came {
        let Ok(open) = connection else { return Came::Nothing };
        match open.send("POST", &format!("/v1/sessions/{key}/complete"), &[], b"") {
            Ok(answer) if answer.status == 200 => {
                self.plays.get_mut(key).unwrap().completed = true;
                Came::Acknowledged
            }
            Ok(answer) => Came::Refused(answer),
            Err(error) => {
                *connection = Err(error);
                Came::Nothing
            }
        }
    }

    /// Takes the books of another player over.
    pub(crate) fn add(&mut self, other: Books) {
        self.plays.extend(other.plays);
    }

    /// Events that were acknowledged.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.plays.values().map(|play| play.acknowledged as u64).sum()
    }

    /// Sessions of which anything was acknowledged.
    pub(crate) fn sessions(&self) -> impl Iterator<Item = &str> {
        self.plays.iter().filter(|(_, play)| play.acknowledged > 0).map(|(key, _)| key.as_str())
    }

    /// Holds what the endpoint may have taken in against the books. Answers how many requests were one too many.
    pub(crate) fn check_delivered(&self, requests: &[Request]) -> u64 {
        let mut came: BTreeMap<String, Vec<&Request>> = BTreeMap::new();
        for request in requests.iter().filter(|request| !request.refused) {
            came.entry(name_of(&sent_events(request)[0])).or_default().push(request);
        }
        let mut twice = 0;
        for key in self.sessions() {
            let play = &self.plays[key];
            let requests = came.remove(key).unwrap_or_else(|| panic!("{key} never came"));
            assert!(requests.iter().all(|other| other.body == requests[0].body), "{key}: other bytes");
            twice += requests.len() as u64 - 1;
            let sent = sent_events(requests[0]);
            assert!(sent.len() >= play.acknowledged, "{key}: {} of {}", sent.len(), play.acknowledged);
            for (n, sent) in sent.iter().enumerate() {
                let recorded = play.events.get(n).unwrap_or_else(|| panic!("{key}: nobody sent event {n}"));
                for member in ["mediaEventType", "mediaEventTimestamp"] {
                    assert_eq!(sent[member], recorded[member], "{key}: event {n}");
                }
                for (member, value) in recorded["mediaCollection"].as_object().unwrap() {
                    assert_eq!(&sent["mediaCollection"][member], value, "{key}: event {n}");
                }
            }
        }
        for key in came.keys() {
            assert!(self.plays.contains_key(key), "nobody ever played {key}");
        }
        twice
    }
}

/// The events in a request body.
pub(crate) fn sent_events(request: &Request) -> Vec<Value> {
    let mut body: Value = serde_json::from_slice(&request.body).unwrap();
    match body["events"][0]["xdm"]["mediaDownloadedEvents"].take() {
        Value::Array(events) => events,
        other => panic!("no events: {other}"),
    }
}

/// The name of the asset, for which tests take the key.
fn name_of(start: &Value) -> String {
    start["mediaCollection"]["sessionDetails"]["name"].as_str().unwrap().to_owned()
}

/// Event `n` of a session: a start, a play, then bitrate changes, each with what tells it from all others.
fn event(key: &str, n: usize, filler: usize) -> Value {
    let kind = ["media.sessionStart", "media.play"].get(n).copied().unwrap_or("media.bitrateChange");
    let mut event = json!({
        "mediaEventType": kind,
        "mediaEventTimestamp":
            format!("2026-03-07T{:02}:{:02}:{:02}.{:03}Z", n / 3600 % 24, n / 60 % 60, n % 60, n % 1000),
        "seq": n,
        "mediaCollection": { "playhead": n },
    });
    let collection = &mut event["mediaCollection"];
    match n {
        0 => {
            collection["sessionDetails"] = json!({
                "name": key, "length": 100_000, "contentType": "DVOD", "playerName": "p", "channel": "c",
            });
            collection["customMetadata"] = json!([{ "name": "filler", "value": "x".repeat(filler) }]);
        }
        1 => {}
        _ => collection["qoeDataDetails"] = json!({ "bitrate": n, "filler": "x".repeat(filler) }),
    }
    event
}
