//! A session from its first event to its receipt, through the real binary.

use crate::endpoint::Endpoint;
use crate::service::{Place, event, programme};

#[test]
fn a_session_is_recorded_completed_and_delivered() {
    let endpoint = Endpoint::start([]);
    let place = Place::new(&endpoint.url(), "session.close_grace = \"50ms\"");
    let service = place.start();
    let events = programme("ep-1");
    for (seq, event) in events.iter().enumerate() {
        let answer = service.record("one", event);
        assert_eq!(answer["seq"], seq);
        assert_eq!(answer["state"], "open");
    }
    service.record("one", &event("media.sessionComplete", 60, 90));
    let session = service.wait_for_state("one", "delivered");
    assert_eq!(session["why"], "end");
    assert_eq!(session["receipt"]["events"], 6);
    let requests = endpoint.requests();
    assert_eq!(requests.len(), 1);
    let body: serde_json::Value = serde_json::from_slice(&requests[0].body).unwrap();
    let sent = body["events"][0]["xdm"]["mediaDownloadedEvents"].as_array().unwrap();
    assert_eq!(sent[..5], events[..]);
    let status = service.status();
    assert_eq!(status["events"], serde_json::json!({ "stored": 0, "acknowledged": 6, "delivered": 6 }));
    assert!(service.stop().success());
}
