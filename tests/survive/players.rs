//! Players that never give up: what was not acknowledged they send again, under its number.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::books::{Books, Came};
use crate::service::{PATIENCE, connect};

/// Plays sessions one after the other until `stop`, and completes the last one. Answers the books.
pub(crate) fn play(socket: &Path, name: &str, pace: Duration, stop: &AtomicBool) -> Books {
    let mut random = fastrand::Rng::new();
    let mut books = Books::default();
    for session in 0.. {
        let key = format!("{name}-{session}");
        for _ in 0..random.u32(1..8) {
            if stop.load(Ordering::Relaxed) && session > 0 {
                break;
            }
            let (count, filler) = (random.usize(1..6), random.usize(0..300));
            insist(socket, |connection| books.record(connection, &key, count, filler));
            // A player has something to say now and then.
            std::thread::sleep(pace);
        }
        if books.plays.contains_key(&key) {
            insist(socket, |connection| books.complete(connection, &key));
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    books
}

/// Asks until the service agrees.
fn insist(socket: &Path, mut ask: impl FnMut(&mut std::io::Result<crate::service::Connection>) -> Came) {
    // A service that is killed all the time seldom gets to answer on a busy machine.
    let deadline = Instant::now() + 3 * PATIENCE;
    let mut connection = connect(socket);
    while !matches!(ask(&mut connection), Came::Acknowledged) {
        assert!(Instant::now() < deadline, "the service never took it");
        std::thread::sleep(Duration::from_millis(2));
        if connection.is_err() {
            connection = connect(socket);
        }
    }
}
