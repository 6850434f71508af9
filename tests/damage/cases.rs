//! Particular damage, and what must come of it.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use afterplay::event::EventType;
use afterplay::journal::{Append, NewEvent, verify_file};
use afterplay::session::{Consent, Loss, State, Why};

use crate::journal::{Open, ROOT};
use crate::made::{self, Made, OWNERS, PAGE, folder, journal_in, key};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

pub(crate) fn asides(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut asides: Vec<String> =
        names.filter(|name| name.contains(".damaged-") && !name.ends_with("-wal")).collect();
    asides.sort();
    asides
}

/// A small journal whose every session is in the main file.
fn small() -> Made {
    runtime().block_on(Made::new(8, 0, 6))
}

pub(crate) fn find(bytes: &[u8], needle: &[u8]) -> Vec<usize> {
    (0..bytes.len().saturating_sub(needle.len())).filter(|at| bytes[*at..].starts_with(needle)).collect()
}

async fn states(open: &Open) -> Vec<(String, State)> {
    let page = open.journal.list(ROOT, None, 10_000, None).await.unwrap();
    let mut states: Vec<_> =
        page.sessions.into_iter().map(|session| (session.session, session.state)).collect();
    states.sort_by(|a, b| a.0.cmp(&b.0));
    states
}

fn truth(made: &Made) -> Vec<(String, State)> {
    made.sessions.iter().map(|(key, truth)| (key.clone(), truth.state)).collect()
}

#[test]
fn no_bit_of_a_header_stops_the_service() {
    let made = small();
    for bit in (0..100 * 8).step_by(3).chain(60 * 8..72 * 8) {
        let dir = folder();
        let path = journal_in(dir.path());
        let mut main = made.main.clone();
        main[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, main).unwrap();
        let open = made::open(&path, &made.clock());
        assert_eq!(runtime().block_on(states(&open)), truth(&made), "bit {bit}");
        open.close();
    }
}

#[test]
fn no_bit_of_a_state_hides_a_session_or_sends_it_again() {
    let made = small();
    let places: Vec<usize> = ["completed", "delivered", "quarantined", "open"]
        .iter()
        .flat_map(|state| find(&made.main, state.as_bytes()).into_iter().map(|at| (at, state.len())))
        .flat_map(|(at, length)| (at..at + length).step_by(3))
        .collect();
    assert!(places.len() > 20);
    for (n, at) in places.into_iter().enumerate() {
        let dir = folder();
        let path = journal_in(dir.path());
        let mut main = made.main.clone();
        main[at] ^= 1 << (n % 7);
        fs::write(&path, main).unwrap();
        let open = made::open(&path, &made.clock());
        let now = runtime().block_on(states(&open));
        for (key, was) in truth(&made) {
            let is = now.iter().find(|(other, _)| *other == key).map(|(_, state)| *state);
            let fine = is == Some(was)
                || (is == Some(State::Quarantined) && was != State::Delivered)
                || (is.is_none() && was == State::Delivered);
            assert!(fine, "byte {at}: {key} was {was:?} and is {is:?}");
        }
        open.close();
    }
}

#[test]
fn what_cannot_be_known_of_consent_holds_everything_back() {
    let made = small();
    // The setting's name is followed by its value, a number.
    let is_setting = |at: &usize| made.main.get(at + 6).is_some_and(u8::is_ascii_digit);
    let settings: Vec<usize> =
        find(&made.main, b"schema").into_iter().filter(is_setting).map(|at| at / PAGE).collect();
    assert!(!settings.is_empty(), "the search must be able to find something");
    let after = |zeroed: &[usize]| {
        let dir = folder();
        let path = journal_in(dir.path());
        let mut main = made.main.clone();
        zeroed.iter().for_each(|page| main[page * PAGE..(page + 1) * PAGE].fill(0));
        fs::write(&path, main).unwrap();
        let open = made::open(&path, &made.clock());
        let status = runtime().block_on(open.journal.status(ROOT)).unwrap();
        open.close();
        (asides(dir.path()).len(), status.consent)
    };
    assert_eq!(after(&settings), (1, Some(Consent::Pending)));
    let other = find(&made.main, key(0).as_bytes())[0] / PAGE;
    assert_eq!(after(&[other]), (1, Some(Consent::In)), "nobody has ever said anything");
}

#[test]
fn the_last_three_damaged_journals_are_kept() {
    let dir = folder();
    let path = journal_in(dir.path());
    let clock = small().clock();
    for n in 0..5 {
        clock.advance(Duration::from_secs(1));
        fs::write(&path, format!("somebody's notes {n}").repeat(500)).unwrap();
        made::open(&path, &clock).close();
        assert_eq!(asides(dir.path()).len(), (n + 1).min(3));
    }
    let newest = fs::read_to_string(dir.path().join(asides(dir.path()).pop().unwrap())).unwrap();
    assert!(newest.starts_with("somebody's notes 4"));
}

/// An event counts as saved only if it proves itself: what is set apart says how much of it is gone.
#[test]
fn an_event_that_does_not_prove_itself_is_not_saved() {
    let made = small();
    let (hit, at) = made
        .sessions
        .iter()
        .filter(|(_, truth)| truth.state == State::Completed)
        .find_map(|(key, _)| {
            let body = format!("framesPerSecond\":2}},\"customMetadata\":{{\"a\":\"{key}");
            Some((key.clone(), *find(&made.main, body.as_bytes()).first()?))
        })
        .unwrap();
    let dir = folder();
    let path = journal_in(dir.path());
    let mut main = made.main.clone();
    main[at] ^= 1;
    // Else nobody would look before it is sent.
    main[100..200].fill(0xff);
    fs::write(&path, main).unwrap();
    let open = made::open(&path, &made.clock());
    assert_eq!(asides(dir.path()).len(), 1);
    let status = runtime().block_on(open.journal.status(ROOT)).unwrap();
    assert_eq!(status.losses.get(&Loss::Corrupt), Some(&1), "{status:?}");
    let expected = truth(&made).into_iter().map(|(key, state)| {
        let state = if key == hit { State::Quarantined } else { state };
        (key, state)
    });
    assert!(runtime().block_on(states(&open)).into_iter().eq(expected));
    open.close();
    let found = verify_file(&path).unwrap().unwrap();
    assert!(found.sound, "{found:?}");
}

#[test]
fn a_salvage_that_was_cut_off_is_begun_again_or_ended() {
    let made = small();
    let mut damaged = made.main.clone();
    damaged[PAGE * 2..PAGE * 4].fill(0);
    let dir = folder();
    let path = journal_in(dir.path());
    fs::write(&path, &damaged).unwrap();
    let open = made::open(&path, &made.clock());
    let expected = runtime().block_on(states(&open));
    open.close();
    let salvaged = fs::read(&path).unwrap();

    let (begun, whole) = (|| Some(&salvaged[..PAGE * 3]), || Some(&salvaged[..]));
    let cases: [(&str, Option<&[u8]>, Option<&[u8]>, Option<&[u8]>); 4] = [
        ("while it was written", Some(&damaged), begun(), None),
        ("before the damaged one was moved", Some(&damaged), None, whole()),
        ("after the damaged one was moved", None, None, whole()),
        ("at its end", Some(&salvaged), None, None),
    ];
    for (what, main, salvaging, salvaged) in cases {
        let dir = folder();
        let path = journal_in(dir.path());
        for (name, bytes) in
            [("journal.db", main), ("journal.db.salvaging", salvaging), ("journal.db.salvaged", salvaged)]
        {
            if let Some(bytes) = bytes {
                fs::write(dir.path().join(name), bytes).unwrap();
            }
        }
        let open = made::open(&path, &made.clock());
        assert_eq!(runtime().block_on(states(&open)), expected, "{what}");
        open.close();
        let left =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert!(!left.into_iter().any(|name| name.contains(".salvag")), "{what}");
    }
}

/// Nobody was promised what the last write would have been, so it is no damage that it is not there.
#[test]
fn a_write_that_was_cut_off_is_no_damage() {
    let made = runtime().block_on(Made::new(8, 8, 6));
    let frame = PAGE + 24;
    let frames = (made.wal.len() - 32) / frame;
    for (what, cut) in [("half a frame", made.wal.len() - frame / 2), ("a frame", made.wal.len() - frame)] {
        for zeroed in [false, true] {
            let dir = folder();
            let path = journal_in(dir.path());
            let mut wal = made.wal.clone();
            if zeroed {
                wal[cut..].fill(0);
            } else {
                wal.truncate(cut);
            }
            fs::write(&path, &made.main).unwrap();
            fs::write(dir.path().join("journal.db-wal"), wal).unwrap();
            let open = made::open(&path, &made.clock());
            let status = runtime().block_on(open.journal.status(ROOT)).unwrap();
            assert!(asides(dir.path()).is_empty(), "{what} of {frames}, zeroed: {zeroed}");
            assert_eq!(status.losses.get(&Loss::Corrupt), None);
            open.close();
        }
    }
}

#[test]
fn what_is_verified_is_not_changed() {
    let made = runtime().block_on(Made::new(8, 8, 6));
    let dir = folder();
    let path = journal_in(dir.path());
    let log = dir.path().join("journal.db-wal");
    fs::write(&path, &made.main).unwrap();
    fs::write(&log, &made.wal).unwrap();
    let found = verify_file(&path).unwrap().unwrap();
    assert!(found.sound && found.events > 50, "{found:?}");
    assert_eq!(found.sessions as usize, made.sessions.len());
    let frame = PAGE + 24;
    let event = find(&made.main, b"framesPerSecond")[0];
    for (what, in_log, at) in [
        ("an event", false, event),
        ("a key", false, find(&made.main, key(0).as_bytes())[0]),
        ("the header", false, 61),
        ("the schema", false, find(&made.main, b"CREATE TABLE")[0]),
        ("the log", true, 32 + 2 * frame + 1000),
    ] {
        let (mut main, mut wal) = (made.main.clone(), made.wal.clone());
        let file = if in_log { &mut wal } else { &mut main };
        file[at] ^= 4;
        fs::write(&path, &main).unwrap();
        fs::write(&log, &wal).unwrap();
        let found = verify_file(&path);
        let noticed = found.as_ref().map_or(true, |found| found.as_ref().is_some_and(|found| !found.sound));
        // A newer page in the log may stand before the damaged one.
        assert!(noticed || !in_log && newer_in_log(&made, at), "{what}: {found:?}");
        assert!(fs::read(&path).unwrap() == main && fs::read(&log).unwrap() == wal, "{what}: changed");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "{what}");
    }
    assert_eq!(verify_file(&dir.path().join("none.db")).unwrap(), None);
}

fn newer_in_log(made: &Made, at: usize) -> bool {
    let page = u32::try_from(at / PAGE + 1).unwrap().to_be_bytes();
    made.wal[32..].chunks(PAGE + 24).any(|frame| frame.starts_with(&page))
}

#[test]
fn a_full_journal_is_saved_in_seconds() {
    let dir = folder();
    let path = journal_in(dir.path());
    let clock = small().clock();
    let open = made::open(&path, &clock);
    let megabytes = if std::env::var_os("AFTERPLAY_TEST_SCALE").is_some() { 64 } else { 16 };
    let body = |n: usize| {
        let kind = if n == 0 { "media.sessionStart" } else { "media.ping" };
        format!(
            r#"{{"mediaEventType":"{kind}","mediaCollection":{{"playhead":{n},"a":"{}"}}}}"#,
            "x".repeat(8000)
        )
    };
    runtime().block_on(async {
        for session in 0..megabytes {
            let events: Vec<NewEvent> = (0..125)
                .map(|n| NewEvent {
                    kind: if n == 0 { EventType::SessionStart } else { EventType::Ping },
                    seq: None,
                    said_ms: None,
                    playhead: n as f64,
                    body: body(n).into(),
                    title: None,
                    identity: None,
                    lacks: (false, false),
                })
                .collect();
            let append = Append::new(OWNERS[0], key(session).parse().unwrap(), events);
            let append = Append { complete: Some(Why::Complete), ..append };
            open.journal.append(append).await.unwrap();
        }
    });
    open.close();
    let mut main = fs::read(&path).unwrap();
    main[100..200].fill(0xff);
    fs::write(&path, &main).unwrap();
    let begun = Instant::now();
    let open = made::open(&path, &clock);
    let ready = begun.elapsed();
    println!("{} bytes were saved in {ready:?}", main.len());
    assert_eq!(runtime().block_on(states(&open)).len(), megabytes);
    assert_eq!(asides(dir.path()).len(), 1);
    assert!(ready.as_secs() < 20, "{ready:?}");
    open.close();
}

#[tokio::test(flavor = "current_thread")]
async fn a_journal_of_which_nothing_can_be_read_is_listed_with_where_it_is() {
    let made = Made::new(4, 0, 3).await;
    let dir = folder();
    let path = journal_in(dir.path());
    fs::write(&path, vec![7; 40_000]).unwrap();
    let open = made::open(&path, &made.clock());
    let [kept] = &asides(dir.path())[..] else { panic!("{:?}", asides(dir.path())) };
    let listed = open.journal.losses(ROOT, 10, None).await.unwrap().losses;
    assert_eq!(listed.len(), 1, "{listed:?}");
    let where_it_is = dir.path().join(kept);
    assert!(listed[0].detail.ends_with(where_it_is.to_str().unwrap()), "{listed:?}");
    assert_eq!((listed[0].name.as_str(), listed[0].events), ("corrupt", 0));
    open.close();
}
