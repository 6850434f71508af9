//! Consent and set-up decide whether anything is sent: product promises 11 and 12, contract section 14.

use crate::endpoint::{Act, Endpoint};
use crate::service::{Place, programme};
use crate::{PATIENT, QUICK, consent, names, reconfigure, wait_for_delivered, wait_for_uploader};

#[test]
fn undecided_is_held_and_a_yes_releases_it() {
    let endpoint = Endpoint::start([]);
    let place = Place::new(&endpoint.url(), &format!("{QUICK}\nconsent.initial = \"pending\""));
    let service = place.start();
    service.play("a");
    service.play("b");
    let status = wait_for_uploader(&service, "paused", Some("consent_pending"));
    assert_eq!(status["sessions"]["completed"], 2);
    assert!(crate::flush(&service) == 2 && endpoint.connections() == 0, "not even when asked for");
    consent(&service, "in");
    wait_for_delivered(&service, 2);

    consent(&service, "pending");
    service.play("c");
    wait_for_uploader(&service, "paused", Some("consent_pending"));
    assert_eq!(endpoint.requests().len(), 2);
    consent(&service, "in");
    wait_for_delivered(&service, 3);
}

#[test]
fn a_no_stops_what_is_on_its_way_and_erases_everything() {
    let endpoint = Endpoint::start([Act::Hang]);
    let place = Place::new(&endpoint.url(), PATIENT);
    let service = place.start();
    service.play("a");
    service.play("b");
    endpoint.wait_for(1);
    consent(&service, "out");
    let status = service.status();
    assert_eq!(status["sessions"]["completed"], 0);
    assert_eq!(status["losses"]["purged"], 10);
    assert_eq!(status["events"]["stored"], 0);
    wait_for_uploader(&service, "paused", Some("consent_out"));
    let refused = service.request("POST", "/v1/sessions/c/events", programme("c")[0].to_string().as_bytes());
    assert_eq!((refused.status, refused.json()["reason"].as_str()), (403, Some("consent_out")));
    assert_eq!(endpoint.requests().len(), 1);

    // Nothing of it is left to disturb a new beginning.
    consent(&service, "in");
    service.play("d");
    service.wait_for_state("d", "delivered");
    assert_eq!(names(&endpoint.requests()), ["a", "d"]);
    assert_eq!(service.status()["possible_duplicates"], 0);
}

#[test]
fn without_a_datastream_everything_is_recorded_and_held() {
    let endpoint = Endpoint::start([]);
    let none = format!("{QUICK}\ndatastream_id = \"\"");
    let place = Place::new(&endpoint.url(), &none);
    let service = place.start();
    service.play("a");
    wait_for_uploader(&service, "paused", Some("no_datastream_id"));
    assert_eq!(crate::flush(&service), 1);
    wait_for_uploader(&service, "paused", Some("no_datastream_id"));
    assert_eq!(endpoint.connections(), 0);

    reconfigure(&place, &service, &endpoint.url(), &format!("{QUICK}\ndatastream_id = \"later\""));
    service.wait_for_state("a", "delivered");
    assert_eq!(endpoint.requests()[0].target, "/ee/va/v1/downloaded?configId=later");
}
