//! A journal with sessions in all states, its files as a crash leaves them, and what is true of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use afterplay::clock::{Clock, ManualClock};
use afterplay::config::Thin;
use afterplay::event::EventType;
use afterplay::journal::{
    Action, Append, Fit, Journal, NewEvent, Outgoing, Policy, Refusal, Scope, Settlement,
};
use afterplay::session::{Key, State};
use afterplay::upload::{Shape, body_of};

use crate::journal::{self, Open, ROOT};

pub(crate) const OWNERS: [u32; 2] = [1000, 2000];
pub(crate) const PAGE: usize = 4096;
/// What the kernel says of the boot.
pub(crate) const BOOT: &str = "boot-1";

fn policy() -> Policy {
    Policy {
        implementation: r#"{"name":"https://example.com/a","version":"1","environment":"app"}"#.into(),
        max_bytes: 256 << 20,
        max_bytes_per_user: 256 << 20,
        max_open_per_user: 1000,
        ..journal::policy()
    }
}

/// Opens the journal of a trial.
pub(crate) fn open(path: &Path, clock: &Arc<ManualClock>) -> Open {
    Open::with(path, clock, policy()).unwrap()
}

/// The folder of a trial: in memory where there is such a place, since nothing here is about the disk's speed.
pub(crate) fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// A key that can be found in a page: fixed width, and with an end.
pub(crate) fn key(n: usize) -> String {
    format!("k-{n:05}-")
}

/// What is true of one session.
#[derive(Debug, Clone)]
pub(crate) struct Truth {
    pub(crate) state: State,
    /// The request body, where there is something to send.
    pub(crate) body: Option<Vec<u8>>,
}

/// The files of a journal and what is true of it.
pub(crate) struct Made {
    pub(crate) main: Vec<u8>,
    pub(crate) wal: Vec<u8>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) sessions: BTreeMap<String, Truth>,
    /// Keys that were dropped by a person.
    pub(crate) dropped: BTreeSet<String>,
    /// Events ever acknowledged.
    pub(crate) acknowledged: u64,
}

pub(crate) fn journal_in(dir: &Path) -> PathBuf {
    dir.join("journal.db")
}

/// The body that would be sent.
pub(crate) fn payload(outgoing: &Outgoing) -> Vec<u8> {
    let shape = Shape { budget: 10 << 20, thin: Thin::Never };
    body_of(outgoing, Some(1_795_000_000_000), &shape).unwrap().body
}

pub(crate) fn event(key: &str, n: usize, kind: EventType, pad: usize) -> NewEvent {
    let collection = match kind {
        EventType::SessionStart => format!(
            r#"{{"playhead":0,"sessionDetails":{{"name":"{key}","friendlyName":"{}","length":90,"contentType":"VOD","playerName":"p","channel":"c"}}}}"#,
            key.repeat(pad / key.len())
        ),
        _ => format!(
            r#"{{"playhead":{n},"qoeDataDetails":{{"framesPerSecond":{}}},"customMetadata":{{"a":"{}"}}}}"#,
            n % 60,
            key.repeat(pad / key.len())
        ),
    };
    let body = format!(
        r#"{{"mediaEventType":"{}","mediaEventTimestamp":"2026-05-28T20:26:40.{:03}Z","mediaCollection":{collection}}}"#,
        kind.as_str(),
        n % 1000,
    );
    NewEvent {
        kind,
        seq: Some(n as u64),
        said_ms: None,
        playhead: n as f64,
        body: body.into(),
        title: (kind == EventType::SessionStart).then(|| key.to_owned()),
        identity: (kind == EventType::SessionStart)
            .then(|| format!(r#"{{"FPID":[{{"id":"{key}","primary":true}}]}}"#)),
        lacks: (false, false),
    }
}

/// How far a session is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Open,
    Completed,
    Tried,
    Waiting,
    Delivered,
    Quarantined,
    Dropped,
}

impl Way {
    fn of(n: usize) -> Way {
        use Way as W;
        [W::Completed, W::Open, W::Tried, W::Delivered, W::Completed, W::Quarantined, W::Waiting, W::Dropped]
            [n % 8]
    }
}

pub(crate) async fn settle(journal: &Journal, id: i64, attempt: u32, action: Action) {
    let settlement = Settlement {
        id,
        attempt,
        status: Some(500),
        verdict: "backoff",
        reason: "test".into(),
        detail: "a test".into(),
        maybe_delivered: false,
        unsent: false,
        action,
        requeue: Vec::new(),
        book: "{}".into(),
    };
    journal.settle(settlement).await.unwrap();
}

async fn take(journal: &Journal, scope: Scope, key: &str, way: Way) {
    if way == Way::Open {
        return;
    }
    if way == Way::Dropped {
        return journal.discard(scope, key.into()).await.unwrap();
    }
    journal.complete(scope, key.into()).await.unwrap();
    if way == Way::Completed {
        return;
    }
    let outgoing = journal.outgoing_by_key(scope, key.into()).await.unwrap();
    let body = payload(&outgoing);
    let fit = Fit { budget: 10 << 20, gap_ms: -1 };
    let attempt = journal
        .begin_attempt(outgoing.id, Some(1_795_000_000_000), fit, outgoing.timing, &body)
        .await
        .unwrap()
        .unwrap();
    let action = match way {
        Way::Tried => Action::Wait { ms: 0, network: false, counts: true },
        Way::Waiting => Action::Wait { ms: 3_600_000, network: false, counts: false },
        Way::Delivered => Action::Deliver { receipt: r#"{"ok":true}"#.into() },
        _ => Action::Quarantine,
    };
    settle(journal, outgoing.id, attempt, action).await;
}

/// Records `range` of sessions, several at a time as players do, and takes each its way.
async fn record(journal: &Journal, clock: &ManualClock, range: std::ops::Range<usize>, events: usize) -> u64 {
    let mut acknowledged = 0;
    let all: Vec<usize> = range.collect();
    for group in all.chunks(4) {
        let keys: Vec<(usize, String)> = group.iter().map(|n| (*n, key(*n))).collect();
        for at in 0..events + 8 {
            for (n, key) in &keys {
                // Their numbers of events differ, and so do the sizes: some go over several pages.
                if at >= events + n % 8 {
                    continue;
                }
                let kind = if at == 0 { EventType::SessionStart } else { EventType::Ping };
                let pad = if (n + at) % 37 == 5 { 9000 } else { 80 + (n * 7 + at * 13) % 200 };
                let owner = OWNERS[n % 2];
                let append = Append::new(owner, key.parse::<Key>().unwrap(), vec![event(key, at, kind, pad)]);
                acknowledged += journal.append(append).await.unwrap().recorded;
            }
            clock.advance(Duration::from_millis(7));
        }
        for (n, key) in &keys {
            let scope = Scope { uid: OWNERS[n % 2], admin: false };
            take(journal, scope, key, Way::of(*n)).await;
        }
    }
    acknowledged
}

/// What is true of a session, by the journal before it was damaged.
pub(crate) async fn truth_of(journal: &Journal, key: &str) -> Result<Truth, Refusal> {
    let state = journal.detail(ROOT, key.into()).await?.summary.state;
    let mut body = None;
    if state != State::Delivered {
        let outgoing = journal.outgoing_by_key(ROOT, key.into()).await?;
        body = Some(payload(&outgoing));
    }
    Ok(Truth { state, body })
}

impl Made {
    /// `in_main` sessions in the main file, `in_wal` more in the log alone.
    pub(crate) async fn new(in_main: usize, in_wal: usize, events: usize) -> Made {
        Made::from(0, in_main, in_wal, events).await
    }

    /// The same, with the keys from `first` on.
    pub(crate) async fn from(first: usize, in_main: usize, in_wal: usize, events: usize) -> Made {
        let dir = folder();
        let path = journal_in(dir.path());
        let clock = ManualClock::at(1_795_000_000_000, BOOT);
        let open = self::open(&path, &clock);
        let mut acknowledged = record(&open.journal, &clock, first..first + in_main, events).await;
        open.close();
        let open = self::open(&path, &clock);
        acknowledged +=
            record(&open.journal, &clock, first + in_main..first + in_main + in_wal, events).await;
        let main = fs::read(&path).unwrap();
        let wal = if in_wal > 0 { fs::read(dir.path().join("journal.db-wal")).unwrap() } else { Vec::new() };
        let (mut sessions, mut dropped) = (BTreeMap::new(), BTreeSet::new());
        for n in first..first + in_main + in_wal {
            match truth_of(&open.journal, &key(n)).await {
                Ok(truth) => drop(sessions.insert(key(n), truth)),
                Err(Refusal::UnknownSession) => drop(dropped.insert(key(n))),
                Err(other) => panic!("{other}"),
            }
        }
        assert!(in_wal == 0 || !wal.is_empty());
        open.close();
        Made { main, wal, clock, sessions, dropped, acknowledged }
    }

    /// A clock of the same boot that nobody else moves.
    pub(crate) fn clock(&self) -> Arc<ManualClock> {
        let now = Clock::Manual(self.clock.clone()).now();
        let passed = now.boot_ms - 1000;
        let clock = ManualClock::at(now.wall_ms - passed, BOOT);
        clock.advance(Duration::from_millis(passed.unsigned_abs()));
        clock
    }
}
