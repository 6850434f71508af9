//! Row "kill -9" of the reliability table: real binary, 8 players, a misbehaving endpoint, random instants.
//!
//! Measured at scale 1 (200 kills) with the debug build on 2 cores: 0 lost, every duplicate counted.

use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::books::Books;
use crate::endpoint::Endpoint;
use crate::players::play;
use crate::service::Place;
use crate::{QUICK, moods, scale, settle};

/// Kills at scale 1.
const KILLS: u64 = 200;
const PLAYERS: usize = 8;

#[test]
fn kill_9_at_random_instants_loses_nothing_and_counts_every_duplicate() {
    let mut random = fastrand::Rng::new();
    let endpoint = Endpoint::start((0..KILLS * scale() * 4).map(|_| moods(&mut fastrand::Rng::new())));
    let place = Place::new(&endpoint.url(), QUICK);
    let (stop, socket) = (AtomicBool::new(false), place.socket());
    let mut books = Books::default();
    // Long enough for some work after a start, on a machine that is busy too.
    let begun = Instant::now();
    drop(place.start());
    let longest = (3 * begun.elapsed()).clamp(Duration::from_millis(200), Duration::from_millis(600));
    let service = std::thread::scope(|scope| {
        let players: Vec<_> = (0..PLAYERS)
            .map(|n| {
                let (socket, stop) = (&socket, &stop);
                scope.spawn(move || play(socket, &format!("p{n}"), Duration::from_millis(5), stop))
            })
            .collect();
        for _ in 0..KILLS * scale() {
            let mut child = place.command(&["run"]).stderr(Stdio::null()).spawn().unwrap();
            // From the first instruction on: some die while they start, some with an upload under way.
            std::thread::sleep(longest.mul_f64(random.f64()));
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let service = place.start();
        stop.store(true, Ordering::Relaxed);
        for player in players {
            books.add(player.join().unwrap());
        }
        service
    });
    settle(&service, &endpoint);
    let status = service.status();
    assert_eq!(status["events"]["acknowledged"], books.acknowledged(), "{status}");
    assert_eq!(status["events"]["delivered"], books.acknowledged(), "{status}");
    let twice = books.check_delivered(&endpoint.requests());
    let counted = status["possible_duplicates"].as_u64().unwrap();
    assert!(twice <= counted, "{twice} came twice, {counted} were counted");
    assert!(books.plays.len() > 2 * PLAYERS, "the players hardly played");
    eprintln!(
        "{} kills: {} events in {} sessions, 0 lost; {twice} sessions came twice, {counted} counted",
        KILLS * scale(),
        books.acknowledged(),
        books.plays.len(),
    );
}
