//! The pages of a journal's files, read without SQLite and without changing a byte: the newest version of each first
//! (SQLite's "Database File Format", sections 1.3, 1.5, 1.8 and 4).

use std::borrow::Cow;
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::record::{self, Cell, Kind, PAGE, u32_at};
use super::wal::Wal;
use crate::journal::files::beside;

/// Kinds of pages in the pointer map.
const FREE_PAGE: u8 = 2;

/// One version of a page.
pub(super) struct Version {
    pub(super) bytes: Vec<u8>,
    /// Whether the log vouches for every byte of it, or vouches not. The main file says neither.
    pub(super) whole: Option<bool>,
}

/// The files of a journal.
pub(super) struct Pages {
    file: Option<File>,
    length: u64,
    wal: Option<Wal>,
    free: HashSet<u32>,
    pub(super) count: u32,
}

impl Pages {
    /// Opens the files to be read. A file that is not there has no pages.
    pub(super) fn open(path: &Path) -> io::Result<Pages> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            file => Some(file?),
        };
        let length = file.as_ref().map_or(Ok(0), |file| file.metadata().map(|file| file.len()))?;
        let wal = Wal::open(&beside(path, "-wal"))?;
        let in_file = u32::try_from(length.div_ceil(PAGE as u64)).unwrap_or(u32::MAX);
        let count = match wal.as_ref().and_then(Wal::pages_after) {
            Some(count) => count,
            None => in_file,
        };
        let mut pages = Pages { file, length, wal, free: HashSet::new(), count };
        pages.free = pages.find_free()?;
        Ok(pages)
    }

    /// The versions of a page, newest first. `age` 0 is the newest.
    pub(super) fn version(&self, no: u32, age: usize) -> io::Result<Option<Version>> {
        if no == 0 || no > self.count {
            return Ok(None);
        }
        let in_log = self.wal.as_ref().map_or(0, |wal| wal.versions(no));
        if let Some(wal) = self.wal.as_ref().filter(|_| age < in_log) {
            return wal.version(no, age).map(|(bytes, whole)| Some(Version { bytes, whole: Some(whole) }));
        }
        if age > in_log {
            return Ok(None);
        }
        Ok(self.main(no)?.map(|bytes| Version { bytes, whole: None }))
    }

    /// A page of the main file; the end of a file that was cut within a page reads as zeros.
    fn main(&self, no: u32) -> io::Result<Option<Vec<u8>>> {
        let at = u64::from(no - 1) * PAGE as u64;
        let Some(mut file) = self.file.as_ref().filter(|_| at < self.length) else { return Ok(None) };
        let mut bytes = Vec::with_capacity(PAGE);
        file.seek(SeekFrom::Start(at))?;
        file.take(PAGE as u64).read_to_end(&mut bytes)?;
        bytes.resize(PAGE, 0);
        Ok(Some(bytes))
    }

    fn newest(&self, no: u32) -> io::Result<Option<Vec<u8>>> {
        Ok(self.version(no, 0)?.map(|version| version.bytes))
    }

    /// The newest version that the log does not vouch against: an old one in the wrong place would name pages as free
    /// that hold something by now.
    fn vouched(&self, no: u32) -> io::Result<Option<Vec<u8>>> {
        let mut age = 0;
        while let Some(version) = self.version(no, age)? {
            if version.whole != Some(false) {
                return Ok(Some(version.bytes));
            }
            age += 1;
        }
        Ok(None)
    }

    /// Whether what a page holds was given back: its rows are not to be taken.
    pub(super) fn is_free(&self, no: u32) -> bool {
        self.free.contains(&no)
    }

    /// Pages that the pointer map or the list of free pages names, unless a page in use still leads there: one damaged
    /// byte must not hide a page.
    fn find_free(&self) -> io::Result<HashSet<u32>> {
        let mut free = HashSet::new();
        // One page of the map describes as many pages as fit, then itself comes again.
        let entries = PAGE / 5;
        for map in (2..=self.count).step_by(entries + 1) {
            let Some(page) = self.vouched(map)? else { continue };
            for (no, entry) in (map + 1..=self.count).zip(page.chunks_exact(5).take(entries)) {
                if entry[0] == FREE_PAGE {
                    free.insert(no);
                }
            }
        }
        let mut trunk = self.vouched(1)?.and_then(|page| u32_at(&page, 32)).unwrap_or(0);
        let mut seen = HashSet::new();
        while seen.insert(trunk) {
            let Some(page) = self.vouched(trunk)? else { break };
            free.insert(trunk);
            let leaves = u32_at(&page, 4).unwrap_or(0).min(u32::try_from(PAGE / 4 - 2).unwrap_or(0));
            free.extend((0..leaves as usize).filter_map(|n| u32_at(&page, 8 + 4 * n)));
            trunk = u32_at(&page, 0).unwrap_or(0);
        }
        let mut used = HashSet::new();
        for no in (1..=self.count).filter(|no| !free.contains(no)) {
            if let Some(page) = self.newest(no)? {
                used.extend(record::children(no, &page));
            }
        }
        free.retain(|no| !used.contains(no));
        Ok(free)
    }

    /// Whether a page that another one leads to cannot be read as what it should be.
    pub(super) fn lacks_some(&self) -> io::Result<bool> {
        for no in (1..=self.count).filter(|no| !self.is_free(*no)) {
            let Some(page) = self.newest(no)? else { continue };
            for below in record::children(no, &page) {
                if self.newest(below)?.is_none_or(|page| record::kind(below, &page).is_none()) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The whole payload of a cell: what is on its page, then the chain of overflow pages. Of each overflow page the
    /// version `age` steps back is read, or the oldest.
    pub(super) fn payload(&self, cell: &Cell<'_>, age: usize) -> io::Result<Option<Vec<u8>>> {
        let mut payload = cell.local.to_vec();
        let mut next = cell.overflow;
        while let Some(no) = next.filter(|_| payload.len() < cell.length) {
            let version = match self.version(no, age)? {
                Some(version) => Some(version),
                None => self.version(no, 0)?,
            };
            let Some(page) = version else { return Ok(None) };
            let rest = (cell.length - payload.len()).min(PAGE - 4);
            payload.extend_from_slice(&page.bytes[4..4 + rest]);
            next = u32_at(&page.bytes, 0).filter(|no| *no != 0);
        }
        Ok((payload.len() == cell.length).then_some(payload))
    }

    /// Whether SQLite would drop commits of the log that were synced. That a header is whole or not at all, as the sector
    /// is that it stands in, is what SQLite counts on as well.
    pub(super) fn log_is_damaged(&self) -> io::Result<bool> {
        match &self.wal {
            Some(wal) if wal.has_its_header() => Ok(wal.is_broken_inside() && !self.log_is_in_main()?),
            Some(_) => Ok(!self.log_is_in_main()?),
            None => Ok(false),
        }
    }

    /// Whether a damaged log shows nothing of what was committed in it.
    pub(super) fn log_is_unreadable(&self) -> io::Result<bool> {
        let is = |wal: &Wal| !wal.has_its_header() && wal.pages_after().is_none();
        Ok(self.wal.as_ref().is_some_and(is) && !self.log_is_in_main()?)
    }

    /// Whether SQLite finds nothing committed in the log.
    pub(super) fn log_is_idle(&self) -> bool {
        self.wal.as_ref().is_some_and(|wal| !wal.has_its_header() || wal.pages_after().is_none())
    }

    /// Whether every page that the log holds is in the main file already, byte for byte. Of a log without a header that
    /// holds none nobody knows.
    fn log_is_in_main(&self) -> io::Result<bool> {
        let Some(wal) = &self.wal else { return Ok(true) };
        for no in wal.page_numbers() {
            let (newest, _) = wal.version(no, 0)?;
            let was_cut_off = wal.pages_after().is_some_and(|count| no > count);
            if !was_cut_off && self.main(no)?.as_deref() != Some(newest.as_slice()) {
                return Ok(false);
            }
        }
        Ok(wal.has_its_header() || wal.page_numbers().next().is_some())
    }

    /// Calls `take` with each row of each page in use; it answers whether the row is what it should be. Older versions
    /// of a page are looked at only while something in the newer ones is not, or the log does not vouch for them.
    pub(super) fn each_row(&self, mut take: impl FnMut(&Found<'_>) -> io::Result<bool>) -> io::Result<()> {
        for no in (1..=self.count).filter(|no| !self.is_free(*no)) {
            let mut age = 0;
            while let Some(version) = self.version(no, age)? {
                let older = age > 0 || version.whole == Some(false);
                let vouched = version.whole != Some(false);
                let sound = self.rows_of(no, &version.bytes, age, (older, vouched), &mut take)?;
                if version.whole == Some(true) || (sound && version.whole.is_none()) {
                    break;
                }
                age += 1;
            }
        }
        Ok(())
    }

    fn rows_of(
        &self,
        no: u32,
        page: &[u8],
        age: usize,
        (older, vouched): (bool, bool),
        take: &mut impl FnMut(&Found<'_>) -> io::Result<bool>,
    ) -> io::Result<bool> {
        let kind = match record::kind(no, page) {
            // A page that is none of a tree may be an overflow page or a damaged one: older versions tell.
            None => return Ok(false),
            Some(Kind::TableInterior) => return Ok(true),
            Some(kind) => kind,
        };
        let mut sound = true;
        for cell in record::cells(no, page, kind) {
            let payload = match &cell {
                None => Some(Cow::Borrowed(&[][..])),
                Some(cell) if cell.overflow.is_none() => Some(Cow::Borrowed(cell.local)),
                Some(cell) => self.payload(cell, age)?.map(Cow::Owned),
            };
            let rowid = (kind == Kind::TableLeaf).then(|| cell.map_or(0, |cell| cell.rowid));
            let payload = payload.unwrap_or_default();
            sound &= take(&Found { page: no, rowid, payload: &payload, older, vouched })?;
        }
        Ok(sound)
    }
}

/// A row as it stands in a page.
pub(super) struct Found<'a> {
    pub(super) page: u32,
    /// `None` in an index or a table WITHOUT ROWID.
    pub(super) rowid: Option<i64>,
    /// Its record; empty where the page is damaged.
    pub(super) payload: &'a [u8],
    /// Whether it may not be the newest: the page has a newer version, or one that the log does not vouch for.
    pub(super) older: bool,
    /// Whether the log vouches for the page, or it is the main file's.
    pub(super) vouched: bool,
}
