//! Opens the journal; a damaged one is replaced.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::fault::{OpenError, damaged, is_damage};
use super::files::{self, beside, folder, lock, make_private_dir};
use super::replace::{self, SetAside};
use super::salvage::{self, Log};
use super::space::Reserve;
use super::{aside, schema};
use crate::clock::{Clock, Reading};
use crate::owner;

/// A journal that nobody else has; not yet opened.
#[derive(Debug)]
pub struct Claim {
    pub(super) path: PathBuf,
    pub(super) lock: File,
    pub(super) reserve: Reserve,
}

/// An open journal that nobody else has.
pub(super) struct Opened {
    pub(super) conn: Connection,
    pub(super) claim: Claim,
    /// What became of a damaged predecessor, if there was one.
    pub(super) set_aside: Option<SetAside>,
}

impl Claim {
    /// Makes the journal at `path` ours, with its folder if need be. On a full disk its reserve makes room.
    pub(super) fn new(path: &Path, max_bytes: i64, now_ms: i64) -> Result<Claim, OpenError> {
        let path = &follow(path)?;
        let mut reserve = Reserve::new(beside(path, ".reserve"), max_bytes);
        loop {
            match take(path) {
                Err(error) if error.is_full() && reserve.give_up(now_ms) => {}
                taken => return Ok(Claim { path: path.to_owned(), lock: taken?, reserve }),
            }
        }
    }

    /// Opens the files, or makes them.
    pub(super) fn open(mut self, clock: &Clock) -> Result<Opened, OpenError> {
        loop {
            let now = clock.now();
            aside::sweep(&self.path);
            match open_files(&self.path, &now) {
                Err(error) if error.is_full() && self.reserve.give_up(now.boot_ms) => {}
                opened => {
                    return opened.map(|(conn, set_aside)| Opened { conn, claim: self, set_aside });
                }
            }
        }
    }
}

/// Where the journal is, if `path` is a link: nobody else may lead us elsewhere.
fn follow(path: &Path) -> Result<PathBuf, OpenError> {
    let mut chain = files::links(path).map_err(|source| OpenError::Io {
        doing: "following the link",
        path: path.to_owned(),
        source,
    })?;
    let end = chain.pop().unwrap_or_else(|| path.to_owned());
    for link in chain {
        owner::check_private_folder(folder(&link))?;
        owner::check_file(&link)?;
    }
    Ok(end)
}

/// Claims and opens a journal at that moment.
#[cfg(test)]
pub(super) fn open(path: &Path, now: &Reading) -> Result<Opened, OpenError> {
    let clock = Clock::Manual(crate::clock::ManualClock::at(now.wall_ms, "boot"));
    Claim::new(path, 1 << 20, now.boot_ms)?.open(&clock)
}

/// Whether nobody else can reach into the journal's folder and files.
fn check_files(path: &Path) -> Result<(), OpenError> {
    owner::check_private_folder(folder(path))?;
    for suffix in ["", ".lock", ".reserve", "-wal", "-shm", "-journal"] {
        owner::check_file(&beside(path, suffix))?;
    }
    Ok(())
}

/// Whether the next start would get as far as the journal's content, without changing anything.
pub(crate) fn check_place(path: &Path) -> Result<(), OpenError> {
    use rustix::fs::{Access, access};
    use std::os::unix::fs::MetadataExt;
    let dir = folder(path);
    // Root may look at what is another user's service's, to whom it is safe.
    let of_another = |dir: std::fs::Metadata| rustix::process::geteuid().is_root() && dir.uid() != 0;
    if dir.is_dir() && !dir.metadata().is_ok_and(of_another) {
        check_files(path)?;
    }
    // The first folder above that is there is where the others would be made.
    let Some(there) = dir.ancestors().find(|dir| dir.exists()) else { return Ok(()) };
    access(there, Access::WRITE_OK | Access::EXEC_OK).map_err(|source| OpenError::Io {
        doing: if there == dir { "writing to" } else { "making the journal's folder in" },
        path: there.to_owned(),
        source: source.into(),
    })
}

/// Sees to it that the folder and the files are safe, and takes the lock.
fn take(path: &Path) -> Result<File, OpenError> {
    make_private_dir(folder(path))?;
    check_files(path)?;
    let lock = lock(path)?;
    if let Some(holder) = files::holder(path)? {
        return Err(OpenError::InUse { path: path.to_owned(), holder });
    }
    Ok(lock)
}

/// Opens the files of a journal whose lock is held. A damaged one is replaced.
pub(super) fn open_files(path: &Path, now: &Reading) -> Result<(Connection, Option<SetAside>), OpenError> {
    replace::take_up_interrupted(path, now)?;
    let finished = replace::finish(path, now)?;
    let failed = |source| OpenError::Io { doing: "looking at", path: path.to_owned(), source };
    if files::is_beheaded(path).map_err(failed)? {
        tracing::warn!("the journal's main file is empty or gone, other files of it are there");
        return replace::begin_anew(path, now);
    }
    match look_and_connect(path) {
        Err(OpenError::Sqlite { source, .. }) if is_damage(&source) => {
            tracing::warn!("the journal cannot be read: {source}");
            replace::begin_anew(path, now)
        }
        Ok(conn) => {
            aside::tidy(path);
            Ok((conn, finished))
        }
        Err(error) => Err(error),
    }
}

/// Empties a log in which nothing is committed. What a power cut left behind its header is not to be met again when
/// another one spoils the header that the next commit writes.
fn empty(log: &Path) -> io::Result<()> {
    let log = File::options().write(true).open(log)?;
    log.set_len(0)?;
    log.sync_all()
}

fn look_and_connect(path: &Path) -> Result<Connection, OpenError> {
    if let Some(version) = schema::journal_version(path)?
        && let Err(newer) = schema::refuse_newer(path, version)
        && !schema::contradicts(path)?
    {
        return Err(newer);
    }
    let failed = |source| OpenError::Io { doing: "reading the log of", path: path.to_owned(), source };
    match salvage::look_at_log(path).map_err(failed)? {
        Log::Sound => {}
        Log::Idle => empty(&beside(path, "-wal")).map_err(failed)?,
        Log::Damaged => {
            return Err(OpenError::Sqlite { path: path.to_owned(), source: damaged("commits in its log") });
        }
    }
    schema::connect(path)
}
