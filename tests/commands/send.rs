//! `flush` and `check`: what is sent, and what stands in the way.

use serde_json::json;

use crate::endpoint::{Act, Endpoint, Reply};
use crate::service::{Place, start_event, wait_for};
use crate::{assert_fits, file, holding, nowhere, refusing, run};

#[test]
fn flush_waits_until_everything_is_delivered() {
    let endpoint = Endpoint::start([Act::ResetOnConnect]);
    let place = Place::new(&endpoint.url(), "retry.initial = \"1h\"");
    let service = place.start();
    for n in 0..12 {
        service.play(&format!("s{n}"));
    }
    wait_for("the outage", || (service.status()["uploader"]["state"] == "waiting").then_some(()));
    let said = run(&place, &["flush"]).done();
    assert!(said.ends_with("12 sessions delivered.\n"), "{said}");
    assert!(!said.contains(['\r', '\u{1b}']), "no progress bar into a pipe: {said:?}");
    assert_eq!(service.status()["sessions"]["delivered"], 12);
    assert_eq!(run(&place, &["flush"]).done(), "Nothing to upload.\n");
}

#[test]
fn flush_fails_with_the_reason() {
    let place = Place::new(&nowhere(), "retry.initial = \"1h\"");
    let service = place.start();
    service.play("one");
    let ran = run(&place, &["flush"]);
    assert_eq!(ran.code, 1, "{}", ran.out);
    assert!(
        ran.err.contains("0 sessions delivered, 1 still waiting: the uploader is waiting"),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("Connection refused") && ran.err.contains("next attempt in "), "{}", ran.err);

    let ran = run(&place, &["flush", "--json"]);
    assert_eq!(ran.code, 1);
    assert_eq!(ran.json()["sessions"], service.status()["sessions"]);

    let place = holding();
    let service = place.start();
    service.play("one");
    let ran = run(&place, &["flush"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("no datastream_id is configured"), "{}", ran.err);
}

#[test]
fn flush_says_what_was_refused() {
    let (_endpoint, place) = refusing();
    let service = place.start();
    service.request("PUT", "/v1/consent", b"{\"consent\":\"pending\"}");
    service.play("refused");
    service.play("good");
    let ran = run(&place, &["flush"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("consent is pending"), "{}", ran.err);
    service.request("PUT", "/v1/consent", b"{\"consent\":\"in\"}");
    let ran = run(&place, &["flush"]);
    // It may be over before the command looks for the first time.
    if ran.code == 1 {
        assert!(
            ran.err.contains("1 session refused; `afterplay sessions --state quarantined`"),
            "{}",
            ran.err
        );
    }
    service.wait_for_state("refused", "quarantined");
    service.wait_for_state("good", "delivered");
}

#[test]
fn flush_does_not_wait_for_a_refused_set_up() {
    let endpoint = Endpoint::start(vec![Act::Answer(Reply::json(401, "{}")); 4]);
    let place = Place::new(&endpoint.url(), "");
    let service = place.start();
    service.play("one");
    let ran = run(&place, &["flush"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("the uploader is paused") && ran.err.contains("401"), "{}", ran.err);
}

#[test]
fn check_finds_nothing_wrong_where_nothing_is() {
    let endpoint = Endpoint::start([]);
    let place = Place::new(&endpoint.url(), "");
    let ran = run(&place, &["check"]);
    assert_eq!(ran.code, 0, "{}", ran.out);
    assert_fits_but_paths(&ran.out, &place);
    assert!(ran.out.contains("note   service: is not running (nobody listens on "), "{}", ran.out);
    assert!(ran.out.contains("will be made at the first start"), "{}", ran.out);
    assert!(!place.journal().exists(), "looking makes nothing");

    let service = place.start();
    let said = run(&place, &["check"]).done();
    assert!(said.contains(&format!("ok     service: is running (pid {})", service.child.id())), "{said}");
    assert!(said.contains("in use by the service"), "{said}");
    assert!(said.contains(&format!("ok     endpoint: {} answers (status 200)", endpoint.url())), "{said}");
    let ran = run(&place, &["check", "--json"]);
    assert_eq!((ran.code, ran.json()["ok"].clone()), (0, json!(true)));
    let findings = ran.json()["findings"].clone();
    assert!(findings.as_array().unwrap().iter().all(|finding| finding["grade"] == "good"), "{findings:#}");
    assert!(service.stop().success());
    let said = run(&place, &["check"]).done();
    assert!(said.contains("journal.db is there"), "{said}");
}

/// Paths and URLs are as long as they are.
fn assert_fits_but_paths(said: &str, place: &Place) {
    let folder = place.dir.path().to_str().unwrap();
    assert_fits(&said.lines().filter(|line| !line.contains(folder)).collect::<Vec<_>>().join("\n"));
}

#[test]
fn check_says_what_is_wrong() {
    let place = Place::new(&nowhere(), "");
    let ran = run(&place, &["check"]);
    assert_eq!(ran.code, 1);
    let wrong: Vec<&str> = ran.out.lines().filter(|line| line.starts_with("wrong ")).collect();
    assert_eq!(wrong.len(), 1, "{}", ran.out);
    assert!(wrong[0].contains("endpoint: http://127.0.0.1:"), "{}", ran.out);
    assert!(wrong[0].contains("Connection refused"), "{}", ran.out);
    let ran = run(&place, &["check", "--json"]);
    assert_eq!((ran.code, ran.json()["ok"].clone()), (1, json!(false)));

    // Somebody who does not speak TLS answers in place of an endpoint that does.
    let other = Endpoint::start([Act::SpeakFirst(b"HTTP/1.1 302 Found\r\n\r\n".to_vec())]);
    let place = Place::new(&other.url().replace("http:", "https:"), "datastream_id = \"\"");
    let ran = run(&place, &["check"]);
    assert_eq!(ran.code, 1);
    assert!(ran.out.contains("somebody else seems to answer in its place"), "{}", ran.out);
    assert!(ran.out.contains("note   datastream_id: is empty"), "{}", ran.out);
}

#[test]
fn check_says_what_will_become_of_a_file_that_is_no_journal() {
    let endpoint = Endpoint::start([]);
    let place = Place::new(&endpoint.url(), "");
    std::fs::create_dir_all(place.journal().parent().unwrap()).unwrap();
    file(&place, "state/journal.db", b"these are my notes, which have nothing to do with it");
    let ran = run(&place, &["check"]);
    assert_eq!(ran.code, 1);
    assert!(ran.out.contains("is not a journal: the service will set it aside"), "{}", ran.out);
    let kept = std::fs::read(place.journal()).unwrap();
    assert!(kept.starts_with(b"these are my notes"));
}

/// Each file in the journal's folder, with what it holds.
fn files(place: &Place) -> std::collections::BTreeMap<std::path::PathBuf, Vec<u8>> {
    let all = std::fs::read_dir(place.journal().parent().unwrap()).unwrap();
    all.map(|file| file.unwrap().path()).map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

#[test]
fn check_says_what_would_keep_the_service_from_coming_up() {
    use std::os::unix::fs::PermissionsExt;
    let endpoint = Endpoint::start([]);
    let place = Place::new(&endpoint.url(), "");
    let dir = place.journal().parent().unwrap().to_owned();
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o770)).unwrap();
    std::fs::create_dir_all(place.socket().parent().unwrap()).unwrap();
    std::fs::write(place.socket(), "my notes").unwrap();
    let ran = run(&place, &["check"]);
    assert_eq!(ran.code, 1, "{}", ran.out);
    assert!(ran.out.contains("the journal is not safe here"), "{}", ran.out);
    assert!(ran.out.contains("is not a socket; remove it"), "{}", ran.out);
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o700)).unwrap();
    std::fs::remove_file(place.socket()).unwrap();
    let ran = run(&place, &["check"]);
    assert_eq!(ran.code, 0, "{}", ran.out);
}

#[test]
fn check_says_what_will_become_of_a_journal_without_its_main_file() {
    let endpoint = Endpoint::start([]);
    for (clean, gone) in [(false, false), (false, true), (true, false), (true, true)] {
        let place = Place::new(&endpoint.url(), "");
        let service = place.start();
        service.record("one", &start_event("ep-1"));
        if clean {
            assert!(service.stop().success());
        } else {
            service.kill();
        }
        match gone {
            true => std::fs::remove_file(place.journal()).unwrap(),
            false => std::fs::write(place.journal(), "").unwrap(),
        }
        let before = files(&place);
        let ran = run(&place, &["check"]);
        assert_eq!(ran.code, 1, "{}", ran.out);
        let said = "is empty or gone, and other files of the journal are there: the next start will set aside what is left";
        assert!(ran.out.contains(&format!("journal.db {said}")), "{}", ran.out);
        assert_eq!(files(&place), before, "nothing is changed");
        place.start().status();
        assert!(place.log_text().contains("the journal was damaged; "), "{}", place.log_text());
    }
    // What a first start leaves that was cut off is nothing to worry about.
    let place = Place::new(&endpoint.url(), "");
    std::fs::create_dir_all(place.journal().parent().unwrap()).unwrap();
    file(&place, "state/journal.db", b"");
    let ran = run(&place, &["check"]);
    assert!(ran.out.contains("journal.db is empty and will be made at the next start"), "{}", ran.out);
}
