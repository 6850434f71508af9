//! A device that sleeps: boot time goes on while nothing runs. A time namespace gives the service a boot time that is
//! ahead of its monotonic clock, which is what a suspend looks like afterwards.

use std::process::{Command, Stdio};

use super::endpoint::{Endpoint, Validity};
use super::service::{Service, connect, programme, wait_for};
use super::{CONFIG, Device, call_by, event_times, now_ms};

/// Calls the program in a time namespace whose boot time is so many seconds ahead.
fn after_sleeping(seconds: i64, command: &mut Command) {
    let mut asleep = Command::new("unshare");
    asleep.args(["--time", "--boottime", &seconds.to_string(), "--fork", "--kill-child"]);
    call_by(asleep, command);
}

fn namespaces_work() -> bool {
    let mut tried = Command::new("true");
    after_sleeping(1, &mut tried);
    let works = tried.stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if !works {
        println!("skipped: time namespaces cannot be made here (unshare --time, as root)");
    }
    works
}

/// Ends the service, and waits until it is gone: `kill` meets the one who made the namespace.
fn end(service: Service<'_>) {
    let socket = service.socket.clone();
    service.kill();
    wait_for("the service to be gone", || connect(&socket).is_err().then_some(()));
}

/// Records events that are stamped on arrival; answers when that was.
fn record(service: &Service<'_>, key: &str, events: std::ops::Range<usize>) -> Vec<i64> {
    let events = programme(key).drain(events).collect::<Vec<_>>();
    let stamped = events.into_iter().map(|mut event| {
        event.as_object_mut().unwrap().remove("mediaEventTimestamp");
        let before = now_ms();
        service.record(key, &event);
        (before + now_ms()) / 2
    });
    stamped.collect()
}

#[test]
fn time_asleep_counts_as_time_that_passed() {
    let Some(device) = namespaces_work().then(|| Device::new(Validity::Now, "")).flatten() else { return };
    let plain = Endpoint::start([]);
    device.place.configure(&plain.url(), CONFIG);
    let service = device.start(0);
    let mut really = record(&service, "slept", 0..2);
    record(&service, "idle", 0..5);
    end(service);

    // Five minutes later: both sessions are still open, and the wall clock went on as well.
    let service = device.start_with(300, |command| after_sleeping(300, command));
    assert_eq!(service.get("/v1/sessions/idle")["state"], "open");
    really.extend(record(&service, "slept", 2..5).iter().map(|at| at + 300_000));
    assert_eq!(service.request("POST", "/v1/sessions/slept/complete", b"").status, 200);
    service.wait_for_state("slept", "delivered");
    let told = event_times(&serde_json::from_slice(&plain.requests()[0].body).unwrap());
    super::assert_true(&told, &really);
    end(service);

    // And half an hour, by which the other one is over.
    let service = device.start_with(1800, |command| after_sleeping(1800, command));
    assert_eq!(service.wait_for_state("idle", "delivered")["why"], "idle");
    end(service);

    // Had the wall clock stood still, the time asleep would have been the same.
    let service = device.start(0);
    let before = record(&service, "again", 0..2);
    end(service);
    let service = device.start_with(0, |command| after_sleeping(300, command));
    let after = record(&service, "again", 2..5);
    assert_eq!(service.request("POST", "/v1/sessions/again/complete", b"").status, 200);
    service.wait_for_state("again", "delivered");
    let told = event_times(&serde_json::from_slice(&plain.requests().last().unwrap().body).unwrap());
    let gap = told[2] - told[1] - (after[0] - before[1]);
    assert!(gap.abs_diff(300_000) < 1000, "{gap} ms asleep");
}
