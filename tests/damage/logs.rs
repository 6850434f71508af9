//! A log that is none any more: what it held cannot be known, and that is said.

use std::fs;

use afterplay::clock::ManualClock;
use afterplay::event::EventType;
use afterplay::journal::{Append, verify_file};
use afterplay::session::Why;

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

/// What a power cut leaves while a log begins anew: any bytes in the place of its header, and behind it what had reached
/// the main file before.
#[tokio::test(flavor = "current_thread")]
async fn a_header_that_a_power_cut_spoiled_is_no_damage() {
    let dir = folder();
    let path = journal_in(dir.path());
    let clock = ManualClock::at(1_774_000_000_000, "boot");
    let open = made::open(&path, &clock);
    let events = vec![event(&key(1), 0, EventType::SessionStart, 200)];
    let append = Append::new(OWNERS[0], key(1).parse().unwrap(), events);
    open.journal.append(Append { complete: Some(Why::Complete), ..append }).await.unwrap();
    let log = dir.path().join("journal.db-wal");
    let (whole, mut main) = (fs::read(&log).unwrap(), fs::read(&path).unwrap());
    open.close();
    // What a checkpoint does; whether a frame is the newest of its page.
    let frames: Vec<&[u8]> = whole[HEADER..].chunks_exact(FRAME).collect();
    let frames: Vec<&[u8]> = frames.into_iter().filter(|frame| frame[8..16] == whole[16..24]).collect();
    for frame in &frames {
        let at = (page(frame) - 1) * PAGE;
        main.resize(main.len().max(at + PAGE), 0);
        main[at..at + PAGE].copy_from_slice(&frame[24..]);
    }
    let is_newest = |n: &usize| !frames[n + 1..].iter().any(|later| page(later) == page(frames[*n]));
    let mut logs = vec![
        ("nothing", Vec::new()),
        ("half a header", vec![7; 16]),
        ("a header", vec![7; HEADER]),
        ("all frames", [&[7; HEADER][..], &whole[HEADER..]].concat()),
    ];
    for n in (0..frames.len()).filter(is_newest) {
        logs.push(("one frame", [&[7; HEADER][..], frames[n]].concat()));
    }
    for (what, wal) in logs {
        fs::write(&path, &main).unwrap();
        fs::write(&log, &wal).unwrap();
        let open = made::open(&path, &clock);
        assert!(asides(dir.path()).is_empty(), "{what}");
        assert_eq!(open.journal.status(ROOT).await.unwrap().stored, 1, "{what}");
        open.close();
    }
}
