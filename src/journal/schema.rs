//! The journal as a database of ours: its schema, its pragmas, and whether its rows prove themselves.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode};
use rusqlite_migration::{M, Migrations};

use super::fault::{OpenError, corrupt, damaged, not_a_journal};
use super::files::{private_file, sync_dir};
use super::{index, salvage, seal};

/// Marks the file as a journal of ours ("afpl"), so that somebody else's database is never taken for one.
pub(super) const APPLICATION_ID: i32 = 0x6166_706c;

const MIGRATIONS: &[M<'static>] = &[
    M::up(include_str!("../../migrations/0001_journal.sql")),
    M::up(include_str!("../../migrations/0002_row_sums.sql")),
    M::up(include_str!("../../migrations/0003_numbers.sql")),
    M::up(include_str!("../../migrations/0004_told_by.sql")),
];

/// Statements that stay prepared.
const STATEMENTS: usize = 64;

/// `auto_vacuum` as it is set for every journal.
const INCREMENTAL: i64 = 2;

/// Bytes of a page.
pub(super) const PAGE_BYTES: i64 = 4096;

/// A connection to nothing, for the time between two to the files.
pub(super) fn no_files() -> rusqlite::Result<Connection> {
    Connection::open_in_memory()
}

/// Whether it is a database, and by its header another program's.
pub(super) fn is_foreign(path: &Path) -> io::Result<bool> {
    let mut header = [0; 72];
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        file => file?,
    };
    match file.read_exact(&mut header) {
        Err(_) => Ok(false),
        Ok(()) => {
            Ok(header.starts_with(b"SQLite format 3\0") && header[68..] != APPLICATION_ID.to_be_bytes())
        }
    }
}

/// Whether the journal's second word on its schema is one this program knows: then the number in its header is damage.
pub(super) fn contradicts(path: &Path) -> Result<bool, OpenError> {
    let sqlite = |source| OpenError::Sqlite { path: path.to_owned(), source };
    let tables = seal::tables(&pattern().map_err(sqlite)?).map_err(sqlite)?;
    let schema = salvage::schema_of(path, &tables);
    let schema = schema.map_err(|source| OpenError::Io {
        doing: "reading the journal",
        path: path.to_owned(),
        source,
    })?;
    Ok(schema.is_some_and(|schema| schema <= known()))
}

/// A journal without content, to compare with.
fn pattern() -> rusqlite::Result<Connection> {
    let mut conn = no_files()?;
    match Migrations::from_slice(MIGRATIONS).to_latest(&mut conn) {
        Ok(()) => Ok(conn),
        Err(rusqlite_migration::Error::RusqliteError { err, .. }) => Err(err),
        Err(error) => Err(rusqlite::Error::ToSqlConversionFailure(error.into())),
    }
}

fn known() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// The schema version of a journal of ours by its header, read without SQLite so that nothing is touched. `None` for
/// anything else: the number of another program's database says nothing.
pub(super) fn journal_version(path: &Path) -> Result<Option<i64>, OpenError> {
    let mut header = [0; 72];
    let read = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(OpenError::Io { doing: "reading the journal", path: path.to_owned(), source });
        }
        Ok(mut file) => file.read_exact(&mut header),
    };
    let number = |at: usize| i32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let ours = read.is_ok() && header.starts_with(b"SQLite format 3\0") && number(68) == APPLICATION_ID;
    Ok(ours.then(|| i64::from(number(60))))
}

pub(super) fn refuse_newer(path: &Path, found: i64) -> Result<(), OpenError> {
    let known = known();
    if found > known { Err(OpenError::Newer { path: path.to_owned(), found, known }) } else { Ok(()) }
}

pub(super) fn connect(path: &Path) -> Result<Connection, OpenError> {
    let sqlite = |source| OpenError::Sqlite { path: path.to_owned(), source };
    // Before the journal itself is opened: the memory that this takes is free for it again.
    let right = right_schema().map_err(sqlite)?;
    let proven = connect_unproven(path).and_then(|conn| {
        prove(&conn, &right).map_err(sqlite)?;
        Ok(conn)
    });
    proven.map_err(|error| match error {
        OpenError::Sqlite { source, path } if source.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
            OpenError::InUse { path, holder: "another process".into() }
        }
        // The file was opened for writing before, and the statements are right: only wrong numbers in its header say
        // that it may not be written, or is of a format that SQLite does not know.
        OpenError::Sqlite { source: rusqlite::Error::SqliteFailure(failure, _), .. }
            if matches!(
                failure.extended_code,
                rusqlite::ffi::SQLITE_READONLY | rusqlite::ffi::SQLITE_ERROR
            ) =>
        {
            sqlite(damaged("its header"))
        }
        OpenError::Sqlite { source: rusqlite::Error::SqlInputError { .. }, .. } => {
            sqlite(damaged("its schema"))
        }
        error => error,
    })
}

/// Opens a copy of a journal to look at it, whatever is wrong with its rows.
pub(super) fn open_copy(path: &Path) -> Result<Connection, OpenError> {
    connect_unproven(path)
}

fn connect_unproven(path: &Path) -> Result<Connection, OpenError> {
    let existed = path.exists();
    private_file(path).open(path).map_err(|source| OpenError::Io {
        doing: "opening the journal",
        path: path.to_owned(),
        source,
    })?;
    let sqlite = |source| OpenError::Sqlite { path: path.to_owned(), source };
    let mut conn = open_connection(path).map_err(sqlite)?;
    // Nobody else has business here. Before the first look, as that would make a shared-memory file, for which a full
    // disk has no room; and there are no locks to take for each transaction.
    conn.pragma_update(None, "locking_mode", "EXCLUSIVE").map_err(sqlite)?;
    // The header may be older than what the WAL holds, so SQLite is asked as well before anything is written.
    let leave_as_is = |conn: &Connection, error| {
        let _ = conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        Err(error)
    };
    let new = match contents(&conn, path).map_err(sqlite)? {
        Contents::Nothing => true,
        Contents::Journal(version) => match refuse_newer(path, version) {
            Ok(()) => false,
            Err(newer) if !contradicts(path)? => return leave_as_is(&conn, newer),
            Err(_) => return leave_as_is(&conn, sqlite(damaged("its schema version"))),
        },
        Contents::Foreign => return leave_as_is(&conn, sqlite(not_a_journal())),
    };
    prepare(&conn, new).map_err(sqlite)?;
    migrate(&mut conn, path)?;
    if new {
        skip_numbers(&conn).map_err(sqlite)?;
    }
    seal::install(&conn).map_err(|error| match error.sqlite_error_code() {
        // What breaks the tables' own rules was not written under them.
        Some(ErrorCode::ConstraintViolation) => sqlite(damaged("a row")),
        _ => sqlite(error),
    })?;
    if !existed {
        sync_dir(path)?;
    }
    Ok(conn)
}

/// Numbers of sessions go on behind a gap that nobody can guess: an answer to a session of a journal that is no more
/// must not be taken for one of this journal's.
pub(super) fn skip_numbers(conn: &Connection) -> rusqlite::Result<()> {
    let gap = fastrand::i64(1 << 16..1 << 23);
    let skipped = conn.execute("UPDATE sqlite_sequence SET seq = seq + ?1 WHERE name = 'sessions'", [gap])?;
    if skipped == 0 {
        conn.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('sessions', ?1)", [gap])?;
    }
    Ok(())
}

pub(super) fn migrate(conn: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let sqlite = |source| OpenError::Sqlite { path: path.to_owned(), source };
    Migrations::from_slice(MIGRATIONS).to_latest(conn).map_err(|source| match source {
        // The statements are right, so the file is not what its version says.
        rusqlite_migration::Error::RusqliteError { err, .. }
            if matches!(err, rusqlite::Error::SqlInputError { .. })
                || err.sqlite_error_code() == Some(ErrorCode::Unknown) =>
        {
            sqlite(damaged("its schema"))
        }
        rusqlite_migration::Error::RusqliteError { err, .. } => sqlite(err),
        rusqlite_migration::Error::InvalidUserVersion => sqlite(damaged("its schema version")),
        source => OpenError::Migration { path: path.to_owned(), source },
    })
}

/// Looks whether the schema is what it should be and every row but the events proves itself and can be found;
/// the events of a session prove themselves when it is sent.
fn prove(conn: &Connection, right: &Schema) -> rusqlite::Result<()> {
    prove_schema(conn, right)?;
    for table in seal::tables(conn)? {
        if let Some(row) = seal::first_unproven(conn, &table)? {
            return Err(damaged(&row));
        }
        index::prove(conn, &table.name)?;
    }
    if !gives_pages_back(conn)? {
        return Err(corrupt(NO_PAGES_BACK.into()));
    }
    // The number in the header, once more: a flipped bit there must not make it another version's.
    conn.execute(
        "INSERT INTO settings (name, value) VALUES ('schema', ?1)
         ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE value <> excluded.value",
        [known().to_string()],
    )?;
    Ok(())
}

/// What is wrong where [`gives_pages_back`] says no.
pub(super) const NO_PAGES_BACK: &str = "its header no longer says that free pages can be given back";

/// Whether free pages can be given back to the file system. Only the header says so.
pub(super) fn gives_pages_back(conn: &Connection) -> rusqlite::Result<bool> {
    conn.pragma_query_value(None, "auto_vacuum", |row| row.get::<_, i64>(0)).map(|mode| mode == INCREMENTAL)
}

/// Name, table and statement of whatever a database is made of.
type Schema = Vec<(String, String, Option<String>)>;

fn schema(conn: &Connection) -> rusqlite::Result<Schema> {
    conn.prepare("SELECT name, tbl_name, sql FROM sqlite_schema ORDER BY name")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect()
}

/// What a journal is made of.
pub(super) fn right_schema() -> rusqlite::Result<Schema> {
    schema(&pattern()?)
}

/// Looks whether the schema is what it should be.
pub(super) fn prove_schema(conn: &Connection, right: &Schema) -> rusqlite::Result<()> {
    if schema(conn)? != *right {
        return Err(damaged("its schema"));
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "the journal is the one that opens SQLite")]
pub(super) fn open_connection(path: &Path) -> rusqlite::Result<Connection> {
    let conn = Connection::open(path)?;
    // Whoever holds the file does so for good.
    conn.busy_timeout(std::time::Duration::ZERO)?;
    Ok(conn)
}

/// Whose database it is.
enum Contents {
    /// Nobody's yet.
    Nothing,
    /// Ours, in this version of the schema.
    Journal(i64),
    /// Another program's.
    Foreign,
}

fn contents(conn: &Connection, path: &Path) -> rusqlite::Result<Contents> {
    let number = |pragma| conn.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let (version, application) = (number("user_version")?, number("application_id")?);
    // What a crash left of a first write is gone now. SQLite would overwrite a file of some bytes as if it were empty.
    let empty = fs::metadata(path).is_ok_and(|file| file.len() == 0);
    Ok(match application {
        application if application == i64::from(APPLICATION_ID) => Contents::Journal(version),
        _ if empty => Contents::Nothing,
        _ => Contents::Foreign,
    })
}

fn prepare(conn: &Connection, new: bool) -> rusqlite::Result<()> {
    if new {
        // Both before the first page is written, else they wait for a full VACUUM. That page is committed together with
        // the mark that makes the journal ours: a power cut must not leave a database that nobody claims.
        conn.pragma_update(None, "page_size", PAGE_BYTES)?;
        conn.execute_batch(&format!(
            "BEGIN; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA application_id = {APPLICATION_ID}; COMMIT"
        ))?;
    }
    conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    // Each commit is synced: what is acknowledged survives a pulled plug.
    conn.pragma_update(None, "synchronous", "FULL")?;
    // Not ON: that writes every freed page once more, which a full disk has no room for. The free pages and the WAL go
    // when an opt-out rebuilds the file.
    conn.pragma_update(None, "secure_delete", "FAST")?;
    conn.pragma_update(None, "foreign_keys", "ON")?;
    conn.pragma_update(None, "trusted_schema", "OFF")?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.pragma_update(None, "cache_size", -2048)?;
    // All that a delivery runs, and all that an append does, several times over.
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    // Reads the whole schema now, so that damage shows here and not at the first event.
    conn.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(())
}

#[cfg(test)]
mod tests;
