//! The session that goes next is made ready while another is on its way: what changes meanwhile counts all the same.

use std::time::Duration;

use crate::endpoint::{Act, Endpoint, Reply};
use crate::service::{Place, Service, wait_for};
use crate::{QUICK, body_of, consent, names, reconfigure, wait_for_delivered, wait_for_uploader};

/// Sessions are complete before the first goes out.
const HELD: &str = "consent.initial = \"pending\"";

/// Takes the first session in, which shows that the way is open, and takes seconds to answer the second.
fn endpoint() -> Endpoint {
    let slowly = Act::Drip(Reply::accepted(), Duration::from_millis(40));
    Endpoint::start([Act::Answer(Reply::accepted()), slowly])
}

/// Of three sessions the first is delivered, the second on its way, and the third made ready.
fn under_way<'a>(place: &'a Place, endpoint: &Endpoint) -> Service<'a> {
    let service = place.start_with(|command| {
        command.env("AFTERPLAY_LOG", "debug");
    });
    for key in ["first", "a", "b"] {
        service.play(key);
    }
    consent(&service, "in");
    endpoint.wait_for(2);
    wait_for_uploader(&service, "sending", None);
    assert_eq!(service.status()["sessions"]["delivered"], 1);
    service
}

#[test]
fn one_that_is_dropped_is_not_sent() {
    let endpoint = endpoint();
    let place = Place::new(&endpoint.url(), &format!("{QUICK}\n{HELD}"));
    let service = under_way(&place, &endpoint);
    assert_eq!(service.request("DELETE", "/v1/sessions/b", b"").status, 204);
    wait_for_delivered(&service, 2);
    let status = wait_for_uploader(&service, "idle", None);
    assert_eq!(status["losses"]["discarded"], 5, "{status}");
    assert_eq!(names(&endpoint.requests()), ["first", "a"]);
}

#[test]
fn one_is_made_anew_when_the_configuration_changes() {
    let endpoint = endpoint();
    let place = Place::new(&endpoint.url(), &format!("{QUICK}\n{HELD}"));
    let service = under_way(&place, &endpoint);
    reconfigure(&place, &service, &endpoint.url(), &format!("{QUICK}\n{HELD}\nupload.timestamp = false"));
    wait_for_delivered(&service, 3);
    let sent: Vec<_> = endpoint.requests().iter().map(body_of).collect();
    let timestamp = |at: usize| &sent[at]["events"][0]["xdm"]["timestamp"];
    assert!(timestamp(1).is_string() && timestamp(2).is_null(), "{sent:?}");
}

#[test]
fn a_person_who_opts_out_stops_it() {
    let endpoint = endpoint();
    let place = Place::new(&endpoint.url(), &format!("{QUICK}\n{HELD}"));
    let service = under_way(&place, &endpoint);
    consent(&service, "out");
    consent(&service, "in");
    service.play("c");
    wait_for("the new session to be delivered", || (endpoint.requests().len() > 2).then_some(()));
    assert_eq!(names(&endpoint.requests()), ["first", "a", "c"]);
}

#[test]
fn one_stays_ready_while_others_are_completed() {
    let endpoint = endpoint();
    let place = Place::new(&endpoint.url(), &format!("{QUICK}\n{HELD}"));
    let service = under_way(&place, &endpoint);
    for key in ["c", "d", "e"] {
        service.play(key);
    }
    wait_for_delivered(&service, 6);
    assert_eq!(names(&endpoint.requests()), ["first", "a", "b", "c", "d", "e"]);
    let log = place.log_text();
    let (before, _) = log.split_once("sending session=\"b\"").unwrap();
    assert_eq!(before.matches("made ready session=\"b\"").count(), 1, "{log}");
}
