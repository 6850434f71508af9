//! Slow clients, thousands of connects, few descriptors: the good client goes on, the service neither spins nor grows.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::measure::{Flood, Player, compare, descriptors, memory, processor};
use crate::service::{Place, Service, event, start_event, wait_for};
use crate::users::{ANNA, BERT, CARL, DORA, as_user, connect_as, shared_place};
use crate::{NOWHERE, PROMPT, get, post, scale};

/// Streams of a user's, or of the tester's where it cannot be another.
fn dial(service: &Service<'_>, uid: u32, count: usize) -> Vec<UnixStream> {
    let socket = service.socket.clone();
    let connect = move || {
        (0..count)
            .map(|_| {
                let stream = UnixStream::connect(&socket).unwrap();
                stream.set_nonblocking(true).unwrap();
                stream
            })
            .collect()
    };
    if rustix::process::geteuid().is_root() { as_user(uid, connect) } else { connect() }
}

/// The good client: another user, where there can be one.
fn player(service: &Service<'_>, uid: u32) -> Player {
    let connection = if rustix::process::geteuid().is_root() {
        connect_as(service, uid)
    } else {
        service.connect().unwrap()
    };
    Player::new(connection, "innocent")
}

/// The good client is not held to a pace: how fast it could be is what is measured.
const UNPACED: &str = "api.max_requests_per_user = 1000000";

const HEAD: &[u8] = b"POST /v1/sessions/slow/events HTTP/1.1\r\nhost: x\r\ncontent-length: 600\r\n\r\n";

#[test]
fn two_hundred_and_fifty_six_clients_that_send_a_byte_a_second_or_never_read() {
    let place = shared_place(NOWHERE, UNPACED);
    let service = place.start();
    let mut good = player(&service, BERT);
    for _ in 0..20 {
        let mut large = event("media.ping", 9, 9);
        large["mediaCollection"]["filler"] = "x".repeat(50_000).into();
        service.connect().map(|mut own| post(&mut own, "large", start_event("x").to_string())).unwrap();
        service.connect().map(|mut own| post(&mut own, "large", large.to_string())).unwrap();
    }
    let before = good.p99(100);
    // Four users fill all places there are.
    let mut streams = Vec::new();
    for uid in [ANNA, CARL, DORA, 12_005] {
        streams.extend(dial(&service, uid, 64));
    }
    let ask = b"GET /v1/openapi.json HTTP/1.1\r\nhost: x\r\n\r\n".repeat(50);
    for (n, stream) in streams.iter_mut().enumerate() {
        if n % 2 == 0 {
            let _ = stream.write(&HEAD[..n % 60 + 1]);
        } else {
            let _ = stream.write(&ask);
        }
    }
    let begun = Instant::now();
    let crowd = good.p99(20);
    eprintln!("figure: 256 slow clients: at most {crowd:?} while they came, {:?} in all", begun.elapsed());
    let streams = Arc::new(Mutex::new(streams));
    let turn = Arc::new(AtomicUsize::new(0));
    let drip = {
        let streams = streams.clone();
        Flood::start(1, move |_| {
            let at = turn.fetch_add(1, Ordering::Relaxed) % 60;
            let mut sent = 0;
            for stream in streams.lock().unwrap().iter_mut().step_by(2) {
                sent += u64::from(stream.write(&HEAD[at..=at]).is_ok());
            }
            // The rate of the slow client is what is tested.
            std::thread::sleep(Duration::from_secs(1));
            sent
        })
    };
    let during = compare("256 slow clients", &mut good, before, 50 * scale() as usize);
    assert!(during < PROMPT, "{during:?}");
    // Root gets in although all places are taken, and so does a newcomer.
    let begun = Instant::now();
    assert_eq!(service.request("GET", "/v1/status", b"").status, 200);
    player(&service, 12_006).one();
    eprintln!("figure: a newcomer and root among 256 slow clients: {:?}", begun.elapsed());
    assert!(begun.elapsed() < PROMPT);
    drop(drip);
    streams.lock().unwrap().clear();
    good.one();
}

#[test]
fn a_connection_costs_less_than_64_kib() {
    let place = Place::new(NOWHERE, "api.max_connections = 600\napi.max_connections_per_user = 600");
    let service = place.start();
    let mut good = player(&service, BERT);
    good.p99(50);
    let before = memory(&service);
    let count = 400;
    let mut streams = dial(&service, ANNA, count);
    let ask = b"GET /v1/openapi.json HTTP/1.1\r\nhost: x\r\n\r\n".repeat(200);
    for (n, stream) in streams.iter_mut().enumerate() {
        // Silent, in the middle of a large head, never reading.
        let _ = match n % 3 {
            0 => Ok(0),
            1 => stream.write(format!("GET / HTTP/1.1\r\nx: {}", "y".repeat(12_000)).as_bytes()),
            _ => stream.write(&ask),
        };
    }
    good.p99(20);
    let each = memory(&service).saturating_sub(before) / count as u64;
    eprintln!("figure: {each} KiB a connection ({count} silent, in a head of 12 kB, or never reading)");
    assert!(each < 64, "{each} KiB a connection");
}

#[test]
fn five_thousand_connects() {
    let place = shared_place(NOWHERE, UNPACED);
    let service = place.start();
    let mut good = player(&service, BERT);
    let before = good.p99(100);
    let socket = service.socket.clone();
    let held: Arc<Mutex<Vec<UnixStream>>> = Arc::default();
    let root = rustix::process::geteuid().is_root();
    let flood = {
        let held = held.clone();
        Flood::start(4, move |_| {
            let socket = socket.clone();
            let connect =
                move || (0..50).filter_map(|_| UnixStream::connect(&socket).ok()).collect::<Vec<_>>();
            let streams = if root { as_user(ANNA, connect) } else { connect() };
            let mut held = held.lock().unwrap();
            held.extend(streams);
            // The tester has descriptors to think of as well.
            let beyond = held.len().saturating_sub(600);
            held.drain(..beyond);
            50
        })
    };
    let during = compare("thousands of connects", &mut good, before, 50 * scale() as usize);
    wait_for("5,000 connects", || {
        good.one();
        (flood.count() >= 5000).then_some(())
    });
    let open = descriptors(&service);
    drop(flood);
    let begun = Instant::now();
    assert_eq!(service.request("GET", "/v1/status", b"").status, 200);
    let recovered = begun.elapsed();
    held.lock().unwrap().clear();
    wait_for("the connections to be gone", || (descriptors(&service) < 40).then_some(()));
    eprintln!(
        "figure: 5,000 connects: {open} descriptors at the height, the next answer after {recovered:?}"
    );
    assert!(open < 64 + 60, "{open} descriptors");
    assert!(during < PROMPT && recovered < PROMPT, "{during:?} {recovered:?}");
}

/// Opens as many files as it may from now on.
fn limit_files(service: &Service<'_>, limit: usize) {
    let pid = rustix::process::Pid::from_child(&service.child);
    let limit = Some(limit as u64);
    let limit = rustix::process::Rlimit { current: limit, maximum: Some(4096) };
    rustix::process::prlimit(Some(pid), rustix::process::Resource::Nofile, limit).unwrap();
}

#[test]
fn sixty_four_descriptors() {
    let place = shared_place(NOWHERE, "");
    let service = place.start_through(&["sh", "-c", "ulimit -n 64; exec \"$0\" \"$@\""]);
    // The socket is there before the rest.
    wait_for("a word on the limit", || place.log_text().contains("may open 64 files").then_some(()));
    let mut good = player(&service, BERT);
    let before = good.p99(50);
    let mut streams = dial(&service, ANNA, 200);
    for stream in &mut streams {
        let _ = stream.write(HEAD);
    }
    let during = compare("64 descriptors, 200 connections", &mut good, before, 50);
    assert!(during < PROMPT, "{during:?}");
    let begun = Instant::now();
    service.play("another");
    eprintln!("figure: 64 descriptors: a newcomer's session after {:?}", begun.elapsed());
    assert!(
        !place.log_text().contains("could not be accepted"),
        "the caps leave descriptors: {}",
        place.log_text()
    );
    assert!(descriptors(&service) < 64);
}

#[test]
fn no_descriptor_is_left() {
    let place = shared_place(NOWHERE, "");
    let service = place.start();
    let mut good = player(&service, BERT);
    let before = good.p99(50);
    // From now on there is room for ten more. The one who asks for most gives way.
    limit_files(&service, descriptors(&service) + 10);
    let mut streams = dial(&service, ANNA, 60);
    for stream in &mut streams {
        let _ = stream.write(HEAD);
    }
    wait_for("the shortage", || place.log_text().contains("could not be accepted").then_some(()));
    let (begun, used) = (Instant::now(), processor(&service));
    let during = compare("no descriptor left", &mut good, before, 50);
    // Connections that nobody can accept wait for as long as this takes.
    std::thread::sleep(Duration::from_secs(1));
    let (took, used) = (begun.elapsed(), processor(&service) - used);
    let told = place.log_text().matches("could not be accepted").count();
    eprintln!("figure: no descriptor left: {used:?} of processor time in {took:?}, {told} lines in the log");
    assert!(during < PROMPT, "{during:?}");
    assert!(used < took / 2, "accepting spins: {used:?} in {took:?}");
    assert!(told <= 2, "{told} lines");
    // A newcomer comes in all the same, and everybody when the others are gone.
    let begun = Instant::now();
    service.record("newcomer", &start_event("x"));
    eprintln!("figure: no descriptor left: a newcomer's event after {:?}", begun.elapsed());
    drop(streams);
    let begun = Instant::now();
    assert_eq!(service.request("GET", "/v1/status", b"").status, 200);
    eprintln!("figure: no descriptor left: recovered after {:?}", begun.elapsed());
    assert!(begun.elapsed() < PROMPT);
}

#[test]
fn a_connection_of_whoever_has_least_is_left_alone() {
    let place = shared_place(NOWHERE, "api.max_connections = 10\napi.max_connections_per_user = 10");
    if !crate::users::is_root() {
        return;
    }
    let service = place.start();
    // Silent for longest, and yet not the one that gives way.
    let mut bert = connect_as(&service, BERT);
    assert_eq!(get(&mut bert, "/v1/consent").status, 200);
    let mut greedy = dial(&service, ANNA, 30);
    for stream in &mut greedy {
        let _ = stream.write(HEAD);
    }
    for uid in 12_010..12_013 {
        let mut newcomer = connect_as(&service, uid);
        assert_eq!(get(&mut newcomer, "/v1/consent").status, 200, "user {uid}");
    }
    assert_eq!(get(&mut bert, "/v1/consent").status, 200);
    let closed = greedy
        .iter_mut()
        .filter(|stream| match (&mut &**stream).read(&mut [0; 64]) {
            Ok(_) => true,
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        })
        .count();
    assert!(closed >= 20, "{closed} of Anna's gave way or were turned away");
}
