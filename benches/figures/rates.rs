//! How fast events are taken in, and what that costs the disk.

use std::path::Path;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use super::Options;
use super::client::Client;
use super::events::Events;
use super::limit::{self, Run, micros};
use super::process;
use super::redis::Redis;
use super::report::{Goal, Row, Rows, median, percentile};
use super::service::{Mode, NOBODY, Place};
use super::vfs::Counts;

/// One shape of load and what it is held against.
struct Load {
    name: &'static str,
    clients: usize,
    per_request: usize,
    /// Events of a commit of the limit.
    per_commit: usize,
    goal: f64,
    goal_delayed: Option<f64>,
    /// Bytes an event that may reach the device.
    device: Option<f64>,
}

const LOADS: [Load; 4] = [
    Load {
        name: "1 client, 1 event a request",
        clients: 1,
        per_request: 1,
        per_commit: 1,
        goal: 0.75,
        goal_delayed: Some(0.95),
        device: None,
    },
    Load {
        name: "8 clients, 1 event a request",
        clients: 8,
        per_request: 1,
        per_commit: 1,
        goal: 2.5,
        goal_delayed: Some(2.5),
        device: Some(4096.0),
    },
    Load {
        name: "1 client, 64 events a request",
        clients: 1,
        per_request: 64,
        per_commit: 64,
        goal: 0.6,
        goal_delayed: None,
        device: None,
    },
    Load {
        name: "8 clients, 64 events a request",
        clients: 8,
        per_request: 64,
        per_commit: 512,
        goal: 0.6,
        goal_delayed: None,
        device: Some(1024.0),
    },
];

/// Sends as fast as answers come, from so many connections.
pub(crate) fn load(socket: &Path, pid: u32, clients: usize, per_request: usize, time: Duration) -> Run {
    let spent = || (process::device_bytes(pid), process::cpu_seconds(pid));
    let (mut run, before) = side_by_side(clients, spent, |n, ready| {
        let mut client = Client::connect(socket);
        let key = format!("player-{n}");
        client.start(&key);
        let began = Instant::now();
        send_while(&mut client, &key, per_request, |sent| {
            !limit::is_warm(sent * clients, per_request, began)
        });
        ready.wait();
        let started = Instant::now();
        send_while(&mut client, &key, per_request, |_| started.elapsed() < time)
    });
    let after = spent();
    run.device_bytes = after.0 - before.0;
    run.cpu_seconds = after.1 - before.1;
    run
}

/// Where senders wait for each other before they begin.
pub(crate) struct Start(Barrier);

impl Start {
    pub(crate) fn wait(&self) {
        // All are there; then, what was to be seen before they begin has been seen.
        self.0.wait();
        self.0.wait();
    }
}

/// So many senders, each on a thread, that wait for each other before they begin; what `before` sees just then.
pub(crate) fn side_by_side<T>(
    clients: usize,
    before: impl FnOnce() -> T,
    send: impl Fn(usize, &Start) -> Run + Sync,
) -> (Run, T) {
    let ready = Start(Barrier::new(clients + 1));
    std::thread::scope(|scope| {
        let (ready, send) = (&ready, &send);
        let senders: Vec<_> = (0..clients).map(|n| scope.spawn(move || send(n, ready))).collect();
        ready.0.wait();
        let before = before();
        ready.0.wait();
        let started = Instant::now();
        let mut run = Run::default();
        for sender in senders {
            let own = sender.join().unwrap();
            run.events += own.events;
            run.waits.extend(own.waits);
        }
        run.seconds = started.elapsed().as_secs_f64();
        (run, before)
    })
}

fn send_while(client: &mut Client, key: &str, per_request: usize, more: impl Fn(usize) -> bool) -> Run {
    let (mut events, mut request) = (Events::new(), Vec::new());
    let mut run = Run::default();
    while more(run.waits.len()) {
        events.request(key, per_request, &mut request);
        let began = Instant::now();
        client.send(&request);
        run.waits.push(micros(began));
        run.events += per_request as u64;
    }
    run
}

fn p99(run: &mut Run) -> f64 {
    run.waits.sort_unstable();
    percentile(&run.waits, 99)
}

/// The rates, beside the limit and Redis, one after the other in each round.
pub(crate) fn rows(options: &Options, rows: &mut Rows) {
    let slow =
        (!options.delay.is_zero()).then(|| format!(", each sync {} ms longer", options.delay.as_millis()));
    let suffix = slow.as_deref().unwrap_or_default();
    for shape in &LOADS {
        let name = format!("{}{suffix}", shape.name);
        if !options.wants(&name) {
            continue;
        }
        let (mut ours, mut limits, mut redis) = (Vec::new(), Vec::new(), Vec::new());
        let (mut waits, mut limit_waits) = (Vec::new(), Vec::new());
        let (mut device, mut limit_device) = (Vec::new(), Vec::new());
        let (mut cpu, mut limit_cpu) = (Vec::new(), Vec::new());
        // Offline: a session that is completed meanwhile is not packed and tried.
        let mode = if slow.is_some() { Mode::Counted { delay: options.delay } } else { Mode::CutOff };
        for _ in 0..options.rounds {
            let place = Place::new();
            let mut run = limit::run(place.path(), shape.per_commit, options.time);
            limits.push(run.rate());
            limit_waits.push(p99(&mut run));
            limit_cpu.push(run.cpu());
            limit_device.push(run.device_bytes as f64 / run.events as f64);

            let place = Place::new();
            let service = place.start(NOBODY, mode);
            let mut run =
                load(&place.socket(), service.pid(), shape.clients, shape.per_request, options.time);
            ours.push(run.rate());
            waits.push(p99(&mut run));
            cpu.push(run.cpu());
            device.push(run.device_bytes as f64 / run.events as f64);
            drop(service);

            if slow.is_none()
                && let Some(server) = Redis::start()
            {
                redis.push(server.load(shape.clients, shape.per_request, options.time).rate());
            }
        }
        let (ours, limit) = (median(ours), median(limits));
        let beside = format!("{name}, beside SQLite with {} a commit", shape.per_commit);
        let goal = match (&slow, shape.goal_delayed) {
            (None, _) => Goal::AtLeast(shape.goal),
            (Some(_), Some(goal)) => Goal::AtLeast(goal),
            (Some(_), None) => Goal::None,
        };
        rows.push(Row::ratio(&beside, ours, limit, "events/s", goal));
        if !redis.is_empty() {
            let goal = if shape.clients * shape.per_request > 1 && shape.per_request * shape.clients < 512 {
                Goal::AtLeast(1.0)
            } else {
                Goal::None
            };
            rows.push(Row::ratio(&format!("{name}, beside Redis"), ours, median(redis), "events/s", goal));
        }
        let beside = format!("{name}: processor time an event, beside SQLite");
        rows.push(Row::ratio(&beside, median(cpu), median(limit_cpu), "us", Goal::None));
        if shape.clients == 8 && shape.per_request == 1 {
            let name = format!("{name}: p99 of an acknowledgement, beside one commit");
            rows.push(Row::ratio(&name, median(waits), median(limit_waits), "us", Goal::AtMost(3.0)));
        }
        if let (None, Some(most)) = (&slow, shape.device) {
            let name = format!("{name}: device bytes an event, beside SQLite");
            let (ours, limit) = (median(device), median(limit_device));
            rows.push(Row { figure: ours, ..Row::ratio(&name, ours, limit, "bytes", Goal::AtMost(most)) });
        }
    }
    if options.wants("syncs") {
        syncs(options, rows);
    }
}

/// Each commit is synced, and each acknowledgement comes after a sync of its own.
fn syncs(options: &Options, rows: &mut Rows) {
    let place = Place::new();
    let service = place.start(NOBODY, Mode::Counted { delay: options.delay });
    let counts = || Counts::read(&place.counts());
    let mut client = service.client();
    client.start("counted");
    let (mut events, mut request) = (Events::new(), Vec::new());
    let mut early = 0;
    for _ in 0..2000 {
        let before = counts();
        events.request("counted", 1, &mut request);
        client.send(&request);
        let after = counts();
        early += u32::from(after.commits <= before.commits || after.syncs <= before.syncs);
    }
    let before = counts();
    load(&place.socket(), service.pid(), 8, 1, options.time);
    let after = counts();
    let commits = (after.commits - before.commits) as f64;
    let name = "acknowledgements before their sync, of 2000";
    rows.push(Row::plain(name, f64::from(early), "", Goal::AtMost(0.0)));
    let name = "commits that the next one found not synced, 8 clients";
    rows.push(Row::plain(name, after.unsynced as f64, "", Goal::AtMost(0.0)));
    // Checkpoints sync both files besides.
    let name = "syncs a commit, 8 clients, checkpoints included";
    rows.push(Row::plain(name, (after.syncs - before.syncs) as f64 / commits, "", Goal::AtMost(1.02)));
}
