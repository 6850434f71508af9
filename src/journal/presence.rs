//! Whether the journal's files are where they were, asked before each commit.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::core::WAL_SLACK;
use super::files::{beside, folder};

/// What tells a file from another that takes its place: device and number.
type FileId = (u64, u64);

/// A folder that was changed less than so many milliseconds ago may change again under the same time: some file systems
/// count in steps of two seconds.
const SETTLED_MS: i64 = 5000;
/// The same where the time of the change shows that its file system counts in steps of a clock tick.
const FINELY_SETTLED_MS: i64 = 100;
/// Nanoseconds of the coarsest steps below a second that a file system counts in.
const COARSE_STEP_NS: i64 = 10_000_000;

/// The WAL begins anew without being cut, or is cut to more than this.
const LEAST_WAL: u64 = WAL_SLACK.unsigned_abs();

/// The files that the connection writes to.
#[derive(Debug, Default)]
pub(super) struct Files {
    main: Option<FileId>,
    wal: Option<FileId>,
    lock: Option<FileId>,
    /// The WAL that the connection writes to, and how long it was found to be at most.
    log: Option<File>,
    grown: Cell<u64>,
    /// Their folder when all were last found in place: while nothing is put into it or taken out, they still are.
    settled: Cell<Option<Folder>>,
}

/// A folder, and when something was last put into it or taken out: seconds and nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Folder {
    id: FileId,
    changed: (i64, i64),
}

/// What has become of the files.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// They are where they were.
    InPlace,
    /// The WAL was removed: what it holds is lost with the connection.
    WalGone,
    /// The WAL is there, but what it held is not.
    WalCut,
    /// The main file was removed.
    Gone,
    /// Somebody put another file in its place.
    Replaced,
    /// Only the file was removed that tells others whose the journal is.
    LockGone,
}

/// Whether it is not there, or its folder is none any more.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// A link is another file than what it leads to: SQLite puts the WAL beside the latter.
fn id_of(path: &Path) -> io::Result<FileId> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

impl Folder {
    fn of(path: &Path) -> Option<Folder> {
        let found = fs::metadata(folder(path)).ok()?;
        Some(Folder { id: (found.dev(), found.ino()), changed: (found.mtime(), found.mtime_nsec()) })
    }

    fn is_settled(&self, wall_ms: i64) -> bool {
        let (seconds, nanoseconds) = self.changed;
        let changed_ms = seconds.saturating_mul(1000).saturating_add(nanoseconds / 1_000_000);
        let is_fine = nanoseconds % COARSE_STEP_NS != 0;
        wall_ms.saturating_sub(changed_ms) > if is_fine { FINELY_SETTLED_MS } else { SETTLED_MS }
    }
}

impl Files {
    /// The files at `path`, as they are now.
    pub(super) fn at(path: &Path) -> Files {
        Files {
            main: id_of(path).ok(),
            wal: id_of(&beside(path, "-wal")).ok(),
            lock: id_of(&beside(path, ".lock")).ok(),
            log: File::open(beside(path, "-wal")).ok(),
            grown: Cell::default(),
            settled: Cell::default(),
        }
    }

    /// Whether somebody made the WAL shorter than we ever do while the connection stands. What is committed behind the
    /// cut would be lost with what was before it.
    fn is_cut(&self) -> bool {
        // Not by its metadata: who has asked for the time of the last write makes each later one write that down.
        let Some(Ok(length)) = self.log.as_ref().map(|mut log| log.seek(SeekFrom::End(0))) else {
            return false;
        };
        let is_cut = length < self.grown.get() && length < LEAST_WAL;
        if !is_cut {
            self.grown.set(length);
        }
        is_cut
    }

    /// Looks for them, at that wall time.
    pub(super) fn look(&self, path: &Path, wall_ms: i64) -> Found {
        if self.is_cut() {
            return Found::WalCut;
        }
        let folder = Folder::of(path);
        if folder.is_some() && folder == self.settled.get() {
            return Found::InPlace;
        }
        let found = self.look_at_each(path);
        if found == Found::InPlace {
            self.settled.set(folder.filter(|folder| folder.is_settled(wall_ms)));
        }
        found
    }

    fn look_at_each(&self, path: &Path) -> Found {
        let differs = |known: Option<FileId>, path: &Path| match (known, id_of(path)) {
            // Also when it was gone before it could be looked at: an open connection has made them all.
            (_, Err(error)) if is_gone(&error) => Some(Found::Gone),
            // A folder that cannot be searched says nothing about what is in it.
            (None, _) | (Some(_), Err(_)) => None,
            (Some(known), Ok(now)) => (known != now).then_some(Found::Replaced),
        };
        match differs(self.main, path) {
            Some(found) => found,
            None if differs(self.wal, &beside(path, "-wal")).is_some() => Found::WalGone,
            None if differs(self.lock, &beside(path, ".lock")).is_some() => Found::LockGone,
            None => Found::InPlace,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn a_folder_at_rest_is_looked_at_alone_and_each_removal_shows() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.db");
        for (suffix, missed) in [("", Found::Gone), ("-wal", Found::WalGone), (".lock", Found::LockGone)] {
            for suffix in ["", "-wal", ".lock"] {
                fs::write(beside(&path, suffix), "").unwrap();
            }
            let long_ago = UNIX_EPOCH + Duration::from_secs(1000);
            fs::File::open(dir.path()).unwrap().set_modified(long_ago).unwrap();
            let files = Files::at(&path);
            let now = 1_000_000 + SETTLED_MS;
            assert_eq!(files.look(&path, now), Found::InPlace);
            assert_eq!(files.settled.get(), None, "it may change again within the same step");
            assert_eq!(files.look(&path, now + 1), Found::InPlace);
            assert!(files.settled.get().is_some());
            assert_eq!(files.look(&path, now + 1), Found::InPlace);
            fs::remove_file(beside(&path, suffix)).unwrap();
            assert_eq!(files.look(&path, now + 1), missed, "{suffix}");
        }
    }

    #[test]
    fn a_folder_is_at_rest_once_its_next_change_must_show() {
        let settled = |changed, wall_ms| Folder { id: (1, 1), changed }.is_settled(wall_ms);
        for (name, changed, after) in [
            ("whole seconds", (1000, 0), SETTLED_MS),
            ("tenths", (1000, 300_000_000), SETTLED_MS + 300),
            ("ticks", (1000, 123_456_789), FINELY_SETTLED_MS + 123),
        ] {
            assert!(!settled(changed, 1_000_000 + after), "{name}");
            assert!(settled(changed, 1_000_001 + after), "{name}");
            assert!(!settled(changed, 999_000), "{name}: changed in the future");
        }
    }
}
