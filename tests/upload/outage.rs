//! The endpoint is away, or as good as away: product promises 3 to 5.

use serde_json::Value;

use crate::endpoint::{Act, Endpoint, Reply, reserved};
use crate::service::{Place, wait_for};
use crate::{QUICK, names, session, wait_for_delivered, wait_for_uploader};

#[test]
fn offline_then_online() {
    let address = reserved();
    let place = Place::new(&format!("http://{address}/ee/va/v1/downloaded"), QUICK);
    let service = place.start();
    for key in ["a", "b", "c"] {
        service.play(key);
    }
    let status = wait_for_uploader(&service, "waiting", Some("connect"));
    assert!(status["uploader"]["next_attempt_at"].is_string(), "{status}");
    assert_eq!(status["sessions"]["completed"], 3);
    wait_for("some attempts", || (session(&service, "a")["attempt_count"].as_u64() > Some(2)).then_some(()));
    let first = session(&service, "a");
    assert_eq!(first["last_verdict"]["verdict"], "backoff");
    assert_eq!(first["attempts"][0]["maybe_delivered"], false);

    let endpoint = Endpoint::start_at(address, None, []);
    let status = wait_for_delivered(&service, 3);
    assert_eq!(status["link"], "online");
    assert_eq!(status["possible_duplicates"], 0);
    let mut sent = names(&endpoint.requests());
    sent.sort();
    assert_eq!(sent, ["a", "b", "c"], "each once");
    wait_for_uploader(&service, "idle", None);
}

#[test]
fn a_backlog_is_delivered_after_a_restart_oldest_first() {
    let endpoint = Endpoint::start([]);
    let place = Place::new(&endpoint.url(), &format!("{QUICK}\ndatastream_id = \"\""));
    let service = place.start();
    let keys = ["e", "d", "c", "b", "a"];
    for key in keys {
        service.play(key);
    }
    assert!(service.stop().success());

    // One at a time shows the order.
    place.configure(&endpoint.url(), &format!("{QUICK}\nupload.concurrency = 1"));
    let service = place.start();
    let status = wait_for_delivered(&service, 5);
    assert_eq!(status["events"], serde_json::json!({ "stored": 0, "acknowledged": 25, "delivered": 25 }));
    assert_eq!(names(&endpoint.requests()), keys);
}

#[test]
fn what_failed_before_a_restart_is_delivered_after_it() {
    let address = reserved();
    let place = Place::new(&format!("http://{address}/ee/va/v1/downloaded"), QUICK);
    let service = place.start();
    for key in ["a", "b", "c"] {
        service.play(key);
    }
    wait_for_uploader(&service, "waiting", Some("connect"));
    service.kill();
    let endpoint = Endpoint::start_at(address, None, []);
    let service = place.start();
    wait_for_delivered(&service, 3);
    let mut sent = names(&endpoint.requests());
    sent.sort();
    assert_eq!(sent, ["a", "b", "c"], "each once");
}

#[test]
fn unavailable_twice_and_then_taken_is_one_delivery_of_the_same_bytes() {
    let busy = || Act::Answer(Reply::json(503, r#"{"type":"x","title":"busy"}"#));
    let endpoint = Endpoint::start([busy(), busy()]);
    let place = Place::new(&endpoint.url(), QUICK);
    let service = place.start();
    service.play("a");
    let delivered = service.wait_for_state("a", "delivered");
    let requests = endpoint.requests();
    assert_eq!(requests.len(), 3);
    assert!(requests.iter().all(|request| request.body == requests[0].body));
    assert_eq!(delivered["receipt"]["attempts"], 3);
    let verdicts: Vec<_> =
        delivered["attempts"].as_array().unwrap().iter().map(|attempt| &attempt["verdict"]).collect();
    assert_eq!(verdicts, ["retry_after", "retry_after", "delivered"]);
    assert_eq!(service.status()["possible_duplicates"], 0);
}

#[test]
fn no_trouble_on_the_way_consumes_a_session() {
    let gzip = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xab\xae\x05\x00\x43\xbf\xa6\xa3\x02\x00\x00\x00";
    let gzip = Reply::json(200, gzip).header("content-encoding", "gzip");
    let page = Reply::html(502);
    // What is done, and whether the session may have arrived all the same.
    let troubles = [
        ("resets before the request", Act::ResetOnConnect, false),
        ("resets after the body", Act::ResetAfterBody, true),
        ("closes after the body", Act::CloseAfterBody, true),
        ("hangs", Act::Hang, true),
        ("closes in mid-answer", Act::Cut(Reply::accepted(), 20), true),
        ("falls silent in mid-answer", Act::Stall(Reply::accepted(), 20), true),
        ("answers with 1 GB", Act::Flood(1 << 30), true),
        ("compresses", Act::Answer(gzip), true),
        ("never ends its headers", Act::EndlessHeaders, true),
        ("speaks no HTTP", Act::Raw(b"220 mail.example ESMTP\r\n\r\n".to_vec()), true),
        ("is a gateway without a server", Act::Answer(page), false),
        ("is too busy", Act::Answer(Reply::new(507, "")), false),
        ("was too slow", Act::Answer(Reply::new(408, "")), false),
    ];
    let endpoint = Endpoint::start(troubles.iter().map(|(_, act, _)| act.clone()));
    let place = Place::new(&endpoint.url(), &format!("{QUICK}\nupload.timeout = \"1500ms\""));
    let service = place.start();
    service.play("a");
    let delivered = service.wait_for_state("a", "delivered");
    // On a busy machine the deadline may pass before anything is sent; the endpoint does not know of that.
    let unseen = |attempt: &&Value| attempt["reason"] == "timeout" && attempt["maybe_delivered"] == false;
    let attempts: Vec<_> =
        delivered["attempts"].as_array().unwrap().iter().filter(|attempt| !unseen(attempt)).collect();
    assert_eq!(attempts.len(), troubles.len() + 1, "{attempts:#?}");
    for (attempt, (what, _, maybe)) in attempts.iter().zip(&troubles) {
        // A reset may come while the small body is being written or just after.
        if !what.starts_with("resets before") {
            assert_eq!(attempt["maybe_delivered"], *maybe, "the endpoint {what}: {attempt}");
        }
        assert_eq!(attempt["verdict"], "backoff", "the endpoint {what}: {attempt}");
    }
    let maybe = attempts.iter().filter(|attempt| attempt["maybe_delivered"] == true).count();
    let status = service.status();
    assert_eq!(status["possible_duplicates"], maybe);
    assert_eq!(status["sessions"]["quarantined"], 0);
    let requests = endpoint.requests();
    assert!(requests.iter().all(|request| request.body == requests[0].body), "the same bytes each time");
}

#[test]
fn one_that_always_breaks_the_connection_does_not_hold_up_the_others() {
    let endpoint = Endpoint::start([]);
    endpoint.whenever("poison", Act::ResetAfterBody);
    let place = Place::new(&endpoint.url(), &format!("{QUICK}\nretry.max = \"1h\"\nupload.timeout = \"5s\""));
    let service = place.start();
    service.play("poison");
    for n in 0..10 {
        service.play(&format!("good-{n}"));
    }
    wait_for_delivered(&service, 10);
    // And one that comes later does not wait as long as the poison does by now.
    wait_for("the poison to fail some more", || {
        (session(&service, "poison")["attempt_count"].as_u64() > Some(6)).then_some(())
    });
    service.play("late");
    service.wait_for_state("late", "delivered");
    assert_eq!(session(&service, "poison")["state"], "completed");
    assert_eq!(service.status()["sessions"]["quarantined"], 0);
}

#[test]
fn an_upload_that_cannot_finish_does_not_slow_down_the_api() {
    let endpoint = Endpoint::start([Act::Hang]);
    let place = Place::new(&endpoint.url(), QUICK);
    let service = place.start();
    service.play("a");
    endpoint.wait_for(1);
    let started = std::time::Instant::now();
    service.play("b");
    assert_eq!(service.status()["uploader"]["state"], "sending");
    assert!(started.elapsed() < std::time::Duration::from_secs(5), "{:?}", started.elapsed());
    assert_eq!(endpoint.requests().len(), 1, "one at a time while nothing has got through");
}

/// Resident memory in KiB.
#[cfg(target_os = "linux")]
fn memory(service: &crate::service::Service<'_>) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", service.child.id())).unwrap();
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    memory.split_whitespace().next().unwrap().parse().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn endpoint_answers_without_end_cost_no_memory() {
    let bomb = || {
        Act::Answer(
            Reply::new(200, vec![0x1f; 100_000])
                .header("content-type", "application/json")
                .header("content-encoding", "gzip"),
        )
    };
    let endless = || [Act::Flood(1 << 30), Act::EndlessHeaders, bomb(), Act::Answer(Reply::html(302))];
    let endpoint = Endpoint::start((0..5).flat_map(|_| endless()));
    let place = Place::new(&endpoint.url(), "retry.initial = \"10ms\"\nretry.max = \"10ms\"");
    let service = place.start();
    service.play("a");
    // Once each, for what is allocated at the first use.
    endpoint.wait_for(endless().len() + 1);
    let before = memory(&service);
    wait_for("the others", || {
        // What is no answer of the endpoint's makes it wait for longer each time.
        let _ = service.request("POST", "/v1/flush", b"");
        (endpoint.requests().len() >= 5 * endless().len()).then_some(())
    });
    let after = memory(&service);
    println!("{before} KiB, then {after} KiB");
    assert!(after < before + 1024, "{before} KiB grew to {after}");
    assert_eq!(service.get("/v1/sessions/a")["events"], 5);
}
