//! Another local user squats on the paths that the service uses: a clear error, and nothing of anybody's is touched.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Stdio;

use crate::NOWHERE;
use crate::service::{Guard, Place, wait_for};
use crate::users::{ANNA, as_user, give, is_root};

/// What the service says when it gives up.
fn refused(place: &Place) -> String {
    let mut child = Guard(place.command(&["run"]).stderr(Stdio::piped()).spawn().unwrap());
    let status = wait_for("the service to give up", || child.0.try_wait().unwrap());
    let said = std::io::read_to_string(child.0.stderr.take().unwrap()).unwrap();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.lines().count() <= 2, "one clear line: {said}");
    said
}

fn fifo(path: &Path) {
    assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
}

fn state(place: &Place) -> std::path::PathBuf {
    let state = place.journal().parent().unwrap().to_owned();
    fs::create_dir_all(&state).unwrap();
    state
}

#[test]
fn another_user_squats_on_the_socket_path() {
    if !is_root() {
        return;
    }
    // Listens there.
    let place = Place::new(NOWHERE, "");
    let _listener = UnixListener::bind(place.socket()).unwrap();
    let said = refused(&place);
    assert!(said.contains("is taken by process") && said.contains("afterplay.sock"), "{said}");
    // Has something else there.
    type Thing = fn(&Path);
    let things: [(&str, Thing); 4] = [
        ("a file", |path| fs::write(path, "x").unwrap()),
        ("a folder", |path| fs::create_dir(path).unwrap()),
        ("a pipe", fifo),
        ("a link", |path| symlink("/etc/hostname", path).unwrap()),
    ];
    for (what, put) in things {
        let place = Place::new(NOWHERE, "");
        put(&place.socket());
        give(&place.socket(), ANNA);
        let said = refused(&place);
        assert!(said.contains("is not a socket: remove it"), "{what}: {said}");
    }
    // Owns the folder that it would be in, so that the socket could be swapped for another.
    let place = Place::new(NOWHERE, "");
    let folder = place.dir.path().join("hers");
    fs::create_dir(&folder).unwrap();
    give(&folder, ANNA);
    place.configure(NOWHERE, &format!("api.socket = {:?}", folder.join("a.sock").to_str().unwrap()));
    let said = refused(&place);
    assert!(said.contains(&format!("belongs to user {ANNA}")) && said.contains("api.socket"), "{said}");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}

#[test]
fn another_user_squats_on_the_journal_and_lock_paths() {
    if !is_root() {
        return;
    }
    for suffix in ["", ".lock", ".reserve", "-wal"] {
        let at = |place: &Place| {
            let mut path = place.journal().into_os_string();
            path.push(suffix);
            std::path::PathBuf::from(path)
        };
        // A file of theirs, a link of theirs to a file of ours.
        let place = Place::new(NOWHERE, "");
        let (state, path) = (state(&place), at(&place));
        fs::write(&path, "hers").unwrap();
        give(&path, ANNA);
        let said = refused(&place);
        assert!(
            said.contains(&format!("belongs to user {ANNA}")) && said.contains(path.to_str().unwrap()),
            "{said}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "hers");

        fs::remove_file(&path).unwrap();
        let precious = place.dir.path().join("precious");
        fs::write(&precious, "precious").unwrap();
        symlink(&precious, &path).unwrap();
        give(&path, ANNA);
        let said = refused(&place);
        assert!(said.contains(&format!("belongs to user {ANNA}")), "{said}");
        assert_eq!(fs::read_to_string(&precious).unwrap(), "precious", "{suffix}");

        // A pipe would be waited for, a folder cannot be opened.
        for (what, put) in [("a pipe", fifo as fn(&Path)), ("a folder", |path| fs::create_dir(path).unwrap())]
        {
            let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
            put(&path);
            let said = refused(&place);
            assert!(said.contains(&format!("is {what}, not a file")), "{suffix}: {said}");
        }
        drop(state);
    }
}

#[test]
fn another_user_squats_on_the_journal_folder() {
    if !is_root() {
        return;
    }
    let place = Place::new(NOWHERE, "");
    let folder = state(&place);
    give(&folder, ANNA);
    let said = refused(&place);
    assert!(said.contains(&format!("belongs to user {ANNA}")) && said.contains("journal.path"), "{said}");
    give(&folder, 0);
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o1777)).unwrap();
    let said = refused(&place);
    assert!(said.contains("every user may write to"), "{said}");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    place.start().play("one");

    // And on the token for web players.
    let place = Place::new(NOWHERE, "api.listen = \"127.0.0.1:0\"");
    let token = state(&place).join("api-token");
    fs::write(&token, "known to Anna\n").unwrap();
    give(&token, ANNA);
    let said = refused(&place);
    assert!(said.contains(&format!("belongs to user {ANNA}")) && said.contains("API token"), "{said}");
}

#[test]
fn another_user_may_not_reach_into_a_place_of_ours() {
    if !is_root() {
        return;
    }
    let place = crate::users::shared_place(NOWHERE, "");
    let service = place.start();
    service.play("one");
    let (socket, journal) = (place.socket(), place.journal());
    as_user(ANNA, move || {
        assert!(fs::remove_file(&socket).is_err(), "the socket stays");
        assert!(fs::rename(&socket, socket.with_extension("old")).is_err());
        assert!(fs::read(&journal).is_err() && fs::read_dir(journal.parent().unwrap()).is_err());
    });
    service.play("two");
}
