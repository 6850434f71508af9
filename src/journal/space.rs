//! The reserve: blocks of the disk that are kept for the day on which there are no others.
//!
//! On a full disk even a DELETE and a checkpoint fail. A file of real blocks lies beside the journal; it is given up
//! when a write finds no space, so that deliveries can be settled and free the space, and taken back before anything
//! new is recorded.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use rustix::fs::FallocateFlags;

use super::files::private_file;
use super::schema::PAGE_BYTES;

/// Bounds of the reserve in bytes. The upper one lets a WAL of 2 MiB, which keeps recovery short on slow flash, reach
/// the main file and leaves as much again for what is settled meanwhile.
const MOST: u64 = 4 << 20;
const LEAST: u64 = 64 << 10;
/// The part of a small journal or a small file system that the reserve takes.
const PART: u64 = 8;
/// Parts in which the reserve is given up.
const SLICES: u64 = 4;
/// Between two tries to take the reserve back.
const AGAIN_MS: i64 = 1000;

/// The reserve of one journal.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    max_bytes: u64,
    bytes: u64,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not looked at yet.
    Unknown,
    Held,
    /// Given up, or not to be had; when that was tried last, in boot time.
    Missing(i64),
}

impl Reserve {
    /// A reserve that is to be taken at `path` for a journal of at most `max_bytes`.
    pub(super) fn new(path: PathBuf, max_bytes: i64) -> Reserve {
        Reserve { path, max_bytes: max_bytes.unsigned_abs(), bytes: MOST, state: State::Unknown }
    }

    /// Whether it is known to be missing.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self.state, State::Missing(_))
    }

    /// Pages that the WAL may grow to before it is put into the main file.
    pub(super) fn wal_pages(&self) -> i64 {
        i64::try_from(self.bytes / 2).unwrap_or(i64::MAX) / PAGE_BYTES
    }

    /// Bytes that it and the WAL take on the disk.
    pub(super) fn with_wal(&self) -> i64 {
        i64::try_from(self.bytes).unwrap_or(i64::MAX / 2) + self.wal_pages() * PAGE_BYTES
    }

    /// Holds the blocks, trying not more often than once a second. Answers whether they had to be taken.
    pub(super) fn take(&mut self, now_ms: i64) -> io::Result<bool> {
        match self.state {
            State::Held => return Ok(false),
            State::Missing(tried) if (0..AGAIN_MS).contains(&(now_ms - tried)) => {
                return Err(io::ErrorKind::StorageFull.into());
            }
            State::Missing(_) | State::Unknown => {}
        }
        self.state = State::Missing(now_ms);
        self.allocate()?;
        self.state = State::Held;
        Ok(true)
    }

    /// Gives a slice of the blocks up: what the journal does not get hold of at once others may take. Answers whether
    /// there was one.
    pub(super) fn give_up(&mut self, now_ms: i64) -> bool {
        if !self.is_missing() {
            self.state = State::Missing(now_ms);
        }
        let Ok(file) = File::options().write(true).open(&self.path) else { return false };
        let held = file.metadata().map_or(0, |file| file.len());
        held > 0 && file.set_len(held.saturating_sub(self.bytes.div_ceil(SLICES))).is_ok()
    }

    fn allocate(&mut self) -> io::Result<()> {
        let mut file = private_file(&self.path).open(&self.path)?;
        let system = rustix::fs::fstatvfs(&file)?;
        self.bytes = size_for(self.max_bytes, system.f_frsize.saturating_mul(system.f_blocks));
        if file.metadata()?.len() == self.bytes {
            return Ok(());
        }
        let held = file.metadata()?.len();
        let filled = self.fill(&mut file);
        if filled.is_err() {
            file.set_len(held.min(self.bytes))?;
        }
        filled
    }

    fn fill(&self, file: &mut File) -> io::Result<()> {
        file.set_len(file.metadata()?.len().min(self.bytes))?;
        match rustix::fs::fallocate(&*file, FallocateFlags::empty(), 0, self.bytes) {
            Ok(()) => Ok(()),
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS | rustix::io::Errno::INVAL) => {
                file.set_len(0)?;
                let zeros = vec![0; usize::try_from(LEAST).unwrap_or(0)];
                for _ in 0..self.bytes / LEAST {
                    file.write_all(&zeros)?;
                }
                file.sync_data()
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Bytes of the reserve for a journal of at most `max_bytes` on a file system of `total` bytes.
fn size_for(max_bytes: u64, total: u64) -> u64 {
    (max_bytes.min(total) / PART).clamp(LEAST, MOST) / LEAST * LEAST
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_reserve_is_real_and_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.db.reserve");
        let mut reserve = Reserve::new(path.clone(), 64 << 20);
        assert!(reserve.take(0).unwrap());
        assert!(!reserve.take(1).unwrap());
        let blocks = std::os::unix::fs::MetadataExt::blocks(&fs::metadata(&path).unwrap());
        assert!(blocks * 512 >= MOST);
        assert!(reserve.give_up(10) && reserve.give_up(900));
        assert_eq!(fs::metadata(&path).unwrap().len(), MOST / 2);
        assert!(reserve.is_missing());
        assert!(reserve.give_up(900) && reserve.give_up(900) && !reserve.give_up(900));
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
        assert!(reserve.take(1009).is_err());
        assert!(reserve.take(1010).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().len(), MOST);
        assert!(!reserve.is_missing());
    }

    #[test]
    fn a_small_journal_or_disk_has_a_small_reserve() {
        for (max, total, size) in [
            (1 << 20, 1 << 40, 128 << 10),
            (64 << 20, 4 << 20, 512 << 10),
            (64 << 20, 1 << 40, MOST),
            (u64::MAX, u64::MAX, MOST),
            (64 << 20, 0, LEAST),
        ] {
            assert_eq!(size_for(max, total), size, "{max} {total}");
        }
    }
}
