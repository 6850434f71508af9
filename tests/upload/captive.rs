//! Somebody else answers in the endpoint's place: nothing is consumed, and the link says so.

use crate::endpoint::{Act, Authority, Endpoint, Reply, Validity};
use crate::service::{Place, wait_for};
use crate::{QUICK, reconfigure, session};

#[test]
fn a_portal_that_redirects_or_shows_a_page_takes_nothing() {
    let redirect = Reply::html(302).header("location", "http://portal.example/login");
    let portals = [Reply::html(200), redirect, Reply::html(511), Reply::json(200, r#"{"login":"required"}"#)];
    for portal in portals {
        let endpoint = Endpoint::start([]);
        endpoint.whenever("events", Act::Answer(portal.clone()));
        let place = Place::new(&endpoint.url(), QUICK);
        let service = place.start();
        service.play("a");
        endpoint.wait_for(3);
        wait_for(&format!("the portal with {} to be seen", portal.status), || {
            (service.status()["link"] == "captive").then_some(())
        });
        let waiting = session(&service, "a");
        assert_eq!(waiting["state"], "completed");
        assert_eq!(waiting["last_verdict"]["verdict"], "backoff");

        endpoint.behave();
        service.wait_for_state("a", "delivered");
        assert_eq!(service.status()["link"], "online");
    }
}

#[test]
fn a_foreign_certificate_takes_nothing() {
    let portal = Endpoint::start_tls(Authority::new().server("127.0.0.1", Validity::Now), []);
    let place = Place::new(&portal.url(), QUICK);
    let service = place.start();
    service.play("a");
    wait_for("the portal to be seen", || (service.status()["link"] == "captive").then_some(()));
    let waiting = session(&service, "a");
    assert_eq!(waiting["state"], "completed");
    assert_eq!(waiting["last_verdict"]["reason"], "tls");
    assert!(portal.requests().is_empty(), "nothing was said to a stranger");

    let endpoint = Endpoint::start([]);
    reconfigure(&place, &service, &endpoint.url(), QUICK);
    let delivered = service.wait_for_state("a", "delivered");
    assert_eq!(service.status()["link"], "online");
    assert_eq!(service.status()["possible_duplicates"], 0);
    assert!(delivered["receipt"]["attempts"].as_u64() > Some(1));
}
