use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::commands::fake::{Act, Fake, answer, problem as refuse};

#[test]
fn keys_become_one_segment() {
    let cases = [
        ("living-room-0042", "living-room-0042"),
        ("a.b_c:d~2", "a.b_c:d~2"),
        ("../x", "..%2Fx"),
        ("a b?c#d", "a%20b%3Fc%23d"),
        ("ü\n", "%C3%BC%0A"),
    ];
    for (key, expected) in cases {
        assert_eq!(segment(key), expected);
    }
}

#[test]
fn groups_are_found_by_their_number() {
    let groups = "root:x:0:\nafterplay:x:991:me\nbroken\n";
    assert_eq!(group_name(groups, 991), Some("afterplay"));
    assert_eq!(group_name(groups, 0), Some("root"));
    assert_eq!(group_name(groups, 99), None);
}

#[test]
fn a_refusal_names_every_bad_field() {
    let body = br#"{"title":"Invalid","detail":"2 fields are wrong","reason":"invalid",
        "problems":[{"path":"mediaCollection.playhead","problem":"must not be negative"}]}"#;
    let refusal = Refusal {
        status: 400,
        problem: problem(StatusCode::BAD_REQUEST, body),
        retry_after: Some(3),
        body: Bytes::new(),
    };
    assert_eq!(
        refusal.to_string(),
        "the service refused: 2 fields are wrong (invalid, status 400)\n  \
         mediaCollection.playhead: must not be negative\n  try again in 3 s"
    );
}

#[test]
fn a_body_that_is_no_problem_still_says_something() {
    let odd = problem(StatusCode::NOT_FOUND, b"no such page");
    assert_eq!((odd.title.as_deref(), odd.detail.as_deref()), (Some("Not Found"), Some("no such page")));
    assert_eq!(problem(StatusCode::BAD_GATEWAY, b"").title.as_deref(), Some("Bad Gateway"));
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let fake = Fake::start(|_, _| answer(200, json!({"ok": true})));
    let mut client = fake.client();
    for _ in 0..3 {
        assert_eq!(client.get::<Value>("/v1/status").await.unwrap()["ok"], true);
    }
    assert_eq!(fake.seen().iter().map(|seen| seen.connection).collect::<Vec<_>>(), [1, 1, 1]);
}

#[tokio::test]
async fn a_connection_that_the_service_closed_is_made_anew() {
    let fake =
        Fake::start(|_, _| Act::Answer(200, vec![("connection", String::from("close"))], b"{}".to_vec()));
    let mut client = fake.client();
    for _ in 0..3 {
        client.send(&Call::post("/v1/flush")).await.unwrap();
    }
    assert_eq!(fake.seen().iter().map(|seen| seen.connection).collect::<Vec<_>>(), [1, 2, 3]);
}

#[tokio::test]
async fn what_may_have_been_done_is_repeated_only_where_that_does_no_harm() {
    for (call, times) in [(Call::get("/x"), 2), (Call::new(Method::DELETE, "/x"), 2), (Call::post("/x"), 1)] {
        let fake = Fake::start(|line, _| match line {
            "GET /first" => answer(200, json!({})),
            _ => Act::HangUp,
        });
        let mut client = fake.client();
        client.get::<Value>("/first").await.unwrap();
        let error = client.send(&call).await.unwrap_err();
        assert!(matches!(error, ClientError::Unanswered { maybe_done: true, .. }), "{error:?}");
        assert_eq!(fake.lines().len() - 1, times, "{call:?}");
    }
}

#[tokio::test]
async fn a_service_that_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("afterplay.sock");
    let status = Call::get("/v1/status");
    let missing = Client::new(&socket).send(&status).await.unwrap_err();
    assert!(matches!(missing, ClientError::NotRunning { .. }), "{missing:?}");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let dead = Client::new(&socket).send(&status).await.unwrap_err();
    assert!(matches!(dead, ClientError::NotRunning { .. }), "{dead:?}");
    let long = Client::new(dir.path().join("x".repeat(200))).send(&status).await.unwrap_err();
    assert!(matches!(long, ClientError::Io { .. }), "{long:?}");
}

#[test]
fn a_socket_of_others_names_the_way_in() {
    let error = unreachable(Path::new("/x"), io::ErrorKind::PermissionDenied.into());
    assert!(matches!(error, ClientError::Forbidden { .. }), "{error:?}");
    assert!(way_in(Some(991), Some("afterplay")).contains("usermod -aG afterplay"));
    assert!(!way_in(Some(0), Some("root")).contains("usermod"), "root's group is no way in");
    assert!(way_in(None, None).contains("administrator"));
}

#[tokio::test]
async fn a_refusal_is_decoded_and_the_connection_stays_usable() {
    let fake = Fake::start(|line, _| match line {
        "GET /busy" => Act::Answer(429, vec![("retry-after", String::from("7"))], b"slow down".to_vec()),
        _ => refuse(409, "session_completed"),
    });
    let mut client = fake.client();
    let ClientError::Problem(refusal) = client.send(&Call::get("/x")).await.unwrap_err() else { panic!() };
    assert_eq!((refusal.status, refusal.problem.reason.as_deref()), (409, Some("session_completed")));
    let ClientError::Problem(refusal) = client.send(&Call::get("/busy")).await.unwrap_err() else { panic!() };
    assert_eq!(refusal.retry_after, Some(7));
    assert_eq!(refusal.problem.detail.as_deref(), Some("slow down"));
    assert_eq!(fake.seen()[1].connection, 1);
}

/// Listens, reads what comes and answers with `bytes` or not at all.
fn raw(bytes: Option<&'static [u8]>) -> (tempfile::TempDir, PathBuf) {
    use std::io::{Read, Write};
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("raw.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.read(&mut [0; 4096]);
            if let Some(bytes) = bytes {
                let _ = stream.write_all(bytes);
            } else {
                // Until the client gives up.
                let _ = stream.read(&mut [0; 1]);
            }
        }
    });
    (dir, socket)
}

#[tokio::test]
async fn silence_has_an_end() {
    let (_dir, socket) = raw(None);
    let mut client = Client::new(socket).with_deadline(Duration::from_millis(50));
    let error = client.send(&Call::get("/v1/status")).await.unwrap_err();
    assert!(matches!(error, ClientError::Timeout { .. }), "{error:?}");
}

#[tokio::test]
async fn half_an_answer_is_none_and_another_protocol_is_said() {
    let (_dir, socket) = raw(Some(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{}"));
    let error = Client::new(socket).send(&Call::post("/x")).await.unwrap_err();
    assert!(matches!(error, ClientError::Unanswered { maybe_done: true, .. }), "{error:?}");
    let (_dir, socket) = raw(Some(b"220 mail.example.com ESMTP\r\n"));
    let error = Client::new(socket).send(&Call::post("/x")).await.unwrap_err();
    assert!(error.to_string().contains("the answer to POST /x on"), "{error}");
    let (_dir, socket) = raw(Some(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nnope"));
    let error = Client::new(socket).get::<Value>("/v1/status").await.unwrap_err();
    assert!(matches!(error, ClientError::Protocol { .. }), "{error:?}");
}

#[test]
fn bad_fields_are_named_whichever_face_answers() {
    let native = br#"{"title":"Bad Request","problems":[{"path":"playhead","problem":"is required"}]}"#;
    let adobe = br#"{"title":"Bad Request","report":{"requestId":"r","details":[{"name":"$.playhead","reason":"is required"}]}}"#;
    for body in [&native[..], adobe] {
        let problems = problem(StatusCode::BAD_REQUEST, body).problems;
        assert_eq!((problems.len(), problems[0].path.as_str()), (1, "playhead"));
        assert_eq!(problems[0].problem, "is required");
    }
    for other in ["", "[]", r#"{"report":{"details":"text"}}"#, r#"{"report":{"details":[{"name":1}]}}"#] {
        assert!(problem(StatusCode::BAD_REQUEST, other.as_bytes()).problems.is_empty(), "{other}");
    }
}
