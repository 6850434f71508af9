//! Damage to what leads to the rows: indexes, the header. Every session is found, and none twice.

use std::collections::BTreeSet;
use std::fs;

use afterplay::journal::{Action, Fit, Next, Refusal, Telling, verify_file};
use afterplay::session::State;

use crate::journal::{Open, ROOT};
use crate::made::{self, Made, PAGE, folder, journal_in, key, payload};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

/// A small journal whose every session is in the main file.
fn small() -> Made {
    runtime().block_on(Made::new(8, 0, 6))
}

/// The pages that indexes begin at; in a small journal they are all there is of one.
fn index_pages(made: &Made) -> Vec<usize> {
    let dir = folder();
    let path = journal_in(dir.path());
    fs::write(&path, &made.main).unwrap();
    #[expect(clippy::disallowed_methods, reason = "the journal as another program meets it")]
    let conn = rusqlite::Connection::open(&path).unwrap();
    let mut query = conn
        .prepare(
            "SELECT rootpage FROM sqlite_schema
             WHERE type = 'index' AND tbl_name IN ('sessions', 'boots') AND rootpage > 0",
        )
        .unwrap();
    let pages = query.query_map([], |row| row.get::<_, i64>(0)).unwrap();
    pages.map(|page| usize::try_from(page.unwrap()).unwrap() - 1).collect()
}

/// What is due, by key.
async fn due(open: &Open) -> BTreeSet<String> {
    let (mut skip, mut keys) = (Vec::new(), BTreeSet::new());
    while let Next::Ready(id) = open.journal.next_due(skip.clone(), Telling::NOBODY).await.unwrap() {
        keys.insert(open.journal.outgoing(id).await.unwrap().unwrap().key);
        skip.push(id);
    }
    keys
}

/// Opens the files as they are now; answers whether everything that was there is found, once.
async fn finds_everything(open: &Open, made: &Made, due_before: &BTreeSet<String>, what: &str) {
    assert_eq!(&due(open).await, due_before, "{what}: due");
    for (n, (key, truth)) in made.sessions.iter().enumerate() {
        let found = open.journal.detail(ROOT, key.clone()).await;
        assert_eq!(found.unwrap().summary.state, truth.state, "{what}: {key}");
        // What a list of one state shows goes through an index as well.
        if n == 0 {
            let page = open.journal.list(ROOT, Some(State::Completed), 100, None).await.unwrap();
            let completed = made.sessions.values().filter(|truth| truth.state == State::Completed).count();
            assert_eq!(page.sessions.len(), completed, "{what}");
        }
    }
    assert!(open.journal.verify().await.unwrap().sound, "{what}");
}

#[test]
fn no_byte_of_an_index_hides_a_session_or_lets_it_in_twice() {
    let made = small();
    let pages = index_pages(&made);
    assert_eq!(pages.len(), 3, "two of sessions, one of boots");
    let dir = folder();
    let path = journal_in(dir.path());
    fs::write(&path, &made.main).unwrap();
    let open = made::open(&path, &made.clock());
    let expected = runtime().block_on(due(&open));
    assert!(expected.len() >= 2, "{expected:?}");
    open.close();
    let scale: usize = std::env::var("AFTERPLAY_TEST_SCALE").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let (mut tried, mut noticed) = (0, 0);
    for page in pages {
        let bytes = page * PAGE..(page + 1) * PAGE;
        // Every byte that holds something, and some of those that do not.
        let places = bytes.filter(|at| made.main[*at] != 0 || at % 512 == 9);
        for (n, at) in places.enumerate().filter(|(n, _)| scale > 1 || n % 3 != 1) {
            let dir = folder();
            let path = journal_in(dir.path());
            let mut main = made.main.clone();
            main[at] ^= 1 << (n % 8);
            fs::write(&path, &main).unwrap();
            tried += 1;
            noticed += usize::from(n % 5 == 0 && !verify_file(&path).unwrap().unwrap().sound);
            let open = made::open(&path, &made.clock());
            runtime().block_on(finds_everything(&open, &made, &expected, &format!("byte {at}")));
            open.close();
        }
    }
    println!("{tried} flipped bits");
    assert!(tried > 150 && noticed > tried / 10, "verify noticed {noticed} of {tried}");
}

#[test]
fn a_session_behind_a_damaged_name_is_not_recorded_again() {
    let made = small();
    let name = key(0);
    let index = index_pages(&made)
        .into_iter()
        .find_map(|page| {
            let bytes = &made.main[page * PAGE..(page + 1) * PAGE];
            let at = bytes.windows(name.len()).position(|window| window == name.as_bytes())?;
            Some(page * PAGE + at)
        })
        .unwrap();
    let dir = folder();
    let path = journal_in(dir.path());
    let mut main = made.main.clone();
    main[index + 3] ^= 1;
    fs::write(&path, main).unwrap();
    assert!(!verify_file(&path).unwrap().unwrap().sound);
    let open = made::open(&path, &made.clock());
    let page = runtime().block_on(open.journal.list(ROOT, None, 100, None)).unwrap();
    assert_eq!(page.sessions.iter().filter(|session| session.session == name).count(), 1);
    assert!(runtime().block_on(open.journal.detail(ROOT, name)).is_ok());
    open.close();
    assert!(verify_file(&path).unwrap().unwrap().sound);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "mended in its place: journal, lock, reserve");
}

/// Bytes 52 to 67 say that free pages can be given back.
#[test]
fn a_header_that_lost_its_vacuum_is_replaced() {
    let made = small();
    for bytes in [52..56, 64..68] {
        let dir = folder();
        let path = journal_in(dir.path());
        let mut main = made.main.clone();
        main[bytes.clone()].fill(0);
        fs::write(&path, main).unwrap();
        assert!(!verify_file(&path).unwrap().unwrap().sound, "{bytes:?}");
        let open = made::open(&path, &made.clock());
        let page = runtime().block_on(open.journal.list(ROOT, None, 100, None)).unwrap();
        assert_eq!(page.sessions.len(), made.sessions.len());
        open.close();
        let main = fs::read(&path).unwrap();
        assert!(main[52..56] != [0; 4] && main[64..68] != [0; 4], "{bytes:?}");
        assert!(verify_file(&path).unwrap().unwrap().sound);
    }
}

/// A number that no checksum covers, and a receipt for more than was delivered.
#[test]
fn verify_compares_playheads_and_receipts() {
    let made = small();
    let changes = [
        ("playhead", "UPDATE events SET playhead = playhead + 3600 WHERE id = 2"),
        ("receipts", "UPDATE counters SET value = value - 1 WHERE name = 'delivered'"),
    ];
    for (what, change) in changes {
        let dir = folder();
        let path = journal_in(dir.path());
        fs::write(&path, &made.main).unwrap();
        #[expect(clippy::disallowed_methods, reason = "the journal as another program meets it")]
        let conn = rusqlite::Connection::open(&path).unwrap();
        assert!(conn.execute(change, []).unwrap() > 0);
        drop(conn);
        let found = verify_file(&path).unwrap().unwrap();
        assert!(found.problems.iter().any(|problem| problem.contains(what)), "{what}: {found:?}");
    }
}

#[test]
fn an_answer_settles_only_the_attempt_it_belongs_to() {
    let made = small();
    let dir = folder();
    let path = journal_in(dir.path());
    fs::write(&path, &made.main).unwrap();
    let open = made::open(&path, &made.clock());
    let journal = &open.journal;
    runtime().block_on(async {
        let Next::Ready(id) = journal.next_due(Vec::new(), Telling::NOBODY).await.unwrap() else {
            panic!("due")
        };
        let begin = async || {
            let outgoing = journal.outgoing(id).await.unwrap().unwrap();
            let fit = Fit { budget: 10 << 20, gap_ms: -1 };
            let body = payload(&outgoing);
            journal.begin_attempt(id, None, fit, outgoing.timing, &body).await.unwrap().unwrap()
        };
        let settle = async |attempt, action| made::settle(journal, id, attempt, action).await;
        let deliver = || Action::Deliver { receipt: "{}".into() };
        let first = begin().await;
        let second = begin().await;
        let key = journal.outgoing(id).await.unwrap().unwrap().key;
        let state = async || journal.detail(ROOT, key.clone()).await.unwrap().summary.state;
        settle(first, deliver()).await;
        assert_eq!(state().await, State::Completed, "the answer to an attempt before");
        settle(second, Action::Quarantine).await;
        settle(second, deliver()).await;
        assert_eq!(state().await, State::Quarantined, "it was settled");
        let events = journal.recorded(ROOT, key.clone()).await;
        assert!(events.is_ok_and(|events| !events.is_empty()), "its events are still there");
        assert!(!matches!(journal.outgoing(id).await, Err(Refusal::Damaged(_))));
    });
    open.close();
}
