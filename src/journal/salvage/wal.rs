//! The write-ahead log, frame by frame (SQLite's "Database File Format", section 4).
//!
//! The checksum of a frame goes on from that of the frame before. SQLite stops at the first that is wrong; with the
//! checksum that is written in the frame before, each frame can be proven by itself. Reckoned backwards it tells which
//! frame the one before was: those that stand in the wrong place are taken back to theirs.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use super::record::{PAGE, u32_at};

/// The magic number of a log whose checksums read big-endian words; one less for little-endian ones.
const MAGIC: u32 = 0x377f_0683;
const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
const FRAME: usize = FRAME_HEADER + PAGE;
/// How often a log may have begun anew with a single frame, over frames of the same log.
const BEGINNINGS: u32 = 1 << 16;

/// A log and where in it the versions of each page are.
pub(super) struct Wal {
    file: File,
    /// Of each page, newest first: the number of the frame and whether its checksum is right.
    frames: HashMap<u32, Vec<(u64, bool)>>,
    pages_after: Option<u32>,
    header_right: bool,
    /// Whether commits follow behind something broken that SQLite would not get past.
    broken_inside: bool,
}

/// What a frame says of itself.
#[derive(Clone, Copy)]
struct Frame {
    page: u32,
    /// Pages of the database after the commit that this frame ends; 0: it ends none.
    commit: u32,
    salts: [u32; 2],
    /// The checksum of the frame that it goes on from, if nothing in it was changed since.
    before: [u32; 2],
    /// Its own.
    sum: [u32; 2],
    /// A print of the page in it.
    print: u64,
    /// Whether it goes on from what stands before it.
    proven: bool,
}

impl Frame {
    fn of(bytes: &[u8], little: bool, sum_before: [u32; 2]) -> Frame {
        let sum = pair(bytes, 16);
        let before = go_back(go_back(sum, &bytes[FRAME_HEADER..], little), &bytes[..8], little);
        let [page, commit] = pair(bytes, 0);
        let print = xxhash_rust::xxh3::xxh3_64(&bytes[FRAME_HEADER..]);
        Frame { page, commit, salts: pair(bytes, 8), before, sum, print, proven: before == sum_before }
    }
}

/// Goes on with a checksum (section 4.2).
fn go_on([mut a, mut b]: [u32; 2], bytes: &[u8], little: bool) -> [u32; 2] {
    for pair in bytes.chunks_exact(8) {
        a = a.wrapping_add(word(pair, 0, little)).wrapping_add(b);
        b = b.wrapping_add(word(pair, 4, little)).wrapping_add(a);
    }
    [a, b]
}

/// What a checksum went on from.
fn go_back([mut a, mut b]: [u32; 2], bytes: &[u8], little: bool) -> [u32; 2] {
    for pair in bytes.chunks_exact(8).rev() {
        b = b.wrapping_sub(word(pair, 4, little)).wrapping_sub(a);
        a = a.wrapping_sub(word(pair, 0, little)).wrapping_sub(b);
    }
    [a, b]
}

fn word(bytes: &[u8], at: usize, little: bool) -> u32 {
    let word = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
    if little { u32::from_le_bytes(word) } else { u32::from_be_bytes(word) }
}

fn pair(bytes: &[u8], at: usize) -> [u32; 2] {
    [u32_at(bytes, at).unwrap_or(0), u32_at(bytes, at + 4).unwrap_or(0)]
}

impl Wal {
    /// Reads a log; `None` where there is none worth the name: a header is synced before anything follows it, but a power
    /// cut may leave any bytes in its own place.
    pub(super) fn open(path: &Path) -> io::Result<Option<Wal>> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut reader = BufReader::with_capacity(1 << 17, &file);
        let mut header = Vec::with_capacity(HEADER);
        (&mut reader).take(HEADER as u64).read_to_end(&mut header)?;
        if reader.fill_buf()?.is_empty() {
            return Ok(None);
        }
        let magic = u32_at(&header, 0).filter(|magic| magic | 1 == MAGIC);
        // Where that is gone, as this machine writes it.
        let little = magic.map_or(cfg!(target_endian = "little"), |magic| magic & 1 == 0);
        let header_sum = pair(&header, 24);
        let header_right = magic.is_some()
            && u32_at(&header, 8) == Some(4096)
            && go_on([0, 0], &header[..24], little) == header_sum;
        let mut sum = header_sum;
        let mut frames = Vec::new();
        let mut bytes = Vec::with_capacity(FRAME);
        loop {
            bytes.clear();
            (&mut reader).take(FRAME as u64).read_to_end(&mut bytes)?;
            if bytes.len() < FRAME {
                break;
            }
            let frame = Frame::of(&bytes, little, sum);
            sum = frame.sum;
            frames.push(frame);
        }
        drop(reader);
        Ok(Some(Wal::of(file, &frames, header_sum, header_right.then(|| pair(&header, 16)))))
    }

    fn of(file: File, frames: &[Frame], header_sum: [u32; 2], salts: Option<[u32; 2]>) -> Wal {
        let header_right = salts.is_some();
        let salts = salts.or_else(|| newest_salts(frames));
        let ours = |frame: &Frame| salts == Some(frame.salts) && frame.page != 0;
        let placed = in_their_places(frames, header_sum, &ours);
        let end = placed.iter().rposition(|(_, frame)| ours(frame) && frame.proven && frame.commit > 0);
        let mut wal = Wal {
            file,
            frames: HashMap::new(),
            pages_after: end.map(|end| placed[end].1.commit),
            header_right,
            broken_inside: commits_behind_damage(frames, &ours),
        };
        // The first one cannot prove itself without a header; the main file can tell.
        if let (false, None, Some(first)) =
            (header_right, end, frames.first().filter(|first| first.page != 0))
        {
            wal.frames.insert(first.page, vec![(0, false)]);
        }
        // What follows the last commit was never promised to anybody.
        for (at, frame) in placed[..end.map_or(0, |end| end + 1)].iter().rev() {
            if ours(frame) {
                wal.frames.entry(frame.page).or_default().push((*at as u64, frame.proven));
            }
        }
        wal
    }

    /// Pages of the database after the last commit.
    pub(super) fn pages_after(&self) -> Option<u32> {
        self.pages_after
    }

    /// Whether its header is right. Spoiled it may be where a power cut met a log that was beginning anew: a header is
    /// synced before a frame follows it, and the log begins anew once all of it has reached the main file.
    pub(super) fn has_its_header(&self) -> bool {
        self.header_right
    }

    /// Whether commits follow behind something broken that SQLite would not get past.
    pub(super) fn is_broken_inside(&self) -> bool {
        self.broken_inside
    }

    pub(super) fn versions(&self, page: u32) -> usize {
        self.frames.get(&page).map_or(0, Vec::len)
    }

    pub(super) fn page_numbers(&self) -> impl Iterator<Item = u32> {
        self.frames.keys().copied()
    }

    /// A version of a page, and whether its checksum is right.
    pub(super) fn version(&self, page: u32, age: usize) -> io::Result<(Vec<u8>, bool)> {
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        let (at, proven) = *self.frames.get(&page).and_then(|all| all.get(age)).ok_or_else(missing)?;
        let mut bytes = vec![0; PAGE];
        (&self.file).seek(SeekFrom::Start((HEADER + FRAME_HEADER) as u64 + at * FRAME as u64))?;
        (&self.file).read_exact(&mut bytes)?;
        Ok((bytes, proven))
    }
}

/// The salts of the newest frames of a log whose header is gone. It begins anew with the first of a pair one higher
/// (section 4.3), from the first frame on, over what is left of the log before it. Two frames that go on from each other
/// show theirs; a single one before them is newer if its salt is a little higher.
fn newest_salts(frames: &[Frame]) -> Option<[u32; 2]> {
    let mut both = frames.windows(2).filter(|two| {
        two[1].proven && two[0].salts == two[1].salts && two.iter().all(|frame| frame.page != 0)
    });
    let shown = both.next()?[0].salts;
    let first = frames.first()?;
    let is_newer = (1..=BEGINNINGS).contains(&first.salts[0].wrapping_sub(shown[0])) && first.page != 0;
    Some(if is_newer { first.salts } else { shown })
}

/// The frames in the order in which they were written, each with where it stands. One that does not go on from what is
/// before it gives way to one from elsewhere that does.
fn in_their_places(
    frames: &[Frame],
    header_sum: [u32; 2],
    ours: &impl Fn(&Frame) -> bool,
) -> Vec<(usize, Frame)> {
    let displaced = frames.iter().enumerate().filter(|(_, frame)| ours(frame) && !frame.proven);
    let displaced: HashMap<[u32; 2], usize> = displaced.map(|(at, frame)| (frame.before, at)).collect();
    let mut moved = HashSet::new();
    let mut sum = header_sum;
    let mut placed = Vec::with_capacity(frames.len());
    for (at, frame) in frames.iter().enumerate() {
        let goes_on = |from: &usize| frames[*from].before == sum;
        let from = Some(at).filter(goes_on).or_else(|| displaced.get(&sum).copied()).unwrap_or(at);
        if from != at {
            moved.insert(from);
        }
        let frame = if from == at { frame } else { &frames[from] };
        placed.push((from, Frame { proven: frame.before == sum, ..*frame }));
        sum = frame.sum;
    }
    // Where it stood it is not once more.
    for (at, (from, frame)) in placed.iter_mut().enumerate() {
        if at == *from && moved.contains(&at) {
            frame.page = 0;
        }
    }
    placed
}

/// Whether SQLite would drop commits that were synced. A power cut leaves at most the last transaction broken, since
/// the next one begins only after the sync; so two commits at or behind the first broken frame are damage.
fn commits_behind_damage(frames: &[Frame], ours: &impl Fn(&Frame) -> bool) -> bool {
    let Some(broken) = frames.iter().position(|frame| !(frame.proven && ours(frame))) else { return false };
    let mut commits = 0;
    for (at, frame) in frames.iter().enumerate().skip(broken) {
        if !ours(frame) || frame.commit == 0 || !(frame.proven || at == broken) {
            continue;
        }
        // A commit frame that is repeated byte for byte fills a sector and is the same commit.
        let content = |frame: &Frame| (frame.page, frame.commit, frame.print);
        if at == 0 || content(&frames[at - 1]) != content(frame) {
            commits += 1;
        }
    }
    commits >= 2
}
