//! Which images SQLite reads as the same database.
//!
//! Most images of a power cut differ only in what recovery does not look at: frames after the last whole commit of the
//! WAL, and pages of the main file that the WAL has anew. What recovery does look at is fixed by the file format
//! (<https://www.sqlite.org/fileformat2.html#walformat>).

use std::collections::HashMap;

use xxhash_rust::xxh3::{Xxh3Default, xxh3_128};

use super::image::Image;

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

type Chain = (u32, u32);

/// Remembers the frames whose checksums it has worked out.
#[derive(Default)]
pub(crate) struct Reader {
    frames: HashMap<(u128, Chain), Option<Chain>>,
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn add(chain: Chain, bytes: &[u8], big_endian: bool) -> Chain {
    let number = |word: &[u8]| {
        let word = [word[0], word[1], word[2], word[3]];
        if big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) }
    };
    bytes.chunks_exact(8).fold(chain, |(first, second), pair| {
        let first = first.wrapping_add(number(&pair[..4])).wrapping_add(second);
        (first, second.wrapping_add(number(&pair[4..])).wrapping_add(first))
    })
}

impl Reader {
    /// Images with the same sum hold the same database for SQLite.
    pub(crate) fn sum(&mut self, image: &Image) -> u128 {
        let file = |name| image.files.get(name).map_or(&[][..], Vec::as_slice);
        let (main, wal) = (file("journal.db"), file("journal.db-wal"));
        // A rollback journal is there only while a journal is made.
        if !file("journal.db-journal").is_empty() || main.is_empty() {
            return image.sum();
        }
        let (pages, count) = self.committed(wal);
        let count = count.unwrap_or(main.len() / 4096);
        let mut sum = Xxh3Default::new();
        sum.update(&count.to_le_bytes());
        // The journal looks at the header of the main file by itself.
        sum.update(&main[..main.len().min(100)]);
        if pages.is_empty() {
            sum.update(main);
        } else {
            for page in 1..=count {
                let own = main.get((page - 1) * 4096..page * 4096);
                sum.update(pages.get(&page).copied().or(own).unwrap_or_default());
            }
        }
        sum.digest128()
    }

    /// The pages of all whole commits, and how many the database has after the last one.
    fn committed<'a>(&mut self, wal: &'a [u8]) -> (HashMap<usize, &'a [u8]>, Option<usize>) {
        let (mut pages, mut count) = (HashMap::new(), None);
        if wal.len() < HEADER || word(wal, 0) & !1 != 0x377f_0682 || word(wal, 8) != 4096 {
            return (pages, count);
        }
        let big_endian = word(wal, 0) & 1 == 1;
        let mut chain = add((0, 0), &wal[..24], big_endian);
        if chain != (word(wal, 24), word(wal, 28)) {
            return (pages, count);
        }
        let mut open = Vec::new();
        for frame in wal[HEADER..].chunks_exact(FRAME_HEADER + 4096) {
            if frame[8..16] != wal[16..24] || word(frame, 0) == 0 {
                break;
            }
            let known = self.frames.entry((xxh3_128(frame), chain)).or_insert_with(|| {
                let sum = add(add(chain, &frame[..8], big_endian), &frame[FRAME_HEADER..], big_endian);
                (sum == (word(frame, 16), word(frame, 20))).then_some(sum)
            });
            let Some(next) = *known else { break };
            chain = next;
            open.push((word(frame, 0) as usize, &frame[FRAME_HEADER..]));
            if word(frame, 4) != 0 {
                pages.extend(open.drain(..));
                count = Some(word(frame, 4) as usize);
            }
        }
        (pages, count)
    }
}
