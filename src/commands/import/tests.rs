use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::{Journaled, split};
use crate::commands::fake::{Act, Fake, answer, problem};

fn item(name: &str) -> Value {
    json!({"xdm": {"eventType": "media.downloaded", "mediaDownloadedEvents": [{"n": name}, {}, {}]}})
}

fn accepted(key: &str) -> Value {
    json!({"requestId": "r", "handle": [{"type": "other", "payload": [{}]},
        {"type": "media-analytics:new-session", "payload": [{"sessionId": key}]}]})
}

#[test]
fn bodies_are_taken_apart_and_not_changed() {
    let one = br#"{ "events" : [ {"xdm": {"mediaDownloadedEvents": [1.0, 2]}} ], "x": 1 }"#;
    assert_eq!(split(one).unwrap(), [(one.to_vec(), Some(2))]);
    let two = br#"{"events":[{"xdm":{"a":1.00}}, {"xdm": 7}]}"#;
    let parts = split(two).unwrap();
    assert_eq!(parts[0], (br#"{"events":[{"xdm":{"a":1.00}}]}"#.to_vec(), Some(0)));
    assert_eq!(parts[1], (br#"{"events":[{"xdm": 7}]}"#.to_vec(), None));
    for odd in [&b"[]"[..], b"7", b"{}", br#"{"events":{}}"#] {
        assert_eq!(split(odd).unwrap(), [(odd.to_vec(), None)], "the service says what is wrong with it");
    }
    assert!(split(b"{\n\"events\": oops}").unwrap_err().starts_with("not JSON: expected value at line 2"));
}

#[test]
fn answers_are_read() {
    let cases = [
        (accepted("k1"), vec!["k1"], 0),
        (Value::Null, vec![], 0),
        (json!({"errors": [{"title": "no", "detail": "missing"}, {"title": "x"}, {}]}), vec![], 3),
    ];
    for (body, sessions, errors) in cases {
        let read = Journaled::read(body.to_string().as_bytes(), Some(3));
        assert_eq!(
            (read.sessions, read.errors.len()),
            (sessions.into_iter().map(String::from).collect(), errors)
        );
    }
    assert_eq!(Journaled::read(b"", None).sessions, Vec::<String>::new());
    let mut odd = accepted("k1");
    odd["warnings"] =
        json!([{"title": "x"}, {"report": {"details": [{"name": "$.a", "reason": "left out"}, 7]}}]);
    let read = Journaled::read(odd.to_string().as_bytes(), None);
    assert_eq!((read.warnings.len(), read.warnings[0].path.as_str()), (1, "$.a"));
}

#[tokio::test]
async fn files_one_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, body: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, body).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let good = file("good.json", &json!({"events": [item("a")]}).to_string());
    let many = file("many.json", &json!({"events": [item("b"), item("bad"), item("c")]}).to_string());
    let broken = file("broken.json", "{");
    let missing = dir.path().join("missing.json").to_str().unwrap().to_owned();
    let fake = Fake::start(|_, body| match String::from_utf8_lossy(body) {
        body if body.contains("bad") => problem(400, "invalid"),
        body if body.contains(r#""a""#) => answer(200, accepted("key-a")),
        _ => Act::Answer(204, Vec::new(), Vec::new()),
    });
    let ran = fake.run(&["import", &good, &broken, &missing, &many]).await;
    assert_eq!(ran.code, 1);
    assert_eq!(
        ran.out,
        format!(
            "{good}: journaled as key-a, 3 events\n{many}, session 1: journaled, 3 events\n{many}, session 3: journaled, 3 events\n"
        )
    );
    assert!(ran.err.contains(&format!("afterplay: {broken}: not JSON")), "{}", ran.err);
    assert!(ran.err.contains(&format!("afterplay: {missing}: ")), "{}", ran.err);
    assert!(ran.err.contains(&format!("afterplay: {many}, session 2: the service refused")), "{}", ran.err);
    assert_eq!(fake.lines(), vec!["POST /ee/va/v1/downloaded"; 4]);

    let ran = fake.run(&["import", "--json", &good]).await;
    assert_eq!(ran.code, 0);
    let line: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(line, json!({"file": good, "sessions": ["key-a"], "events": 3}));
}

#[tokio::test]
async fn standard_input_and_a_body_of_many_megabytes() {
    let got = Arc::new(Mutex::new(0));
    let seen = got.clone();
    let fake = Fake::start(move |_, body| {
        *seen.lock().unwrap() = body.len();
        answer(200, accepted("k"))
    });
    let body = json!({"events": [item(&"x".repeat(20 << 20))]}).to_string();
    let ran = fake.run_with(&["import", "-"], body.as_bytes()).await;
    assert_eq!((ran.code, ran.out.as_str()), (0, "-: journaled as k, 3 events\n"));
    assert_eq!(*got.lock().unwrap(), body.len());
}

#[tokio::test]
async fn an_import_without_an_answer_is_not_repeated() {
    let fake = Fake::start(|_, _| Act::HangUp);
    let ran = fake.run_with(&["import", "-"], br#"{"events":[]}"#).await;
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("may be journaled all the same"), "{}", ran.err);
    assert_eq!(fake.lines().len(), 1);
}
