//! `afterplay demo`: the whole story, as somebody sees it who has just built the program.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::service::{BINARY, Place, wait_for};

const LIMIT: Duration = Duration::from_secs(15);

/// The demo with an empty home, a temporary folder of its own, and nothing else in its environment.
fn demo(folder: &Path) -> Command {
    let (home, temp) = (folder.join("home"), folder.join("tmp"));
    std::fs::create_dir_all(&home).unwrap();
    std::fs::create_dir_all(&temp).unwrap();
    let mut command = Command::new(BINARY);
    command
        .arg("demo")
        .env_clear()
        .env("HOME", home)
        .env("TMPDIR", temp)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn assert_nothing_left(folder: &Path) {
    for name in ["home", "tmp"] {
        let left: Vec<_> =
            std::fs::read_dir(folder.join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "left behind: {left:?}");
    }
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn it_tells_the_whole_story_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let said = text(&demo(folder.path()).output().unwrap());
    assert!(began.elapsed() < LIMIT, "took {:?}", began.elapsed());
    assert_nothing_left(folder.path());

    let steps: Vec<&str> = (1..=6)
        .map(|n| said.split(&format!("\n{n}. ")).nth(1).unwrap_or_else(|| panic!("no step {n} in:\n{said}")))
        .collect();
    let own = |n: usize| steps[n - 1].split("\n\n").next().unwrap();
    assert!(own(1).contains("afterplay.sock") && own(1).contains("journal.db"), "{said}");
    assert_eq!(own(2).matches("seq ").count(), 15, "{said}");
    assert_eq!(own(3).matches("Connection refused").count(), 2, "the reason of each failure:\n{said}");
    assert!(own(3).contains("uploader waiting, 15 events kept, 0 lost"), "{said}");
    assert!(own(4).contains("15 events, 0 problems; answered 200"), "{said}");
    assert!(own(6).contains("15 events, ") && own(6).contains(" attempts"), "{said}");
    assert!(said.ends_with("Everything that was acknowledged has arrived, once.\n"), "{said}");

    let payload = own(5);
    let mut from = 0;
    for part in [
        "?configId=demo-datastream",
        "\"media.downloaded\"",
        "identityMap",
        "\"primary\":true",
        "15 events",
        "media.sessionStart ",
        "{\"playhead\":0,",
        "\"name\":\"ep-204417\",\"friendlyName\":\"The Long Tide\"",
        "media.pauseStart ",
        "{\"playhead\":30}",
        "media.adBreakStart ",
        "\"advertisingPodDetails\":{\"index\":1,\"offset\":50}}",
        "media.adStart ",
        "media.adBreakComplete ",
        "media.sessionComplete ",
        "{\"playhead\":90}",
        "timestamp",
    ] {
        from += payload[from..].find(part).unwrap_or_else(|| panic!("{part} is not in its place:\n{said}"));
    }
}

#[test]
fn it_fits_a_screen() {
    let folder = tempfile::tempdir().unwrap();
    let said = text(&demo(folder.path()).output().unwrap());
    // The three paths of the first step are as long as the temporary folder makes them.
    for line in said.lines().filter(|line| !line.contains(folder.path().to_str().unwrap())) {
        assert!(line.chars().count() <= 80, "{line}");
    }
    assert!(!said.contains('\u{1b}'));
    let payload = said.split("\n5. ").nth(1).unwrap().split("\n\n").next().unwrap();
    assert!(payload.lines().count() <= 32, "{payload}");
}

#[test]
fn it_does_not_meet_a_service_that_runs() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::new("http://127.0.0.1:9/ee/va/v1/downloaded", "");
    let runtime = folder.path().join("run");
    std::fs::create_dir(&runtime).unwrap();
    // A user's service has its socket at afterplay/afterplay.sock in the runtime folder.
    std::os::unix::fs::symlink(place.dir.path(), runtime.join("afterplay")).unwrap();
    let mut service = place.start();
    let said = text(&demo(folder.path()).env("XDG_RUNTIME_DIR", &runtime).output().unwrap());
    assert!(said.contains("has arrived, once."), "{said}");
    assert_nothing_left(folder.path());
    assert_eq!(service.status()["events"]["acknowledged"], 0);
    assert!(service.child.try_wait().unwrap().is_none());
}

#[test]
fn interrupted_it_cleans_up_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = demo(folder.path()).spawn().unwrap();
    let temp = folder.path().join("tmp");
    wait_for("the journal", || {
        let made = std::fs::read_dir(&temp).unwrap().next()?.unwrap().path();
        made.join("journal/journal.db").exists().then_some(())
    });
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-s", "INT", &pid]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert_nothing_left(folder.path());
}

#[test]
fn a_temporary_folder_that_is_not_there_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let output = demo(folder.path()).env("TMPDIR", folder.path().join("none")).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.starts_with("afterplay: cannot make ") && said.contains("/none/"), "{said}");
}
