//! What is done to the files, and which sessions it touches.

use std::collections::BTreeSet;

use crate::made::{BOOT, Made, PAGE};

/// A cheap, repeatable source of numbers (splitmix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % below.max(1) as u64) as usize
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Harm {
    BitFlip,
    ZeroedPage,
    NoisePage,
    SwappedPages,
    Truncated,
}

pub(crate) const HARMS: [Harm; 5] =
    [Harm::BitFlip, Harm::ZeroedPage, Harm::NoisePage, Harm::SwappedPages, Harm::Truncated];

/// Files after the harm, and what of them is no longer as it was.
pub(crate) struct Harmed {
    pub(crate) main: Vec<u8>,
    pub(crate) wal: Vec<u8>,
    /// Keys of sessions that had something where the harm was done.
    pub(crate) touched: BTreeSet<String>,
    /// Which pages or frames, of how many.
    pub(crate) place: String,
    /// The last commits of the log may look as if they had never been synced.
    pub(crate) tail: bool,
    /// What was known of the boots may be gone, so that times are estimated anew.
    pub(crate) boots_gone: bool,
}

/// Where a file is divided into units: the start of the first and the size of each.
#[derive(Clone, Copy)]
struct Units {
    first: usize,
    size: usize,
}

const MAIN: Units = Units { first: 0, size: PAGE };
const LOG: Units = Units { first: 32, size: PAGE + 24 };

impl Units {
    fn count(self, bytes: &[u8]) -> usize {
        (bytes.len() - self.first) / self.size
    }

    fn range(self, n: usize) -> std::ops::Range<usize> {
        self.first + n * self.size..self.first + (n + 1) * self.size
    }

    fn holding(self, at: usize) -> usize {
        at.saturating_sub(self.first) / self.size
    }
}

/// The keys of the sessions that have something in these bytes.
fn keys_in(bytes: &[u8], keys: &mut BTreeSet<String>) {
    for window in bytes.windows(8) {
        if window.starts_with(b"k-") && window[7] == b'-' && window[2..7].iter().all(u8::is_ascii_digit) {
            keys.insert(String::from_utf8_lossy(window).into_owned());
        }
    }
}

/// Frames that end a commit. Those of an earlier round of the log have other salts.
fn commits(wal: &[u8]) -> Vec<usize> {
    let present = |n: &usize| wal[LOG.range(*n)][8..16] == wal[16..24];
    (0..LOG.count(wal)).take_while(present).filter(|n| wal[LOG.range(*n)][4..8] != [0; 4]).collect()
}

pub(crate) fn harm(made: &Made, harm: Harm, in_log: bool, dice: &mut Dice) -> Harmed {
    let (mut main, mut wal) = (made.main.clone(), made.wal.clone());
    let units = if in_log { LOG } else { MAIN };
    let file = if in_log { &mut wal } else { &mut main };
    let count = units.count(file);
    let mut hit = Vec::new();
    match harm {
        Harm::BitFlip => {
            let at = dice.roll(file.len());
            file[at] ^= 1 << dice.roll(8);
            hit.push(units.holding(at));
        }
        Harm::ZeroedPage | Harm::NoisePage => {
            let n = dice.roll(count);
            for byte in &mut file[units.range(n)] {
                *byte = if harm == Harm::ZeroedPage { 0 } else { dice.roll(256) as u8 };
            }
            hit.push(n);
        }
        Harm::SwappedPages => {
            let (a, b) = (dice.roll(count), dice.roll(count));
            let (one, other) = (file[units.range(a)].to_vec(), file[units.range(b)].to_vec());
            file[units.range(a)].copy_from_slice(&other);
            file[units.range(b)].copy_from_slice(&one);
            hit.extend([a, b]);
        }
        Harm::Truncated => {
            let at = dice.roll(file.len());
            file.truncate(at);
            hit.extend(units.holding(at)..count);
        }
    }
    weigh(made, (main, wal), hit, in_log, in_log && harm == Harm::Truncated)
}

/// Zeroes a frame of the log, or swaps it with another.
pub(crate) fn harm_frames(made: &Made, one: usize, other: usize) -> Harmed {
    let mut wal = made.wal.clone();
    if one == other {
        wal[LOG.range(one)].fill(0);
    } else {
        wal[LOG.range(one)].copy_from_slice(&made.wal[LOG.range(other)]);
        wal[LOG.range(other)].copy_from_slice(&made.wal[LOG.range(one)]);
    }
    weigh(made, (made.main.clone(), wal), vec![one, other], true, false)
}

/// Of each page that the log holds the frame that counts.
pub(crate) fn newest_frames(made: &Made) -> Vec<usize> {
    let last = commits(&made.wal).last().copied().unwrap_or(0);
    let page = |n: usize| &made.wal[LOG.range(n)][..4];
    (0..=last).filter(|n| (n + 1..=last).all(|later| page(later) != page(*n))).collect()
}

/// What of the files is no longer as it was.
fn weigh(
    made: &Made,
    (main, wal): (Vec<u8>, Vec<u8>),
    mut hit: Vec<usize>,
    in_log: bool,
    cut: bool,
) -> Harmed {
    let units = if in_log { LOG } else { MAIN };
    let count = units.count(if in_log { &made.wal } else { &made.main });
    let original_log = &made.wal;
    if in_log {
        // What a frame of an earlier round holds is in the file.
        hit.retain(|n| *n < count && original_log[LOG.range(*n)][8..16] == original_log[16..24]);
    }
    let original = if in_log { &made.wal } else { &made.main };
    let mut touched = BTreeSet::new();
    for n in &hit {
        if *n < count {
            keys_in(&original[units.range(*n)], &mut touched);
        }
    }
    // The last two commits: damage there looks like a write that was cut off, which nobody was promised.
    let commits = if made.wal.is_empty() { Vec::new() } else { commits(&made.wal) };
    let edge = commits.len().checked_sub(3).map_or(0, |at| commits[at] + 1);
    let tail = in_log && (cut || hit.iter().any(|n| *n >= edge));
    if tail {
        let from = hit.iter().copied().min().unwrap_or(0).min(edge);
        // A cut in the middle of a transaction takes all of it.
        let from = commits.iter().rev().find(|at| **at < from).map_or(0, |at| at + 1);
        for n in from..LOG.count(&made.wal) {
            keys_in(&made.wal[LOG.range(n)], &mut touched);
        }
    }
    let boots_gone = hit.iter().any(|n| {
        *n < count && original[units.range(*n)].windows(BOOT.len()).any(|text| text == BOOT.as_bytes())
    });
    let place = match hit.as_slice() {
        [] => String::new(),
        [first, .., last] => format!("{first} to {last} of {count}"),
        [only] => format!("{only} of {count}"),
    };
    Harmed { main, wal, touched, tail, place, boots_gone }
}
