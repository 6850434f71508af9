//! Another local user reads, extends, completes, guesses, floods, fills its quota, passes descriptors: nobody notices.

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::{Value, json};

use crate::measure::{Flood, Player, compare, descriptors};
use crate::service::{Answer, Connection, Service, connect, event, start_event, wait_for};
use crate::users::{ANNA, BERT, as_user, connect_as, is_root, shared_place};
use crate::{NOWHERE, PROMPT, get, post, scale};

/// Everything that a user could find changed.
fn seen(connection: &mut Connection, key: &str) -> Vec<Value> {
    let status = get(connection, "/v1/status").json();
    let mut all = vec![status["sessions"].clone(), status["events"].clone(), status["losses"].clone()];
    for path in ["", "/events", "/payload"] {
        all.push(get(connection, &format!("/v1/sessions/{key}{path}")).json());
    }
    all.push(get(connection, "/v1/sessions").json());
    all
}

#[test]
fn another_user_reads_extends_completes_and_guesses_in_vain() {
    if !is_root() {
        return;
    }
    let place = shared_place(NOWHERE, "consent.initial = \"pending\"\nupload.timestamp = false");
    let service = place.start();
    let (mut anna, mut bert) = (connect_as(&service, ANNA), connect_as(&service, BERT));
    let made = bert.send("POST", "/v1/sessions", &[], start_event("ep-1").to_string().as_bytes()).unwrap();
    let key = made.json()["session"].as_str().unwrap().to_owned();
    for second in 1..4 {
        assert_eq!(post(&mut bert, &key, event("media.ping", second, second).to_string()).status, 200);
    }
    let before = seen(&mut bert, &key);

    // By the key, and by everything that is near it.
    let encoded: String = key.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let near = |with: char| format!("{}{with}", &key[..key.len() - 1]);
    let guesses = [
        key.clone(),
        encoded,
        key.to_uppercase(),
        format!("{key}~1"),
        format!("{key}~2"),
        format!("{key}%00"),
        format!("{key}%2f..%2f{key}"),
        format!("{BERT}:{key}"),
        near('0'),
        near('f'),
        near('*'),
        near('_'),
        near('%'),
        "@1".into(),
        "1".into(),
        "0".into(),
        "-1".into(),
        "%27%20OR%201=1--".into(),
    ];
    for guess in &guesses {
        for (method, rest, body) in [
            ("GET", "", String::new()),
            ("GET", "/events", String::new()),
            ("GET", "/payload", String::new()),
            ("POST", "/complete", String::new()),
            ("POST", "/retry", String::new()),
            ("DELETE", "", String::new()),
            ("POST", "/events", event("media.ping", 9, 9).to_string()),
            ("POST", "/events", event("media.sessionEnd", 9, 9).to_string()),
        ] {
            let path = format!("/v1/sessions/{guess}{rest}");
            let answer = anna.send(method, &path, &[], body.as_bytes()).unwrap();
            let reason = answer.json()["reason"].clone();
            assert!(
                (answer.status, reason.as_str()) == (404, Some("unknown_session"))
                    || (answer.status, reason.as_str()) == (400, Some("invalid"))
                    || answer.status == 404,
                "{method} {path}: {}",
                answer.text()
            );
            assert!(!answer.text().contains("ep-1"), "{method} {path}: {}", answer.text());
        }
    }
    // Lists begin and end with one's own, wherever they are asked to begin.
    for query in [
        "limit=500".to_owned(),
        "limit=1".into(),
        format!("after=@{}", i64::MAX),
        "after=@2".into(),
        "state=open&limit=500&after=@9".into(),
        "after=".into(),
    ] {
        let page = get(&mut anna, &format!("/v1/sessions?{query}"));
        assert_eq!((page.status, &page.json()["sessions"]), (200, &json!([])), "{query}");
    }
    for query in [
        format!("after={key}"),
        "limit=0".into(),
        "limit=501".into(),
        "limit=-1".into(),
        "limit=1e3".into(),
        "limit=18446744073709551616".into(),
        "after=@".into(),
        "after=@9223372036854775808".into(),
        "after=@1;DROP+TABLE+sessions".into(),
        "after=%ff%00".into(),
        "after=%1b[2J".into(),
        "state=%27".into(),
        format!("after={}", "x".repeat(4000)),
    ] {
        let page = get(&mut anna, &format!("/v1/sessions?{query}"));
        assert!(matches!(page.status, 400 | 404), "{query}: {}", page.text());
    }
    assert_eq!(seen(&mut bert, &key), before, "Bert finds everything as it was");
}

#[test]
fn numbers_at_the_ends_of_their_range_are_refused_or_kept() {
    let place = crate::service::Place::new(NOWHERE, "consent.initial = \"pending\"");
    let service = place.start();
    let mut connection = service.connect().unwrap();
    assert_eq!(post(&mut connection, "one", start_event("ep-1").to_string()).status, 201);
    let numbered = |seq: &str| {
        let event = event("media.ping", 1, 1).to_string();
        format!("{},\"seq\":{seq}}}", event.strip_suffix('}').unwrap())
    };
    for seq in ["-1", "1.5", "9223372036854775808", "18446744073709551616", "1e400", "\"1\"", "null", "[]"] {
        assert_eq!(post(&mut connection, "one", numbered(seq)).status, 400, "{seq}");
    }
    let last = i64::MAX.to_string();
    assert_eq!(post(&mut connection, "one", numbered(&last)).json()["seq"], i64::MAX);
    // There is none after it, and nothing counts over its edge.
    let refused = post(&mut connection, "one", event("media.ping", 2, 2).to_string());
    assert_eq!((refused.status, &refused.json()["reason"]), (409, &json!("sequence")), "{}", refused.text());
    assert_eq!(post(&mut connection, "one", numbered(&last)).json()["duplicates"], 1);
    assert_eq!(get(&mut connection, "/v1/sessions/one").json()["events"], 2);
}

#[test]
fn deep_and_large_texts_are_refused_at_once() {
    let place = crate::service::Place::new(NOWHERE, "consent.initial = \"pending\"");
    let service = place.start();
    let mut connection = service.connect().unwrap();
    let bombs = [
        "[".repeat(1 << 20),
        "{\"a\":".repeat(200_000),
        format!("[{}]", "{},".repeat(300_000)),
        format!("[{}1]", "1,".repeat(500_000)),
        format!("{{{}\"x\":1}}", "\"x\":1,".repeat(8000)),
        format!("{{\"mediaEventType\":\"{}\"}}", "\\u0000".repeat(10_000)),
        format!("{{\"mediaCollection\":{}{}}}", "[".repeat(30_000), "]".repeat(30_000)),
        format!("{{\"seq\":{}}}", "9".repeat(60_000)),
        format!("{{\"seq\":1e{}}}", "9".repeat(60_000)),
        "\n".repeat(1 << 20),
    ];
    for bomb in &bombs {
        let answer = post(&mut connection, "one", bomb);
        assert!(matches!(answer.status, 400 | 413), "{}…: {}", &bomb[..20], answer.text());
        assert!(
            answer.body.len() < 64 << 10,
            "the answer to {}… has {} bytes",
            &bomb[..20],
            answer.body.len()
        );
    }
    // Heads: many headers, long ones, many of the same name.
    for head in [
        "x: y\r\n".repeat(99),
        "x: y\r\n".repeat(2000),
        format!("x: {}\r\n", "y".repeat(15_000)),
        "content-type: application/json\r\n".repeat(60),
        "content-length: 0\r\ncontent-length: 5\r\n".to_owned(),
        "transfer-encoding: chunked\r\ncontent-length: 5\r\n".to_owned(),
    ] {
        let mut connection = service.connect().unwrap();
        let _ =
            connection.raw(format!("GET /v1/consent HTTP/1.1\r\nhost: x\r\n{head}\r\n0\r\n\r\n").as_bytes());
        let status = connection.answer().map(|answer| answer.status).ok();
        assert!(matches!(status, None | Some(200 | 400 | 408 | 431)), "{status:?}");
    }
    assert_eq!(service.status()["sessions"]["open"], 0);
}

/// Requests of one kind on a connection of somebody's, as fast as they are answered.
fn ask_again_and_again(socket: &std::path::Path, uid: u32, request: Vec<u8>) -> u64 {
    let socket = socket.to_owned();
    let mut connection = as_user(uid, move || connect(&socket).unwrap());
    let mut answered = 0;
    for _ in 0..3 {
        if connection.raw(&request).is_err() || connection.answer().is_err() {
            break;
        }
        answered += 1;
    }
    answered
}

fn request(method: &str, path: &str, body: &str) -> Vec<u8> {
    format!("{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        .into_bytes()
}

/// What Anna does in eight threads while Bert plays.
fn flood_beside_a_player(what: &str, flood: Vec<u8>, extra: &str, prepare: impl FnOnce(&Service<'_>)) {
    let place = shared_place(NOWHERE, extra);
    let service = place.start();
    prepare(&service);
    let mut bert = Player::new(connect_as(&service, BERT), "berts");
    let before = bert.p99(100);
    let socket = service.socket.clone();
    let flood = Flood::start(8, move |_| ask_again_and_again(&socket, ANNA, flood.clone()));
    wait_for("the flood", || (flood.count() > 8).then_some(()));
    let during = compare(what, &mut bert, before, 30 * scale() as usize);
    eprintln!("figure: {what}: {} requests answered", flood.count());
    assert!(flood.count() > 8, "{what}: Anna is served too");
    // Root's commands come through as well.
    for _ in 0..20 {
        assert_eq!(service.request("GET", "/v1/status", b"").status, 200, "{what}");
        assert_eq!(service.request("POST", "/v1/flush", b"").status, 202, "{what}");
    }
    drop(flood);
    assert!(during < PROMPT, "{what}: {during:?}");
    let mut own = connect_as(&service, BERT);
    let session = get(&mut own, "/v1/sessions/berts").json();
    assert_eq!((session["events"].as_u64(), &session["state"]), (Some(bert.recorded()), &json!("open")));
    assert_eq!(get(&mut own, "/v1/sessions").json()["sessions"].as_array().unwrap().len(), 1);
}

#[test]
fn another_user_floods_with_session_start() {
    if !is_root() {
        return;
    }
    let start = request("POST", "/v1/sessions", &start_event("flood").to_string());
    flood_beside_a_player("floods with sessionStart", start, "", |_| {});
}

#[test]
fn another_user_floods_with_questions_about_a_large_journal() {
    if !is_root() {
        return;
    }
    let record_many = |service: &Service<'_>| {
        let mut anna = connect_as(service, ANNA);
        for n in 0..150 {
            let key = format!("s{n}");
            assert_eq!(post(&mut anna, &key, start_event("many").to_string()).status, 201);
            let path = format!("/v1/sessions/{key}/complete");
            assert_eq!(anna.send("POST", &path, &[], b"").unwrap().status, 200);
        }
    };
    let list = request("GET", "/v1/sessions?limit=500", "");
    flood_beside_a_player("floods with lists", list, "", record_many);
}

#[test]
fn another_user_floods_with_large_bodies() {
    if !is_root() {
        return;
    }
    let mut large = event("media.ping", 1, 1);
    large["mediaCollection"]["filler"] = "x".repeat(60_000).into();
    let batch = format!("[{}]", vec![large.to_string(); 16].join(","));
    let flood = request("POST", "/v1/sessions/annas/events", &batch);
    flood_beside_a_player(
        "fills its quota with bodies of 1 MB",
        flood,
        "journal.max_bytes = 33554432",
        |service| {
            let mut anna = connect_as(service, ANNA);
            assert_eq!(post(&mut anna, "annas", start_event("large").to_string()).status, 201);
        },
    );
}

#[test]
fn another_user_fills_its_quota_of_sessions_and_bytes() {
    if !is_root() {
        return;
    }
    let place = shared_place(
        NOWHERE,
        "journal.max_bytes = 4194304\njournal.max_percent_per_user = 20\njournal.max_open_sessions_per_user = 20",
    );
    let service = place.start();
    let (mut anna, mut bert) = (connect_as(&service, ANNA), connect_as(&service, BERT));
    let start = start_event("ep-1").to_string();
    let statuses: Vec<u16> = (0..25).map(|n| post(&mut anna, &format!("a{n}"), &start).status).collect();
    assert_eq!((&statuses[..20], &statuses[20..]), (&[201; 20][..], &[429; 5][..]));
    let mut large = event("media.ping", 9, 9);
    large["mediaCollection"]["filler"] = "x".repeat(60_000).into();
    let refused =
        (0..40).map(|_| post(&mut anna, "a0", large.to_string())).find(|a| a.status != 200).unwrap();
    assert_eq!((refused.status, &refused.json()["reason"]), (503, &json!("journal_full")));
    // Of neither quota is anything of Bert's.
    for n in 0..20 {
        assert_eq!(post(&mut bert, &format!("b{n}"), &start).status, 201);
    }
    for _ in 0..8 {
        assert_eq!(post(&mut bert, "b0", large.to_string()).status, 200);
    }
    assert_eq!(get(&mut bert, "/v1/status").json()["losses"]["evicted"], 0);
}

fn is_busy(answer: &Answer) -> bool {
    if answer.status != 429 {
        return false;
    }
    assert_eq!(answer.json()["reason"], "busy", "{}", answer.text());
    assert_eq!(answer.header("retry-after"), Some("1"));
    true
}

#[test]
fn requests_a_second_are_limited_only_in_company() {
    if !is_root() {
        return;
    }
    let place = shared_place(NOWHERE, "api.max_requests_per_user = 5\nconsent.initial = \"pending\"");
    let service = place.start();
    let mut anna = connect_as(&service, ANNA);
    let mut ask = |times: usize| {
        (0..times)
            .filter(|_| {
                let answer = anna.send("GET", "/v1/consent", &[], b"").unwrap();
                assert!(matches!(answer.status, 200 | 429));
                is_busy(&answer)
            })
            .count()
    };
    // The harness, as root, has looked whether the service answers, and counts as company for a while.
    wait_for("Anna to be alone", || (ask(10) == 0).then_some(()));
    assert_eq!(ask(200), 0, "alone there is no limit");

    let mut bert = Player::new(connect_as(&service, BERT), "berts");
    let refused = ask(30);
    assert!((5..=25).contains(&refused), "{refused} of 30 were refused");
    bert.one();
    let mut company = service.connect().unwrap();
    // Before the body: it is not waited for. And in the words of the face that was called.
    let mut refuse = |head: &str| {
        wait_for("a refusal", || {
            get(&mut company, "/v1/consent");
            while ask(1) == 0 {}
            let mut anna = connect_as(&service, ANNA);
            anna.raw(head.as_bytes()).unwrap();
            anna.answer().ok().filter(|answer| answer.status == 429)
        })
    };
    let native = refuse("POST /v1/sessions/x HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n");
    assert!(is_busy(&native) && native.json().get("report").is_none());
    let edge = refuse("POST /ee/va/v1/play HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n");
    assert!(is_busy(&edge) && edge.json()["report"]["requestId"].is_string(), "{}", edge.text());

    // Root has no limit.
    let mut root = service.connect().unwrap();
    for _ in 0..200 {
        assert_eq!(get(&mut root, "/v1/consent").status, 200);
    }
    // Another pace is taken over without a restart.
    place.configure(NOWHERE, "api.max_requests_per_user = 100000\nconsent.initial = \"pending\"");
    service.signal("HUP");
    wait_for("the new pace", || place.log_text().contains("api.max_requests_per_user").then_some(()));
    get(&mut root, "/v1/consent");
    assert_eq!(ask(200), 0);
}

#[test]
fn another_user_passes_descriptors() {
    let place = shared_place(NOWHERE, "");
    let service = place.start();
    assert_eq!(service.status()["sessions"]["open"], 0);
    let before = wait_for("connections to be closed", || {
        let before = descriptors(&service);
        std::thread::sleep(std::time::Duration::from_millis(20));
        (descriptors(&service) == before).then_some(before)
    });
    let file = std::fs::File::open("/dev/null").unwrap();
    let fds = [file.as_fd(); 100];
    let body = start_event("ep-1").to_string();
    for round in 0..20 {
        let stream = if rustix::process::geteuid().is_root() {
            let socket = service.socket.clone();
            as_user(ANNA, move || UnixStream::connect(socket).unwrap())
        } else {
            UnixStream::connect(&service.socket).unwrap()
        };
        let pass = |bytes: &[u8]| {
            let mut space = vec![std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(100))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            assert!(ancillary.push(SendAncillaryMessage::ScmRights(&fds)));
            sendmsg(&stream, &[std::io::IoSlice::new(bytes)], &mut ancillary, SendFlags::empty()).unwrap();
        };
        // With a request, between two pieces of one, and with the first byte of one that never comes.
        pass(&request("POST", &format!("/v1/sessions/s{round}/events"), &body));
        let mut connection = Connection::over(stream.try_clone().unwrap());
        assert_eq!(connection.answer().unwrap().status, 201);
        (&stream).write_all(b"GE").unwrap();
        pass(b"T");
        pass(b" ");
        assert!(descriptors(&service) <= before + 25, "{} descriptors", descriptors(&service));
    }
    let after = wait_for("connections to be closed again", || {
        Some(descriptors(&service)).filter(|after| *after <= before)
    });
    eprintln!("figure: 6000 descriptors passed: {before} open before, {after} after");
}
