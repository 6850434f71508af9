//! What a folder may look like after the power failed: the platter, what is on its way to it, and the seven ways in
//! which that ends.

use std::collections::BTreeMap;
use std::path::Path;

use xxhash_rust::xxh3::Xxh3Default;

use super::disk::{Bytes, Entry};

/// A device writes so many bytes as one.
const SECTOR: usize = 512;

/// What becomes of everything that was written and not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Nothing of it got to the platter.
    Dropped,
    /// All of it did.
    Kept,
    /// Everything up to some point.
    Prefix,
    /// Some of the writes, in any order.
    Subset,
    /// Some sectors of each write.
    Torn,
    /// Some sectors came out as zeros.
    Zeroed,
    /// Some sectors came out as nobody wrote them.
    Garbage,
}

impl Way {
    pub(crate) const ALL: [Way; 7] =
        [Way::Dropped, Way::Kept, Way::Prefix, Way::Subset, Way::Torn, Way::Zeroed, Way::Garbage];
}

/// The files of a folder.
#[derive(Debug, Clone, Default)]
pub(crate) struct Image {
    pub(crate) files: BTreeMap<String, Vec<u8>>,
}

impl Image {
    /// What is in `folder` now.
    pub(crate) fn read(folder: &Path) -> Image {
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            // The lock holds nothing but a number, the reserve nothing, and the shared memory is nobody's after a crash.
            if ![".lock", ".reserve", "-shm"].iter().any(|ending| name.ends_with(ending)) {
                files.insert(name, std::fs::read(entry.path()).unwrap());
            }
        }
        Image { files }
    }

    /// Makes `folder` hold these files and nothing else that matters.
    pub(crate) fn write(&self, folder: &Path) {
        // Blocks in reserve need not be taken again for every image; before a journal is made there are none.
        let has_reserve = self.files.get("journal.db").is_some_and(|main| !main.is_empty());
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let stays = self.files.contains_key(&name) || (has_reserve && name.ends_with(".reserve"));
            if !stays {
                std::fs::remove_file(entry.path()).unwrap();
            }
        }
        for (name, bytes) in &self.files {
            std::fs::write(folder.join(name), bytes).unwrap();
        }
    }

    /// Images with the same sum are taken for the same.
    pub(crate) fn sum(&self) -> u128 {
        let mut sum = Xxh3Default::new();
        for (name, bytes) in &self.files {
            for part in [name.as_bytes(), bytes] {
                sum.update(&part.len().to_le_bytes());
                sum.update(part);
            }
        }
        sum.digest128()
    }
}

/// What is on its way to the platter.
#[derive(Debug, Clone)]
enum Op {
    Write { inode: usize, at: usize, bytes: Bytes },
    Truncate { inode: usize, size: usize },
    Create { inode: usize, name: String },
    Delete { name: String },
}

impl Op {
    fn inode(&self) -> Option<usize> {
        match self {
            Op::Write { inode, .. } | Op::Truncate { inode, .. } => Some(*inode),
            Op::Create { .. } | Op::Delete { .. } => None,
        }
    }
}

/// Files by inode, and the folder that names them.
#[derive(Debug, Clone, Default)]
struct Content {
    inodes: BTreeMap<usize, Vec<u8>>,
    folder: BTreeMap<String, usize>,
}

impl Content {
    fn apply(&mut self, op: &Op) {
        match op {
            Op::Write { inode, at, bytes } => self.put(*inode, *at, &bytes.0),
            Op::Truncate { inode, size } => self.inodes.entry(*inode).or_default().resize(*size, 0),
            Op::Create { inode, name } => {
                self.folder.insert(name.clone(), *inode);
            }
            Op::Delete { name } => {
                self.folder.remove(name);
            }
        }
    }

    fn put(&mut self, inode: usize, at: usize, bytes: &[u8]) {
        let file = self.inodes.entry(inode).or_default();
        if file.len() < at + bytes.len() {
            file.resize(at + bytes.len(), 0);
        }
        file[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn image(self) -> Image {
        let Content { mut inodes, folder } = self;
        // A file that was never written is empty; no two names lead to one inode.
        let files = folder
            .into_iter()
            .map(|(name, inode)| (name, inodes.remove(&inode).unwrap_or_default()))
            .collect();
        Image { files }
    }
}

/// A disk in the middle of its log.
#[derive(Debug, Clone)]
pub(crate) struct Platter {
    durable: Content,
    pending: Vec<Op>,
    /// Writes that a failed sync has given up: no later sync brings them back.
    pub(crate) gives_up: bool,
}

impl Platter {
    /// A disk that holds `image`, as [`super::disk::Disk::holding`] counts its inodes.
    pub(crate) fn holding(image: &Image) -> Platter {
        let mut durable = Content::default();
        for (inode, (name, bytes)) in image.files.iter().enumerate() {
            durable.folder.insert(name.clone(), inode);
            durable.inodes.insert(inode, bytes.clone());
        }
        Platter { durable, pending: Vec::new(), gives_up: false }
    }

    /// Goes on by one entry. Answers whether the disk has changed.
    pub(crate) fn follow(&mut self, entry: &Entry) -> bool {
        match entry {
            Entry::Wrote { inode, at, bytes } => {
                let at = usize::try_from(*at).unwrap();
                self.pending.push(Op::Write { inode: *inode, at, bytes: bytes.clone() });
            }
            Entry::Truncated { inode, size } => {
                self.pending.push(Op::Truncate { inode: *inode, size: usize::try_from(*size).unwrap() });
            }
            Entry::Created { inode, name } => {
                self.pending.push(Op::Create { inode: *inode, name: name.clone() });
            }
            Entry::Deleted { name, synced } => {
                self.pending.push(Op::Delete { name: name.clone() });
                if *synced {
                    self.settle(|op| op.inode().is_none());
                }
            }
            Entry::Synced { inode, folder } => {
                self.settle(|op| op.inode() == Some(*inode) || (*folder && op.inode().is_none()));
            }
            Entry::SyncFailed { inode } if self.gives_up => {
                self.pending.retain(|op| op.inode() != Some(*inode));
            }
            _ => return false,
        }
        true
    }

    /// Whether everything is on the platter.
    pub(crate) fn is_settled(&self) -> bool {
        self.pending.is_empty()
    }

    /// These are on the platter now.
    fn settle(&mut self, which: impl Fn(&Op) -> bool) {
        let durable = &mut self.durable;
        self.pending.retain(|op| {
            let now = which(op);
            if now {
                durable.apply(op);
            }
            !now
        });
    }

    /// What is found after the power failed now, and went this way.
    pub(crate) fn image(&self, way: Way, chance: &mut fastrand::Rng) -> Image {
        let mut content = self.durable.clone();
        let prefix = chance.usize(0..=self.pending.len());
        for (n, op) in self.pending.iter().enumerate() {
            let whole = match way {
                Way::Dropped => false,
                Way::Kept => true,
                Way::Prefix => n < prefix,
                Way::Subset => chance.bool(),
                Way::Torn | Way::Zeroed | Way::Garbage => {
                    if let Op::Write { inode, at, bytes } = op {
                        damage(&mut content, *inode, *at, &bytes.0, way, chance);
                        continue;
                    }
                    chance.bool()
                }
            };
            if whole {
                content.apply(op);
            }
        }
        content.image()
    }
}

/// Writes sector by sector, and not every one of them well.
///
/// A sector that a write touches only in part keeps its other bytes, whatever happens: SQLite relies on that too
/// (`SQLITE_IOCAP_POWERSAFE_OVERWRITE`).
fn damage(
    content: &mut Content,
    inode: usize,
    at: usize,
    bytes: &[u8],
    way: Way,
    chance: &mut fastrand::Rng,
) {
    let mut done = 0;
    while done < bytes.len() {
        let end = (((at + done) / SECTOR + 1) * SECTOR - at).min(bytes.len());
        let sector = &bytes[done..end];
        match (chance.u8(0..4), way) {
            (0, _) => {}
            (1, Way::Zeroed) => content.put(inode, at + done, &vec![0; sector.len()]),
            (1, Way::Garbage) => {
                let mut garbage = vec![0; sector.len()];
                chance.fill(&mut garbage);
                content.put(inode, at + done, &garbage);
            }
            (1, _) => {}
            _ => content.put(inode, at + done, sector),
        }
        done = end;
    }
}
