//! What can be wrong with a journal's files, and whose fault it is.

use std::io;
use std::path::PathBuf;

use rusqlite::ErrorCode;

use crate::owner::NotOurs;

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

pub(super) fn not_a_journal() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(
        rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_NOTADB),
        Some("a database of another program".into()),
    )
}

pub(super) fn damaged(what: &str) -> rusqlite::Error {
    corrupt(format!("{what}: does not match its checksum"))
}

/// What SQLite would say of a damaged file.
pub(super) fn corrupt(message: String) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT), Some(message))
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
pub(super) fn is_storage(error: &rusqlite::Error) -> bool {
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
