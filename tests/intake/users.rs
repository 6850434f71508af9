//! Two users of one service: neither sees nor touches what is the other's (product section 7).

use serde_json::{Value, json};

use crate::endpoint::{Act, Endpoint, Reply};
use crate::service::{Answer, Connection, event, start_event, wait_for};
use crate::users_support::{ANNA, BERT, connect_as, is_root, shared_place};
use crate::{NOWHERE, assert_problem, knock, post};

fn get(connection: &mut Connection, path: &str) -> Answer {
    connection.send("GET", path, &[], b"").unwrap()
}

fn owners(connection: &mut Connection) -> Vec<(String, u64)> {
    let page = get(connection, "/v1/sessions").json();
    let mut all: Vec<_> = page["sessions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|session| (session["session"].as_str().unwrap().to_owned(), session["uid"].as_u64().unwrap()))
        .collect();
    all.sort();
    all
}

fn pair(key: &str, uid: u32) -> (String, u64) {
    (key.to_owned(), uid.into())
}

#[test]
fn users_are_strangers_to_each_other() {
    if !is_root() {
        return;
    }
    let place = shared_place(NOWHERE, "");
    let service = place.start();
    let mut anna = connect_as(&service, ANNA);
    let mut bert = connect_as(&service, BERT);
    let mut root = service.connect().unwrap();

    // The same key, two sessions.
    let start = start_event("ep-1").to_string();
    assert_eq!(post(&mut anna, "same", &start).status, 201);
    assert_eq!(post(&mut bert, "same", &start).status, 201);
    assert_eq!(post(&mut bert, "same", event("media.play", 1, 0).to_string()).json()["seq"], 1);
    assert_eq!(post(&mut bert, "berts", &start).status, 201);
    assert_eq!(owners(&mut anna), [pair("same", ANNA)]);
    assert_eq!(owners(&mut bert), [pair("berts", BERT), pair("same", BERT)]);
    assert_eq!(owners(&mut root), [pair("berts", BERT), pair("same", ANNA), pair("same", BERT)]);
    assert_eq!(get(&mut anna, "/v1/sessions/same").json()["events"], 1);
    assert_eq!(get(&mut bert, "/v1/sessions/same").json()["events"], 2);

    // Counts are everybody's own.
    let counted = |connection: &mut Connection| {
        let status = get(connection, "/v1/status").json();
        (status["sessions"]["open"].as_u64().unwrap(), status["events"]["stored"].as_u64().unwrap())
    };
    assert_eq!((counted(&mut anna), counted(&mut bert), counted(&mut root)), ((1, 1), (2, 3), (3, 4)));
    let metrics = get(&mut anna, "/metrics").text();
    assert!(metrics.contains("afterplay_sessions{state=\"open\"} 1\n"), "{metrics}");

    // Bert's session is to Anna as if it were not there.
    let before = get(&mut bert, "/v1/sessions/berts").json();
    for (method, path, body) in [
        ("GET", "/v1/sessions/berts", ""),
        ("GET", "/v1/sessions/berts/events", ""),
        ("GET", "/v1/sessions/berts/payload", ""),
        ("POST", "/v1/sessions/berts/complete", ""),
        ("POST", "/v1/sessions/berts/retry", ""),
        ("DELETE", "/v1/sessions/berts", ""),
        ("POST", "/v1/sessions/berts/events", &event("media.play", 1, 0).to_string()),
        ("POST", "/v1/sessions/berts/events", &event("media.sessionEnd", 1, 0).to_string()),
        ("GET", "/v1/sessions?after=berts", ""),
    ] {
        let answer = anna.send(method, path, &[], body.as_bytes()).unwrap();
        assert_problem(&answer, 404, "unknown_session");
        let nobodys = path.replace("berts", "nobodys");
        let same = anna.send(method, &nobodys, &[], body.as_bytes()).unwrap();
        assert_eq!(answer.json(), same.json(), "{method} {path}: Anna cannot tell that it exists");
    }
    // Not through the other face either.
    let call = json!({ "events": [{ "xdm": { "eventType": "media.play",
        "mediaCollection": { "playhead": 0, "sessionID": "berts" } } }] });
    let answer = anna.send("POST", "/ee/va/v1/play", &[], call.to_string().as_bytes()).unwrap();
    assert_eq!((answer.status, &answer.json()["reason"]), (404, &json!("unknown_session")));
    assert_eq!(get(&mut bert, "/v1/sessions/berts").json(), before);

    // Neither administers.
    for user in [&mut anna, &mut bert] {
        for (method, path, body) in [
            ("POST", "/v1/flush", ""),
            ("PUT", "/v1/consent", "{\"consent\":\"out\"}"),
            ("PUT", "/v1/consent", "nonsense"),
            ("GET", "/v1/identity", ""),
            ("POST", "/v1/identity/reset", ""),
        ] {
            assert_problem(&user.send(method, path, &[], body.as_bytes()).unwrap(), 403, "forbidden");
        }
        assert_eq!(get(user, "/v1/consent").json(), json!({ "consent": "in" }));
    }

    // Root may, and is told when a key does not say whose.
    assert_eq!(get(&mut root, "/v1/sessions/berts").json()["uid"], BERT);
    let answer = get(&mut root, "/v1/sessions/same");
    assert_problem(&answer, 400, "invalid");
    // What root records under a key of Bert's is root's own.
    assert_problem(&post(&mut root, "berts", event("media.play", 1, 0).to_string()), 404, "unknown_session");
    let completed = root.send("POST", "/v1/sessions/berts/complete", &[], b"").unwrap();
    assert_eq!((completed.status, &completed.json()["why"]), (200, &json!("complete")));
    assert_eq!(get(&mut bert, "/v1/sessions/berts").json()["state"], "completed");
    assert_eq!(root.send("DELETE", "/v1/sessions/berts", &[], b"").unwrap().status, 204);
    let losses =
        |connection: &mut Connection| get(connection, "/v1/status").json()["losses"]["discarded"].clone();
    assert_eq!((losses(&mut anna), losses(&mut bert), losses(&mut root)), (json!(0), json!(1), json!(1)));
    assert_eq!(root.send("POST", "/v1/flush", &[], b"").unwrap().status, 202);
}

#[test]
fn an_administrator_says_whose_session_is_meant() {
    if !is_root() {
        return;
    }
    let place = shared_place(NOWHERE, "");
    let service = place.start();
    let mut anna = connect_as(&service, ANNA);
    let mut bert = connect_as(&service, BERT);
    let mut root = service.connect().unwrap();
    let start = start_event("ep-1").to_string();
    for connection in [&mut anna, &mut bert] {
        assert_eq!(post(connection, "film", &start).status, 201);
    }
    assert_eq!(post(&mut bert, "film", event("media.play", 1, 0).to_string()).status, 200);
    assert_eq!(post(&mut root, "film", &start).status, 201);

    // Root's own comes first, but where something is decided nobody's is taken for meant.
    assert_eq!(get(&mut root, "/v1/sessions/film").json()["uid"], 0);
    assert_eq!(get(&mut root, "/v1/sessions/film/events").json()["events"].as_array().unwrap().len(), 1);
    for (method, below) in [("POST", "/retry"), ("DELETE", "")] {
        let refused = root.send(method, &format!("/v1/sessions/film{below}"), &[], b"").unwrap();
        assert_problem(&refused, 400, "invalid");
        let problem = refused.json()["problems"][0]["problem"].as_str().unwrap().to_owned();
        for part in [format!("users 0, {ANNA}, {BERT}:"), "owner=UID".into(), "--owner UID".into()] {
            assert!(problem.contains(&part), "{problem}");
        }
    }
    let each = [
        ("GET", ""),
        ("GET", "/events"),
        ("GET", "/payload"),
        ("POST", "/complete"),
        ("POST", "/retry"),
        ("DELETE", ""),
    ];
    for (method, below) in each {
        for uid in ["", "anna", "-1", "4294967296", "1.0"] {
            let path = format!("/v1/sessions/film{below}?owner={uid}");
            let refused = root.send(method, &path, &[], b"").unwrap();
            assert_problem(&refused, 400, "invalid");
            assert_eq!(refused.json()["problems"][0]["path"], "owner");
        }
        let nobodys = format!("/v1/sessions/film{below}?owner=7");
        assert_problem(&root.send(method, &nobodys, &[], b"").unwrap(), 404, "unknown_session");
        // Who does not administer is told nothing of others, whether or not they have one.
        for uid in [0, BERT, 7] {
            let path = format!("/v1/sessions/film{below}?owner={uid}");
            assert_problem(&anna.send(method, &path, &[], b"").unwrap(), 403, "forbidden");
        }
    }
    assert_eq!(get(&mut root, "/v1/sessions?after=film").status, 200);
    assert_problem(&get(&mut anna, &format!("/v1/sessions?owner={BERT}")), 403, "forbidden");
    let page = get(&mut root, &format!("/v1/sessions?owner={BERT}")).json();
    assert_eq!((page["sessions"].as_array().unwrap().len(), &page["sessions"][0]["uid"]), (1, &json!(BERT)));

    // Everybody names themselves, root anybody.
    let berts = format!("/v1/sessions/film?owner={BERT}");
    for connection in [&mut bert, &mut root] {
        let session = get(connection, &berts).json();
        assert_eq!((&session["uid"], &session["events"]), (&json!(BERT), &json!(2)));
    }
    let events = get(&mut root, &format!("/v1/sessions/film/events?owner={BERT}")).json();
    assert_eq!(events["events"].as_array().unwrap().len(), 2);
    assert_eq!(get(&mut root, &format!("/v1/sessions/film/payload?owner={BERT}")).status, 200);
    // Events are recorded for who sends them.
    let play = event("media.play", 2, 0).to_string();
    for connection in [&mut root, &mut anna] {
        let path = format!("/v1/sessions/film/events?owner={BERT}");
        let refused = connection.send("POST", &path, &[], play.as_bytes()).unwrap();
        assert!(matches!(refused.status, 400 | 403), "{}", refused.text());
    }
    assert_eq!(post(&mut root, "film", &play).json()["seq"], 1);
    let path = format!("/v1/sessions/film/complete?owner={BERT}");
    assert_eq!(root.send("POST", &path, &[], b"").unwrap().status, 200);
    let path = format!("/v1/sessions/film/retry?owner={ANNA}");
    assert_problem(&root.send("POST", &path, &[], b"").unwrap(), 409, "wrong_state");
    let states = |connection: &mut Connection| get(connection, "/v1/sessions/film").json()["state"].clone();
    assert_eq!((states(&mut anna), states(&mut bert)), (json!("open"), json!("completed")));
    for uid in [0, BERT] {
        let path = format!("/v1/sessions/film?owner={uid}");
        assert_eq!(root.send("DELETE", &path, &[], b"").unwrap().status, 204);
    }
    // The last one is meant by its key alone.
    assert_eq!(get(&mut root, "/v1/sessions/film").json()["uid"], ANNA);
}

#[test]
fn losses_are_listed_to_whom_they_happened() {
    if !is_root() {
        return;
    }
    let place = shared_place(NOWHERE, "");
    let service = place.start();
    let mut anna = connect_as(&service, ANNA);
    let mut bert = connect_as(&service, BERT);
    let mut root = service.connect().unwrap();
    assert_eq!(get(&mut root, "/v1/losses").json(), json!({ "losses": [], "next": null }));
    for key in ["annas", "berts", "late"] {
        let connection = if key == "berts" { &mut bert } else { &mut anna };
        assert_eq!(post(connection, key, start_event("ep-1").to_string()).status, 201);
        let path = format!("/v1/sessions/{key}");
        assert_eq!(connection.send("DELETE", &path, &[], b"").unwrap().status, 204);
    }
    let list = |connection: &mut Connection, query: &str| -> Vec<Value> {
        let page = get(connection, &format!("/v1/losses{query}")).json();
        page["losses"].as_array().unwrap().clone()
    };
    let annas = list(&mut anna, "");
    let told: Vec<_> =
        annas.iter().map(|loss| json!([loss["key"], loss["name"], loss["events"], loss["detail"]])).collect();
    let dropped = |key: &str| json!([key, "discarded", 1, "dropped by a person"]);
    assert_eq!(told, [dropped("late"), dropped("annas")]);
    assert!(annas.iter().all(|loss| loss.get("owner").is_none()), "{annas:?}");
    let all = list(&mut root, "");
    let owners: Vec<_> = all.iter().map(|loss| json!([loss["key"], loss["owner"]])).collect();
    assert_eq!(owners, [json!(["late", ANNA]), json!(["berts", BERT]), json!(["annas", ANNA])]);
    // Pages of one user's own do not count the others'.
    let first = get(&mut anna, "/v1/losses?limit=1").json();
    let next = first["next"].as_str().unwrap().to_owned();
    let second = get(&mut anna, &format!("/v1/losses?limit=1&after={next}")).json();
    assert_eq!((&second["losses"][0]["key"], &second["next"]), (&json!("annas"), &Value::Null));
    assert_eq!(list(&mut root, &format!("?after={}", all[0]["id"])), all[1..]);
    for query in ["limit=0", "limit=501", "after=annas", "after=@"] {
        assert_problem(&get(&mut anna, &format!("/v1/losses?{query}")), 400, "invalid");
    }
    // An opt-out leaves the numbers and nothing that could name anybody.
    assert_eq!(root.send("PUT", "/v1/consent", &[], b"{\"consent\":\"out\"}").unwrap().status, 200);
    for loss in list(&mut root, "") {
        assert_eq!((&loss["key"], &loss["detail"]), (&Value::Null, &json!("")));
    }
}

#[test]
fn successors_of_several_users_are_told_apart_too() {
    if !is_root() {
        return;
    }
    let place = shared_place(NOWHERE, "session.idle_timeout = \"300ms\"\nconsent.initial = \"pending\"");
    let service = place.start();
    let mut anna = connect_as(&service, ANNA);
    let mut bert = connect_as(&service, BERT);
    let mut root = service.connect().unwrap();
    for connection in [&mut anna, &mut bert] {
        assert_eq!(post(connection, "film", start_event("ep-1").to_string()).status, 201);
        wait_for("it to be idle", || {
            (get(connection, "/v1/sessions/film").json()["state"] == "completed").then_some(())
        });
    }
    let ping = event("media.ping", 9, 9).to_string();
    assert_eq!(post(&mut bert, "film", &ping).json()["continues_as"], "film~2");
    assert_eq!(get(&mut root, "/v1/sessions/film~2").json()["uid"], BERT);
    // Once Bert's first is dropped, the key leads to his second, and still to Anna's first.
    let path = format!("/v1/sessions/film?owner={BERT}");
    assert_eq!(root.send("DELETE", &path, &[], b"").unwrap().status, 204);
    assert_eq!(get(&mut root, &path).json()["session"], "film~2");
    assert_problem(&root.send("DELETE", "/v1/sessions/film", &[], b"").unwrap(), 400, "invalid");
    // Under the name of Bert's successor root records nothing, and is not told that it is Bert's.
    assert_problem(&post(&mut root, "film~2", &ping), 404, "unknown_session");
}

#[test]
fn a_user_who_takes_all_there_is_takes_nothing_from_another() {
    if !is_root() {
        return;
    }
    let place =
        shared_place(NOWHERE, "api.max_connections_per_user = 2\njournal.max_open_sessions_per_user = 2");
    let service = place.start();
    let mut greedy: Vec<Connection> = (0..2).map(|_| connect_as(&service, ANNA)).collect();
    let start = start_event("ep-1").to_string();
    for (key, status) in [("a", 201), ("b", 201), ("c", 429), ("a", 409)] {
        assert_eq!(post(&mut greedy[0], key, &start).status, status);
    }
    for connection in &mut greedy {
        connection.raw(b"POST /v1/sessions HTTP/1.1\r\n").unwrap();
    }
    wait_for("Anna's third connection to be turned away", || {
        knock(connect_as(&service, ANNA)).filter(|answer| answer.status == 429)
    });
    let mut bert = connect_as(&service, BERT);
    for key in ["a", "b"] {
        assert_eq!(post(&mut bert, key, &start).status, 201);
    }
    let full = post(&mut bert, "c", &start);
    assert_problem(&full, 429, "busy");
    assert!(full.header("retry-after").is_some());
    // Completing one makes room for one.
    assert_eq!(bert.send("POST", "/v1/sessions/a/complete", &[], b"").unwrap().status, 200);
    assert_eq!(post(&mut bert, "c", &start).status, 201);
    assert_eq!(get(&mut bert, "/v1/status").json()["sessions"]["open"], Value::from(2));
}

#[test]
fn a_user_who_fills_their_share_leaves_the_others_theirs() {
    if !is_root() {
        return;
    }
    let place = shared_place(NOWHERE, "journal.max_bytes = 4194304\njournal.max_percent_per_user = 20");
    let service = place.start();
    let mut greedy = connect_as(&service, ANNA);
    let mut bert = connect_as(&service, BERT);
    let start = start_event("ep-1").to_string();
    for connection in [&mut greedy, &mut bert] {
        assert_eq!(post(connection, "one", &start).status, 201);
    }
    let mut large = event("media.ping", 9, 9);
    large["mediaCollection"]["filler"] = "x".repeat(60_000).into();
    let mut taken = 0;
    let full = loop {
        let answer = post(&mut greedy, "one", large.to_string());
        if answer.status != 200 {
            break answer;
        }
        taken += 1;
        assert!(taken < 20, "a fifth of 4 MiB holds {taken} events of 60 kB");
    };
    assert!(taken > 8, "only {taken} were taken");
    assert_problem(&full, 503, "journal_full");
    assert!(full.header("retry-after").is_some());
    // It is full for her alone.
    for _ in 0..5 {
        assert_eq!(post(&mut bert, "one", large.to_string()).status, 200);
    }
    // What she drops she can use again.
    assert_eq!(greedy.send("DELETE", "/v1/sessions/one", &[], b"").unwrap().status, 204);
    assert_eq!(post(&mut greedy, "one", &start).status, 201);
    assert_eq!(post(&mut greedy, "one", large.to_string()).status, 200);
}

#[test]
fn what_an_answer_says_of_a_session_is_for_administrators() {
    if !is_root() {
        return;
    }
    let answer = json!({ "title": "Forbidden", "detail": "not for ep-secret" }).to_string();
    let endpoint = Endpoint::start([Act::Answer(Reply::json(403, answer))]);
    let place = shared_place(&endpoint.url(), "upload.reconnect_jitter = \"0s\"");
    let service = place.start();
    let mut anna = connect_as(&service, ANNA);
    assert_eq!(post(&mut anna, "a", start_event("ep-secret").to_string()).status, 201);
    assert_eq!(anna.send("POST", "/v1/sessions/a/complete", &[], b"").unwrap().status, 200);
    let paused = |status: &Value| (status["uploader"]["state"] == "paused").then_some(());
    wait_for("the pause", || paused(&service.status()));
    assert!(service.status()["uploader"]["detail"].as_str().unwrap().contains("ep-secret"));
    let mut bert = connect_as(&service, BERT);
    let status = get(&mut bert, "/v1/status").json();
    assert!(paused(&status).is_some(), "{status}");
    assert!(!status.to_string().contains("ep-secret"), "{status}");
}

#[test]
fn however_much_two_users_took_a_third_finds_room() {
    if !is_root() {
        return;
    }
    let place = shared_place(NOWHERE, "journal.max_bytes = 2097152");
    let service = place.start();
    let start = start_event("ep-1").to_string();
    let many = vec![event("media.ping", 9, 9); 50];
    for uid in [ANNA, BERT] {
        let mut user = connect_as(&service, uid);
        assert_eq!(post(&mut user, "all", &start).status, 201);
        let full = wait_for("a full share", || {
            let answer = post(&mut user, "all", Value::from(many.clone()).to_string());
            (answer.status != 200).then_some(answer)
        });
        assert_problem(&full, 503, "journal_full");
    }
    let mut third = connect_as(&service, BERT + 1);
    assert_eq!(post(&mut third, "one", &start).status, 201);
    assert_eq!(post(&mut third, "one", Value::from(many).to_string()).status, 200);
}
