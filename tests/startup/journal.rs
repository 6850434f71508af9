//! Journals that are in use, newer, somebody else's, damaged or out of reach.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use rusqlite::Connection;

use crate::service::{BINARY, Guard, Place, wait_for};
use crate::{NOWHERE, is_root, refused, refused_with};

/// The journal of a service that ran, stopped in good order.
fn used(place: &Place) {
    let service = place.start();
    service.play("before");
    assert!(service.stop().success());
}

fn open(place: &Place) -> Connection {
    fs::create_dir_all(place.journal().parent().unwrap()).unwrap();
    #[expect(clippy::disallowed_methods, reason = "the journal as another program meets it")]
    Connection::open(place.journal()).unwrap()
}

/// Every file of the journal but the lock and the reserve, with its bytes.
fn files(place: &Place) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(place.journal().parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_none_or(|extension| extension != "lock" && extension != "reserve"))
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn a_second_instance_gives_up_at_once_and_names_the_first() {
    let place = Place::new(NOWHERE, "");
    let service = place.start();
    let pid = service.child.id();
    let other = place.dir.path().join("other.sock");
    place.configure(NOWHERE, &format!("api.socket = {:?}", other.to_str().unwrap()));
    // Of three tries the best one counts: the machine may be busy with other tests.
    let tries: Vec<_> = (0..3).map(|_| refused(&place)).collect();
    for refused in &tries {
        assert_eq!(refused.code, Some(1), "{}", refused.said);
        assert!(refused.said.contains(&format!("is in use by process {pid}:")), "{}", refused.said);
        assert!(refused.said.contains("journal.db"), "{}", refused.said);
    }
    assert!(tries.iter().map(|refused| refused.after).min() < Some(Duration::from_secs(1)));
    assert!(!other.exists());
    service.record("still", &crate::service::start_event("here"));
}

#[test]
fn a_second_instance_gives_up_at_once_even_where_the_lock_file_was_removed() {
    let place = Place::new(NOWHERE, "");
    let service = place.start();
    service.record("first", &crate::service::start_event("here"));
    let pid = service.child.id();
    let own = fs::read_to_string(&place.config).unwrap();
    let other = place.dir.path().join("other.sock");
    place.configure(NOWHERE, &format!("api.socket = {:?}", other.to_str().unwrap()));
    let lock = place.journal().with_extension("db.lock");
    let before = files(&place).into_iter().map(|(path, _)| path).collect::<Vec<_>>();
    let tries: Vec<_> = (0..3)
        .map(|_| {
            fs::remove_file(&lock).unwrap();
            refused(&place)
        })
        .collect();
    for refused in &tries {
        assert_eq!(refused.code, Some(1), "{}", refused.said);
        assert!(refused.said.contains(&format!("is in use by process {pid}:")), "{}", refused.said);
    }
    assert!(tries.iter().map(|refused| refused.after).min() < Some(Duration::from_secs(1)));
    assert_eq!(files(&place).into_iter().map(|(path, _)| path).collect::<Vec<_>>(), before);
    // The next thing that is recorded puts the lock back.
    fs::write(&place.config, own).unwrap();
    service.record("second", &crate::service::start_event("here"));
    assert_eq!(fs::read_to_string(&lock).unwrap(), pid.to_string());
    assert!(fs::File::open(&lock).unwrap().try_lock().is_err());
}

#[test]
fn a_folder_that_a_group_may_write_to_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new(NOWHERE, "");
    let folder = place.journal().parent().unwrap().to_owned();
    fs::create_dir_all(&folder).unwrap();
    for (mode, what) in [(0o775, "group"), (0o770, "group"), (0o757, "every user")] {
        fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
        let refused = refused(&place);
        assert_eq!(refused.code, Some(1), "{}", refused.said);
        for part in [what, folder.to_str().unwrap(), "journal.path"] {
            assert!(refused.said.contains(part), "{part}: {}", refused.said);
        }
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    }
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    place.start();
}

#[test]
fn copies_that_a_crash_left_go_at_the_next_start() {
    let place = Place::new(NOWHERE, "");
    used(&place);
    let copies = [".new", ".salvaging", ".verifying-1", ".verifying-1-wal"]
        .map(|suffix| PathBuf::from(format!("{}{suffix}", place.journal().display())));
    for copy in &copies {
        fs::copy(place.journal(), copy).unwrap();
    }
    let service = place.start();
    // It answers when the journal is open.
    assert_eq!(service.status()["sessions"]["completed"], 1);
    for copy in &copies {
        assert!(!copy.exists(), "{}", copy.display());
    }
}

#[test]
fn the_lock_of_a_killed_service_holds_nobody_up() {
    let place = Place::new(NOWHERE, "");
    let service = place.start();
    service.play("before");
    service.kill();
    assert!(place.journal().with_extension("db.lock").exists());
    let service = place.start();
    assert_eq!(service.status()["sessions"]["completed"], 1);
}

#[test]
fn a_newer_journal_is_refused_and_not_a_byte_of_it_touched() {
    let place = Place::new(NOWHERE, "");
    used(&place);
    let newer = open(&place);
    newer.execute("DELETE FROM settings WHERE name = 'schema'", []).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    drop(newer);
    let before = files(&place);
    let refused = refused(&place);
    assert_eq!(refused.code, Some(1), "{}", refused.said);
    for part in ["newer afterplay", "schema 99", "nothing was touched", "journal.path"] {
        assert!(refused.said.contains(part), "{part}: {}", refused.said);
    }
    assert_eq!(files(&place), before);
    assert!(!place.socket().exists());
}

#[test]
fn a_newer_journal_is_refused_where_only_the_wal_says_so() {
    let place = Place::new(NOWHERE, "");
    used(&place);
    let newer = open(&place);
    newer.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).unwrap();
    newer.execute("DELETE FROM settings WHERE name = 'schema'", []).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    let copies: Vec<_> = files(&place).into_iter().filter(|(path, _)| !path.ends_with("-shm")).collect();
    drop(newer);
    // As a crash of the newer version leaves it: the header is old, the WAL is not.
    for (path, bytes) in &copies {
        fs::write(path, bytes).unwrap();
    }
    let refused = refused(&place);
    assert!(refused.said.contains("schema 99"), "{}", refused.said);
    for (path, bytes) in &copies {
        let name = path.to_str().unwrap();
        assert!(name.ends_with("-shm") || fs::read(path).unwrap() == *bytes, "{name} was touched");
    }
}

/// The service starts anew, says so, and keeps what was there.
fn is_set_aside(place: &Place, what: &str) {
    let before = fs::read(place.journal()).unwrap();
    let service = place.start();
    let log = wait_for("the loss in the log", || {
        Some(place.log_text()).filter(|log| log.contains("ERROR") && log.contains("kept as"))
    });
    let kept: Vec<_> = files(place)
        .into_iter()
        .filter(|(path, _)| path.to_string_lossy().contains(".damaged-") && !path.ends_with("-wal"))
        .collect();
    assert_eq!(kept.len(), 1, "{what}: {log}");
    assert!(log.contains(kept[0].0.to_str().unwrap()), "{what}: {log}");
    assert_eq!(kept[0].1, before, "{what}");
    service.play("anew");
    assert_eq!(service.status()["sessions"]["completed"], 1, "{what}");
    assert!(service.stop().success());
}

#[test]
fn another_programs_database_is_set_aside_unchanged() {
    for version in [0, 1, 99] {
        let place = Place::new(NOWHERE, "");
        let theirs = open(&place);
        theirs.execute_batch("CREATE TABLE photos (id INTEGER); INSERT INTO photos VALUES (7)").unwrap();
        theirs.pragma_update(None, "user_version", version).unwrap();
        drop(theirs);
        is_set_aside(&place, &format!("user_version {version}"));
    }
}

#[test]
fn garbage_is_set_aside_unchanged() {
    let page = |head: &[u8]| head.iter().copied().chain((0..9000).map(|n| (n % 251) as u8)).collect();
    let cases: [(&str, Vec<u8>); 4] = [
        ("text", b"these are my notes\n".repeat(300)),
        ("one byte", vec![0]),
        ("a header and noise", page(b"SQLite format 3\0")),
        ("noise", page(b"")),
    ];
    for (what, bytes) in cases {
        let place = Place::new(NOWHERE, "");
        fs::create_dir_all(place.journal().parent().unwrap()).unwrap();
        fs::write(place.journal(), bytes).unwrap();
        is_set_aside(&place, what);
    }
}

#[test]
fn an_empty_file_is_a_new_journal() {
    let place = Place::new(NOWHERE, "");
    fs::create_dir_all(place.journal().parent().unwrap()).unwrap();
    fs::write(place.journal(), "").unwrap();
    let service = place.start();
    service.play("first");
    assert!(service.stop().success());
    assert!(!place.log_text().contains("ERROR"), "{}", place.log_text());
    assert_eq!(
        files(&place).len(),
        1,
        "{:?}",
        files(&place).iter().map(|(path, _)| path).collect::<Vec<_>>()
    );
}

#[test]
fn a_folder_in_the_journals_place_is_refused() {
    let place = Place::new(NOWHERE, "");
    fs::create_dir_all(place.journal()).unwrap();
    let refused = refused(&place);
    assert_eq!(refused.code, Some(1));
    assert!(refused.said.contains(place.journal().to_str().unwrap()), "{}", refused.said);
    assert!(place.journal().is_dir());
}

#[test]
fn a_journal_whose_folder_may_not_be_written_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new(NOWHERE, "");
    let folder = place.journal().parent().unwrap().to_owned();
    fs::create_dir_all(&folder).unwrap();
    for (path, mode) in [(place.dir.path(), 0o755), (&place.config, 0o644), (&folder, 0o555)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let refused = refused_with(&place, |command| {
        if is_root() {
            // Root may write everywhere.
            command.uid(65_534).gid(65_534);
        }
    });
    if refused.said.is_empty() {
        println!("skipped: another user cannot run the program where it is");
        return;
    }
    assert_eq!(refused.code, Some(1), "{}", refused.said);
    assert!(refused.said.contains(folder.to_str().unwrap()), "{}", refused.said);
    assert!(refused.said.contains("Permission denied"), "{}", refused.said);
}

#[test]
fn a_link_leads_to_the_journal() {
    let cases: [(&str, bool, &[&str]); 4] = [
        ("to a file beside it", false, &["real.db"]),
        ("to another folder", false, &["../other/real.db"]),
        ("to a journal", true, &["../other/real.db"]),
        ("to a link", true, &["second.db", "../other/real.db"]),
    ];
    std::thread::scope(|scope| {
        for (what, is_there, through) in cases {
            scope.spawn(move || leads(what, is_there, through));
        }
    });
}

fn leads(what: &str, is_there: bool, through: &[&str]) {
    let place = Place::new(NOWHERE, "");
    if is_there {
        used(&place);
    }
    let before = crate::service::programme("").len();
    let state = place.journal().parent().unwrap().to_owned();
    let other = state.with_file_name("other");
    for dir in [&state, &other] {
        fs::create_dir_all(dir).unwrap();
        fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    }
    let target = state.join(through[through.len() - 1]);
    if is_there {
        fs::rename(place.journal(), &target).unwrap();
    }
    let names: Vec<&str> = std::iter::once("journal.db").chain(through.iter().copied()).collect();
    names.windows(2).for_each(|two| std::os::unix::fs::symlink(two[1], state.join(two[0])).unwrap());
    let service = place.start();
    service.record("here", &crate::service::start_event("ep"));
    assert!(target.with_file_name("real.db-wal").exists(), "{what}: the log is beside the journal");
    let shown = service.status()["journal"]["path"].as_str().unwrap().to_owned();
    assert!(shown.ends_with("real.db"), "{what}: {shown}");
    crate::socket::assert_rests(&service);
    service.kill();
    let verified = place.run(&["verify"]);
    assert!(verified.status.success(), "{what}: {verified:?}");
    let checked = place.run(&["check"]);
    assert!(String::from_utf8_lossy(&checked.stdout).contains("real.db is there"), "{what}: {checked:?}");
    let service = place.start();
    assert_eq!(service.status()["events"]["stored"], if is_there { 1 + before } else { 1 }, "{what}");
    let log = place.log_text();
    assert!(!log.contains("opened again") && !log.contains("ERROR"), "{what}: {log}");
}

#[test]
fn links_that_lead_in_a_circle_are_named() {
    let place = Place::new(NOWHERE, "");
    fs::create_dir_all(place.journal().parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("journal.db", place.journal()).unwrap();
    let refused = refused(&place);
    assert_eq!(refused.code, Some(1), "{}", refused.said);
    assert!(
        refused.said.contains("following the link") && refused.said.contains("journal.db"),
        "{}",
        refused.said
    );
    for command in ["verify", "check"] {
        let ran = place.run(&[command]);
        let said = [ran.stdout, ran.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert_eq!(ran.status.code(), Some(1), "{said}");
        assert!(said.contains("following the link"), "{said}");
    }
}

/// From another folder nobody would find the service again.
#[test]
fn a_home_that_depends_on_the_folder_is_none() {
    let place = Place::new(NOWHERE, "");
    let mut command = Command::new(BINARY);
    command.arg("run").env_clear().env("HOME", "rel").current_dir(place.dir.path()).stderr(Stdio::piped());
    let mut child = Guard(command.spawn().unwrap());
    let status = wait_for("the service to give up", || child.0.try_wait().unwrap());
    assert_eq!(status.code(), Some(78));
    assert!(!place.dir.path().join("rel").exists());
}
