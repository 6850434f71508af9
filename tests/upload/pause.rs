//! The set-up is wrong and not a session: everything is kept and the uploader stops (contract section 11, PAUSE).

use crate::endpoint::{Act, Endpoint, Reply};
use crate::service::{Place, wait_for};
use crate::{QUICK, consent, flush, ms_until, names, reload, session, wait_for_delivered, wait_for_uploader};

fn problem(status: u16, code: &str) -> Act {
    let body = format!(
        r#"{{"type":"https://ns.adobe.com/aep/errors/{code}","status":{status},"title":"no","detail":"no"}}"#
    );
    Act::Answer(Reply::new(status, body).header("content-type", "application/problem+json"))
}

#[test]
fn a_refused_set_up_pauses_and_is_probed_on_reload_and_restart() {
    for (status, reason) in [(401, "0501-401"), (403, "0400-403")] {
        let no = || problem(status, &format!("EXEG-{reason}"));
        let endpoint = Endpoint::start([no(), no(), no()]);
        let place = Place::new(&endpoint.url(), QUICK);
        let service = place.start();
        service.play("a");
        let shown = wait_for_uploader(&service, "paused", Some(reason));
        let wait = ms_until(&shown["uploader"]["next_attempt_at"]);
        assert!((14 * 60_000..=15 * 60_000).contains(&wait), "{wait} ms");
        service.play("b");
        assert_eq!(service.status()["uploader"]["state"], "paused");
        assert_eq!(endpoint.requests().len(), 1, "nothing is sent");

        reload(&place, &service);
        endpoint.wait_for(2);
        let shown = wait_for_uploader(&service, "paused", Some(reason));
        let wait = ms_until(&shown["uploader"]["next_attempt_at"]);
        assert!((29 * 60_000..=30 * 60_000).contains(&wait), "{wait} ms");
        service.kill();

        let service = place.start();
        endpoint.wait_for(3);
        wait_for_uploader(&service, "paused", Some(reason));
        assert_eq!(endpoint.requests().len(), 3, "one session each time");

        reload(&place, &service);
        wait_for_delivered(&service, 2);
        assert_eq!(endpoint.requests().len(), 5);
        wait_for_uploader(&service, "idle", None);
    }
}

/// A service in which sessions are complete and go out together once consent is given.
const HELD: &str = "consent.initial = \"pending\"";

#[test]
fn three_refused_in_a_row_with_one_code_pause_and_come_back() {
    let no = || problem(400, "EXEG-0103-400");
    let endpoint = Endpoint::start([no(), no(), no()]);
    let place = Place::new(&endpoint.url(), &format!("{QUICK}\n{HELD}\nupload.concurrency = 1"));
    let service = place.start();
    for key in ["a", "b", "c", "d", "e"] {
        service.play(key);
    }
    consent(&service, "in");
    let status = wait_for_uploader(&service, "paused", Some("0103-400"));
    wait_for("the refused to come back", || (service.status()["sessions"]["quarantined"] == 0).then_some(()));
    assert_eq!(status["sessions"]["delivered"], 0);
    assert_eq!(names(&endpoint.requests()), ["a", "b", "c"]);

    assert_eq!(flush(&service), 5);
    wait_for_delivered(&service, 5);
    let sent = names(&endpoint.requests());
    assert_eq!(sent[3], "d", "the probe is one that was not refused");
}

#[test]
fn three_bad_ones_in_front_do_not_stop_the_others() {
    let endpoint = Endpoint::start([]);
    endpoint.whenever("bad", problem(400, "EXEG-0103-400"));
    let place = Place::new(&endpoint.url(), &format!("{QUICK}\n{HELD}\nupload.concurrency = 1"));
    let service = place.start();
    for n in 0..4 {
        service.play(&format!("bad-{n}"));
    }
    for n in 0..10 {
        service.play(&format!("good-{n}"));
    }
    consent(&service, "in");
    wait_for_uploader(&service, "paused", Some("0103-400"));
    // Each probe is another session; the fourth bad one is the first.
    reload(&place, &service);
    endpoint.wait_for(4);
    wait_for_uploader(&service, "paused", Some("0103-400"));
    reload(&place, &service);
    wait_for_delivered(&service, 10);
    for n in 0..4 {
        service.wait_for_state(&format!("bad-{n}"), "quarantined");
    }
    wait_for_uploader(&service, "idle", None);
    assert_eq!(session(&service, "bad-0")["attempt_count"], 2);
}
