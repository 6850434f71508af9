//! Time under a clock that tests move: deadlines, waits and expiry follow the time that passes, never the wall clock
//! (product promises 3 and 6, section 6).

#[path = "../support/endpoint.rs"]
mod endpoint;
#[path = "../support/service.rs"]
mod service;
mod trust;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use afterplay::clock::{Clock, ManualClock};
use afterplay::config::{self, Surroundings};
use afterplay::service::Service;
use endpoint::{Act, Endpoint, Reply};
use serde_json::Value;
use service::{Place, programme, wait_for};
use tokio::sync::oneshot;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// 2026-11-01T00:00:00Z
const NOW: i64 = 1_793_491_200_000;
/// Some 56 years: from 1970 to now.
const DECADES: i64 = 56 * 365 * 24 * 3600 * 1000;

/// The service in this process, on a thread of its own.
struct Running {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in there has been printed.
            drop(thread.join());
        }
    }
}

/// A device whose clock stands still until it is moved.
struct Device {
    place: Place,
    clock: Arc<ManualClock>,
    running: Option<Running>,
}

impl Device {
    fn new(endpoint: &Endpoint, extra: &str) -> Device {
        let extra = format!("upload.reconnect_jitter = \"0s\"\n{extra}");
        let clock = ManualClock::at(NOW, "boot-1");
        let mut device = Device { place: Place::new(&endpoint.url(), &extra), clock, running: None };
        device.start();
        device
    }

    fn start(&mut self) {
        let loaded = config::load(Some(&self.place.config), &Surroundings::default()).unwrap();
        let clock = Clock::Manual(Arc::clone(&self.clock));
        let (stop, stopped) = oneshot::channel::<()>();
        let (up, is_up) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let service = Service::start(loaded.config, clock, None).await.unwrap();
                up.send(()).unwrap();
                let _ = stopped.await;
                service.stop().await.unwrap();
            });
        });
        self.running = Some(Running { stop: Some(stop), thread: Some(thread) });
        is_up.recv().unwrap();
    }

    fn stop(&mut self) {
        self.running = None;
    }

    /// A new boot that begins with this wall clock.
    fn reboot(&mut self, wall_ms: i64, boot: &str) {
        self.stop();
        self.clock.reboot(wall_ms, boot);
        self.start();
    }

    fn request(&self, method: &str, path: &str, body: &str) -> service::Answer {
        service::connect(&self.place.socket())
            .unwrap()
            .send(method, path, &[("content-type", "application/json")], body.as_bytes())
            .unwrap()
    }

    fn get(&self, path: &str) -> Value {
        let answer = self.request("GET", path, "");
        assert_eq!(answer.status, 200, "GET {path}: {}", answer.text());
        answer.json()
    }

    fn session(&self, key: &str) -> Value {
        self.get(&format!("/v1/sessions/{key}"))
    }

    fn record(&self, key: &str, event: &Value) {
        let answer = self.request("POST", &format!("/v1/sessions/{key}/events"), &event.to_string());
        assert!(matches!(answer.status, 200 | 201), "{}: {}", answer.status, answer.text());
    }

    /// Records a session and leaves it open.
    fn open(&self, key: &str) {
        for event in programme(key) {
            self.record(key, &event);
        }
    }

    /// Records a session and completes it.
    fn play(&self, key: &str) {
        self.open(key);
        assert_eq!(self.request("POST", &format!("/v1/sessions/{key}/complete"), "").status, 200);
    }

    /// Lets time pass, and whatever that sets off begin.
    fn pass(&self, time: Duration) {
        self.clock.advance(time);
        self.settle();
    }

    fn set_wall(&self, wall_ms: i64) {
        self.clock.set_wall(wall_ms);
        self.settle();
    }

    /// Each answer went through the same thread and the same journal as what a moved clock woke.
    fn settle(&self) {
        for _ in 0..5 {
            self.get("/v1/status");
        }
    }

    fn wait_for_state(&self, key: &str, state: &str) -> Value {
        wait_for(&format!("{key} to be {state}"), || {
            let session = self.session(key);
            (session["state"] == state).then_some(session)
        })
    }

    fn wait_for_uploader(&self, state: &str, reason: &str) {
        wait_for(&format!("the uploader to be {state} for {reason}"), || {
            let uploader = self.get("/v1/status")["uploader"].clone();
            (uploader["state"] == state && uploader["reason"] == reason).then_some(())
        });
    }

    #[track_caller]
    fn assert_open(&self, key: &str) {
        assert_eq!(self.session(key)["state"], "open");
    }
}

fn answer(status: u16) -> Act {
    Act::Answer(Reply::json(status, r#"{"type":"x","title":"no"}"#))
}

fn told_to_wait(seconds: &str) -> Act {
    Act::Answer(Reply::json(429, r#"{"type":"x","title":"slow"}"#).header("retry-after", seconds))
}

#[test]
fn a_session_is_idle_after_ten_minutes_whatever_the_wall_clock_says() {
    let endpoint = Endpoint::start([]);
    let device = Device::new(&endpoint, "");
    device.open("a");
    for wall in [NOW + DECADES, NOW - 24 * 3600 * 1000, 0] {
        device.set_wall(wall);
        device.assert_open("a");
    }
    device.pass(9 * MINUTE + 59 * MINUTE / 60);
    device.assert_open("a");
    device.pass(MINUTE / 60);
    assert_eq!(device.wait_for_state("a", "delivered")["why"], "idle");
}

#[test]
fn an_event_begins_the_ten_minutes_anew_and_a_day_ends_it_all_the_same() {
    let endpoint = Endpoint::start([]);
    let device = Device::new(&endpoint, "session.max_age = \"1h\"");
    device.open("a");
    for minute in (9..60).step_by(9) {
        device.pass(9 * MINUTE);
        device.record("a", &service::event("media.ping", 100 + minute, minute));
        device.set_wall(NOW + i64::from(minute) * DECADES / 60);
    }
    device.pass(5 * MINUTE);
    device.assert_open("a");
    device.pass(MINUTE);
    assert_eq!(device.wait_for_state("a", "delivered")["why"], "age");
}

#[test]
fn deadlines_outlive_a_restart_in_the_same_boot() {
    let endpoint = Endpoint::start([]);
    let mut device = Device::new(&endpoint, "");
    device.open("a");
    device.record("b", &programme("b")[0]);
    device.record("b", &service::event("media.sessionEnd", 5, 5));
    device.stop();
    device.clock.advance(9 * MINUTE);
    device.start();
    assert_eq!(device.wait_for_state("b", "delivered")["why"], "end", "its grace was over");
    device.assert_open("a");
    device.pass(59 * MINUTE / 60);
    device.assert_open("a");
    device.pass(MINUTE / 60);
    assert_eq!(device.wait_for_state("a", "delivered")["why"], "idle");
}

#[test]
fn a_new_boot_completes_what_was_open_and_invents_nothing() {
    let endpoint = Endpoint::start([]);
    let mut device = Device::new(&endpoint, "");
    device.open("a");
    device.reboot(0, "boot-2");
    assert_eq!(device.wait_for_state("a", "delivered")["why"], "boot");
    let body: Value = serde_json::from_slice(&endpoint.requests()[0].body).unwrap();
    let sent = body["events"][0]["xdm"]["mediaDownloadedEvents"].as_array().unwrap();
    assert_eq!(sent, &programme("a"));
}

#[test]
fn the_endpoint_is_given_the_time_it_asked_for_whatever_the_wall_clock_says() {
    let endpoint = Endpoint::start([told_to_wait("3600")]);
    let device = Device::new(&endpoint, "");
    device.play("a");
    device.wait_for_uploader("waiting", "429");
    device.pass(30 * MINUTE);
    for wall in [NOW + DECADES, NOW - 24 * 3600 * 1000, 0] {
        device.set_wall(wall);
        device.wait_for_uploader("waiting", "429");
    }
    device.pass(29 * MINUTE);
    device.wait_for_uploader("waiting", "429");
    assert_eq!(device.session("a")["attempt_count"], 1, "nothing early");
    device.pass(MINUTE);
    device.wait_for_state("a", "delivered");
    assert_eq!(endpoint.requests().len(), 2);
}

#[test]
fn a_reboot_neither_shortens_nor_stretches_that_time() {
    let day = 24 * 3600 * 1000;
    // What the clock said when the endpoint asked, what it says after the boot, and how long is to be waited from there.
    let cases = [
        ("half an hour later", NOW, NOW + 30 * 60_000, 30),
        ("a day back", NOW, NOW - day, 60),
        ("in 1970", NOW, 0, 60),
        ("out of 1970", 0, NOW, 60),
        ("in 1970 both times", 0, 0, 60),
    ];
    for (what, before, after, minutes) in cases {
        let endpoint = Endpoint::start([told_to_wait("3600")]);
        let mut device = Device::new(&endpoint, "");
        device.set_wall(before);
        device.play("a");
        device.wait_for_uploader("waiting", "429");
        device.reboot(after, "boot-2");
        device.wait_for_uploader("waiting", "429");
        // The manual clock stands at one second after the boot.
        device.pass(MINUTE * minutes - Duration::from_secs(2));
        device.wait_for_uploader("waiting", "429");
        assert_eq!(device.session("a")["attempt_count"], 1, "{what}: early");
        device.pass(Duration::from_secs(2));
        device.wait_for_state("a", "delivered");
    }
}

#[test]
fn a_pause_is_probed_by_one_session_when_its_time_has_come() {
    let endpoint = Endpoint::start([answer(401), answer(401)]);
    let device = Device::new(&endpoint, "");
    device.play("a");
    device.wait_for_uploader("paused", "401");
    device.play("b");
    device.play("c");
    device.pass(14 * MINUTE);
    device.wait_for_uploader("paused", "401");
    assert_eq!(endpoint.requests().len(), 1);
    device.pass(MINUTE);
    endpoint.wait_for(2);
    device.wait_for_uploader("paused", "401");
    device.pass(29 * MINUTE);
    device.wait_for_uploader("paused", "401");
    assert_eq!(endpoint.requests().len(), 2);
    device.pass(MINUTE);
    for key in ["a", "b", "c"] {
        device.wait_for_state(key, "delivered");
    }
    assert_eq!(endpoint.requests().len(), 5);
}

#[test]
fn endpoint_24_h_of_503_is_asked_at_most_60_times_and_drained_within_an_hour() {
    const SESSIONS: usize = 20;
    let endpoint = Endpoint::start([]);
    endpoint.whenever("", answer(503));
    let device = Device::new(&endpoint, "");
    for n in 0..SESSIONS {
        device.play(&format!("s{n}"));
    }
    // Small steps where the waits are short.
    let (second, step) = (Duration::from_secs(1), 2 * MINUTE);
    for _ in 0..120 {
        device.pass(5 * second);
    }
    for _ in 0..(DAY - 10 * MINUTE).as_secs() / step.as_secs() {
        device.pass(step);
    }
    let asked = endpoint.requests().len();
    println!("{asked} requests in 24 h of 503 with {SESSIONS} sessions waiting");
    assert!((20..=60).contains(&asked), "{asked} requests");
    let sessions = device.get("/v1/status")["sessions"].clone();
    assert_eq!((&sessions["completed"], &sessions["quarantined"]), (&SESSIONS.into(), &0.into()));
    endpoint.behave();
    let mut left = HOUR;
    while !left.is_zero() {
        device.pass(step);
        left = left.saturating_sub(step);
    }
    wait_for("the backlog to be delivered", || {
        (device.get("/v1/status")["sessions"]["delivered"] == SESSIONS).then_some(())
    });
}

#[test]
fn ten_answers_of_500_over_a_day_set_a_session_apart() {
    // Contract section 11, BACKOFF-10.
    let endpoint = Endpoint::start((0..20).map(|_| answer(500)));
    let device = Device::new(&endpoint, "");
    device.play("a");
    let failed = |times: u64| {
        wait_for(&format!("failure {times}"), || {
            let session = device.session("a");
            let ended =
                session["attempts"].as_array().unwrap().last().is_some_and(|it| !it["ended_at"].is_null());
            (session["attempt_count"] == times && ended).then_some(session)
        })
    };
    for times in 1..=11 {
        assert_eq!(failed(times)["state"], "completed", "{times}");
        // The eleventh is the last within a day of the first.
        device.pass(if times == 11 { 5 * HOUR } else { 2 * HOUR });
        device.set_wall(NOW + DECADES);
    }
    let session = device.wait_for_state("a", "quarantined");
    assert_eq!(session["attempt_count"], 12);
    assert_eq!(session["last_verdict"]["reason"], "500");
}

#[test]
fn what_is_kept_for_a_time_expires_by_the_time_that_passed() {
    let endpoint = Endpoint::start([]);
    endpoint.whenever("refused", answer(400));
    let device = Device::new(&endpoint, "");
    device.play("delivered");
    device.wait_for_state("delivered", "delivered");
    device.play("refused");
    device.wait_for_state("refused", "quarantined");

    // It looks when it writes anyway.
    let look = |key: &str| {
        device.play(key);
        device.wait_for_state(key, "delivered");
    };
    device.pass(29 * DAY);
    device.set_wall(NOW + DECADES);
    look("later");
    assert_eq!(device.session("delivered")["state"], "delivered");
    assert_eq!(device.session("refused")["state"], "quarantined");

    device.set_wall(NOW - 24 * 3600 * 1000);
    device.pass(DAY);
    look("last");
    assert_eq!(device.request("GET", "/v1/sessions/delivered", "").status, 404, "the receipt");
    assert_eq!(device.request("GET", "/v1/sessions/refused", "").status, 404);
    let status = device.get("/v1/status");
    assert_eq!(status["losses"]["expired"], 5, "a loss is counted");
    assert_eq!(status["events"]["acknowledged"], 20);
    assert_eq!(device.session("later")["state"], "delivered");
}
