//! Makes the journal whole again while the service runs: after a failed sync, and when its files were taken away.
//!
//! After a failed sync the kernel may drop what it could not write and say nothing the next time. Nothing is
//! acknowledged on such a connection: what was committed goes to the main file, the WAL begins anew, and the files are
//! opened and checked again.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::Refusal;
use super::core::{Core, cannot_start, tell_of_damage};
use super::schema::{self, OpenError, beside};

/// What tells a file from another that takes its place: device and number.
type FileId = (u64, u64);

/// The files that the connection writes to.
#[derive(Debug, Default)]
pub(super) struct Files {
    main: Option<FileId>,
    wal: Option<FileId>,
}

/// What has become of the files.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// They are where they were.
    InPlace,
    /// The WAL was removed: what it holds is lost with the connection.
    WalGone,
    /// The main file was removed.
    Gone,
    /// Somebody put another file in its place.
    Replaced,
}

fn id_of(path: &Path) -> io::Result<FileId> {
    fs::metadata(path).map(|file| (file.dev(), file.ino()))
}

impl Files {
    /// The files at `path`, as they are now.
    pub(super) fn at(path: &Path) -> Files {
        Files { main: id_of(path).ok(), wal: id_of(&beside(path, "-wal")).ok() }
    }

    fn look(&self, path: &Path) -> Found {
        let differs = |known: Option<FileId>, path: &Path| match (known, id_of(path)) {
            (None, _) => None,
            (Some(_), Err(error)) if error.kind() == io::ErrorKind::NotFound => Some(Found::Gone),
            // A folder that cannot be searched says nothing about what is in it.
            (Some(_), Err(_)) => None,
            (Some(known), Ok(now)) => (known != now).then_some(Found::Replaced),
        };
        match differs(self.main, path) {
            Some(found) => found,
            None if differs(self.wal, &beside(path, "-wal")).is_some() => Found::WalGone,
            None => Found::InPlace,
        }
    }
}

impl Core {
    /// Whether the connection can be worked with; heals it if not.
    pub(super) fn make_sure(&mut self) -> Result<(), Refusal> {
        if !self.doubtful && self.files.look(self.path()) == Found::InPlace {
            return Ok(());
        }
        self.doubtful = true;
        self.heal()?;
        self.doubtful = false;
        Ok(())
    }

    fn heal(&mut self) -> Result<(), Refusal> {
        self.conclude()?;
        self.let_go()?;
        let (conn, set_aside) = schema::open_files(self.path(), &self.clock.now()).map_err(unopened)?;
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
        match self.files.look(self.path()) {
            Found::InPlace => self.checkpoint(),
            Found::WalGone => {
                self.checkpoint()?;
                // One that somebody else put there is none of ours.
                remove_if_there(&beside(self.path(), "-wal"))
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
            Err(error) if schema::is_damage(&error) => Ok(()),
            done => Ok(done?),
        }
    }

    /// The main file was removed. Its data live on in the connection: they become a file again.
    fn write_out_anew(&mut self) -> Result<(), Refusal> {
        let path = self.path().to_owned();
        self.lock = schema::lock_again(&path, &self.lock).map_err(unopened)?;
        let new = beside(&path, ".new");
        let failed = |error: io::Error| Refusal::Storage(format!("writing {}: {error}", path.display()));
        remove_if_there(&new).map_err(failed)?;
        self.conn.execute("VACUUM INTO ?1", [new.to_string_lossy()])?;
        // Frames of the old WAL must never be taken for those of the new file.
        remove_if_there(&beside(&path, "-wal")).map_err(failed)?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600))
            .and_then(|()| fs::File::open(&new)?.sync_all())
            .and_then(|()| fs::rename(&new, &path))
            .map_err(failed)?;
        schema::sync_dir(&path).map_err(unopened)?;
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

fn remove_if_there(path: &PathBuf) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// The first thing that SQLite finds wrong.
fn problem_of(conn: &Connection) -> Result<Option<String>, Refusal> {
    match conn.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0)) {
        Ok(said) => Ok((said != "ok").then_some(said)),
        Err(error) if schema::is_damage(&error) => Ok(Some(error.to_string())),
        Err(error) => Err(error.into()),
    }
}
