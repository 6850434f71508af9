//! Figures of a running service, and of how it treats an innocent client.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::post;
use crate::service::{Connection, Service, event, start_event};

/// Descriptors that the service has open.
pub(crate) fn descriptors(service: &Service<'_>) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", service.child.id())).unwrap().count()
}

/// Memory of the service, in KiB.
pub(crate) fn memory(service: &Service<'_>) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", service.child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Processor time that the service has used.
pub(crate) fn processor(service: &Service<'_>) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", service.child.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    // What Linux shows is in hundredths of a second on every machine.
    Duration::from_millis(ticks * 10)
}

/// A player that behaves: records one event after the other and notes how long each took.
pub(crate) struct Player {
    connection: Connection,
    key: &'static str,
    recorded: u64,
}

impl Player {
    pub(crate) fn new(mut connection: Connection, key: &'static str) -> Player {
        assert_eq!(post(&mut connection, key, start_event("innocent").to_string()).status, 201);
        Player { connection, key, recorded: 1 }
    }

    /// The 99th percentile over so many events; every one of them is acknowledged, in order.
    pub(crate) fn p99(&mut self, events: usize) -> Duration {
        let mut took: Vec<Duration> = (0..events).map(|_| self.one()).collect();
        took.sort();
        took[(events * 99).div_ceil(100) - 1]
    }

    pub(crate) fn one(&mut self) -> Duration {
        let second = u32::try_from(self.recorded % 1700).unwrap();
        let body = event("media.ping", second, second).to_string();
        let begun = Instant::now();
        let answer = post(&mut self.connection, self.key, body);
        let took = begun.elapsed();
        assert_eq!((answer.status, answer.json()["seq"].as_u64()), (200, Some(self.recorded)));
        self.recorded += 1;
        took
    }

    pub(crate) fn recorded(&self) -> u64 {
        self.recorded
    }
}

/// Threads that misbehave until they are told to stop, and how often they did.
pub(crate) struct Flood {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Flood {
    /// `act` is called with the thread's number until the flood is stopped; it says how much it did.
    pub(crate) fn start(threads: usize, act: impl Fn(usize) -> u64 + Send + Clone + 'static) -> Flood {
        let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let threads = (0..threads)
            .map(|thread| {
                let (stop, count, act) = (stop.clone(), count.clone(), act.clone());
                std::thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        count.fetch_add(act(thread), Ordering::Relaxed);
                    }
                })
            })
            .collect();
        Flood { stop, count, threads }
    }

    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Has a player record before and during something, and tells the figures.
pub(crate) fn compare(what: &str, player: &mut Player, before: Duration, events: usize) -> Duration {
    let mut tries: Vec<Duration> = (0..3).map(|_| player.p99(events)).collect();
    tries.sort();
    let during = tries[1];
    eprintln!("figure: {what}: p99 {before:?} alone, {during:?} meanwhile (median of 3)");
    during
}
