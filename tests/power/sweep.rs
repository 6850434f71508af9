//! Cuts the power at every entry of a log, in every way, and asks what is left.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::image::{Image, Platter, Way};
use super::opened;
use super::oracle::{Expectation, Observation};
use super::workloads::{Recording, folder, runtime};

/// What a sweep found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figures {
    pub(crate) images: u64,
    /// Of these, the ones that no earlier image of the same log was equal to, byte for byte. Those were opened; what
    /// they showed was compared with what had been acknowledged at every image.
    pub(crate) distinct: u64,
    pub(crate) violations: Vec<String>,
    /// Images until the first violation.
    pub(crate) caught_after: Option<u64>,
}

impl Figures {
    pub(crate) fn add(&mut self, other: Figures) {
        self.images += other.images;
        self.distinct += other.distinct;
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
    pub(crate) fn sweep(&self, name: &str, recording: &Recording, seed: u64, most: u64, first: bool) -> Figures {
        let mut figures = Figures::default();
        let mut platter = Platter::holding(&recording.base);
        platter.gives_up = recording.gives_up;
        let mut expectation = Expectation::default();
        let mut known = Known::default();
        let mut fine: HashSet<usize> = HashSet::new();
        let places = (recording.entries.len() - recording.from) as u64;
        let stride = (places * 7).div_ceil(most.max(1)).max(1);
        for (at, entry) in recording.entries.iter().enumerate() {
            platter.follow(entry);
            if expectation.follow(entry, &recording.deeds) {
                fine.clear();
            }
            if at < recording.from || (at - recording.from) as u64 % stride != 0 {
                continue;
            }
            for way in Way::ALL {
                let mut chance = fastrand::Rng::with_seed(seed ^ ((at as u64) << 8) ^ way as u64);
                let image = platter.image(way, &mut chance);
                figures.images += 1;
                let (seen, new) = known.look(self, &image);
                figures.distinct += u64::from(new);
                if !fine.insert(seen) {
                    continue;
                }
                let verdict = match &known.shown[seen] {
                    Ok(observation) => expectation.check(observation, &recording.deeds),
                    Err(error) => Err(error.clone()),
                };
                if let Err(wrong) = verdict {
                    fine.remove(&seen);
                    figures.caught_after.get_or_insert(figures.images);
                    if first || figures.violations.len() < 3 {
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
    by_shown: HashMap<Result<Observation, String>, usize>,
    shown: Vec<Result<Observation, String>>,
}

impl Known {
    /// The number of what an image shows, and whether it had to be opened.
    fn look(&mut self, sweeper: &Sweeper, image: &Image) -> (usize, bool) {
        let sum = image.sum();
        if let Some(seen) = self.images.get(&sum) {
            return (*seen, false);
        }
        let shown = sweeper.observe(image);
        let next = self.shown.len();
        let seen = *self.by_shown.entry(shown.clone()).or_insert(next);
        if seen == next {
            self.shown.push(shown);
        }
        self.images.insert(sum, seen);
        (seen, true)
    }
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
