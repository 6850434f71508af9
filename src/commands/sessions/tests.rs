use serde_json::{Value, json};

use super::table;
use crate::commands::fake::{Fake, NOW_MS, answer};
use crate::commands::style::Style;
use crate::commands::text;

fn session(key: &str, state: &str, title: Option<&str>, started: &str, events: u64) -> Value {
    json!({"session": key, "uid": 1000, "state": state, "why": null, "title": title, "started_at": started,
        "last_event_at": started, "events": events, "bytes": 3400, "attempt_count": 0, "last_verdict": null})
}

fn show(sessions: &[Value], width: usize) -> String {
    let sessions: Vec<_> =
        sessions.iter().map(|session| serde_json::from_value(session.clone()).unwrap()).collect();
    let shown = table(&sessions, NOW_MS, width, Style::plain());
    assert!(shown.lines().all(|line| text::width(line) <= width), "{shown}");
    shown
}

#[test]
fn keys_of_every_length_and_titles_of_every_kind_fit() {
    let sessions = [
        session(
            "0197b2f0-6c1b-7f0e-9a52-2f8f6f1f9a10",
            "open",
            Some("The Long Tide"),
            "2026-03-07T18:39:18Z",
            12,
        ),
        session(
            "living-room-0042~2",
            "quarantined",
            Some("長い潮の話とその他の長い題名"),
            "2026-03-07T15:00:00Z",
            1,
        ),
        session(
            "bed\u{1b}[2Jroom",
            "completed",
            Some("evil\u{1b}[31m\nred"),
            "2026-03-05T18:00:00Z",
            123_456,
        ),
        session(&"k".repeat(128), "delivered", None, "1970-01-01T00:00:20Z", 3),
    ];
    insta::assert_snapshot!(show(&sessions, 80), @r"
    STATE        KEY                                   TITLE            AGE   EVENTS
    open         0197b2f0-6c1b-7f0e-9a52-2f8f6f1f9a10  The Long Tide    42 s      12
    quarantined  living-room-0042~2                    長い潮の話とそ…  3 h        1
    completed    bed\u{1b}[2Jroom                      evil\u{1b}[31m…  2 d   123456
    delivered    kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk  –                ?          3
                 kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk
                 kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk
                 kkkkkkkkkkkkkkkkkkkk
    ");
    show(&sessions, 60);
}

#[test]
fn short_keys_leave_room_for_the_title() {
    let title = "A title that goes on and on, until nobody knows any more what it was about";
    insta::assert_snapshot!(show(&[session("tv-1", "open", Some(title), "2026-03-07T18:39:18Z", 2)], 80), @r"
    STATE  KEY   TITLE                                                  AGE   EVENTS
    open   tv-1  A title that goes on and on, until nobody knows any …  42 s       2
    ");
}

#[test]
fn whose_they_are_is_shown_where_they_are_of_several_users() {
    let mut sessions = ["film", "film"].map(|key| session(key, "open", None, "2026-03-07T18:39:18Z", 2));
    sessions[1]["uid"] = u32::MAX.into();
    insta::assert_snapshot!(show(&sessions, 80), @r"
    STATE  OWNER       KEY   TITLE  AGE   EVENTS
    open   1000        film  –      42 s       2
    open   4294967295  film  –      42 s       2
    ");
    sessions[0]["session"] = "k".repeat(128).into();
    sessions[1]["title"] = "t".repeat(200).into();
    show(&sessions, 60);
}

/// 3 pages of 2 sessions.
fn paged() -> Fake {
    Fake::start(|line, _| {
        let page: u64 = line.split("after=c").nth(1).map_or(0, |cursor| cursor.parse().unwrap());
        let state = if line.contains("state=open") { "open" } else { "completed" };
        let sessions: Vec<Value> = (0..2)
            .map(|n| session(&format!("k{}", page * 2 + n), state, None, "2026-03-07T18:39:18Z", 1))
            .collect();
        let next = (page < 2).then(|| format!("c{}", page + 1));
        answer(200, json!({"sessions": sessions, "next": next}))
    })
}

#[tokio::test]
async fn all_pages_are_read() {
    let fake = paged();
    let ran = fake.run(&["sessions", "--state", "open", "--json"]).await;
    let listed: Value = serde_json::from_str(&ran.out).unwrap();
    let keys: Vec<&str> =
        listed["sessions"].as_array().unwrap().iter().map(|item| item["session"].as_str().unwrap()).collect();
    assert_eq!(keys, ["k0", "k1", "k2", "k3", "k4", "k5"]);
    assert_eq!(listed["next"], Value::Null);
    assert_eq!(listed["sessions"][0]["uid"], 1000, "items are passed on whole");
    assert_eq!(fake.lines()[0], "GET /v1/sessions?limit=500&state=open");
    assert_eq!(fake.lines()[2], "GET /v1/sessions?limit=500&state=open&after=c2");
    assert_eq!(fake.run(&["sessions"]).await.out.lines().count(), 7);
}

#[tokio::test]
async fn a_cursor_that_leads_nowhere_ends_the_list() {
    let fake = Fake::start(|_, _| {
        answer(
            200,
            json!({"sessions": [session("k", "open", None, "2026-03-07T18:39:18Z", 1)], "next": "again"}),
        )
    });
    assert_eq!(fake.run(&["sessions"]).await.code, 0);
    assert_eq!(fake.lines().len(), 3);
    assert_eq!(fake.lines()[2], "GET /v1/status", "ages are counted from what the service takes for now");
}

#[tokio::test]
async fn ages_on_a_machine_without_a_clock_are_those_of_the_service() {
    let day = 86_400_000;
    let started = crate::clock::rfc3339(NOW_MS + 20_000 * day);
    let fake = Fake::start(move |line, _| match line {
        "GET /v1/status" => answer(200, json!({"clock_behind_s": 20_000 * 86_400 + 42})),
        _ => answer(200, json!({"sessions": [session("k", "open", None, &started, 1)], "next": null})),
    });
    let shown = fake.run(&["sessions"]).await.out;
    assert!(shown.contains(" 42 s "), "{shown}");
    // As long as nobody knows the time.
    let estimated = session("k", "delivered", None, &crate::clock::rfc3339(NOW_MS + 20_000 * day), 1);
    assert!(show(&[estimated], 80).contains(" ? "));
}

#[tokio::test]
async fn nothing_to_list() {
    let fake = Fake::start(|_, _| answer(200, json!({"sessions": [], "next": null})));
    assert_eq!(fake.run(&["sessions"]).await.out, "No sessions.\n");
    assert_eq!(fake.run(&["sessions", "--state", "quarantined"]).await.out, "No quarantined sessions.\n");
}
