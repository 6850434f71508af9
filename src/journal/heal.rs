//! Makes the journal whole again while the service runs: after a failed sync, and when its files were taken away.
//!
//! After a failed sync the kernel may drop what it could not write and say nothing the next time. Nothing is
//! acknowledged on such a connection: what was committed goes to the main file, the WAL begins anew, and the files are
//! opened and checked again.
//!
//! That reads the whole file. Where it does not help it is tried ever more seldom.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode};

use super::Refusal;
use super::core::{Core, cannot_start, tell_of_damage};
use super::fault::{self, OpenError};
use super::files::{self, beside};
use super::presence::{Files, Found};
use super::{attach, replace, schema};

/// The shortest wait, doubled each time.
const WAIT_MS: i64 = 1000;
/// The longest wait when the journal cannot be opened: players are to be served within 5 s of the end of the trouble.
const UNOPENED_MS: i64 = 4000;
/// The longest wait when it can be opened, and statements go on failing.
const USELESS_MS: i64 = 60_000;

/// When to try again what did not help.
#[derive(Debug, Default)]
struct Wait {
    tries: u32,
    until: i64,
}

impl Wait {
    fn lies_ahead(&self, now_ms: i64) -> bool {
        self.until > now_ms
    }

    fn begin(&mut self, now_ms: i64, most_ms: i64) {
        self.until = now_ms.saturating_add((WAIT_MS << self.tries.min(16)).min(most_ms));
        self.tries = self.tries.saturating_add(1);
    }
}

/// How often the journal was opened again, and when it may be next.
#[derive(Debug, Default)]
pub(super) struct Healing {
    healed: u64,
    /// Why it could not be opened, and how long that is not tried again.
    unopened: Option<(Refusal, Wait)>,
    /// How long statements that fail are no reason to open it again.
    useless: Wait,
}

impl Healing {
    pub(super) fn healed(&self) -> u64 {
        self.healed
    }

    /// Whether a statement that failed by its own fault is a reason to open the journal again. The first always is;
    /// after each time that it did not help a longer while has to pass. So much time without any is a success.
    pub(super) fn may_help(&mut self, now_ms: i64) -> bool {
        if self.useless.lies_ahead(now_ms) {
            return false;
        }
        if now_ms.saturating_sub(self.useless.until) > USELESS_MS {
            self.useless = Wait::default();
        }
        self.useless.begin(now_ms, USELESS_MS);
        true
    }

    /// Why it is of no use to open it again now.
    fn hopeless(&self, now_ms: i64) -> Option<Refusal> {
        self.unopened.as_ref().filter(|(_, wait)| wait.lies_ahead(now_ms)).map(|(why, _)| why.clone())
    }

    /// Whether it could be opened. The first failure may have been the last: it is tried again at once.
    fn note(&mut self, outcome: &Result<(), Refusal>, now_ms: i64) {
        match (outcome, self.unopened.take()) {
            (Ok(()), _) => self.healed += 1,
            (Err(why), None) => self.unopened = Some((why.clone(), Wait::default())),
            (Err(why), Some((_, mut wait))) => {
                wait.begin(now_ms, UNOPENED_MS);
                self.unopened = Some((why.clone(), wait));
            }
        }
    }
}

/// Whether a statement failed for a reason that lies in it or in what it was given: another connection would not do
/// better. What a disk or a damaged file can bring about is not among these.
pub(super) fn is_own_fault(error: &rusqlite::Error) -> bool {
    use ErrorCode as C;
    match error.sqlite_error_code() {
        // SQLite did its part, and what it gave was not understood.
        None => true,
        Some(code) => matches!(
            code,
            C::Unknown
                | C::ConstraintViolation
                | C::TypeMismatch
                | C::ApiMisuse
                | C::ParameterOutOfRange
                | C::TooBig
        ),
    }
}

impl Core {
    fn look_at_files(&self) -> Found {
        self.files.look(self.path(), self.clock.now().wall_ms)
    }

    /// Whether a commit is all that a commit comes to: nothing to heal, no space to make, nothing to erase.
    pub(super) fn is_calm(&self) -> bool {
        self.attached
            && !self.doubtful
            && !self.scrub
            && !self.reserve.is_missing()
            && self.look_at_files() == Found::InPlace
    }

    /// Whether the connection can be worked with; heals it if not.
    pub(super) fn make_sure(&mut self) -> Result<(), Refusal> {
        if !self.doubtful {
            match self.look_at_files() {
                Found::InPlace => return Ok(()),
                Found::LockGone => {
                    self.put_lock_back();
                    return Ok(());
                }
                Found::WalGone | Found::WalCut | Found::Gone | Found::Replaced => {}
            }
        }
        self.doubtful = true;
        let now_ms = self.clock.now().boot_ms;
        if let Some(why) = self.healing.hopeless(now_ms) {
            return Err(why);
        }
        let healed = self.heal();
        self.healing.note(&healed, now_ms);
        healed?;
        self.doubtful = false;
        Ok(())
    }

    /// Nothing depends on it but what a second instance is told: SQLite holds a lock of its own.
    fn put_lock_back(&mut self) {
        match files::lock_again(self.path(), &self.lock) {
            Ok(lock) => {
                self.lock = lock;
                self.files = Files::at(self.path());
                tracing::warn!("the journal's lock file had been removed; it was put back");
            }
            Err(error) => tracing::warn!("the journal's lock file was removed: {error}"),
        }
    }

    fn heal(&mut self) -> Result<(), Refusal> {
        // What a first try knew holds: nothing is acknowledged between two.
        if self.look_at_files() == Found::WalCut && self.cut.is_none() {
            self.cut = Some(self.known_before_cut());
        }
        self.conclude()?;
        self.let_go()?;
        let (conn, set_aside) = attach::open_files(self.path(), &self.clock.now()).map_err(unopened)?;
        self.conn = conn;
        self.attached = true;
        tell_of_damage(set_aside.as_ref());
        if let Some(problem) = problem_of(&self.conn)? {
            tracing::error!("the journal is damaged: {problem}");
            self.begin_anew().map_err(unopened)?;
        }
        match self.take_up() {
            Err(error) if cannot_start(&error) => {
                tracing::error!("the journal is damaged: {error}");
                self.begin_anew().map_err(unopened)?;
                self.take_up()?;
            }
            taken_up => taken_up?,
        }
        self.count_cut()?;
        self.files = Files::at(self.path());
        tracing::warn!("the journal was opened again and checked");
        Ok(())
    }

    /// What is committed reaches the main file, wherever that is, without any frame of the WAL that a failed sync may
    /// have left unwritten.
    fn conclude(&mut self) -> Result<(), Refusal> {
        if !self.attached {
            return Ok(());
        }
        if !self.conn.is_autocommit() {
            self.conn.execute_batch("ROLLBACK")?;
        }
        match self.look_at_files() {
            // Its frames would be read as nothing.
            Found::WalCut => {
                Ok(self.conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map(drop)?)
            }
            Found::InPlace | Found::LockGone => {
                self.checkpoint()?;
                replace::forget(self.path()).map_err(unopened)
            }
            Found::WalGone => {
                self.checkpoint()?;
                replace::forget(self.path()).map_err(unopened)?;
                // One that somebody else put there is none of ours.
                files::remove(&beside(self.path(), "-wal"))
                    .map_err(|error| Refusal::Storage(format!("removing a foreign WAL: {error}")))
            }
            Found::Gone => self.write_out_anew(),
            Found::Replaced => Err(Refusal::Storage(format!(
                "another file was put in the place of {}; restart the service to use that one",
                self.path().display()
            ))),
        }
    }

    /// Every committed frame into the main file, and the WAL emptied.
    fn checkpoint(&self) -> Result<(), Refusal> {
        match self.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
            // What is damaged cannot be concluded; opening it again sets it aside.
            Err(error) if fault::is_damage(&error) => Ok(()),
            done => Ok(done?),
        }
    }

    /// The main file was removed. Its data live on in the connection: they become a file again.
    fn write_out_anew(&mut self) -> Result<(), Refusal> {
        let path = self.path().to_owned();
        self.lock = files::lock_again(&path, &self.lock).map_err(unopened)?;
        let new = beside(&path, replace::NEW);
        let failed = |error: io::Error| Refusal::Storage(format!("writing {}: {error}", path.display()));
        files::remove(&new).map_err(failed)?;
        self.conn.execute("VACUUM INTO ?1", [new.to_string_lossy()])?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600))
            .and_then(|()| fs::File::open(&new)?.sync_all())
            .map_err(failed)?;
        replace::put_back(&path).map_err(unopened)?;
        tracing::error!(
            "the journal {} had been removed; it was written anew, nothing is lost",
            path.display()
        );
        Ok(())
    }

    /// Closes the connection; nothing can be done with the journal until it is opened again.
    fn let_go(&mut self) -> Result<(), Refusal> {
        let nothing = schema::no_files()?;
        self.attached = false;
        drop(std::mem::replace(&mut self.conn, nothing));
        Ok(())
    }

    /// Saves what was removed from under the connection, and puts the WAL into the main file.
    pub(super) fn close(mut self) {
        // Anything written behind a cut would make its hole look like frames.
        if self.look_at_files() == Found::WalCut
            && let Err(refusal) = self.make_sure()
        {
            tracing::error!("what the cut log held could not be counted: {refusal}");
        }
        if self.look_at_files() != Found::WalCut
            && let Err(error) = self.note_last_moment()
        {
            tracing::warn!("how long this boot lasted was not written down: {error}");
        }
        if let Err(refusal) = self.conclude() {
            tracing::warn!("the last checkpoint failed; the next start makes up for it: {refusal}");
        }
    }
}

fn unopened(error: OpenError) -> Refusal {
    match error {
        OpenError::Sqlite { source, .. } => source.into(),
        other => Refusal::Storage(other.to_string()),
    }
}

/// The first thing that SQLite finds wrong.
fn problem_of(conn: &Connection) -> Result<Option<String>, Refusal> {
    match conn.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0)) {
        Ok(said) => Ok((said != "ok").then_some(said)),
        Err(error) if fault::is_damage(&error) => Ok(Some(error.to_string())),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::ManualClock;
    use crate::journal::Trust;
    use crate::journal::anchors::tests::core;

    #[test]
    fn statements_that_go_on_failing_have_the_journal_opened_ever_more_seldom() {
        let mut healing = Healing::default();
        let mut now = 5;
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert!(healing.may_help(now));
            assert!(!healing.may_help(now + 1));
            assert!(!healing.may_help(now + seconds * 1000 - 1));
            now += seconds * 1000;
        }
        // Nothing failed for a minute beyond the wait.
        now += 60_000 + USELESS_MS + 1;
        assert!(healing.may_help(now));
        assert!(healing.may_help(now + 1000), "it begins anew");
    }

    #[test]
    fn a_journal_that_cannot_be_opened_is_tried_often_enough() {
        let mut healing = Healing::default();
        let why = || Err(Refusal::Storage("no".into()));
        let mut now = 5;
        for seconds in [0, 1, 2, 4, 4, 4] {
            assert!(healing.hopeless(now).is_none());
            healing.note(&why(), now);
            assert_eq!(healing.hopeless(now).is_some(), seconds > 0);
            now += seconds * 1000;
            assert!(seconds == 0 || healing.hopeless(now - 1).is_some());
        }
        healing.note(&Ok(()), now);
        assert_eq!(healing.healed(), 1);
        healing.note(&why(), now);
        assert!(healing.hopeless(now).is_none(), "it begins anew");
    }

    #[test]
    fn a_disk_is_told_from_a_statement() {
        let failure = |code| rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
        let conn = Connection::open_in_memory().unwrap();
        assert!(is_own_fault(&conn.prepare("SELECT nothing FROM nowhere").unwrap_err()));
        assert!(is_own_fault(&rusqlite::Error::QueryReturnedNoRows));
        let wrong = conn.query_row("SELECT NULL", [], |row| row.get::<_, i64>(0));
        assert!(is_own_fault(&wrong.unwrap_err()));
        assert!(is_own_fault(&failure(rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE)));
        use rusqlite::ffi;
        for code in [
            ffi::SQLITE_IOERR,
            ffi::SQLITE_IOERR_FSYNC,
            ffi::SQLITE_FULL,
            ffi::SQLITE_CORRUPT,
            ffi::SQLITE_NOTADB,
            ffi::SQLITE_CANTOPEN,
            ffi::SQLITE_READONLY,
            ffi::SQLITE_NOMEM,
            ffi::SQLITE_BUSY,
            ffi::SQLITE_LOCKED,
            ffi::SQLITE_ABORT,
            ffi::SQLITE_PROTOCOL,
            ffi::SQLITE_INTERNAL,
        ] {
            assert!(!is_own_fault(&failure(code)), "{code}");
        }
    }

    #[test]
    fn a_statement_that_always_fails_has_the_journal_opened_once_and_again_after_a_while() {
        let clock = ManualClock::at(1_790_000_000_000, "a");
        let (mut core, _dir) = core(&clock, Trust::Kernel);
        let fail = |core: &mut Core, times: usize| {
            for _ in 0..times {
                core.begin().unwrap();
                let failed: Refusal = core.conn.prepare("SELECT nothing FROM nowhere").unwrap_err().into();
                assert!(matches!(failed, Refusal::Fault(_)), "{failed}");
                core.note(&failed);
                core.rollback().unwrap();
            }
        };
        fail(&mut core, 50);
        assert_eq!(core.healing.healed(), 1);
        clock.advance(Duration::from_secs(1));
        fail(&mut core, 50);
        assert_eq!(core.healing.healed(), 2);
        clock.advance(Duration::from_secs(1));
        fail(&mut core, 50);
        assert_eq!(core.healing.healed(), 2, "two seconds now");
        // A disk that fails, and a commit that does, are no matter of patience.
        for healed in 3..10 {
            core.note(&Refusal::Storage("a disk".into()));
            core.begin().unwrap();
            core.rollback().unwrap();
            assert_eq!(core.healing.healed(), healed);
        }
        core.recover(&Refusal::Fault("a commit".into()));
        core.begin().unwrap();
        assert_eq!(core.healing.healed(), 10);
    }
}
