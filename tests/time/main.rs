//! The real binary on a machine whose wall clock is wrong (product promise 6, section 6): `libfaketime` gives it another
//! wall clock, which a test can set while it runs. Boot time stays the machine's own. Without the library the tests say
//! so and pass.
#![cfg(target_os = "linux")]

#[path = "../support/endpoint.rs"]
mod endpoint;
#[path = "../support/service.rs"]
mod service;

mod boots;
mod kernel;
mod suspend;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use afterplay::clock::Clock;
use endpoint::{Authority, Endpoint, Reply, Validity, reserved};
use serde_json::Value;
use service::{Place, Service, programme, wait_for};

const DAY: i64 = 24 * 3600;
/// A time at which no certificate of the tests is valid any more.
const PAST_ALL_CERTIFICATES: i64 = 70 * 365 * DAY;
/// The kernel's word must not count here: it speaks of the clock that the library hides.
const CONFIG: &str = "upload.reconnect_jitter = \"0s\"\nclock.trust = \"endpoint\"\nretry.initial = \"50ms\"";
/// A `Date` has whole seconds, and the answer takes its time on a busy machine.
const CLOSE_MS: u64 = 1500;

fn library() -> Option<PathBuf> {
    let folders = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib", "/usr/lib64"];
    let found = folders
        .iter()
        .map(|folder| Path::new(folder).join("faketime/libfaketime.so.1"))
        .find(|library| library.exists());
    if found.is_none() {
        println!("skipped: libfaketime is not there (Debian package libfaketime)");
    }
    found
}

/// Seconds from now back to a moment in 1970.
fn back_to_1970() -> i64 {
    -(now_ms() / 1000 - 3600)
}

fn now_ms() -> i64 {
    Clock::System.now().wall_ms
}

/// A box with a clock of its own.
struct Device {
    place: Place,
    library: PathBuf,
    roots: Authority,
    endpoint: Endpoint,
}

impl Device {
    /// The endpoint is reached by TLS and tells the time.
    fn new(validity: Validity, extra: &str) -> Option<Device> {
        let library = library()?;
        let roots = Authority::new();
        let endpoint = Endpoint::start_tls(roots.server("127.0.0.1", validity), []);
        endpoint.tell_time(0);
        let place = Place::new(&endpoint.url(), &format!("{CONFIG}\n{extra}"));
        Some(Device { place, library, roots, endpoint })
    }

    /// Starts the service; its clock is so many seconds off.
    fn start(&self, off: i64) -> Service<'_> {
        self.start_with(off, |_| {})
    }

    /// The same with changes to how it is called.
    fn start_with(&self, off: i64, change: impl FnOnce(&mut Command)) -> Service<'_> {
        self.set(off);
        let roots = self.place.dir.path().join("roots.pem");
        std::fs::write(&roots, self.roots.pem()).unwrap();
        self.place.start_with(|command| {
            command
                .env("SSL_CERT_FILE", roots)
                .env("SSL_CERT_DIR", self.place.dir.path())
                .env("LD_PRELOAD", &self.library)
                .env("FAKETIME_TIMESTAMP_FILE", self.setting())
                .env("FAKETIME_NO_CACHE", "1")
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
                .env("DONT_FAKE_MONOTONIC", "1")
                .env("TZ", "UTC");
            change(command);
        })
    }

    fn setting(&self) -> PathBuf {
        self.place.dir.path().join("faketime")
    }

    /// Sets the clock so many seconds off.
    fn set(&self, off: i64) {
        let new = self.place.dir.path().join("faketime.new");
        std::fs::write(&new, format!("{off:+}")).unwrap();
        std::fs::rename(new, self.setting()).unwrap();
    }

    /// The payloads that came, each with the times of its events.
    fn payloads(&self) -> Vec<Vec<i64>> {
        let posts = self.endpoint.requests().into_iter().filter(|request| request.method == "POST");
        posts.map(|post| times_of(&serde_json::from_slice(&post.body).unwrap())).collect()
    }

    fn questions(&self) -> usize {
        self.endpoint.requests().iter().filter(|request| request.method == "HEAD").count()
    }
}

/// Lets `by` call the program, in the folder and the environment that it was to have.
fn call_by(mut by: Command, command: &mut Command) {
    by.arg(command.get_program())
        .args(command.get_args())
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .stdin(Stdio::null());
    if let Some(folder) = command.get_current_dir() {
        by.current_dir(folder);
    }
    *command = by;
}

fn times_of(body: &Value) -> Vec<i64> {
    let xdm = &body["events"][0]["xdm"];
    if let Some(sent) = xdm.get("timestamp") {
        assert!(at(sent).abs_diff(now_ms()) < 60_000, "{sent}");
    }
    event_times(body)
}

fn event_times(body: &Value) -> Vec<i64> {
    let events = body["events"][0]["xdm"]["mediaDownloadedEvents"].as_array().unwrap();
    events.iter().map(|event| at(&event["mediaEventTimestamp"])).collect()
}

fn at(time: &Value) -> i64 {
    time.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_millisecond()
}

/// A short session whose events are stamped on arrival, each with the true time at which it was recorded.
fn play(service: &Service<'_>, key: &str, mut between: impl FnMut(usize)) -> Vec<i64> {
    let mut really = Vec::new();
    for (n, mut event) in programme(key).into_iter().enumerate() {
        event.as_object_mut().unwrap().remove("mediaEventTimestamp");
        between(n);
        let before = now_ms();
        service.record(key, &event);
        really.push((before + now_ms()) / 2);
        std::thread::sleep(Duration::from_millis(30));
    }
    assert_eq!(service.request("POST", &format!("/v1/sessions/{key}/complete"), b"").status, 200);
    really
}

#[track_caller]
fn assert_true(told: &[i64], really: &[i64]) {
    assert_eq!(told.len(), really.len());
    for (told, really) in told.iter().zip(really) {
        assert!(told.abs_diff(*really) < CLOSE_MS, "{told} is not {really}");
    }
    assert_intervals(told, really);
}

/// An interval as it was told, and as it was seen from outside, with what a busy machine adds to that.
#[track_caller]
fn assert_intervals(told: &[i64], really: &[i64]) {
    for (told, really) in told.windows(2).zip(really.windows(2)) {
        let (told, really) = (told[1] - told[0], really[1] - really[0]);
        assert!(told > 0 && told.abs_diff(really) < 1000, "{told} ms is not {really} ms");
    }
}

#[test]
fn a_box_in_1970_asks_for_the_time_once_and_tells_the_truth() {
    let Some(device) = Device::new(Validity::Now, "") else { return };
    let service = device.start(back_to_1970());
    assert_eq!(service.status()["clock"], "untrusted");
    let really = play(&service, "a", |_| {});
    let session = service.wait_for_state("a", "delivered");
    assert!(session["as_recorded"]["started_at"].as_str().unwrap().starts_with("1970-"), "{session}");
    assert_eq!(session["time"], "trusted");
    assert!(
        !session.to_string().replace(&session["as_recorded"].to_string(), "").contains("\"1970"),
        "{session}"
    );
    let delivered: jiff::Timestamp = session["receipt"]["delivered_at"].as_str().unwrap().parse().unwrap();
    assert!(delivered.as_millisecond().abs_diff(now_ms()) < 60_000, "{session}");
    let really_b = play(&service, "b", |_| {});
    service.wait_for_state("b", "delivered");
    let payloads = device.payloads();
    assert_true(&payloads[0], &really);
    assert_true(&payloads[1], &really_b);
    assert_eq!(device.questions(), 1);
    let status = service.status();
    assert_eq!((&status["clock"], &status["clock_source"]), (&"trusted".into(), &"date".into()));
    let behind = status["clock_behind_s"].as_i64().unwrap();
    assert!(behind.abs_diff(-back_to_1970()) < 10, "{behind}");
    assert!(device.place.log_text().contains("boot+"), "no line of the log has a date of 1970");
}

#[test]
fn a_clock_that_was_kept_from_yesterday_is_not_believed() {
    let Some(device) = Device::new(Validity::Now, "") else { return };
    for off in [-2 * DAY, 2 * DAY, 56 * 365 * DAY] {
        let key = format!("off-by-{off}");
        let _ = std::fs::remove_dir_all(device.place.dir.path().join("state"));
        let service = device.start(off);
        let really = play(&service, &key, |_| {});
        service.wait_for_state(&key, "delivered");
        assert_true(device.payloads().last().unwrap(), &really);
    }
}

#[test]
fn a_clock_that_is_set_in_mid_session_changes_no_interval() {
    let Some(device) = Device::new(Validity::Now, "") else { return };
    let cases =
        [(back_to_1970(), 0), (0, DAY), (0, -DAY), (0, 56 * 365 * DAY), (0, PAST_ALL_CERTIFICATES), (DAY, 0)];
    for (number, (before, after)) in cases.into_iter().enumerate() {
        let key = format!("step-{number}");
        let _ = std::fs::remove_dir_all(device.place.dir.path().join("state"));
        let service = device.start(before);
        let really = play(&service, &key, |n| {
            if n == 2 {
                device.set(after);
            }
        });
        // Too far ahead for the certificate: the clock has to come back before anybody can say so.
        if after == PAST_ALL_CERTIFICATES {
            wait_for("a clear word", || {
                let uploader = service.status()["uploader"].clone();
                let clear =
                    uploader["detail"].as_str().is_some_and(|it| it.contains("certificate is not valid"));
                (uploader["reason"] == "clock" && clear).then_some(())
            });
            assert_eq!(service.get(&format!("/v1/sessions/{key}"))["attempt_count"], 0);
            device.set(0);
        }
        service.wait_for_state(&key, "delivered");
        assert_true(device.payloads().last().unwrap(), &really);
    }
}

#[test]
fn without_anybody_to_ask_times_are_estimated_when_they_were_held_for_long_enough() {
    let Some(device) = Device::new(Validity::Now, "clock.hold_max = \"3s\"") else { return };
    let plain = Endpoint::start([]);
    device.place.configure(&plain.url(), &format!("{CONFIG}\nclock.hold_max = \"3s\""));
    let service = device.start(back_to_1970());
    let really = play(&service, "a", |_| {});
    let waiting = wait_for("a to wait", || {
        let uploader = service.status()["uploader"].clone();
        (uploader["reason"] == "clock").then_some(uploader)
    });
    assert!(waiting["detail"].as_str().unwrap().contains("1970-"), "{waiting}");
    assert!(plain.requests().is_empty(), "a clock that proves nothing is not asked for");
    let session = service.wait_for_state("a", "delivered");
    assert_eq!((&session["time"], &session["receipt"]["time"]), (&"estimated".into(), &"estimated".into()));
    let in_order = [&session["started_at"], &session["completed_at"], &session["receipt"]["delivered_at"]];
    let in_order = in_order.map(at);
    assert!(in_order.is_sorted() && in_order[2] <= at(&session["delivered_at"]) + 5000, "{session}");
    let body: Value = serde_json::from_slice(&plain.requests()[0].body).unwrap();
    assert_eq!(body["events"][0]["xdm"].get("timestamp"), None, "nobody knows what time it is");
    let told = times_of(&body);
    assert!(told.iter().all(|at| *at >= afterplay::clock::BUILT_MS), "{told:?}");
    assert_intervals(&told, &really);
    let shown = device.place.run(&["show", "a"]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("time: estimated"), "{shown:?}");
    let listed = device.place.run(&["sessions"]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains('~'), "{listed:?}");
    assert_eq!(service.status()["estimated"], 1);
}

#[test]
fn what_was_held_for_long_enough_waits_for_a_last_answer_and_is_not_told_wrong_by_attempts_in_vain() {
    let Some(device) = Device::new(Validity::Now, "") else { return };
    let address = reserved();
    let config = format!("{CONFIG}\nclock.hold_max = \"1s\"\nretry.max = \"1s\"");
    device.place.configure(&format!("https://{address}/ee/va/v1/downloaded"), &config);
    let service = device.start(back_to_1970());
    let really = play(&service, "a", |_| {});
    wait_for("attempts on a closed port", || {
        (service.get("/v1/sessions/a")["attempt_count"].as_u64() >= Some(2)).then_some(())
    });
    service.signal("STOP");
    let tls = device.roots.server(&address.ip().to_string(), Validity::Now);
    let endpoint = Endpoint::start_at(address, Some(tls), []);
    endpoint.tell_time(0);
    service.signal("CONT");
    assert_eq!(service.wait_for_state("a", "delivered")["time"], "trusted");
    let requests = endpoint.requests();
    assert_eq!(requests.iter().map(|it| it.method.as_str()).collect::<Vec<_>>(), ["HEAD", "POST"]);
    assert_true(&times_of(&serde_json::from_slice(&requests[1].body).unwrap()), &really);
    assert_eq!(service.status()["estimated"], 0);
}

#[test]
fn a_certificate_that_is_not_valid_yet_is_a_wait_and_no_verdict() {
    let Some(device) = Device::new(Validity::Future, "") else { return };
    let service = device.start(back_to_1970());
    play(&service, "a", |_| {});
    let detail = wait_for("a clear word", || {
        let uploader = service.status()["uploader"].clone();
        let detail = uploader["detail"].as_str().unwrap_or_default().to_owned();
        (uploader["state"] == "waiting" && detail.contains("certificate is not valid")).then_some(detail)
    });
    assert!(detail.contains("the clock must be set"), "{detail}");
    let session = service.get("/v1/sessions/a");
    assert_eq!((&session["attempt_count"], &session["last_verdict"]), (&0.into(), &Value::Null));
}

#[test]
fn who_answers_without_a_date_time_and_again_has_no_clock() {
    let Some(library) = library() else { return };
    let roots = Authority::new();
    let endpoint = Endpoint::start_tls(roots.server("127.0.0.1", Validity::Now), []);
    endpoint.first_questions([204, 204, 204, 204].map(|status| Reply::new(status, "")));
    let place = Place::new(&endpoint.url(), CONFIG);
    let device = Device { place, library, roots, endpoint };
    let service = device.start(0);
    for key in ["a", "b"] {
        play(&service, key, |_| {});
        assert_eq!(service.wait_for_state(key, "delivered")["time"], "assumed");
    }
    assert_eq!(device.questions(), 3);
}

#[test]
fn answers_without_a_date_end_no_asking_while_the_clock_is_wrong() {
    // One that came from a balancer; and an endpoint that has no clock, until somebody hurries it.
    for (script, off, flush) in
        [(&[503][..], -2 * DAY, false), (&[204], back_to_1970(), false), (&[204; 3], back_to_1970(), true)]
    {
        let Some(device) = Device::new(Validity::Now, "") else { return };
        device.endpoint.first_questions(script.iter().map(|status| Reply::new(*status, "")));
        let service = device.start(off);
        let really = play(&service, "a", |_| {});
        if flush {
            wait_for("a clear word", || {
                let detail = service.status()["uploader"]["detail"].clone();
                detail.as_str()?.contains("answers without a date").then_some(())
            });
            assert_eq!(service.request("POST", "/v1/flush", b"").status, 202);
        }
        assert_eq!(service.wait_for_state("a", "delivered")["time"], "trusted");
        assert_true(&device.payloads()[0], &really);
    }
}

#[test]
fn a_date_out_of_a_cache_is_asked_for_again() {
    let Some(device) = Device::new(Validity::Now, "") else { return };
    let kept = Reply::new(404, "").header("date", "Sun, 22 Nov 2026 21:40:00 GMT").header("age", "36000");
    device.endpoint.first_questions([kept]);
    let service = device.start(back_to_1970());
    let really = play(&service, "a", |_| {});
    assert_eq!(service.wait_for_state("a", "delivered")["time"], "trusted");
    assert_true(&device.payloads()[0], &really);
    let asked = device.endpoint.requests().into_iter().filter(|request| request.method == "HEAD");
    assert_eq!(
        asked.map(|it| it.header("cache-control").map(str::to_owned)).collect::<Vec<_>>(),
        vec![Some("no-cache".to_owned()); 2]
    );
}

#[test]
fn local_time_with_an_offset_and_the_hour_that_comes_twice_are_told_in_utc() {
    let Some(device) = Device::new(Validity::Now, "") else { return };
    let service = device.start(0);
    let said = [
        // The night in which Berlin sets its clocks back: 02:30 comes twice.
        "2026-10-25T02:30:00.000+02:00",
        "2026-10-25T02:59:59.999+02:00",
        "2026-10-25T02:00:00.500+01:00",
        "2026-10-25T02:30:00+01:00",
        "2026-10-25T01:30:00.250Z",
    ];
    for (mut event, said) in programme("dst").into_iter().zip(said) {
        event["mediaEventTimestamp"] = said.into();
        service.record("dst", &event);
    }
    assert_eq!(service.request("POST", "/v1/sessions/dst/complete", b"").status, 200);
    assert_eq!(service.wait_for_state("dst", "delivered")["time"], "given");
    let expected: Vec<i64> =
        said.iter().map(|said| said.parse::<jiff::Timestamp>().unwrap().as_millisecond()).collect();
    assert_eq!(device.payloads()[0], expected);
    assert_eq!(device.questions(), 0, "the player's own clock needs none of ours");
}

#[test]
fn the_years_2038_and_2106_are_like_any_other() {
    let Some(device) = Device::new(Validity::Now, "") else { return };
    let plain = Endpoint::start([]);
    device.place.configure(&plain.url(), CONFIG);
    // 2038-01-19T03:14:07Z and 2106-02-07T06:28:15Z, the ends of 32 bits.
    for end in [1_i64 << 31, 1 << 32] {
        let key = end.to_string();
        let off = end - now_ms() / 1000;
        let _ = std::fs::remove_dir_all(device.place.dir.path().join("state"));
        let service = device.start(off);
        let really: Vec<i64> = play(&service, &key, |_| {}).iter().map(|at| at + off * 1000).collect();
        let session = service.wait_for_state(&key, "delivered");
        let year = if end == 1 << 31 { "2038-" } else { "2106-" };
        assert!(session["started_at"].as_str().unwrap().starts_with(year), "{session}");
        let body: Value = serde_json::from_slice(&plain.requests().last().unwrap().body).unwrap();
        assert_true(&event_times(&body), &really);
    }
}
