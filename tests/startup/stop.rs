//! How the service ends: in good order, or at once when it is told a second time.

use std::time::{Duration, Instant};

use crate::NOWHERE;
use crate::endpoint::{Act, Endpoint};
use crate::service::{Place, wait_for};

#[test]
fn a_first_word_lets_the_upload_end_and_a_second_does_not_wait_for_it() {
    let endpoint = Endpoint::start([Act::Hang]);
    let place = Place::new(&endpoint.url(), "");
    let mut service = place.start();
    service.play("one");
    endpoint.wait_for(1);
    service.signal("TERM");
    wait_for("the log of the first", || place.log_text().contains("stopping").then_some(()));
    assert!(service.child.try_wait().unwrap().is_none(), "an upload is under way");
    let began = Instant::now();
    service.signal("TERM");
    let status = service.child.wait().unwrap();
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert!(status.success());
    assert!(place.log_text().contains("stopped at once"), "{}", place.log_text());

    // What was under way is sent again, and that it may have arrived is not forgotten.
    let service = place.start();
    service.wait_for_state("one", "delivered");
    assert_eq!(service.status()["possible_duplicates"], 1);
    let sent = endpoint.wait_for(2);
    assert_eq!(sent[0].body, sent[1].body);
}

#[test]
fn an_interrupt_from_the_keyboard_is_a_good_end_too() {
    let place = Place::new(NOWHERE, "");
    let mut service = place.start();
    service.play("one");
    service.signal("INT");
    assert!(service.child.wait().unwrap().success());
    assert!(!place.socket().exists());
    let wal = place.journal().with_extension("db-wal");
    assert!(!wal.exists(), "the journal was closed in good order");
}
