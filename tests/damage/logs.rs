//! A log that is none any more: what it held cannot be known, and that is said.

use std::fs;
use std::path::PathBuf;

use afterplay::clock::ManualClock;
use afterplay::event::EventType;
use afterplay::journal::{Append, verify_file};

use crate::cases::asides;
use crate::harm::Dice;
use crate::journal::{Open, ROOT};
use crate::made::{self, Made, OWNERS, PAGE, event, folder, journal_in, key};

const HEADER: usize = 32;
const FRAME: usize = 24 + PAGE;

fn page(frame: &[u8]) -> usize {
    u32::from_be_bytes(frame[..4].try_into().unwrap()) as usize
}

async fn lists_the_log(open: &Open) -> bool {
    let listed = open.journal.losses(ROOT, 10, None).await.unwrap().losses;
    listed.iter().filter(|lost| lost.events == 0 && lost.detail.contains("of the journal's log")).count() == 1
}

#[tokio::test(flavor = "current_thread")]
async fn a_log_that_is_none_is_kept_and_listed() {
    let made = Made::new(8, 8, 6).await;
    let mut dice = Dice(7);
    let mut noise = |length: usize| (0..length).map(|_| dice.roll(256) as u8).collect::<Vec<u8>>();
    let cases = [
        ("noise", noise(made.wal.len())),
        ("a little noise", noise(HEADER + 1)),
        ("noise as long as one frame", noise(HEADER + FRAME)),
        ("zeros", vec![0; made.wal.len()]),
        ("text", "somebody's notes\n".repeat(1000).into_bytes()),
        ("a header, in part, and zeros", [&made.wal[..16], &vec![0; 20 * FRAME][..]].concat()),
    ];
    for (what, wal) in cases {
        let dir = folder();
        let path = journal_in(dir.path());
        fs::write(&path, &made.main).unwrap();
        fs::write(dir.path().join("journal.db-wal"), &wal).unwrap();
        let found = verify_file(&path).unwrap().unwrap();
        assert!(!found.sound, "{what}: {found:?}");
        let open = made::open(&path, &made.clock());
        let [aside] = &asides(dir.path())[..] else { panic!("{what}: not set aside") };
        let kept = |suffix| fs::read(dir.path().join(format!("{aside}{suffix}"))).unwrap();
        assert!(kept("") == made.main && kept("-wal") == wal, "{what}: kept as it was");
        assert!(lists_the_log(&open).await, "{what}");
        open.close();
        let again = made::open(&path, &made.clock());
        assert!(lists_the_log(&again).await, "{what}: once");
        again.close();
    }
}

const BOOT_MS: i64 = 1_774_000_000_000;

/// A journal as a crash leaves it.
struct Crashed(tempfile::TempDir);

impl Crashed {
    fn new() -> Crashed {
        Crashed(folder())
    }

    fn path(&self) -> PathBuf {
        journal_in(self.0.path())
    }

    fn log(&self) -> PathBuf {
        self.0.path().join("journal.db-wal")
    }

    /// The same files elsewhere.
    fn copy(&self) -> Crashed {
        let copy = Crashed::new();
        for (from, to) in [(self.path(), copy.path()), (self.log(), copy.log())] {
            if from.exists() {
                fs::copy(from, to).unwrap();
            }
        }
        copy
    }

    /// What it is after a start, `count` requests of one event each, and another crash.
    async fn after(&self, count: usize) -> Crashed {
        let running = self.copy();
        let open = running.open();
        let begun = open.journal.status(ROOT).await.unwrap().stored;
        for n in usize::try_from(begun).unwrap()..usize::try_from(begun).unwrap() + count {
            let kind = if n == 0 { EventType::SessionStart } else { EventType::Ping };
            let events = vec![event(&key(1), n, kind, 20)];
            open.journal.append(Append::new(OWNERS[0], key(1).parse().unwrap(), events)).await.unwrap();
        }
        let left = running.copy();
        open.close();
        left
    }

    fn open(&self) -> Open {
        made::open(&self.path(), &ManualClock::at(BOOT_MS, "boot"))
    }

    fn change_log(&self, change: impl FnOnce(&mut Vec<u8>)) {
        let mut log = fs::read(self.log()).unwrap();
        change(&mut log);
        fs::write(self.log(), log).unwrap();
    }
}

/// A player that only pings writes the same page again and again, a commit a frame.
#[tokio::test(flavor = "current_thread")]
async fn a_flipped_bit_in_a_log_of_pings_costs_none_of_those_behind_it() {
    const PINGS: usize = 12;
    let began = Crashed::new().after(1).await;
    let crashed = began.after(0).await.after(PINGS).await;
    let whole = fs::read(crashed.log()).unwrap();
    let frames: Vec<&[u8]> = whole[HEADER..].chunks_exact(FRAME).collect();
    let ours = frames.iter().take_while(|frame| frame[8..16] == whole[16..24]).count();
    assert!(frames[ours - PINGS / 2..ours].iter().all(|frame| page(frame) == page(frames[ours - 1])));
    for hit in 0..ours - 1 {
        let left = crashed.copy();
        left.change_log(|log| log[HEADER + hit * FRAME + 24 + PAGE / 2] ^= 1);
        assert!(!verify_file(&left.path()).unwrap().unwrap().sound, "frame {hit}");
        let open = left.open();
        assert_eq!(asides(left.0.path()).len(), 1, "frame {hit}");
        let status = open.journal.status(ROOT).await.unwrap();
        let lost: u64 = status.losses.values().sum();
        assert_eq!((status.stored + lost, lost <= 1), (1 + PINGS as u64, true), "frame {hit}: {status:?}");
        open.close();
    }
}

/// What a power cut leaves while a log begins anew: any bytes in the place of its header, and behind it what had reached
/// the main file before, over what is left of the logs before that.
#[tokio::test(flavor = "current_thread")]
async fn a_header_that_a_power_cut_spoiled_is_no_damage() {
    for (first, second) in (0..7).flat_map(|first| (0..4).map(move |second| (first, second))) {
        let what = format!("{} commits, then {second}", first + 1);
        // Each start puts the log into the main file.
        let crashed = Crashed::new().after(1 + first).await.after(second).await.after(0).await;
        crashed.change_log(|log| log.iter_mut().take(HEADER).for_each(|byte| *byte = 7));
        let found = verify_file(&crashed.path()).unwrap().unwrap();
        assert!(found.sound, "{what}: {found:?}");
        let open = crashed.open();
        assert!(asides(crashed.0.path()).is_empty(), "{what}");
        let status = open.journal.status(ROOT).await.unwrap();
        assert_eq!(status.stored, (1 + first + second) as u64, "{what}");
        open.close();
    }
}

/// Of a log that holds what the main file does not, a header is not spoiled by a power cut.
#[tokio::test(flavor = "current_thread")]
async fn a_header_that_was_spoiled_over_what_is_nowhere_else_is_damage() {
    for (first, second) in [(1, 1), (3, 1), (6, 1), (2, 2), (3, 5)] {
        let what = format!("{} commits, then {second}", first + 1);
        let crashed = Crashed::new().after(1 + first).await.after(second).await;
        crashed.change_log(|log| log[..HEADER].fill(7));
        assert!(!verify_file(&crashed.path()).unwrap().unwrap().sound, "{what}");
        let open = crashed.open();
        assert_eq!(asides(crashed.0.path()).len(), 1, "{what}");
        let status = open.journal.status(ROOT).await.unwrap();
        let is_whole = status.stored == (1 + first + second) as u64;
        assert!(is_whole || lists_the_log(&open).await, "{what}: {status:?}");
        assert!(status.stored > first as u64, "{what}: {status:?}");
        open.close();
    }
}

/// The first frame behind a new header is torn by one power cut, and the header by the next.
#[tokio::test(flavor = "current_thread")]
async fn what_a_power_cut_left_behind_a_header_is_not_met_again() {
    for torn in [1, 2000, FRAME, 3 * FRAME] {
        let crashed = Crashed::new().after(1).await.after(0).await;
        crashed.change_log(|log| log.truncate(HEADER));
        crashed.change_log(|log| log.extend(vec![0; torn]));
        let again = crashed.after(0).await;
        assert_eq!(fs::metadata(again.log()).unwrap().len(), 0, "{torn} bytes");
        assert!(asides(crashed.0.path()).is_empty(), "{torn} bytes");
        assert_eq!(again.open().journal.status(ROOT).await.unwrap().stored, 1, "{torn} bytes");
    }
}
