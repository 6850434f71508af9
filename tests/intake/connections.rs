//! Clients that misbehave are bounded, and nobody else notices.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::service::{Connection, PATIENCE, Place, Service, event, start_event, wait_for};
use crate::{NOWHERE, assert_problem, knock, post};

/// How long an innocent client may have to wait while others misbehave.
const PROMPT: Duration = Duration::from_secs(2);

fn dial(service: &Service<'_>) -> UnixStream {
    let stream = UnixStream::connect(&service.socket).unwrap();
    stream.set_nonblocking(true).unwrap();
    stream
}

fn is_closed(stream: &mut UnixStream) -> bool {
    match stream.read(&mut [0; 1024]) {
        Ok(0) => true,
        Ok(_) => false,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

/// Somebody else records an event, on a new connection and on an old one.
#[track_caller]
fn others_are_unaffected(service: &Service<'_>, old: &mut Connection, seq: u64) {
    let begun = Instant::now();
    let answer = post(old, "innocent", event("media.ping", 9, 9).to_string());
    assert_eq!((answer.status, &answer.json()["seq"]), (200, &json!(seq)));
    assert_eq!(service.status()["sessions"]["open"], 1);
    assert!(begun.elapsed() < PROMPT, "took {:?}", begun.elapsed());
}

fn innocent(service: &Service<'_>) -> Connection {
    let mut connection = service.connect().unwrap();
    assert_eq!(post(&mut connection, "innocent", start_event("ep-1").to_string()).status, 201);
    connection
}

#[test]
fn a_request_that_stops_half_way_and_an_answer_that_nobody_takes_end_by_themselves() {
    let place = Place::new(NOWHERE, "");
    let service = place.start();
    let mut old = innocent(&service);
    let mut large = event("media.ping", 9, 9);
    large["mediaCollection"]["filler"] = "x".repeat(60_000).into();
    for _ in 0..10 {
        assert_eq!(post(&mut old, "innocent", large.to_string()).status, 200);
    }

    let head = "POST /v1/sessions/half/events HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n";
    let mut half: Vec<UnixStream> =
        ["P", &head[..30], head, &format!("{head}\r\n"), &format!("{head}\r\n{{\"mediaEventType\":")]
            .iter()
            .map(|bytes| {
                let mut stream = dial(&service);
                stream.write_all(bytes.as_bytes()).unwrap();
                stream
            })
            .collect();
    // Asks for much, again and again, and never reads.
    let mut greedy = dial(&service);
    let ask = "GET /v1/sessions/innocent/events HTTP/1.1\r\nhost: x\r\n\r\n".repeat(20);
    greedy.write_all(ask.as_bytes()).unwrap();

    others_are_unaffected(&service, &mut old, 11);
    let begun = Instant::now();
    wait_for("half requests to be given up", || half.iter_mut().all(is_closed).then_some(()));
    wait_for("the client that never reads to be given up", || match greedy.write(b" ") {
        Err(error) if error.kind() != ErrorKind::WouldBlock => Some(()),
        _ => None,
    });
    assert!(
        begun.elapsed() > Duration::from_secs(5),
        "a slow client has some seconds: {:?}",
        begun.elapsed()
    );
    others_are_unaffected(&service, &mut old, 12);
    assert_eq!(service.request("GET", "/v1/sessions/half", b"").status, 404);
}

#[test]
fn two_hundred_idle_connections_do_not_keep_anybody_out() {
    let place = Place::new(NOWHERE, "");
    let service = place.start();
    let mut idle: Vec<UnixStream> = (0..200).map(|_| dial(&service)).collect();
    let mut old = innocent(&service);
    others_are_unaffected(&service, &mut old, 1);
    // One user has 64; those that were silent for longest made room.
    wait_for("the oldest to be closed", || {
        (idle.iter_mut().filter_map(|s| is_closed(s).then_some(())).count() >= 137).then_some(())
    });
    let open: Vec<bool> = idle.iter_mut().map(|stream| !is_closed(stream)).collect();
    let kept = open.iter().filter(|open| **open).count();
    assert!((55..=63).contains(&kept), "{kept} stayed");
    assert!(open[..200 - kept].iter().all(|open| !open), "the youngest stay: {open:?}");
    let files = std::fs::read_dir(format!("/proc/{}/fd", service.child.id()));
    if let Ok(files) = files {
        assert!(files.count() < 64 + 40, "descriptors are given back");
    }
    // A connection that was kept still works.
    let last = idle.pop().unwrap();
    last.set_nonblocking(false).unwrap();
    assert_eq!(Connection::over(last).send("GET", "/v1/status", &[], b"").unwrap().status, 200);
    others_are_unaffected(&service, &mut old, 2);
}

#[test]
fn a_user_whose_connections_are_all_at_work_is_told_to_wait() {
    let place = Place::new(NOWHERE, "api.max_connections_per_user = 3");
    let service = place.start();
    let half = || {
        let mut stream = dial(&service);
        stream.write_all(b"GET /v1/st").unwrap();
        stream
    };
    let mut busy = [half(), half(), half()];
    let refused = wait_for("a connection to be turned away", || {
        // One whose first bytes were not read yet is silent, and makes room.
        for stream in busy.iter_mut().filter_map(|stream| is_closed(stream).then_some(stream)) {
            *stream = half();
        }
        knock(service.connect().unwrap()).filter(|answer| answer.status == 429)
    });
    assert_problem(&refused, 429, "busy");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(refused.header("connection"), Some("close"));
    drop(busy);
    wait_for("room", || knock(service.connect().unwrap()).filter(|answer| answer.status == 200));
}

#[test]
fn requests_may_come_in_a_row_in_pieces_and_in_old_forms() {
    let place = Place::new(NOWHERE, "");
    let service = place.start();
    let start = start_event("ep-1").to_string();
    let request = |body: &str| {
        format!(
            "POST /v1/sessions/one/events HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };

    // Three at once, the second refused, the third in two pieces.
    let ping = event("media.ping", 9, 9).to_string();
    let all = [request(&start), request("nonsense"), request(&ping)].concat();
    let (first, rest) = all.as_bytes().split_at(all.len() - 40);
    let mut connection = service.connect().unwrap();
    connection.raw(first).unwrap();
    let statuses = [connection.answer().unwrap().status, connection.answer().unwrap().status];
    assert_eq!(statuses, [201, 400]);
    connection.raw(rest).unwrap();
    let last = connection.answer().unwrap();
    assert_eq!((last.status, &last.json()["seq"]), (200, &json!(1)));

    // Byte by byte.
    for byte in request(&ping).as_bytes() {
        connection.raw(&[*byte]).unwrap();
    }
    assert_eq!(connection.answer().unwrap().json()["seq"], 2);

    // In chunks, and after asking whether it may.
    let (a, b) = ping.split_at(10);
    let chunks = format!("{:x}\r\n{a}\r\n{:x}\r\n{b}\r\n0\r\n\r\n", a.len(), b.len());
    let head = "POST /v1/sessions/one/events HTTP/1.1\r\nhost: x\r\n";
    connection.raw(format!("{head}transfer-encoding: chunked\r\n\r\n{chunks}").as_bytes()).unwrap();
    assert_eq!(connection.answer().unwrap().json()["seq"], 3);
    connection
        .raw(format!("{head}expect: 100-continue\r\ncontent-length: {}\r\n\r\n", ping.len()).as_bytes())
        .unwrap();
    assert_eq!(connection.answer().unwrap().status, 100);
    connection.raw(ping.as_bytes()).unwrap();
    assert_eq!(connection.answer().unwrap().json()["seq"], 4);

    // Answered and closed when the client says so, by its version or a header.
    for head in [
        "GET /v1/consent HTTP/1.0\r\n\r\n",
        "GET /v1/consent HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    ] {
        let mut connection = service.connect().unwrap();
        connection.raw(head.as_bytes()).unwrap();
        let answer = connection.answer().unwrap();
        assert_eq!((answer.status, answer.json()), (200, json!({ "consent": "in" })));
        assert_eq!(connection.answer().unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }
    // A client that has said all it had to say may close its side at once.
    let stream = UnixStream::connect(&service.socket).unwrap();
    (&stream).write_all(request(&ping).as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(Connection::over(stream).answer().unwrap().json()["seq"], 5);

    assert_eq!(service.status()["events"]["stored"], 6);
}

#[test]
fn what_cannot_be_read_is_answered_with_a_problem_document_and_the_connection_closed() {
    let place = Place::new(NOWHERE, "api.listen = \"127.0.0.1:0\"");
    let service = place.start();
    let web = crate::loopback::address(&place);
    let get = |rest: &str| format!("GET /v1/status HTTP/1.1\r\nhost: x\r\n{rest}\r\n");
    let many = get(&"x: y\r\n".repeat(200));
    let long = get(&format!("x: {}\r\n", "x".repeat(40 * 1024)));
    for (request, status, reason) in [
        ("\x16\x03\x01\x02\0\r\n\r\n".to_owned(), 400, "invalid"),
        ("GET /v1/status\r\n\r\n".to_owned(), 400, "invalid"),
        ("GET /v1/status HTTP/3.0\r\nhost: x\r\n\r\n".to_owned(), 400, "invalid"),
        ("GET /a b HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(), 400, "invalid"),
        (get("a header\r\n"), 400, "invalid"),
        (get("content-length: five\r\n"), 400, "invalid"),
        (get("content-length: 0\r\ncontent-length: 5\r\n"), 400, "invalid"),
        (get("transfer-encoding: gzip\r\n"), 400, "invalid"),
        (many, 431, "too_large"),
        (long, 431, "too_large"),
    ] {
        let what = &request[..request.len().min(60)];
        // Behind another request, whose answer goes out before; as the first, and to web players.
        let mut behind = service.connect().unwrap();
        // The service may close while a long one is being written.
        let _ = behind.raw(format!("{}{request}", get("")).as_bytes());
        assert_eq!(behind.answer().unwrap().status, 200, "{what}");
        let mut first = service.connect().unwrap();
        let _ = first.raw(request.as_bytes());
        let mut page = crate::loopback::connect(web);
        let _ = page.raw(request.as_bytes());
        for answer in [behind.answer(), first.answer(), page.answer()] {
            let answer = answer.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_problem(&answer, status, reason);
            assert_eq!(answer.header("connection"), Some("close"), "{what}");
        }
        assert!(behind.answer().is_err() && first.answer().is_err() && page.answer().is_err(), "{what}");
    }
    // The head was fine, so this one comes from further up.
    let mut chunks = service.connect().unwrap();
    let head = "POST /v1/sessions/one/events HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    chunks.raw(format!("{head}what?\r\n").as_bytes()).unwrap();
    assert_problem(&chunks.answer().unwrap(), 400, "invalid");
    assert!(chunks.answer().is_err());
}

#[test]
fn a_body_beyond_all_measure_is_not_waited_for() {
    let place = Place::new(NOWHERE, "");
    let service = place.start();
    let mut connection = service.connect().unwrap();
    connection
        .raw(b"POST /v1/sessions/one/events HTTP/1.1\r\nhost: x\r\ncontent-length: 1099511627776\r\n\r\n")
        .unwrap();
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..32 {
        if connection.raw(&piece).is_err() {
            break;
        }
    }
    let answer = connection.answer().unwrap();
    assert_problem(&answer, 413, "too_large");
    assert!(connection.answer().is_err(), "and the connection is closed");
    assert_eq!(service.status()["sessions"]["open"], 0);
}

#[test]
fn a_body_that_is_too_large_is_refused_for_that_however_it_comes() {
    let place = Place::new(NOWHERE, "");
    let service = place.start();
    let begin = |headers: &str, body: &[u8]| {
        let mut connection = service.connect().unwrap();
        let head = format!("POST /v1/sessions/one/events HTTP/1.1\r\nhost: x\r\n{headers}\r\n\r\n");
        connection.raw(head.as_bytes()).unwrap();
        connection.raw(body).unwrap();
        connection
    };
    // Who asks whether it may send is told at once.
    let begun = Instant::now();
    for expect in ["100-continue", "100-Continue"] {
        let mut asks = begin(&format!("content-length: 2097152\r\nexpect: {expect}"), b"");
        assert_problem(&asks.answer().unwrap(), 413, "too_large");
        assert_eq!(asks.answer().unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }
    assert!(begun.elapsed() < PROMPT, "took {:?}", begun.elapsed());
    let mut edge = service.connect().unwrap();
    edge.raw(
        b"POST /ee/va/v1/play HTTP/1.1\r\nhost: x\r\ncontent-length: 2097152\r\nexpect: 100-continue\r\n\r\n",
    )
    .unwrap();
    let refused = edge.answer().unwrap();
    assert_eq!((refused.status, &refused.json()["reason"]), (413, &json!("too_large")));

    // Who stops half-way has sent too much all the same, or is asked to try again.
    let chunk = [b"133333\r\n".to_vec(), vec![b' '; 0x13_3333]].concat();
    let mut large = [
        begin("content-length: 2097152", b""),
        begin("content-length: 2097152", &[b' '; 1000]),
        begin("transfer-encoding: chunked", &chunk),
    ];
    let mut small = begin("content-length: 1000", b"{");
    for connection in &mut large {
        assert_problem(&connection.answer().unwrap(), 413, "too_large");
    }
    let late = small.answer().unwrap();
    assert_problem(&late, 408, "busy");
    assert_eq!((late.header("retry-after"), &late.json()["title"]), (Some("1"), &json!("Request Timeout")));

    // Who goes on sending gets to read the answer, and may go on.
    let mut sends = begin("content-length: 2097152", &vec![b' '; 2 << 20]);
    assert_problem(&sends.answer().unwrap(), 413, "too_large");
    assert_eq!(sends.send("GET", "/v1/consent", &[], b"").unwrap().status, 200);
}

/// Most memory that the service has had, in KiB.
fn peak_memory(service: &Service<'_>) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", service.child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn large_answers_that_nobody_takes_cost_no_more_than_one() {
    let place = Place::new(NOWHERE, "");
    let service = place.start();
    let mut old = innocent(&service);
    let mut large = event("media.ping", 9, 9);
    large["mediaCollection"]["filler"] = "x".repeat(60_000).into();
    let batch = format!("[{}]", [&large.to_string(); 15].map(String::as_str).join(","));
    for _ in 0..3 {
        assert_eq!(post(&mut old, "innocent", &batch).status, 200);
    }
    let before = peak_memory(&service);
    let ask = b"GET /v1/sessions/innocent/events HTTP/1.1\r\nhost: x\r\n\r\n";
    let greedy: Vec<UnixStream> = (0..30)
        .map(|_| {
            let mut stream = dial(&service);
            stream.write_all(ask).unwrap();
            stream
        })
        .collect();
    // Recording goes on meanwhile; so does reading, once the one that takes nothing has been given up.
    others_are_unaffected(&service, &mut old, 46);
    drop(greedy);
    let answer = wait_for("reading to go on", || {
        let answer = old.send("GET", "/v1/sessions/innocent/events", &[], b"").unwrap();
        (answer.status == 200).then_some(answer)
    });
    assert_eq!(answer.json()["events"].as_array().unwrap().len(), 47);
    let grown = peak_memory(&service) - before;
    assert!(grown < 30 * 1024, "the service grew by {grown} KiB over answers of 3 MB");
}

#[cfg(target_os = "linux")]
#[test]
fn answers_that_are_taken_late_all_come_and_take_no_descriptor_meanwhile() {
    const ASKED: usize = 60;
    let place = Place::new(NOWHERE, "");
    let service = place.start();
    let mut old = innocent(&service);
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", service.child.id())).unwrap().count();
    let before = descriptors();
    let ask = "GET /v1/openapi.json HTTP/1.1\r\nhost: x\r\n\r\n".repeat(ASKED);
    let late: Vec<UnixStream> = (0..8)
        .map(|_| {
            let mut stream = UnixStream::connect(&service.socket).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(ask.as_bytes()).unwrap();
            stream
        })
        .collect();
    let mut there = Vec::new();
    wait_for("the service to have no room for more", || {
        assert_eq!(old.send("GET", "/v1/status", &[], b"").unwrap().status, 200);
        let now: Vec<u64> = late.iter().map(|one| rustix::io::ioctl_fionread(one).unwrap()).collect();
        let no_more = now == there && !now.contains(&0);
        there = now;
        no_more.then_some(())
    });
    wait_for("one descriptor a connection", || (descriptors() == before + late.len()).then_some(()));
    for stream in late {
        let mut connection = Connection::over(stream);
        for n in 0..ASKED {
            let answer = connection.answer().unwrap_or_else(|error| panic!("answer {n}: {error}"));
            assert_eq!(answer.body, include_bytes!("../../src/api/openapi.json"), "answer {n}");
        }
        // It is read from as before.
        assert_eq!(connection.send("GET", "/v1/consent", &[], b"").unwrap().status, 200);
    }
}
