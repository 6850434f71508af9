//! Copies out of a damaged journal what proves itself.
//!
//! SQLite's own reading ends at a damaged page, and with it everything behind. So the pages are read here, one by one
//! and without changing a byte ([`pages`], [`wal`], [`record`]); rows are taken that match their own checksums
//! ([`finds`]); the books say what is missing ([`decide`]); and a new journal is written from them ([`write`]).
//!
//! The new journal is complete and synced before the damaged one is moved, so that a crash at any point loses nothing.

mod decide;
mod finds;
mod pages;
mod record;
mod wal;
mod write;

use std::io;
use std::path::Path;

use rusqlite::Connection;

use self::decide::{Columns, Fate, Lost, decide};
use self::finds::Finds;
use self::pages::Pages;
use super::seal;
use crate::clock::Reading;
use crate::session::Consent;

/// Why nothing could be copied.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
}

/// What came of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Salvaged {
    /// Sessions that are as they were.
    pub(super) sessions: usize,
    /// Sessions that are set apart because something of them is gone.
    pub(super) quarantined: usize,
    /// Events of both.
    pub(super) events: u64,
    /// Events that are gone.
    pub(super) lost: i64,
    /// There may have been more of them: the books are gone too.
    pub(super) uncounted: bool,
    /// Nobody knows any more whether the person had opted out.
    pub(super) consent_unknown: bool,
    /// That nothing was saved is not in the list of losses yet.
    pub(super) unlisted: bool,
}

/// What SQLite would make of a journal's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Log {
    /// All that was committed in it.
    Sound,
    /// Nothing, and nothing is lost by that.
    Idle,
    /// It would drop synced commits without a word: they stand behind a place that it does not get past, or the log is
    /// none any more.
    Damaged,
}

/// Looks at the log. Cheap: it is short, and mostly there is none.
pub(super) fn look_at_log(path: &Path) -> io::Result<Log> {
    match std::fs::metadata(super::files::beside(path, "-wal")) {
        Ok(log) if log.len() > 0 && path.exists() => {}
        _ => return Ok(Log::Sound),
    }
    let pages = Pages::open(path)?;
    Ok(match () {
        () if pages.log_is_damaged()? => Log::Damaged,
        () if pages.log_is_idle() => Log::Idle,
        () => Log::Sound,
    })
}

/// The schema that the journal says it has in its second place, if a row of it proves that.
pub(super) fn schema_of(path: &Path, tables: &[seal::Table]) -> io::Result<Option<i64>> {
    let pages = Pages::open(path)?;
    Ok(Finds::gather(&pages, tables)?.schema())
}

/// Whether the person had opted out is not known: nothing is sent until somebody says so.
pub(super) fn hold_back(conn: &Connection) -> rusqlite::Result<()> {
    let pending = format!("\"{}\"", Consent::Pending.as_str());
    conn.execute("INSERT OR IGNORE INTO settings (name, value) VALUES ('consent', ?1)", [pending]).map(drop)
}

/// Lists a journal that was set aside without any of it being saved.
pub(super) fn list_unread(conn: &Connection, aside: &Path, now: &Reading) -> rusqlite::Result<()> {
    write::losses(conn, &[Lost::unread(aside)], now)
}

/// Copies what proves itself from the files at `path`, which are to be kept at `aside`, into `conn`, an empty journal.
pub(super) fn copy(
    path: &Path,
    aside: &Path,
    foreign: bool,
    conn: &mut Connection,
    now: &Reading,
) -> Result<Salvaged, Trouble> {
    let tables = seal::tables(conn)?;
    let pages = Pages::open(path)?;
    let finds = Finds::gather(&pages, &tables)?;
    let Some(sessions) = tables.iter().find(|table| table.name == "sessions") else {
        return Ok(Salvaged::default());
    };
    let columns = Columns { names: &sessions.columns };
    let mut decision = decide(&finds, &columns);
    let mut salvaged = Salvaged {
        lost: decision
            .lost
            .iter()
            .filter(|lost| lost.name == crate::session::Loss::Corrupt)
            .map(|l| l.events)
            .sum(),
        // A file of another program never held a consent.
        consent_unknown: !(finds.knows_settings() || finds.has_consent() || foreign && finds.is_empty()),
        ..Salvaged::default()
    };
    salvaged.uncounted = !finds.has_totals() && (salvaged.consent_unknown || salvaged.lost > 0);
    if salvaged.uncounted {
        // Of one that is gone nothing is kept either.
        let unread = finds.is_empty() && path.exists();
        decision.lost.push(if unread { Lost::unread(aside) } else { Lost::uncounted() });
    } else if pages.log_is_unreadable()? {
        salvaged.uncounted = true;
        decision.lost.push(Lost::log());
    } else if decision.keeps_open && finds.lacks_rows(&pages)? {
        salvaged.uncounted = true;
        decision.lost.push(Lost::open_ends());
    }
    let tx = conn.transaction()?;
    write::others(&tx, &finds, &decision, &tables, salvaged.consent_unknown, now)?;
    write::sessions(&tx, &mut decision, sessions, now)?;
    salvaged.events = write::events(&tx, &pages, &decision)?;
    write::attempts(&tx, &finds, &decision, &tables, &columns)?;
    tx.commit()?;
    for kept in decision.sessions.values() {
        match kept.fate {
            Fate::Keep => salvaged.sessions += 1,
            Fate::Quarantine { .. } => salvaged.quarantined += 1,
        }
    }
    Ok(salvaged)
}
