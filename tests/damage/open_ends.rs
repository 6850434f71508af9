//! The last events of sessions that are open, for which no total is kept yet.

use std::fs;

use afterplay::event::EventType;
use afterplay::journal::Append;
use afterplay::session::{Loss, State};

use crate::cases::find;
use crate::journal::{Open, ROOT};
use crate::made::{self, Made, OWNERS, PAGE, event, folder, journal_in, key};

const EVENTS: usize = 60;
/// How many sessions are open.
const SESSIONS: usize = 4;

/// Open sessions in the main file, each with all of its rows one behind the other, then changed by `harm`.
async fn harmed(harm: impl FnOnce(&mut Vec<u8>)) -> (tempfile::TempDir, Open) {
    let made = Made::new(1, 0, 3).await;
    let dir = folder();
    let path = journal_in(dir.path());
    fs::write(&path, &made.main).unwrap();
    let clock = made.clock();
    let open = made::open(&path, &clock);
    for n in 10..10 + SESSIONS {
        let kind = |at| if at == 0 { EventType::SessionStart } else { EventType::Ping };
        let events = (0..EVENTS).map(|at| event(&key(n), at, kind(at), 200)).collect();
        open.journal.append(Append::new(OWNERS[0], key(n).parse().unwrap(), events)).await.unwrap();
    }
    open.close();
    let mut main = fs::read(&path).unwrap();
    harm(&mut main);
    fs::write(&path, main).unwrap();
    (dir, made::open(&path, &clock))
}

/// Where the body of a session's event is.
fn body_at(main: &[u8], key: &str, at: usize) -> usize {
    let needle = format!(
        r#"{{"playhead":{at},"qoeDataDetails":{{"framesPerSecond":{at}}},"customMetadata":{{"a":"{key}"#
    );
    find(main, needle.as_bytes())[0]
}

#[tokio::test(flavor = "current_thread")]
async fn events_at_the_end_that_do_not_prove_themselves_are_counted() {
    let hit = key(11);
    let (_dir, open) = harmed(|main| {
        for at in [EVENTS - 2, EVENTS - 1] {
            let at = body_at(main, &hit, at);
            main[at + 2] ^= 1;
        }
        // Else nobody would look before it is sent.
        main[100..200].fill(0xff);
    })
    .await;
    let status = open.journal.status(ROOT).await.unwrap();
    assert_eq!(status.losses.get(&Loss::Corrupt), Some(&2), "{status:?}");
    let listed = open.journal.losses(ROOT, 10, None).await.unwrap().losses;
    let [lost] = &listed[..] else { panic!("{listed:?}") };
    assert_eq!((lost.key.as_deref(), lost.events), (Some(hit.as_str()), 2));
    for n in 10..10 + SESSIONS {
        let state = open.journal.detail(ROOT, key(n)).await.unwrap().summary.state;
        assert_eq!(state, if key(n) == hit { State::Quarantined } else { State::Open }, "{}", key(n));
    }
    open.close();
}

#[tokio::test(flavor = "current_thread")]
async fn where_a_page_is_gone_that_may_have_held_the_end_of_a_session_the_list_says_so() {
    let end = key(11);
    let (_dir, open) = harmed(|main| {
        let page = body_at(main, &end, EVENTS - 1) / PAGE * PAGE;
        main[page..page + PAGE].fill(0);
    })
    .await;
    let listed = open.journal.losses(ROOT, 10, None).await.unwrap().losses;
    let told = listed.iter().filter(|lost| lost.events == 0 && lost.detail.contains("that were open"));
    assert_eq!(told.count(), 1, "{listed:?}");
    open.close();
}

#[tokio::test(flavor = "current_thread")]
async fn where_nothing_of_them_is_gone_nothing_is_listed() {
    let (_dir, open) = harmed(|main| main[100..200].fill(0xff)).await;
    let listed = open.journal.losses(ROOT, 10, None).await.unwrap().losses;
    assert!(listed.is_empty(), "{listed:?}");
    open.close();
}
