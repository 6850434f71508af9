//! Opens the journal: lock, pragmas, migrations; refuses a newer one, sets a damaged one aside and begins anew with
//! what can be saved of it.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode};
use rusqlite_migration::{M, Migrations};

use super::salvage::{self, Salvaged, Trouble};
use super::{aside, seal};
use crate::clock::Reading;
use crate::owner::{self, NotOurs};

/// Marks the file as a journal of ours ("afpl"), so that somebody else's database is never taken for one.
const APPLICATION_ID: i32 = 0x6166_706c;

const MIGRATIONS: &[M<'static>] = &[
    M::up(include_str!("../../migrations/0001_journal.sql")),
    M::up(include_str!("../../migrations/0002_row_sums.sql")),
    M::up(include_str!("../../migrations/0003_numbers.sql")),
];

/// Statements that stay prepared.
const STATEMENTS: usize = 64;

/// Bytes of a page.
pub(super) const PAGE_BYTES: i64 = 4096;

/// Why a journal could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds the lock.
    #[error("the journal {path} is in use by {holder}: one service a journal; stop that one first")]
    InUse {
        /// The journal.
        path: PathBuf,
        /// Who holds it.
        holder: String,
    },
    /// A later version wrote it.
    #[error(
        "the journal {path} was written by a newer afterplay (schema {found}, this one knows {known}): \
         nothing was touched; install that version again, or set journal.path to another file"
    )]
    Newer {
        /// The journal.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// The latest this program knows.
        known: i64,
    },
    /// Another user could reach into it.
    #[error("the journal is not safe here: {0} (journal.path)")]
    NotOurs(#[from] NotOurs),
    /// The file system refused.
    #[error("{doing} {path}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// SQLite refused.
    #[error("opening the journal {path}: {source}")]
    Sqlite {
        /// The journal.
        path: PathBuf,
        /// The cause.
        source: rusqlite::Error,
    },
    /// A migration failed; the file is as it was.
    #[error("bringing the journal {path} to the present schema: {source}")]
    Migration {
        /// The journal.
        path: PathBuf,
        /// The cause.
        source: rusqlite_migration::Error,
    },
}

impl OpenError {
    /// Whether the disk has no space left.
    pub(super) fn is_full(&self) -> bool {
        match self {
            OpenError::Sqlite { source, .. } => source.sqlite_error_code() == Some(ErrorCode::DiskFull),
            OpenError::Io { source, .. } => source.kind() == io::ErrorKind::StorageFull,
            _ => false,
        }
    }
}

/// An open journal and the lock that makes it ours.
pub(super) struct Opened {
    pub(super) conn: Connection,
    pub(super) lock: File,
    /// What became of a damaged predecessor, if there was one.
    pub(super) set_aside: Option<SetAside>,
}

/// A damaged journal that was replaced.
#[derive(Debug)]
pub(super) struct SetAside {
    /// Where it was put.
    pub(super) path: PathBuf,
    /// What was saved of it; `None` when another process did and was interrupted, or when nothing could be.
    pub(super) salvaged: Option<Salvaged>,
}

impl SetAside {
    /// Says what happened.
    pub(super) fn tell(&self) {
        let path = self.path.display();
        match &self.salvaged {
            None => tracing::error!("the journal was damaged; it was kept as {path} and a new one was begun"),
            Some(Salvaged { sessions, quarantined, events, lost, consent_unknown }) => {
                tracing::error!(
                    "the journal was damaged; it was kept as {path} and a new one was begun: {sessions} sessions \
                     saved, {quarantined} set apart as corrupt, {events} events in them, {lost} events lost"
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

/// Opens the journal at `path`, making it and its folder if need be.
pub(super) fn open(path: &Path, now: &Reading) -> Result<Opened, OpenError> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_private_dir(dir)?;
    owner::check_folder(dir)?;
    for suffix in ["", ".lock", ".reserve", "-wal", "-shm", "-journal"] {
        owner::check_file(&beside(path, suffix))?;
    }
    let lock = lock(path)?;
    let (conn, set_aside) = open_files(path, now)?;
    Ok(Opened { conn, lock, set_aside })
}

/// Opens the files of a journal whose lock is held. A damaged one is replaced.
pub(super) fn open_files(path: &Path, now: &Reading) -> Result<(Connection, Option<SetAside>), OpenError> {
    let finished = finish_replacing(path, now)?;
    match look_and_connect(path) {
        Err(OpenError::Sqlite { source, .. }) if is_damage(&source) => {
            tracing::warn!("the journal cannot be read: {source}");
            begin_anew(path, now)
        }
        Ok(conn) => {
            aside::tidy(path, now);
            Ok((conn, finished))
        }
        Err(error) => Err(error),
    }
}

fn look_and_connect(path: &Path) -> Result<Connection, OpenError> {
    if let Some(version) = journal_version(path)?
        && let Err(newer) = refuse_newer(path, version)
        && !contradicts(path)?
    {
        return Err(newer);
    }
    let failed = |source| OpenError::Io { doing: "reading the log of", path: path.to_owned(), source };
    if salvage::log_is_damaged(path).map_err(failed)? {
        return Err(OpenError::Sqlite { path: path.to_owned(), source: damaged("commits in its log") });
    }
    connect(path)
}

/// Replaces a damaged journal by a new one, with what can be saved. No connection to it may be open.
pub(super) fn begin_anew(path: &Path, now: &Reading) -> Result<(Connection, Option<SetAside>), OpenError> {
    let set_aside = replace(path, now)?;
    let conn = connect(path)?;
    aside::tidy(path, now);
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
            let aside = set_aside(path, &aside::tag(now))?;
            remove(&part).map_err(io("removing", &part))?;
            return Ok(SetAside { path: aside, salvaged: None });
        }
    };
    File::open(&part).and_then(|file| file.sync_all()).map_err(io("syncing", &part))?;
    fs::rename(&part, &whole).map_err(io("renaming", &part))?;
    sync_dir(path)?;
    let path = finish_replacing(path, now)?.map_or_else(|| path.to_owned(), |aside| aside.path);
    Ok(SetAside { path, salvaged })
}

/// The last steps of a replacement, or of one that was interrupted there.
fn finish_replacing(path: &Path, now: &Reading) -> Result<Option<SetAside>, OpenError> {
    let whole = beside(path, SALVAGED);
    if !whole.exists() {
        return Ok(None);
    }
    let aside = set_aside(path, &aside::tag(now))?;
    let renamed = fs::rename(&whole, path);
    renamed.map_err(|source| OpenError::Io { doing: "renaming", path: whole, source })?;
    sync_dir(path)?;
    Ok(Some(SetAside { path: aside, salvaged: None }))
}

/// Writes what can be saved of the journal at `path` into the empty file `part`.
fn fill(path: &Path, part: &Path, now: &Reading) -> Result<Salvaged, Trouble> {
    let mut conn = open_connection(part)?;
    conn.pragma_update(None, "page_size", PAGE_BYTES)?;
    conn.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    conn.pragma_update(None, "application_id", APPLICATION_ID)?;
    // Nobody reads the file before it is whole and synced; what a crash leaves of it is removed.
    conn.pragma_update_and_check(None, "journal_mode", "OFF", |_| Ok(()))?;
    conn.pragma_update(None, "synchronous", "OFF")?;
    // What a row points to may be gone.
    conn.pragma_update(None, "foreign_keys", "OFF")?;
    migrate(&mut conn, part).map_err(|error| match error {
        OpenError::Sqlite { source, .. } => Trouble::Sqlite(source),
        error => Trouble::Io(io::Error::other(error)),
    })?;
    seal::install(&conn)?;
    let salvaged = salvage::copy(path, is_foreign(path)?, &mut conn, now)?;
    conn.close().map_err(|(_, error)| error)?;
    Ok(salvaged)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// A connection to nothing, for the time between two to the files.
pub(super) fn no_files() -> rusqlite::Result<Connection> {
    Connection::open_in_memory()
}

/// The lock as it has to be held: `held`, unless its file was removed.
pub(super) fn lock_again(path: &Path, held: &File) -> Result<File, OpenError> {
    use std::os::unix::fs::MetadataExt;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_private_dir(dir)?;
    let lock_path = beside(path, ".lock");
    let failed =
        |source| OpenError::Io { doing: "looking at the lock file", path: lock_path.clone(), source };
    let mine = held.metadata().map_err(failed)?;
    match fs::metadata(&lock_path) {
        Ok(found) if (found.dev(), found.ino()) == (mine.dev(), mine.ino()) => {
            held.try_clone().map_err(failed)
        }
        _ => lock(path),
    }
}

fn make_private_dir(dir: &Path) -> Result<(), OpenError> {
    if dir.is_dir() {
        return Ok(());
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir).map_err(|source| OpenError::Io {
        doing: "making the journal's folder",
        path: dir.to_owned(),
        source,
    })
}

pub(super) fn private_file(path: &Path) -> fs::OpenOptions {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let _ = path;
    options
}

/// The path of a companion file, for example `journal.db-wal`.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn lock(path: &Path) -> Result<File, OpenError> {
    let lock_path = beside(path, ".lock");
    let failed = |doing, source| OpenError::Io { doing, path: lock_path.clone(), source };
    let mut lock =
        private_file(&lock_path).open(&lock_path).map_err(|e| failed("opening the lock file", e))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = lock.read_to_string(&mut holder);
            let holder = match holder.trim() {
                "" => "another process".to_owned(),
                pid => format!("process {pid}"),
            };
            return Err(OpenError::InUse { path: path.to_owned(), holder });
        }
        Err(TryLockError::Error(error)) => return Err(failed("locking", error)),
    }
    // Only for the message above: the lock is what counts.
    let _ = lock.set_len(0);
    let _ = lock.rewind();
    let _ = write!(lock, "{}", std::process::id());
    Ok(lock)
}

/// Whether it is a database, and by its header another program's.
fn is_foreign(path: &Path) -> io::Result<bool> {
    let mut header = [0; 72];
    match File::open(path)?.read_exact(&mut header) {
        Err(_) => Ok(false),
        Ok(()) => {
            Ok(header.starts_with(b"SQLite format 3\0") && header[68..] != APPLICATION_ID.to_be_bytes())
        }
    }
}

/// Whether the journal's second word on its schema is one this program knows: then the number in its header is damage.
fn contradicts(path: &Path) -> Result<bool, OpenError> {
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
fn journal_version(path: &Path) -> Result<Option<i64>, OpenError> {
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

fn refuse_newer(path: &Path, found: i64) -> Result<(), OpenError> {
    let known = known();
    if found > known { Err(OpenError::Newer { path: path.to_owned(), found, known }) } else { Ok(()) }
}

fn connect(path: &Path) -> Result<Connection, OpenError> {
    let sqlite = |source| OpenError::Sqlite { path: path.to_owned(), source };
    let proven = connect_unproven(path).and_then(|conn| {
        prove(&conn).map_err(sqlite)?;
        Ok(conn)
    });
    proven.map_err(|error| match error {
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

fn migrate(conn: &mut Connection, path: &Path) -> Result<(), OpenError> {
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

/// Looks whether the schema is what it should be and every row but the events proves itself; the events of a session
/// do when it is sent.
fn prove(conn: &Connection) -> rusqlite::Result<()> {
    prove_schema(conn)?;
    for table in seal::tables(conn)? {
        if let Some(row) = seal::first_unproven(conn, &table)? {
            return Err(damaged(&row));
        }
    }
    // The number in the header, once more: a flipped bit there must not make it another version's.
    conn.execute(
        "INSERT INTO settings (name, value) VALUES ('schema', ?1)
         ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE value <> excluded.value",
        [known().to_string()],
    )?;
    Ok(())
}

/// Looks whether the schema is what it should be.
pub(super) fn prove_schema(conn: &Connection) -> rusqlite::Result<()> {
    let schema = |conn: &Connection| -> rusqlite::Result<Vec<(String, String, Option<String>)>> {
        conn.prepare("SELECT name, tbl_name, sql FROM sqlite_schema ORDER BY name")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect()
    };
    if schema(conn)? != schema(&pattern()?)? {
        return Err(damaged("its schema"));
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "the journal is the one that opens SQLite")]
fn open_connection(path: &Path) -> rusqlite::Result<Connection> {
    Connection::open(path)
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

fn not_a_journal() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(
        rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_NOTADB),
        Some("a database of another program".into()),
    )
}

fn damaged(what: &str) -> rusqlite::Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    rusqlite::Error::SqliteFailure(code, Some(format!("{what}: does not match its checksum")))
}

/// Whether an error says that the file is damaged: what is read there cannot have been written.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::Error as E;
    match error {
        E::FromSqlConversionFailure(..)
        | E::InvalidColumnType(..)
        | E::IntegralValueOutOfRange(..)
        | E::Utf8Error(..) => true,
        // A file that was cut within a page.
        E::SqliteFailure(error, _) if error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHORT_READ => true,
        error => {
            matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
        }
    }
}

/// Whether an error is the disk's, not the file's.
fn is_storage(error: &rusqlite::Error) -> bool {
    use ErrorCode as C;
    matches!(
        error.sqlite_error_code(),
        Some(
            C::DiskFull
                | C::SystemIoFailure
                | C::CannotOpen
                | C::ReadOnly
                | C::OutOfMemory
                | C::PermissionDenied
        )
    )
}

/// Moves a damaged journal and its companions out of the way, under one new name.
fn set_aside(path: &Path, tag: &str) -> Result<PathBuf, OpenError> {
    let mut aside = beside(path, &format!(".damaged-{tag}"));
    let mut n = 1;
    while aside.exists() {
        n += 1;
        aside = beside(path, &format!(".damaged-{tag}-{n}"));
    }
    for suffix in ["-wal", "-shm", "-journal", ""] {
        let from = beside(path, suffix);
        match fs::rename(&from, beside(&aside, suffix)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => {
                return Err(OpenError::Io { doing: "setting the damaged journal aside", path: from, source });
            }
            Ok(()) => {}
        }
    }
    Ok(aside)
}

/// Overwrites and removes damaged journals that were set aside: an opt-out means what is in them too.
pub(super) fn remove_set_aside(path: &Path) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let prefix = format!("{name}.damaged-");
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with(&prefix) {
            continue;
        }
        let mut file = File::options().write(true).open(entry.path())?;
        let length = file.metadata()?.len();
        io::copy(&mut io::repeat(0).take(length), &mut file)?;
        file.sync_all()?;
        fs::remove_file(entry.path())?;
    }
    Ok(())
}

/// Makes the directory entry of a new journal durable before anything in it is acknowledged.
pub(super) fn sync_dir(path: &Path) -> Result<(), OpenError> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|source| OpenError::Io {
        doing: "syncing the journal's folder",
        path: dir.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests;
