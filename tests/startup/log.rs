//! The log: what it says, what it keeps to itself, and a configuration that is read again.

use std::os::unix::fs::MetadataExt;
use std::process::Stdio;

use serde_json::json;

use crate::NOWHERE;
use crate::endpoint::{Act, Endpoint, Reply};
use crate::service::{Place, event, start_event, wait_for};

#[test]
fn a_broken_file_keeps_the_old_configuration() {
    let endpoint = Endpoint::start([]);
    let place = Place::new(&endpoint.url(), "session.close_grace = \"10s\"");
    let service = place.start();
    std::fs::write(&place.config, "datastream_id = \"test-datastream\"\n[session]\nclose_grase = \"1ms\"\n")
        .unwrap();
    service.signal("HUP");
    let log = wait_for("the refusal in the log", || {
        Some(place.log_text()).filter(|log| log.contains("the old one stays"))
    });
    for part in ["ERROR", "config.toml:3:", "session.close_grase", "close_grace"] {
        assert!(log.contains(part), "{part}: {log}");
    }
    service.play("one");
    service.wait_for_state("one", "delivered");
    let target = &endpoint.requests()[0].target;
    assert!(target.ends_with("configId=test-datastream"), "{target}");

    place.configure(&endpoint.url(), "datastream_id = \"another\"");
    service.signal("HUP");
    wait_for("the reload in the log", || {
        place.log_text().contains("reloaded the configuration").then_some(())
    });
    service.play("two");
    service.wait_for_state("two", "delivered");
    let target = &endpoint.requests()[1].target;
    assert!(target.ends_with("configId=another"), "{target}");
}

#[test]
fn what_takes_effect_only_later_is_said() {
    let place = Place::new(NOWHERE, "");
    let service = place.start();
    place.configure(NOWHERE, "journal.max_bytes = 1048576");
    service.signal("HUP");
    let log =
        wait_for("the warning", || Some(place.log_text()).filter(|log| log.contains("only after a restart")));
    assert!(log.contains("journal.max_bytes"), "{log}");
}

#[test]
fn identities_and_titles_stay_out_of_the_log() {
    const SECRETS: [&str; 5] =
        ["viewer@example.com", "Geheimnis", "5f0c3d1e-6c1b", "premium-7", "creative-7"];
    // An endpoint that repeats what it was sent.
    let echo = json!({
        "type": "https://ns.adobe.com/aep/errors/EXEG-0104-422", "status": 422,
        "title": "Geheimnis is wrong", "detail": "viewer@example.com watches Geheimnis",
        "report": { "details": [{ "name": "premium-7", "reason": "viewer@example.com" }] },
    });
    let mut nameless = echo.clone();
    nameless.as_object_mut().unwrap().remove("type");
    let endpoint = Endpoint::start([
        Act::ResetAfterBody,
        Act::Answer(Reply::json(503, nameless.to_string())),
        Act::Answer(Reply::json(422, echo.to_string())),
        Act::Answer(Reply::json(200, "{\"requestId\":\"r\",\"warnings\":[{\"title\":\"Geheimnis\"}]}")),
    ]);
    let place = Place::new(
        &endpoint.url(),
        "retry.initial = \"20ms\"\nretry.max = \"20ms\"\nidentity.namespace = \"FPID\"\n\
         identity.id = \"5f0c3d1e-6c1b-4f0e-9a52-2f8f6f1f9a10\"",
    );
    let service = place.start_with(|command| {
        command.env("AFTERPLAY_LOG", "info");
    });
    for key in ["refused", "taken"] {
        let mut start = start_event("Geheimnis-1");
        start["mediaCollection"]["sessionDetails"]["friendlyName"] = "Geheimnis".into();
        start["mediaCollection"]["customMetadata"] = json!([{ "name": "_acme.tier", "value": "premium-7" }]);
        start["identityMap"] = json!({ "Email": [{ "id": "viewer@example.com", "primary": true }] });
        if key == "taken" {
            start.as_object_mut().unwrap().remove("identityMap");
        }
        service.record(key, &start);
        let mut wrong = event("media.adStart", 2, 0);
        wrong["mediaCollection"]["advertisingDetails"] =
            json!({ "name": "creative-7", "length": "Geheimnis" });
        let answer =
            service.request("POST", &format!("/v1/sessions/{key}/events"), wrong.to_string().as_bytes());
        assert_eq!(answer.status, 400);
        service.request("POST", &format!("/v1/sessions/{key}/complete"), b"");
        let end = if key == "refused" { "quarantined" } else { "delivered" };
        service.wait_for_state(key, end);
    }
    service.request("POST", "/v1/identity/reset", b"");
    assert_eq!(service.request("PUT", "/v1/consent", b"{\"consent\":\"out\"}").status, 200);
    assert!(service.stop().success());
    let log = place.log_text();
    assert!(log.contains("delivered") && log.contains("refused"), "the log says what happened: {log}");
    for secret in SECRETS {
        assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
    }
}

/// The lines of a log that begin with a time.
fn dated(log: &str) -> usize {
    log.lines().filter(|line| line.starts_with("20") && line.contains('T')).count()
}

#[test]
fn times_are_left_to_the_systemd_journal_where_it_reads_along() {
    let place = Place::new(NOWHERE, "");
    let log =
        std::fs::OpenOptions::new().create(true).append(true).open(place.dir.path().join("log")).unwrap();
    let file = log.metadata().unwrap();
    let stream = format!("{}:{}", file.dev(), file.ino());
    for (stream, times) in [(Some(stream), false), (Some("1:2".into()), true), (None, true)] {
        log.set_len(0).unwrap();
        let service = place.start_with(|command| {
            command.stderr(Stdio::from(log.try_clone().unwrap()));
            command.envs(stream.iter().map(|stream| ("JOURNAL_STREAM", stream)));
        });
        assert!(service.stop().success());
        let text = place.log_text();
        assert!(text.contains("ready") && text.contains("stopping"), "{text}");
        assert_eq!(dated(&text), if times { text.lines().count() } else { 0 }, "{stream:?}: {text}");
        assert!(!text.contains('\u{1b}'));
        // The journal is told how grave each line is.
        let marked = text.lines().filter(|line| line.starts_with("<6> INFO ")).count();
        assert_eq!(marked > 0, !times, "{text}");
        if times {
            continue;
        }
        // Also of what it ends with: a line each.
        log.set_len(0).unwrap();
        let config = std::fs::read_to_string(&place.config).unwrap();
        std::fs::write(&place.config, format!("nonsense = 1\nendpoint = 2\n{config}")).unwrap();
        let mut command = place.command(&["run"]);
        command.stderr(Stdio::from(log.try_clone().unwrap()));
        command.envs(stream.iter().map(|stream| ("JOURNAL_STREAM", stream)));
        assert_eq!(command.status().unwrap().code(), Some(78));
        std::fs::write(&place.config, config).unwrap();
        let text = place.log_text();
        assert!(text.lines().count() > 1 && text.lines().all(|line| line.starts_with("<3>")), "{text}");
    }
}
