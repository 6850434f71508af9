//! `retry`, `discard`, `consent`, `identity`: what a person decides.

use serde_json::{Value, json};

use crate::endpoint::{Act, Endpoint, Reply};
use crate::service::{Place, Service, start_event};
use crate::users::{BERT, connect_as, is_root, shared_place};
use crate::{holding, run};

/// A place with sessions that the endpoint refused, each with another code so that they are not taken for one fault.
fn quarantined<'a>(place: &'a Place, keys: &[&str]) -> Service<'a> {
    let service = place.start();
    for key in keys {
        service.play(key);
        service.wait_for_state(key, "quarantined");
    }
    service
}

fn refusing_twice() -> (Endpoint, Place) {
    let refusal = |code: &str| {
        let kind = format!("https://ns.adobe.com/aep/errors/EXEG-{code}");
        Act::Answer(Reply::json(422, json!({ "type": kind, "title": "no" }).to_string()))
    };
    let endpoint = Endpoint::start([refusal("0104-422"), refusal("0102-400")]);
    let place = Place::new(&endpoint.url(), "");
    (endpoint, place)
}

#[test]
fn one_session_is_sent_again() {
    let (endpoint, place) = refusing_twice();
    let service = quarantined(&place, &["one", "two"]);
    let first = place.run(&["payload", "one"]).stdout;
    assert_eq!(run(&place, &["retry", "one"]).done(), "one: will be sent again\n");
    service.wait_for_state("one", "delivered");
    assert_eq!(endpoint.wait_for(3)[2].body, first, "the same bytes at each attempt");
    assert_eq!(service.get("/v1/sessions/two")["state"], "quarantined");
    let ran = run(&place, &["retry", "one", "none", "two"]);
    assert_eq!((ran.code, ran.out.as_str()), (1, "two: will be sent again\n"));
    let said: Vec<&str> = ran.err.lines().collect();
    assert!(said[0].starts_with("afterplay: one: the service refused"), "{}", ran.err);
    assert!(said[1].contains("none: ") && said[1].contains("unknown_session"), "{}", ran.err);
    service.wait_for_state("two", "delivered");
}

#[test]
fn all_of_them_are_sent_again() {
    let (_endpoint, place) = refusing_twice();
    let service = quarantined(&place, &["one", "two"]);
    let ran = run(&place, &["retry", "--all", "--json"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let mut keys: Vec<String> =
        ran.json_lines().iter().map(|line| line["session"].as_str().unwrap().to_owned()).collect();
    keys.sort();
    assert_eq!(keys, ["one", "two"]);
    for key in keys {
        service.wait_for_state(&key, "delivered");
    }
    assert_eq!(run(&place, &["retry", "--all"]).done(), "No quarantined sessions.\n");
}

#[test]
fn what_is_dropped_is_counted() {
    let (_endpoint, place) = refusing_twice();
    let service = quarantined(&place, &["one"]);
    assert!(run(&place, &["losses"]).done().starts_with("No losses: "));
    let ran = run(&place, &["discard", "one", "none"]);
    assert_eq!((ran.code, ran.out.as_str()), (1, "one: discarded \"one\", quarantined, 5 events\n"));
    assert!(ran.err.contains("none: ") && ran.err.contains("unknown_session"), "{}", ran.err);
    assert_eq!(service.request("GET", "/v1/sessions/one", b"").status, 404);
    let status = service.status();
    assert_eq!(status["losses"]["discarded"], 5);
    assert_eq!(status["events"], json!({ "stored": 0, "acknowledged": 5, "delivered": 0 }));
    assert!(run(&place, &["status"]).done().contains("  Losses        5 discarded\n"));
    let listed = run(&place, &["losses"]).done();
    let lines: Vec<Vec<&str>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["NAME", "KEY", "AGE", "EVENTS", "WHY"]);
    assert_eq!((&lines[1][..2], lines[1][4]), (&["discarded", "one"][..], "5"), "{listed}");
    assert!(lines.len() == 2 && listed.ends_with("  dropped by a person\n"), "{listed}");
    assert_eq!(run(&place, &["losses", "--json"]).json(), service.get("/v1/losses"));

    service.record("open", &start_event("open"));
    let ran = run(&place, &["discard", "--json", "open"]);
    assert_eq!(ran.json()["discarded"]["state"], "open");
    assert_eq!(service.status()["losses"]["discarded"], 6);
}

#[test]
fn of_sessions_of_several_users_none_is_decided_by_accident() {
    if !is_root() {
        return;
    }
    let refusal =
        json!({ "type": "https://ns.adobe.com/aep/errors/EXEG-0104-422", "title": "no" }).to_string();
    let endpoint = Endpoint::start([Act::Answer(Reply::json(422, refusal))]);
    let place = shared_place(&endpoint.url(), "");
    let service = place.start();
    let mut bert = connect_as(&service, BERT);
    for (path, body) in [("events", start_event("film").to_string()), ("complete", String::new())] {
        let path = format!("/v1/sessions/film/{path}");
        assert!(bert.send("POST", &path, &[], body.as_bytes()).unwrap().status < 300);
    }
    service.wait_for_state("film", "quarantined");
    assert!(!run(&place, &["sessions"]).done().contains("OWNER"), "all are of one user");
    // Root's own of that name.
    service.record("film", &start_event("film"));
    let listed = run(&place, &["sessions"]).done();
    let column = listed.find("OWNER").unwrap();
    let owners: Vec<&str> =
        listed.lines().skip(1).map(|line| line[column..].split(' ').next().unwrap()).collect();
    assert_eq!(owners, ["0", "12002"], "{listed}");

    assert!(run(&place, &["show", "film"]).done().contains("open"), "root's own");
    for command in ["discard", "retry"] {
        let ran = run(&place, &[command, "film"]);
        assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{command}");
        assert!(ran.err.contains("users 0, 12002") && ran.err.contains("--owner UID"), "{}", ran.err);
    }
    let shown = run(&place, &["show", "film", "--owner", "12002"]).done();
    assert!(shown.contains("afterplay retry film --owner 12002, or"), "{shown}");
    assert!(run(&place, &["payload", "film", "--owner", "12002"]).done().contains("media.downloaded"));
    assert_eq!(run(&place, &["retry", "--all", "--owner", "0"]).done(), "No quarantined sessions.\n");
    assert_eq!(run(&place, &["retry", "--all"]).done(), "film: will be sent again\n");
    crate::service::wait_for("Bert's to be delivered", || {
        (service.get("/v1/sessions/film?owner=12002")["state"] == "delivered").then_some(())
    });
    assert_eq!(service.get("/v1/sessions/film?owner=0")["state"], "open");
    let dropped = run(&place, &["discard", "film", "--owner", "0"]).done();
    assert_eq!(dropped, "film: discarded \"film\", open, 1 event\n");
    assert_eq!(service.get("/v1/sessions/film")["uid"], 12002);
}

#[test]
fn a_delivered_session_is_no_loss() {
    let endpoint = Endpoint::start([]);
    let place = Place::new(&endpoint.url(), "");
    let service = place.start();
    service.play("one");
    service.wait_for_state("one", "delivered");
    run(&place, &["discard", "one"]).done();
    assert_eq!(service.status()["losses"]["discarded"], 0);
}

#[test]
fn consent_is_shown_and_set() {
    let endpoint = Endpoint::start([]);
    let place = Place::new(&endpoint.url(), "");
    let service = place.start();
    assert_eq!(run(&place, &["consent"]).done(), "in: recorded sessions are uploaded\n");
    let said = run(&place, &["consent", "pending"]).done();
    assert_eq!(said, "pending: sessions are recorded and held back\n");
    service.play("one");
    assert_eq!(run(&place, &["consent", "--json"]).json(), json!({ "consent": "pending" }));
    assert_eq!(run(&place, &["consent", "--json"]).json(), service.get("/v1/consent"));
    assert!(run(&place, &["status"]).done().contains("pending: recorded sessions are held back"));

    let said = run(&place, &["consent", "out"]).done();
    assert_eq!(said, "out: what was stored is erased and nothing more is recorded\n");
    assert_eq!(run(&place, &["sessions"]).done(), "No sessions.\n");
    assert_eq!(service.status()["losses"]["purged"], 5);
    let refused = service.request("POST", "/v1/sessions", start_event("x").to_string().as_bytes());
    assert_eq!((refused.status, refused.json()["reason"].clone()), (403, json!("consent_out")));
    assert!(endpoint.requests().is_empty());

    // It holds over a restart, and can be taken back.
    assert!(service.stop().success());
    let service = place.start();
    assert!(run(&place, &["consent"]).done().starts_with("out: "));
    assert!(run(&place, &["consent", "in"]).done().starts_with("in: "));
    service.play("two");
    service.wait_for_state("two", "delivered");
}

#[test]
fn the_identity_is_shown_and_replaced_for_sessions_to_come() {
    let place = holding();
    let service = place.start();
    let before = run(&place, &["identity"]).done();
    let id = before.strip_prefix("FPID ").unwrap().trim().to_owned();
    assert_eq!((id.len(), &id[14..15]), (36, "4"), "a UUID of version 4: {id}");
    let identity_of = |service: &Service<'_>, key: &str| -> Value {
        service.get(&format!("/v1/sessions/{key}"))["identity_map"]["FPID"][0]["id"].clone()
    };
    service.record("early", &start_event("early"));
    let said = run(&place, &["identity", "--reset"]).done();
    let new = said.lines().next().unwrap().strip_prefix("FPID ").unwrap().to_owned();
    assert_ne!(new, id);
    service.record("late", &start_event("late"));
    assert_eq!(identity_of(&service, "early"), json!(id));
    assert_eq!(identity_of(&service, "late"), json!(new));
    assert_eq!(run(&place, &["identity", "--json"]).json(), service.get("/v1/identity"));
    assert!(service.stop().success());
    let _service = place.start();
    assert_eq!(run(&place, &["identity"]).done(), format!("FPID {new}\n"));
}
