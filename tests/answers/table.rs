//! Every answer that contract sections 11.2 to 11.4 name, and bodies that lie: what comes, and what must follow.

use std::fmt;

use self::Expected::{
    Backoff, Consent, Delivered, Outage, Pause, Quarantine, RetryAfter, TooLarge, Uncertain, Warned,
};
use crate::endpoint::{Act, Reply};

/// What must follow from an answer, in the contract's words where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// DELIVERED
    Delivered,
    /// DELIVERED-W
    Warned,
    /// DELIVERED-W, where the media service may not have seen it.
    Uncertain,
    /// CONSENT: set apart, and not tried again.
    Consent,
    /// QUARANTINE
    Quarantine,
    /// RESIZE of a body that cannot become smaller: QUARANTINE (12.4, 3).
    TooLarge,
    /// BACKOFF, or BACKOFF-n, of this session alone.
    Backoff(Option<u32>),
    /// The same of all, since what came says something of the way to the endpoint.
    Outage(Option<u32>),
    /// RETRY-AFTER, for all.
    RetryAfter,
    /// PAUSE, for all.
    Pause,
}

/// Whose identity the session has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The player's: it came with the start.
    Player,
    /// The device's: from the configuration.
    Device,
}

/// An answer, and what must follow from it.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// The line of the contract.
    pub(crate) line: String,
    pub(crate) act: Act,
    pub(crate) owner: Owner,
    pub(crate) expected: Expected,
    /// Adobe's code, else the status, else a word for the trouble.
    pub(crate) reason: String,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Act::Answer(reply) = &self.act else { return write!(f, "({}: {:?})", self.line, self.act) };
        let body = String::from_utf8_lossy(&reply.body);
        write!(f, "({}: {} {})", self.line, reply.status, body.chars().take(300).collect::<String>())
    }
}

fn row(line: &str, reply: Reply, expected: Expected, reason: &str) -> Row {
    let reason = reason.to_owned();
    Row { line: line.to_owned(), act: Act::Answer(reply), owner: Owner::Player, expected, reason }
}

/// Every row there is.
pub(crate) fn all() -> Vec<Row> {
    [by_status(), by_code(), multi_status(), lies()].concat()
}

const HANDLE: &str =
    r#""handle":[{"type":"media-analytics:new-session","payload":[{"sessionId":"af8bb22766e4"}]}]"#;

fn ok(members: &str) -> Reply {
    Reply::json(200, format!("{{{members}}}"))
}

fn empty(status: u16) -> Reply {
    Reply::new(status, "")
}

/// Problem details without a code that is known.
fn problem(status: u16) -> Reply {
    let body = format!(r#"{{"type":"about:blank","status":{status},"title":"No"}}"#);
    Reply::new(status, body).header("content-type", "application/problem+json")
}

/// An item of `errors` or `warnings`.
fn item(code: &str, title: &str) -> String {
    let status = code.rsplit('-').next().unwrap();
    format!(
        r#"{{"type":"https://ns.adobe.com/aep/errors/{code}","status":{status},"title":"{title}","report":{{"eventIndex":0,"details":[{{"name":"$.xdm","reason":"No"}}]}}}}"#
    )
}

/// Section 11.2: each row of its table, without a known code in the body.
fn by_status() -> Vec<Row> {
    let mut rows = vec![
        row(
            "11.2: 200, JSON with requestId or handle, no errors",
            ok(r#""requestId":"r""#),
            Delivered,
            "200",
        ),
        row("11.2: 200, JSON with requestId or handle, no errors", ok(HANDLE), Delivered, "200"),
        row("11.2: 200, JSON with requestId or handle, no errors", Reply::accepted(), Delivered, "200"),
        row(
            "11.2: 200, JSON with requestId or handle, no errors",
            ok(r#""requestId":"r","handle":[],"errors":[],"warnings":[]"#),
            Delivered,
            "200",
        ),
        row(
            "11.2: 200 with warnings only",
            ok(&format!(r#"{HANDLE},"warnings":[{}]"#, item("EXEG-0204-200", "Slow"))),
            Warned,
            "0204-200",
        ),
        row(
            "11.2: 200 with warnings only; CONSENT if 0301 is among them",
            ok(&format!(
                r#"{HANDLE},"warnings":[{},{}]"#,
                item("EXEG-0204-200", "Slow"),
                item("EXEG-0301-200", "No consent")
            )),
            Consent,
            "0301-200",
        ),
        row(
            "11.2: 200 with errors, treat as 207",
            ok(&format!(r#""requestId":"r","errors":[{}]"#, item("va-edge-0400-400", "Invalid"))),
            Quarantine,
            "va-edge-0400-400",
        ),
        row("11.2: 200, empty body", empty(200), Delivered, "200"),
        row("11.2: 200, empty body", Reply::json(200, " \r\n"), Delivered, "200"),
        row("11.2: 201, 202, 204", empty(201), Delivered, "201"),
        row("11.2: 201, 202, 204", Reply::json(202, r#"{"requestId":"r"}"#), Delivered, "202"),
        row("11.2: 201, 202, 204", empty(204), Delivered, "204"),
    ];
    let refusals: [(&str, &[u16], Expected); 19] = [
        ("400", &[400], Quarantine),
        ("401", &[401], Pause),
        ("403", &[403], Pause),
        ("404 otherwise, 405", &[404, 405], Pause),
        ("407, 511", &[407, 511], Outage(None)),
        ("408, 425", &[408, 425], Backoff(None)),
        ("409", &[409], Quarantine),
        ("410", &[410], Quarantine),
        ("413", &[413], TooLarge),
        ("415", &[415], Pause),
        ("422", &[422], Quarantine),
        ("429", &[429], RetryAfter),
        ("other 4xx", &[402, 418, 451], Quarantine),
        ("500", &[500], Backoff(Some(10))),
        ("502, 504", &[502, 504], Backoff(None)),
        ("503", &[503], RetryAfter),
        ("507", &[507], Backoff(None)),
        ("501, 505", &[501, 505], Pause),
        ("other 5xx", &[506, 520, 599], Backoff(None)),
    ];
    for (line, statuses, expected) in refusals {
        for &status in statuses {
            for reply in [problem(status), Reply::html(status)] {
                rows.push(row(&format!("11.2: {line}"), reply, expected, &status.to_string()));
            }
        }
    }
    rows.push(row(
        "11.2: 404 with a va-edge code",
        Reply::json(404, item("va-edge-0999-404", "Gone")),
        Quarantine,
        "va-edge-0999-404",
    ));
    for status in [429, 503] {
        let reply = problem(status).header("retry-after", "7200");
        rows.push(row(
            "11: RETRY-AFTER, the whole uploader waits as told",
            reply,
            RetryAfter,
            &status.to_string(),
        ));
    }
    rows
}

/// Section 11.3: each code as the answer itself, in both shapes of problem details (section 10).
fn by_code() -> Vec<Row> {
    let codes: [(&[&str], Expected); 31] = [
        (&["0000-503"], RetryAfter),
        (&["0001-500"], Backoff(Some(10))),
        (&["0002-400"], Pause),
        (&["0003-400"], Pause),
        (&["0004-422"], Pause),
        (&["0010-422"], Pause),
        (&["0011-422", "0012-422"], Pause),
        (&["0013-422"], Pause),
        (&["0100-500"], Backoff(Some(3))),
        (&["0101-400"], Quarantine),
        (&["0102-400", "0103-400", "0104-422", "0105-400"], Quarantine),
        (&["0106-400", "0111-415"], Pause),
        (&["0107-400", "0108-400", "0110-400"], Pause),
        (&["0109-408"], Backoff(Some(10))),
        (&["0112-413"], TooLarge),
        (&["0113-400"], Pause),
        (&["0200-504"], Backoff(None)),
        (&["0201-503"], RetryAfter),
        (&["0202-502"], Backoff(Some(10))),
        (&["0203-502", "0205-502"], Backoff(None)),
        (&["0204-200"], Uncertain),
        (&["0300-502", "0307-502"], Backoff(None)),
        (&["0301-200"], Consent),
        (&["0302-409"], Quarantine),
        (&["0303-200"], Warned),
        (&["0304-400", "0305-400", "0306-400", "0308-400"], Quarantine),
        (&["0400-403"], Pause),
        (&["0500-401", "0501-401", "0502-401", "0503-401", "0504-401", "0505-401", "0506-401"], Pause),
        (&["va-edge-0400-400"], Quarantine),
        (&["va-edge-0404-404"], Quarantine),
        (&["va-edge-0500-500", "va-edge-0777-502"], Backoff(Some(10))),
    ];
    let mut rows = Vec::new();
    for (code, expected) in
        codes.iter().flat_map(|(codes, expected)| codes.iter().map(move |code| (*code, *expected)))
    {
        let line = format!("11.3: {code}");
        rows.extend(shapes(code).map(|reply| row(&line, reply, expected, code)));
        if code.starts_with("030") && expected == Quarantine && code.ends_with("-400") {
            let [reply, _] = shapes(code);
            let line = format!("{line}, PAUSE if the identity comes from configuration");
            rows.push(Row { owner: Owner::Device, ..row(&line, reply, Pause, code) });
        }
    }
    let any_other = "11.3: any other code, by status";
    rows.push(row(any_other, Reply::json(422, item("EXEG-0999-422", "New")), Quarantine, "0999-422"));
    rows.push(row(any_other, Reply::json(403, item("EXEG-0999-403", "New")), Pause, "0999-403"));
    rows.push(row(any_other, Reply::json(400, item("other-0003-400", "Else")), Quarantine, "other-0003-400"));
    // The media service in trouble is everybody's trouble under a 503, and counts all the same.
    let [reply, _] = shapes("va-edge-0500-503");
    rows.push(row("11.3: va-edge, status 5xx", reply, Outage(Some(10)), "va-edge-0500-503"));
    // "By HTTP status: applied when no known code is found in the body."
    let wins = "11.2: the code goes before the status";
    for status in [400, 407, 500, 503] {
        rows.push(row(wins, Reply::json(status, item("EXEG-0104-422", "Invalid")), Quarantine, "0104-422"));
        rows.push(row(wins, Reply::json(status, item("EXEG-0003-400", "Unknown")), Pause, "0003-400"));
    }
    rows.push(row(
        "11: 429 must be honoured",
        Reply::json(429, item("EXEG-0104-422", "Invalid")),
        RetryAfter,
        "0104-422",
    ));
    rows
}

/// A code as problem details: as the general pages show them, and as the description of this endpoint does.
fn shapes(code: &str) -> [Reply; 2] {
    let status: u16 = code.rsplit('-').next().unwrap().parse().unwrap();
    let prefix = if code.starts_with("va-edge") { "" } else { "EXEG-" };
    let general = format!(
        r#"{{"type":"https://ns.adobe.com/aep/errors/{prefix}{code}","status":{status},"title":"No","detail":"Not like this","report":{{"requestId":"r-1","orgId":"o@AdobeOrg","details":"What was wrong"}}}}"#
    );
    let described = format!(
        r#"{{"type":"https://ns.adobe.com/aep/errors/{code}","status":{status},"title":"No","detail":"Not like this","report":{{"eventIndex":0,"report":[{{"name":"$.xdm.a","reason":"Missing"}},{{"name":"$.xdm.b","reason":"Wrong"}}]}}}}"#
    );
    [
        Reply::new(status, general).header("content-type", "application/problem+json"),
        Reply::json(status, described),
    ]
}

/// Section 11.4, step by step, and what is left when none of them decides.
fn multi_status() -> Vec<Row> {
    let media = item("va-edge-0400-400", "Media validation failed");
    let media_5xx = item("va-edge-0500-500", "Media service trouble");
    let upstream = item("EXEG-0203-502", "The target service failed");
    let media_upstream = item("EXEG-0201-503", "The Media Analytics service failed");
    let consent = item("EXEG-0301-200", "No consent");
    let disabled = item("EXEG-0004-422", "Disabled");
    let invalid = item("EXEG-0104-422", "Invalid");
    let shape = |handle: bool, errors: &[&str], warnings: &[&str]| {
        let handle = if handle { HANDLE } else { r#""handle":[]"# };
        let body = format!(
            r#"{{"requestId":"r",{handle},"errors":[{}],"warnings":[{}]}}"#,
            errors.join(","),
            warnings.join(",")
        );
        Reply::json(207, body)
    };
    vec![
        row("11.4, 1: a va-edge code decides", shape(false, &[&media], &[]), Quarantine, "va-edge-0400-400"),
        row(
            "11.4, 1: a va-edge code decides",
            shape(true, &[&upstream, &media], &[]),
            Quarantine,
            "va-edge-0400-400",
        ),
        row(
            "11.4, 1: a va-edge code decides",
            shape(false, &[&media_5xx], &[&consent]),
            Backoff(Some(10)),
            "va-edge-0500-500",
        ),
        row("11.4, 2: the media session was made", shape(true, &[&upstream], &[]), Warned, "0203-502"),
        row("11.4, 2: the media session was made", shape(true, &[], &[&consent]), Warned, "0301-200"),
        row("11.4, 3: any 0301", shape(false, &[&upstream, &consent], &[]), Consent, "0301-200"),
        row("11.4, 3: any 0301", shape(false, &[&disabled], &[&consent]), Consent, "0301-200"),
        row("11.4, 4: only upstream codes", shape(false, &[&upstream], &[]), Uncertain, "0203-502"),
        row("11.4, 4: only upstream codes", shape(false, &[], &[&upstream]), Uncertain, "0203-502"),
        row(
            "11.4, 4: the title names the media service",
            shape(false, &[&media_upstream], &[]),
            Backoff(Some(10)),
            "0201-503",
        ),
        row("11.4, 5: the first code", shape(false, &[&invalid, &disabled], &[]), Quarantine, "0104-422"),
        row("11.4, 5: the first code", shape(false, &[&disabled, &invalid], &[]), Pause, "0004-422"),
        row("a choice: a 207 that names nothing", shape(false, &[], &[]), Backoff(Some(10)), "207"),
        row("a choice: a 207 that names nothing", empty(207), Backoff(Some(10)), "207"),
        row("a choice: another empty 2xx", empty(206), Backoff(Some(10)), "206"),
    ]
}

/// Bodies that are not what they seem.
fn lies() -> Vec<Row> {
    let page = "<html><body><h1>Welcome to Hotel Wi-Fi</h1></body></html>";
    let not_json = "11.1: 2xx with a non-JSON body";
    let unread = "a choice: a 2xx of which nothing can be read";
    let by_status = "11.2: no known code, so the status decides";
    let taken = "11.2: 200, JSON with requestId or handle, no errors";
    let long = |members: &str| format!(r#"{{{members},"filler":"{}"}}"#, "x".repeat(200_000));
    let many = vec![item("EXEG-0204-200", "Slow"); 200].join(",");
    let cut = Row {
        act: Act::Cut(Reply::accepted(), 40),
        ..row("11.1: reset after the body was sent", Reply::accepted(), Outage(None), "reset")
    };
    vec![
        // Not Adobe, whatever the header says.
        row(not_json, Reply::json(200, page), Outage(None), "not-adobe"),
        row(not_json, Reply::html(200), Outage(None), "not-adobe"),
        row(not_json, Reply::json(207, page), Outage(None), "not-adobe"),
        row(not_json, Reply::json(206, page), Outage(None), "not-adobe"),
        row(not_json, Reply::json(200, format!("{page}{}", "x".repeat(200_000))), Outage(None), "not-adobe"),
        row(not_json, Reply::json(200, r#"{"requestId":"r","handle":["#), Outage(None), "not-adobe"),
        row(not_json, Reply::json(200, "\u{feff}{\"requestId\":\"r\"}"), Outage(None), "not-adobe"),
        row(not_json, Reply::json(200, &b"{\"requestId\":\"\xff\xfe\"}"[..]), Outage(None), "not-adobe"),
        row(not_json, Reply::json(200, "[".repeat(20_000)), Outage(None), "not-adobe"),
        row(
            "11.1: 3xx",
            Reply::html(302).header("location", "http://portal.example/"),
            Outage(None),
            "redirect",
        ),
        row("11.1: 3xx", Reply::json(307, r#"{"requestId":"r"}"#), Outage(None), "redirect"),
        cut,
        // JSON that says nothing, or that cannot be read.
        row(unread, Reply::json(200, "{}"), Outage(Some(10)), "not-adobe"),
        row(unread, Reply::json(200, "null"), Outage(Some(10)), "not-adobe"),
        row(unread, Reply::json(200, r#"[{"requestId":"r"}]"#), Outage(Some(10)), "not-adobe"),
        row(unread, Reply::json(200, r#"{"login":"required"}"#), Outage(Some(10)), "not-adobe"),
        row(
            unread,
            Reply::json(200, r#"{"requestId":"","handle":{},"errors":null}"#),
            Outage(Some(10)),
            "not-adobe",
        ),
        row(
            unread,
            Reply::json(200, r#"{"title":"Internal error","status":500}"#),
            Outage(Some(10)),
            "not-adobe",
        ),
        row(unread, Reply::json(200, long(HANDLE)), Outage(Some(10)), "not-adobe"),
        row(unread, Reply::accepted().header("content-encoding", "gzip"), Outage(Some(10)), "not-adobe"),
        // The truth under a wrong name.
        row(
            taken,
            Reply::new(200, r#"{"requestId":"r"}"#).header("content-type", "text/html"),
            Delivered,
            "200",
        ),
        row(taken, Reply::new(200, r#"{"requestId":"r"}"#), Delivered, "200"),
        row(taken, ok(&format!(r#"{HANDLE},"status":500,"title":"Internal error""#)), Delivered, "200"),
        row(
            "11.2: 200 with warnings only",
            ok(&format!(r#"{HANDLE},"warnings":[{many}]"#)),
            Warned,
            "0204-200",
        ),
        row(
            "11.2: 200 with errors, treat as 207",
            ok(r#""requestId":"r","errors":"broken""#),
            Backoff(Some(10)),
            "200",
        ),
        // A body that speaks of another status.
        row(by_status, Reply::json(400, r#"{"status":503,"title":"Busy"}"#), Quarantine, "400"),
        row(by_status, Reply::json(503, r#"{"status":400,"title":"Bad"}"#), RetryAfter, "503"),
        row(by_status, Reply::json(500, Reply::accepted().body), Backoff(Some(10)), "500"),
        row(by_status, Reply::json(400, Reply::accepted().body), Quarantine, "400"),
        row(by_status, Reply::json(502, item("EXEG-0204-200", "Fine")), Backoff(None), "0204-200"),
        row(by_status, Reply::json(400, "{}"), Quarantine, "400"),
        row(by_status, Reply::json(400, long(r#""type":"EXEG-0003-400""#)), Quarantine, "400"),
        row(by_status, empty(400), Quarantine, "400"),
        row(by_status, empty(503), RetryAfter, "503"),
        row(by_status, empty(403), Pause, "403"),
    ]
}
