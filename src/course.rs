//! The course of a session: what is open at a moment, what breaks the order, and what a session that goes on under the
//! same key starts with (contract sections 7 and 8). Pure.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::event::EventType;

/// Distinct state names that the back end keeps track of (contract section 6.1).
const MAX_STATES: usize = 10;

/// What is open at a moment. Bodies are kept as the player sent them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Course {
    start: Option<String>,
    chapter: Option<String>,
    ad_break: Option<String>,
    ad: Option<String>,
    /// Active state names, in the order in which they began.
    active: Vec<String>,
    /// All state names ever seen.
    names: Vec<String>,
    playing: bool,
    #[serde(default)]
    completed: bool,
    ended: bool,
    /// Seconds of content, when it is not live.
    #[serde(default)]
    length: Option<f64>,
}

/// `sessionDetails.length`, unless the content is live, where a playhead is the second of the day.
fn content_length(body: &str) -> Option<f64> {
    let event: Value = serde_json::from_str(body).ok()?;
    let details = &event["mediaCollection"]["sessionDetails"];
    let live = matches!(details["contentType"].as_str(), Some("Live" | "Linear"));
    details["length"].as_f64().filter(|_| !live)
}

/// The event that makes a session go on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Continuing<'a> {
    /// Its type.
    pub kind: EventType,
    /// Its body.
    pub body: &'a str,
}

impl Course {
    /// Takes the next event into account. Answers what is out of order about it, if anything is.
    pub fn note(&mut self, kind: EventType, body: &str) -> Option<String> {
        let after_end = self.ended.then(|| format!("{kind} comes after media.sessionEnd"));
        let found = self.follow(kind, body);
        after_end.or(found)
    }

    /// Whether an ad break, or an ad outside one, is open.
    pub fn in_ad_break(&self) -> bool {
        self.ad_break.is_some() || self.ad.is_some()
    }

    /// Whether a chapter is open.
    pub fn in_chapter(&self) -> bool {
        self.chapter.is_some()
    }

    /// Whether `media.sessionEnd` came.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    fn follow(&mut self, kind: EventType, body: &str) -> Option<String> {
        use EventType as T;
        let warn = |text: &str| Some(text.to_owned());
        match kind {
            T::SessionStart => {
                self.length = content_length(body);
                self.start = Some(body.to_owned());
            }
            T::SessionComplete | T::SessionEnd => {
                let again = kind == T::SessionComplete && std::mem::replace(&mut self.completed, true);
                self.ended |= kind == T::SessionEnd;
                if again {
                    return warn("the content is completed a second time");
                }
                if let Some(open) = self.open_thing() {
                    return Some(format!(
                        "the session ends while {open} is open; it is closed in the payload"
                    ));
                }
            }
            T::Play => self.playing = true,
            T::PauseStart | T::BufferStart => self.playing = false,
            T::AdBreakStart => {
                let open = self.ad_break.replace(body.to_owned()).is_some();
                self.ad = None;
                if open {
                    return warn(
                        "an ad break begins while another is open; the open one is completed in the payload",
                    );
                }
            }
            T::AdBreakComplete => {
                let ad = self.ad.take().is_some();
                if self.ad_break.take().is_none() {
                    return warn("an ad break is completed that was not begun");
                }
                if ad {
                    return warn(
                        "an ad break is completed while an ad is open; the ad is skipped in the payload",
                    );
                }
            }
            T::AdStart => {
                let open = self.ad.replace(body.to_owned()).is_some();
                if self.ad_break.is_none() {
                    return warn("an ad begins outside an ad break");
                }
                if open {
                    return warn(
                        "an ad begins while another is open; the open one is skipped in the payload",
                    );
                }
            }
            T::AdComplete | T::AdSkip if self.ad.take().is_none() => {
                return warn("an ad is closed that was not begun");
            }
            T::ChapterStart if self.chapter.replace(body.to_owned()).is_some() => {
                return warn(
                    "a chapter begins while another is open; the open one is skipped in the payload",
                );
            }
            T::ChapterComplete | T::ChapterSkip if self.chapter.take().is_none() => {
                return warn("a chapter is closed that was not begun");
            }
            T::StatesUpdate => return self.states(body),
            _ => {}
        }
        None
    }

    fn open_thing(&self) -> Option<&'static str> {
        match (&self.ad, &self.ad_break, &self.chapter) {
            (Some(_), ..) => Some("an ad"),
            (_, Some(_), _) => Some("an ad break"),
            (.., Some(_)) => Some("a chapter"),
            _ => None,
        }
    }

    /// Whether a playhead lies beyond the content (contract section 13, line 19: allowed, and told).
    pub fn is_beyond(&self, playhead: f64) -> bool {
        self.length.is_some_and(|length| length > 0.0 && playhead > length)
    }

    fn states(&mut self, body: &str) -> Option<String> {
        let event: Value = serde_json::from_str(body).unwrap_or_default();
        let names = |list: &str| -> Vec<String> {
            let list = event["mediaCollection"][list].as_array().cloned().unwrap_or_default();
            list.iter().filter_map(|state| state["name"].as_str().map(spelt)).collect()
        };
        let mut warning = None;
        let (ended, started) = (names("statesEnd"), names("statesStart"));
        for name in ended.iter().chain(&started) {
            if !self.names.contains(name) {
                if self.names.len() >= MAX_STATES {
                    warning = Some(format!(
                        "more than {MAX_STATES} state names: the back end drops the later ones"
                    ));
                }
                self.names.push(name.clone());
            }
        }
        self.active.retain(|active| !ended.contains(active));
        for name in started {
            if !self.active.contains(&name) {
                self.active.push(name);
            }
        }
        warning
    }

    /// The events that a session starts with when it goes on after this course: the same start with `hasResume`, then
    /// what was open, then `media.play` if it was playing. `None`: there is no start to go on from.
    pub fn reopen(&self, next: &Continuing<'_>) -> Option<Vec<(EventType, String)>> {
        let next_event: Value = serde_json::from_str(next.body).unwrap_or_default();
        let playhead = &next_event["mediaCollection"]["playhead"];
        let compose = |kind: EventType, mut collection: Map<String, Value>| {
            collection.insert("playhead".into(), playhead.clone());
            let mut event = Map::new();
            event.insert("mediaEventType".into(), kind.as_str().into());
            if let Some(at) = next_event.get("mediaEventTimestamp") {
                event.insert("mediaEventTimestamp".into(), at.clone());
            }
            event.insert("mediaCollection".into(), Value::Object(collection));
            (kind, Value::Object(event).to_string())
        };
        let again = |kind: EventType, body: &String| {
            let mut event: Value = serde_json::from_str(body).unwrap_or_default();
            let mut collection =
                event["mediaCollection"].as_object_mut().map(std::mem::take).unwrap_or_default();
            // What was measured at the first announcement is not measured again.
            collection.remove("qoeDataDetails");
            if kind == EventType::SessionStart
                && let Some(details) = collection.get_mut("sessionDetails").and_then(Value::as_object_mut)
            {
                details.insert("hasResume".into(), true.into());
            }
            compose(kind, collection)
        };
        let mut events = vec![again(EventType::SessionStart, self.start.as_ref()?)];
        for (kind, body) in [
            (EventType::ChapterStart, &self.chapter),
            (EventType::AdBreakStart, &self.ad_break),
            (EventType::AdStart, &self.ad),
        ] {
            events.extend(body.as_ref().map(|body| again(kind, body)));
        }
        if !self.active.is_empty() {
            let states: Vec<Value> = self.active.iter().map(|name| json!({ "name": name })).collect();
            let collection = Map::from_iter([("statesStart".to_owned(), Value::Array(states))]);
            events.push(compose(EventType::StatesUpdate, collection));
        }
        if self.playing && next.kind != EventType::Play {
            events.push(compose(EventType::Play, Map::new()));
        }
        Some(events)
    }
}

/// The one spelling in which a state is sent (contract section 13, line 10).
fn spelt(name: &str) -> String {
    if name == "fullScreen" { "fullscreen".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(kind: EventType, members: Value) -> String {
        let mut collection = members;
        collection["playhead"] = 7.into();
        json!({ "mediaEventType": kind.as_str(), "mediaCollection": collection }).to_string()
    }

    fn course(events: &[(EventType, Value)]) -> (Course, Vec<String>) {
        let mut course = Course::default();
        let warnings = events
            .iter()
            .filter_map(|(kind, members)| course.note(*kind, &body(*kind, members.clone())))
            .collect();
        (course, warnings)
    }

    #[test]
    fn s07_what_breaks_the_order_is_told() {
        use EventType as T;
        let states = |n: u32| {
            let names: Vec<Value> = (0..n).map(|n| json!({ "name": format!("s{n}") })).collect();
            json!({ "statesStart": names })
        };
        type Case<'a> = (&'a str, Vec<(T, Value)>, &'a [&'a str]);
        let last = |name: &str| (T::StatesUpdate, json!({ "statesEnd": [{ "name": name }] }));
        let cases: [Case<'_>; 11] = [
            (
                "in order",
                vec![
                    (T::AdBreakStart, json!({})),
                    (T::AdStart, json!({})),
                    (T::AdComplete, json!({})),
                    (T::AdBreakComplete, json!({})),
                ],
                &[],
            ),
            ("7.4", vec![(T::AdStart, json!({}))], &["outside an ad break"]),
            (
                "7.5",
                vec![(T::AdBreakStart, json!({})), (T::AdStart, json!({})), (T::AdStart, json!({}))],
                &["another is open"],
            ),
            (
                "7.5 at the end of the break",
                vec![(T::AdBreakStart, json!({})), (T::AdStart, json!({})), (T::AdBreakComplete, json!({}))],
                &["an ad is open"],
            ),
            ("7.6", vec![(T::ChapterStart, json!({})), (T::ChapterStart, json!({}))], &["another is open"]),
            (
                "closed without a start",
                vec![
                    (T::AdSkip, json!({})),
                    (T::ChapterComplete, json!({})),
                    (T::AdBreakComplete, json!({})),
                ],
                &["not begun", "not begun", "not begun"],
            ),
            ("7.9", vec![(T::SessionEnd, json!({})), (T::Play, json!({}))], &["after media.sessionEnd"]),
            ("6.1: ten names", vec![(T::StatesUpdate, states(10))], &[]),
            ("6.1: eleven names", vec![(T::StatesUpdate, states(11))], &["more than 10 state names"]),
            ("6.1: one of ten ends", vec![(T::StatesUpdate, states(10)), last("s3")], &[]),
            (
                "6.1: the eleventh ends",
                vec![(T::StatesUpdate, states(10)), last("s10")],
                &["more than 10 state names"],
            ),
        ];
        for (name, events, expected) in cases {
            let (_, warnings) = course(&events);
            assert_eq!(warnings.len(), expected.len(), "{name}: {warnings:?}");
            for (warning, part) in warnings.iter().zip(expected) {
                assert!(warning.contains(part), "{name}: {warning}");
            }
        }
    }

    #[test]
    fn s08_what_was_open_is_announced_again() {
        use EventType as T;
        let (course, _) = course(&[
            (
                T::SessionStart,
                json!({ "sessionDetails": { "name": "n" }, "customMetadata": [{ "name": "a", "value": "b" }] }),
            ),
            (T::Play, json!({})),
            (T::ChapterStart, json!({ "chapterDetails": { "index": 2 } })),
            (T::StatesUpdate, json!({ "statesStart": [{ "name": "mute" }, { "name": "fullscreen" }] })),
            (T::StatesUpdate, json!({ "statesEnd": [{ "name": "mute" }] })),
            (T::AdBreakStart, json!({ "advertisingPodDetails": { "index": 1 } })),
            (
                T::AdStart,
                json!({ "advertisingDetails": { "name": "ad" }, "qoeDataDetails": { "bitrate": 1 } }),
            ),
        ]);
        let next = json!({
            "mediaEventType": "media.ping", "mediaEventTimestamp": "2026-03-07T18:30:00Z",
            "mediaCollection": { "playhead": 99.5 },
        })
        .to_string();
        let events = course.reopen(&Continuing { kind: T::Ping, body: &next }).unwrap();
        let kinds: Vec<T> = events.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(
            kinds,
            [T::SessionStart, T::ChapterStart, T::AdBreakStart, T::AdStart, T::StatesUpdate, T::Play]
        );
        let parsed: Vec<Value> = events.iter().map(|(_, body)| serde_json::from_str(body).unwrap()).collect();
        for event in &parsed {
            assert_eq!(event["mediaCollection"]["playhead"], 99.5);
            assert_eq!(event["mediaEventTimestamp"], "2026-03-07T18:30:00Z");
        }
        assert_eq!(parsed[0]["mediaCollection"]["sessionDetails"], json!({ "name": "n", "hasResume": true }));
        assert_eq!(parsed[0]["mediaCollection"]["customMetadata"][0]["value"], "b");
        assert_eq!(parsed[3]["mediaCollection"].get("qoeDataDetails"), None);
        assert_eq!(parsed[4]["mediaCollection"]["statesStart"], json!([{ "name": "fullscreen" }]));
        let kept: Course = serde_json::from_str(&serde_json::to_string(&course).unwrap()).unwrap();
        assert_eq!(kept, course);
    }

    #[test]
    fn s13_line_10_both_spellings_are_one_state() {
        use EventType as T;
        let (course, _) = course(&[
            (T::SessionStart, json!({ "sessionDetails": { "name": "n" } })),
            (T::StatesUpdate, json!({ "statesStart": [{ "name": "fullScreen" }, { "name": "mute" }] })),
            (T::StatesUpdate, json!({ "statesEnd": [{ "name": "fullscreen" }] })),
        ]);
        let next = body(T::Ping, json!({}));
        let events = course.reopen(&Continuing { kind: T::Ping, body: &next }).unwrap();
        let states: Value = serde_json::from_str(&events[1].1).unwrap();
        assert_eq!(states["mediaCollection"]["statesStart"], json!([{ "name": "mute" }]));
    }

    #[test]
    fn s08_nothing_is_announced_that_was_closed() {
        use EventType as T;
        let (course, _) = course(&[
            (T::SessionStart, json!({ "sessionDetails": { "name": "n" } })),
            (T::Play, json!({})),
            (T::ChapterStart, json!({})),
            (T::ChapterComplete, json!({})),
            (T::AdBreakStart, json!({})),
            (T::AdBreakComplete, json!({})),
            (T::PauseStart, json!({})),
        ]);
        let play = body(T::Play, json!({}));
        let events = course.reopen(&Continuing { kind: T::Play, body: &play }).unwrap();
        assert_eq!(events.len(), 1);
        assert!(Course::default().reopen(&Continuing { kind: T::Play, body: &play }).is_none());
    }
}
