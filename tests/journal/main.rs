//! The journal by itself, on real files: what is acknowledged is there, what is refused is not.

mod erasure;
mod intake;
#[path = "../support/journal.rs"]
mod journal;
mod parts;
mod successors;

use std::sync::Arc;

use afterplay::clock::ManualClock;
use afterplay::event::EventType;
use afterplay::journal::{Append, NewEvent, Scope};
use afterplay::session::Key;

const ME: Scope = Scope { uid: 1000, admin: false };
/// What the clock shows at first.
const NOW: i64 = 1_800_000_000_000;

fn event(kind: EventType, body: &str) -> NewEvent {
    NewEvent {
        kind,
        seq: None,
        said_ms: None,
        playhead: 0.0,
        body: body.to_owned().into(),
        title: (kind == EventType::SessionStart).then(|| "a title".into()),
        identity: None,
        lacks: (false, false),
    }
}

fn full(kind: EventType, collection: &str) -> NewEvent {
    let body = format!(r#"{{"mediaEventType":"{kind}","mediaCollection":{collection}}}"#);
    event(kind, &body)
}

fn start() -> NewEvent {
    event(EventType::SessionStart, r#"{"mediaEventType":"media.sessionStart"}"#)
}

fn ping(n: u64) -> NewEvent {
    NewEvent {
        seq: Some(n),
        ..event(EventType::Ping, &format!(r#"{{"mediaEventType":"media.ping","seq":{n}}}"#))
    }
}

fn said(event: NewEvent, said_ms: i64) -> NewEvent {
    NewEvent { said_ms: Some(said_ms), ..event }
}

fn append(key: &str, events: Vec<NewEvent>) -> Append {
    Append::new(ME.uid, key.parse::<Key>().unwrap(), events)
}

fn clock() -> Arc<ManualClock> {
    ManualClock::at(NOW, "boot-1")
}
