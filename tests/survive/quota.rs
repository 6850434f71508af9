//! Row "quota" of the reliability table: `journal.max_bytes` reached by one user and by many: what gives way, and in which order.

use serde_json::Value;

use crate::books::{Books, Came};
use crate::endpoint::{Act, Endpoint, Reply};
use crate::service::{Place, Service, wait_for};

const SMALL: &str = "journal.max_bytes = 2097152\njournal.max_percent_per_user = 100\nupload.thin = \"never\"\n\
    retry.initial = \"10ms\"\nretry.max = \"50ms\"\nupload.reconnect_jitter = \"0s\"";

/// Records sessions of about 60 kB and completes each, until the service refuses or `most` are recorded.
fn fill(service: &Service<'_>, books: &mut Books, prefix: &str, most: usize) -> usize {
    let mut connection = service.connect();
    for n in 0..most {
        let key = format!("{prefix}{n:03}");
        for _ in 0..5 {
            match books.record(&mut connection, &key, 4, 4000) {
                Came::Acknowledged => {}
                Came::Refused(answer) => {
                    assert_eq!(answer.json()["reason"], "journal_full", "{}", answer.text());
                    return n;
                }
                Came::Nothing => panic!("no answer"),
            }
        }
        assert!(matches!(books.complete(&mut connection, &key), Came::Acknowledged));
    }
    most
}

fn states(service: &Service<'_>, key: &str) -> Option<Value> {
    let answer = service.request("GET", &format!("/v1/sessions/{key}"), b"");
    (answer.status == 200).then(|| answer.json()["state"].clone())
}

#[test]
fn quota_receipts_go_before_anything_is_refused() {
    let endpoint = Endpoint::start([]);
    let place = Place::new(&endpoint.url(), SMALL);
    let service = place.start();
    let mut books = Books::default();
    // Receipts with long texts, until they take a good part of the room.
    endpoint.whenever("", Act::Answer(Reply::accepted()));
    for n in 0..30 {
        let key = format!("old{n:02}");
        books.record(&mut service.connect(), &key, 2, 10);
        books.complete(&mut service.connect(), &key);
        service.wait_for_state(&key, "delivered");
    }
    endpoint.whenever("new", Act::Answer(Reply::new(503, "")));
    endpoint.behave();
    endpoint.whenever("\"new", Act::Answer(Reply::new(503, "")));
    assert!(states(&service, "old00").is_some());
    let recorded = fill(&service, &mut books, "new", 100);
    assert!((10..40).contains(&recorded), "{recorded} sessions of 80 kB found room in 2 MiB");
    assert_eq!(states(&service, "old00"), None, "a receipt was kept while events were refused");
    let losses = service.status()["losses"].clone();
    assert!(losses.as_object().unwrap().values().all(|lost| lost == 0), "{losses}");
    endpoint.behave();
    let _ = service.request("POST", "/v1/flush", b"");
    service.wait_for_state(&format!("new{:03}", recorded - 1), "delivered");
    // What was delivered is room.
    assert!(matches!(books.record(&mut service.connect(), "after", 4, 4000), Came::Acknowledged));
}

#[test]
fn what_was_delivered_leaves_the_disk_without_further_traffic() {
    let endpoint = Endpoint::start([]);
    endpoint.whenever("", Act::Answer(Reply::new(503, "")));
    // A WAL of full length, which seldom reaches the file by itself.
    let place = Place::new(&endpoint.url(), &format!("{SMALL}\njournal.max_bytes = 67108864"));
    let service = place.start();
    let mut books = Books::default();
    assert_eq!(fill(&service, &mut books, "s", 60), 60);
    endpoint.behave();
    let _ = service.request("POST", "/v1/flush", b"");
    service.wait_for_state("s059", "delivered");
    let bytes = || std::fs::metadata(place.journal()).unwrap().len();
    wait_for("the file to get short", || (bytes() < 512 << 10).then_some(()));
    assert_eq!(service.status()["events"]["delivered"], books.acknowledged());
}

#[test]
fn quota_eviction_takes_whole_completed_sessions_oldest_first_and_counts_each() {
    let endpoint = Endpoint::start([]);
    endpoint.whenever("", Act::Answer(Reply::new(503, "")));
    let place = Place::new(&endpoint.url(), &format!("{SMALL}\njournal.evict = true"));
    let service = place.start();
    let mut books = Books::default();
    assert!(matches!(books.record(&mut service.connect(), "open", 4, 4000), Came::Acknowledged));
    assert_eq!(fill(&service, &mut books, "s", 60), 60, "nothing is refused while something can give way");
    let evicted: Vec<usize> = (0..60).filter(|n| states(&service, &format!("s{n:03}")).is_none()).collect();
    assert!(evicted.len() > 20, "{evicted:?}");
    // One that is just being sent is passed over; else the oldest go.
    assert!(evicted.iter().max().unwrap() <= &(evicted.len() + 1), "{evicted:?}");
    assert_eq!(states(&service, "open").unwrap(), "open");
    let status = service.status();
    assert_eq!(status["losses"]["evicted"], evicted.len() * 20, "every event of each");
    let stored = status["events"]["stored"].as_u64().unwrap();
    assert_eq!(stored + evicted.len() as u64 * 20, books.acknowledged());
    assert!(service.stop().success());
    #[expect(clippy::disallowed_methods, reason = "the rows as a person with sqlite3 sees them")]
    let journal = rusqlite::Connection::open(place.journal()).unwrap();
    let rows: Vec<(String, i64)> = journal
        .prepare("SELECT key, events FROM losses WHERE name = 'evicted' ORDER BY id")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(rows.len(), evicted.len());
    assert!(rows.iter().all(|(key, events)| key.starts_with('s') && *events == 20), "{rows:?}");
}

#[test]
fn quota_all_files_together_stay_below_it() {
    let endpoint = Endpoint::start([]);
    endpoint.whenever("", Act::Answer(Reply::new(503, "")));
    for mebibytes in [1, 2, 8] {
        let room = format!("{SMALL}\njournal.max_bytes = {}", mebibytes << 20);
        let place = Place::new(&endpoint.url(), &room);
        let service = place.start();
        let mut books = Books::default();
        let recorded = fill(&service, &mut books, "s", 1000);
        let status = service.status();
        let dir = place.journal().parent().unwrap().to_owned();
        let files = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().metadata().unwrap().len());
        let all: u64 = files.sum();
        eprintln!("figure: {recorded} sessions, {all} bytes of {mebibytes} MiB; {}", status["journal"]);
        assert!(all <= mebibytes << 20, "{all} bytes of {mebibytes} MiB");
        assert!(status["journal"]["bytes"].as_u64().unwrap() <= all, "{status}");
        // Most of it is for events all the same.
        assert!(recorded as u64 * 80_000 > (mebibytes << 20) / 4, "{recorded}");
    }
}
