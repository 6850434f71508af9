//! `import`: `downloaded` request bodies as completed sessions.

use std::io::Write;
use std::process::Stdio;

use serde_json::json;

use crate::endpoint::Endpoint;
use crate::examples::{self, assert_sent, contract_example, events_of, reference_request};
use crate::service::{Place, start_event, wait_for};
use crate::{HARMLESS, HOSTILE, Ran, assert_fits, command, file, holding, run, titled};

fn key_of(said: &str) -> String {
    said.split(" as ").nth(1).and_then(|rest| rest.split(',').next()).unwrap().to_owned()
}

#[test]
fn known_requests_come_out_as_they_went_in() {
    let endpoint = Endpoint::start([]);
    let place = Place::new(&endpoint.url(), "");
    let service = place.start();
    for (sent, (name, given)) in examples::all().into_iter().enumerate() {
        let path = file(&place, &format!("{name}.json"), format!("{given:#}"));
        let path = path.to_str().unwrap();
        let said = run(&place, &["import", path]).done();
        let count = events_of(&given).len();
        assert!(said.starts_with(&format!("{path}: journaled as ")), "{said}");
        assert!(said.ends_with(&format!(", {count} events\n")), "{said}");
        let session = service.wait_for_state(&key_of(&said), "delivered");
        assert_eq!(
            (session["why"].as_str(), session["receipt"]["events"].as_u64()),
            (Some("import"), Some(count as u64))
        );
        assert_sent(name, &given, &endpoint.wait_for(sent + 1)[sent].body);
    }
}

#[test]
fn what_is_not_taken_over_is_said() {
    let place = holding();
    let service = place.start();
    let mut odd = contract_example();
    odd["events"][0]["xdm"]["_id"] = "1".into();
    let path = file(&place, "odd.json", odd.to_string());
    let path = path.to_str().unwrap();
    let ran = run(&place, &["import", path]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.ends_with(", 7 events\n"), "{}", ran.out);
    assert!(ran.err.starts_with(&format!("afterplay: {path}: $.events[0].xdm._id: ")), "{}", ran.err);
    let shown = run(&place, &["show", &key_of(&ran.out)]).done();
    assert!(shown.contains("Warning") && shown.contains("events[0].xdm._id"), "{shown}");
    let ran = run(&place, &["import", "--json", path]);
    assert_eq!(ran.err, "");
    assert_eq!(ran.json()["warnings"][0]["path"], "$.events[0].xdm._id");
    drop(service);
}

#[test]
fn each_session_of_a_file_stands_or_falls_alone() {
    let place = holding();
    let service = place.start();
    let (good, mut bad, other) = (contract_example(), reference_request(), reference_request());
    bad["events"][0]["xdm"]["mediaDownloadedEvents"][1]["mediaCollection"]["playhead"] = json!(-1);
    let all = json!({ "events": [good["events"][0], bad["events"][0], other["events"][0]] });
    let path = file(&place, "three.json", all.to_string());
    let path = path.to_str().unwrap();
    let ran = run(&place, &["import", path]);
    assert_eq!(ran.code, 1);
    let said: Vec<&str> = ran.out.lines().collect();
    assert_eq!(said.len(), 2, "{}", ran.out);
    assert!(said[0].starts_with(&format!("{path}, session 1: journaled as ")), "{}", ran.out);
    assert!(said[1].starts_with(&format!("{path}, session 3: journaled as ")), "{}", ran.out);
    assert!(ran.err.starts_with(&format!("afterplay: {path}, session 2: ")), "{}", ran.err);
    assert!(ran.err.contains("playhead"), "{}", ran.err);
    assert_eq!(service.status()["sessions"]["completed"], 2);

    let path = file(&place, "one.json", contract_example().to_string());
    let ran = run(&place, &["import", "--json", path.to_str().unwrap()]);
    let line = ran.json();
    assert_eq!((line["events"].as_u64(), line["file"].as_str()), (Some(7), path.to_str()));
    let key = line["sessions"][0].as_str().unwrap();
    assert_eq!(service.get(&format!("/v1/sessions/{key}"))["title"], "The Long Tide");
}

#[test]
fn files_that_are_no_request_are_named_and_hold_nothing_up() {
    let place = holding();
    let service = place.start();
    let good = file(&place, "good.json", reference_request().to_string());
    let cases = [
        ("text.json", b"no json".to_vec(), "not JSON"),
        ("empty.json", Vec::new(), "not JSON"),
        ("binary.json", vec![0xff, 0, 1], "not JSON"),
        ("list.json", b"[]".to_vec(), "refused"),
        ("nothing.json", b"{\"events\":[]}".to_vec(), "at least one"),
        ("other.json", b"{\"events\":[{\"xdm\":{\"eventType\":\"web.page\"}}]}".to_vec(), "media.downloaded"),
    ];
    for (name, content, expected) in cases {
        let bad = file(&place, name, content);
        let ran = run(&place, &["import", bad.to_str().unwrap(), good.to_str().unwrap()]);
        assert_eq!(ran.code, 1, "{name}");
        assert!(ran.err.contains(name) && ran.err.contains(expected), "{name}: {}", ran.err);
        assert!(ran.out.starts_with(good.to_str().unwrap()), "{name}: {}", ran.out);
    }
    let ran = run(&place, &["import", "missing.json"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("missing.json: No such file"), "{}", ran.err);
    assert_eq!(service.status()["sessions"]["completed"], 6);
}

#[test]
fn a_payload_can_be_taken_from_one_service_to_another() {
    let (from, to) = (holding(), holding());
    let (source, target) = (from.start(), to.start());
    source.record("k", &titled(HOSTILE));
    source.request("POST", "/v1/sessions/k/complete", b"");
    let payload = from.run(&["payload", "k"]).stdout;
    let mut import = command(&to, &["import", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    import.stdin.take().unwrap().write_all(&payload).unwrap();
    let said = Ran::of(import.wait_with_output().unwrap()).done();
    let key = key_of(&said);
    assert_eq!(to.run(&["payload", &key]).stdout.len(), payload.len());
    let shown = run(&to, &["show", &key]).done();
    assert_fits(&shown);
    assert!(shown.contains(HARMLESS), "{shown}");
    drop(target);
}

#[test]
fn a_file_of_many_is_no_larger_a_request_than_its_largest() {
    let place = holding();
    let service = place.start();
    let mut item =
        json!({ "xdm": { "eventType": "media.downloaded", "mediaDownloadedEvents": [start_event("x")] }});
    item["xdm"]["mediaDownloadedEvents"][0]["mediaCollection"]["customMetadata"] =
        json!([{ "name": "_acme.note", "value": "n".repeat(40_000) }]);
    item["xdm"]["identityMap"] =
        json!({ "FPID": [{ "id": "5f0c3d1e-6c1b-4f0e-9a52-2f8f6f1f9a10", "primary": true }] });
    let path = file(&place, "large.json", json!({ "events": vec![item; 40] }).to_string());
    assert!(std::fs::metadata(&path).unwrap().len() > 1 << 20);
    assert_eq!(run(&place, &["import", path.to_str().unwrap()]).done().lines().count(), 40);
    wait_for("all of them", || (service.status()["sessions"]["completed"] == 40).then_some(()));
}
