//! What is taken, what is refused, and for whom there is room.

use std::time::Duration;

use afterplay::event::EventType;
use afterplay::journal::{Append, Fit, NewEvent, Next, Policy, Refusal, Scope, Telling};
use afterplay::session::{Consent, State, Why};

use crate::journal::{Open, ROOT, policy};
use crate::{ME, append, clock, event, full, ping, start};

#[tokio::test]
async fn requests_that_wait_together_are_answered_together_and_each_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let open = Open::at(&dir.path().join("journal.db"), &clock());
    let mut waiting = tokio::task::JoinSet::new();
    for n in 0..40 {
        let journal = open.journal.clone();
        // Every other session has no start and must be refused without harm to its neighbours.
        let first = if n % 2 == 0 { start() } else { ping(0) };
        waiting
            .spawn(async move { (n, journal.append(append(&format!("s{n}"), vec![first, ping(1)])).await) });
    }
    while let Some(answer) = waiting.join_next().await {
        let (n, answer) = answer.unwrap();
        match answer {
            Ok(appended) => assert_eq!((n % 2, appended.recorded, appended.seq), (0, 2, 1)),
            Err(refusal) => assert!(n % 2 == 1 && matches!(refusal, Refusal::NotStarted), "{refusal}"),
        }
    }
    let page = open.journal.list(ME, None, 100, None).await.unwrap();
    assert_eq!(page.sessions.len(), 20);
    assert!(page.sessions.iter().all(|session| session.events == 2));
    open.close();
}

#[tokio::test]
async fn an_append_is_all_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let open = Open::at(&dir.path().join("journal.db"), &clock());
    open.journal.append(append("a", vec![start(), ping(1)])).await.unwrap();
    let other = NewEvent { body: "{\"other\":1}".into(), ..ping(1) };
    let refused = open.journal.append(append("a", vec![ping(2), other, ping(3)])).await;
    assert!(matches!(refused, Err(Refusal::Sequence(_))), "{refused:?}");
    let events = open.journal.recorded(ME, "a".into()).await.unwrap();
    assert_eq!(events.iter().map(|event| event.seq).collect::<Vec<_>>(), [0, 1]);
    // Several sessions in one call stand or fall together, in memory as well as on disk.
    let refused =
        open.journal.append_all(vec![append("b", vec![start()]), append("a", vec![ping(9), start()])]).await;
    assert!(refused.is_err());
    assert!(matches!(open.journal.recorded(ME, "b".into()).await, Err(Refusal::UnknownSession)));
    assert_eq!(open.journal.append(append("a", vec![ping(2)])).await.unwrap().seq, 2);
    assert!(open.journal.append(append("b", vec![start()])).await.unwrap().created);
    open.close();
}

#[tokio::test]
async fn a_restart_in_the_same_boot_goes_on_and_a_new_boot_completes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let clock = clock();
    let open = Open::at(&path, &clock);
    open.journal.append(append("a", vec![start(), ping(1)])).await.unwrap();
    clock.advance(Duration::from_secs(1));
    open.journal.append(append("b", vec![start()])).await.unwrap();
    open.journal.append(append("b", vec![event(EventType::SessionEnd, "{}")])).await.unwrap();
    open.close();

    clock.advance(Duration::from_secs(1));
    let open = Open::at(&path, &clock);
    assert_eq!(open.journal.signals().borrow().deadline, Some(7000), "the grace of b goes on");
    assert_eq!(open.journal.append(append("a", vec![ping(1), ping(2)])).await.unwrap().duplicates, 1);
    clock.advance(Duration::from_secs(5));
    open.journal.complete_due().await.unwrap();
    let detail = open.journal.detail(ME, "b".into()).await.unwrap();
    assert_eq!((detail.summary.state, detail.summary.why), (State::Completed, Some(Why::End)));
    open.close();

    clock.reboot(1_800_001_000_000, "boot-2");
    let open = Open::at(&path, &clock);
    let detail = open.journal.detail(ME, "a".into()).await.unwrap();
    assert_eq!((detail.summary.state, detail.summary.why), (State::Completed, Some(Why::Boot)));
    assert_eq!(detail.summary.events, 3);
    let Next::Ready(id) = open.journal.next_due(Vec::new(), Telling::NOBODY).await.unwrap() else {
        panic!("nothing due")
    };
    let outgoing = open.journal.outgoing(id).await.unwrap().unwrap();
    assert_eq!(outgoing.events.len(), 3);
    open.close();
}

/// A box that is switched off at the end of a film: the player's own end counts, not the boot.
#[tokio::test]
async fn nothing_goes_on_after_the_players_end_and_a_boot() {
    for end in [EventType::SessionComplete, EventType::SessionEnd] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.db");
        let clock = clock();
        let open = Open::at(&path, &clock);
        open.journal.append(append("a", vec![start(), ping(1), event(end, "{}")])).await.unwrap();
        open.close();
        clock.reboot(1_800_001_000_000, "boot-2");
        let open = Open::at(&path, &clock);
        let detail = open.journal.detail(ME, "a".into()).await.unwrap();
        assert_eq!((detail.summary.state, detail.summary.why), (State::Completed, Some(Why::End)), "{end:?}");
        for late in [EventType::Ping, EventType::SessionComplete] {
            let refused = open.journal.append(append("a", vec![event(late, "{}")])).await.unwrap_err();
            assert!(matches!(refused, Refusal::Completed { why: Why::End, .. }), "{late:?}: {refused:?}");
        }
        open.close();
    }
}

#[tokio::test]
async fn a_deadline_holds_whether_or_not_a_timer_fired() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let open = Open::at(&dir.path().join("journal.db"), &clock);
    open.journal.append(append("a", vec![start()])).await.unwrap();
    // A wall clock that leaps is not time that passed.
    clock.set_wall(4_000_000_000_000);
    assert_eq!(open.journal.append(append("a", vec![ping(1)])).await.unwrap().recorded, 1);
    clock.advance(Duration::from_secs(600));
    let late = open.journal.append(append("a", vec![event(EventType::SessionEnd, "{}")])).await.unwrap();
    assert_eq!((late.recorded, late.state), (0, State::Completed));
    open.close();
}

/// Contract section 13, line 9: an ad names its player; the configuration does if it does not.
#[tokio::test]
async fn s13_an_ad_without_a_player_takes_that_of_its_session() {
    let dir = tempfile::tempdir().unwrap();
    for (n, name) in [None, Some("acme-stb".to_owned())].into_iter().enumerate() {
        let policy = Policy { player_name: name.clone(), ..policy() };
        let clock = clock();
        let open = Open::with(&dir.path().join(format!("{n}.db")), &clock, policy).unwrap();
        let ad = NewEvent { lacks: (true, false), ..full(EventType::AdStart, r#"{"playhead":0}"#) };
        let wrong = |answer: Result<_, Refusal>| match answer {
            Ok(_) => None,
            Err(Refusal::Invalid(problems)) => Some(problems[0].path.clone()),
            Err(other) => panic!("{other}"),
        };
        let at = |prefix: &str| {
            name.is_none().then(|| format!("{prefix}mediaCollection.advertisingDetails.playerName"))
        };
        let whole = Append { batch: true, ..append("a", vec![start(), ad.clone()]) };
        assert_eq!(wrong(open.journal.append(whole).await), at("[1]."));
        open.journal.append(append("b", vec![start()])).await.unwrap();
        assert_eq!(wrong(open.journal.append(append("b", vec![ad.clone()])).await), at(""));
        let outgoing = open.journal.outgoing_by_key(ME, "b".into()).await.unwrap();
        assert_eq!(outgoing.player_name, name);
        // So does an ad with which a successor begins, and one that comes later in it.
        clock.advance(Duration::from_secs(600));
        assert_eq!(wrong(open.journal.append(append("b", vec![ad.clone()])).await), at(""));
        open.journal.append(append("b", vec![full(EventType::Ping, r#"{"playhead":1}"#)])).await.unwrap();
        assert_eq!(wrong(open.journal.append(append("b", vec![ad])).await), at(""));
        let successor = open.journal.outgoing_by_key(ME, "b~2".into()).await.unwrap();
        assert_eq!(successor.player_name, name);
        open.close();
    }
}

#[tokio::test]
async fn a_full_quota_refuses_and_gives_way() {
    let dir = tempfile::tempdir().unwrap();
    let open =
        Open::with(&dir.path().join("journal.db"), &clock(), Policy { max_bytes: 1 << 20, ..policy() })
            .unwrap();
    let large = |n: u64| NewEvent {
        body: format!("{{\"seq\":{n},\"pad\":\"{}\"}}", "x".repeat(60_000)).into(),
        ..ping(n)
    };
    open.journal.append(append("a", vec![start()])).await.unwrap();
    let mut taken = 0;
    let refusal = loop {
        match open.journal.append(append("a", vec![large(taken + 1)])).await {
            Ok(_) => taken += 1,
            Err(refusal) => break refusal,
        }
        assert!(taken < 30, "the quota does not hold");
    };
    assert!(matches!(refusal, Refusal::Full(_)), "{refusal}");
    assert_eq!(open.journal.recorded(ME, "a".into()).await.unwrap().len() as u64, taken + 1);
    open.journal.discard(ME, "a".into()).await.unwrap();
    assert!(open.journal.append(append("b", vec![start()])).await.unwrap().created);
    open.close();
}

#[tokio::test]
async fn users_do_not_see_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let open = Open::at(&dir.path().join("journal.db"), &clock());
    let other = Scope { uid: 2000, admin: false };
    open.journal.append(append("same", vec![start(), ping(1)])).await.unwrap();
    let theirs = Append { owner: other.uid, ..append("same", vec![start()]) };
    assert!(open.journal.append(theirs).await.unwrap().created);
    assert_eq!(open.journal.recorded(ME, "same".into()).await.unwrap().len(), 2);
    assert_eq!(open.journal.recorded(other, "same".into()).await.unwrap().len(), 1);
    assert!(matches!(open.journal.recorded(ROOT, "same".into()).await, Err(Refusal::Ambiguous(_))));
    open.journal.discard(other, "same".into()).await.unwrap();
    assert!(matches!(open.journal.detail(other, "same".into()).await, Err(Refusal::UnknownSession)));
    assert_eq!(open.journal.detail(ROOT, "same".into()).await.unwrap().summary.uid, ME.uid);
    let status = open.journal.status(other).await.unwrap();
    assert_eq!((status.stored, status.sessions.len()), (0, 0));
    open.close();
}

#[tokio::test]
async fn one_user_cannot_fill_the_others_room() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let small = Policy { max_bytes_per_user: 110_000, ..policy() };
    let open = Open::with(&path, &clock(), small.clone()).unwrap();
    let large = |n: u64| NewEvent { body: format!("\"{}\"", "x".repeat(30_000)).into(), ..ping(n) };
    open.journal.append(append("a", vec![start(), large(1), large(2), large(3)])).await.unwrap();
    let refused = open.journal.append(append("a", vec![large(4)])).await;
    assert!(matches!(refused, Err(Refusal::Full(_))), "{refused:?}");
    let theirs = Append { owner: 2000, ..append("b", vec![start(), large(1)]) };
    assert_eq!(open.journal.append(theirs).await.unwrap().recorded, 2);
    open.close();
    // The same after a restart, and room that was given back can be used again.
    let open = Open::with(&path, &clock(), small).unwrap();
    assert!(open.journal.append(append("a", vec![large(4)])).await.is_err());
    open.journal.discard(ME, "a".into()).await.unwrap();
    assert!(open.journal.append(append("c", vec![start(), large(1)])).await.is_ok());
    open.close();
}

#[tokio::test]
async fn no_attempt_begins_once_consent_is_pending() {
    let dir = tempfile::tempdir().unwrap();
    let open = Open::at(&dir.path().join("journal.db"), &clock());
    open.journal.append(append("a", vec![start()])).await.unwrap();
    open.journal.complete(ME, "a".into()).await.unwrap();
    let outgoing = open.journal.outgoing_by_key(ME, "a".into()).await.unwrap();
    let begin = || {
        let fit = Fit { budget: 1 << 20, gap_ms: -1 };
        open.journal.begin_attempt(outgoing.id, None, fit, outgoing.timing, b"{}")
    };
    open.journal.set_consent(Consent::Pending).await.unwrap();
    assert_eq!(begin().await.unwrap(), None);
    open.journal.set_consent(Consent::In).await.unwrap();
    assert_eq!(begin().await.unwrap(), Some(1));
    open.close();
}

#[tokio::test]
async fn an_attempt_that_was_counted_and_not_made_gets_an_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let clock = clock();
    let open = Open::at(&path, &clock);
    open.journal.append(append("a", vec![start()])).await.unwrap();
    open.journal.complete(ME, "a".into()).await.unwrap();
    let outgoing = open.journal.outgoing_by_key(ME, "a".into()).await.unwrap();
    let fit = Fit { budget: 1 << 20, gap_ms: -1 };
    // The commit of the first reached the disk and was taken for one that failed.
    for n in 1..=2 {
        let begun = open.journal.begin_attempt(outgoing.id, None, fit, outgoing.timing, b"{}").await.unwrap();
        assert_eq!(begun, Some(n));
    }
    let attempts = open.journal.detail(ME, "a".into()).await.unwrap().attempts;
    assert!(attempts[0].ended_at.is_some() && attempts[1].ended_at.is_none(), "{attempts:?}");
    open.close();
    let open = Open::at(&path, &clock);
    assert_eq!(open.journal.status(ROOT).await.unwrap().possible_duplicates, 1, "the one under way alone");
    open.close();
}
