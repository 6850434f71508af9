//! Contract sections 4 and 7: what Adobe takes silently and books wrongly.

use afterplay::sandbox::{Finding, Level, Options};
use serde_json::{Value, json};

use super::{Server, session};

fn events(body: &mut Value) -> &mut Vec<Value> {
    body["events"][0]["xdm"]["mediaDownloadedEvents"].as_array_mut().unwrap()
}

fn short(findings: &[Finding]) -> Vec<(Level, String, String)> {
    findings
        .iter()
        .map(|f| {
            let path = f.path.replace("$.xdm.mediaDownloadedEvents", "");
            (f.level, path, f.reason.clone())
        })
        .collect()
}

/// A warning is taken by default, not told in the answer, and refused when strict.
async fn warned(relaxed: &Server, strict: &Server, case: &str, body: &Value, wanted: &[(&str, &str)]) {
    let answer = relaxed.post(body).await;
    assert_eq!(answer.status, 200, "{case}: {}", answer.json());
    assert!(answer.json().get("warnings").is_none() && answer.json().get("errors").is_none(), "{case}");
    let found = short(&relaxed.last().findings);
    let matches = found.len() == wanted.len()
        && found.iter().zip(wanted).all(|((level, path, reason), (at, why))| {
            *level == Level::Warning && path == at && reason.contains(why)
        });
    assert!(matches, "{case}: wanted {wanted:?}, found {found:?}");

    let answer = strict.post(body).await;
    let json = answer.json();
    assert_eq!(answer.status, if wanted.is_empty() { 200 } else { 207 }, "{case}: {json}");
    if !wanted.is_empty() {
        let details = json["errors"][0]["report"]["details"].as_array().unwrap();
        assert_eq!(details.len(), wanted.len(), "{case}");
    }
}

async fn servers() -> (Server, Server) {
    let strict = Options { strict: true, ..Options::default() };
    (Server::start(Options::default()).await, Server::start(strict).await)
}

#[tokio::test]
async fn the_order_of_events() {
    let open_pod = "ad break is never closed";
    type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)]);
    let cases: &[Case] = &[
        (&["sessionStart"], &[]),
        (&["sessionStart", "sessionComplete", "ping", "sessionEnd"], &[]),
        (&["sessionStart", "sessionEnd", "sessionEnd"], &[("[2]", "after media.sessionEnd")]),
        (&["sessionStart", "sessionEnd", "ping"], &[("[2]", "after media.sessionEnd")]),
        (&["sessionStart", "sessionComplete", "sessionComplete"], &[("[2]", "at most once")]),
        (&["sessionStart", "adStart", "adComplete"], &[("[1]", "outside an ad break")]),
        (&["sessionStart", "adComplete"], &[("[1]", "No ad is open")]),
        (&["sessionStart", "adSkip"], &[("[1]", "No ad is open")]),
        (&["sessionStart", "adBreakComplete"], &[("[1]", "No ad break is open")]),
        (&["sessionStart", "adBreakStart", "adBreakStart", "adBreakComplete"], &[("[2]", "still open")]),
        (
            &["sessionStart", "adBreakStart", "adStart", "adStart", "adSkip", "adBreakComplete"],
            &[("[3]", "still open")],
        ),
        (&["sessionStart", "adBreakStart", "adStart", "adBreakComplete"], &[("[3]", "still open")]),
        (&["sessionStart", "adBreakStart", "adStart", "adComplete", "sessionEnd"], &[("[1]", open_pod)]),
        (&["sessionStart", "adBreakStart", "adStart"], &[("[2]", "ad is never closed"), ("[1]", open_pod)]),
        (&["sessionStart", "chapterStart", "chapterStart", "chapterSkip"], &[("[2]", "do not overlap")]),
        (&["sessionStart", "chapterComplete"], &[("[1]", "No chapter is open")]),
        (&["sessionStart", "chapterSkip"], &[("[1]", "No chapter is open")]),
        (&["sessionStart", "chapterStart", "sessionComplete"], &[("[1]", "chapter is never closed")]),
        (&["sessionStart", "chapterStart", "sessionComplete", "chapterComplete"], &[]),
        (&["sessionStart", "chapterStart", "adBreakStart", "chapterComplete", "adBreakComplete"], &[]),
    ];
    let (relaxed, strict) = servers().await;
    for (kinds, wanted) in cases {
        let wanted: Vec<_> = wanted.iter().map(|(at, why)| (format!("{at}.mediaEventType"), *why)).collect();
        let wanted: Vec<_> = wanted.iter().map(|(at, why)| (at.as_str(), *why)).collect();
        warned(&relaxed, &strict, &format!("{kinds:?}"), &session(kinds), &wanted).await;
    }
    relaxed.stop().await;
    strict.stop().await;
}

#[tokio::test]
async fn session_start_comes_first_and_once_or_is_refused() {
    let server = Server::start(Options::default()).await;
    let first = ("[0].mediaEventType", "first event");
    let once = |at| (at, "should come once");
    for (kinds, wanted) in [
        (&["play", "ping"][..], vec![first]),
        (&["play", "sessionStart"], vec![first, once("[1].mediaEventType")]),
        (&["sessionStart", "sessionStart"], vec![once("[1].mediaEventType")]),
        (
            &["sessionStart", "play", "sessionStart", "sessionStart"],
            vec![once("[2].mediaEventType"), once("[3].mediaEventType")],
        ),
    ] {
        let answer = server.post(&session(kinds)).await;
        assert_eq!(answer.status, 207, "{kinds:?}");
        let json = answer.json();
        let details = json["errors"][0]["report"]["details"].as_array().unwrap();
        assert_eq!(details.len(), wanted.len(), "{kinds:?}: {details:?}");
        for (detail, (at, why)) in details.iter().zip(wanted) {
            assert_eq!(detail["name"], format!("$.xdm.mediaDownloadedEvents{at}"), "{kinds:?}");
            assert!(detail["reason"].as_str().unwrap().contains(why), "{kinds:?}: {detail}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn times_rise_by_a_millisecond_at_least() {
    let (relaxed, strict) = servers().await;
    let at = "[2].mediaEventTimestamp";
    for (first, second, wanted) in [
        ("2026-03-07T18:00:01.000Z", "2026-03-07T18:00:01.001Z", &[][..]),
        ("2026-03-07T18:00:01.000Z", "2026-03-07T19:00:01.001+01:00", &[]),
        ("2026-03-07T18:00:01.000Z", "2026-03-07T18:00:01.000Z", &[(at, "Less than 1 ms")]),
        ("2026-03-07T18:00:01Z", "2026-03-07T19:00:01+01:00", &[(at, "Less than 1 ms")]),
        ("2026-03-07T18:00:01.000Z", "2026-03-07T18:00:01.0009Z", &[(at, "Less than 1 ms")]),
        ("2026-03-07T18:00:01.001Z", "2026-03-07T18:00:01.000Z", &[(at, "Earlier than")]),
        ("2026-03-07T18:00:01Z", "2026-03-07T18:00:02+01:00", &[(at, "Earlier than")]),
    ] {
        let mut body = session(&["sessionStart", "play", "ping"]);
        events(&mut body)[1]["mediaEventTimestamp"] = json!(first);
        events(&mut body)[2]["mediaEventTimestamp"] = json!(second);
        warned(&relaxed, &strict, &format!("{first} {second}"), &body, wanted).await;
    }
    relaxed.stop().await;
    strict.stop().await;
}

#[tokio::test]
async fn the_playhead_stays_within_the_content() {
    let (relaxed, strict) = servers().await;
    let at = "[1].mediaCollection.playhead";
    for (content, length, playhead, wanted) in [
        ("VOD", 90, 90, &[][..]),
        ("VOD", 90, 91, &[(at, "length of 90 s")]),
        ("Anything", 90, 91, &[(at, "length of 90 s")]),
        ("Live", 3600, 86_399, &[]),
        ("Linear", 86_400, 86_400, &[(at, "below 86400")]),
    ] {
        let mut body = session(&["sessionStart", "ping"]);
        let details = &mut events(&mut body)[0]["mediaCollection"]["sessionDetails"];
        details["contentType"] = json!(content);
        details["length"] = json!(length);
        events(&mut body)[1]["mediaCollection"]["playhead"] = json!(playhead);
        warned(&relaxed, &strict, &format!("{content} {playhead}"), &body, wanted).await;
    }
    relaxed.stop().await;
    strict.stop().await;
}

#[tokio::test]
async fn ten_state_names_and_no_more() {
    let (relaxed, strict) = servers().await;
    let names =
        |range: std::ops::Range<usize>| range.map(|i| json!({ "name": format!("s{i}") })).collect::<Value>();
    let mut body = session(&["sessionStart", "statesUpdate", "statesUpdate", "statesUpdate"]);
    events(&mut body)[1]["mediaCollection"]["statesStart"] = names(0..10);
    events(&mut body)[2]["mediaCollection"]["statesStart"] = json!([]);
    events(&mut body)[2]["mediaCollection"]["statesEnd"] = names(0..10);
    events(&mut body)[3]["mediaCollection"]["statesStart"] = names(5..10);
    warned(&relaxed, &strict, "ten", &body, &[]).await;

    events(&mut body)[3]["mediaCollection"]["statesStart"] = names(8..12);
    let at = "[3].mediaCollection.statesStart";
    let (eleventh, twelfth) = (format!("{at}[2].name"), format!("{at}[3].name"));
    let wanted = [(eleventh.as_str(), "first 10"), (twelfth.as_str(), "first 10")];
    warned(&relaxed, &strict, "twelve", &body, &wanted).await;
    relaxed.stop().await;
    strict.stop().await;
}

#[tokio::test]
async fn running_figures_and_lone_states_are_hints() {
    let server = Server::start(Options { strict: true, ..Options::default() }).await;
    let mut body = session(&["sessionStart", "play", "ping", "statesUpdate", "statesUpdate"]);
    let list = events(&mut body);
    list[0]["mediaCollection"]["sessionDetails"]["length"] = json!(0);
    for event in list.iter_mut() {
        event["mediaCollection"]["playhead"] = json!(0);
    }
    list[1]["mediaCollection"]["qoeDataDetails"] = json!({ "droppedFrames": 5, "timeToStart": 800 });
    list[2]["mediaCollection"]["qoeDataDetails"] = json!({ "droppedFrames": 4, "timeToStart": 801 });
    list[3]["mediaCollection"]["statesEnd"] = json!([{ "name": "inFocus" }]);
    assert_eq!(server.post(&body).await.status, 200);
    let found = short(&server.last().findings);
    let paths: Vec<_> = found.iter().map(|(level, path, _)| (*level, path.as_str())).collect();
    assert_eq!(
        paths,
        [
            (Level::Hint, "[0].mediaCollection.sessionDetails.length"),
            (Level::Hint, "[2].mediaCollection.qoeDataDetails.droppedFrames"),
            (Level::Hint, "[2].mediaCollection.qoeDataDetails.timeToStart"),
            (Level::Hint, "[3].mediaCollection.statesEnd[0].name"),
            (Level::Hint, "[4].mediaCollection.statesStart[0].name"),
        ]
    );
    server.stop().await;
}
