//! A journal on a recorded disk, and what can be done to it one deed at a time.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

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

/// A recorded journal and the test that uses it.
pub(crate) struct Stage {
    pub(crate) disk: Arc<Disk>,
    pub(crate) path: PathBuf,
    pub(crate) policy: Policy,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) opened: Option<Open>,
    pub(crate) deeds: RefCell<Vec<Deed>>,
    pub(crate) chance: RefCell<fastrand::Rng>,
    pub(crate) events: Cell<u64>,
    /// What the next request is expected to push out.
    pub(crate) evicts: Cell<Vec<String>>,
    pub(crate) from: usize,
    pub(crate) sabotage: Option<Sabotage>,
    folder: tempfile::TempDir,
}

impl Drop for Stage {
    fn drop(&mut self) {
        vfs::detach(self.folder.path());
    }
}

pub(crate) type Done = Result<(), Refusal>;

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

    pub(crate) fn journal(&self) -> afterplay::journal::Journal {
        self.opened.as_ref().unwrap().journal.clone()
    }

    pub(crate) fn upto(&self, n: usize) -> usize {
        self.chance.borrow_mut().usize(0..n)
    }

    /// Does something and writes down what was asked for and what was answered.
    pub(crate) async fn enter<T>(
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

    pub(crate) async fn complete(&self, key: &str) -> Done {
        let journal = self.journal();
        let key = key.to_owned();
        self.enter(Deed::Touch, async move { journal.complete(ROOT, key).await }).await.map(drop)
    }

    /// Begins an attempt; answers the session's number and the attempt's.
    pub(crate) async fn attempt(&self, key: &str) -> Result<(i64, u32), Refusal> {
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

    pub(crate) async fn settle(&self, deed: Deed, (id, attempt): (i64, u32), action: Action) -> Done {
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

    pub(crate) async fn deliver(&self, key: &str, expired: &[&str], forgotten: &[&str]) -> Done {
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

    pub(crate) async fn wait(&self, key: &str) -> Done {
        let attempt = self.attempt(key).await?;
        self.settle(Deed::Touch, attempt, Action::Wait { ms: 5000, network: true, counts: false }).await
    }

    pub(crate) async fn quarantine(&self, key: &str) -> Done {
        let attempt = self.attempt(key).await?;
        self.settle(Deed::Touch, attempt, Action::Quarantine).await
    }

    pub(crate) async fn discard(&self, key: &str) -> Done {
        let journal = self.journal();
        let deed = Deed::Discard { key: key.to_owned() };
        let key = key.to_owned();
        self.enter(deed, async move { journal.discard(ROOT, key).await }).await
    }

    pub(crate) async fn consent(&self, consent: Consent) -> Done {
        let journal = self.journal();
        let deed = Deed::Consent { out: consent == Consent::Out };
        self.enter(deed, async move { journal.set_consent(consent).await }).await
    }
}
