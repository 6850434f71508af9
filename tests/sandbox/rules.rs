//! One broken rule each, contract sections 3 to 6, and what is answered.

use afterplay::sandbox::{Level, Options};
use serde_json::{Value, json};

use super::{ALL, Server, contract_example, reference_request, session};

/// `xdm`, `body`, `event` (the item of `events`) or the first event of a type; then a path below it.
fn target<'a>(body: &'a mut Value, root: &str, path: &str) -> (&'a mut Value, String, String) {
    let (mut value, mut shown) = match root {
        "body" => (body, "$".to_owned()),
        "event" => (&mut body["events"][0], "$".to_owned()),
        "xdm" => (&mut body["events"][0]["xdm"], "$.xdm".to_owned()),
        kind => {
            let events = body["events"][0]["xdm"]["mediaDownloadedEvents"].as_array_mut().unwrap();
            let wanted = format!("media.{kind}");
            let i = events.iter().position(|event| event["mediaEventType"] == wanted).unwrap();
            (&mut events[i], format!("$.xdm.mediaDownloadedEvents[{i}]"))
        }
    };
    let mut parts: Vec<&str> = path.split('.').collect();
    let last = parts.pop().unwrap();
    for part in parts {
        match part.parse::<usize>() {
            Ok(i) => {
                value = &mut value[i];
                shown += &format!("[{i}]");
            }
            Err(_) => {
                value = &mut value[part];
                shown += &format!(".{part}");
            }
        }
    }
    let shown = match last.parse::<usize>() {
        Ok(i) => format!("{shown}[{i}]"),
        Err(_) => format!("{shown}.{last}"),
    };
    (value, last.to_owned(), shown)
}

/// `None` takes the member away.
fn change(body: &mut Value, root: &str, path: &str, to: Option<Value>) -> String {
    let (parent, member, shown) = target(body, root, path);
    match (to, member.parse::<usize>()) {
        (Some(to), Ok(i)) => parent[i] = to,
        (Some(to), Err(_)) => parent[member] = to,
        (None, _) => {
            parent.as_object_mut().unwrap().remove(&member).expect("it was there");
        }
    }
    shown
}

#[tokio::test]
async fn good_requests_are_taken_without_a_word() {
    let server = Server::start(Options { strict: true, ..Options::default() }).await;
    let with_extras = {
        let mut body = contract_example();
        change(&mut body, "xdm", "timestamp", Some(json!("2026-03-09T07:00:00.000+01:00")));
        change(
            &mut body,
            "xdm",
            "identityMap.Email",
            Some(json!([{ "id": "a@b.example", "primary": false }])),
        );
        change(&mut body, "event", "_data", Some(json!({ "__adobe": {} })));
        body
    };
    for (name, body, events) in [
        ("contract", contract_example(), 7),
        ("reference", reference_request(), 2),
        ("all types", session(&ALL), 24),
        ("extras", with_extras, 7),
    ] {
        let answer = server.post(&body).await;
        assert_eq!(answer.status, 200, "{name}: {}", answer.json());
        let seen = server.last();
        assert!(seen.findings.is_empty(), "{name}: {:?}", seen.findings);
        assert_eq!(seen.events, events, "{name}");
        assert_eq!(answer.handles(), ["media-analytics:new-session", "locationHint:result", "state:store"]);
        let json = answer.json();
        assert_eq!(json["handle"][0]["payload"][0]["sessionId"].as_str().unwrap().len(), 64);
        assert_eq!(json["requestId"].as_str().unwrap().len(), 36);
    }
    server.stop().await;
}

#[tokio::test]
async fn each_broken_rule_is_refused_at_its_path() {
    let fpid = |id: &str| Some(json!([{ "id": id, "primary": true }]));
    let missing = "Missing required field";
    let natural = "integer from 0 on";
    let int32 = "integer from 0 to 2147483647";
    let string = "should be a string";
    let time = "date and time";
    let cases: Vec<(&str, &str, Option<Value>, &str)> = vec![
        // 3.1
        ("event", "xdm", None, missing),
        ("event", "xdm", Some(json!([])), "should be an object"),
        ("xdm", "eventType", None, missing),
        ("xdm", "eventType", Some(json!("media.sessionStart")), "should be media.downloaded"),
        ("xdm", "identityMap", None, missing),
        ("xdm", "mediaDownloadedEvents", None, missing),
        ("xdm", "mediaDownloadedEvents", Some(json!([])), "at least one item"),
        ("xdm", "mediaDownloadedEvents", Some(json!({})), "at least one item"),
        ("xdm", "implementationDetails", Some(json!("app")), "should be an object"),
        ("xdm", "implementationDetails.name", Some(json!("afterplay")), "URI with a scheme"),
        ("xdm", "implementationDetails.version", Some(json!(1)), string),
        ("xdm", "implementationDetails.environment", Some(json!("tv")), "one of browser, app"),
        ("xdm", "timestamp", Some(json!("{{currentTimestamp}}")), time),
        ("xdm", "timestamp", Some(json!(1_772_908_200)), time),
        ("xdm", "customMetadata", Some(json!([])), "inside mediaCollection"),
        // 3.2
        ("play", "mediaEventType", None, missing),
        ("play", "mediaEventType", Some(json!(7)), string),
        ("play", "mediaEventType", Some(json!("play")), "18 media event types"),
        ("play", "mediaEventType", Some(json!("media.Play")), "18 media event types"),
        ("play", "mediaEventType", Some(json!("media.scheduleStart")), "18 media event types"),
        ("play", "mediaEventType", Some(json!("media.customTracking")), "18 media event types"),
        ("play", "mediaEventType", Some(json!("media.downloaded")), "18 media event types"),
        ("play", "mediaEventTimestamp", None, missing),
        ("play", "mediaCollection", None, missing),
        ("play", "mediaCollection", Some(json!([])), "should be an object"),
        ("play", "mediaCollection.sessionID", Some(json!("x")), "forbidden"),
        ("sessionStart", "mediaCollection.sessionID", Some(json!("x")), "forbidden"),
        ("sessionStart", "mediaCollection.isDownloaded", Some(json!(true)), "forbidden"),
        ("sessionStart", "mediaCollection.sessionDetails.isDownloaded", Some(json!(true)), "forbidden"),
        // 4
        ("play", "mediaEventTimestamp", Some(json!(1_772_908_200_940_i64)), time),
        ("play", "mediaEventTimestamp", Some(json!("2026-03-07T18:00:07")), time),
        ("play", "mediaEventTimestamp", Some(json!("2026-03-07 18:00:07Z")), time),
        // 5
        ("xdm", "identityMap", Some(json!([])), "should be an object"),
        ("xdm", "identityMap.Email", Some(json!({})), "at least one item"),
        ("xdm", "identityMap.Email", Some(json!([])), "at least one item"),
        ("xdm", "identityMap.FPID.0.id", None, missing),
        ("xdm", "identityMap.FPID.0.id", Some(json!(5)), string),
        ("xdm", "identityMap.FPID.0.authenticatedState", Some(json!("loggedIn")), "one of ambiguous"),
        ("xdm", "identityMap.Email", Some(json!([{ "id": "x", "primary": "no" }])), ""),
        ("xdm", "identityMap.", Some(json!([{ "id": "x" }])), "namespace is empty"),
        // 6
        ("ping", "mediaCollection.playhead", None, missing),
        ("ping", "mediaCollection.playhead", Some(json!(-1)), natural),
        ("ping", "mediaCollection.playhead", Some(json!(1.5)), natural),
        ("ping", "mediaCollection.playhead", Some(json!(1.0)), natural),
        ("ping", "mediaCollection.playhead", Some(json!("1")), natural),
        ("ping", "mediaCollection.playhead", Some(Value::Null), natural),
        ("sessionStart", "mediaCollection.sessionDetails", None, missing),
        ("sessionStart", "mediaCollection.sessionDetails", Some(json!([])), "should be an object"),
        ("sessionStart", "mediaCollection.sessionDetails.name", None, missing),
        ("sessionStart", "mediaCollection.sessionDetails.name", Some(json!("")), "at least one character"),
        ("sessionStart", "mediaCollection.sessionDetails.playerName", None, missing),
        ("sessionStart", "mediaCollection.sessionDetails.contentType", None, missing),
        ("sessionStart", "mediaCollection.sessionDetails.contentType", Some(json!(1)), string),
        ("sessionStart", "mediaCollection.sessionDetails.length", None, missing),
        ("sessionStart", "mediaCollection.sessionDetails.length", Some(json!("90")), natural),
        ("sessionStart", "mediaCollection.sessionDetails.length", Some(json!(90.5)), natural),
        ("sessionStart", "mediaCollection.sessionDetails.channel", None, missing),
        ("sessionStart", "mediaCollection.sessionDetails.streamType", Some(json!("Video")), "one of audio"),
        ("sessionStart", "mediaCollection.sessionDetails.hasResume", Some(json!("true")), "boolean"),
        ("sessionStart", "mediaCollection.sessionDetails.authorized", Some(json!(true)), string),
        ("sessionStart", "mediaCollection.sessionDetails.season", Some(json!(2)), string),
        ("sessionStart", "mediaCollection.sessionDetails.show", Some(Value::Null), string),
        ("bitrateChange", "mediaCollection.qoeDataDetails", None, missing),
        ("bitrateChange", "mediaCollection.qoeDataDetails", Some(json!(6200)), "should be an object"),
        ("bitrateChange", "mediaCollection.qoeDataDetails.bitrate", Some(json!(2_147_483_648_u64)), int32),
        ("bitrateChange", "mediaCollection.qoeDataDetails.bitrate", Some(json!(6.2)), int32),
        ("ping", "mediaCollection.qoeDataDetails", Some(json!([])), "should be an object"),
        ("ping", "mediaCollection.qoeDataDetails", Some(json!({ "droppedFrames": -1 })), ""),
        ("error", "mediaCollection.errorDetails", None, missing),
        ("error", "mediaCollection.errorDetails.name", None, missing),
        ("error", "mediaCollection.errorDetails.name", Some(json!("")), "at least one character"),
        ("error", "mediaCollection.errorDetails.source", None, missing),
        ("error", "mediaCollection.errorDetails.source", Some(json!("network")), "one of player, external"),
        ("adBreakStart", "mediaCollection.advertisingPodDetails", None, missing),
        ("adBreakStart", "mediaCollection.advertisingPodDetails.index", None, missing),
        ("adBreakStart", "mediaCollection.advertisingPodDetails.index", Some(json!(-1)), natural),
        ("adBreakStart", "mediaCollection.advertisingPodDetails.offset", None, missing),
        ("adBreakStart", "mediaCollection.advertisingPodDetails.friendlyName", Some(json!(1)), string),
        (
            "adBreakComplete",
            "mediaCollection.advertisingPodDetails",
            Some(json!({})),
            "forbidden on adBreakComplete",
        ),
        ("adStart", "mediaCollection.advertisingDetails", None, missing),
        ("adStart", "mediaCollection.advertisingDetails.name", None, missing),
        ("adStart", "mediaCollection.advertisingDetails.name", Some(json!("")), "at least one character"),
        ("adStart", "mediaCollection.advertisingDetails.length", None, missing),
        ("adStart", "mediaCollection.advertisingDetails.length", Some(json!(14.9)), natural),
        ("adStart", "mediaCollection.advertisingDetails.playerName", None, missing),
        ("adStart", "mediaCollection.advertisingDetails.podPosition", None, missing),
        ("adStart", "mediaCollection.advertisingDetails.podPosition", Some(json!("0")), natural),
        ("adStart", "mediaCollection.advertisingDetails.creativeURL", Some(json!({})), string),
        ("adComplete", "mediaCollection.advertisingDetails", Some(json!({})), "forbidden on adComplete"),
        ("chapterStart", "mediaCollection.chapterDetails", None, missing),
        ("chapterStart", "mediaCollection.chapterDetails.index", None, missing),
        ("chapterStart", "mediaCollection.chapterDetails.length", None, missing),
        ("chapterStart", "mediaCollection.chapterDetails.offset", None, missing),
        ("chapterStart", "mediaCollection.chapterDetails.offset", Some(json!(-3)), natural),
        (
            "chapterComplete",
            "mediaCollection.chapterDetails",
            Some(json!({})),
            "forbidden on chapterComplete",
        ),
        ("chapterSkip", "mediaCollection.chapterDetails", Some(json!({})), "forbidden on chapterSkip"),
        ("statesUpdate", "mediaCollection.statesStart", Some(json!("mute")), ""),
        ("statesUpdate", "mediaCollection", Some(json!({ "playhead": 19 })), "At least one"),
        (
            "statesUpdate",
            "mediaCollection",
            Some(json!({ "playhead": 19, "statesStart": [], "statesEnd": [] })),
            "At least one",
        ),
        ("statesUpdate", "mediaCollection.statesEnd", Some(json!({})), "should be an array"),
        ("statesUpdate", "mediaCollection.statesStart.0", Some(json!("mute")), "should be an object"),
        ("statesUpdate", "mediaCollection.statesStart.0.name", None, missing),
        ("statesUpdate", "mediaCollection.statesStart.0.name", Some(json!("full screen")), "should match"),
        ("statesUpdate", "mediaCollection.statesStart.0.name", Some(json!("")), "should match"),
        ("statesUpdate", "mediaCollection.statesStart.0.name", Some(json!("x".repeat(65))), "should match"),
        ("statesUpdate", "mediaCollection.statesStart.0.name", Some(json!(1)), "should match"),
        (
            "ping",
            "mediaCollection.customMetadata",
            Some(json!([])),
            "sessionStart, adStart and chapterStart only",
        ),
        ("adStart", "mediaCollection.customMetadata", Some(json!({})), "should be an array"),
        ("chapterStart", "mediaCollection.customMetadata", Some(json!([{ "name": "a" }])), ""),
        ("sessionStart", "mediaCollection.customMetadata", Some(json!([{ "name": "", "value": "" }])), ""),
        ("sessionStart", "mediaCollection.customMetadata", Some(json!([{ "name": "a", "value": 1 }])), ""),
    ];
    let server = Server::start(Options::default()).await;
    for (root, path, to, reason) in cases {
        let mut body = session(&ALL);
        let case = format!("{root}.{path} = {to:?}");
        let shown = change(&mut body, root, path, to);
        let answer = server.post(&body).await;
        assert_eq!(answer.status, 207, "{case}: {}", answer.json());
        let json = answer.json();
        assert_eq!(answer.handles(), ["locationHint:result", "state:store"], "{case}");
        let error = &json["errors"][0];
        assert_eq!(error["type"], "https://ns.adobe.com/aep/errors/va-edge-0400-400", "{case}");
        assert_eq!((&error["status"], &error["report"]["eventIndex"]), (&json!(400), &json!(0)), "{case}");
        let details = error["report"]["details"].as_array().unwrap();
        assert_eq!(details[0]["name"].as_str().unwrap().find(&shown), Some(0), "{case}: {details:?}");
        assert!(details[0]["reason"].as_str().unwrap().contains(reason), "{case}: {details:?}");
        if !reason.is_empty() {
            assert_eq!((details.len(), &details[0]["name"]), (1, &json!(shown)), "{case}: {details:?}");
        }
    }
    // The gateway refuses some identities by itself, with problem details.
    for (path, to, code) in [
        ("identityMap.FPID.0.primary", Some(json!(false)), "EXEG-0306-400"),
        ("identityMap.FPID.0.primary", None, "EXEG-0306-400"),
        ("identityMap", Some(json!({})), "EXEG-0306-400"),
        ("identityMap.Email", fpid("a@b.example"), "EXEG-0304-400"),
        ("identityMap.FPID", fpid(""), "EXEG-0305-400"),
        ("identityMap.FPID", fpid("38-digit-number"), "EXEG-0308-400"),
        ("identityMap.FPID", fpid("5f0c3d1e-6c1b-1f0e-9a52-2f8f6f1f9a10"), "EXEG-0308-400"),
        ("identityMap.FPID", fpid("5f0c3d1e-6c1b-4f0e-ca52-2f8f6f1f9a10"), "EXEG-0308-400"),
        ("identityMap.FPID", fpid("5f0c3d1e6c1b4f0e9a522f8f6f1f9a10"), "EXEG-0308-400"),
    ] {
        let mut body = session(&ALL);
        change(&mut body, "xdm", path, to.clone());
        let answer = server.post(&body).await;
        assert_eq!((answer.status, answer.code()), (400, code.to_owned()), "{path} = {to:?}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json;charset=utf-8"));
        let first = answer.json()["report"]["errors"][0].as_str().unwrap().to_owned();
        assert!(first.starts_with("$.xdm.identityMap"), "{first}");
    }
    server.stop().await;
}

#[tokio::test]
async fn all_problems_come_in_one_answer() {
    let server = Server::start(Options::default()).await;
    let mut body = session(&ALL);
    let mut wanted = vec![
        change(&mut body, "sessionStart", "mediaCollection.sessionDetails.name", None),
        change(&mut body, "sessionStart", "mediaCollection.playhead", Some(json!("0"))),
        change(&mut body, "adStart", "mediaCollection.advertisingDetails.length", None),
        change(&mut body, "xdm", "timestamp", Some(json!("now"))),
    ];
    let json = server.post(&body).await.json();
    let details = json["errors"][0]["report"]["details"].as_array().unwrap();
    let mut found: Vec<String> = details.iter().map(|d| d["name"].as_str().unwrap().to_owned()).collect();
    wanted.sort();
    found.sort();
    assert_eq!(found, wanted);
    assert_eq!(server.last().problems().count(), 4);
    server.stop().await;
}

#[tokio::test]
async fn each_media_session_of_a_request_has_its_own_verdict() {
    let server = Server::start(Options::default()).await;
    let (mut body, mut bad) = (session(&ALL), session(&ALL));
    change(&mut bad, "ping", "mediaCollection.playhead", None);
    body["events"].as_array_mut().unwrap().push(bad["events"][0].clone());
    let answer = server.post(&body).await;
    let json = answer.json();
    assert_eq!(answer.status, 207);
    assert_eq!(answer.handles()[0], "media-analytics:new-session");
    assert_eq!(json["handle"][0]["eventIndex"], 0);
    assert_eq!(json["errors"][0]["report"]["eventIndex"], 1);
    assert_eq!(server.last().hints().map(|hint| hint.path.as_str()).collect::<Vec<_>>(), ["$.events"]);
    server.stop().await;
}

#[tokio::test]
async fn what_is_only_unusual_is_a_hint_and_never_refused() {
    let server = Server::start(Options { strict: true, ..Options::default() }).await;
    for (root, path, to) in [
        ("body", "meta", json!({})),
        ("event", "query", json!({})),
        ("xdm", "mediaCollection", json!({})),
        ("xdm", "_id", json!("1")),
        ("xdm", "implementationDetails.environment", json!("device")),
        ("xdm", "identityMap.FPID.0.xid", json!("1")),
        ("ping", "extra", json!(1)),
        ("ping", "mediaCollection.chapterDetails", json!({})),
        ("sessionStart", "mediaCollection.sessionDetails.isCompleted", json!(true)),
        ("sessionStart", "mediaCollection.sessionDetails.pev3", json!("video")),
        ("adStart", "mediaCollection.advertisingDetails.timePlayed", json!(1)),
        ("chapterStart", "mediaCollection.chapterDetails.ID", json!("1")),
        ("statesUpdate", "mediaCollection.statesStart.0.time", json!(1)),
        ("statesUpdate", "mediaCollection.statesStart.0.name", json!("fullScreen")),
        ("sessionStart", "mediaEventTimestamp", json!("1970-01-01T00:00:00Z")),
    ] {
        let mut body = session(&ALL);
        let shown = change(&mut body, root, path, Some(to));
        let answer = server.post(&body).await;
        assert_eq!(answer.status, 200, "{shown}: {}", answer.json());
        let found: Vec<_> = server.last().findings.into_iter().map(|f| (f.level, f.path)).collect();
        assert_eq!(found, [(Level::Hint, shown)]);
    }
    let mut body = session(&ALL);
    let metadata = Some(json!([{ "name": "a-b", "value": "" }]));
    let shown = change(&mut body, "sessionStart", "mediaCollection.customMetadata", metadata);
    assert_eq!(server.post(&body).await.status, 200);
    let found: Vec<_> = server.last().findings.into_iter().map(|f| (f.level, f.path)).collect();
    assert_eq!(found, [(Level::Hint, format!("{shown}[0].name"))]);
    server.stop().await;
}
