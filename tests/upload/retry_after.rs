//! The endpoint asks to wait, and everybody does: product promise 3, contract section 11.

use std::time::{Duration, Instant};

use crate::endpoint::{Act, Endpoint, Reply};
use crate::service::Place;
use crate::{QUICK, flush, ms_until, reload, session, wait_for_uploader};

fn busy(status: u16, retry_after: &str) -> Reply {
    Reply::json(status, r#"{"type":"x","title":"slow down"}"#).header("retry-after", retry_after)
}

#[test]
fn seconds_are_waited_whatever_a_person_does() {
    let endpoint = Endpoint::start([Act::Answer(busy(429, "3"))]);
    let place = Place::new(&endpoint.url(), QUICK);
    let service = place.start();
    service.play("a");
    endpoint.wait_for(1);
    let told = Instant::now();
    let status = wait_for_uploader(&service, "waiting", Some("429"));
    let wait = ms_until(&status["uploader"]["next_attempt_at"]);
    assert!((1500..=3000).contains(&wait), "{wait} ms");

    // It holds for the others too, against a flush, a reload and a restart.
    service.play("b");
    assert_eq!(flush(&service), 2);
    reload(&place, &service);
    service.kill();
    let service = place.start();
    wait_for_uploader(&service, "waiting", Some("429"));
    assert_eq!(flush(&service), 2);
    wait_for_uploader(&service, "waiting", Some("429"));
    assert_eq!(session(&service, "b")["attempt_count"], 0);
    assert_eq!(endpoint.requests().len(), 1);

    service.wait_for_state("a", "delivered");
    assert!(told.elapsed() >= Duration::from_secs(3), "{:?}", told.elapsed());
    service.wait_for_state("b", "delivered");
    assert_eq!(endpoint.requests().len(), 3);
}

#[test]
fn a_date_is_waited_for_by_the_endpoints_own_clock() {
    // A clock that is decades behind ours.
    let reply = busy(503, "Sun, 06 Nov 1994 08:49:39 GMT").header("date", "Sun, 06 Nov 1994 08:49:37 GMT");
    let endpoint = Endpoint::start([Act::Answer(reply)]);
    let place = Place::new(&endpoint.url(), QUICK);
    let service = place.start();
    service.play("a");
    endpoint.wait_for(1);
    let told = Instant::now();
    let status = wait_for_uploader(&service, "waiting", Some("503"));
    let wait = ms_until(&status["uploader"]["next_attempt_at"]);
    assert!((0..=2000).contains(&wait), "{wait} ms");
    service.wait_for_state("a", "delivered");
    assert!(told.elapsed() >= Duration::from_millis(1990), "{:?}", told.elapsed());
}

#[test]
fn a_wait_is_at_least_a_second_and_at_most_a_day() {
    let endpoint = Endpoint::start([Act::Answer(busy(429, "0")), Act::Answer(busy(429, "999999999"))]);
    let place = Place::new(&endpoint.url(), QUICK);
    let service = place.start();
    service.play("a");
    endpoint.wait_for(1);
    let told = Instant::now();
    endpoint.wait_for(2);
    assert!(told.elapsed() >= Duration::from_millis(990), "{:?}", told.elapsed());
    let status = wait_for_uploader(&service, "waiting", Some("429"));
    let wait = ms_until(&status["uploader"]["next_attempt_at"]);
    let day = 24 * 3600 * 1000;
    assert!((day - 60_000..=day).contains(&wait), "{wait} ms");

    // Another endpoint has asked for nothing.
    let other = Endpoint::start([]);
    crate::reconfigure(&place, &service, &other.url(), QUICK);
    service.wait_for_state("a", "delivered");
    assert_eq!(endpoint.requests().len(), 2);
}

#[test]
fn a_flush_does_not_wait_for_the_next_retry() {
    let endpoint = Endpoint::start([Act::ResetAfterBody, Act::Hang]);
    let place = Place::new(&endpoint.url(), crate::PATIENT);
    let service = place.start();
    service.play("a");
    let status = wait_for_uploader(&service, "waiting", Some("reset"));
    assert!(ms_until(&status["uploader"]["next_attempt_at"]) > 0);
    assert_eq!(flush(&service), 1);
    // When it is answered the upload is on its way.
    assert_eq!(service.status()["uploader"]["state"], "sending");
    endpoint.wait_for(2);
}
