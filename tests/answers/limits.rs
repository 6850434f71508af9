//! What a row of the table comes to when the same answer comes again and again (contract section 11, BACKOFF-n), and
//! what is said once in a run (section 11.4).

use rusqlite::Connection;
use serde_json::Value;

use crate::endpoint::{Act, Endpoint, Reply};
use crate::service::{Place, Service, wait_for};
use crate::table::{self, Expected, Owner, Row};
use crate::{PATIENT, flush, key, play, session, start, tried};

/// Makes the journal say that a session was answered so often, and for the first time so many hours ago.
fn pretend(journal: &Connection, key: &str, answers: u32, hours: i64) {
    let ms = hours * 3_600_000;
    let changed = journal
        .execute(
            "UPDATE sessions SET row_sum = NULL, answers = ?2, first_answer_boot_ms = first_answer_boot_ms - ?3,
                 first_answer_wall_ms = first_answer_wall_ms - ?3, wait_ms = 0
             WHERE key = ?1 AND answers = 1",
            (key, answers, ms),
        )
        .unwrap();
    assert_eq!(changed, 1, "{key} was answered once");
}

#[allow(
    clippy::disallowed_methods,
    reason = "24 h cannot be waited for, so the journal of a stopped service is aged"
)]
fn open(place: &Place) -> Connection {
    Connection::open(place.journal()).unwrap()
}

fn limit(row: &Row) -> Option<u32> {
    match row.expected {
        Expected::Backoff(limit) | Expected::Outage(limit) => limit,
        _ => None,
    }
}

#[test]
fn s11_backoff_n_ends_after_n_answers_and_24_h() {
    let mut rows: Vec<(usize, Row)> = Vec::new();
    for (n, row) in table::all().into_iter().enumerate() {
        // One of each reason: three of one in a row would be a pause.
        let new = rows.iter().all(|(_, known)| known.reason != row.reason);
        if matches!(row.expected, Expected::Backoff(Some(_))) && new {
            rows.push((n, row));
        }
    }
    assert!(rows.len() >= 8);
    // Answers so far, hours since the first, and whether the next answer is the last.
    let pasts = |n: u32| [(n - 1, 25, true), (n - 2, 25, false), (n - 1, 23, false)];

    let endpoint = Endpoint::start([]);
    let place = Place::new(&endpoint.url(), PATIENT);
    let service = start(&place);
    for (n, row) in &rows {
        endpoint.whenever(&key(*n), row.act.clone());
        for past in 0..3 {
            play(&service, &format!("{}-{past}", key(*n)), Owner::Player);
        }
    }
    for (n, _) in &rows {
        for past in 0..3 {
            tried(&service, &format!("{}-{past}", key(*n)), 1);
        }
    }
    assert!(service.stop().success());
    let journal = open(&place);
    for (n, row) in &rows {
        for (past, (answers, hours, _)) in pasts(limit(row).unwrap()).into_iter().enumerate() {
            pretend(&journal, &format!("{}-{past}", key(*n)), answers, hours);
        }
    }
    drop(journal);

    let service = start(&place);
    for (n, row) in &rows {
        for (past, (.., last)) in pasts(limit(row).unwrap()).into_iter().enumerate() {
            let session = tried(&service, &format!("{}-{past}", key(*n)), 2);
            let state = if last { "quarantined" } else { "completed" };
            assert_eq!(session["state"], state, "{past} of {n} {row}: {session}");
            assert_eq!(session["last_verdict"]["reason"], row.reason.as_str());
        }
    }
}

#[test]
fn what_cannot_be_read_pauses_in_the_end_and_is_kept() {
    let unread = || Act::Answer(Reply::json(200, "{}"));
    let endpoint = Endpoint::start([unread(), unread()]);
    let place = Place::new(&endpoint.url(), PATIENT);
    let service = start(&place);
    play(&service, "a", Owner::Player);
    tried(&service, "a", 1);
    assert_eq!(service.status()["link"], "captive");
    assert!(service.stop().success());
    let journal = open(&place);
    pretend(&journal, "a", 9, 25);
    drop(journal);

    let service = start(&place);
    flush(&service);
    let kept = tried(&service, "a", 2);
    assert_eq!(kept["state"], "completed", "{kept}");
    let status = uploader(&service, "paused");
    assert_eq!(status["uploader"]["reason"], "not-adobe");
    assert_eq!(status["possible_duplicates"], 2, "each may have been taken");
    flush(&service);
    service.wait_for_state("a", "delivered");
}

#[test]
fn s11_three_that_run_out_in_a_row_are_a_pause_and_come_back() {
    let endpoint = Endpoint::start([]);
    endpoint.whenever("bad", Act::Answer(Reply::json(500, r#"{"title":"Fault"}"#)));
    let place = Place::new(&endpoint.url(), PATIENT);
    let service = start(&place);
    let bad = ["bad-1", "bad-2", "bad-3"];
    for key in bad {
        play(&service, key, Owner::Player);
    }
    for key in bad {
        tried(&service, key, 1);
    }
    assert!(service.stop().success());
    let journal = open(&place);
    for key in bad {
        pretend(&journal, key, 9, 25);
    }
    drop(journal);

    let service = start(&place);
    let status = uploader(&service, "paused");
    assert_eq!(status["uploader"]["reason"], "500");
    wait_for("the refused to come back", || (service.status()["sessions"]["completed"] == 3).then_some(()));
    endpoint.behave();
    flush(&service);
    for key in bad {
        service.wait_for_state(key, "delivered");
    }
}

fn uploader(service: &Service<'_>, state: &str) -> Value {
    wait_for(&format!("the uploader to be {state}"), || {
        let status = service.status();
        (status["uploader"]["state"] == state).then_some(status)
    })
}

#[test]
fn s11_4_a_missing_media_session_is_hinted_at_once_in_a_run() {
    let plain = || Act::Answer(Reply::json(200, r#"{"requestId":"r"}"#));
    let endpoint = Endpoint::start([Act::Answer(Reply::new(204, "")), plain(), plain()]);
    let place = Place::new(&endpoint.url(), PATIENT);
    let service = start(&place);
    let deliver = |service: &Service<'_>, key: &str| {
        play(service, key, Owner::Player);
        service.wait_for_state(key, "delivered");
        let receipt = session(service, key)["receipt"].clone();
        (receipt["warnings"].clone(), service.status()["uploader"]["hint"].clone())
    };
    let none = (Value::Array(Vec::new()), Value::Null);
    assert_eq!(deliver(&service, "empty"), none, "an empty answer has no place for a media session");
    let (warnings, hint) = deliver(&service, "plain");
    assert!(warnings[0].as_str().unwrap().contains("Media Analytics"), "{warnings}");
    assert_eq!(warnings[0], hint);
    for (arguments, label) in [(&["status"][..], "Hint"), (&["show", "plain"], "Warning")] {
        let shown = String::from_utf8(place.run(arguments).stdout).unwrap();
        assert!(shown.contains(label) && shown.contains("named no media"), "{shown}");
    }
    assert_eq!(deliver(&service, "again"), (none.0.clone(), hint), "once in a run");
    assert_eq!(deliver(&service, "named"), none, "it was not so");
    assert_eq!(place.log_text().matches("named no media session").count(), 1);
}
