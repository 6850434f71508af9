use rusqlite::StatementStatus;

use super::*;
use crate::clock::ManualClock;
use crate::journal::anchors::tests::core;
use crate::journal::{NewEvent, Trust};

fn numbered(seq: u64, body: &str) -> NewEvent {
    NewEvent {
        kind: if seq == 0 { EventType::SessionStart } else { EventType::Ping },
        seq: Some(seq),
        said_ms: None,
        playhead: 0.0,
        body: body.to_owned().into(),
        title: None,
        identity: None,
        lacks: (false, false),
    }
}

fn event(seq: u64) -> NewEvent {
    numbered(seq, &format!("{{\"n\":{seq}}}"))
}

fn sent(core: &mut Core, key: &str, events: Vec<NewEvent>) -> Result<Appended, Refusal> {
    core.append(Append::new(1000, key.parse().unwrap(), events))
}

/// How often a session's rows were gone through.
fn walks(core: &Core) -> i32 {
    core.conn.prepare_cached(EACH_ROW).unwrap().get_status(StatementStatus::Run)
}

/// A completed session with these numbers, its rows between those of another one.
fn completed(core: &mut Core, numbers: impl Iterator<Item = u64>) {
    sent(core, "other", vec![event(0)]).unwrap();
    for (at, seq) in numbers.enumerate() {
        sent(core, "it", vec![event(seq)]).unwrap();
        if at % 3 == 0 {
            let beside = NewEvent { seq: None, ..event(1) };
            sent(core, "other", vec![beside]).unwrap();
        }
    }
    let id = core.open_by_key[&(1000, "it".parse().unwrap())];
    core.complete(id, Why::End).unwrap();
}

#[test]
fn a_resend_is_found_without_a_walk_through_the_session() {
    let (mut core, _dir) = core(&ManualClock::at(1_795_000_000_000, "a"), Trust::Kernel);
    core.policy.limits = crate::session::Limits { idle_ms: 1 << 40, age_ms: 1 << 40, grace_ms: 1 };
    completed(&mut core, (0..100).chain((200..400).step_by(10)));
    for seq in (0..100).chain((200..400).step_by(10)) {
        assert_eq!(sent(&mut core, "it", vec![event(seq)]).unwrap().duplicates, 1, "{seq}");
        let other = sent(&mut core, "it", vec![numbered(seq, "{}")]);
        assert!(matches!(other, Err(Refusal::Completed { .. })), "{seq}: {other:?}");
    }
    let all = (1..100).map(event).collect();
    assert_eq!(sent(&mut core, "it", all).unwrap().duplicates, 99);
    for unused in [100, 199, 201, 395] {
        let new = sent(&mut core, "it", vec![event(unused)]);
        assert!(matches!(new, Err(Refusal::Completed { .. })), "{unused}: {new:?}");
    }
    assert_eq!(walks(&core), 0);
}

#[test]
fn a_resend_is_found_where_numbers_went_back() {
    let (mut core, _dir) = core(&ManualClock::at(1_795_000_000_000, "a"), Trust::Kernel);
    core.policy.limits = crate::session::Limits { idle_ms: 1 << 40, age_ms: 1 << 40, grace_ms: 1 };
    completed(&mut core, [0, 50, 40, 30, 20, 10, 60, 5, 70].into_iter());
    for seq in [0, 5, 10, 20, 30, 40, 50, 60, 70] {
        assert_eq!(sent(&mut core, "it", vec![event(seq)]).unwrap().duplicates, 1, "{seq}");
        let other = sent(&mut core, "it", vec![numbered(seq, "{}")]);
        assert!(matches!(other, Err(Refusal::Completed { .. })), "{seq}: {other:?}");
    }
    assert!(walks(&core) > 0);
}
