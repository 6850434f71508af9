//! Through the real binary and to a real endpoint.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use crate::endpoint::{Endpoint, nobody};
use crate::service::{Place, wait_for};

const QUICK: &str = "datastream_id = \"d\"\nretry.initial = \"20ms\"\nupload.reconnect_jitter = \"0s\"";

/// What is sent, without the time of sending.
fn told(body: &[u8]) -> Value {
    let mut body: Value = serde_json::from_slice(body).unwrap();
    body["events"][0]["xdm"].as_object_mut().unwrap().remove("timestamp");
    body
}

fn name_of(body: &Value) -> String {
    body["events"][0]["xdm"]["mediaDownloadedEvents"][0]["mediaCollection"]["sessionDetails"]["name"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn what_a_damaged_journal_still_holds_is_delivered_as_it_was() {
    let nowhere = format!("http://{}/ee/va/v1/downloaded", nobody());
    let place = Place::new(&nowhere, "");
    let service = place.start();
    for n in 0..12 {
        service.play(&format!("programme-{n:02}"));
    }
    let expected: BTreeMap<String, Value> = (0..12)
        .map(|n| {
            let name = format!("programme-{n:02}");
            let path = format!("/v1/sessions/{name}/payload");
            (name, told(&service.request("GET", &path, b"").body))
        })
        .collect();
    let recorded = service.status()["events"]["acknowledged"].clone();
    let sound = place.run(&["verify"]);
    assert!(sound.status.success(), "{sound:?}");
    assert!(String::from_utf8_lossy(&sound.stdout).starts_with("sound: 12 sessions"), "{sound:?}");
    assert!(service.stop().success());

    // One page of events, gone.
    let mut main = fs::read(place.journal()).unwrap();
    let needle = b"media.ping";
    let pages: Vec<usize> = (0..main.len() / 4096)
        .filter(|n| main[n * 4096..][..4096].windows(10).any(|w| w == needle))
        .collect();
    let hit = pages[pages.len() / 2] * 4096;
    main[hit] = 0;
    fs::write(place.journal(), &main).unwrap();
    let damaged = place.run(&["verify", "--json"]);
    assert_eq!(damaged.status.code(), Some(1), "{damaged:?}");
    let found: Value = serde_json::from_slice(&damaged.stdout).unwrap();
    assert!(found["sound"] == false && found["count"].as_u64() > Some(0), "{found}");
    assert!(fs::read(place.journal()).unwrap() == main);

    let endpoint = Endpoint::start([]);
    endpoint.behave();
    place.configure(&endpoint.url(), QUICK);
    let service = place.start();
    // One session may have been met by the damage first: it is left alone for a minute.
    let count = |status: &Value, of: &str| status["sessions"][of].as_u64().unwrap();
    let status = wait_for("everything else to be settled", || {
        // The request that meets the damage first is told to come again.
        let answer = service.request("GET", "/v1/status", b"");
        let status: Value = (answer.status == 200).then(|| serde_json::from_slice(&answer.body).unwrap())?;
        (count(&status, "delivered") + count(&status, "quarantined") >= 11).then_some(status)
    });
    let sent: Vec<Value> = endpoint.requests().iter().map(|request| told(&request.body)).collect();
    assert!(sent.len() >= 6, "{status}");
    for body in &sent {
        assert_eq!(Some(body), expected.get(&name_of(body)));
    }
    assert!(count(&status, "delivered") >= 6, "{status}");
    assert_eq!(
        count(&status, "delivered") + count(&status, "quarantined") + count(&status, "completed"),
        12,
        "{status}"
    );
    assert_eq!(status["events"]["acknowledged"], recorded, "{status}");
}
