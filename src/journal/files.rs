//! The files of a journal: where they are, whose they are, who holds them.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::fault::OpenError;

/// Removes a file that may be gone already.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// The lock as it has to be held: `held`, unless its file was removed.
pub(super) fn lock_again(path: &Path, held: &File) -> Result<File, OpenError> {
    use std::os::unix::fs::MetadataExt;
    let dir = folder(path);
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

pub(super) fn make_private_dir(dir: &Path) -> Result<(), OpenError> {
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

/// Who holds the journal's main file open: a service whose lock file was removed, or another program.
pub(super) fn holder(path: &Path) -> Result<Option<String>, OpenError> {
    use rustix::process::{Flock, FlockType, fcntl_getlk};
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file,
    };
    let held = file.and_then(|file| Ok(fcntl_getlk(&file, &Flock::from(FlockType::WriteLock))?));
    let held = held.map_err(|source| OpenError::Io {
        doing: "looking who uses the journal",
        path: path.to_owned(),
        source,
    })?;
    Ok(held.map(|lock| match lock.pid {
        Some(pid) => format!("process {}", pid.as_raw_nonzero()),
        None => "another process".to_owned(),
    }))
}

/// Links on the way to a file at most, as the kernel has it.
const MOST_LINKS: usize = 40;

/// A path, and where it leads if it is a link and so on; the last is none. SQLite puts the WAL beside that one.
pub(super) fn links(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut chain = vec![path.to_owned()];
    let mut at = path.to_owned();
    while let Ok(next) = fs::read_link(&at) {
        at = folder(&at).join(next);
        chain.push(at.clone());
        if chain.len() > MOST_LINKS + 1 {
            return Err(rustix::io::Errno::LOOP.into());
        }
    }
    Ok(chain)
}

/// Where a path leads, whether something is there or not.
pub(crate) fn led_to(path: &Path) -> io::Result<PathBuf> {
    Ok(links(path)?.pop().unwrap_or_else(|| path.to_owned()))
}

/// The folder that a path is in.
pub(super) fn folder(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The path of a companion file, for example `journal.db-wal`.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

pub(super) fn lock(path: &Path) -> Result<File, OpenError> {
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

/// Bytes of a WAL before its first frame.
const WAL_HEADER: u64 = 32;

/// Whether the main file is gone, or empty, of a journal that was in use: its WAL still holds something, or its reserve is
/// there, which is made when the main file is on disk. SQLite would take it for a new one and drop the WAL.
pub(crate) fn is_beheaded(path: &Path) -> io::Result<bool> {
    let length = |path: &Path| match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        found => found.map(|file| file.len()),
    };
    // A single byte is nothing to SQLite either. A reserve that was given up is an empty file.
    Ok(length(path)? <= 1
        && (length(&beside(path, "-wal"))? > WAL_HEADER || beside(path, ".reserve").exists()))
}

/// Makes the directory entry of a new journal durable before anything in it is acknowledged.
pub(super) fn sync_dir(path: &Path) -> Result<(), OpenError> {
    let dir = folder(path);
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|source| OpenError::Io {
        doing: "syncing the journal's folder",
        path: dir.to_owned(),
        source,
    })
}
