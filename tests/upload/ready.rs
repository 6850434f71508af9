//! The session that goes next is made ready while another is on its way: what changes meanwhile counts all the same.

use std::time::Duration;

use crate::endpoint::{Act, Endpoint, Reply};
use crate::service::{Place, Service, wait_for};
use crate::{QUICK, body_of, consent, names, reconfigure, wait_for_delivered, wait_for_uploader};

/// Sessions are complete before the first goes out.
const HELD: &str = "consent.initial = \"pending\"";

/// An answer that takes some seconds.
fn slowly() -> Act {
    Act::Drip(Reply::accepted(), Duration::from_millis(15))
}

/// Two sessions, of which the first is on its way and its answer far from complete.
fn under_way<'a>(place: &'a Place, endpoint: &Endpoint) -> Service<'a> {
    let service = place.start();
    service.play("a");
    service.play("b");
    consent(&service, "in");
    endpoint.wait_for(1);
    wait_for_uploader(&service, "sending", None);
    assert_eq!(service.status()["sessions"]["delivered"], 0);
    service
}

#[test]
fn one_that_is_dropped_is_not_sent() {
    let endpoint = Endpoint::start([slowly()]);
    let place = Place::new(&endpoint.url(), &format!("{QUICK}\n{HELD}"));
    let service = under_way(&place, &endpoint);
    assert_eq!(service.request("DELETE", "/v1/sessions/b", b"").status, 204);
    wait_for_delivered(&service, 1);
    let status = wait_for_uploader(&service, "idle", None);
    assert_eq!(status["losses"]["discarded"], 5, "{status}");
    assert_eq!(names(&endpoint.requests()), ["a"]);
}

#[test]
fn one_is_made_anew_when_the_configuration_changes() {
    let endpoint = Endpoint::start([slowly()]);
    let place = Place::new(&endpoint.url(), &format!("{QUICK}\n{HELD}"));
    let service = under_way(&place, &endpoint);
    reconfigure(&place, &service, &endpoint.url(), &format!("{QUICK}\n{HELD}\nupload.timestamp = false"));
    wait_for_delivered(&service, 2);
    let sent: Vec<_> = endpoint.requests().iter().map(body_of).collect();
    let timestamp = |at: usize| &sent[at]["events"][0]["xdm"]["timestamp"];
    assert!(timestamp(0).is_string() && timestamp(1).is_null(), "{sent:?}");
}

#[test]
fn a_person_who_opts_out_stops_it() {
    let endpoint = Endpoint::start([slowly()]);
    let place = Place::new(&endpoint.url(), &format!("{QUICK}\n{HELD}"));
    let service = under_way(&place, &endpoint);
    consent(&service, "out");
    consent(&service, "in");
    service.play("c");
    wait_for("the new session to be delivered", || (endpoint.requests().len() > 1).then_some(()));
    assert_eq!(names(&endpoint.requests()), ["a", "c"]);
}
