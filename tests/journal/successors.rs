//! What goes on after an end of ours, and how a completed session is judged.

use std::time::Duration;

use afterplay::clock::Clock;
use afterplay::event::EventType;
use afterplay::journal::{Append, Journal, NewEvent, Refusal};
use afterplay::session::{Key, State, Why};

use crate::journal::{Open, ROOT};
use crate::{ME, NOW, append, clock, event, full, said, start};

#[tokio::test]
async fn what_comes_after_our_own_end_goes_on_in_a_successor() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let clock = clock();
    let open = Open::at(&path, &clock);
    let start = full(EventType::SessionStart, r#"{"playhead":0,"sessionDetails":{"name":"n"}}"#);
    let chapter = full(EventType::ChapterStart, r#"{"playhead":1,"chapterDetails":{"index":3}}"#);
    let play = full(EventType::Play, r#"{"playhead":1}"#);
    open.journal.append(append("a", vec![start.clone(), play, chapter])).await.unwrap();
    clock.advance(Duration::from_secs(600));

    let ping = |seq: u64| NewEvent {
        seq: Some(seq),
        ..full(EventType::Ping, &format!(r#"{{"playhead":{}}}"#, 10 * seq))
    };
    let answer = open.journal.append(append("a", vec![ping(3)])).await.unwrap();
    assert_eq!((answer.continues_as.as_deref(), answer.recorded, answer.seq), (Some("a~2"), 1, 3));
    assert!(!answer.created);
    let answer = open.journal.append(append("a", vec![ping(3), ping(4)])).await.unwrap();
    assert_eq!((answer.continues_as.as_deref(), answer.recorded, answer.duplicates), (Some("a~2"), 1, 1));
    // A resend of what the predecessor holds is known too.
    let resent = NewEvent { seq: Some(0), ..start };
    assert_eq!(open.journal.append(append("a", vec![resent])).await.unwrap().duplicates, 1);

    let first = open.journal.detail(ME, "a".into()).await.unwrap();
    let second = open.journal.detail(ME, "a~2".into()).await.unwrap();
    assert_eq!((first.summary.why, first.continues_as.as_deref()), (Some(Why::Idle), Some("a~2")));
    assert_eq!((second.summary.state, second.continues.as_deref()), (State::Open, Some("a")));
    assert_eq!((first.summary.events, second.summary.events), (3, 2), "only the player's events count");
    let recorded = open.journal.recorded(ME, "a~2".into()).await.unwrap();
    assert_eq!(recorded.iter().map(|event| event.seq).collect::<Vec<_>>(), [3, 4]);

    // The same after a restart, and the player's own end ends it for good.
    open.close();
    let open = Open::at(&path, &clock);
    let (state, _) = open.journal.complete(ME, "a".into()).await.unwrap();
    assert_eq!(state, State::Completed);
    let refused = open.journal.append(append("a", vec![ping(9)])).await;
    assert!(matches!(refused, Err(Refusal::Completed { why: Why::Complete, .. })), "{refused:?}");
    let outgoing = open.journal.outgoing_by_key(ME, "a~2".into()).await.unwrap();
    let kinds: Vec<EventType> = outgoing.events.iter().map(|event| event.kind).collect();
    use EventType as T;
    assert_eq!(kinds, [T::SessionStart, T::ChapterStart, T::Play, T::Ping, T::Ping]);
    assert!(outgoing.resumes && outgoing.events[0].body.contains("\"hasResume\":true"));
    let status = open.journal.status(ROOT).await.unwrap();
    assert_eq!(status.stored, 5);
    open.close();
}

#[tokio::test]
async fn the_players_own_end_holds_also_when_ours_came_first() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let clock = clock();
    let open = Open::at(&path, &clock);
    for key in ["ended", "completed", "neither"] {
        let start = full(EventType::SessionStart, r#"{"playhead":0,"sessionDetails":{"name":"n"}}"#);
        open.journal.append(append(key, vec![start])).await.unwrap();
    }
    clock.advance(Duration::from_secs(600));
    let end = || full(EventType::SessionEnd, r#"{"playhead":9}"#);
    let late = open.journal.append(append("ended", vec![end()])).await.unwrap();
    assert_eq!((late.recorded, late.state), (0, State::Completed));
    assert_eq!(open.journal.complete(ME, "completed".into()).await.unwrap(), (State::Completed, Why::Idle));

    // After a restart as well.
    open.close();
    let open = Open::at(&path, &clock);
    let ping = || full(EventType::Ping, r#"{"playhead":10}"#);
    let again = full(EventType::SessionStart, r#"{"playhead":0,"sessionDetails":{"name":"n"}}"#);
    for (key, own) in [("ended", Why::End), ("completed", Why::Complete)] {
        for event in [ping(), again.clone()] {
            let refused = open.journal.append(append(key, vec![event])).await;
            assert!(
                matches!(&refused, Err(Refusal::Completed { why, .. }) if *why == own),
                "{key}: {refused:?}"
            );
        }
        assert_eq!(open.journal.append(append(key, vec![end()])).await.unwrap().recorded, 0, "{key}");
        assert_eq!(open.journal.detail(ME, key.into()).await.unwrap().summary.why, Some(Why::Idle));
    }
    let goes_on = open.journal.append(append("neither", vec![ping()])).await.unwrap();
    assert_eq!(goes_on.continues_as.as_deref(), Some("neither~2"));
    open.close();
}

#[tokio::test]
async fn a_playhead_that_stands_still_for_long_ends_a_session() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let open = Open::at(&dir.path().join("journal.db"), &clock);
    open.journal.append(append("a", vec![full(EventType::SessionStart, "{}")])).await.unwrap();
    for _ in 0..29 {
        clock.advance(Duration::from_secs(60));
        let answer = open.journal.append(append("a", vec![event(EventType::Ping, "{}")])).await.unwrap();
        assert_eq!(answer.continues_as, None);
    }
    clock.advance(Duration::from_secs(60));
    let answer = open.journal.append(append("a", vec![event(EventType::Ping, "{}")])).await.unwrap();
    assert_eq!(answer.continues_as.as_deref(), Some("a~2"));
    open.close();
}

/// A key leads on when the first session under it is gone.
#[tokio::test]
async fn a_bare_key_names_the_last_session_when_the_first_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let open = Open::at(&dir.path().join("journal.db"), &clock);
    let begin = full(EventType::SessionStart, r#"{"playhead":0,"sessionDetails":{"name":"n"}}"#);
    open.journal.append(append("a", vec![begin])).await.unwrap();
    for _ in 0..2 {
        clock.advance(Duration::from_secs(600));
        open.journal.append(append("a", vec![full(EventType::Ping, r#"{"playhead":9}"#)])).await.unwrap();
    }
    let named = async || open.journal.detail(ME, "a".into()).await.map(|detail| detail.summary.session);
    assert_eq!(named().await.unwrap(), "a");
    open.journal.discard(ME, "a".into()).await.unwrap();
    assert_eq!(named().await.unwrap(), "a~3");
    open.journal.discard(ME, "a".into()).await.unwrap();
    open.journal.discard(ME, "a~2".into()).await.unwrap();
    assert!(matches!(named().await, Err(Refusal::UnknownSession)));
    open.close();
}

#[tokio::test]
async fn what_is_out_of_order_is_recorded_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let open = Open::at(&dir.path().join("journal.db"), &clock());
    let ad = full(EventType::AdStart, "{}");
    let answer = open.journal.append(append("a", vec![start(), ad])).await.unwrap();
    assert_eq!((answer.recorded, answer.warnings.len()), (2, 1));
    let detail = open.journal.detail(ME, "a".into()).await.unwrap();
    assert!(detail.warnings.unwrap().get().contains("outside an ad break"));
    open.close();
}

/// Contract section 13, line 19: a playhead beyond the content is told; a live one is the second of the day.
#[tokio::test]
async fn s13_a_playhead_beyond_the_content_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let open = Open::at(&dir.path().join("journal.db"), &clock());
    for (content, told) in [("VOD", 1), ("Live", 0), ("Linear", 0)] {
        let details = format!(r#"{{"name":"n","contentType":"{content}","length":90}}"#);
        let begin = full(EventType::SessionStart, &format!(r#"{{"playhead":0,"sessionDetails":{details}}}"#));
        let play = |playhead: f64| NewEvent {
            playhead,
            ..full(EventType::Play, &format!(r#"{{"playhead":{playhead}}}"#))
        };
        let events = vec![begin, play(90.0), play(90.5)];
        let answer = open.journal.append(append(content, events)).await.unwrap();
        assert_eq!(answer.warnings.len(), told, "{content}");
    }
    open.close();
}

async fn warnings_of(journal: &Journal, key: &str) -> String {
    let detail = journal.detail(ME, key.into()).await.unwrap();
    detail.warnings.map_or(String::new(), |warnings| warnings.get().to_owned())
}

/// Contract section 7: what a session comes to follows the times of its events, as its payload does.
#[tokio::test]
async fn s07_a_completed_session_is_judged_by_the_times_of_its_events() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let clock = clock();
    let open = Open::at(&path, &clock);
    let begin = || full(EventType::SessionStart, r#"{"playhead":0,"sessionDetails":{"name":"n"}}"#);
    let bare = |kind| full(kind, r#"{"playhead":1}"#);
    // A break that is told backwards.
    let backwards = |key: &str| {
        let events = vec![
            said(begin(), NOW),
            said(bare(EventType::Play), NOW + 100),
            said(bare(EventType::AdBreakComplete), NOW + 500),
            said(bare(EventType::AdBreakStart), NOW + 300),
        ];
        append(key, events)
    };
    assert_eq!(open.journal.append(backwards("idle")).await.unwrap().warnings.len(), 1);
    // An event that happened before the end it comes after; and one that did not.
    for (key, at) in [("early", NOW + 1000), ("late", NOW + 4000)] {
        let end = said(bare(EventType::SessionEnd), NOW + 3000);
        let ping = said(bare(EventType::Ping), at);
        let told = open.journal.append(append(key, vec![said(begin(), NOW), end, ping])).await.unwrap();
        assert!(told.warnings[0].1.problem.contains("after media.sessionEnd"));
    }
    // A start that is not the earliest.
    let behind = vec![said(begin(), NOW + 2000), said(bare(EventType::Play), NOW + 500)];
    open.journal.append(append("behind", behind)).await.unwrap();
    for key in ["early", "late", "behind"] {
        open.journal.complete(ME, key.into()).await.unwrap();
    }
    assert_eq!(warnings_of(&open.journal, "early").await, "");
    assert!(warnings_of(&open.journal, "late").await.contains("after media.sessionEnd"));
    assert!(warnings_of(&open.journal, "behind").await.contains("sent 1500 ms earlier"));

    let successor = async |open: &Open, key: &str| {
        let ping = full(EventType::Ping, r#"{"playhead":9}"#);
        open.journal.append(append(key, vec![ping])).await.unwrap();
        assert_eq!(warnings_of(&open.journal, key).await, "");
        let outgoing = open.journal.outgoing_by_key(ME, format!("{key}~2")).await.unwrap();
        outgoing.events.iter().map(|event| event.kind).collect::<Vec<_>>()
    };
    let plain = [EventType::SessionStart, EventType::Play, EventType::Ping];
    clock.advance(Duration::from_secs(600));
    assert_eq!(successor(&open, "idle").await, plain);
    // So it is when a new boot completes it.
    let again = Append { key: "boot".parse::<Key>().unwrap(), ..backwards("boot") };
    open.journal.append(again).await.unwrap();
    open.close();
    clock.reboot(1_800_001_000_000, "boot-2");
    let open = Open::at(&path, &clock);
    assert_eq!(successor(&open, "boot").await, plain);
    open.close();
}

/// Contract section 8: so is a session recorded event by event, when its player's own clock says that it lasted so long.
#[tokio::test]
async fn s08_times_of_more_than_24_hours_divide_a_session_before_it_is_sent() {
    const HOUR: i64 = 3_600_000;
    let dir = tempfile::tempdir().unwrap();
    let open = Open::at(&dir.path().join("journal.db"), &clock());
    for (key, hours, parts) in [("day", 24, 1), ("more", 30, 2)] {
        let begin = full(EventType::SessionStart, r#"{"playhead":0,"sessionDetails":{"name":"n"}}"#);
        let mut events = vec![said(begin, 0)];
        events.extend((1..=hours).map(|n| said(full(EventType::Ping, r#"{"playhead":1}"#), n * HOUR)));
        open.journal.append(append(key, events)).await.unwrap();
        open.journal.complete(ME, key.into()).await.unwrap();
        let id = open.journal.outgoing_by_key(ME, key.into()).await.unwrap().id;
        let second = open.journal.divide(id).await.unwrap();
        assert_eq!(second, (parts == 2).then(|| format!("{key}~2")));
        assert_eq!(open.journal.divide(id).await.unwrap(), None, "once");
        assert_eq!(warnings_of(&open.journal, key).await.contains("longer than 24 hours"), parts == 2);
    }
    open.close();
}

/// Product promise 4: a session that cannot be completed keeps no other one open, and nothing from being recorded.
#[tokio::test]
async fn a_session_that_cannot_be_completed_stops_no_other_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let clock = clock();
    let open = Open::at(&path, &clock);
    for (key, owner) in [("a", ME.uid), ("bad", 2000), ("c", ME.uid)] {
        open.journal.append(Append { owner, ..append(key, vec![start()]) }).await.unwrap();
    }
    open.close();
    #[expect(clippy::disallowed_methods, reason = "a fault of one user's rows, made from outside")]
    let rows = rusqlite::Connection::open(&path).unwrap();
    // A total that cannot grow any more.
    rows.execute(
        "INSERT INTO counters (owner, name, value) VALUES (2000, 'recorded', 9223372036854775807)",
        [],
    )
    .unwrap();
    drop(rows);
    let open = Open::at(&path, &clock);
    clock.advance(Duration::from_secs(600));
    open.journal.append(append("d", vec![start()])).await.unwrap();
    for (key, expected) in [("a", State::Completed), ("bad", State::Open), ("c", State::Completed)] {
        assert_eq!(open.journal.detail(ROOT, key.into()).await.unwrap().summary.state, expected, "{key}");
    }
    // It is tried again, though not at once.
    open.journal.complete_due().await.unwrap();
    let now = Clock::Manual(clock.clone()).now().boot_ms;
    assert_eq!(open.journal.signals().borrow().deadline, Some(now + 1000));
    assert_eq!(open.journal.complete(ME, "d".into()).await.unwrap(), (State::Completed, Why::Complete));
    open.close();
}
