//! What is in the socket's place, and who may use what the service makes.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::service::{Connection, Place, Service, connect, exchange, wait_for};
use crate::{NOWHERE, mode, refused};

#[test]
fn a_socket_that_a_service_listens_on_is_left_to_it() {
    let first = Place::new(NOWHERE, "");
    let service = first.start();
    let socket = first.socket();
    let second = Place::new(NOWHERE, &format!("api.socket = {:?}", socket.to_str().unwrap()));
    let refused = refused(&second);
    assert_eq!(refused.code, Some(1), "{}", refused.said);
    let holder = format!("is taken by process {}", service.child.id());
    for part in [holder.as_str(), socket.to_str().unwrap(), "api.socket"] {
        assert!(refused.said.contains(part), "{part}: {}", refused.said);
    }
    service.play("still-here");
}

#[test]
fn a_dead_socket_is_taken_over() {
    let place = Place::new(NOWHERE, "");
    place.start().kill();
    assert!(fs::metadata(place.socket()).unwrap().file_type().is_socket());
    let service = place.start();
    service.play("one");
    assert!(service.stop().success());
    assert!(!place.socket().exists(), "our own socket goes with us");
}

#[test]
fn what_is_no_socket_is_refused_and_left_alone() {
    let place = Place::new(NOWHERE, "");
    fs::write(place.socket(), "my notes").unwrap();
    let refused_file = refused(&place);
    assert_eq!(refused_file.code, Some(1), "{}", refused_file.said);
    assert!(refused_file.said.contains("is not a socket"), "{}", refused_file.said);
    assert!(refused_file.said.contains(place.socket().to_str().unwrap()), "{}", refused_file.said);
    assert_eq!(fs::read_to_string(place.socket()).unwrap(), "my notes");

    fs::remove_file(place.socket()).unwrap();
    std::os::unix::fs::symlink("elsewhere", place.socket()).unwrap();
    assert_eq!(refused(&place).code, Some(1));
    assert_eq!(fs::read_link(place.socket()).unwrap().to_str(), Some("elsewhere"));
}

#[test]
fn a_path_too_long_for_a_socket_is_named() {
    let place = Place::new(NOWHERE, "");
    let path = place.dir.path().join("long".repeat(30)).join("afterplay.sock");
    place.configure(NOWHERE, &format!("api.socket = {:?}", path.to_str().unwrap()));
    let refused = refused(&place);
    assert_eq!(refused.code, Some(78), "{}", refused.said);
    assert!(refused.said.contains("api.socket: the path is "), "{}", refused.said);
}

#[test]
fn modes_are_as_promised_under_any_umask() {
    for umask in ["077", "022", "000"] {
        let place = Place::new(NOWHERE, "api.listen = \"127.0.0.1:0\"");
        let socket = place.dir.path().join("run/afterplay/afterplay.sock");
        let extra = format!("api.listen = \"127.0.0.1:0\"\napi.socket = {:?}", socket.to_str().unwrap());
        place.configure(NOWHERE, &extra);
        // The harness waits at the usual place.
        std::os::unix::fs::symlink(&socket, place.socket()).unwrap();
        let service = place.start_through(&["sh", "-c", &format!("umask {umask}; exec \"$0\" \"$@\"")]);
        service.play("one");
        let state = place.journal().parent().unwrap().to_owned();
        assert_eq!(mode(&socket), 0o660, "umask {umask}");
        assert_eq!(mode(socket.parent().unwrap()), 0o750, "umask {umask}");
        assert_eq!(mode(&state), 0o700, "umask {umask}");
        assert_eq!(mode(&place.journal()), 0o600, "umask {umask}");
        assert_eq!(mode(&place.journal().with_extension("db-wal")), 0o600, "umask {umask}");
        assert_eq!(mode(&state.join("api-token")), 0o640, "umask {umask}");
    }
}

/// How soon a socket is back once nothing is in its way.
const BACK: Duration = Duration::from_secs(5);

/// A place whose socket has a folder of its own; the harness finds it by a link.
fn place() -> (Place, PathBuf) {
    let place = Place::new(NOWHERE, "");
    let socket = place.dir.path().join("run/afterplay.sock");
    place.configure(NOWHERE, &format!("api.socket = {:?}", socket.to_str().unwrap()));
    std::os::unix::fs::symlink(&socket, place.socket()).unwrap();
    (place, socket)
}

#[track_caller]
fn assert_answers(connection: &mut Connection) {
    assert_eq!(connection.send("GET", "/v1/status", &[], b"").unwrap().status, 200);
}

#[track_caller]
fn assert_comes_back(what: &str, socket: &Path, within: Duration) {
    let began = Instant::now();
    let mut newcomer = wait_for(&format!("the socket to be back when {what}"), || connect(socket).ok());
    assert!(began.elapsed() < within, "{what}: {:?}", began.elapsed());
    assert_answers(&mut newcomer);
}

/// How often the log says something.
fn said(place: &Place, words: &str) -> usize {
    place.log_text().matches(words).count()
}

/// How often each thread of the service was put to sleep.
fn switches(service: &Service<'_>) -> Vec<(String, String)> {
    let tasks = fs::read_dir(format!("/proc/{}/task", service.child.id())).unwrap().flatten();
    let status = tasks.filter_map(|task| fs::read_to_string(task.path().join("status")).ok());
    let field = |status: &str, name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned()
    };
    let each = status.map(|status| (field(&status, "Name:"), field(&status, "voluntary_ctxt_switches:")));
    // Helpers of the runtime end by themselves some seconds after they had something to do.
    let mut all: Vec<_> = each.filter(|(name, _)| !name.starts_with("tokio-")).collect();
    all.sort();
    all
}

/// There must be a stretch in which the service does not wake up once.
#[track_caller]
pub(crate) fn assert_rests(service: &Service<'_>) {
    let mut tries = Vec::new();
    // The network of the machine may have something to say.
    for _ in 0..6 {
        let before = switches(service);
        std::thread::sleep(Duration::from_secs(2));
        let after = switches(service);
        if before == after {
            return;
        }
        tries.push((before, after));
    }
    panic!("it woke up in each stretch: {tries:#?}");
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "nothing tells of it there")]
fn a_socket_that_is_taken_away_is_put_back() {
    let takings: [(&str, fn(&Path)); 4] = [
        ("it was removed", |socket| fs::remove_file(socket).unwrap()),
        ("it was moved away", |socket| fs::rename(socket, socket.with_extension("old")).unwrap()),
        ("its folder was removed", |socket| fs::remove_dir_all(socket.parent().unwrap()).unwrap()),
        ("its folder was moved away", |socket| {
            let dir = socket.parent().unwrap();
            fs::rename(dir, dir.with_extension("old")).unwrap();
        }),
    ];
    std::thread::scope(|scope| {
        for (what, take) in takings {
            scope.spawn(move || is_put_back(what, take));
        }
    });
}

fn is_put_back(what: &str, take: fn(&Path)) {
    let (place, socket) = place();
    let service = place.start();
    let mut standing = service.connect().unwrap();
    assert_answers(&mut standing);
    take(&socket);
    assert_comes_back(what, &socket, BACK);
    assert_answers(&mut standing);
    assert_eq!(mode(&socket), 0o660, "{what}");
    assert_eq!(mode(socket.parent().unwrap()), 0o750, "{what}");
    // The folder may be another one.
    fs::remove_file(&socket).unwrap();
    assert_comes_back("it was removed once more", &socket, BACK);
    assert_answers(&mut standing);
    assert_eq!(said(&place, "was taken away and is back"), 2, "{what}: {}", place.log_text());
    assert_eq!(said(&place, "ERROR"), 0, "{what}: {}", place.log_text());
    drop(standing);
    assert_rests(&service);
    assert!(service.stop().success());
    assert!(!socket.exists(), "{what}: the socket that is ours then goes with us");
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "nothing tells of it there")]
fn a_file_in_the_sockets_place_is_left_alone_until_it_goes() {
    let (place, socket) = place();
    let service = place.start();
    let mut standing = service.connect().unwrap();
    assert_answers(&mut standing);
    let put_notes = || {
        let notes = place.dir.path().join("notes");
        fs::write(&notes, "my notes").unwrap();
        fs::rename(&notes, &socket).unwrap();
    };
    put_notes();
    wait_for("the reason", || (said(&place, "is not a socket") > 0).then_some(()));
    // Tried again for this, and by then twice more: the next try is seconds away.
    put_notes();
    std::thread::sleep(Duration::from_millis(3500));
    assert_eq!(fs::read_to_string(&socket).unwrap(), "my notes");
    assert_answers(&mut standing);
    fs::remove_file(&socket).unwrap();
    assert_comes_back("the file is gone", &socket, Duration::from_secs(2));
    assert_answers(&mut standing);
    let log = place.log_text();
    assert_eq!((said(&place, "ERROR"), said(&place, "is not a socket: remove it")), (1, 1), "{log}");
    assert_eq!(said(&place, "was taken away and is back"), 1, "{log}");
    drop(standing);
    assert_rests(&service);
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "nothing tells of it there")]
fn a_socket_that_somebody_else_listens_on_meanwhile_is_not_stolen() {
    let (place, socket) = place();
    let service = place.start();
    let listen = || {
        let aside = place.dir.path().join("other.sock");
        let listener = UnixListener::bind(&aside).unwrap();
        fs::rename(&aside, &socket).unwrap();
        listener
    };
    let other = listen();
    let holder = format!("is taken by process {}", std::process::id());
    wait_for("the reason", || (said(&place, &holder) > 0).then_some(()));
    // The service has asked who is there.
    other.accept().unwrap();
    drop(other);
    // Nothing tells that it is dead now: it is looked at again after a while.
    wait_for("the service to take its place again", || {
        connect(&socket).and_then(|mut socket| socket.send("GET", "/v1/status", &[], b"")).ok()
    });
    assert_eq!(said(&place, "ERROR"), 1, "{}", place.log_text());
    let _other = listen();
    wait_for("the reason again", || (said(&place, &holder) > 1).then_some(()));
    assert!(service.stop().success());
    assert!(socket.exists(), "not ours to remove");
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "nothing tells of it there")]
fn a_folder_that_cannot_be_made_again_is_made_once_it_can_be() {
    let (place, socket) = place();
    let service = place.start();
    let mut standing = service.connect().unwrap();
    assert_answers(&mut standing);
    let dir = socket.parent().unwrap();
    let notes = dir.with_extension("notes");
    fs::write(&notes, "my notes").unwrap();
    exchange(&notes, dir);
    wait_for("the reason", || {
        (said(&place, "cannot be put back: making the socket's folder") > 0).then_some(())
    });
    assert_answers(&mut standing);
    assert_eq!(fs::read_to_string(dir).unwrap(), "my notes");
    fs::remove_file(dir).unwrap();
    assert_comes_back("the file is gone", &socket, BACK);
    assert_answers(&mut standing);
    assert_eq!(mode(dir), 0o750);
    assert_eq!(said(&place, "was taken away and is back"), 1, "{}", place.log_text());
}

/// A service to which the kernel refuses to tell of files, if that can be had here.
fn unwatched(place: &Place) -> Option<Service<'_>> {
    let line = "echo 0 > /proc/sys/user/max_inotify_instances && exec \"$0\" \"$@\"";
    let through = ["unshare", "--user", "--map-root-user", "sh", "-c", line];
    let tried = Command::new(through[0]).args(&through[1..]).arg("true").status();
    if !tried.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no user namespaces here");
        return None;
    }
    Some(place.start_through(&through))
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "nothing tells of it there")]
fn without_word_from_the_kernel_a_socket_is_back_a_little_later() {
    let (place, socket) = place();
    let Some(service) = unwatched(&place) else { return };
    let mut standing = service.connect().unwrap();
    assert_answers(&mut standing);
    wait_for("the warning", || (said(&place, "cannot be watched") > 0).then_some(()));
    fs::remove_file(&socket).unwrap();
    assert_comes_back("it was removed", &socket, BACK);
    assert_answers(&mut standing);
    wait_for("the news", || (said(&place, "was taken away and is back") > 0).then_some(()));
    assert_eq!(said(&place, "cannot be watched"), 1, "{}", place.log_text());
}
