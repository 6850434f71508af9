//! The journal by itself, on real files: what is acknowledged is there, what is refused is not.
#![allow(clippy::unwrap_used, reason = "a helper that cannot go on fails the test")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use afterplay::clock::{Clock, ManualClock};
use afterplay::event::EventType;
use afterplay::journal::{
    Append, Journal, Made, NewEvent, Next, Policy, Refusal, Scope, Split, Trust, Writer,
};
use afterplay::session::{Consent, Key, Limits, Loss, State, Why};

const ME: Scope = Scope { uid: 1000, admin: false };
const ROOT: Scope = Scope { uid: 0, admin: true };

fn policy() -> Policy {
    Policy {
        limits: Limits { idle_ms: 600_000, age_ms: 86_400_000, grace_ms: 5000 },
        identity: None,
        player_name: None,
        channel: None,
        implementation: r#"{"name":"n","version":"1","environment":"app"}"#.into(),
        max_bytes: 64 << 20,
        max_bytes_per_user: 48 << 20,
        evict: false,
        max_open_per_user: 64,
        keep_receipts_ms: 86_400_000,
        keep_quarantined_ms: 86_400_000,
        hold_max_ms: 7 * 86_400_000,
        trust: Trust::Kernel,
        initial_consent: Consent::In,
    }
}

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

fn start() -> NewEvent {
    event(EventType::SessionStart, r#"{"mediaEventType":"media.sessionStart"}"#)
}

fn ping(n: u64) -> NewEvent {
    NewEvent {
        seq: Some(n),
        ..event(EventType::Ping, &format!(r#"{{"mediaEventType":"media.ping","seq":{n}}}"#))
    }
}

fn append(key: &str, events: Vec<NewEvent>) -> Append {
    Append::new(ME.uid, key.parse::<Key>().unwrap(), events)
}

struct Open {
    journal: Journal,
    writer: Writer,
}

impl Open {
    fn at(path: &Path, clock: &Arc<ManualClock>) -> Open {
        Open::with(path, clock, policy())
    }

    fn with(path: &Path, clock: &Arc<ManualClock>, policy: Policy) -> Open {
        let (journal, writer) = Journal::open(path, policy, Clock::Manual(clock.clone())).unwrap();
        Open { journal, writer }
    }

    fn close(self) {
        drop(self.journal);
        self.writer.join();
    }
}

fn clock() -> Arc<ManualClock> {
    ManualClock::at(1_800_000_000_000, "boot-1")
}

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
    let Next::Ready(id) = open.journal.next_due(Vec::new(), true).await.unwrap() else {
        panic!("nothing due")
    };
    let outgoing = open.journal.outgoing(id).await.unwrap().unwrap();
    assert_eq!(outgoing.events.len(), 3);
    open.close();
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

fn full(kind: EventType, collection: &str) -> NewEvent {
    let body = format!(r#"{{"mediaEventType":"{kind}","mediaCollection":{collection}}}"#);
    event(kind, &body)
}

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

fn said(event: NewEvent, said_ms: i64) -> NewEvent {
    NewEvent { said_ms: Some(said_ms), ..event }
}

async fn warnings_of(journal: &Journal, key: &str) -> String {
    let detail = journal.detail(ME, key.into()).await.unwrap();
    detail.warnings.map_or(String::new(), |warnings| warnings.get().to_owned())
}

/// Contract section 7: what a session comes to follows the times of its events, as its payload does.
#[tokio::test]
async fn s07_a_completed_session_is_judged_by_the_times_of_its_events() {
    const NOW: i64 = 1_800_000_000_000;
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
async fn s08_times_of_more_than_24_hours_divide_a_session_when_it_is_completed() {
    const HOUR: i64 = 3_600_000;
    let dir = tempfile::tempdir().unwrap();
    let open = Open::at(&dir.path().join("journal.db"), &clock());
    for (key, hours, parts) in [("day", 24, 1), ("more", 30, 2)] {
        let begin = full(EventType::SessionStart, r#"{"playhead":0,"sessionDetails":{"name":"n"}}"#);
        let mut events = vec![said(begin, 0)];
        events.extend((1..=hours).map(|n| said(full(EventType::Ping, r#"{"playhead":1}"#), n * HOUR)));
        open.journal.append(append(key, events)).await.unwrap();
        open.journal.complete(ME, key.into()).await.unwrap();
        let second = open.journal.detail(ME, format!("{key}~2")).await;
        assert_eq!(second.is_ok(), parts == 2, "{key}");
        assert_eq!(warnings_of(&open.journal, key).await.contains("longer than 24 hours"), parts == 2);
    }
    open.close();
}

/// Contract section 13, line 9: an ad names its player; the configuration does if it does not.
#[tokio::test]
async fn s13_an_ad_without_a_player_takes_that_of_its_session() {
    let dir = tempfile::tempdir().unwrap();
    for (n, name) in [None, Some("acme-stb".to_owned())].into_iter().enumerate() {
        let policy = Policy { player_name: name.clone(), ..policy() };
        let open = Open::with(&dir.path().join(format!("{n}.db")), &clock(), policy);
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
        assert_eq!(wrong(open.journal.append(append("b", vec![ad])).await), at(""));
        let outgoing = open.journal.outgoing_by_key(ME, "b".into()).await.unwrap();
        assert_eq!(outgoing.player_name, name);
        open.close();
    }
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
async fn damage_is_noticed_before_a_byte_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let clock = clock();
    for (table, change) in [
        ("events", "body = replace(body, 'ping', 'pong')"),
        ("events", "wall_ms = wall_ms + 1"),
        ("events", "seq = 7"),
        ("events", "type = 'media.play'"),
        ("sessions", "identity_map = '{}'"),
        ("sessions", "completed_sum = 1"),
    ] {
        let open = Open::at(&path, &clock);
        open.journal.append(append("a", vec![start(), ping(1), ping(2)])).await.unwrap();
        open.journal.complete(ME, "a".into()).await.unwrap();
        open.close();
        let sql = match table {
            "events" => format!("UPDATE events SET {change} WHERE n = 1"),
            _ => format!("UPDATE sessions SET {change}"),
        };
        edit(&path, &sql);
        let open = Open::at(&path, &clock);
        if let Next::Ready(id) = open.journal.next_due(Vec::new(), true).await.unwrap() {
            let outgoing = open.journal.outgoing(id).await;
            assert!(matches!(outgoing, Err(Refusal::Damaged(_))), "{change}: {outgoing:?}");
        } else {
            // A row that does not prove itself is found at the start: what can be proven of it is set apart, else it
            // is a loss with its name.
            let state = open.journal.detail(ME, "a".into()).await.map(|detail| detail.summary.state);
            let lost = open.journal.status(ROOT).await.unwrap().losses.get(&Loss::Corrupt).copied();
            match state {
                Ok(state) => assert_eq!(state, State::Quarantined, "{change}"),
                Err(refusal) => assert_eq!(lost, Some(3), "{change}: {refusal}"),
            }
        }
        match open.journal.discard(ME, "a".into()).await {
            Ok(()) | Err(Refusal::UnknownSession) => {}
            Err(refusal) => panic!("{change}: {refusal}"),
        }
        open.close();
    }
}

/// Changes the file behind the journal's back.
#[allow(clippy::disallowed_methods, reason = "damage is done from outside")]
fn edit(path: &Path, sql: &str) {
    rusqlite::Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

#[tokio::test]
async fn opting_out_leaves_no_trace_in_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let open = Open::at(&path, &clock());
    let marked = |n: usize| NewEvent {
        body: format!("{{\"mediaEventType\":\"media.ping\",\"trace\":\"tell-tale-{n}\"}}").into(),
        ..event(EventType::Ping, "")
    };
    for key in ["tell-tale-a", "tell-tale-b"] {
        let start = NewEvent {
            title: Some("tell-tale title".into()),
            identity: Some(r#"{"Email":[{"id":"tell-tale@example.com","primary":true}]}"#.into()),
            ..start()
        };
        open.journal.append(append(key, vec![start])).await.unwrap();
        for n in 0..200 {
            open.journal.append(append(key, vec![marked(n)])).await.unwrap();
        }
    }
    open.journal.discard(ME, "tell-tale-b".into()).await.unwrap();
    let fpid = open.journal.identity().await.unwrap();
    let found = |needle: &str| {
        std::fs::read_dir(dir.path()).unwrap().any(|file| {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            bytes.windows(needle.len()).any(|window| window == needle.as_bytes())
        })
    };
    assert!(found("tell-tale") && found(&fpid), "the search must be able to find something");
    open.journal.set_consent(Consent::Out).await.unwrap();
    assert!(!found("tell-tale"));
    assert!(!found(&fpid));
    let refused = open.journal.append(append("c", vec![start()])).await;
    assert!(matches!(refused, Err(Refusal::ConsentOut)));
    let status = open.journal.status(ROOT).await.unwrap();
    assert_eq!(status.stored, 0);
    assert_eq!(status.losses.values().sum::<u64>(), 402);
    open.close();
}

#[tokio::test]
async fn opting_out_erases_journals_that_were_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    std::fs::write(&path, "a tell-tale journal that cannot be read\n".repeat(300)).unwrap();
    std::fs::write(dir.path().join("journal.db-wal"), "tell-tale").unwrap();
    let others = ["journal.db.damagedly", "other.db.damaged-1"].map(|name| dir.path().join(name));
    for other in &others {
        std::fs::write(other, "not ours").unwrap();
    }
    let open = Open::at(&path, &clock());
    let names = || -> Vec<String> {
        let entries = std::fs::read_dir(dir.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let aside = || names().into_iter().filter(|name| name.starts_with("journal.db.damaged-")).count();
    assert!(aside() > 0, "{:?}", names());
    open.journal.set_consent(Consent::Pending).await.unwrap();
    assert!(aside() > 0, "only opting out erases");
    // A second name for the bytes, to see what becomes of them on the disk.
    let kept = dir.path().join("link");
    let set_aside = names().into_iter().find(|name| name.starts_with("journal.db.damaged-")).unwrap();
    std::fs::hard_link(dir.path().join(set_aside), &kept).unwrap();
    open.journal.set_consent(Consent::Out).await.unwrap();
    assert_eq!(aside(), 0, "{:?}", names());
    assert!(std::fs::read(&kept).unwrap().iter().all(|byte| *byte == 0), "overwritten before they go");
    assert!(others.iter().all(|other| other.exists()));
    open.close();
}

#[tokio::test]
async fn a_full_quota_refuses_and_gives_way() {
    let dir = tempfile::tempdir().unwrap();
    let open =
        Open::with(&dir.path().join("journal.db"), &clock(), Policy { max_bytes: 1 << 20, ..policy() });
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
    let small = Policy { max_bytes_per_user: 100_000, ..policy() };
    let open = Open::with(&path, &clock(), small.clone());
    let large = |n: u64| NewEvent { body: format!("\"{}\"", "x".repeat(30_000)).into(), ..ping(n) };
    open.journal.append(append("a", vec![start(), large(1), large(2), large(3)])).await.unwrap();
    let refused = open.journal.append(append("a", vec![large(4)])).await;
    assert!(matches!(refused, Err(Refusal::Full(_))), "{refused:?}");
    let theirs = Append { owner: 2000, ..append("b", vec![start(), large(1)]) };
    assert_eq!(open.journal.append(theirs).await.unwrap().recorded, 2);
    open.close();
    // The same after a restart, and room that was given back can be used again.
    let open = Open::with(&path, &clock(), small);
    assert!(open.journal.append(append("a", vec![large(4)])).await.is_err());
    open.journal.discard(ME, "a".into()).await.unwrap();
    assert!(open.journal.append(append("c", vec![start(), large(1)])).await.is_ok());
    open.close();
}

/// Where a session is cut that is not too large for anything, and the name of its second part.
async fn cut(journal: &Journal, name: &str, at: usize) -> String {
    let whole = journal.outgoing_by_key(ME, name.into()).await.unwrap();
    let made = |kind: EventType, at: usize| Made {
        kind,
        body: format!(r#"{{"mediaEventType":"{kind}","mediaCollection":{{"playhead":2}}}}"#),
        times: whole.events[at].times,
    };
    let split = Split {
        id: whole.id,
        second: (at..whole.events.len()).collect(),
        closing: vec![made(EventType::SessionEnd, at - 1)],
        opening: vec![made(EventType::SessionStart, at)],
        warning: "cut in two".into(),
    };
    journal.split(split).await.unwrap().unwrap()
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
