//! The events of a session as they are to be sent, in order, each read once.

use crate::event::{EventType, rfc3339};
use crate::json::{self, Problem};

/// Where an event comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A player sent it; its place in the order of recording, from 0.
    Recorded(usize),
    /// It closes what the player left open (contract section 7).
    Synthetic,
}

/// An event as it is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Where it comes from.
    pub origin: Origin,
    /// Its type.
    pub kind: EventType,
    /// When it happened, in milliseconds since 1970.
    pub at_ms: i64,
    /// Where the main content stands, in whole seconds.
    pub playhead: u64,
    /// Whether it carries nothing but the playhead and, for `media.statesUpdate`, the states.
    pub bare: bool,
    /// Player states that it starts.
    pub starts: Vec<String>,
    /// Player states that it ends.
    pub ends: Vec<String>,
    /// Its `mediaCollection`, compact, as it is sent.
    pub collection: String,
}

const TYPE: &str = r#"{"mediaEventType":""#;
const TIME: &str = r#"","mediaEventTimestamp":""#;
const COLLECTION: &str = r#"","mediaCollection":"#;
/// Bytes of a timestamp (contract section 4).
const STAMP: usize = "2026-03-07T18:30:00.120Z".len();

impl Event {
    /// Reads a `mediaCollection` that is written as it is sent.
    pub fn read(origin: Origin, kind: EventType, at_ms: i64, collection: String) -> Result<Event, Problem> {
        let mut event = Event {
            origin,
            kind,
            at_ms,
            playhead: 0,
            bare: true,
            starts: Vec::new(),
            ends: Vec::new(),
            collection: String::new(),
        };
        for member in json::cut(&collection)? {
            match (&*member.name, kind) {
                ("playhead", _) => event.playhead = member.value.parse().unwrap_or_default(),
                ("statesStart", EventType::StatesUpdate) => {
                    event.starts = names(member.value, &mut event.bare)?;
                }
                ("statesEnd", EventType::StatesUpdate) => event.ends = names(member.value, &mut event.bare)?,
                _ => event.bare = false,
            }
        }
        Ok(Event { collection, ..event })
    }

    /// An event that no player sent and that carries nothing but the playhead.
    pub fn synthetic(kind: EventType, at_ms: i64, playhead: u64) -> Event {
        Event {
            origin: Origin::Synthetic,
            kind,
            at_ms,
            playhead,
            bare: true,
            starts: Vec::new(),
            ends: Vec::new(),
            collection: format!("{{\"playhead\":{playhead}}}"),
        }
    }

    /// How many bytes [`Event::write`] appends.
    pub fn bytes(&self) -> usize {
        let frame = TYPE.len() + TIME.len() + STAMP + COLLECTION.len() + "}".len();
        frame + self.kind.as_str().len() + self.collection.len()
    }

    /// Appends it as it is sent, or tells a time that cannot be.
    pub fn write(&self, out: &mut String) -> Result<(), i64> {
        let time = rfc3339(self.at_ms).ok_or(self.at_ms)?;
        for part in [TYPE, self.kind.as_str(), TIME, &time, COLLECTION, &self.collection, "}"] {
            out.push_str(part);
        }
        Ok(())
    }
}

/// Moves later events on so that neighbours differ by at least 1 ms; never reorders (contract section 4).
pub fn spread(events: &mut [Event]) {
    for n in 1..events.len() {
        events[n].at_ms = events[n].at_ms.max(events[n - 1].at_ms.saturating_add(1));
    }
}

/// `sessionDetails.length` in whole seconds, or 0 when nobody knows it.
pub fn content_length(events: &[Event]) -> u64 {
    let length = |event: &Event| {
        let member = |object: &str, name: &str| -> Option<String> {
            let found = json::cut(object).ok()?.into_iter().find(|m| m.name == name)?;
            Some(found.value.to_owned())
        };
        member(&member(&event.collection, "sessionDetails")?, "length")?.parse().ok()
    };
    events.first().and_then(length).unwrap_or(0)
}

/// The names in a list of states; it is not bare when one of them carries something else.
fn names(list: &str, bare: &mut bool) -> Result<Vec<String>, Problem> {
    let mut names = Vec::new();
    for item in json::elements(list)? {
        for member in json::cut(item)? {
            if member.name == "name" {
                names.push(json::string(member.value)?.into_owned());
            } else {
                *bare = false;
            }
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(kind: EventType, collection: &str) -> Event {
        Event::read(Origin::Recorded(0), kind, 1_772_908_200_120, collection.into()).unwrap()
    }

    #[test]
    fn what_an_event_carries() {
        use EventType as T;
        let list = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        for (kind, collection, playhead, bare, starts, ends) in [
            (T::Ping, r#"{"playhead":12}"#, 12, true, &[][..], &[][..]),
            (T::Ping, r#"{"pl\u0061yhead":12}"#, 12, true, &[], &[]),
            (T::Ping, r#"{"playhead":12,"qoeDataDetails":{}}"#, 12, false, &[], &[]),
            (T::Ping, r#"{"playhead":12,"own":1}"#, 12, false, &[], &[]),
            (T::Ping, r#"{"playhead":12,"statesStart":[{"name":"a"}]}"#, 12, false, &[], &[]),
            (
                T::StatesUpdate,
                r#"{"playhead":3,"statesStart":[{"name":"mute"},{"name":"a\u0062"}],"statesEnd":[{"name":"c"}]}"#,
                3,
                true,
                &["mute", "ab"],
                &["c"],
            ),
            (T::StatesUpdate, r#"{"playhead":3,"statesStart":[],"own":0}"#, 3, false, &[], &[]),
            (T::StatesUpdate, r#"{"playhead":3,"statesEnd":[{"name":"a","own":0}]}"#, 3, false, &[], &["a"]),
        ] {
            let event = read(kind, collection);
            assert_eq!((event.playhead, event.bare), (playhead, bare), "{collection}");
            assert_eq!((event.starts, event.ends), (list(starts), list(ends)), "{collection}");
        }
        let unread = Event::read(Origin::Synthetic, EventType::Ping, 0, "[]".into());
        assert!(unread.is_err());
    }

    #[test]
    fn the_size_is_known_before_it_is_written() {
        for event in [
            read(EventType::Ping, r#"{"playhead":12}"#),
            read(EventType::StatesUpdate, "{\"playhead\":0,\"statesEnd\":[{\"name\":\"\u{e9}\"}]}"),
            Event::synthetic(EventType::AdBreakComplete, 0, 4711),
        ] {
            let mut out = String::new();
            event.write(&mut out).unwrap();
            assert_eq!(out.len(), event.bytes(), "{out}");
        }
        let far = Event { at_ms: i64::MAX, ..Event::synthetic(EventType::Ping, 0, 0) };
        assert_eq!(far.write(&mut String::new()), Err(i64::MAX));
    }

    #[test]
    fn s04_spreading_ripples() {
        for (given, spread_out) in [
            (vec![], vec![]),
            (vec![5], vec![5]),
            (vec![1, 1, 1, 2, 10, 10], vec![1, 2, 3, 4, 10, 11]),
            (vec![9, 1, 2], vec![9, 10, 11]),
            (vec![i64::MAX, 0], vec![i64::MAX, i64::MAX]),
        ] {
            let mut events: Vec<Event> =
                given.iter().map(|at| Event::synthetic(EventType::Ping, *at, 0)).collect();
            spread(&mut events);
            assert_eq!(events.iter().map(|e| e.at_ms).collect::<Vec<_>>(), spread_out, "{given:?}");
        }
    }

    #[test]
    fn the_length_of_the_content() {
        for (collection, length) in [
            (r#"{"playhead":0,"sessionDetails":{"name":"n","length":90}}"#, 90),
            (r#"{"playhead":0,"sessionDetails":{"length":"90"}}"#, 0),
            (r#"{"playhead":0,"sessionDetails":7}"#, 0),
            (r#"{"playhead":0}"#, 0),
        ] {
            assert_eq!(content_length(&[read(EventType::SessionStart, collection)]), length, "{collection}");
        }
        assert_eq!(content_length(&[]), 0);
    }

    proptest! {
        #[test]
        fn spread_moves_later_ones_only_as_far_as_needed(
            mut times in proptest::collection::vec(-1000_i64..1000, 0..60), sorted: bool,
        ) {
            if sorted {
                times.sort_unstable();
            }
            let mut events: Vec<Event> =
                times.iter().map(|at| Event::synthetic(EventType::Ping, *at, 0)).collect();
            spread(&mut events);
            let moved: Vec<i64> = events.iter().map(|e| e.at_ms).collect();
            prop_assert!(moved.windows(2).all(|w| w[1] > w[0]));
            for n in 0..times.len() {
                let pushed = n > 0 && moved[n] > times[n] && moved[n] == moved[n - 1] + 1;
                prop_assert!(moved[n] == times[n] || pushed);
            }
            let again = events.clone();
            spread(&mut events);
            prop_assert_eq!(again, events);
        }
    }
}
