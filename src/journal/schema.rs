//! Opens the journal: lock, pragmas, migrations; refuses a newer one, sets a damaged one aside.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode};
use rusqlite_migration::{M, Migrations};

use crate::owner::{self, NotOurs};

/// Marks the file as a journal of ours ("afpl"), so that somebody else's database is never taken for one.
const APPLICATION_ID: i32 = 0x6166_706c;

const MIGRATIONS: &[M<'static>] = &[M::up(include_str!("../../migrations/0001_journal.sql"))];

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
    /// Where a damaged predecessor was put, if there was one.
    pub(super) set_aside: Option<PathBuf>,
}

/// Opens the journal at `path`, making it and its folder if need be. `tag` names a damaged file that is set aside.
pub(super) fn open(path: &Path, tag: &str) -> Result<Opened, OpenError> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_private_dir(dir)?;
    owner::check_folder(dir)?;
    for suffix in ["", ".lock", ".reserve", "-wal", "-shm", "-journal"] {
        owner::check_file(&beside(path, suffix))?;
    }
    let lock = lock(path)?;
    let (conn, set_aside) = open_files(path, tag)?;
    Ok(Opened { conn, lock, set_aside })
}

/// Opens the files of a journal whose lock is held. A damaged one is set aside.
pub(super) fn open_files(path: &Path, tag: &str) -> Result<(Connection, Option<PathBuf>), OpenError> {
    if let Some(version) = journal_version(path)? {
        refuse_newer(path, version)?;
    }
    match connect(path) {
        Ok(conn) => Ok((conn, None)),
        Err(OpenError::Sqlite { source, .. }) if is_damage(&source) => begin_anew(path, tag),
        Err(error) => Err(error),
    }
}

/// Sets a damaged journal aside and begins another one.
pub(super) fn begin_anew(path: &Path, tag: &str) -> Result<(Connection, Option<PathBuf>), OpenError> {
    let aside = set_aside(path, tag)?;
    Ok((connect(path)?, Some(aside)))
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
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if found > known { Err(OpenError::Newer { path: path.to_owned(), found, known }) } else { Ok(()) }
}

fn connect(path: &Path) -> Result<Connection, OpenError> {
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
            Err(newer) => return leave_as_is(&conn, newer),
        },
        Contents::Foreign => return leave_as_is(&conn, sqlite(not_a_journal())),
    };
    prepare(&conn, new).map_err(sqlite)?;
    Migrations::from_slice(MIGRATIONS).to_latest(&mut conn).map_err(|source| match source {
        rusqlite_migration::Error::RusqliteError { err, .. } => sqlite(err),
        source => OpenError::Migration { path: path.to_owned(), source },
    })?;
    if !existed {
        sync_dir(path)?;
    }
    Ok(conn)
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
        // Both before the first page is written, else they wait for a full VACUUM.
        conn.pragma_update(None, "page_size", PAGE_BYTES)?;
        conn.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        conn.pragma_update(None, "application_id", APPLICATION_ID)?;
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

/// Whether the file, and not the disk or the program, is at fault.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
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
mod tests {
    use super::*;

    #[test]
    fn a_new_journal_has_the_promised_pragmas() {
        let dir = tempfile::tempdir().unwrap();
        let opened = open(&dir.path().join("new/journal.db"), "t").unwrap();
        let text = |pragma: &str| -> String {
            opened
                .conn
                .pragma_query_value(None, pragma, |row| row.get::<_, rusqlite::types::Value>(0))
                .map(|value| match value {
                    rusqlite::types::Value::Integer(n) => n.to_string(),
                    rusqlite::types::Value::Text(text) => text,
                    other => format!("{other:?}"),
                })
                .unwrap()
        };
        for (pragma, value) in [
            ("journal_mode", "wal"),
            ("synchronous", "2"),
            ("locking_mode", "exclusive"),
            ("auto_vacuum", "2"),
            ("secure_delete", "2"),
            ("user_version", "1"),
        ] {
            assert_eq!(text(pragma), value, "{pragma}");
        }
        let version = rusqlite::version_number();
        assert!(version >= 3_051_003, "SQLite {version}");
        let options: Vec<String> = opened
            .conn
            .prepare("PRAGMA compile_options")
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert!(options.iter().any(|option| option.contains("THREADSAFE")), "{options:?}");
    }

    #[test]
    fn a_newer_journal_is_refused_untouched() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.db");
        let opened = open(&path, "t").unwrap();
        opened.conn.pragma_update(None, "user_version", 99).unwrap();
        drop(opened);
        let before = fs::read(&path).unwrap();
        assert!(matches!(open(&path, "t"), Err(OpenError::Newer { found: 99, .. })));
        assert_eq!(fs::read(&path).unwrap(), before);
        assert!(!beside(&path, "-wal").exists());
    }

    #[test]
    fn a_second_instance_is_told_who_holds_the_journal() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.db");
        let _held = open(&path, "t").unwrap();
        let error = open(&path, "t").err().unwrap().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
    }

    #[test]
    fn what_is_not_a_journal_is_set_aside() {
        for notes in ["these are somebody's notes\n".repeat(300), String::from("n")] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("journal.db");
            fs::write(&path, &notes).unwrap();
            let aside = open(&path, "t").unwrap().set_aside.unwrap();
            assert_eq!(fs::read_to_string(aside).unwrap(), notes);
        }
    }

    #[test]
    fn another_programs_database_is_set_aside_unchanged() {
        for version in [0, 1, 99] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("journal.db");
            let theirs = open_connection(&path).unwrap();
            theirs.execute_batch("CREATE TABLE photos (id INTEGER); INSERT INTO photos VALUES (7)").unwrap();
            theirs.pragma_update(None, "user_version", version).unwrap();
            drop(theirs);
            let before = fs::read(&path).unwrap();
            let aside = open(&path, "t").unwrap().set_aside.unwrap();
            assert_eq!(fs::read(aside).unwrap(), before, "user_version {version}");
        }
    }
}
