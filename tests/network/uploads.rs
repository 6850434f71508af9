//! The real service on a network of its own that goes down and comes up: offline it neither waits on a timer nor sends
//! a packet, and when the link is up the upload starts within two seconds (product promise 10).

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::scene::Scene;
use crate::service::{Service, wait_for};

/// How often each thread of the service was put to sleep or off the processor. Helpers of the runtime that have nothing
/// to do end by themselves some seconds later; that is not a timer that comes back.
fn switches(service: &Service<'_>) -> Vec<(String, u64)> {
    let mut all = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{}/task", service.child.id())).unwrap().flatten() {
        let Ok(status) = std::fs::read_to_string(task.path().join("status")) else { continue };
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
        let name = format!("{} {}", field("Name:"), field("Pid:"));
        if !name.starts_with("tokio-") {
            all.push((name, field("voluntary_ctxt_switches:").parse().unwrap()));
        }
    }
    all.sort();
    all
}

/// There must be a stretch in which the service does not wake up once and no packet is sent.
#[track_caller]
fn assert_rests(scene: &Scene, service: &Service<'_>) {
    let mut tries = Vec::new();
    // What was just done may have an echo, and the kernel has things of its own to say.
    for _ in 0..4 {
        let before = (switches(service), scene.sent());
        assert!(before.0.len() >= 4, "main, journal, netlink and clock: {before:?}");
        // Nothing is waited for: that nothing happens for so long is what is tested.
        std::thread::sleep(Duration::from_secs(2));
        let after = (switches(service), scene.sent());
        if before == after {
            return;
        }
        tries.push((before, after));
    }
    panic!("it woke up or sent something in each of four stretches: {tries:#?}");
}

fn wait_for_link(service: &Service<'_>, link: &str) -> Value {
    wait_for(&format!("the link to be {link}"), || {
        let status = service.status();
        (status["link"] == link).then_some(status)
    })
}

/// The clock is vouched for, so that the endpoint need not be asked for the time.
const CONFIG: &str =
    "upload.reconnect_jitter = \"0s\"\nretry.initial = \"1h\"\nretry.max = \"1h\"\nclock.trust = \"rtc\"";

#[test]
fn offline_it_rests_and_with_the_link_the_upload_starts() {
    let Some(scene) = Scene::make("link", CONFIG) else { return };
    scene.cable(false);
    let service = scene.start();
    wait_for_link(&service, "offline");
    service.play("a");
    let status = wait_for("a to wait", || {
        let status = service.status();
        (status["uploader"]["reason"] == "offline").then_some(status)
    });
    assert_eq!(status["uploader"]["state"], "waiting");
    assert_eq!(status["uploader"]["next_attempt_at"], Value::Null, "no timer");
    assert_rests(&scene, &service);
    assert_eq!(service.get("/v1/sessions/a")["attempt_count"], 0);

    scene.cable_brings_an_upload();
    service.wait_for_state("a", "delivered");
    assert_eq!(service.status()["link"], "online");

    // And once more, on a link that has been good: no failure and no wait is left over.
    scene.cable(false);
    wait_for_link(&service, "offline");
    service.play("b");
    wait_for("b to wait", || (service.status()["uploader"]["reason"] == "offline").then_some(()));
    scene.cable_brings_an_upload();
    let delivered = service.wait_for_state("b", "delivered");
    assert_eq!(delivered["receipt"]["attempts"], 1);
}

#[test]
fn with_nothing_to_send_it_rests_on_a_good_link_too() {
    let Some(scene) = Scene::make("rest", CONFIG) else { return };
    let service = scene.start();
    assert_eq!(service.status()["link"], "unknown", "nothing has been tried");
    assert_rests(&scene, &service);

    service.play("a");
    service.wait_for_state("a", "delivered");
    // No connection is kept that would have to be closed later.
    assert_rests(&scene, &service);
    assert_eq!(service.status()["uploader"]["state"], "idle");
}

#[test]
fn a_link_that_dies_under_an_upload_costs_nothing_but_time() {
    let config = format!(
        "{CONFIG}
upload.connect_timeout = \"60s\""
    );
    let Some(scene) = Scene::make("dies", &config) else { return };
    // The service has sent, and waits.
    scene.address(false);
    let service = scene.start();
    service.play("a");
    wait_for("an attempt", || (service.status()["uploader"]["state"] == "sending").then_some(()));
    scene.cable(false);
    wait_for_link(&service, "offline");
    service.play("b");

    scene.address(true);
    // What hangs on the old path does not hold up the new one.
    scene.cable_brings_an_upload();
    service.wait_for_state("b", "delivered");
    service.wait_for_state("a", "delivered");
    assert_eq!(service.status()["sessions"]["quarantined"], 0);
}

#[test]
fn endpoint_500_link_flaps_consume_nothing() {
    let Some(scene) = Scene::make("flap", "upload.reconnect_jitter = \"0s\"") else { return };
    let service = scene.start();
    let began = Instant::now();
    for n in 0..500 {
        scene.cable(n % 2 == 1);
        if n % 100 == 0 {
            service.play(&format!("s{n}"));
        }
    }
    scene.cable(true);
    let flapped = began.elapsed().as_secs();
    for n in (0..500).step_by(100) {
        let session = service.wait_for_state(&format!("s{n}"), "delivered");
        // One attempt a second on a link that comes and goes.
        let attempts = session["attempt_count"].as_u64().unwrap();
        assert!(attempts <= flapped + 5, "{attempts} attempts in {flapped} s");
    }
    let status = service.status();
    assert_eq!(status["sessions"]["quarantined"], 0);
    assert_eq!(status["events"]["delivered"], status["events"]["acknowledged"]);
}

#[test]
fn endpoint_on_a_way_that_changes_all_the_time_is_asked_once_a_second() {
    let Some(scene) = Scene::make("roam", CONFIG) else { return };
    // Each attempt ends at once, and only a new way ends the wait after it.
    scene.place.configure(&Scene::nobody(), CONFIG);
    let service = scene.start();
    service.play("a");
    for n in 0..10 {
        scene.roam(2 + n % 2);
        // A little longer than a burst of changes is waited out.
        std::thread::sleep(Duration::from_millis(560));
    }
    let session = service.get("/v1/sessions/a");
    let attempts = session["attempts"].as_array().unwrap();
    let began: Vec<jiff::Timestamp> =
        attempts.iter().map(|attempt| attempt["at"].as_str().unwrap().parse().unwrap()).collect();
    assert!(began.len() >= 3, "a new way is tried: {session}");
    for two in began.windows(2) {
        let apart = two[1].as_millisecond().abs_diff(two[0].as_millisecond());
        // The wall clock that tells may itself be set a little.
        assert!(apart >= 950, "{apart} ms between two attempts: {session}");
    }
}
