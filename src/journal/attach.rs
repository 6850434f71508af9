//! Opens the journal; a damaged one is replaced.

use std::fs::File;
use std::path::Path;

use rusqlite::Connection;

use super::fault::{OpenError, damaged, is_damage};
use super::files::{self, beside, folder, lock, make_private_dir};
use super::replace::{self, SetAside};
use super::{aside, salvage, schema};
use crate::clock::Reading;
use crate::owner;

/// An open journal and the lock that makes it ours.
pub(super) struct Opened {
    pub(super) conn: Connection,
    pub(super) lock: File,
    /// What became of a damaged predecessor, if there was one.
    pub(super) set_aside: Option<SetAside>,
}

/// Opens the journal at `path`, making it and its folder if need be.
pub(super) fn open(path: &Path, now: &Reading) -> Result<Opened, OpenError> {
    let dir = folder(path);
    make_private_dir(dir)?;
    owner::check_private_folder(dir)?;
    for suffix in ["", ".lock", ".reserve", "-wal", "-shm", "-journal"] {
        owner::check_file(&beside(path, suffix))?;
    }
    let lock = lock(path)?;
    if let Some(holder) = files::holder(path)? {
        return Err(OpenError::InUse { path: path.to_owned(), holder });
    }
    aside::sweep(path);
    let (conn, set_aside) = open_files(path, now)?;
    Ok(Opened { conn, lock, set_aside })
}

/// Opens the files of a journal whose lock is held. A damaged one is replaced.
pub(super) fn open_files(path: &Path, now: &Reading) -> Result<(Connection, Option<SetAside>), OpenError> {
    replace::take_up_interrupted(path, now)?;
    let finished = replace::finish(path, now)?;
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

fn look_and_connect(path: &Path) -> Result<Connection, OpenError> {
    if let Some(version) = schema::journal_version(path)?
        && let Err(newer) = schema::refuse_newer(path, version)
        && !schema::contradicts(path)?
    {
        return Err(newer);
    }
    let failed = |source| OpenError::Io { doing: "reading the log of", path: path.to_owned(), source };
    if salvage::log_is_damaged(path).map_err(failed)? {
        return Err(OpenError::Sqlite { path: path.to_owned(), source: damaged("commits in its log") });
    }
    schema::connect(path)
}
