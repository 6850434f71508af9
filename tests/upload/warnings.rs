//! What is odd about a session, or was done to it, is told wherever a person looks (contract sections 6 and 7).

use serde_json::{Value, json};

use crate::endpoint::{Act, Endpoint, Reply};
use crate::service::{Place, event, start_event};
use crate::{QUICK, body_of, session};

fn warnings(of: &Value) -> Vec<String> {
    let list = of["warnings"].as_array().cloned().unwrap_or_default();
    list.iter().map(|one| one.as_str().unwrap().to_owned()).collect()
}

#[test]
fn warnings_of_intake_of_repair_and_of_the_endpoint_are_kept() {
    let fault = Act::Answer(Reply::json(502, r#"{"type":"x","title":"upstream"}"#));
    let odd = r#"{"requestId":"r","handle":[],"warnings":[{"type":"https://ns.adobe.com/aep/errors/EXEG-0204-200","status":200,"title":"an upstream warned"}]}"#;
    let endpoint = Endpoint::start([fault, Act::Answer(Reply::json(200, odd))]);
    let place = Place::new(&endpoint.url(), QUICK);
    let mut service = place.start();
    let mut start = start_event("a");
    start["mediaCollection"]["sessionDetails"]["isDownloaded"] = true.into();
    let told = service.record("a", &start);
    let stripped = told["warnings"][0]["problem"].as_str().unwrap().to_owned();
    assert_eq!(told["warnings"][0]["path"], "mediaCollection.sessionDetails.isDownloaded");
    let mut ad_break = event("media.adBreakStart", 1, 0);
    ad_break["mediaCollection"]["advertisingPodDetails"] = json!({ "index": 1, "offset": 0 });
    service.record("a", &ad_break);
    let told = service.record("a", &event("media.adComplete", 2, 0));
    let unopened = told["warnings"][0]["problem"].as_str().unwrap().to_owned();
    let beyond = service.record("a", &event("media.play", 3, 91))["warnings"][0]["problem"].clone();
    // They are in the journal, not in memory.
    service.kill();
    service = place.start();
    let kept = warnings(&session(&service, "a"));
    for expected in [&stripped, &unopened, beyond.as_str().unwrap()] {
        assert!(kept.iter().any(|kept| kept.contains(expected)), "{expected} is not among {kept:?}");
    }
    assert_eq!(kept.len(), 3, "{kept:?}");

    service.request("POST", "/v1/sessions/a/complete", b"");
    let delivered = service.wait_for_state("a", "delivered");
    let kept = warnings(&delivered);
    let repaired: Vec<String> = delivered["receipt"]["repaired"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one.as_str().unwrap().to_owned())
        .collect();
    assert_eq!(repaired.len(), 2, "{delivered}");
    assert!(repaired.iter().any(|text| text.contains("never closed")), "{repaired:?}");
    assert!(repaired.iter().all(|text| kept.contains(text)), "{repaired:?} are not all among {kept:?}");
    assert_eq!(kept.len(), 5, "each once, however often it was sent: {kept:?}");
    assert_eq!(delivered["receipt"]["synthetic"], 1);
    assert!(delivered["receipt"]["warnings"].to_string().contains("an upstream warned"), "{delivered}");
    assert_eq!(delivered["receipt"]["attempts"], 2);
    let sent = body_of(&endpoint.requests()[0]);
    let last = sent["events"][0]["xdm"]["mediaDownloadedEvents"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(last["mediaEventType"], "media.adBreakComplete");

    // A page for people shows all of them.
    let shown = String::from_utf8(place.run(&["show", "a"]).stdout).unwrap();
    let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    for text in kept.iter().map(String::as_str).chain(["an upstream warned"]) {
        assert!(shown.contains(text), "{text} is not in {shown}");
    }
    let twice = shown.matches("never closed").count();
    assert_eq!(twice, 1, "{shown}");
}
