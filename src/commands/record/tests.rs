use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use super::{PATIENCE, Recorder, run, same_event};
use crate::commands::conclude;
use crate::commands::fake::{Act, Fake, Ran, answer, problem, screen};

const START: &str = r#"{"mediaEventType":"media.sessionStart","mediaCollection":{"playhead":0 }}"#;
const PLAY: &str = r#"{"mediaEventType": "media.play", "mediaCollection":{"playhead":1.50}}"#;
const PING: &str = r#"{"mediaEventType":"media.ping","mediaCollection":{"playhead":2}}"#;

/// A journal in memory behind the requests that `record` makes.
#[derive(Default)]
struct Journal {
    sessions: Vec<(String, Vec<Value>)>,
    /// The next appends go wrong in this way, first the last one.
    faults: Vec<Fault>,
}

#[derive(Clone, Copy)]
enum Fault {
    /// Recorded, and the answer is lost.
    LostAnswer,
    /// Lost before anything was recorded.
    LostRequest,
    /// Refused for now.
    Busy,
}

impl Journal {
    fn act(&mut self, line: &str, body: &[u8]) -> Act {
        let (method, path) = line.split_once(' ').unwrap();
        let path = path.split('?').next().unwrap();
        let parts: Vec<&str> = path.trim_start_matches("/v1/").split('/').collect();
        match (method, &parts[..]) {
            ("GET", ["status"]) => answer(200, json!({})),
            ("POST", ["sessions"]) => {
                let key = format!("s{}", self.sessions.len() + 1);
                self.append(&key, body, 201)
            }
            ("POST", ["sessions", key, "events"]) => self.append(key, body, 200),
            ("GET", ["sessions"]) => {
                let list: Vec<Value> = self
                    .sessions
                    .iter()
                    .rev()
                    .map(|(key, events)| json!({"session": key, "state": "open", "events": events.len()}))
                    .collect();
                answer(200, json!({"sessions": list, "next": null}))
            }
            ("GET", ["sessions", key, rest @ ..]) => {
                match self.sessions.iter().find(|(known, _)| known == key) {
                    Some((_, events)) if rest == ["events"] => answer(200, json!({"events": events})),
                    Some((key, events)) => {
                        answer(200, json!({"session": key, "state": "open", "events": events.len()}))
                    }
                    None => problem(404, "unknown_session"),
                }
            }
            _ => problem(404, "unknown"),
        }
    }

    fn append(&mut self, key: &str, body: &[u8], status: u16) -> Act {
        let fault = self.faults.pop();
        match fault {
            Some(Fault::LostRequest) => return Act::HangUp,
            Some(Fault::Busy) => {
                return Act::Answer(429, vec![("retry-after", String::from("0"))], Vec::new());
            }
            _ => {}
        }
        let Ok(mut event) = serde_json::from_slice::<Value>(body) else { return problem(400, "invalid") };
        if event["mediaCollection"]["playhead"] == -1 {
            return problem(400, "invalid");
        }
        if self.sessions.iter().all(|(known, _)| known != key) {
            self.sessions.push((key.to_owned(), Vec::new()));
        }
        let events = &mut self.sessions.iter_mut().find(|(known, _)| known == key).unwrap().1;
        let seq = events.len();
        event["seq"] = json!(seq);
        event["mediaEventTimestamp"] = json!("2026-03-07T18:30:00.120Z");
        events.push(event);
        match fault {
            Some(Fault::LostAnswer) => Act::HangUp,
            _ => answer(
                status,
                json!({"session": key, "state": "open", "recorded": 1, "duplicates": 0, "seq": seq}),
            ),
        }
    }
}

fn service(faults: &[Fault]) -> (Fake, Arc<Mutex<Journal>>) {
    let mut faults = faults.to_vec();
    faults.reverse();
    let journal = Arc::new(Mutex::new(Journal { faults, ..Journal::default() }));
    let shared = journal.clone();
    (Fake::start(move |line, body| shared.lock().unwrap().act(line, body)), journal)
}

fn kinds(journal: &Mutex<Journal>) -> Vec<(String, Vec<String>)> {
    let kind =
        |event: &Value| event["mediaEventType"].as_str().unwrap().trim_start_matches("media.").to_owned();
    let journal = journal.lock().unwrap();
    journal.sessions.iter().map(|(key, events)| (key.clone(), events.iter().map(kind).collect())).collect()
}

fn lines(events: &[&str]) -> Vec<u8> {
    events.join("\n").into_bytes()
}

async fn with_patience(fake: &Fake, key: Option<&str>, patience: Duration, mut input: &[u8]) -> Ran {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut client = fake.client();
    let code = {
        let mut screen = screen(&mut out, &mut err, &mut input);
        let recorder = Recorder::start(&mut client, key, patience).await.unwrap();
        let result = run(recorder, &mut screen).await;
        conclude(result, &mut screen)
    };
    Ran { code, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
}

#[tokio::test]
async fn each_start_opens_a_session_and_the_bytes_stay_as_they_are() {
    let (fake, journal) = service(&[]);
    let ran = fake.run_with(&["record"], &lines(&[START, PLAY, "", "  ", START, PING])).await;
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert_eq!(
        kinds(&journal),
        [
            (String::from("s1"), vec![String::from("sessionStart"), String::from("play")]),
            (String::from("s2"), vec![String::from("sessionStart"), String::from("ping")]),
        ]
    );
    let answers: Vec<Value> = ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.iter().map(|answer| &answer["session"]).collect::<Vec<_>>(), ["s1", "s1", "s2", "s2"]);
    let posted: Vec<Vec<u8>> =
        fake.seen().into_iter().filter(|seen| seen.line.starts_with("POST")).map(|seen| seen.body).collect();
    assert_eq!(posted, [START, PLAY, START, PING].map(|line| line.as_bytes().to_vec()));
    assert!(fake.seen().iter().all(|seen| seen.connection == 1), "one connection is kept");
}

#[tokio::test]
async fn with_a_key_everything_goes_there() {
    let (fake, journal) = service(&[]);
    let ran = fake.run_with(&["record", "--session", "tv"], &lines(&[START, PLAY, START])).await;
    assert_eq!(ran.code, 0);
    assert_eq!(kinds(&journal)[0].1, ["sessionStart", "play", "sessionStart"]);
    assert_eq!(fake.lines()[1..], vec!["POST /v1/sessions/tv/events"; 3]);
}

#[tokio::test]
async fn only_sessions_of_our_own_are_looked_at() {
    let uid = rustix::process::geteuid().as_raw();
    let named = format!("GET /v1/sessions/tv?owner={uid}");
    let (fake, _) = service(&[]);
    fake.run_with(&["record", "--session", "tv"], b"").await;
    assert_eq!(fake.lines(), [named.as_str()]);
    // A service that knows us under another number.
    let fake = Fake::start(|line, _| match line.contains("owner") {
        true => problem(403, "forbidden"),
        false => answer(200, json!({"session": "tv", "state": "open", "events": 3})),
    });
    let mut client = fake.client();
    let recorder = Recorder::start(&mut client, Some("tv"), PATIENCE).await.unwrap();
    assert_eq!(recorder.target.unwrap().known, 3);
    assert_eq!(fake.lines(), [named.as_str(), "GET /v1/sessions/tv"]);
}

#[tokio::test]
async fn a_refused_line_is_answered_and_the_rest_is_recorded() {
    let (fake, journal) = service(&[]);
    let bad = r#"{"mediaEventType":"media.ping","mediaCollection":{"playhead":-1}}"#;
    let ran = fake.run_with(&["record"], &lines(&[START, bad, "not json", PLAY])).await;
    assert_eq!(ran.code, 1);
    assert_eq!(kinds(&journal)[0].1, ["sessionStart", "play"]);
    let answers: Vec<Value> = ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        answers.iter().map(|answer| &answer["reason"]).collect::<Vec<_>>(),
        [&Value::Null, &json!("invalid"), &json!("invalid"), &Value::Null]
    );
    assert_eq!(ran.err, "afterplay: 2 of 4 lines refused; the answers say why\n");
}

#[tokio::test]
async fn after_a_refused_start_nothing_lands_in_the_session_before() {
    let (fake, journal) = service(&[]);
    let bad = r#"{"mediaEventType":"media.sessionStart","mediaCollection":{"playhead":-1}}"#;
    let ran = fake.run_with(&["record"], &lines(&[PING, START, bad, PLAY, START, PING])).await;
    assert_eq!(ran.code, 1);
    let (first, second) = (&kinds(&journal)[0].1, &kinds(&journal)[1].1);
    assert_eq!((first.len(), second.len()), (1, 2));
    let reasons: Vec<Value> =
        ran.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["reason"].clone()).collect();
    assert_eq!(
        reasons,
        [
            json!("unknown_session"),
            Value::Null,
            json!("invalid"),
            json!("unknown_session"),
            Value::Null,
            Value::Null
        ]
    );
}

#[tokio::test]
async fn a_lost_answer_records_nothing_twice_and_a_lost_request_loses_nothing() {
    use Fault::{Busy, LostAnswer, LostRequest};
    for faults in [
        vec![LostAnswer; 4],
        vec![LostRequest, LostAnswer, LostRequest, Busy, Busy, LostAnswer],
        vec![LostRequest; 3],
        vec![Busy, LostAnswer, LostAnswer, Busy, LostRequest],
    ] {
        for key in [None, Some("tv")] {
            let (fake, journal) = service(&faults);
            let ran = with_patience(&fake, key, PATIENCE, &lines(&[START, PLAY, PLAY, PING])).await;
            assert_eq!((ran.code, ran.err.as_str()), (0, ""));
            let recorded = kinds(&journal);
            assert_eq!(recorded.len(), 1, "{key:?}");
            assert_eq!(recorded[0].1, ["sessionStart", "play", "play", "ping"], "{key:?}");
            let seqs: Vec<Value> = ran
                .out
                .lines()
                .map(|line| serde_json::from_str::<Value>(line).unwrap()["seq"].clone())
                .collect();
            assert_eq!(seqs, [0, 1, 2, 3]);
        }
    }
}

#[tokio::test]
async fn an_event_with_its_own_number_is_simply_sent_again() {
    let (fake, _) = service(&[]);
    let event = r#"{"mediaEventType":"media.ping","seq":7,"mediaCollection":{"playhead":2}}"#;
    let ran = with_patience(&fake, Some("tv"), PATIENCE, &lines(&[START, event])).await;
    assert_eq!(ran.code, 0);
    let (fake, _) = service(&[Fault::LostRequest]);
    with_patience(&fake, Some("tv"), PATIENCE, &lines(&[event])).await;
    assert!(!fake.lines().iter().any(|line| line.ends_with("/tv/events") && line.starts_with("GET")));
}

#[tokio::test]
async fn a_service_that_comes_back_gets_the_rest() {
    let (mut fake, journal) = service(&[]);
    let mut client = fake.client();
    let recorder = Recorder::start(&mut client, None, PATIENCE).await.unwrap();
    fake.stop().await;
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let input = lines(&[START, PLAY]);
    let mut input: &[u8] = &input;
    let mut screen = screen(&mut out, &mut err, &mut input);
    let shared = journal.clone();
    let back = async {
        // The first line is refused a connection before this runs.
        tokio::task::yield_now().await;
        fake.restart(move |line, body| shared.lock().unwrap().act(line, body));
    };
    let (result, ()) = tokio::join!(run(recorder, &mut screen), back);
    assert_eq!(result, Ok(()));
    assert_eq!(kinds(&journal)[0].1, ["sessionStart", "play"]);
}

#[tokio::test]
async fn a_service_that_stays_away_ends_it_with_3_and_the_line() {
    let (mut fake, _) = service(&[]);
    let mut client = fake.client();
    let recorder = Recorder::start(&mut client, None, Duration::from_millis(80)).await.unwrap();
    fake.stop().await;
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let input = lines(&["", START, PLAY]);
    let mut input: &[u8] = &input;
    let end = run(recorder, &mut screen(&mut out, &mut err, &mut input)).await.unwrap_err();
    assert_eq!(end.code, 3);
    let message = end.message.unwrap();
    assert!(
        message.starts_with("line 2 and what follows is not recorded: the service is not running"),
        "{message}"
    );
}

#[tokio::test]
async fn when_nobody_reads_the_answers_recording_goes_on() {
    struct Closed;
    impl std::io::Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let (fake, journal) = service(&[]);
    let mut client = fake.client();
    let recorder = Recorder::start(&mut client, None, PATIENCE).await.unwrap();
    let (mut out, mut err) = (Closed, Vec::new());
    let input = lines(&[START, PLAY, PING]);
    let mut input: &[u8] = &input;
    let end = run(recorder, &mut screen(&mut out, &mut err, &mut input)).await.unwrap_err();
    assert_eq!((end.code, end.message), (0, None));
    assert_eq!(kinds(&journal)[0].1.len(), 3);
}

#[test]
fn the_same_event_is_recognised_under_what_the_service_adds() {
    let ours = json!({"mediaEventType": "media.ping", "mediaCollection": {"playhead": 2}});
    let cases = [
        (
            json!({"mediaEventType": "media.ping", "mediaCollection": {"playhead": 2}, "seq": 4, "mediaEventTimestamp": "t"}),
            true,
        ),
        (json!({"mediaEventType": "media.ping", "mediaCollection": {"playhead": 3}, "seq": 4}), false),
        (json!({"mediaEventType": "media.ping", "mediaCollection": {"playhead": 2, "x": 1}}), false),
        (json!({"mediaEventType": "media.play", "mediaCollection": {"playhead": 2}}), false),
        (json!([]), false),
    ];
    for (theirs, same) in cases {
        assert_eq!(same_event(&ours, &theirs), same, "{theirs}");
    }
    let named = json!({"mediaEventType": "x", "identityMap": {"FPID": []}});
    assert!(same_event(&named, &json!({"mediaEventType": "x"})), "the identity is kept elsewhere");
    assert!(!same_event(&json!(7), &json!(7)));
}
