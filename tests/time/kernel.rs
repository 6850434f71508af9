//! What the kernel has to say of the clock: whether something keeps it right, and that it was set. Neither can be had
//! from a machine that others use, so `strace` puts the kernel's answers in. Without it the tests say so and pass.

use std::process::{Child, Command, Stdio};

use afterplay::clock::BUILT_MS;
use serde_json::Value;

use super::endpoint::{Authority, Endpoint, Validity, reserved};
use super::service::{self, Place, Service, wait_for};
use super::{
    CONFIG, DAY, Device, assert_true, at, back_to_1970, call_by, event_times, library, now_ms, play,
};

fn strace_works() -> bool {
    let tried =
        Command::new("strace").args(["-qq", "-e", "trace=none", "true"]).stderr(Stdio::null()).status();
    let works = tried.is_ok_and(|status| status.success());
    if !works {
        println!("skipped: strace is not installed, or may not trace here");
    }
    works
}

/// Calls the service so that whoever asks `adjtimex` gets this answer, and a structure of zeroes: no STA_UNSYNC, and no
/// error at all. The process that was started is the service; `strace` stays in the background.
fn kernel_says(answer: i32, command: &mut Command) {
    let mut traced = Command::new("strace");
    traced
        .args(["-D", "-f", "-qq", "-o", "/dev/null", "-e"])
        .arg(format!("inject=adjtimex,clock_adjtime:retval={answer}"));
    call_by(traced, command);
}

/// 2089-07-01T00:00:00Z
const VALID_AGAIN: i64 = 3_771_014_400;
/// `TIME_OK` and `TIME_ERROR` of `adjtimex`.
const KEPT: i32 = 0;
const NOT_KEPT: i32 = 5;

#[test]
fn a_clock_that_the_kernel_keeps_right_needs_no_question() {
    if !strace_works() {
        return;
    }
    // What the machine's clock says, what the kernel says of it, and who is believed then.
    let cases = [(0, KEPT, "kernel", 0), (0, NOT_KEPT, "date", 1), (back_to_1970(), KEPT, "date", 1)];
    for (off, answer, source, questions) in cases {
        let Some(device) = Device::new(Validity::Now, "clock.trust = \"kernel\"") else { return };
        let service = device.start_with(off, |command| kernel_says(answer, command));
        for key in ["a", "b"] {
            let really = play(&service, key, |_| {});
            assert_eq!(service.wait_for_state(key, "delivered")["time"], "trusted");
            assert_true(device.payloads().last().unwrap(), &really);
        }
        let status = service.status();
        assert_eq!((&status["clock"], &status["clock_source"]), (&"trusted".into(), &source.into()));
        assert_eq!(device.questions(), questions, "{off} {answer}");
        assert_eq!(device.endpoint.requests().len(), 2 + questions, "{off} {answer}");
    }
}

/// `strace` on one thread; gone when dropped.
struct Tracer(Child);

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The thread that waits for the clock to be set hears that it was. The kernel tells so by ending its `read` of the
/// timer with ECANCELED.
fn tell_of_a_set_clock(service: &Service<'_>) -> Tracer {
    let threads = format!("/proc/{}/task", service.child.id());
    let waits = |thread: &std::path::PathBuf| {
        std::fs::read_to_string(thread.join("comm")).is_ok_and(|name| name.trim() == "link-clock")
    };
    let thread = wait_for("the thread that waits for a set clock", || {
        std::fs::read_dir(&threads).unwrap().map(|thread| thread.unwrap().path()).find(waits)
    });
    let strace = Command::new("strace")
        .args(["-qq", "-o", "/dev/null", "-e", "inject=read:error=ECANCELED:when=1", "-p"])
        .arg(thread.file_name().unwrap())
        .stdin(Stdio::null())
        .spawn();
    Tracer(strace.unwrap())
}

#[test]
fn a_set_clock_is_looked_at_once_the_kernel_tells_of_it() {
    let Some(device) = strace_works().then(|| Device::new(Validity::Now, "")).flatten() else { return };
    let plain = Endpoint::start([]);
    device.place.configure(&plain.url(), &format!("{CONFIG}\nclock.trust = \"rtc\""));
    let service = device.start(back_to_1970());
    let really = play(&service, "a", |_| {});
    wait_for("a to wait", || (service.status()["uploader"]["reason"] == "clock").then_some(()));
    device.set(0);
    // From here on nobody asks the service for anything, which would have it look as well.
    let tracer = tell_of_a_set_clock(&service);
    let body: Value = serde_json::from_slice(&plain.wait_for(1)[0].body).unwrap();
    drop(tracer);
    assert_true(&super::times_of(&body), &really);
    assert_eq!(service.wait_for_state("a", "delivered")["time"], "trusted");
    assert_eq!(service.status()["clock_source"], "rtc");
}

#[test]
fn a_set_clock_is_a_reason_to_ask_for_the_time_again() {
    let Some(library) = strace_works().then(library).flatten() else { return };
    let (roots, address) = (Authority::new(), reserved());
    let url = format!("https://{address}/ee/va/v1/downloaded");
    let place = Place::new(&url, &format!("{CONFIG}\nretry.initial = \"30m\""));
    // Nobody listens there until the clock is set.
    let endpoint = Endpoint::start([]);
    let mut device = Device { place, library, roots, endpoint };
    let tls = device.roots.server(&address.ip().to_string(), Validity::Now);
    let service = device.start(-DAY);
    let really = play(&service, "a", |_| {});
    wait_for("the question to fail", || {
        let uploader = service.status()["uploader"].clone();
        (uploader["reason"] == "clock"
            && uploader["next_attempt_at"] != Value::Null
            && uploader["detail"].as_str()?.contains("did not tell"))
        .then_some(())
    });
    let back = Endpoint::start_at(address, Some(tls), []);
    back.tell_time(0);
    let tracer = tell_of_a_set_clock(&service);
    back.wait_for(2);
    drop(tracer);
    service.wait_for_state("a", "delivered");
    drop(service);
    device.endpoint = back;
    assert_true(&device.payloads()[0], &really);
}

#[test]
fn certificates_are_checked_by_the_anchor_once_there_is_one() {
    let Some(device) = strace_works().then(|| Device::new(Validity::Now, "")).flatten() else { return };
    let service = device.start(back_to_1970());
    play(&service, "a", |_| {});
    service.wait_for_state("a", "delivered");
    // No certificate of the tests is valid by these clocks any more, or yet.
    for (key, off) in [("ahead", super::PAST_ALL_CERTIFICATES), ("behind", back_to_1970())] {
        device.set(off);
        let tracer = tell_of_a_set_clock(&service);
        let really = play(&service, key, |_| {});
        service.wait_for_state(key, "delivered");
        drop(tracer);
        assert_true(device.payloads().last().unwrap(), &really);
    }
    assert!(now_ms() > BUILT_MS && device.questions() == 1);
}

#[test]
fn a_certificate_that_is_not_valid_yet_is_tried_again_when_the_clock_is_set() {
    let Some(device) =
        strace_works().then(|| Device::new(Validity::Future, "retry.initial = \"30m\"")).flatten()
    else {
        return;
    };
    let service = device.start(back_to_1970());
    // With times of its own it does not wait for the clock, and finds out by being sent.
    service.play("a");
    let uploader = wait_for("a clear word", || {
        let uploader = service.status()["uploader"].clone();
        (uploader["reason"] == "certificate-time").then_some(uploader)
    });
    assert!(uploader["detail"].as_str().unwrap().contains("check the device's clock"), "{uploader}");
    assert_eq!(service.get("/v1/sessions/a")["state"], "completed");
    // In 2089 it is valid.
    device.set(VALID_AGAIN - now_ms() / 1000);
    let tracer = tell_of_a_set_clock(&service);
    device.endpoint.wait_for(1);
    drop(tracer);
    let session = service.wait_for_state("a", "delivered");
    assert_eq!(session["time"], "given");
    let body: Value = serde_json::from_slice(&device.endpoint.requests()[0].body).unwrap();
    let given: Vec<i64> =
        service::programme("a").iter().map(|event| at(&event["mediaEventTimestamp"])).collect();
    assert_eq!(event_times(&body), given);
}
