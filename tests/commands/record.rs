//! `record`: JSON lines in, an answer a line out.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use serde_json::{Value, json};

use crate::endpoint::Endpoint;
use crate::examples;
use crate::service::{Place, event, programme, start_event};
use crate::{Ran, command, holding, run};

/// Records a whole text.
fn record(place: &Place, arguments: &[&str], lines: &[u8]) -> Ran {
    let mut recorder = Recorder::start(place, arguments);
    recorder.input.take().unwrap().write_all(lines).unwrap();
    let output = recorder.child.wait_with_output().unwrap();
    let mut out = String::new();
    for line in recorder.answers.lines() {
        out.push_str(&line.unwrap());
        out.push('\n');
    }
    Ran { code: output.status.code().unwrap(), out, err: String::from_utf8(output.stderr).unwrap() }
}

/// A recorder in conversation.
struct Recorder {
    child: Child,
    input: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Recorder {
    fn start(place: &Place, arguments: &[&str]) -> Recorder {
        Recorder::start_at(place, arguments, None)
    }

    /// With another socket than the configured one.
    fn start_at(place: &Place, arguments: &[&str], socket: Option<&Path>) -> Recorder {
        let mut all = vec!["record"];
        all.extend(arguments);
        let mut child = command(place, &all)
            .envs(socket.map(|socket| ("AFTERPLAY_API__SOCKET", socket)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Recorder { input: child.stdin.take(), answers, child }
    }

    fn send(&mut self, event: &Value) {
        writeln!(self.input.as_mut().unwrap(), "{event}").unwrap();
    }

    fn answer(&mut self) -> Value {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in {line:?}"))
    }

    fn end(mut self) -> (i32, String) {
        drop(self.input.take());
        let output = self.child.wait_with_output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }
}

fn lines(events: &[Value]) -> Vec<u8> {
    events.iter().flat_map(|event| format!("{event}\n").into_bytes()).collect()
}

#[test]
fn each_line_is_answered_as_the_service_answers() {
    let place = holding();
    let service = place.start();
    let ran = record(&place, &["--session", "living-room"], &lines(&programme("ep-1")));
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    for (seq, answer) in ran.json_lines().iter().enumerate() {
        let expected =
            json!({ "session": "living-room", "state": "open", "recorded": 1, "duplicates": 0, "seq": seq });
        assert_eq!(*answer, expected);
    }
    let held = service.get("/v1/sessions/living-room/events");
    assert_eq!(held["events"].as_array().unwrap().len(), programme("ep-1").len());
}

/// Contract section 3, for what a player hands over event by event.
#[test]
fn known_requests_come_out_as_they_were_played() {
    let endpoint = Endpoint::start([]);
    let place = Place::new(&endpoint.url(), "");
    let service = place.start();
    for (sent, (name, given)) in examples::all().into_iter().enumerate() {
        let mut events = examples::events_of(&given).clone();
        events[0]["identityMap"] = given["events"][0]["xdm"]["identityMap"].clone();
        let ran = record(&place, &["--session", name], &lines(&events));
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{}", ran.out);
        service.request("POST", &format!("/v1/sessions/{name}/complete"), b"");
        service.wait_for_state(name, "delivered");
        // Who plays event by event says nothing of the implementation: the configured one is sent.
        let mut given = given;
        given["events"][0]["xdm"].as_object_mut().unwrap().remove("implementationDetails");
        examples::assert_sent(name, &given, &endpoint.wait_for(sent + 1)[sent].body);
    }
}

#[test]
fn without_a_key_each_start_opens_a_session() {
    let place = holding();
    let service = place.start();
    let mut events = programme("ep-1");
    events.extend(programme("ep-2"));
    let ran = record(&place, &[], &lines(&events));
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let answers = ran.json_lines();
    let first = answers[0]["session"].as_str().unwrap();
    let second = answers[5]["session"].as_str().unwrap();
    assert_ne!(first, second);
    assert!(answers[..5].iter().all(|answer| answer["session"] == first));
    assert!(answers[5..].iter().all(|answer| answer["session"] == second));
    assert_eq!(service.get(&format!("/v1/sessions/{second}"))["events"], 5);
}

#[test]
fn refused_lines_are_answered_and_hold_nothing_up() {
    let place = holding();
    let service = place.start();
    let mut input = b"\n\r\n".to_vec();
    for line in [
        event("media.play", 1, 0).to_string(),
        "no json".into(),
        start_event("ep-1").to_string(),
        "{\"mediaEventType\":\"media.play\",\"mediaCollection\":{\"playhead\":\"five\"}}".into(),
        "[]".into(),
        event("media.play", 1, 0).to_string(),
        format!("\"{}\"", "x".repeat(2 << 20)),
        event("media.ping", 11, 10).to_string(),
    ] {
        input.extend(line.into_bytes());
        input.push(b'\n');
    }
    // The last line counts without its line end, and bytes that are no text are a line as well.
    input.extend(b"\xff\xfe\n");
    input.extend(event("media.ping", 21, 20).to_string().into_bytes());
    let ran = record(&place, &[], &input);
    assert_eq!(ran.code, 1);
    assert_eq!(ran.err, "afterplay: 6 of 10 lines refused; the answers say why\n");
    let answers = ran.json_lines();
    let reasons: Vec<Option<&str>> = answers.iter().map(|answer| answer["reason"].as_str()).collect();
    let (no, bad) = (Some("unknown_session"), Some("invalid"));
    assert_eq!(reasons, [no, bad, None, bad, bad, None, Some("too_large"), None, bad, None], "{}", ran.out);
    assert_eq!(answers[3]["problems"][0]["path"], "mediaCollection.playhead");
    let key = answers[2]["session"].as_str().unwrap();
    assert_eq!(service.get(&format!("/v1/sessions/{key}"))["events"], 4);
}

#[test]
fn a_service_that_dies_in_mid_stream_loses_nothing_and_duplicates_nothing() {
    const EVENTS: u32 = 400;
    const DEATHS: u32 = 4;
    for numbered in [false, true] {
        let place = holding();
        let mut service = place.start();
        let mut recorder = Recorder::start(&place, &["--session", "k"]);
        let mut input = recorder.input.take().unwrap();
        let writer = std::thread::spawn(move || {
            for n in 0..EVENTS {
                // Identical lines, so that a resend cannot be told by what is in it.
                let mut line =
                    if n == 0 { start_event("ep-1") } else { event("media.ping", 1 + n / 8, n / 8) };
                if numbered {
                    line["seq"] = n.into();
                }
                writeln!(input, "{line}").unwrap();
            }
        });
        let mut answers = Vec::new();
        for death in 1..=DEATHS + 1 {
            while answers.len() < (EVENTS * death / (DEATHS + 1)) as usize {
                answers.push(recorder.answer());
            }
            if death <= DEATHS {
                // Requests go on while it dies, so that it is met at any moment of one.
                service.kill();
                service = place.start();
            }
        }
        writer.join().unwrap();
        assert_eq!(recorder.end(), (0, String::new()), "numbered: {numbered}");
        let held = service.get("/v1/sessions/k/events");
        let held = held["events"].as_array().unwrap();
        assert_eq!(held.len(), EVENTS as usize, "numbered: {numbered}");
        for (n, event) in held.iter().enumerate() {
            assert_eq!(event["seq"], n);
            assert_eq!(event["mediaCollection"]["playhead"], n / 8, "numbered: {numbered}, event {n}");
            assert_eq!(answers[n]["seq"], n, "numbered: {numbered}");
        }
    }
}

/// Stands between a client and the service, and swallows an answer of the service now and then: the client only sees
/// its connection end. Answers where it listens.
fn swallowing(place: &Place, every: usize) -> PathBuf {
    let (front, back) = (place.dir.path().join("front.sock"), place.socket());
    let listener = UnixListener::bind(&front).unwrap();
    // It ends with the test's process.
    std::thread::spawn(move || {
        let mut answers = 0;
        for stream in listener.incoming() {
            let (mut client, mut service) = (stream.unwrap(), UnixStream::connect(&back).unwrap());
            let mut piece = vec![0; 64 * 1024];
            // Each request and each answer is small enough to come in one piece.
            while let Ok(length @ 1..) = client.read(&mut piece) {
                let posted = piece.starts_with(b"POST");
                service.write_all(&piece[..length]).unwrap();
                let Ok(length @ 1..) = service.read(&mut piece) else { break };
                answers += usize::from(posted);
                if posted && answers % every == 0 {
                    break;
                }
                client.write_all(&piece[..length]).unwrap();
            }
        }
    });
    front
}

#[test]
fn swallowed_answers_record_nothing_twice() {
    for (key, numbered) in [(Some("k"), false), (Some("k"), true), (None, false)] {
        let place = holding();
        let service = place.start();
        // The very first answer is lost as well: it is the one that names a session without a key.
        let front = swallowing(&place, if key.is_none() { 1 } else { 3 });
        let events: u32 = if key.is_none() { 1 } else { 40 };
        let text: String = (0..events)
            .map(|n| {
                let mut line = if n == 0 { start_event("ep-1") } else { event("media.ping", 1, 1) };
                if numbered {
                    line["seq"] = n.into();
                }
                format!("{line}\n")
            })
            .collect();
        let arguments: Vec<&str> = key.iter().flat_map(|key| ["--session", key]).collect();
        let mut recorder = Recorder::start_at(&place, &arguments, Some(&front));
        recorder.input.take().unwrap().write_all(text.as_bytes()).unwrap();
        let answers: Vec<Value> = (&mut recorder.answers)
            .lines()
            .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
            .collect();
        assert_eq!(recorder.end(), (0, String::new()), "{key:?}, numbered: {numbered}");
        assert_eq!(answers.len(), events as usize);
        assert!(answers.iter().enumerate().all(|(n, answer)| answer["seq"] == n), "{answers:?}");
        let status = service.status();
        assert_eq!(status["events"]["stored"], events, "{key:?}, numbered: {numbered}");
        assert_eq!(status["sessions"]["open"], 1, "{key:?}, numbered: {numbered}");
    }
}

#[test]
fn a_service_that_stays_away_is_said_with_the_line() {
    let place = holding();
    let service = place.start();
    let mut recorder = Recorder::start(&place, &["--session", "k"]);
    recorder.send(&start_event("ep-1"));
    assert_eq!(recorder.answer()["seq"], 0);
    service.kill();
    recorder.send(&event("media.play", 1, 0));
    let (code, said) = recorder.end();
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("line 2 and what follows is not recorded"), "{said}");
    assert!(said.contains("afterplay run"), "{said}");
}

#[test]
fn an_opted_out_person_is_not_recorded() {
    let place = holding();
    let _service = place.start();
    assert_eq!(run(&place, &["consent", "out"]).code, 0);
    let ran = record(&place, &[], &lines(&[start_event("ep-1")]));
    assert_eq!(ran.code, 1);
    assert_eq!(ran.json()["reason"], "consent_out");
}
