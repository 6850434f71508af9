//! A clock that cannot be trusted yet: sessions wait for the time, are told it exactly, or are put where they fit.

use serde_json::Value;

use super::endpoint::{Endpoint, reserved};
use super::service::programme;
use super::*;

/// A session whose events are stamped on arrival, so that its times are those of our clock.
fn unstamped(key: &str) -> Vec<Value> {
    let mut events = programme(key);
    for event in &mut events {
        event.as_object_mut().unwrap().remove("mediaEventTimestamp");
    }
    events
}

impl Device {
    /// A device whose clock begins here and that nobody keeps right.
    fn clockless(endpoint: &Endpoint, wall_ms: i64, extra: &str) -> Device {
        let mut device = Device::new(endpoint, extra);
        device.stop();
        device.clock.set_synchronised(false);
        std::fs::remove_dir_all(device.place.journal().parent().unwrap()).unwrap();
        device.clock.reboot(wall_ms, "boot-1");
        device.start();
        device
    }

    /// Records a session with a second between two events, and completes it.
    fn play_unstamped(&self, key: &str) {
        for event in unstamped(key) {
            self.record(key, &event);
            self.clock.advance(Duration::from_secs(1));
        }
        assert_eq!(self.request("POST", &format!("/v1/sessions/{key}/complete"), "").status, 200);
    }

    fn clock_now(&self) -> i64 {
        Clock::Manual(Arc::clone(&self.clock)).now().wall_ms
    }

    /// Something has set the clock, and keeps it right from now on.
    fn synchronise(&self, wall_ms: i64) {
        self.clock.set_synchronised(true);
        self.set_wall(wall_ms);
    }
}

/// The times of the events of each payload that came, in milliseconds since 1970, by the name of the session.
fn sent_times(endpoint: &Endpoint) -> std::collections::BTreeMap<String, Vec<i64>> {
    let payloads = endpoint.requests().into_iter().map(|request| {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        body["events"][0]["xdm"].clone()
    });
    payloads
        .map(|xdm| {
            let events = xdm["mediaDownloadedEvents"].as_array().unwrap();
            let name = events[0]["mediaCollection"]["sessionDetails"]["name"].as_str().unwrap().to_owned();
            let at = |event: &Value| -> i64 {
                let at: jiff::Timestamp = event["mediaEventTimestamp"].as_str().unwrap().parse().unwrap();
                at.as_millisecond()
            };
            (name, events.iter().map(at).collect())
        })
        .collect()
}

/// Five moments, a second apart.
fn seconds_from(first: i64) -> Vec<i64> {
    (0..5).map(|n| first + n * 1000).collect()
}

#[test]
fn a_session_of_1970_waits_for_the_time_and_then_has_it() {
    let endpoint = Endpoint::start([]);
    let device = Device::clockless(&endpoint, 0, "");
    device.play_unstamped("a");
    device.wait_for_uploader("waiting", "clock");
    let status = device.get("/v1/status");
    assert_eq!((&status["clock"], &status["clock_source"]), (&"untrusted".into(), &Value::Null));
    // A player with a clock of its own needs none of ours.
    device.play("foreign");
    device.wait_for_state("foreign", "delivered");
    assert_eq!(device.session("a")["attempt_count"], 0);
    // Boot time stands at 6 s: the session began 5 s ago.
    device.synchronise(NOW + 7000);
    let session = device.wait_for_state("a", "delivered");
    assert_eq!(session["time"], "trusted");
    assert_eq!(session["receipt"]["time"], "trusted");
    assert_eq!(device.session("foreign")["started_at"], "2026-11-01T00:00:07.000Z");
    assert_eq!(session["as_recorded"]["started_at"], "1970-01-01T00:00:00.000Z");
    assert_eq!(session["started_at"], "2026-11-01T00:00:02.000Z");
    assert_eq!(sent_times(&endpoint)["a"], seconds_from(NOW + 2000));
    let status = device.get("/v1/status");
    assert_eq!((&status["clock"], &status["clock_source"]), (&"trusted".into(), &"kernel".into()));
    assert_eq!(status["clock_since"], "2026-11-01T00:00:07.000Z");
    assert_eq!(status["estimated"], 0);
}

#[test]
fn the_payload_of_a_second_attempt_is_that_of_the_first_whatever_is_learnt_of_the_time() {
    let endpoint = Endpoint::start([answer(503)]);
    let device = Device::clockless(&endpoint, NOW + 5000, "");
    device.play_unstamped("a");
    device.wait_for_uploader("waiting", "503");
    assert_eq!(device.session("a")["time"], "assumed");
    device.synchronise(NOW + DECADES);
    device.pass(HOUR);
    device.wait_for_state("a", "delivered");
    let bodies: Vec<Vec<u8>> = endpoint.requests().into_iter().map(|request| request.body).collect();
    assert_eq!(bodies.len(), 2);
    assert_eq!(bodies[0], bodies[1]);
}

#[test]
fn a_clock_that_is_set_in_mid_session_changes_no_interval() {
    for step in [DECADES, 24 * 3600 * 1000, -24 * 3600 * 1000] {
        let endpoint = Endpoint::start([]);
        let device = Device::clockless(&endpoint, NOW + 48 * 3600 * 1000, "");
        let events = unstamped("a");
        for (n, event) in events.iter().enumerate() {
            if n == 3 {
                device.synchronise(NOW + 48 * 3600 * 1000 + step);
            }
            device.record("a", event);
            device.clock.advance(Duration::from_secs(1));
        }
        assert_eq!(device.request("POST", "/v1/sessions/a/complete", "").status, 200);
        device.wait_for_state("a", "delivered");
        // Three seconds had passed when the clock was set.
        let first = NOW + 48 * 3600 * 1000 + step - 3000;
        assert_eq!(sent_times(&endpoint)["a"], seconds_from(first), "{step}");
    }
}

#[test]
fn a_leap_second_is_a_second_that_passed() {
    // A second before the end of 2026; the kernel says 23:59:59 twice. Two readings of one moment may differ by one.
    const MIDNIGHT: i64 = 1_798_761_600_000;
    for (step, stamped) in [(1000, false), (999, false), (1000, true), (999, true), (1001, true)] {
        let endpoint = Endpoint::start([]);
        let device = Device::clockless(&endpoint, 0, "");
        device.synchronise(MIDNIGHT - 1500);
        for (n, event) in unstamped("a").iter_mut().enumerate() {
            if n == 3 {
                device.set_wall(device.clock_now() - step);
            }
            if stamped {
                event["mediaEventTimestamp"] = afterplay::clock::rfc3339(device.clock_now()).into();
            }
            device.record("a", event);
            device.clock.advance(Duration::from_millis(500));
        }
        assert_eq!(device.request("POST", "/v1/sessions/a/complete", "").status, 200);
        assert_eq!(device.wait_for_state("a", "delivered")["time"], "trusted");
        let told = &sent_times(&endpoint)["a"];
        let intervals: Vec<i64> = told.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(intervals, [500; 4], "{step} {stamped}");
        assert!(told[0].abs_diff(MIDNIGHT - 1500) <= 1001, "{step} {stamped} {}", told[0]);
    }
}

#[test]
fn local_time_of_the_same_clock_moves_with_it() {
    let endpoint = Endpoint::start([]);
    let device = Device::clockless(&endpoint, 0, "");
    // A player an hour east of Greenwich, in 1970; the clock is set when three of its events have come.
    for (n, event) in unstamped("a").iter_mut().enumerate() {
        if n == 3 {
            device.synchronise(NOW + 4000);
        }
        let local = afterplay::clock::rfc3339(device.clock_now() + 3_600_000).replace('Z', "+01:00");
        event["mediaEventTimestamp"] = local.into();
        device.record("a", event);
        device.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(device.request("POST", "/v1/sessions/a/complete", "").status, 200);
    assert_eq!(device.wait_for_state("a", "delivered")["time"], "trusted");
    assert_eq!(sent_times(&endpoint)["a"], seconds_from(NOW + 1000));
}

#[test]
fn boots_without_a_clock_are_put_before_the_one_that_has_it() {
    let endpoint = Endpoint::start([]);
    let mut device = Device::clockless(&endpoint, 0, "");
    device.play_unstamped("a");
    device.reboot(0, "boot-2");
    device.play_unstamped("b");
    device.pass(HOUR);
    device.reboot(0, "boot-3");
    device.play_unstamped("c");
    device.wait_for_uploader("waiting", "clock");
    assert!(endpoint.requests().is_empty());
    device.synchronise(NOW + 24 * 3600 * 1000);
    for key in ["a", "b", "c"] {
        device.wait_for_state(key, "delivered");
    }
    // The third boot had lasted 6 s. The ones before lasted until the service stopped: 6 s, and an hour more.
    let third = NOW + 24 * 3600 * 1000 - 6000;
    let times = sent_times(&endpoint);
    assert_eq!(times["c"], seconds_from(third + 1000));
    let hour = 3_600_000;
    assert_eq!(times["b"], seconds_from(third - hour - 6000 + 1000));
    assert_eq!(times["a"], seconds_from(third - hour - 12_000 + 1000));
    for (key, time) in [("a", "estimated"), ("b", "estimated"), ("c", "trusted")] {
        let session = device.session(key);
        assert_eq!((&session["time"], &session["receipt"]["time"]), (&time.into(), &time.into()), "{key}");
    }
    assert_eq!(device.get("/v1/status")["estimated"], 2);
    let metrics = device.request("GET", "/metrics", "").text();
    assert!(metrics.contains("afterplay_sessions_estimated_total 2\n"), "{metrics}");
}

#[test]
fn nothing_is_held_for_ever() {
    let endpoint = Endpoint::start([]);
    let device = Device::clockless(&endpoint, 0, "");
    device.play_unstamped("a");
    device.pass(6 * DAY);
    device.wait_for_uploader("waiting", "clock");
    // The clock being set to a wrong time is no time that passes.
    device.set_wall(400 * 24 * 3600 * 1000);
    device.wait_for_uploader("waiting", "clock");
    assert!(endpoint.requests().is_empty());
    device.pass(DAY);
    assert_eq!(device.wait_for_state("a", "delivered")["time"], "estimated");
    assert_eq!(sent_times(&endpoint)["a"], seconds_from(NOW + 1000), "right after this program was made");
    let body = String::from_utf8(endpoint.requests()[0].body.clone()).unwrap();
    assert!(!body.contains("\"19"), "no date of before: {body}");
}

#[test]
fn a_hardware_clock_that_jumps_ahead_expires_nothing() {
    let endpoint = Endpoint::start([]);
    endpoint.whenever("refused", answer(400));
    let mut device = Device::clockless(&endpoint, NOW, "clock.trust = \"rtc\"");
    device.play("refused");
    device.wait_for_state("refused", "quarantined");
    let year = 365 * 24 * 3600 * 1000;
    device.reboot(NOW + year, "boot-2");
    assert_eq!(device.get("/v1/status")["clock_source"], "rtc");
    assert_eq!(device.session("refused")["state"], "quarantined");
}

#[test]
fn attempts_that_never_left_the_device_fix_no_times() {
    let address = reserved();
    let endpoint = Endpoint::start_at(address, None, []);
    let device = Device::clockless(&endpoint, 0, "");
    drop(endpoint);
    device.play_unstamped("a");
    device.pass(8 * DAY);
    wait_for("an attempt on a closed port", || {
        (device.session("a")["last_verdict"]["verdict"] == "backoff").then_some(())
    });
    assert_eq!(device.session("a")["time"], "estimated");
    device.synchronise(NOW + DECADES);
    assert_eq!(device.session("a")["time"], "trusted");
    let endpoint = Endpoint::start_at(address, None, []);
    assert_eq!(device.request("POST", "/v1/flush", "").status, 202);
    assert_eq!(device.wait_for_state("a", "delivered")["time"], "trusted");
    let boot = NOW + DECADES - Clock::Manual(Arc::clone(&device.clock)).now().boot_ms;
    assert_eq!(sent_times(&endpoint)["a"], seconds_from(boot + 1000));
    assert_eq!(device.get("/v1/status")["estimated"], 0);
}

#[test]
fn a_clock_far_ahead_neither_expires_nor_retries_anything_at_the_next_boot() {
    let endpoint = Endpoint::start([]);
    endpoint.whenever("refused", answer(400));
    endpoint.whenever("limited", told_to_wait("3600"));
    let mut device = Device::new(&endpoint, "");
    device.play("delivered");
    device.wait_for_state("delivered", "delivered");
    device.play("refused");
    device.wait_for_state("refused", "quarantined");
    device.play("limited");
    device.wait_for_uploader("waiting", "429");
    let sent = endpoint.requests().len();
    device.clock.set_synchronised(false);
    for (wall, boot) in [(NOW + DECADES, "boot-2"), (NOW - 24 * 3600 * 1000, "boot-3"), (0, "boot-4")] {
        device.reboot(wall, boot);
        device.wait_for_uploader("waiting", "429");
        assert_eq!(device.session("delivered")["state"], "delivered", "{boot}");
        assert_eq!(device.session("refused")["state"], "quarantined", "{boot}");
        assert_eq!(endpoint.requests().len(), sent, "{boot}: nothing early");
    }
    device.synchronise(NOW + 31 * 24 * 3600 * 1000);
    device.reboot(NOW + 31 * 24 * 3600 * 1000, "boot-5");
    assert_eq!(
        device.request("GET", "/v1/sessions/delivered", "").status,
        404,
        "it is as old as that by now"
    );
}
