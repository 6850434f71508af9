//! Puts a new journal in the place of a damaged one, with what can be saved.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::fault::{OpenError, is_storage};
use super::files::{beside, private_file, remove, sync_dir};
use super::salvage::{self, Salvaged, Trouble};
use super::{aside, schema, seal};
use crate::clock::Reading;

/// A damaged journal that was replaced.
#[derive(Debug)]
pub(super) struct SetAside {
    /// Where it was put.
    pub(super) path: PathBuf,
    /// What was saved of it; `None` when another process did and was interrupted.
    pub(super) salvaged: Option<Salvaged>,
}

impl SetAside {
    /// Says what happened.
    pub(super) fn tell(&self) {
        let is_kept = MOVED.iter().any(|suffix| beside(&self.path, suffix).exists());
        let kept = if is_kept {
            format!("it was kept as {}", self.path.display())
        } else {
            "nothing was left of it".to_owned()
        };
        match &self.salvaged {
            None => tracing::error!("the journal was damaged; {kept} and a new one was begun"),
            Some(Salvaged { sessions, quarantined, events, lost, uncounted, consent_unknown, .. }) => {
                let at_least = if *uncounted { "at least " } else { "" };
                tracing::error!(
                    "the journal was damaged; {kept} and a new one was begun: {sessions} sessions saved, \
                     {quarantined} set apart as corrupt, {events} events in them, {at_least}{lost} events lost"
                );
                if *consent_unknown {
                    tracing::error!(
                        "whether the person had opted out could not be read: nothing is sent until \
                         `afterplay consent in` or `afterplay consent out` says so"
                    );
                }
            }
        }
    }
}

/// Replaces a damaged journal by a new one, with what can be saved. No connection to it may be open.
pub(super) fn begin_anew(path: &Path, now: &Reading) -> Result<(Connection, Option<SetAside>), OpenError> {
    let set_aside = replace(path, now)?;
    let conn = schema::connect(path)?;
    let failed = |source| OpenError::Sqlite { path: path.to_owned(), source };
    if set_aside.salvaged.is_some_and(|salvaged| salvaged.consent_unknown) {
        salvage::hold_back(&conn).map_err(failed)?;
    }
    if set_aside.salvaged.is_some_and(|salvaged| salvaged.unlisted) {
        salvage::list_unread(&conn, &set_aside.path, now).map_err(failed)?;
    }
    aside::tidy(path);
    Ok((conn, Some(set_aside)))
}

/// Where a new journal is while it is written, and when it is whole.
const SALVAGING: &str = ".salvaging";
const SALVAGED: &str = ".salvaged";

/// Puts a new journal in the place of a damaged one, with what can be saved.
fn replace(path: &Path, now: &Reading) -> Result<SetAside, OpenError> {
    let (part, whole) = (beside(path, SALVAGING), beside(path, SALVAGED));
    let io = |doing, path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::Io { doing, path, source }
    };
    remove(&part).map_err(io("removing", &part))?;
    private_file(&part).open(&part).map_err(io("making", &part))?;
    let salvaged = match fill(path, &part, now) {
        Ok(salvaged) => Some(salvaged),
        Err(Trouble::Io(source)) => return Err(io("saving what can be saved into", &part)(source)),
        Err(Trouble::Sqlite(source)) if is_storage(&source) => {
            return Err(OpenError::Sqlite { path: part, source });
        }
        // Intake must go on: the damaged file is kept.
        Err(Trouble::Sqlite(error)) => {
            tracing::error!("nothing could be saved of the damaged journal: {error}");
            let aside = set_aside(path, now)?;
            remove(&part).map_err(io("removing", &part))?;
            let nothing =
                Salvaged { uncounted: true, consent_unknown: true, unlisted: true, ..Salvaged::default() };
            return Ok(SetAside { path: aside, salvaged: Some(nothing) });
        }
    };
    File::open(&part).and_then(|file| file.sync_all()).map_err(io("syncing", &part))?;
    rename(&part, &whole)?;
    let path = finish(path, now)?.map_or_else(|| path.to_owned(), |aside| aside.path);
    Ok(SetAside { path, salvaged })
}

/// The last steps of a replacement, or of one that was interrupted there.
pub(super) fn finish(path: &Path, now: &Reading) -> Result<Option<SetAside>, OpenError> {
    let whole = beside(path, SALVAGED);
    if !whole.exists() {
        return Ok(None);
    }
    let aside = set_aside(path, now)?;
    rename(&whole, path)?;
    Ok(Some(SetAside { path: aside, salvaged: None }))
}

/// Where a journal is written anew whose file was taken away from under the service.
pub(super) const NEW: &str = ".new";

/// The moves that put it in its place. From the first on a start ends what is left of them. Only then the log goes: its
/// frames must never be taken for those of the new file, and until then nothing else has what it holds.
const PUT_BACK: [fn(&Path) -> Result<(), OpenError>; 3] = [
    |path| rename(&beside(path, NEW), &beside(path, SALVAGED)),
    |path| {
        let log = beside(path, "-wal");
        remove(&log).map_err(|source| OpenError::Io { doing: "removing", path: log, source })?;
        sync_dir(path)
    },
    |path| rename(&beside(path, SALVAGED), path),
];

/// Puts a journal that was written anew, and is synced, in the place of the one that was taken away.
pub(super) fn put_back(path: &Path) -> Result<(), OpenError> {
    PUT_BACK.iter().try_for_each(|step| step(path))
}

/// Removes what is left of moves that failed, where the journal is in its place after all.
pub(super) fn forget(path: &Path) -> Result<(), OpenError> {
    let whole = beside(path, SALVAGED);
    remove(&whole).map_err(|source| OpenError::Io { doing: "removing", path: whole, source })
}

fn rename(from: &Path, to: &Path) -> Result<(), OpenError> {
    fs::rename(from, to).map_err(|source| OpenError::Io {
        doing: "renaming",
        path: from.to_owned(),
        source,
    })?;
    sync_dir(to)
}

/// Writes what can be saved of the journal at `path` into the empty file `part`.
fn fill(path: &Path, part: &Path, now: &Reading) -> Result<Salvaged, Trouble> {
    let mut conn = schema::open_connection(part)?;
    conn.pragma_update(None, "page_size", schema::PAGE_BYTES)?;
    conn.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    conn.pragma_update(None, "application_id", schema::APPLICATION_ID)?;
    // Nobody reads the file before it is whole and synced; what a crash leaves of it is removed.
    conn.pragma_update_and_check(None, "journal_mode", "OFF", |_| Ok(()))?;
    conn.pragma_update(None, "synchronous", "OFF")?;
    // What a row points to may be gone.
    conn.pragma_update(None, "foreign_keys", "OFF")?;
    schema::migrate(&mut conn, part).map_err(|error| match error {
        OpenError::Sqlite { source, .. } => Trouble::Sqlite(source),
        error => Trouble::Io(io::Error::other(error)),
    })?;
    seal::install(&conn)?;
    let salvaged = salvage::copy(path, &aside::name(path, now)?, schema::is_foreign(path)?, &mut conn, now)?;
    schema::skip_numbers(&conn)?;
    conn.close().map_err(|(_, error)| error)?;
    Ok(salvaged)
}

/// A damaged journal's files, in the order in which they are moved. Without its log the main file would pass for a
/// journal that lacks its last commits, so it goes first.
const MOVED: [&str; 4] = ["", "-wal", "-shm", "-journal"];

/// Moves a damaged journal and its companions out of the way, under one new name.
fn set_aside(path: &Path, now: &Reading) -> Result<PathBuf, OpenError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::Io { doing: "setting the damaged journal aside", path, source }
    };
    let aside = aside::name(path, now).map_err(failed(path))?;
    for suffix in MOVED {
        let from = beside(path, suffix);
        match fs::rename(&from, beside(&aside, suffix)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            moved => moved.map_err(failed(&from))?,
        }
        if suffix.is_empty() {
            sync_dir(path)?;
        }
    }
    sync_dir(path)?;
    Ok(aside)
}

/// What a crash behind the first of these moves left: the rest goes where the main file is. A rollback journal alone is
/// what a crash leaves of a journal that was being made; SQLite sees to that.
pub(super) fn take_up_interrupted(path: &Path, now: &Reading) -> Result<(), OpenError> {
    // Else the main file was taken away, and what its log holds can be saved.
    if beside(path, "-wal").exists() && !path.exists() && beside(path, SALVAGED).exists() {
        set_aside(path, now)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
