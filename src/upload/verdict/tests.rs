//! Contract section 11 as cases, written from the contract and not from the tables they check.

use super::*;
use crate::upload::send::{Failure, FailureKind};

/// Sun, 06 Nov 1994 08:49:37 GMT
const NOW: i64 = 784_111_777_000;
const CONTEXT: Context = Context { identity_from_configuration: false, now_ms: NOW };
const HANDLE: &str = r#""handle":[{"type":"media-analytics:new-session","payload":[{"sessionId":"s1"}]}]"#;

fn answer(status: u16, body: &str) -> Answer {
    Answer { status, body: body.into(), ..Answer::default() }
}

fn judged(answer: Answer) -> Judgement {
    judge(&Outcome::Answer(answer), &CONTEXT)
}

fn body(status: u16, body: &str) -> Judgement {
    judged(answer(status, body))
}

/// The answer that a code is, as contract section 10 describes it.
fn fatal(code: &str) -> Judgement {
    let status = code.rsplit('-').next().unwrap().parse().unwrap();
    let name = if code.starts_with("va-edge") { code.to_owned() } else { format!("EXEG-{code}") };
    body(
        status,
        &format!(r#"{{"type":"https://ns.adobe.com/aep/errors/{name}","status":{status},"title":"T"}}"#),
    )
}

/// One item of `errors` or `warnings`.
fn item(code: &str, title: &str) -> String {
    format!(r#"{{"type":"https://ns.adobe.com/aep/errors/{code}","title":"{title}"}}"#)
}

/// The verdict as the contract writes it.
fn term(judgement: &Judgement) -> String {
    match judgement.verdict {
        Verdict::Delivered if judgement.warnings.is_empty() => "DELIVERED".to_owned(),
        Verdict::Delivered => "DELIVERED-W".to_owned(),
        Verdict::RetryAfter(_) => "RETRY-AFTER".to_owned(),
        Verdict::Backoff { limit: None } => "BACKOFF".to_owned(),
        Verdict::Backoff { limit: Some(answers) } => format!("BACKOFF-{answers}"),
        Verdict::Pause => "PAUSE".to_owned(),
        Verdict::Resize { .. } => "RESIZE".to_owned(),
        Verdict::Consent => "CONSENT".to_owned(),
        Verdict::Quarantine => "QUARANTINE".to_owned(),
    }
}

#[test]
fn s11_1_transport() {
    use Evidence::{Captive, Unreachable};
    use FailureKind::{CertificateTime, Connect, Dns, Protocol, Reset, Setup, Timeout, Tls};
    let cases = [
        // "no route, DNS failure, refused, reset, connect timeout | BACKOFF"
        (Dns, false, "BACKOFF", "dns", Unreachable),
        (Connect, false, "BACKOFF", "connect", Unreachable),
        (Timeout, false, "BACKOFF", "timeout", Unreachable),
        // "certificate not yet valid / expired | BACKOFF, report "check the clock""
        (CertificateTime, false, "BACKOFF", "certificate-time", Unreachable),
        // "TLS failure: other | BACKOFF, report"
        (Tls, false, "BACKOFF", "tls", Captive),
        // "timeout or reset after the body was sent | BACKOFF, mark "maybe delivered""
        (Timeout, true, "BACKOFF", "timeout", Unreachable),
        (Reset, true, "BACKOFF", "reset", Unreachable),
        // Ours.
        (Protocol, true, "BACKOFF", "not-adobe", Captive),
        (Setup, false, "PAUSE", "setup", Unreachable),
    ];
    for (kind, maybe_delivered, expected, reason, evidence) in cases {
        let failure = Failure { kind, maybe_delivered, detail: "os error".to_owned() };
        let judgement = judge(&Outcome::Failed(failure), &CONTEXT);
        assert_eq!((term(&judgement).as_str(), judgement.reason.as_str()), (expected, reason));
        assert_eq!((judgement.evidence, judgement.maybe_delivered), (evidence, maybe_delivered), "{kind:?}");
        assert_eq!((judgement.status, judgement.concerns_all), (None, true), "{kind:?}");
        assert!(judgement.detail.ends_with(": os error"), "{}", judgement.detail);
        assert_eq!(kind == CertificateTime, judgement.detail.contains("clock"));
    }
}

#[test]
fn s11_1_redirects_are_a_portals() {
    for status in [300, 301, 302, 303, 304, 307, 308, 399] {
        let location = Some("http://portal.example/login".to_owned());
        let judgement = judged(Answer { location, ..answer(status, r#"{"requestId":"r"}"#) });
        assert_eq!((term(&judgement).as_str(), judgement.reason.as_str()), ("BACKOFF", "redirect"));
        assert_eq!((judgement.evidence, judgement.concerns_all), (Evidence::Captive, true));
        assert_eq!((judgement.status, judgement.maybe_delivered), (Some(status), false));
        assert!(judgement.detail.contains("http://portal.example/login"));
    }
}

#[test]
fn s11_1_a_success_that_is_not_adobes_is_none() {
    let deep = "[".repeat(30_000);
    let deeper = format!(r#"{{"requestId":{deep}"#);
    let bodies = [
        "<!DOCTYPE html><title>Welcome</title>",
        "OK",
        "{\"requestId\":\"r\"",
        "{\"requestId\":\"r\"} trailing",
        "[]",
        "[{\"requestId\":\"r\"}]",
        "null",
        "true",
        "\"requestId\"",
        "{}",
        r#"{"status":"ok"}"#,
        r#"{"title":"Welcome","status":200}"#,
        r#"{"type":"https://portal.example/errors/x-0001-200"}"#,
        r#"{"requestId":null,"handle":null,"errors":[],"warnings":null}"#,
        r#"{"requestId":"","handle":{}}"#,
        "\u{feff}",
        &deep,
        &deeper,
    ];
    for status in [200, 201, 202, 203, 204, 206, 207] {
        for given in bodies {
            let judgement = body(status, given);
            let shown = &given[..given.len().min(40)];
            // "2xx with a non-JSON body | not Adobe: BACKOFF"; of JSON without a meaning it says nothing.
            let json = serde_json::from_str::<serde_json::Value>(given).is_ok();
            assert_eq!(term(&judgement), if json { "BACKOFF-10" } else { "BACKOFF" }, "{status} {shown}");
            assert_eq!((judgement.reason.as_str(), judgement.evidence), ("not-adobe", Evidence::Captive));
            assert_eq!((judgement.concerns_all, judgement.maybe_delivered), (true, json));
        }
    }
}

#[test]
fn a_success_that_cannot_be_read_may_be_a_delivery() {
    let good = format!(r#"{{"requestId":"r",{HANDLE}}}"#);
    let gzip = Answer { content_encoding: Some("gzip".to_owned()), ..answer(200, &good) };
    let long = Answer { truncated: true, ..answer(200, &good) };
    let nothing_of_it = Answer { truncated: true, ..answer(200, "") };
    for unreadable in [gzip, long, nothing_of_it] {
        let judgement = judged(unreadable);
        assert_eq!((term(&judgement).as_str(), judgement.reason.as_str()), ("BACKOFF-10", "not-adobe"));
        assert!(judgement.maybe_delivered && judgement.concerns_all);
    }
    // "A 207 is not a success by itself"; other statuses that say nothing are none either.
    for (status, reason) in [(207, "207"), (205, "205")] {
        let judgement = body(status, " ");
        assert_eq!((term(&judgement).as_str(), judgement.reason.as_str()), ("BACKOFF-10", reason));
        assert_eq!((judgement.maybe_delivered, judgement.evidence), (true, Evidence::Answered));
    }
    let page = Answer { truncated: true, ..answer(200, " <html>") };
    assert_eq!((term(&judged(page.clone())).as_str(), judged(page).maybe_delivered), ("BACKOFF", false));
    let identity = Answer { content_encoding: Some("Identity".to_owned()), ..answer(200, &good) };
    assert_eq!(term(&judged(identity)), "DELIVERED");
}

#[test]
fn s11_2_successes() {
    let warning = |code| format!(r#"{{"requestId":"r",{HANDLE},"warnings":[{}]}}"#, item(code, "W"));
    let refused = format!(r#"{{"requestId":"r","errors":[{}]}}"#, item("va-edge-0400-400", "E"));
    let cases = [
        // "200, JSON with requestId or handle, no errors | DELIVERED"
        (200, r#"{"requestId":"r"}"#.to_owned(), "DELIVERED"),
        (200, format!("{{{HANDLE}}}"), "DELIVERED"),
        (200, r#"{"handle":[],"errors":[],"warnings":[]}"#.to_owned(), "DELIVERED"),
        // "200 with warnings only | DELIVERED-W; CONSENT if 0301 is among them"
        (200, warning("EXEG-0204-200"), "DELIVERED-W"),
        (200, warning("EXEG-0303-200"), "DELIVERED-W"),
        (200, warning("va-edge-0400-400"), "DELIVERED-W"),
        (200, warning("EXEG-0301-200"), "CONSENT"),
        (200, format!(r#"{{"warnings":[{},{}]}}"#, item("0204-200", ""), item("0301-200", "")), "CONSENT"),
        // "200 with errors | treat as 207"
        (200, refused.clone(), "QUARANTINE"),
        (200, r#"{"type":"EXEG-0301-200","title":"Consent"}"#.to_owned(), "CONSENT"),
        (200, r#"{"requestId":"r","errors":"broken"}"#.to_owned(), "BACKOFF-10"),
        // "200, empty body | DELIVERED, log"
        (200, String::new(), "DELIVERED"),
        (200, " \r\n".to_owned(), "DELIVERED"),
        // "201, 202, 204 | DELIVERED, log"
        (201, String::new(), "DELIVERED"),
        (202, String::new(), "DELIVERED"),
        (204, String::new(), "DELIVERED"),
        (201, r#"{"requestId":"r"}"#.to_owned(), "DELIVERED"),
        (202, refused, "QUARANTINE"),
        (206, r#"{"requestId":"r"}"#.to_owned(), "DELIVERED"),
    ];
    for (status, given, expected) in cases {
        let judgement = body(status, &given);
        assert_eq!(term(&judgement), expected, "{status} {given}");
        assert_eq!((judgement.evidence, judgement.concerns_all), (Evidence::Answered, false));
        assert_eq!((judgement.uncertain, judgement.maybe_delivered), (false, false));
    }
}

#[test]
fn s11_2_statuses_without_a_known_code() {
    let cases: [(&[u16], &str); 21] = [
        (&[400], "QUARANTINE"),
        (&[401], "PAUSE"),
        (&[403], "PAUSE"),
        (&[404, 405], "PAUSE"),
        (&[407, 511], "BACKOFF"),
        (&[408, 425], "BACKOFF"),
        (&[409], "QUARANTINE"),
        (&[410], "QUARANTINE"),
        (&[413], "RESIZE"),
        (&[415], "PAUSE"),
        (&[422], "QUARANTINE"),
        (&[429], "RETRY-AFTER"),
        // "other 4xx | QUARANTINE"
        (&[402, 406, 411, 412, 414, 416, 417, 418, 421, 423, 424, 426, 428, 431, 451, 499], "QUARANTINE"),
        (&[500], "BACKOFF-10"),
        (&[502, 504], "BACKOFF"),
        (&[503], "RETRY-AFTER"),
        (&[507], "BACKOFF"),
        (&[501, 505], "PAUSE"),
        // "other 5xx | BACKOFF"
        (&[506, 508, 510, 520, 522, 529, 530, 599], "BACKOFF"),
        // Nobody's.
        (&[100, 101, 199], "BACKOFF"),
        (&[600, 699, 999], "BACKOFF"),
    ];
    let bodies = [
        ("", false),
        ("<html>Bad Gateway</html>", false),
        ("{", false),
        ("[]", false),
        (r#"{"title":"No"}"#, false),
        (r#"{"type":"about:blank","title":"No","status":400}"#, false),
        (r#"{"type":"https://ns.adobe.com/aep/errors/EXEG-9999-400","title":"New"}"#, true),
        (r#"{"type":"https://ns.adobe.com/aep/errors/other-0003-400","title":"New"}"#, true),
    ];
    for (statuses, expected) in cases {
        for (status, (given, code)) in statuses.iter().flat_map(|status| bodies.map(|body| (*status, body))) {
            let judgement = body(status, given);
            assert_eq!(term(&judgement), expected, "{status} {given}");
            assert_eq!(judgement.status, Some(status));
            let reason =
                if code { judgement.reason.contains("-400") } else { judgement.reason == status.to_string() };
            assert!(reason, "{status} {given}: {}", judgement.reason);
            let captive = matches!(status, 407 | 511);
            assert_eq!(judgement.evidence, if captive { Evidence::Captive } else { Evidence::Answered });
            let all = captive || matches!(status, 401 | 403 | 404 | 405 | 415 | 429 | 501 | 503 | 505);
            assert_eq!(judgement.concerns_all, all, "{status}");
        }
    }
    // "404 with a va-edge code | QUARANTINE"
    assert_eq!(term(&body(404, &item("va-edge-0410-404", "T"))), "QUARANTINE");
}

#[test]
fn s11_3_codes() {
    let cases: [(&[&str], &str); 33] = [
        (&["0000-503"], "RETRY-AFTER"),
        (&["0001-500"], "BACKOFF-10"),
        (&["0002-400"], "PAUSE"),
        (&["0003-400"], "PAUSE"),
        (&["0004-422"], "PAUSE"),
        (&["0010-422"], "PAUSE"),
        (&["0011-422", "0012-422"], "PAUSE"),
        (&["0013-422"], "PAUSE"),
        (&["0100-500"], "BACKOFF-3"),
        (&["0101-400"], "QUARANTINE"),
        (&["0102-400", "0103-400", "0104-422", "0105-400"], "QUARANTINE"),
        (&["0106-400", "0111-415"], "PAUSE"),
        (&["0107-400", "0108-400", "0110-400"], "PAUSE"),
        (&["0109-408"], "BACKOFF-10"),
        (&["0112-413"], "RESIZE"),
        (&["0113-400"], "PAUSE"),
        (&["0200-504"], "BACKOFF"),
        (&["0201-503"], "RETRY-AFTER"),
        (&["0202-502"], "BACKOFF-10"),
        (&["0203-502", "0205-502"], "BACKOFF"),
        (&["0204-200"], "DELIVERED-W"),
        (&["0300-502", "0307-502"], "BACKOFF"),
        (&["0301-200"], "CONSENT"),
        (&["0302-409"], "QUARANTINE"),
        (&["0303-200"], "DELIVERED-W"),
        (&["0304-400", "0305-400", "0306-400", "0308-400"], "QUARANTINE"),
        (&["0400-403"], "PAUSE"),
        (&["0500-401", "0501-401", "0502-401", "0503-401", "0504-401", "0505-401", "0506-401"], "PAUSE"),
        (&["va-edge-0400-400"], "QUARANTINE"),
        (&["va-edge-0404-404"], "QUARANTINE"),
        (&["va-edge-0500-500", "va-edge-0001-503", "va-edge-9999-599"], "BACKOFF-10"),
        // "any other code | by status, 11.2"
        (&["0600-503", "va-edge-0429-429"], "RETRY-AFTER"),
        (&["0507-401", "0999-415"], "PAUSE"),
    ];
    for (codes, expected) in cases {
        for code in codes {
            let judgement = fatal(code);
            assert_eq!((term(&judgement).as_str(), judgement.reason.as_str()), (expected, *code));
            assert!(judgement.detail.starts_with(&format!("{code}: T")), "{}", judgement.detail);
            assert_eq!(judgement.evidence, Evidence::Answered);
        }
    }
}

#[test]
fn s11_3_a_fault_of_the_identity_is_everybodys_if_the_configuration_names_it() {
    let configured = Context { identity_from_configuration: true, ..CONTEXT };
    for code in ["0304-400", "0305-400", "0306-400", "0308-400"] {
        let outcome = Outcome::Answer(answer(400, &item(&format!("EXEG-{code}"), "T")));
        assert_eq!(judge(&outcome, &configured).verdict, Verdict::Pause);
        assert_eq!(judge(&outcome, &CONTEXT).verdict, Verdict::Quarantine);
    }
}

#[test]
fn s11_3_the_code_wins_over_the_status_but_cannot_make_a_refusal_a_delivery() {
    let coded = |status, code| body(status, &item(code, "T"));
    assert_eq!(term(&coded(400, "EXEG-0004-422")), "PAUSE", "instead of QUARANTINE");
    assert_eq!(term(&coded(503, "EXEG-0004-422")), "PAUSE", "instead of RETRY-AFTER");
    assert_eq!(term(&coded(502, "EXEG-0204-200")), "BACKOFF");
    assert_eq!(term(&coded(400, "EXEG-0303-200")), "QUARANTINE");
    // The code says whose trouble it is, whatever a status would say of everybody.
    for status in [407, 503, 511] {
        let judgement = coded(status, "EXEG-0104-422");
        assert_eq!((term(&judgement).as_str(), judgement.concerns_all), ("QUARANTINE", false), "{status}");
        assert_eq!(judgement.evidence, Evidence::Answered, "{status}");
    }
    assert_eq!(term(&coded(429, "EXEG-0104-422")), "RETRY-AFTER", "this must be honoured");
    // Another status of the same class is the same error, one of another class is not.
    assert_eq!(term(&coded(504, "EXEG-0201-504")), "RETRY-AFTER");
    assert_eq!(term(&coded(503, "EXEG-0104-503")), "RETRY-AFTER");
    assert_eq!(term(&coded(422, "EXEG-0004")), "PAUSE");
    // A known code further down wins over an unknown one above it.
    let below =
        r#"{"type":"EXEG-9999-400","title":"T","report":{"errors":[{"type":"EXEG-0003-400","title":"U"}]}}"#;
    let judgement = body(400, below);
    assert_eq!((term(&judgement).as_str(), judgement.reason.as_str()), ("PAUSE", "0003-400"));
    // So it does over one that only speaks of a delivery.
    let both = [item("EXEG-0204-200", "T"), item("EXEG-0003-400", "U")].join(",");
    let judgement = body(400, &format!(r#"{{"requestId":"r","errors":[{both}]}}"#));
    assert_eq!((term(&judgement).as_str(), judgement.reason.as_str()), ("PAUSE", "0003-400"));
    let in_errors = format!(r#"{{"requestId":"r","errors":[{}]}}"#, item("EXEG-0003-400", "U"));
    assert_eq!(term(&body(400, &in_errors)), "PAUSE");
}

/// Whether the handle is there, errors, warnings; then the verdict, its reason, and whether it is uncertain.
type Shape<'a> = (bool, &'a [&'a str], &'a [&'a str], &'a str, &'a str, bool);

#[test]
fn s11_4_a_207_in_all_its_shapes() {
    let media = item("va-edge-0400-400", "Media validation failed");
    let media_5xx = item("va-edge-0500-500", "Media service trouble");
    let new_media = item("va-edge-0777-429", "Slow down");
    let upstream = item("EXEG-0203-502", "The target service failed");
    let other_upstream = item("EXEG-0201-504", "The 'ode' service is not available");
    let media_upstream = item("EXEG-0203-502", "The Media Analytics service failed");
    let consent = item("EXEG-0301-200", "No consent");
    let disabled = item("EXEG-0004-422", "Disabled");
    let invalid = item("EXEG-0104-422", "Invalid");
    let unnamed = r#"{"status":400,"title":"Unnamed"}"#;
    let shape = |handle: bool, errors: &[&str], warnings: &[&str]| {
        let handle = if handle { format!("{HANDLE},") } else { String::new() };
        format!(
            r#"{{"requestId":"r",{handle}"errors":[{}],"warnings":[{}]}}"#,
            errors.join(","),
            warnings.join(",")
        )
    };
    let cases: [Shape<'_>; 22] = [
        // 1. "Any errors[] item with a va-edge code: its verdict decides."
        (false, &[&media], &[], "QUARANTINE", "va-edge-0400-400", false),
        (true, &[&upstream, &media], &[], "QUARANTINE", "va-edge-0400-400", false),
        (false, &[&consent, &media], &[], "QUARANTINE", "va-edge-0400-400", false),
        (false, &[&media_5xx], &[], "BACKOFF-10", "va-edge-0500-500", false),
        (false, &[&new_media], &[], "RETRY-AFTER", "va-edge-0777-429", false),
        // 2. "Else a media-analytics:new-session handle is there: DELIVERED-W."
        (true, &[&upstream], &[], "DELIVERED-W", "0203-502", false),
        (true, &[&disabled], &[&consent], "DELIVERED-W", "0004-422", false),
        (true, &[], &[&media], "DELIVERED-W", "va-edge-0400-400", false),
        // 3. "Else any 0301: CONSENT."
        (false, &[&upstream, &consent], &[], "CONSENT", "0301-200", false),
        (false, &[&disabled], &[&consent], "CONSENT", "0301-200", false),
        (false, &[], &[&consent], "CONSENT", "0301-200", false),
        // 4. "Else only upstream codes (02xx): DELIVERED-W, log it as uncertain."
        (false, &[&upstream], &[], "DELIVERED-W", "0203-502", true),
        (false, &[&upstream, &other_upstream], &[], "DELIVERED-W", "0203-502", true),
        (false, &[], &[&upstream], "DELIVERED-W", "0203-502", true),
        // "If the title names the media service itself: BACKOFF-10."
        (false, &[&media_upstream], &[], "BACKOFF-10", "0203-502", false),
        (false, &[&other_upstream, &media_upstream], &[], "BACKOFF-10", "0203-502", false),
        // 5. "Else the first code's verdict."
        (false, &[&disabled, &invalid], &[], "PAUSE", "0004-422", false),
        (false, &[&invalid, &disabled], &[], "QUARANTINE", "0104-422", false),
        (false, &[&upstream, &invalid], &[], "BACKOFF", "0203-502", false),
        (false, &[unnamed, &disabled], &[], "PAUSE", "0004-422", false),
        // Nothing has a code: the first status; nothing says anything: careful.
        (false, &[unnamed], &[], "QUARANTINE", "", false),
        (false, &[], &[], "BACKOFF-10", "", false),
    ];
    for (handle, errors, warnings, expected, reason, uncertain) in cases {
        let given = shape(handle, errors, warnings);
        // "200 with errors | treat as 207"
        let statuses: &[u16] = if errors.is_empty() { &[207] } else { &[207, 200] };
        for &status in statuses {
            let judgement = body(status, &given);
            assert_eq!(term(&judgement), expected, "{status} {given}");
            let reason = if reason.is_empty() { status.to_string() } else { reason.to_owned() };
            assert_eq!((judgement.reason, judgement.uncertain), (reason, uncertain), "{given}");
            assert_eq!(judgement.request_id.as_deref(), Some("r"));
            assert_eq!(judgement.session_id.as_deref(), handle.then_some("s1"));
        }
    }
}

#[test]
fn a_delivery_keeps_what_was_said_and_hints_once() {
    let plain = body(200, &format!(r#"{{"requestId":"r1",{HANDLE}}}"#));
    assert_eq!((plain.request_id.as_deref(), plain.session_id.as_deref()), (Some("r1"), Some("s1")));
    assert_eq!((plain.hint, plain.reason.as_str()), (None, "200"));

    let switched_off = body(200, r#"{"requestId":"r1"}"#);
    assert_eq!(switched_off.hint, Some(Hint::NoMediaSession));
    assert!(switched_off.hint.unwrap().to_string().contains("datastream"));
    for status in [200, 201, 202, 204] {
        assert_eq!(body(status, "").hint, Some(Hint::Unspecific));
    }

    let warned = format!(
        r#"{{{HANDLE},"errors":[{}],"warnings":[{}]}}"#,
        item("0203-502", "A"),
        item("0204-200", "B")
    );
    assert_eq!(body(207, &warned).warnings, ["0203-502: A", "0204-200: B"]);

    let with_header = Answer { request_id: Some("h\n1".to_owned()), ..answer(204, "") };
    assert_eq!(judged(with_header).request_id.as_deref(), Some("h\\n1"));
}

#[test]
fn retry_after_is_honoured_or_left_to_the_backoff() {
    let cases = [
        (Some("120"), Some(120)),
        (Some("Sun, 06 Nov 1994 08:50:07 GMT"), Some(30)),
        (Some("0"), Some(1)),
        (Some("1000000"), Some(86_400)),
        (Some("tomorrow"), None),
        (None, None),
    ];
    for (given, seconds) in cases {
        for status in [429, 503] {
            let judgement =
                judged(Answer { retry_after: given.map(str::to_owned), ..answer(status, "<html>") });
            assert_eq!(judgement.verdict, Verdict::RetryAfter(seconds.map(Duration::from_secs)), "{given:?}");
            assert!(judgement.concerns_all);
        }
    }
    let coded = body(503, &item("va-edge-0001-503", "T"));
    assert_eq!(
        (term(&coded).as_str(), coded.concerns_all),
        ("BACKOFF-10", true),
        "a 503 concerns all in any case"
    );
    let elsewhere = Answer { retry_after: Some("120".to_owned()), ..answer(502, "") };
    assert_eq!(judged(elsewhere).verdict, Verdict::Backoff { limit: None });
}

#[test]
fn a_413_names_the_maximum() {
    let cases = [
        (
            r#"{"type":"EXEG-0112-413","title":"Too large","detail":"The maximum is 65536 bytes"}"#,
            Some(65_536),
        ),
        (r#"{"type":"EXEG-0112-413","title":"Too large","report":{"details":"limit 64 KB"}}"#, Some(64_000)),
        (r#"{"title":"Payload exceeds the maximum of 128 KiB","status":413}"#, Some(131_072)),
        (r#"{"type":"EXEG-0112-413","title":"Too large"}"#, None),
        ("<html>413 of 65536 bytes</html>", None),
        ("", None),
    ];
    for (given, max) in cases {
        assert_eq!(body(413, given).verdict, Verdict::Resize { max }, "{given}");
    }
}

#[test]
fn the_detail_lists_every_field_and_shows_what_a_terminal_would_obey() {
    let given = r#"{"type":"va-edge-0400-400","title":"Invalid","detail":"two fields",
        "report":{"eventIndex":0,"details":[{"name":"$.a","reason":"missing"},{"name":"$.b","reason":"\u001b[31mred\r\n\u202e"}]}}"#;
    let detail = body(400, given).detail;
    assert_eq!(
        detail,
        "va-edge-0400-400: Invalid; two fields; $.a: missing; $.b: \\u{1b}[31mred\\r\\n\\u{202e}"
    );
    let page = body(502, "<html>\n  <h1>Bad\u{7} Gateway</h1>");
    assert_eq!(page.detail, "HTTP 502: <html> <h1>Bad\\u{7} Gateway</h1>");
    let long = body(400, &item("0104-422", &"ü".repeat(5000)));
    assert!(long.detail.chars().count() <= DETAIL && long.detail.ends_with('…'));
}

#[test]
fn a_refusal_that_broke_off_is_judged_by_its_status() {
    let cut = Answer { truncated: true, ..answer(429, r#"{"type":"EXEG-0004-422","ti"#) };
    assert_eq!(term(&judged(cut)), "RETRY-AFTER");
    let packed = Answer { content_encoding: Some("br".to_owned()), ..answer(400, &item("0004-422", "T")) };
    assert_eq!(term(&judged(packed)), "QUARANTINE");
}
