//! Cells and records of a database page, read without SQLite (SQLite's "Database File Format", sections 1.5, 1.6 and
//! 2.1): pure, and for pages that hold anything.
//!
//! Nothing here believes what it reads: a cell that does not fit its page is no cell, a record that does not fit its
//! payload is no record.

use rusqlite::types::ValueRef;

/// Bytes of a page: SQLite's default, which the journal keeps.
pub(super) const PAGE: usize = 4096;
/// Longer rows are not ours: a request has 1 MiB at most.
const MAX_PAYLOAD: usize = 8 << 20;
/// More columns than any table of ours.
const MAX_COLUMNS: usize = 128;

/// What kind of b-tree page it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Rows of a table.
    TableLeaf,
    /// Rows of a table WITHOUT ROWID, or of an index.
    IndexLeaf,
    /// The same with pages below.
    IndexInterior,
    /// Only pages below.
    TableInterior,
}

/// A row's bytes as a page has them: what did not fit is in a chain of overflow pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cell<'a> {
    pub(super) rowid: i64,
    pub(super) local: &'a [u8],
    /// Bytes of the whole payload.
    pub(super) length: usize,
    /// The first overflow page, if there is one.
    pub(super) overflow: Option<u32>,
}

fn u16_at(bytes: &[u8], at: usize) -> Option<usize> {
    Some(usize::from(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?)))
}

/// A big-endian number, as pages refer to each other.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// A variable-length integer and how many bytes it took (section 1.6).
fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0u64;
    for at in 0..9 {
        let byte = *bytes.get(at)?;
        if at == 8 {
            return Some(((value << 8) | u64::from(byte), 9));
        }
        value = (value << 7) | u64::from(byte & 0x7f);
        if byte < 0x80 {
            return Some((value, at + 1));
        }
    }
    None
}

/// Where the b-tree header begins: behind the file's header on page 1.
fn header_at(page_no: u32) -> usize {
    if page_no == 1 { 100 } else { 0 }
}

/// What kind of b-tree page this looks like, if any.
pub(super) fn kind(page_no: u32, page: &[u8]) -> Option<Kind> {
    match page.get(header_at(page_no))? {
        0x0d => Some(Kind::TableLeaf),
        0x0a => Some(Kind::IndexLeaf),
        0x02 => Some(Kind::IndexInterior),
        0x05 => Some(Kind::TableInterior),
        _ => None,
    }
}

/// Where the cells of a page begin; `None` where a pointer cannot be right.
fn cells_at(page_no: u32, page: &[u8], kind: Kind) -> impl Iterator<Item = Option<&[u8]>> {
    let header = header_at(page_no);
    let size = if matches!(kind, Kind::TableLeaf | Kind::IndexLeaf) { 8 } else { 12 };
    let first = header + size;
    let fits = PAGE.saturating_sub(first) / 2;
    let count = u16_at(page, header + 3).unwrap_or(0);
    let odd = (count > fits).then_some(None);
    (0..count.min(fits))
        .map(move |n| {
            let at = u16_at(page, first + 2 * n)?;
            if at < first { None } else { page.get(at..).filter(|rest| !rest.is_empty()) }
        })
        .chain(odd)
}

/// The pages below a page.
pub(super) fn children(page_no: u32, page: &[u8]) -> Vec<u32> {
    let Some(kind @ (Kind::TableInterior | Kind::IndexInterior)) = kind(page_no, page) else {
        return Vec::new();
    };
    let below = cells_at(page_no, page, kind).filter_map(|cell| u32_at(cell?, 0));
    below.chain(u32_at(page, header_at(page_no) + 8)).collect()
}

/// The rows of a page; `None` for each that does not fit it.
pub(super) fn cells(page_no: u32, page: &[u8], kind: Kind) -> impl Iterator<Item = Option<Cell<'_>>> {
    cells_at(page_no, page, kind).map(move |bytes| cell(bytes?, kind))
}

fn cell(mut bytes: &[u8], kind: Kind) -> Option<Cell<'_>> {
    if kind == Kind::IndexInterior {
        bytes = bytes.get(4..)?;
    }
    let (length, used) = varint(bytes)?;
    bytes = &bytes[used..];
    let length = usize::try_from(length).ok().filter(|length| *length <= MAX_PAYLOAD)?;
    let mut rowid = 0;
    if kind == Kind::TableLeaf {
        let (number, used) = varint(bytes)?;
        rowid = number.cast_signed();
        bytes = &bytes[used..];
    }
    let most = if kind == Kind::TableLeaf { PAGE - 35 } else { (PAGE - 12) * 64 / 255 - 23 };
    if length <= most {
        return Some(Cell { rowid, local: bytes.get(..length)?, length, overflow: None });
    }
    let least = (PAGE - 12) * 32 / 255 - 23;
    let fitting = least + (length - least) % (PAGE - 4);
    let here = if fitting <= most { fitting } else { least };
    Some(Cell { rowid, local: bytes.get(..here)?, length, overflow: Some(u32_at(bytes, here)?) })
}

/// The columns of a record (section 2.1). What is left over or missing makes it none.
pub(super) fn columns(payload: &[u8]) -> Option<Vec<ValueRef<'_>>> {
    let (header, mut at) = varint(payload)?;
    let header = usize::try_from(header).ok().filter(|header| *header <= payload.len())?;
    let mut body = header;
    let mut columns = Vec::new();
    while at < header {
        let (kind, used) = varint(payload.get(at..header)?)?;
        at += used;
        let length = match kind {
            0 | 8 | 9 => 0,
            1..=4 => usize::try_from(kind).ok()?,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return None,
            _ => usize::try_from((kind - 12) / 2).ok()?,
        };
        let bytes = payload.get(body..body.checked_add(length)?)?;
        body += length;
        columns.push(match kind {
            0 => ValueRef::Null,
            1..=6 => ValueRef::Integer(integer(bytes)),
            7 => ValueRef::Real(f64::from_bits(u64::from_be_bytes(bytes.try_into().ok()?))),
            8 => ValueRef::Integer(0),
            9 => ValueRef::Integer(1),
            _ if kind % 2 == 0 => ValueRef::Blob(bytes),
            _ => ValueRef::Text(bytes),
        });
        if columns.len() > MAX_COLUMNS {
            return None;
        }
    }
    (at == header && body == payload.len()).then_some(columns)
}

/// A signed big-endian number of up to eight bytes.
fn integer(bytes: &[u8]) -> i64 {
    let sign = if bytes.first().is_some_and(|first| *first >= 0x80) { -1 } else { 0 };
    bytes.iter().fold(sign, |number, byte| (number << 8) | i64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads everything there is to read in a page.
    fn read_all(page_no: u32, page: &[u8]) -> usize {
        let Some(kind) = kind(page_no, page) else { return 0 };
        let _ = children(page_no, page);
        cells(page_no, page, kind).flatten().filter_map(|cell| columns(cell.local).map(|c| c.len())).sum()
    }

    proptest! {
        #[test]
        fn anything_can_be_read(mut page in proptest::collection::vec(any::<u8>(), 0..PAGE + 1), kind in 0..4usize) {
            if let Some(first) = page.first_mut() {
                *first = [0x0d, 0x0a, 0x02, 0x05][kind];
            }
            read_all(2, &page);
            read_all(1, &page);
            let _ = columns(&page);
        }
    }

    #[test]
    fn numbers_are_read_as_sqlite_writes_them() {
        assert_eq!(varint(&[0x7f]), Some((127, 1)));
        assert_eq!(varint(&[0x81, 0x00]), Some((128, 2)));
        assert_eq!(varint(&[0xff; 9]), Some((u64::MAX, 9)));
        assert_eq!(varint(&[0xff; 8]), None);
        for (bytes, number) in
            [(&[0xff][..], -1), (&[0x7f, 0xff], 32767), (&[0x80, 0, 0], -8_388_608), (&[], 0)]
        {
            assert_eq!(integer(bytes), number);
        }
    }

    #[test]
    fn a_record_is_whole_or_none() {
        let record = [4, 0, 1, 15, 0xfe, b'x'];
        let expected = [ValueRef::Null, ValueRef::Integer(-2), ValueRef::Text(b"x")];
        assert_eq!(columns(&record), Some(expected.to_vec()));
        assert_eq!(columns(&record[..5]), None);
        assert_eq!(columns(&[record.as_slice(), &[0]].concat()), None);
    }

    #[test]
    fn every_row_that_sqlite_wrote_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.db");
        #[expect(clippy::disallowed_methods, reason = "a file as SQLite writes it")]
        let conn = rusqlite::Connection::open(&path).unwrap();
        conn.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT, other REAL)").unwrap();
        for n in 0..300i64 {
            conn.execute(
                "INSERT INTO t VALUES (?1, ?2, 0.5)",
                (n, "x".repeat((n * 13 % 4000).unsigned_abs() as usize)),
            )
            .unwrap();
        }
        drop(conn);
        let file = std::fs::read(&path).unwrap();
        let mut rowids: Vec<i64> = (1..)
            .zip(file.chunks(PAGE))
            .filter(|(no, page)| *no > 1 && kind(*no, page) == Some(Kind::TableLeaf))
            .flat_map(|(no, page)| cells(no, page, Kind::TableLeaf).collect::<Vec<_>>())
            .map(|cell| cell.unwrap())
            .inspect(|cell| assert_eq!(columns(cell.local).unwrap().len(), 3))
            .map(|cell| cell.rowid)
            .collect();
        rowids.sort_unstable();
        assert_eq!(rowids, (0..300).collect::<Vec<_>>());
    }
}
