//! Row "dirty start" of the reliability table: killed while starting, two at once, a stale socket, files that are
//! gone, read-only, or taken away while the service runs.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::books::{Books, Came};
use crate::endpoint::Endpoint;
use crate::service::{Place, Service, exchange, wait_for};
use crate::{QUICK, scale, settle};

/// An endpoint at which nobody listens.
const NOWHERE: &str = "http://127.0.0.1:1/down";
/// Starts at scale 1.
const STARTS: u64 = 200;

fn record(service: &Service<'_>, books: &mut Books, key: &str) {
    let came = books.record(&mut service.connect(), key, 3, 50);
    assert!(matches!(came, Came::Acknowledged), "{came:?}");
}

#[test]
fn dirty_start_killed_within_50_ms_again_and_again() {
    let endpoint = Endpoint::start([]);
    let place = Place::new(&endpoint.url(), QUICK);
    let mut books = Books::default();
    let service = place.start();
    record(&service, &mut books, "before");
    service.kill();
    for n in 0..STARTS * scale() {
        let mut child = place.command(&["run"]).stderr(Stdio::null()).spawn().unwrap();
        // The instant is what is tested.
        std::thread::sleep(Duration::from_millis(n % 50));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let service = place.start();
    record(&service, &mut books, "before");
    books.complete(&mut service.connect(), "before");
    settle(&service, &endpoint);
    assert_eq!(books.check_delivered(&endpoint.requests()), 0);
}

#[test]
fn dirty_start_two_at_once_one_serves_and_the_other_says_so() {
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let place = Place::new(NOWHERE, QUICK);
        let mut children: Vec<_> =
            (0..2).map(|_| place.command(&["run"]).stderr(Stdio::piped()).spawn().unwrap()).collect();
        let since = Instant::now();
        let loser = wait_for("one of the two to give up", || {
            children.iter_mut().position(|child| child.try_wait().unwrap().is_some())
        });
        let after = since.elapsed();
        let loser = children.swap_remove(loser).wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&loser.stderr).into_owned();
        assert_eq!(loser.status.code(), Some(1), "{said}");
        assert!(said.contains("in use by") || said.contains("taken by"), "{said}");
        best = best.min(after);
        wait_for("the other one to serve", || crate::service::connect(&place.socket()).ok());
        children[0].kill().unwrap();
        children[0].wait().unwrap();
    }
    // Of five tries the best one counts: the machine may be busy with other tests.
    assert!(best < Duration::from_secs(1), "{best:?}");
}

#[test]
fn dirty_start_files_taken_away_while_running_are_put_back() {
    let takings: [(&str, fn(&Place)); 4] = [
        ("the folder", remove_folder),
        ("the journal", |place| fs::remove_file(place.journal()).unwrap()),
        ("the WAL", |place| fs::remove_file(place.journal().with_extension("db-wal")).unwrap()),
        ("the folder, by another name", |place| {
            let dir = place.journal().parent().unwrap().to_owned();
            fs::rename(&dir, dir.with_extension("old")).unwrap();
        }),
    ];
    for (what, take) in takings {
        let endpoint = Endpoint::start([]);
        let place = Place::new(&endpoint.url(), QUICK);
        let mut books = Books::default();
        let service = place.start();
        record(&service, &mut books, "a");
        take(&place);
        record(&service, &mut books, "a");
        record(&service, &mut books, "b");
        service.kill();
        let service = place.start();
        let events = service.get("/v1/sessions/a/events")["events"].clone();
        assert_eq!(events.as_array().map(Vec::len), Some(6), "{what} was taken away");
        for key in ["a", "b"] {
            books.complete(&mut service.connect(), key);
        }
        settle(&service, &endpoint);
        books.check_delivered(&endpoint.requests());
        assert!(service.stop().success(), "{what}");
    }
}

#[test]
fn dirty_start_a_log_that_is_cut_while_running_costs_what_it_held_and_no_more() {
    let place = Place::new(NOWHERE, QUICK);
    let mut books = Books::default();
    let service = place.start();
    record(&service, &mut books, "a");
    let log = place.journal().with_extension("db-wal");
    fs::OpenOptions::new().write(true).open(&log).unwrap().set_len(0).unwrap();
    record(&service, &mut books, "b");
    record(&service, &mut books, "c");
    let status = service.status();
    assert_eq!(
        (&status["losses"]["corrupt"], &status["events"]["stored"]),
        (&3.into(), &6.into()),
        "{status}"
    );
    assert_eq!(status["events"]["acknowledged"], books.acknowledged());
    assert!(place.log_text().contains("somebody cut the journal's log"), "{}", place.log_text());
    service.kill();
    let service = place.start();
    assert_eq!(service.status()["events"], status["events"]);
    assert_eq!(service.status()["losses"], status["losses"]);
    let verified = place.run(&["verify"]);
    assert!(verified.status.success(), "{verified:?}");
    // Also where nothing is committed any more before the stop.
    record(&service, &mut books, "d");
    fs::OpenOptions::new().write(true).open(&log).unwrap().set_len(0).unwrap();
    assert!(service.stop().success());
    let service = place.start();
    assert_eq!(service.status()["events"]["acknowledged"], books.acknowledged(), "{}", place.log_text());
}

/// The service may be putting a file back just then.
fn remove_folder(place: &Place) {
    wait_for("the folder to be gone", || fs::remove_dir_all(place.journal().parent().unwrap()).ok());
}

#[test]
fn dirty_start_taken_away_and_stopped_in_good_order() {
    let place = Place::new(NOWHERE, QUICK);
    let mut books = Books::default();
    let service = place.start();
    record(&service, &mut books, "a");
    remove_folder(&place);
    assert!(service.stop().success());
    let service = place.start();
    assert_eq!(service.status()["events"]["stored"], 3);
}

#[test]
fn dirty_start_another_file_in_its_place_is_not_written_to() {
    let putting: [(&str, fn(&Path)); 2] = [
        ("another file", |path| fs::write(path, "somebody's notes").unwrap()),
        ("a link to where it was moved", |path| std::os::unix::fs::symlink(path, path).unwrap()),
    ];
    for (what, put) in putting {
        let place = Place::new(NOWHERE, QUICK);
        let mut books = Books::default();
        let service = place.start();
        record(&service, &mut books, "a");
        let moved = place.dir.path().join("moved");
        put(&moved);
        exchange(&moved, &place.journal());
        let there = fs::read(place.journal()).unwrap();
        let Came::Refused(answer) = books.record(&mut service.connect(), "a", 1, 0) else {
            panic!("{what}: taken")
        };
        assert_eq!((answer.status, &answer.json()["reason"]), (503, &Value::from("storage")), "{what}");
        assert!(answer.text().contains("restart"), "{what}: {}", answer.text());
        assert!(fs::read(place.journal()).unwrap() == there, "{what}");
    }
}

#[test]
fn dirty_start_a_file_in_the_folders_place_stops_intake_until_it_goes() {
    let place = Place::new(NOWHERE, QUICK);
    let mut books = Books::default();
    let service = place.start();
    record(&service, &mut books, "a");
    let dir = place.journal().parent().unwrap().to_owned();
    let notes = place.dir.path().join("notes");
    fs::write(&notes, "somebody's notes").unwrap();
    exchange(&notes, &dir);
    let Came::Refused(answer) = books.record(&mut service.connect(), "a", 1, 0) else { panic!("taken") };
    assert_eq!((answer.status, &answer.json()["reason"]), (503, &Value::from("storage")));
    assert_eq!(fs::read(&dir).unwrap(), b"somebody's notes");
    fs::remove_file(&dir).unwrap();
    wait_for("intake to go on", || match books.record(&mut service.connect(), "a", 1, 0) {
        Came::Refused(_) => None,
        _ => Some(()),
    });
    service.kill();
    let service = place.start();
    assert_eq!(service.status()["events"]["stored"], books.acknowledged());
}

#[test]
fn dirty_start_read_only_for_a_while() {
    let place = Place::new(NOWHERE, QUICK);
    let dir = place.journal().parent().unwrap().to_owned();
    fs::create_dir_all(&dir).unwrap();
    let mount = |options: &str| {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "none"]).arg(&dir).output();
        mounted.is_ok_and(|mounted| mounted.status.success())
    };
    if !mount("size=16m,mode=0700") {
        eprintln!("skipped: root is needed to mount a file system");
        return;
    }
    struct Unmount<'a>(&'a std::path::Path);
    impl Drop for Unmount<'_> {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg("-l").arg(self.0).status();
        }
    }
    let _unmount = Unmount(&dir);
    let mut books = Books::default();
    // Read-only from the start: a clear error that names the file.
    assert!(mount("remount,ro"));
    let refused = place.run(&["run"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("journal.db"), "{said}");
    assert!(mount("remount,rw"));
    let service = place.start();
    record(&service, &mut books, "a");
    // A file system with files open for writing turns read-only by force alone, as a failing one does.
    let frozen = Command::new("mount").args(["-o", "remount,ro"]).arg(&dir).output().unwrap();
    if frozen.status.success() {
        assert!(matches!(books.record(&mut service.connect(), "a", 1, 0), Came::Refused(_)));
        assert!(mount("remount,rw"));
    }
    record(&service, &mut books, "a");
    service.kill();
    let service = place.start();
    assert_eq!(service.status()["events"]["stored"], books.acknowledged());
    service.kill();
}
