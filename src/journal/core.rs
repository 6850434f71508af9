//! What the journal's thread owns: the connection, and the open sessions in memory.
//!
//! The memory is a copy of what the rows say. Jobs decide first, write, and touch the memory last; when a commit
//! fails the memory is read again from the rows.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use rusqlite::ffi::SQLITE_IOERR_WRITE;
use rusqlite::{Connection, ErrorCode, OptionalExtension, params};

use super::attach::{Claim, Opened};
use super::cut::Cut;
use super::fault::{self, OpenError};
use super::heal::{self, Healing};
use super::open::Open;
use super::presence::Files;
use super::replace::{self, SetAside};
use super::space::Reserve;
use super::undo::Undo;
use super::{Policy, Refusal, Signals, aside, schema};
use crate::anchor::boots::History;
use crate::clock::{Clock, Moment};
use crate::session::{self, Consent, Key, Why};

/// Rough cost of an event's row besides its body, for the quotas.
pub(super) const ROW_BYTES: i64 = 120;

/// Bytes of a page in the WAL.
const WAL_FRAME: i64 = schema::PAGE_BYTES + 24;
/// Bytes that the WAL may be longer than it need be.
pub(super) const WAL_SLACK: i64 = 64 << 10;

/// Pages given back after each commit on a full disk: as much as a WAL of little room holds.
const SHRINK_PAGES: i64 = 64;

/// The total of the events of all sessions that are no longer open, wherever they have gone.
pub(super) const RECORDED: &str = "recorded";

pub(super) struct Core {
    pub(super) conn: Connection,
    pub(super) clock: Clock,
    pub(super) policy: Policy,
    pub(super) boot: i64,
    pub(super) history: History,
    pub(super) open: HashMap<i64, Open>,
    pub(super) open_by_key: HashMap<(u32, Key), i64>,
    /// Bytes that the events of each user take, about.
    pub(super) taken: HashMap<u32, i64>,
    /// There may be pages to give back to the file system.
    pub(super) hollow: bool,
    /// Sessions are going out, and there was another when the uploader asked last.
    pub(super) draining: bool,
    /// Bytes known to be free under the quota; the pages are counted again when they are used up.
    pub(super) spare: i64,
    pub(super) next_event: i64,
    pub(super) consent: Consent,
    pub(super) work: u64,
    pub(super) changed: u64,
    /// When the next deadline of an open session may have come; early is harmless, late is not.
    pub(super) deadline: Option<i64>,
    /// Erased rows must leave the file before the answer goes out.
    pub(super) scrub: bool,
    /// Boot time of the last look for what has expired.
    pub(super) expired_at: Option<i64>,
    /// The memory was changed by the job that is running, in a way that only the rows undo.
    pub(super) touched: bool,
    /// What else the job that is running changed.
    pub(super) undo: Undo,
    /// Given up when there is no space left.
    pub(super) reserve: Reserve,
    /// The connection failed in a way after which it cannot be trusted.
    pub(super) doubtful: bool,
    /// How often it was opened again, and when it may be next.
    pub(super) healing: Healing,
    /// A log that was cut, until what it held is counted.
    pub(super) cut: Option<Cut>,
    /// Whether `conn` is one to the files.
    pub(super) attached: bool,
    /// The files it writes to.
    pub(super) files: Files,
    pub(super) lock: File,
    path: PathBuf,
}

impl From<rusqlite::types::FromSqlError> for Refusal {
    fn from(error: rusqlite::types::FromSqlError) -> Refusal {
        Refusal::Damaged(error.to_string())
    }
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Refusal {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Refusal::NoSpace("no space is left on its file system".into()),
            _ if error.sqlite_error().is_some_and(|error| error.extended_code == SQLITE_IOERR_WRITE) => {
                Refusal::NoSpace(
                    "its file system takes no more: a quota, a limit of file size, or a fault".into(),
                )
            }
            _ if heal::is_own_fault(&error) => Refusal::Fault(error.to_string()),
            _ => Refusal::Storage(error.to_string()),
        }
    }
}

/// Whether what a start does cannot be done with these rows.
pub(super) fn cannot_start(error: &rusqlite::Error) -> bool {
    fault::is_damage(error) || error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation)
}

/// Says in the log that a damaged journal was replaced.
pub(super) fn tell_of_damage(set_aside: Option<&SetAside>) {
    if let Some(aside) = set_aside {
        aside.tell();
    }
}

impl Core {
    pub(super) fn open(claim: Claim, policy: Policy, clock: Clock) -> Result<Core, OpenError> {
        let now_ms = clock.now().boot_ms;
        let Opened { conn, claim: Claim { path, lock, reserve }, set_aside } = claim.open(&clock)?;
        let mut core = Core {
            conn,
            consent: policy.initial_consent,
            clock,
            policy,
            boot: 0,
            history: History::default(),
            open: HashMap::new(),
            open_by_key: HashMap::new(),
            taken: HashMap::new(),
            hollow: true,
            draining: false,
            spare: 0,
            next_event: 1,
            work: 0,
            changed: 0,
            deadline: None,
            scrub: false,
            expired_at: None,
            touched: false,
            undo: Undo::default(),
            reserve,
            doubtful: false,
            healing: Healing::default(),
            cut: None,
            attached: true,
            files: Files::default(),
            lock,
            path: path.clone(),
        };
        tell_of_damage(set_aside.as_ref());
        let failed = |source| OpenError::Sqlite { path: path.clone(), source };
        let mut begun_anew = false;
        while let Err(error) = core.start() {
            if cannot_start(&error) && !begun_anew {
                tracing::warn!("the journal cannot be read: {error}");
                begun_anew = true;
                core.begin_anew()?;
                continue;
            }
            core.roll_back().map_err(failed)?;
            let error = failed(error);
            if !error.is_full() || !core.reserve.give_up(now_ms) {
                return Err(error);
            }
            // A WAL that has reached the main file is room.
            core.shrink();
        }
        if let Err(refusal) = core.take_reserve(now_ms) {
            tracing::error!("nothing is recorded for now: {refusal}");
        }
        core.limit_wal().map_err(failed)?;
        // Frames that the last process could not sync may be in the kernel's memory alone: they reach the main file, and
        // a sync of their own, before anything relies on them.
        core.checkpoint_quietly();
        // An opt-out that the last process did not see to the end.
        core.scrub = core.consent == Consent::Out;
        core.after_commit();
        core.files = Files::at(&path);
        Ok(core)
    }

    /// Puts a new journal in the place of a damaged one, with what can be saved.
    pub(super) fn begin_anew(&mut self) -> Result<(), OpenError> {
        let failed = |source| OpenError::Sqlite { path: self.path.clone(), source };
        let nothing = schema::no_files().map_err(failed)?;
        self.attached = false;
        drop(std::mem::replace(&mut self.conn, nothing));
        let (conn, set_aside) = replace::begin_anew(&self.path, &self.clock.now())?;
        self.conn = conn;
        self.attached = true;
        tell_of_damage(set_aside.as_ref());
        Ok(())
    }

    fn roll_back(&self) -> rusqlite::Result<()> {
        if self.conn.is_autocommit() { Ok(()) } else { self.conn.execute_batch("ROLLBACK") }
    }

    /// Writes down which boot this is.
    fn name_boot(&mut self) -> rusqlite::Result<()> {
        let now = self.clock.now();
        self.boot = self.enter_boot(&now)?;
        Ok(())
    }

    /// Takes up a connection that is new while everything else goes on.
    pub(super) fn take_up(&mut self) -> rusqlite::Result<()> {
        self.conn.execute_batch("BEGIN IMMEDIATE")?;
        self.name_boot()?;
        self.conn.execute_batch("COMMIT")?;
        self.limit_wal()?;
        self.touched = false;
        self.note_change();
        self.reload()
    }

    /// What every start does, in one commit: names the boot, ends what the last process or boot left under way.
    fn start(&mut self) -> rusqlite::Result<()> {
        self.conn.execute_batch("BEGIN IMMEDIATE")?;
        self.name_boot()?;
        self.close_interrupted_attempts()?;
        self.end_network_waits_of_other_boots()?;
        self.reload()?;
        self.look_at_clock()?;
        let now = self.now();
        for (id, open) in self.left_by_other_boots()? {
            // A review that fails costs nothing but the review: what is wrong with the file shows in what follows.
            let reviewed = if open.span.out_of_order { self.review(id).ok().flatten() } else { None };
            // The player may have ended it; then nothing goes on under its key.
            let why = if open.times.closed_ms.is_some() { Why::End } else { Why::Boot };
            self.write_completion(id, &open, reviewed.as_ref(), why, &now)?;
        }
        self.expire(&now)?;
        self.conn.execute_batch("COMMIT")?;
        self.reload()?;
        self.note_change();
        Ok(())
    }

    /// What was read of a session before may no longer be so.
    pub(super) fn note_change(&mut self) {
        self.work += 1;
        self.changed += 1;
    }

    /// The present moment, as the journal writes it down.
    pub(super) fn now(&self) -> Moment {
        let now = self.clock.now();
        Moment { boot: self.boot, boot_ms: now.boot_ms, wall_ms: now.wall_ms }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn signals(&self) -> Signals {
        Signals {
            work: self.work,
            changed: self.changed,
            deadline: self.deadline,
            consent: self.consent,
            healed: self.healing.healed(),
        }
    }

    /// Reads the memory from the rows.
    pub(super) fn reload(&mut self) -> rusqlite::Result<()> {
        self.consent = self.setting("consent")?.unwrap_or(self.policy.initial_consent);
        self.next_event =
            self.conn.query_row("SELECT coalesce(max(id), 0) + 1 FROM events", [], |row| row.get(0))?;
        self.history = self.read_history()?;
        let open = self.read_open("started_boot = ?1")?;
        self.open_by_key =
            open.iter().map(|(id, session)| ((session.owner, session.key.clone()), *id)).collect();
        self.open = open;
        self.taken = self.read_taken()?;
        self.spare = 0;
        self.deadline = None;
        for open in self.open.values() {
            let (at, _) = session::deadline(&open.times, &self.policy.limits);
            self.deadline = Some(self.deadline.map_or(at, |old| old.min(at)));
        }
        Ok(())
    }

    fn read_taken(&self) -> rusqlite::Result<HashMap<u32, i64>> {
        let mut taken: HashMap<u32, i64> = self
            .conn
            .prepare(
                "SELECT owner, sum(bytes + events * ?1) FROM sessions
                 WHERE state IN ('completed', 'quarantined') GROUP BY owner",
            )?
            .query_map([ROW_BYTES], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        for open in self.open.values() {
            *taken.entry(open.owner).or_default() += open.run.bytes + open.run.events * ROW_BYTES;
        }
        Ok(taken)
    }

    /// A single value of the journal.
    pub(super) fn setting<T: serde::de::DeserializeOwned>(&self, name: &str) -> rusqlite::Result<Option<T>> {
        let text: Option<String> = self
            .conn
            .prepare_cached("SELECT value FROM settings WHERE name = ?1")?
            .query_row([name], |row| row.get(0))
            .optional()?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// Replaces a single value of the journal; one that is the same already costs no write.
    pub(super) fn set_setting<T: serde::Serialize>(&self, name: &str, value: &T) -> Result<(), Refusal> {
        let text = serde_json::to_string(value).map_err(|error| Refusal::Storage(error.to_string()))?;
        self.conn
            .prepare_cached(
                "INSERT INTO settings (name, value) VALUES (?1, ?2)
                 ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE value <> excluded.value",
            )?
            .execute([name, &text])?;
        Ok(())
    }

    /// Adds to a total of a user's.
    pub(super) fn count(&self, owner: u32, name: &str, by: i64) -> rusqlite::Result<()> {
        self.conn
            .prepare_cached(
                "INSERT INTO counters (owner, name, value) VALUES (?1, ?2, ?3)
                 ON CONFLICT (owner, name) DO UPDATE SET value = value + excluded.value",
            )?
            .execute(params![owner, name, by])?;
        Ok(())
    }

    pub(super) fn begin(&mut self) -> Result<(), Refusal> {
        self.make_sure()?;
        self.begin_calm()
    }

    /// The same when it is known that there is nothing to heal.
    pub(super) fn begin_calm(&mut self) -> Result<(), Refusal> {
        self.forget_undo();
        self.spend_on_commit();
        Ok(self.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([]).map(drop)?)
    }

    pub(super) fn savepoint(&mut self) -> Result<(), Refusal> {
        self.forget_undo();
        Ok(self.conn.prepare_cached("SAVEPOINT job")?.execute([]).map(drop)?)
    }

    pub(super) fn release(&self) -> Result<(), Refusal> {
        Ok(self.conn.prepare_cached("RELEASE job")?.execute([]).map(drop)?)
    }

    /// Undoes one job of several. Fails when SQLite already undid the whole transaction.
    pub(super) fn rollback_to_savepoint(&mut self) -> Result<(), Refusal> {
        if self.conn.is_autocommit() {
            return Err(Refusal::Storage("the transaction was rolled back".into()));
        }
        self.conn.execute_batch("ROLLBACK TO job; RELEASE job")?;
        self.forget_touched()
    }

    /// Undoes the only job of a transaction.
    pub(super) fn rollback(&mut self) -> Result<(), Refusal> {
        self.roll_back()?;
        self.forget_touched()
    }

    fn forget_undo(&mut self) {
        self.touched = false;
        self.undo = Undo::default();
    }

    fn forget_touched(&mut self) -> Result<(), Refusal> {
        let undo = std::mem::take(&mut self.undo);
        if std::mem::take(&mut self.touched) {
            self.reload()?;
        } else {
            self.undo(undo);
        }
        Ok(())
    }

    pub(super) fn commit(&mut self) -> Result<(), Refusal> {
        if !self.conn.is_autocommit() {
            self.conn.prepare_cached("COMMIT")?.execute([])?;
        }
        Ok(())
    }

    /// What a job that failed says about the connection: a disk that is only full keeps its promises; after anything
    /// else that is not the job's own fault the connection is not trusted before it was opened again.
    pub(super) fn note(&mut self, failure: &Refusal) {
        match failure {
            Refusal::NoSpace(_) => self.run_short(),
            Refusal::Storage(_) => self.doubtful = true,
            Refusal::Fault(_) => self.doubtful |= self.healing.may_help(self.clock.now().boot_ms),
            _ => {}
        }
    }

    /// After a commit that failed: back to what the file says.
    pub(super) fn recover(&mut self, failure: &Refusal) {
        self.note(failure);
        // Whatever the reason: nobody knows what the file holds.
        self.doubtful |= matches!(failure, Refusal::Fault(_));
        self.touched = true;
        if let Err(error) = self.rollback() {
            self.doubtful = true;
            tracing::error!("reading the journal again after a failed commit: {error}");
        }
    }

    /// Holds disk space in reserve, and the WAL so short that it fits into that.
    pub(super) fn take_reserve(&mut self, now_ms: i64) -> Result<(), Refusal> {
        if self.reserve.take(now_ms).map_err(no_space)? {
            self.limit_wal()?;
        }
        Ok(())
    }

    /// Gives pages that deliveries have freed back to a disk that is full. The WAL keeps its blocks: they would be
    /// gone. A try: it may lack the space itself.
    fn shrink(&mut self) {
        // First, so that the main file grows into what was just given up and the WAL begins anew in its own blocks.
        self.checkpoint_quietly();
        if let Err(error) = self.vacuum(SHRINK_PAGES) {
            tracing::debug!("the journal could not be made smaller: {error}");
        }
        self.checkpoint_quietly();
    }

    pub(super) fn checkpoint_quietly(&mut self) {
        if let Err(error) = self.conn.execute_batch("PRAGMA wal_checkpoint(PASSIVE)") {
            tracing::debug!("no checkpoint for now: {error}");
            // A sync may be what failed.
            self.note(&error.into());
        }
    }

    fn limit_wal(&self) -> rusqlite::Result<()> {
        let pages = self.reserve.wal_pages();
        // What one large commit lengthened it by is given back when it begins anew; not what any commit does.
        let most = pages * WAL_FRAME + WAL_SLACK;
        self.conn.pragma_update_and_check(None, "journal_size_limit", most, |_| Ok(()))?;
        self.conn.pragma_update(None, "wal_autocheckpoint", pages)
    }

    /// A write found no space.
    fn run_short(&mut self) {
        let first = !self.reserve.is_missing();
        self.reserve.give_up(self.clock.now().boot_ms);
        if first {
            tracing::error!(
                "no space is left for the journal: nothing new is recorded until there is, uploads go on"
            );
        }
    }

    /// What cannot be done inside a transaction: pages and WAL frames of erased rows leave the files. When that fails
    /// it is tried again after the next commit.
    pub(super) fn after_commit(&mut self) {
        if self.reserve.is_missing() && self.attached {
            self.shrink();
        }
        if self.scrub {
            let vacuumed = self.conn.execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)");
            self.files = Files::at(&self.path);
            let removed = aside::erase(&self.path);
            match (vacuumed, removed) {
                (Ok(()), Ok(())) => self.scrub = false,
                (Err(error), _) => tracing::warn!("erased rows have not left the file yet: {error}"),
                (_, Err(error)) => tracing::warn!("a copy of the journal is still there: {error}"),
            }
        }
    }
}

fn no_space(error: std::io::Error) -> Refusal {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    match error.kind() {
        StorageFull | QuotaExceeded | FileTooLarge => {
            Refusal::Full("its file system has no space left for the reserve that deliveries need".into())
        }
        _ => Refusal::Storage(format!("keeping disk space in reserve: {error}")),
    }
}
