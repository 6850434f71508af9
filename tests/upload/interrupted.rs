//! The process ends while a session is on its way: product promises 1 and 5.

use std::time::{Duration, Instant};

use crate::endpoint::{Act, Authority, Endpoint, Reply, Validity};
use crate::service::{Place, Service, wait_for};
use crate::{PATIENT, QUICK, consent, names, wait_for_delivered, wait_for_uploader};

/// Starts an upload that gets no answer.
fn hanging<'a>(place: &'a Place, endpoint: &Endpoint) -> Service<'a> {
    let service = place.start();
    service.play("a");
    endpoint.wait_for(1);
    wait_for_uploader(&service, "sending", None);
    service
}

fn assert_sent_again(place: &Place, endpoint: &Endpoint, duplicates: u64) {
    let service = place.start();
    let delivered = service.wait_for_state("a", "delivered");
    let requests = endpoint.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0].body, requests[1].body, "the same bytes");
    assert_eq!(delivered["attempts"][0]["reason"], "interrupted");
    assert_eq!(delivered["attempts"][0]["maybe_delivered"], true);
    assert_eq!(delivered["receipt"]["attempts"], 2);
    assert_eq!(service.status()["possible_duplicates"], duplicates);
}

#[test]
fn killed_between_the_body_and_the_answer() {
    let endpoint = Endpoint::start([Act::Hang]);
    // However long the next retry would be: an attempt that was cut off is no failure.
    let place = Place::new(&endpoint.url(), PATIENT);
    hanging(&place, &endpoint).kill();
    assert_sent_again(&place, &endpoint, 1);
}

#[test]
fn killed_again_and_again() {
    let endpoint = Endpoint::start([Act::Hang, Act::Hang, Act::Hang]);
    let place = Place::new(&endpoint.url(), PATIENT);
    hanging(&place, &endpoint).kill();
    for n in 2..=3 {
        let service = place.start();
        endpoint.wait_for(n);
        service.kill();
    }
    let service = place.start();
    service.wait_for_state("a", "delivered");
    assert_eq!(service.status()["possible_duplicates"], 3);
    let requests = endpoint.requests();
    assert!(requests.iter().all(|request| request.body == requests[0].body));
}

#[test]
fn told_to_stop_an_upload_gets_a_moment_to_end() {
    let slow = Act::Drip(Reply::accepted(), Duration::from_millis(3));
    let endpoint = Endpoint::start([slow]);
    let place = Place::new(&endpoint.url(), PATIENT);
    let service = hanging(&place, &endpoint);
    service.play("b");
    assert!(service.stop().success());

    let service = place.start();
    let delivered = service.wait_for_state("a", "delivered");
    assert_eq!(delivered["receipt"]["attempts"], 1, "its answer was waited for");
    service.wait_for_state("b", "delivered");
    assert_eq!(names(&endpoint.requests()), ["a", "b"], "nothing was begun any more");
    assert_eq!(service.status()["possible_duplicates"], 0);
}

#[test]
fn told_to_stop_an_upload_without_an_answer_is_cut_off_and_sent_again() {
    let endpoint = Endpoint::start([Act::Hang]);
    let place = Place::new(&endpoint.url(), PATIENT);
    let service = hanging(&place, &endpoint);
    let started = Instant::now();
    assert!(service.stop().success());
    assert!(started.elapsed() < Duration::from_secs(7), "{:?}", started.elapsed());
    assert_sent_again(&place, &endpoint, 1);
}

#[test]
fn cut_off_before_the_body_went_out_it_is_no_duplicate() {
    let silent =
        Endpoint::start_tls(Authority::new().server("127.0.0.1", Validity::Now), [Act::HangOnConnect]);
    let place = Place::new(&silent.url(), PATIENT);
    let service = place.start();
    service.play("a");
    wait_for("a connection", || (silent.connections() > 0).then_some(()));
    assert!(service.stop().success());

    let endpoint = Endpoint::start([]);
    place.configure(&endpoint.url(), PATIENT);
    let service = place.start();
    let delivered = service.wait_for_state("a", "delivered");
    assert_eq!(delivered["attempts"][0]["maybe_delivered"], false);
    assert_eq!(service.status()["possible_duplicates"], 0);
}

#[test]
fn told_twice_it_stops_at_once() {
    let endpoint = Endpoint::start([Act::Hang]);
    let place = Place::new(&endpoint.url(), PATIENT);
    let mut service = hanging(&place, &endpoint);
    service.signal("TERM");
    wait_for("the first word to be heard", || place.log_text().contains("stopping").then_some(()));
    let started = Instant::now();
    service.signal("TERM");
    assert!(service.child.wait().unwrap().success());
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    drop(service);
    assert_sent_again(&place, &endpoint, 1);
}

#[test]
fn dropped_by_a_person_while_it_was_on_its_way() {
    let endpoint = Endpoint::start([Act::Drip(Reply::accepted(), Duration::from_millis(3))]);
    let place = Place::new(&endpoint.url(), QUICK);
    let service = hanging(&place, &endpoint);
    let answer = service.request("DELETE", "/v1/sessions/a", b"");
    assert_eq!(answer.status, 204, "{}", answer.text());
    service.play("b");
    service.wait_for_state("b", "delivered");
    let status = service.status();
    assert_eq!(status["losses"]["discarded"], 5);
    assert_eq!(status["events"]["acknowledged"], 10);
    assert_eq!(service.request("GET", "/v1/sessions/a", b"").status, 404);
}

#[test]
fn however_many_sessions_wait_a_kill_costs_one_duplicate() {
    let accepted = || Act::Answer(Reply::accepted());
    let endpoint = Endpoint::start([accepted(), accepted(), Act::Hang, Act::Hang]);
    let place = Place::new(&endpoint.url(), &format!("{PATIENT}\nconsent.initial = \"pending\""));
    let service = place.start();
    for key in ["a", "b", "c", "d", "e", "f"] {
        service.play(key);
    }
    consent(&service, "in");
    endpoint.wait_for(3);
    wait_for_uploader(&service, "sending", None);
    service.kill();
    endpoint.behave();
    let service = place.start();
    let status = wait_for_delivered(&service, 6);
    assert_eq!(status["possible_duplicates"], 1, "{status}");
    assert_eq!(endpoint.requests().len(), 7);
}
