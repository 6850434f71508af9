//! What one user may take at a time: memory for bodies that come in; and web players are one user among others.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use serde_json::json;

use crate::measure::{Player, memory};
use crate::service::{Answer, Connection, Service, event, start_event, wait_for};
use crate::users::{ANNA, BERT, as_user, connect_as, is_root, shared_place};
use crate::web::{self, address, token};
use crate::{NOWHERE, PROMPT, get, post};

/// A request of a user's, all but its last byte, on a connection of its own; it takes as long as it takes.
fn begin(service: &Service<'_>, uid: u32, request: &[u8]) -> (UnixStream, std::thread::JoinHandle<()>) {
    let socket = service.socket.clone();
    let stream = as_user(uid, move || UnixStream::connect(&socket).unwrap());
    stream.set_read_timeout(Some(crate::service::PATIENCE)).unwrap();
    let mut writing = stream.try_clone().unwrap();
    let most = request[..request.len() - 1].to_vec();
    // Refused while it is sent, it cannot be sent to its end.
    let writer = std::thread::spawn(move || drop(writing.write_all(&most)));
    (stream, writer)
}

fn is_busy(answer: &Answer) -> bool {
    answer.status == 429 && answer.json()["reason"] == "busy" && answer.header("retry-after") == Some("1")
}

#[test]
fn bodies_of_one_user_take_a_bounded_part_of_memory() {
    if !is_root() {
        return;
    }
    let place = shared_place(NOWHERE, "consent.initial = \"pending\"");
    let service = place.start();
    let mut bert = Player::new(connect_as(&service, BERT), "berts");
    let mut anna = connect_as(&service, ANNA);
    assert_eq!(post(&mut anna, "annas", start_event("large").to_string()).status, 201);
    let mut large = event("media.ping", 1, 1);
    large["mediaCollection"]["filler"] = "x".repeat(60_000).into();
    let body = format!("[{}]", vec![large.to_string(); 16].join(","));
    let request = format!(
        "POST /v1/sessions/annas/events HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let before = memory(&service);
    let begun: Vec<_> = (0..50).map(|_| begin(&service, ANNA, request.as_bytes())).collect();
    // Some are in memory as far as they have come, the others are told to come again.
    let mut most = 0;
    let since = Instant::now();
    wait_for("the bodies to be in or to be refused", || {
        most = most.max(memory(&service).saturating_sub(before));
        assert!(bert.one() < PROMPT, "Bert is served meanwhile");
        begun.iter().all(|(_, writer)| writer.is_finished()).then_some(())
    });
    eprintln!("figure: 50 bodies of 1 MB at once: {most} KiB, all in or refused after {:?}", since.elapsed());
    assert!(most < 16 << 10, "{most} KiB");
    let last = &request.as_bytes()[request.len() - 1..];
    let (mut recorded, mut refused) = (0, 0);
    for (mut stream, _) in begun {
        let _ = stream.write_all(last);
        match Connection::over(stream).answer() {
            Ok(answer) if answer.status == 200 => recorded += 1,
            Ok(answer) => {
                assert!(is_busy(&answer), "{}", answer.text());
                refused += 1;
            }
            // The refusal came while it was still being sent.
            Err(_) => refused += 1,
        }
    }
    eprintln!("figure: 50 bodies of 1 MB at once: {recorded} recorded, {refused} to come again");
    assert!(recorded > 0 && refused > 0);
    // The events of those that were recorded, and no others; there is room again.
    assert_eq!(get(&mut anna, "/v1/sessions/annas").json()["events"], 1 + 16 * recorded);
    let again = wait_for("room", || Some(post(&mut anna, "annas", &body)).filter(|answer| !is_busy(answer)));
    assert_eq!(again.json()["recorded"], 16, "{}", again.text());
}

#[test]
fn web_players_take_nothing_from_users_of_the_socket() {
    if !is_root() {
        return;
    }
    let place = shared_place(
        NOWHERE,
        "api.listen = \"127.0.0.1:0\"\napi.max_connections = 20\napi.max_connections_per_user = 10\n\
         api.max_requests_per_user = 20\nconsent.initial = \"pending\"",
    );
    let service = place.start();
    let (at, token) = (address(&place), token(&place));
    let mut bert = Player::new(connect_as(&service, BERT), "berts");
    let head = format!("GET /v1/consent HTTP/1.1\r\nhost: {at}\r\nauthorization: Bearer {token}\r\n\r\n");
    // Connections: far more than there are places, each in the middle of a request.
    let half: Vec<_> = (0..60)
        .map(|_| {
            let mut one = web::connect(at);
            let _ = one.raw(&head.as_bytes()[..20]);
            one
        })
        .collect();
    for n in 0..8 {
        let mut other = connect_as(&service, 12_020 + n);
        assert_eq!(get(&mut other, "/v1/consent").status, 200, "user {n}");
        assert!(bert.one() < PROMPT);
    }
    drop(half);
    // Requests: all web players have one pace, which is not Bert's.
    let mut page = web::connect(at);
    let mut ask = |head: &str| {
        page.raw(head.as_bytes()).unwrap();
        page.answer().unwrap()
    };
    wait_for("the web players to be too fast", || {
        assert!(bert.one() < PROMPT);
        let refused = (0..30).filter(|_| is_busy(&ask(&head))).count();
        (refused > 0).then_some(())
    });
    assert!((0..10).all(|_| bert.one() < PROMPT));
    // Whoever is not let in is not answered faster than the pace allows.
    let stranger = format!("GET /v1/consent HTTP/1.1\r\nhost: {at}\r\n\r\n");
    let begun = Instant::now();
    for _ in 0..10 {
        assert_eq!(ask(&stranger).status, 403);
    }
    assert!(begun.elapsed().as_millis() >= 500, "{:?}", begun.elapsed());
    // Sessions: Bert's key leads web players nowhere.
    let mut page = web::connect(at);
    let bearer = format!("Bearer {token}");
    let headers = [("host", &*at.to_string()), ("authorization", &*bearer)].map(|(n, v)| (n, v.to_owned()));
    let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
    let seen = wait_for("an answer", || {
        Some(page.send("GET", "/v1/sessions/berts", &headers, b"").unwrap()).filter(|answer| !is_busy(answer))
    });
    assert_eq!((seen.status, &seen.json()["reason"]), (404, &json!("unknown_session")));
}
