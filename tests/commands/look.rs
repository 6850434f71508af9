//! `status` and `sessions`.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::service::{Place, Service, start_event, wait_for};
use crate::{
    HARMLESS, HOSTILE, Ran, assert_fits, command, file, holding, nowhere, one_of_each, refusing, run, titled,
};

/// The service's answer and the command's must be equal; a counter may move between the two looks.
fn assert_same(place: &Place, service: &Service<'_>, path: &str, arguments: &[&str]) -> Value {
    wait_for("two equal looks", || {
        let before = service.get(path);
        let shown = run(place, arguments);
        assert_eq!((shown.code, shown.err.as_str()), (0, ""), "{}", shown.out);
        (service.get(path) == before).then(|| assert_eq!(shown.json(), before, "{arguments:?}"))
    });
    service.get(path)
}

#[test]
fn status_in_json_is_the_answer_of_the_service() {
    let place = holding();
    let service = place.start();
    service.play("one");
    service.record("two", &start_event("two"));
    let status = assert_same(&place, &service, "/v1/status", &["status", "--json"]);
    assert_eq!(status["sessions"], json!({ "open": 1, "completed": 1, "delivered": 0, "quarantined": 0 }));
    assert_eq!(status["pid"], service.child.id());
    assert_eq!(status["uploader"]["reason"], "no_datastream_id");
}

#[test]
fn status_says_it_all_on_one_screen() {
    let (endpoint, place) = refusing();
    let service = place.start();
    one_of_each(&service);
    let shown = run(&place, &["status"]).done();
    assert_fits(&shown);
    for part in [
        format!("afterplay {}, pid {}, running for ", env!("CARGO_PKG_VERSION"), service.child.id()),
        "  Link          online\n".into(),
        "  Uploader      idle\n".into(),
        "  Consent       in\n".into(),
        "  Clock         ".into(),
        "  Sessions      1 open, 0 completed, 1 delivered, 1 quarantined\n".into(),
        "  Events        6 stored, 11 acknowledged, 5 delivered\n".into(),
        " of 64 MiB (0 %) in ".into(),
        "  Losses        none\n".into(),
    ] {
        assert!(shown.contains(&part), "{part}\n{shown}");
    }
    drop(endpoint);
}

#[test]
fn status_names_the_reason_of_an_outage() {
    let place = Place::new(&nowhere(), "");
    let service = place.start();
    service.play("one");
    wait_for("the outage", || (service.status()["uploader"]["state"] == "waiting").then_some(()));
    let shown = run(&place, &["status"]).done();
    assert_fits(&shown);
    let words: Vec<&str> = shown.split_whitespace().collect();
    let words = words.join(" ");
    assert!(words.contains("Uploader waiting: no connection to the endpoint: Connection refused"), "{shown}");
    assert!(words.contains("next attempt "), "{shown}");
}

/// A command that goes on; ended when dropped.
struct Watch {
    child: std::process::Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Watch {
    fn start(place: &Place, arguments: &[&str]) -> Watch {
        let mut child = command(place, arguments).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Watch { child, lines }
    }

    fn line(&mut self) -> String {
        self.lines.next().unwrap().unwrap()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn watching_into_a_pipe_gives_a_line_a_change() {
    let place = holding();
    let service = place.start();
    let mut text = Watch::start(&place, &["status", "--watch"]);
    let mut raw = Watch::start(&place, &["status", "--watch", "--json"]);
    let first = text.line();
    assert!(first.contains("uploader=idle open=0 completed=0 delivered=0 quarantined=0 stored=0"), "{first}");
    let seen: Value = serde_json::from_str(&raw.line()).unwrap();
    assert_eq!(seen["sessions"]["open"], 0);
    service.record("one", &start_event("one"));
    // Nothing else changes, so the next line is the one with the session.
    let second = text.line();
    assert!(second.contains("open=1 ") && second.contains("stored=1"), "{second}");
    let seen: Value = serde_json::from_str(&raw.line()).unwrap();
    assert_eq!(seen["sessions"]["open"], 1);
    assert!(service.stop().success());
    assert!(text.line().contains("the service is not running"));
    let _service = place.start();
    assert!(text.line().contains("open=1 "));
}

#[test]
fn the_table_of_sessions_fits_whatever_is_in_it() {
    let place = holding();
    let service = place.start();
    let key_of = |n: usize| format!("{n}-living-room:{}", "0123456789.".repeat(12))[..128].to_owned();
    let titles = [
        "The Long Tide".to_owned(),
        "An evening that would not end ".repeat(8),
        "長い潮の話".repeat(20),
        HOSTILE.to_owned(),
        "e\u{301}".repeat(100),
        "👩‍👩‍👧".repeat(30),
    ];
    for (n, title) in titles.iter().enumerate() {
        service.record(&key_of(n), &titled(title));
    }
    service.play("done");
    let shown = run(&place, &["sessions"]).done();
    assert_fits(&shown);
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines[0].starts_with("STATE"), "{shown}");
    assert!(lines[1].starts_with("completed  done "), "newest first: {shown}");
    assert_eq!(lines.iter().filter(|line| line.starts_with("open ")).count(), titles.len(), "{shown}");
    // A key is there to be copied, so it is continued and not cut.
    let keys: String = lines.iter().map(|line| line.chars().skip(11).take(36).collect::<String>()).collect();
    assert!(keys.contains(&key_of(0)), "{shown}");
    assert!(shown.contains("長い潮") && shown.contains("…"), "{shown}");

    let narrow = Ran::of(command(&place, &["sessions"]).env("COLUMNS", "60").output().unwrap()).done();
    assert!(narrow.lines().all(|line| afterplay::commands::text::width(line) <= 60), "{narrow}");
}

#[test]
fn hostile_titles_are_shown_and_harmless() {
    let place = holding();
    let service = place.start();
    service.record("hostile", &titled(HOSTILE));
    for arguments in [&["sessions"][..], &["show", "hostile"], &["discard", "hostile"]] {
        let shown = run(&place, arguments).done();
        assert_fits(&shown);
        assert!(shown.contains(HARMLESS), "{arguments:?}: {shown}");
    }
}

#[test]
fn sessions_in_json_are_the_answer_of_the_service() {
    let place = holding();
    let service = place.start();
    for key in ["one", "two"] {
        service.play(key);
    }
    service.record("three", &start_event("three"));
    let all = assert_same(&place, &service, "/v1/sessions", &["sessions", "--json"]);
    assert_eq!(all["sessions"].as_array().unwrap().len(), 3);
    let open =
        assert_same(&place, &service, "/v1/sessions?state=open", &["sessions", "--state", "open", "--json"]);
    assert_eq!(open["sessions"][0]["session"], "three");
    let none = run(&place, &["sessions", "--state", "quarantined"]).done();
    assert_eq!(none, "No quarantined sessions.\n");
    let shown = run(&place, &["sessions", "--state", "completed"]).done();
    assert_eq!(shown.lines().count(), 3, "{shown}");
}

#[test]
fn more_sessions_than_a_page_are_all_listed() {
    let place = holding();
    let service = place.start();
    let one = json!({ "events": [{ "xdm": { "eventType": "media.downloaded", "mediaDownloadedEvents": [start_event("x")] }}]});
    let item = one["events"][0].clone();
    let many = json!({ "events": vec![item; 520] });
    file(&place, "many.json", many.to_string());
    assert_eq!(service.request("POST", "/ee/va/v1/downloaded", many.to_string().as_bytes()).status, 200);
    let ran = run(&place, &["sessions", "--json"]);
    let listed = ran.json();
    assert_eq!(listed["next"], Value::Null);
    let mut keys: Vec<&str> =
        listed["sessions"].as_array().unwrap().iter().map(|item| item["session"].as_str().unwrap()).collect();
    assert_eq!(keys.len(), 520);
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 520, "one twice");
    assert_eq!(run(&place, &["sessions"]).done().lines().count(), 521);
}
