//! A main file that is empty or gone while other files of the journal are there: SQLite would take it for a new one.

use std::fs;

use serde_json::{Value, json};

use crate::endpoint::nobody;
use crate::service::{Place, Service};

/// What is done to the main file.
type Harm = fn(&Place);

const HARMS: [(&str, Harm); 3] = [
    ("it is empty", |place| fs::write(place.journal(), "").unwrap()),
    ("it has one byte", |place| fs::write(place.journal(), "S").unwrap()),
    ("it is gone", |place| fs::remove_file(place.journal()).unwrap()),
];

const SESSIONS: usize = 12;

fn place() -> Place {
    Place::new(&format!("http://{}/ee/va/v1/downloaded", nobody()), "")
}

fn play(service: &Service<'_>) {
    for n in 0..SESSIONS {
        service.play(&format!("programme-{n:02}"));
    }
}

fn consent(service: &Service<'_>, to: &str) {
    let answer = service.request("PUT", "/v1/consent", json!({ "consent": to }).to_string().as_bytes());
    assert_eq!(answer.status, 200, "{to}");
}

fn events(status: &Value, of: &str) -> u64 {
    status["events"][of].as_u64().unwrap()
}

#[test]
fn what_the_log_of_a_beheaded_journal_holds_is_saved() {
    for (harm, apply) in HARMS {
        let place = place();
        let service = place.start();
        play(&service);
        let recorded = service.status();
        service.kill();
        apply(&place);
        let service = place.start();
        let status = service.status();
        assert_eq!(status["sessions"]["completed"], SESSIONS, "{harm}: {status}");
        assert_eq!(events(&status, "stored"), events(&recorded, "acknowledged"), "{harm}: {status}");
        let log = place.log_text();
        assert_eq!(log.matches("the journal was damaged; it was kept as").count(), 1, "{harm}: {log}");
        assert!(service.stop().success());
    }
}

#[test]
fn a_journal_that_was_set_aside_before_does_not_take_the_log() {
    let place = place();
    let service = place.start();
    service.play("first");
    assert!(service.stop().success());
    fs::write(place.journal(), "somebody's notes".repeat(500)).unwrap();
    let service = place.start();
    consent(&service, "in");
    play(&service);
    service.kill();
    fs::remove_file(place.journal()).unwrap();
    let service = place.start();
    assert_eq!(service.status()["sessions"]["completed"], SESSIONS, "{}", place.log_text());
}

#[test]
fn a_beheaded_journal_without_a_log_is_told_of_and_listed() {
    for (harm, apply) in HARMS {
        let place = place();
        let service = place.start();
        play(&service);
        assert!(service.stop().success());
        apply(&place);
        let service = place.start();
        let status = service.status();
        assert_eq!(
            (events(&status, "stored"), &status["consent"]),
            (0, &json!("pending")),
            "{harm}: {status}"
        );
        let log = place.log_text();
        assert_eq!(log.matches("at least 0 events lost").count(), 1, "{harm}: {log}");
        consent(&service, "in");
        service.play("goes-on");
        assert!(service.stop().success());
        // Told once: the new one is sound.
        let service = place.start();
        assert_eq!(service.status()["sessions"]["completed"], 1, "{harm}");
        assert_eq!(place.log_text().matches("the journal was damaged").count(), 1, "{harm}");
    }
}

#[test]
fn who_opted_out_is_not_taken_in_again_by_a_beheaded_journal() {
    for (harm, apply) in HARMS {
        for clean in [true, false] {
            let place = place();
            let service = place.start();
            play(&service);
            consent(&service, "out");
            if clean {
                assert!(service.stop().success());
            } else {
                service.kill();
            }
            apply(&place);
            let service = place.start();
            let consent = service.status()["consent"].clone();
            assert!(consent == "pending" || consent == "out", "{harm}, stopped {clean}: {consent}");
        }
    }
}

#[test]
fn what_a_first_start_leaves_that_was_cut_off_is_no_damage() {
    let place = place();
    fs::create_dir_all(place.journal().parent().unwrap()).unwrap();
    fs::write(place.journal(), "").unwrap();
    fs::write(place.journal().with_extension("db.lock"), "1").unwrap();
    let service = place.start();
    assert_eq!(service.status()["consent"], "in", "{}", place.log_text());
    assert!(!place.log_text().contains("damaged"), "{}", place.log_text());
}
