//! What a journal is put through while its disk is recorded.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use afterplay::clock::ManualClock;
use afterplay::event::EventType;
use afterplay::journal::{Action, Append, Fit, NewEvent, Policy, Refusal, Settlement};
use afterplay::session::{Consent, Why};

use super::disk::{Disk, Entry};
use super::image::Image;
use super::journal::{Open, ROOT};
use super::opened::{self, WALL_MS, policy};
use super::oracle::Deed;
use super::vfs;

/// Everything that can be done to a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Workload {
    /// One session, one event a commit.
    Single,
    /// Many requests in one commit.
    GroupCommit,
    /// Many sessions of several users.
    ManySessions,
    /// Attempts, waits, deliveries; recording goes on meanwhile.
    Delivery,
    /// Sessions quarantined, expired and dropped, receipts forgotten.
    Expiry,
    /// A user's oldest sessions make room for new ones.
    Eviction,
    /// A journal is made, filled, closed and opened again.
    Creation,
    /// An opt-out, and a new beginning.
    Purge,
    /// A checkpoint after every few commits.
    Checkpoint,
    /// The checkpoint that comes by itself, after 512 pages.
    CheckpointEdge,
}

impl Workload {
    pub(crate) const ALL: [Workload; 10] = [
        Workload::Single,
        Workload::GroupCommit,
        Workload::ManySessions,
        Workload::Delivery,
        Workload::Expiry,
        Workload::Eviction,
        Workload::Creation,
        Workload::Purge,
        Workload::Checkpoint,
        Workload::CheckpointEdge,
    ];
}

/// What the recorded disk or the test gets wrong on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// SQLite runs with `synchronous = NORMAL`.
    Normal,
    /// Requests are acknowledged before they are handed in.
    EarlyAck,
    /// The WAL is not synced where an upload is confirmed.
    UnsyncedDelivery,
    /// The device says that it has flushed and has not.
    NoFlush,
}

/// A log and what it began with.
pub(crate) struct Recording {
    pub(crate) base: Image,
    pub(crate) entries: Vec<Entry>,
    pub(crate) deeds: Vec<Deed>,
    /// The first entry that matters.
    pub(crate) from: usize,
    /// Whether what a failed sync should have written never gets to the platter, however often it is synced again.
    pub(crate) gives_up: bool,
}

/// A folder in memory where the machine has one: nothing here is meant to last.
pub(crate) fn folder() -> tempfile::TempDir {
    let shared = Path::new("/dev/shm");
    let within = if shared.is_dir() { shared.to_owned() } else { std::env::temp_dir() };
    tempfile::Builder::new().prefix("afterplay-power-").tempdir_in(within).unwrap()
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

/// A journal with nothing in it, closed.
pub(crate) fn empty_journal() -> Image {
    let folder = folder();
    let clock = ManualClock::at(WALL_MS, "the boot before");
    opened::open(&folder.path().join("journal.db"), policy(), &clock).unwrap().close();
    Image::read(folder.path())
}

/// Runs a workload and records it.
pub(crate) fn record(workload: Workload, seed: u64, sabotage: Option<Sabotage>, empty: &Image) -> Recording {
    let base = if workload == Workload::Creation { Image::default() } else { empty.clone() };
    let mut stage = Stage::new(&base, seed);
    stage.sabotage = sabotage;
    if sabotage == Some(Sabotage::Normal) {
        stage.disk.replace_pragma("synchronous", "1");
    }
    stage.disk.ignores_flushes.store(sabotage == Some(Sabotage::NoFlush), Ordering::SeqCst);
    if workload == Workload::Checkpoint {
        stage.disk.replace_pragma("wal_autocheckpoint", "12");
    }
    if workload == Workload::Expiry {
        stage.policy.keep_quarantined_ms = 3_600_000;
        stage.policy.keep_receipts_ms = 3 * 3_600_000;
    }
    if workload == Workload::Eviction {
        stage.policy.evict = true;
        // Three requests of the workload, and not four.
        stage.policy.max_bytes_per_user = 3500;
    }
    stage.open().unwrap();
    runtime().block_on(stage.play(workload)).unwrap();
    stage.close();
    stage.recording(base)
}

/// A recorded journal and the test that uses it.
pub(crate) struct Stage {
    pub(crate) disk: Arc<Disk>,
    pub(crate) path: PathBuf,
    pub(crate) policy: Policy,
    pub(crate) clock: Arc<ManualClock>,
    opened: Option<Open>,
    deeds: RefCell<Vec<Deed>>,
    chance: RefCell<fastrand::Rng>,
    events: Cell<u64>,
    /// What the next request is expected to push out.
    evicts: Cell<Vec<String>>,
    from: usize,
    sabotage: Option<Sabotage>,
    folder: tempfile::TempDir,
}

impl Drop for Stage {
    fn drop(&mut self) {
        vfs::detach(self.folder.path());
    }
}

type Done = Result<(), Refusal>;

impl Stage {
    pub(crate) fn new(base: &Image, seed: u64) -> Stage {
        let folder = folder();
        base.write(folder.path());
        let names: Vec<&str> = base.files.keys().map(String::as_str).collect();
        let disk = Disk::holding(&names);
        vfs::attach(folder.path(), &disk);
        Stage {
            disk,
            path: folder.path().join("journal.db"),
            policy: policy(),
            clock: ManualClock::at(WALL_MS, "the first boot"),
            opened: None,
            deeds: RefCell::default(),
            chance: RefCell::new(fastrand::Rng::with_seed(seed)),
            events: Cell::new(0),
            evicts: Cell::default(),
            from: 0,
            sabotage: None,
            folder,
        }
    }

    pub(crate) fn open(&mut self) -> Result<(), afterplay::journal::OpenError> {
        self.opened = Some(opened::open(&self.path, self.policy.clone(), &self.clock)?);
        Ok(())
    }

    pub(crate) fn is_open(&self) -> bool {
        self.opened.is_some()
    }

    pub(crate) fn close(&mut self) {
        if let Some(opened) = self.opened.take() {
            opened.close();
        }
    }

    pub(crate) fn recording(&self, base: Image) -> Recording {
        Recording {
            base,
            entries: self.disk.entries(),
            deeds: self.deeds.borrow().clone(),
            from: self.from,
            gives_up: false,
        }
    }

    fn journal(&self) -> afterplay::journal::Journal {
        self.opened.as_ref().unwrap().journal.clone()
    }

    fn upto(&self, n: usize) -> usize {
        self.chance.borrow_mut().usize(0..n)
    }

    /// Does something and writes down what was asked for and what was answered.
    async fn enter<T>(
        &self,
        deed: Deed,
        work: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<T, Refusal> {
        let n = {
            let mut deeds = self.deeds.borrow_mut();
            deeds.push(deed);
            deeds.len() - 1
        };
        self.disk.note(Entry::Handed(n));
        let early = self.sabotage == Some(Sabotage::EarlyAck);
        if early {
            self.disk.note(Entry::Acknowledged(n));
        }
        let answer = work.await;
        if answer.is_ok() && !early {
            self.disk.note(Entry::Acknowledged(n));
        }
        answer
    }

    /// `count` events for a session, which is started with the first of them if `start`.
    pub(crate) async fn append(
        &self,
        owner: u32,
        key: &str,
        start: bool,
        count: usize,
        pad: usize,
        complete: Option<Why>,
    ) -> Done {
        let mut events = Vec::new();
        for n in 0..count {
            let kind = if start && n == 0 { EventType::SessionStart } else { EventType::Ping };
            let number = self.events.get();
            self.events.set(number + 1);
            let pad = if pad > 0 { pad } else { self.upto(120) };
            events.push(NewEvent {
                kind,
                seq: None,
                said_ms: None,
                playhead: 0.0,
                body: format!(
                    r#"{{"mediaEventType":"{kind}","number":{number},"pad":"{}"}}"#,
                    "x".repeat(pad)
                )
                .into(),
                title: (kind == EventType::SessionStart).then(|| format!("the title of {key}")),
                identity: None,
                lacks: (false, false),
            });
        }
        let bodies = events.iter().map(|event| String::from_utf8(event.body.to_vec()).unwrap()).collect();
        let append = Append { complete, ..Append::new(owner, key.parse().unwrap(), events) };
        let journal = self.journal();
        let evicted = self.evicts.take();
        let deed = Deed::Append { key: key.to_owned(), bodies, evicted };
        self.enter(deed, async move { journal.append(append).await }).await.map(drop)
    }

    async fn complete(&self, key: &str) -> Done {
        let journal = self.journal();
        let key = key.to_owned();
        self.enter(Deed::Touch, async move { journal.complete(ROOT, key).await }).await.map(drop)
    }

    /// Begins an attempt; answers the session's number and the attempt's.
    async fn attempt(&self, key: &str) -> Result<(i64, u32), Refusal> {
        let journal = self.journal();
        let outgoing = journal.outgoing_by_key(ROOT, key.to_owned()).await?;
        let timestamp_ms = outgoing.timestamp_ms.unwrap_or(WALL_MS + outgoing.id);
        let fit = Fit { budget: 1_000_000, gap_ms: -2 };
        let deed = Deed::Attempt { key: key.to_owned(), timestamp_ms };
        let begun = async move {
            let body = outgoing.events.iter().map(|event| &*event.body).collect::<String>();
            let begun = journal
                .begin_attempt(outgoing.id, Some(timestamp_ms), fit, outgoing.timing, body.as_bytes())
                .await?;
            begun.ok_or(Refusal::UnknownSession)
        };
        Ok((outgoing.id, self.enter(deed, begun).await?))
    }

    async fn settle(&self, deed: Deed, (id, attempt): (i64, u32), action: Action) -> Done {
        let journal = self.journal();
        let settlement = Settlement {
            id,
            attempt,
            status: Some(200),
            verdict: "a verdict",
            reason: "a reason".into(),
            detail: "a detail".into(),
            maybe_delivered: false,
            unsent: false,
            action,
            requeue: Vec::new(),
            book: r#"{"pause":null}"#.into(),
        };
        let unsynced = self.sabotage == Some(Sabotage::UnsyncedDelivery);
        self.disk.ignores_wal_flushes.store(unsynced, Ordering::SeqCst);
        let done = self.enter(deed, async move { journal.settle(settlement).await }).await;
        self.disk.ignores_wal_flushes.store(false, Ordering::SeqCst);
        done
    }

    async fn deliver(&self, key: &str, expired: &[&str], forgotten: &[&str]) -> Done {
        let attempt = self.attempt(key).await?;
        let receipt = format!(r#"{{"received":"{key}"}}"#);
        let owned = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
        let deed = Deed::Deliver {
            key: key.to_owned(),
            receipt: receipt.clone(),
            expired: owned(expired),
            forgotten: owned(forgotten),
        };
        self.settle(deed, attempt, Action::Deliver { receipt }).await
    }

    async fn wait(&self, key: &str) -> Done {
        let attempt = self.attempt(key).await?;
        self.settle(Deed::Touch, attempt, Action::Wait { ms: 5000, network: true, counts: false }).await
    }

    async fn quarantine(&self, key: &str) -> Done {
        let attempt = self.attempt(key).await?;
        self.settle(Deed::Touch, attempt, Action::Quarantine).await
    }

    async fn discard(&self, key: &str) -> Done {
        let journal = self.journal();
        let deed = Deed::Discard { key: key.to_owned() };
        let key = key.to_owned();
        self.enter(deed, async move { journal.discard(ROOT, key).await }).await
    }

    async fn consent(&self, consent: Consent) -> Done {
        let journal = self.journal();
        let deed = Deed::Consent { out: consent == Consent::Out };
        self.enter(deed, async move { journal.set_consent(consent).await }).await
    }

    async fn play(&mut self, workload: Workload) -> Done {
        match workload {
            Workload::Single => {
                self.append(0, "one", true, 1, 0, None).await?;
                for _ in 0..14 {
                    self.append(0, "one", false, 1, 0, None).await?;
                }
                self.complete("one").await
            }
            Workload::GroupCommit => self.together(7).await,
            Workload::ManySessions => self.mixed(16).await,
            Workload::Delivery => self.deliveries().await,
            Workload::Expiry => self.expiry().await,
            Workload::Eviction => {
                for n in 0..9 {
                    if n >= 3 {
                        self.evicts.set(vec![format!("e{}", n - 3)]);
                    }
                    self.append(7, &format!("e{n}"), true, 1, 800, Some(Why::Complete)).await?;
                }
                Ok(())
            }
            Workload::Creation => {
                self.append(0, "first", true, 2, 0, None).await?;
                self.close();
                self.clock.reboot(WALL_MS + 5000, "the second boot");
                self.open().map_err(|error| Refusal::Storage(error.to_string()))?;
                self.append(0, "second", true, 2, 0, None).await
            }
            Workload::Purge => {
                for key in ["a", "b", "c"] {
                    self.append(0, key, true, 2, 0, (key != "c").then_some(Why::Complete)).await?;
                }
                self.deliver("a", &[], &[]).await?;
                self.discard("b").await?;
                self.append(0, "d", true, 3, 0, None).await?;
                self.consent(Consent::Out).await?;
                self.consent(Consent::In).await?;
                self.append(0, "e", true, 2, 0, None).await
            }
            Workload::Checkpoint => {
                self.mixed(9).await?;
                self.deliveries().await
            }
            Workload::CheckpointEdge => {
                self.append(0, "large", true, 1, 0, None).await?;
                // 29 × 64 KB are about 470 pages of the 512.
                for _ in 0..29 {
                    self.append(0, "large", false, 1, 64_000, None).await?;
                }
                while std::fs::metadata(self.path.with_extension("db-wal")).map_or(0, |wal| wal.len())
                    < 505 * (4096 + 24)
                {
                    self.append(0, "large", false, 1, 0, None).await?;
                }
                self.from = self.disk.entries().len();
                for _ in 0..6 {
                    self.append(0, "large", false, 1, 0, None).await?;
                }
                Ok(())
            }
        }
    }

    /// `rounds` times a request for each of ten sessions at once.
    pub(crate) async fn together(&self, rounds: usize) -> Done {
        let keys: Vec<String> = (0..10).map(|n| format!("g{n}")).collect();
        for round in 0..rounds {
            let count = 1 + self.upto(2);
            let requests = keys.iter().map(|key| self.append(0, key, round == 0, count, 0, None)).collect();
            for done in opened::all(requests).await {
                done?;
            }
        }
        Ok(())
    }

    /// Sessions of three users, started and continued in no order.
    pub(crate) async fn mixed(&self, requests: usize) -> Done {
        let mut started: Vec<String> = Vec::new();
        for _ in 0..requests {
            let old = started.get(self.upto(started.len() * 2 + 1)).cloned();
            let start = old.is_none();
            let key = old.unwrap_or_else(|| format!("m{}", started.len()));
            let (count, complete) = (1 + self.upto(3), start && self.upto(4) == 0);
            let owner = 1000 + u32::from(key.as_bytes()[key.len() - 1] % 3);
            self.append(owner, &key, start, count, 0, complete.then_some(Why::Complete)).await?;
            if start && !complete {
                started.push(key);
            } else if complete {
                // Its number is taken, and nothing can be added to it.
                started.push(format!("n{}", started.len()));
                let key = started.last().cloned().unwrap();
                self.append(owner, &key, true, 1, 0, None).await?;
            }
        }
        Ok(())
    }

    pub(crate) async fn deliveries(&self) -> Done {
        self.append(0, "live", true, 1, 0, None).await?;
        for key in ["d1", "d2", "d3"] {
            self.append(0, key, true, 1 + self.upto(4), 0, Some(Why::Complete)).await?;
            if self.upto(2) == 0 {
                self.wait(key).await?;
                self.append(0, "live", false, 1, 0, None).await?;
            }
            // Recording goes on while an upload is settled.
            let (settled, recorded) =
                tokio::join!(self.deliver(key, &[], &[]), self.append(0, "live", false, 1, 0, None));
            settled?;
            recorded?;
        }
        Ok(())
    }

    pub(crate) async fn expiry(&self) -> Done {
        for key in ["q1", "q2", "d1", "x"] {
            self.append(0, key, true, 2, 0, Some(Why::Complete)).await?;
        }
        self.quarantine("q1").await?;
        self.deliver("d1", &[], &[]).await?;
        self.discard("x").await?;
        self.clock.advance(Duration::from_secs(2 * 3600));
        self.append(0, "d2", true, 1, 0, Some(Why::Complete)).await?;
        self.deliver("d2", &["q1"], &[]).await?;
        self.quarantine("q2").await?;
        self.clock.advance(Duration::from_secs(2 * 3600));
        self.append(0, "d3", true, 1, 0, Some(Why::Complete)).await?;
        self.deliver("d3", &["q2"], &["d1"]).await
    }

    /// A little of everything, each part whether or not the one before went well.
    pub(crate) async fn everything(&self) {
        let _ = self.append(0, "a", true, 2, 0, None).await;
        let _ = self.together(2).await;
        let _ = self.append(0, "b", true, 2, 0, Some(Why::Complete)).await;
        let _ = self.append(0, "c", true, 1, 0, Some(Why::Complete)).await;
        let _ = self.deliver("b", &[], &[]).await;
        let _ = self.append(0, "a", false, 1, 0, None).await;
        let _ = self.quarantine("c").await;
        let _ = self.discard("c").await;
        let _ = self.complete("a").await;
        let _ = self.append(0, "d", true, 3, 0, None).await;
        let _ = self.wait("a").await;
        let _ = self.append(0, "d", false, 1, 0, None).await;
    }
}
