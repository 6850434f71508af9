//! Strings that are meant to do harm, in every place a player can put one: the endpoint gets them byte for byte, the log
//! and the terminal get nothing that they would act on.

use std::os::unix::process::CommandExt;

use serde_json::{Value, json};

use crate::endpoint::Endpoint;
use crate::service::{Connection, Place, Service, event, start_event};
use crate::{get, post};

/// Each as it stands in a JSON text.
const HARM: [&str; 19] = [
    r"a\r\nSet-Cookie: x=1",
    r"a\r\n\r\nGET /evil HTTP/1.1",
    r"\u001b[2J\u001b]0;title\u0007",
    "\u{9b}31m",
    r"%s%n%x%p {} {0} ${HOME} $(id) `id`",
    r#"\"}],\"evil\":[{\"a\":\""#,
    r"'; DROP TABLE sessions; --",
    r"\u2028 and \u2029",
    "\u{2028}\u{2029}\u{85}",
    "\u{202e}gnp.exe",
    r"\u202e\u2066\u200f",
    r"\ud83d\ude00",
    "😀🏳️‍🌈𐍈𝕏",
    "e\u{301}\u{301}\u{301}\u{301}",
    "\u{feff}\u{fffe}\u{ffff}\u{10ffff}",
    r"<script>alert(1)</script>&amp;",
    r"../../../etc/passwd",
    r"\/\b\f\t\\",
    "\u{7f}\u{e0001}\u{200b}",
];

/// A session whose every text is `harm`.
fn session_of(harm: &str) -> Vec<String> {
    let text = |value: Value| value.to_string().replace("HARM", harm);
    let mut start = start_event("HARM");
    let details = &mut start["mediaCollection"]["sessionDetails"];
    for name in ["friendlyName", "playerName", "channel", "show", "season", "network", "appVersion"] {
        details[name] = "HARM".into();
    }
    start["mediaCollection"]["customMetadata"] = json!([{ "name": "_acme.harm", "value": "HARM" }]);
    start["identityMap"] = json!({ "Email": [{ "id": "HARM", "primary": true }] });
    let mut error = event("media.error", 2, 2);
    error["mediaCollection"]["errorDetails"] = json!({ "name": "HARM", "source": "player" });
    let mut chapter = event("media.chapterStart", 1, 1);
    chapter["mediaCollection"]["chapterDetails"] =
        json!({ "index": 1, "length": 10, "offset": 0, "friendlyName": "HARM" });
    vec![text(start), text(chapter), text(error)]
}

/// The compact raw text of a member of an event, as the payload has to hold it.
fn raw_strings(harm: &str) -> Vec<String> {
    vec![
        format!("\"friendlyName\":\"{harm}\""),
        format!("\"value\":\"{harm}\""),
        format!("\"id\":\"{harm}\""),
    ]
}

/// Characters that a terminal or a log viewer would act on.
fn acting(text: &str) -> Option<char> {
    text.chars().find(|c| {
        (c.is_control() && *c != '\n')
            || matches!(c, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    })
}

fn start(place: &Place) -> Service<'_> {
    place.start_with(|command| {
        command.env("AFTERPLAY_LOG", "trace");
    })
}

/// One request whose head holds harm wherever HTTP lets it.
fn with_harmful_head(service: &Service<'_>, harm: &str) {
    let bytes = harm.replace("\\r", "").replace("\\n", "");
    let heads = [
        format!("GET /v1/sessions/{bytes} HTTP/1.1\r\nhost: x\r\n"),
        format!("GET /v1/sessions?state={bytes}&after={bytes} HTTP/1.1\r\nhost: x\r\n"),
        "GET /v1/sessions/%0d%0a%1b%5b2J%00%e2%80%ae HTTP/1.1\r\nhost: x\r\n".to_owned(),
        format!("POST /ee/va/v1/{bytes}?configId=%0d%0aevil HTTP/1.1\r\nhost: x\r\n"),
        format!("GET /v1/consent HTTP/1.1\r\nhost: {bytes}\r\nuser-agent: {bytes}\r\nx-{bytes}: 1\r\n"),
        format!("{bytes} /v1/consent HTTP/1.1\r\nhost: x\r\n"),
    ];
    for head in heads {
        let mut connection = service.connect().unwrap();
        let _ = connection.raw(format!("{head}content-length: 0\r\n\r\n").as_bytes());
        if let Ok(answer) = connection.answer() {
            for (name, value) in &answer.headers {
                assert_eq!(acting(value), None, "{name} of the answer to {head}");
                assert!(!name.contains("evil") && !name.contains("cookie"), "{name} in the answer to {head}");
            }
        }
    }
}

fn commands_show_nothing_that_acts(place: &Place, key: &str) {
    for arguments in [
        &["show", key][..],
        &["sessions"],
        &["status"],
        &["sessions", "--json"],
        &["show", key, "--json"],
        &["status", "--json"],
        &["show", "\u{1b}[2J\u{202e}"],
    ] {
        let mut command = place.command(arguments);
        command.arg0("afterplay");
        let output = command.output().unwrap();
        for bytes in [&output.stdout, &output.stderr] {
            let text = String::from_utf8(bytes.clone()).unwrap();
            assert_eq!(acting(&text), None, "{arguments:?}: {text:?}");
        }
    }
}

#[test]
fn injection_in_every_string() {
    let endpoint = Endpoint::start([]);
    let place = Place::new(&endpoint.url(), "");
    let service = start(&place);
    let mut connection = service.connect().unwrap();
    service.play("benign");
    service.wait_for_state("benign", "delivered");
    for (n, harm) in HARM.iter().enumerate() {
        let key = format!("harm-{n}");
        for event in session_of(harm) {
            let answer = post(&mut connection, &key, &event);
            assert!(matches!(answer.status, 200 | 201), "{event}: {}", answer.text());
        }
        with_harmful_head(&service, harm);
        let recorded = get(&mut connection, &format!("/v1/sessions/{key}/events")).text();
        for raw in raw_strings(harm) {
            assert!(recorded.contains(&raw), "{raw} is not in {recorded}");
        }
        if n % 5 == 0 {
            commands_show_nothing_that_acts(&place, &key);
        }
        connection.send("POST", &format!("/v1/sessions/{key}/complete"), &[], b"").unwrap();
    }
    for n in 0..HARM.len() {
        service.wait_for_state(&format!("harm-{n}"), "delivered");
    }
    commands_show_nothing_that_acts(&place, "harm-0");

    let requests = endpoint.wait_for(HARM.len() + 1);
    assert_eq!(requests.len(), HARM.len() + 1, "nothing else was sent");
    let fixed = |request: &crate::endpoint::Request| {
        let mut headers = request.headers.clone();
        headers.retain(|(name, _)| name != "content-length");
        (request.method.clone(), request.target.clone(), headers)
    };
    let benign = fixed(&requests[0]);
    for request in &requests {
        assert_eq!(fixed(request), benign, "no client chooses a URL or a header");
    }
    for harm in HARM {
        let sent = requests[1..]
            .iter()
            .map(|request| String::from_utf8(request.body.clone()).unwrap())
            .find(|body| body.contains(&raw_strings(harm)[0]))
            .unwrap_or_else(|| panic!("{harm:?} was not sent as it came"));
        for raw in raw_strings(harm) {
            assert!(sent.contains(&raw), "{raw:?} is not in {sent}");
        }
        assert!(serde_json::from_str::<Value>(&sent).is_ok());
    }

    assert!(service.stop().success());
    let log = place.log_text();
    assert_eq!(acting(&log), None, "{:?}", log.lines().find(|line| acting(line).is_some()));
    for line in log.lines() {
        let level = line.split_whitespace().nth(1).unwrap_or_default();
        assert!(["TRACE", "DEBUG", "INFO", "WARN", "ERROR"].contains(&level), "a line of its own: {line:?}");
    }
    assert!(!log.contains("DROP TABLE") && !log.contains("alert(1)"), "no text of a player's is in the log");
}

#[test]
fn lone_surrogates_raw_control_characters_and_bad_utf_8_are_refused() {
    let place = Place::new(crate::NOWHERE, "consent.initial = \"pending\"");
    let service = start(&place);
    let mut connection = service.connect().unwrap();
    let start = start_event("HARM").to_string();
    let put = |bytes: &[u8]| {
        let (before, after) = start.split_once("HARM").unwrap();
        [before.as_bytes(), bytes, after.as_bytes()].concat()
    };
    for bad in [
        &br"\ud800"[..],
        br"\udc00",
        br"\udc00\ud800",
        br"\ud83d x",
        br"\ud83d\u0041",
        b"\0",
        b"\x1b[2J",
        b"a\r\nb",
        b"\x1f",
        b"\xff",
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        br"\x41",
        br"\u00",
        br"\u0000",
    ] {
        let answer = post(&mut connection, "one", put(bad));
        assert_eq!(answer.status, 400, "{bad:?}: {}", answer.text());
        assert_eq!(acting(&answer.text()), None, "{bad:?}: {}", answer.text());
    }
    // What a name of a member holds comes back in a path, harmless.
    let mut wrong: Vec<u8> = start.clone().into_bytes();
    wrong.pop();
    wrong.extend_from_slice(b",\"\\u001b[2J\\r\\nevil\\u202e\":1}");
    let answer = post(&mut connection, "one", wrong);
    assert_eq!((answer.status, acting(&answer.text())), (400, None), "{}", answer.text());
    assert_eq!(service.status()["sessions"]["open"], 0);
    keys_are_checked(&mut connection);
    assert!(service.stop().success());
    assert_eq!(acting(&place.log_text()), None, "{}", place.log_text());
}

fn keys_are_checked(connection: &mut Connection) {
    let start = start_event("x").to_string();
    for key in [
        "a%0d%0ab",
        "%1b%5b2J",
        "a%00",
        "%e2%80%ae",
        "%f0%9f%98%80",
        "a%20b",
        "%25s",
        "a%22b",
        "%2e%2e%2f",
        "a~0",
    ] {
        let answer = post(connection, key, &start);
        assert!(matches!(answer.status, 400 | 404), "{key}: {}", answer.text());
        assert_eq!(acting(&answer.text()), None, "{key}: {}", answer.text());
    }
}
