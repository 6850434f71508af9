//! Row "soak" of the reliability table, and "signals": mixed faults for a while, and nothing grows.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::books::Books;
use crate::endpoint::Endpoint;
use crate::players::play;
use crate::service::Place;
use crate::{QUICK, moods, scale, settle};

/// How long at scale 1.
const SOAK: Duration = Duration::from_secs(30);

/// What must not grow: resident memory in KiB, and descriptors.
#[derive(Debug, Clone, Copy)]
struct Size {
    memory: u64,
    descriptors: u64,
    wal: u64,
}

fn size(pid: u32, place: &Place) -> Size {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let wal = fs::metadata(place.journal().with_extension("db-wal")).map_or(0, |file| file.len());
    Size {
        memory: memory.split_whitespace().next().unwrap().parse().unwrap(),
        descriptors: fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() as u64,
        wal,
    }
}

fn median(sizes: &[Size], of: impl Fn(&Size) -> u64) -> u64 {
    let mut values: Vec<u64> = sizes.iter().map(of).collect();
    values.sort_unstable();
    values[values.len() / 2]
}

#[test]
fn soak_with_mixed_faults_loses_nothing_and_nothing_grows() {
    let length = SOAK * u32::try_from(scale()).unwrap();
    let mut random = fastrand::Rng::new();
    let endpoint = Endpoint::start((0..length.as_secs() * 100).map(|_| moods(&mut random)));
    let place = Place::new(&endpoint.url(), QUICK);
    let service = place.start();
    let (pid, stop, socket) = (service.child.id(), AtomicBool::new(false), place.socket());
    let (mut books, mut sizes) = (Books::default(), Vec::new());
    std::thread::scope(|scope| {
        let players: Vec<_> = (0..4)
            .map(|n| {
                let (socket, stop) = (&socket, &stop);
                scope.spawn(move || play(socket, &format!("p{n}"), Duration::from_millis(20), stop))
            })
            .collect();
        let began = Instant::now();
        let mut n = 0;
        while began.elapsed() < length {
            n += 1;
            match n % 20 {
                3 => service.signal("HUP"),
                // A file that cannot be read changes nothing.
                7 => {
                    fs::write(&place.config, "nonsense = [").unwrap();
                    service.signal("HUP");
                }
                9 => {
                    place.configure(&endpoint.url(), QUICK);
                    service.signal("HUP");
                }
                13 => {
                    service.signal("STOP");
                    // Long enough for players to notice.
                    std::thread::sleep(Duration::from_millis(50));
                    service.signal("CONT");
                }
                // Somebody who connects and says nothing, or half a request.
                15 => drop(service.connect()),
                17 => drop(service.connect().map(|mut half| half.raw(b"POST /v1/sess"))),
                _ => {}
            }
            sizes.push(size(pid, &place));
            // How often there is a fault, and a sample.
            std::thread::sleep(Duration::from_millis(100));
        }
        stop.store(true, Ordering::Relaxed);
        for player in players {
            books.add(player.join().unwrap());
        }
    });
    settle(&service, &endpoint);
    let twice = books.check_delivered(&endpoint.requests());
    assert!(twice <= service.status()["possible_duplicates"].as_u64().unwrap());

    let quarter = sizes.len() / 4;
    let (early, late) = (&sizes[quarter..2 * quarter], &sizes[3 * quarter..]);
    let (memory, grown) = (median(early, |s| s.memory), median(late, |s| s.memory));
    let (descriptors, more) = (median(early, |s| s.descriptors), median(late, |s| s.descriptors));
    let wal = sizes.iter().map(|s| s.wal).max().unwrap();
    eprintln!(
        "{length:?}: {} events, 0 lost; memory {memory} then {grown} KiB, descriptors {descriptors} then {more}, \
         WAL at most {wal} bytes",
        books.acknowledged(),
    );
    assert!(grown < memory + memory / 8, "{memory} KiB grew to {grown}");
    assert!(more <= descriptors + 4, "{descriptors} descriptors grew to {more}");
    assert!(wal < 4 << 20, "a WAL of {wal} bytes");
    assert!(service.stop().success());
}
