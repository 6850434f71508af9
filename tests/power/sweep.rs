//! Cuts the power at every entry of a log, in every way, and asks what is left.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::alike::Reader;
use super::image::{Image, Platter, Way};
use super::opened;
use super::oracle::{Expectation, Observation};
use super::stage::{Recording, folder, runtime};

/// What a sweep found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figures {
    pub(crate) images: u64,
    /// Of these, the ones that no earlier image of the same log was equal to, byte for byte.
    pub(crate) distinct: u64,
    /// Of these, the ones that were opened: all that SQLite does not read as the same database as an earlier one, and
    /// some of the others, to see that they do show the same.
    pub(crate) opened: u64,
    pub(crate) violations: Vec<String>,
    /// Images until the first violation.
    pub(crate) caught_after: Option<u64>,
}

impl Figures {
    pub(crate) fn add(&mut self, other: Figures) {
        self.images += other.images;
        self.distinct += other.distinct;
        self.opened += other.opened;
        self.violations.extend(other.violations);
    }
}

/// Opens images in a folder of its own, each only once.
pub(crate) struct Sweeper {
    folder: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
}

impl Sweeper {
    pub(crate) fn new() -> Sweeper {
        Sweeper { folder: folder(), runtime: runtime() }
    }

    /// At most `most` images of `recording`, spread over all of it; up to the first violation if `first`.
    pub(crate) fn sweep(
        &self,
        name: &str,
        recording: &Recording,
        seed: u64,
        most: u64,
        first: bool,
    ) -> Figures {
        let mut figures = Figures::default();
        let mut platter = Platter::holding(&recording.base);
        platter.gives_up = recording.gives_up;
        let mut expectation = Expectation::default();
        let mut known = Known::default();
        let mut fine: HashSet<usize> = HashSet::new();
        let places = (recording.entries.len() - recording.from) as u64;
        let stride = (places * 7).div_ceil(most.max(1)).max(1);
        // Where nothing is on its way, all ways end the same.
        let mut settled = None;
        for (at, entry) in recording.entries.iter().enumerate() {
            if platter.follow(entry) {
                settled = None;
            }
            if expectation.follow(entry, &recording.deeds) {
                fine.clear();
            }
            if at < recording.from || !((at - recording.from) as u64).is_multiple_of(stride) {
                continue;
            }
            for way in Way::ALL {
                let mut chance = fastrand::Rng::with_seed(seed ^ ((at as u64) << 8) ^ way as u64);
                figures.images += 1;
                let mut image = None;
                let looked = match settled {
                    Some(seen) => Looked::again(seen),
                    None => known.look(self, image.insert(platter.image(way, &mut chance))),
                };
                if platter.is_settled() {
                    settled = Some(looked.seen);
                }
                figures.distinct += u64::from(looked.distinct);
                figures.opened += u64::from(looked.opened);
                let seen = looked.seen;
                if !fine.insert(seen) && looked.alike {
                    continue;
                }
                let verdict = match &known.shown[seen] {
                    _ if !looked.alike => Err("images that should be alike show different things".into()),
                    Ok(observation) => expectation.check(observation, &recording.deeds),
                    Err(error) => Err(error.clone()),
                };
                if let Err(wrong) = verdict {
                    fine.remove(&seen);
                    figures.caught_after.get_or_insert(figures.images);
                    if first || figures.violations.len() < 3 {
                        let image = image.unwrap_or_else(|| platter.image(way, &mut chance));
                        let kept = if first { String::new() } else { keep(&image) };
                        figures.violations.push(format!(
                            "{name}, seed {seed}, after entry {at} ({entry:?}), unsynced writes {way:?}: {wrong}{kept}"
                        ));
                    }
                    if first {
                        return figures;
                    }
                }
            }
        }
        figures
    }

    pub(crate) fn observe(&self, image: &Image) -> Result<Observation, String> {
        image.write(self.folder.path());
        opened::observe(&self.folder.path().join("journal.db"), &self.runtime)
    }
}

/// What images have shown.
#[derive(Default)]
struct Known {
    images: HashMap<u128, usize>,
    reader: Reader,
    databases: HashMap<u128, usize>,
    by_shown: HashMap<Result<Observation, String>, usize>,
    shown: Vec<Result<Observation, String>>,
}

/// Of the images that hold the database of an earlier one, one in so many is opened all the same.
const SAMPLE: u128 = 16;

struct Looked {
    /// The number of what it shows.
    seen: usize,
    distinct: bool,
    opened: bool,
    /// It shows what an image with the same database has shown.
    alike: bool,
}

impl Looked {
    /// An image that is equal to an earlier one.
    fn again(seen: usize) -> Looked {
        Looked { seen, distinct: false, opened: false, alike: true }
    }
}

impl Known {
    /// What an image shows, opened only if need be.
    fn look(&mut self, sweeper: &Sweeper, image: &Image) -> Looked {
        let sum = image.sum();
        if let Some(seen) = self.images.get(&sum) {
            return Looked::again(*seen);
        }
        let database = self.reader.sum(image);
        let expected = self.databases.get(&database).copied();
        let opened = expected.is_none() || sum.is_multiple_of(SAMPLE) || open_all();
        let seen = match expected {
            Some(seen) if !opened => seen,
            _ => {
                let shown = sweeper.observe(image);
                let next = self.shown.len();
                let seen = *self.by_shown.entry(shown.clone()).or_insert(next);
                if seen == next {
                    self.shown.push(shown);
                }
                seen
            }
        };
        self.databases.entry(database).or_insert(seen);
        self.images.insert(sum, seen);
        Looked { seen, distinct: true, opened, alike: expected.is_none_or(|expected| expected == seen) }
    }
}

/// Whether no image is taken for like another.
fn open_all() -> bool {
    std::env::var_os("AFTERPLAY_TEST_OPEN_ALL").is_some()
}

/// Keeps an image for a person to look at.
fn keep(image: &Image) -> String {
    let Ok(folder) = tempfile::Builder::new().prefix("afterplay-violation-").tempdir() else {
        return String::new();
    };
    let folder = folder.keep();
    image.write(Path::new(&folder));
    format!(" (kept in {})", folder.display())
}
