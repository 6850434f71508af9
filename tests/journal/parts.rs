//! A session that is cut in two: its parts, and where its key leads.

use std::time::Duration;

use afterplay::event::EventType;
use afterplay::journal::{Journal, Made, NewEvent, Refusal, Split};
use afterplay::session::{State, Why};

use crate::journal::{Open, ROOT};
use crate::{ME, append, clock, full, ping, start};

/// Where a session is cut that is not too large for anything, and the name of its second part.
async fn cut(journal: &Journal, name: &str, at: usize) -> String {
    let split = into_two(journal, name, at).await;
    journal.split(split).await.unwrap().unwrap()
}

async fn into_two(journal: &Journal, name: &str, at: usize) -> Split {
    let whole = journal.outgoing_by_key(ME, name.into()).await.unwrap();
    let made = |kind: EventType, at: usize| Made {
        kind,
        body: format!(r#"{{"mediaEventType":"{kind}","mediaCollection":{{"playhead":2}}}}"#),
        times: whole.events[at].times,
    };
    Split {
        id: whole.id,
        second: (at..whole.events.len()).collect(),
        closing: vec![made(EventType::SessionEnd, at - 1)],
        opening: vec![made(EventType::SessionStart, at)],
        warning: "cut in two".into(),
    }
}

#[tokio::test]
async fn what_went_on_after_the_whole_goes_on_after_its_second_part() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let clock = clock();
    let open = Open::at(&path, &clock);
    let start = full(EventType::SessionStart, r#"{"playhead":0,"sessionDetails":{"name":"n"}}"#);
    let ping = |seq: u64| NewEvent {
        seq: Some(seq),
        ..full(EventType::Ping, &format!(r#"{{"playhead":{}}}"#, 10 * seq))
    };
    open.journal.append(append("a", vec![start, ping(1), ping(2), ping(3), ping(4)])).await.unwrap();
    clock.advance(Duration::from_secs(600));
    // It went on by itself before it was found to be too large, twice.
    let answer = open.journal.append(append("a", vec![ping(5)])).await.unwrap();
    assert_eq!(answer.continues_as.as_deref(), Some("a~2"));
    assert_eq!(cut(&open.journal, "a", 3).await, "a~3");
    assert_eq!(cut(&open.journal, "a", 2).await, "a~4");
    open.close();

    // The key still leads to the end of the chain: open, then completed, then after a restart.
    let open = Open::at(&path, &clock);
    let chain = async |journal: &Journal| {
        let mut names = vec!["a".to_owned()];
        while let Some(next) = journal.detail(ME, names[names.len() - 1].clone()).await.unwrap().continues_as
        {
            let back = journal.detail(ME, next.clone()).await.unwrap().continues;
            assert_eq!(back.as_ref(), names.last(), "{next}");
            names.push(next);
        }
        names
    };
    assert_eq!(chain(&open.journal).await, ["a", "a~4", "a~3", "a~2"]);
    let answer = open.journal.append(append("a", vec![ping(6)])).await.unwrap();
    assert_eq!((answer.continues_as.as_deref(), answer.seq), (Some("a~2"), 6));
    clock.advance(Duration::from_secs(600));
    let answer = open.journal.append(append("a", vec![ping(6), ping(7)])).await.unwrap();
    assert_eq!((answer.continues_as.as_deref(), answer.duplicates), (Some("a~5"), 1));
    // What any part of the chain holds is known.
    let answer = open.journal.append(append("a", (1..=7).map(ping).collect())).await.unwrap();
    assert_eq!((answer.recorded, answer.duplicates), (0, 7));
    assert_eq!(chain(&open.journal).await, ["a", "a~4", "a~3", "a~2", "a~5"]);
    let (state, why) = open.journal.complete(ME, "a".into()).await.unwrap();
    assert_eq!((state, why), (State::Completed, Why::Complete));
    assert_eq!(open.journal.detail(ME, "a~5".into()).await.unwrap().summary.state, State::Completed);
    let refused = open.journal.append(append("a", vec![ping(8)])).await;
    assert!(matches!(refused, Err(Refusal::Completed { why: Why::Complete, .. })), "{refused:?}");
    open.close();
}

#[tokio::test]
async fn a_session_cut_in_two_keeps_every_event_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let clock = clock();
    let open = Open::at(&path, &clock);
    open.journal.append(append("a", vec![start(), ping(1), ping(2), ping(3)])).await.unwrap();
    open.journal.complete(ME, "a".into()).await.unwrap();
    assert_eq!(cut(&open.journal, "a", 2).await, "a~2");
    open.close();
    let open = Open::at(&path, &clock);
    let mut bodies = Vec::new();
    for (name, kinds) in [
        ("a", vec![EventType::SessionStart, EventType::Ping, EventType::SessionEnd]),
        ("a~2", vec![EventType::SessionStart, EventType::Ping, EventType::Ping]),
    ] {
        let part = open.journal.outgoing_by_key(ME, name.into()).await.unwrap();
        assert_eq!(part.events.iter().map(|event| event.kind).collect::<Vec<_>>(), kinds);
        let detail = open.journal.detail(ME, name.into()).await.unwrap();
        assert_eq!((detail.summary.state, detail.summary.events), (State::Completed, 2));
        assert!(detail.warnings.unwrap().get().contains("cut in two"));
        bodies.extend(open.journal.recorded(ME, name.into()).await.unwrap());
    }
    assert_eq!(bodies.iter().map(|event| event.seq).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(open.journal.status(ROOT).await.unwrap().stored, 4);
    open.close();
}

#[tokio::test]
async fn a_session_that_is_cut_while_it_is_read_is_read_anew() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let open = Open::at(&dir.path().join("journal.db"), &clock);
    let mut events = vec![start()];
    events.extend((1..700).map(ping));
    open.journal.append(append("a", events)).await.unwrap();
    open.journal.complete(ME, "a".into()).await.unwrap();
    let split = into_two(&open.journal, "a", 650).await;
    // The second job for the journal, between two parts of the reading.
    let (read, second) =
        tokio::join!(biased; open.journal.recorded(ME, "a".into()), open.journal.split(split));
    assert_eq!(second.unwrap().unwrap(), "a~2");
    let numbers: Vec<u64> = read.unwrap().iter().map(|event| event.seq).collect();
    assert_eq!(numbers, (0..650).collect::<Vec<_>>());
    open.close();
}
