//! What a test's folder went through, in one log: what SQLite did to the files, and what the test was told.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A call of SQLite that can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Open,
    Delete,
    Access,
    Read,
    Write,
    Truncate,
    Sync,
    Size,
    Lock,
    SharedMemory,
}

/// How it goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The device fails. Any call.
    Eio,
    /// No space is left. Writes only.
    Full,
    /// Half is written, then no space is left. Writes only.
    Short,
}

impl Trouble {
    fn concerns(self, call: Call) -> bool {
        self == Trouble::Eio || call == Call::Write
    }
}

/// What was written; in messages only how much.
#[derive(Clone)]
pub(crate) struct Bytes(pub(crate) Arc<[u8]>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// One entry of the log.
#[derive(Debug, Clone)]
pub(crate) enum Entry {
    /// The folder got a file of this name.
    Created { inode: usize, name: String },
    /// The folder lost it.
    Deleted { name: String, synced: bool },
    /// Bytes went into a file.
    Wrote { inode: usize, at: u64, bytes: Bytes },
    /// A file was cut or stretched.
    Truncated { inode: usize, size: u64 },
    /// Everything before is on the platter: of this file, and, if so, of the folder.
    Synced { inode: usize, folder: bool },
    /// A sync came back with an error.
    SyncFailed { inode: usize },
    /// The database itself was opened.
    Opened,
    /// The test handed something to the journal: the number of the deed.
    Handed(usize),
    /// The journal said that it is done and durable.
    Acknowledged(usize),
}

#[derive(Debug, Default)]
struct Written {
    entries: Vec<Entry>,
    names: HashMap<String, usize>,
    inodes: usize,
}

/// When to fail.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Counted from 1, among the calls that this trouble concerns.
    pub(crate) at: u64,
    pub(crate) trouble: Trouble,
    /// Concerns only calls of this kind.
    pub(crate) only: Option<Call>,
    /// From then on all of them, until the plan is taken back.
    pub(crate) for_good: bool,
}

/// The files of one folder.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    written: Mutex<Written>,
    plan: Mutex<Option<Plan>>,
    calls: AtomicU64,
    /// Says that a flush is done without doing it.
    pub(crate) ignores_flushes: AtomicBool,
    /// The same, for the WAL alone.
    pub(crate) ignores_wal_flushes: AtomicBool,
    /// Pragmas that get another value than the journal gave.
    instead: Mutex<HashMap<&'static str, &'static str>>,
}

impl Disk {
    /// A folder that holds these files, all of them on the platter. Their inodes are their positions.
    pub(crate) fn holding(names: &[&str]) -> Arc<Disk> {
        let disk = Disk::default();
        {
            let mut written = disk.lock();
            written.inodes = names.len();
            written.names = names.iter().enumerate().map(|(n, name)| ((*name).to_owned(), n)).collect();
        }
        Arc::new(disk)
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log so far.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.lock().entries.clone()
    }

    /// Adds to the log.
    pub(crate) fn note(&self, entry: Entry) {
        self.lock().entries.push(entry);
    }

    /// Replaces the value of a pragma; it may be no longer than what the journal gives.
    pub(crate) fn replace_pragma(&self, name: &'static str, value: &'static str) {
        self.instead.lock().unwrap_or_else(PoisonError::into_inner).insert(name, value);
    }

    pub(crate) fn instead(&self, name: &str) -> Option<&'static str> {
        self.instead.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied()
    }

    /// Sets or takes back what goes wrong.
    pub(crate) fn fail(&self, plan: Option<Plan>) {
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = plan;
        self.calls.store(0, Ordering::SeqCst);
    }

    /// How many calls the present plan concerned so far.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// Told before each call: whether it goes wrong, and how.
    pub(crate) fn call(&self, call: Call) -> Option<Trouble> {
        let plan = (*self.plan.lock().unwrap_or_else(PoisonError::into_inner))?;
        if !plan.trouble.concerns(call) || plan.only.is_some_and(|only| only != call) {
            return None;
        }
        let n = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let fails = if plan.for_good { n >= plan.at } else { n == plan.at };
        fails.then_some(plan.trouble)
    }

    pub(crate) fn swallows_sync(&self, name: &str) -> bool {
        self.ignores_flushes.load(Ordering::SeqCst)
            || (self.ignores_wal_flushes.load(Ordering::SeqCst) && name.ends_with("-wal"))
    }

    pub(crate) fn opened(&self, name: &str, main: bool) -> usize {
        let mut written = self.lock();
        let known = written.names.get(name).copied();
        let inode = known.unwrap_or_else(|| {
            let inode = written.inodes;
            written.inodes += 1;
            written.names.insert(name.to_owned(), inode);
            written.entries.push(Entry::Created { inode, name: name.to_owned() });
            inode
        });
        if main {
            written.entries.push(Entry::Opened);
        }
        inode
    }

    pub(crate) fn deleted(&self, name: &str, synced: bool) {
        let mut written = self.lock();
        written.names.remove(name);
        written.entries.push(Entry::Deleted { name: name.to_owned(), synced });
    }

    pub(crate) fn wrote(&self, inode: usize, at: u64, bytes: &[u8]) {
        self.note(Entry::Wrote { inode, at, bytes: Bytes(bytes.into()) });
    }

    pub(crate) fn truncated(&self, inode: usize, size: u64) {
        self.note(Entry::Truncated { inode, size });
    }

    pub(crate) fn synced(&self, inode: usize, folder: bool) {
        self.note(Entry::Synced { inode, folder });
    }

    pub(crate) fn sync_failed(&self, inode: usize) {
        self.note(Entry::SyncFailed { inode });
    }
}
