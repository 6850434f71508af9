use serde_json::{Value, json};

use super::{CLEAR_LINE, Step, bar, flush, verdict};
use crate::cli::FlushArgs;
use crate::commands::Screen;
use crate::commands::fake::{Act, Fake, NOW_MS, answer, problem, screen};

fn status(state: &str, completed: u64, delivered: u64, quarantined: u64) -> Value {
    json!({"link": "online", "uploader": {"state": state, "reason": null, "next_attempt_at": null},
        "sessions": {"open": 1, "completed": completed, "delivered": delivered, "quarantined": quarantined}})
}

/// Answers `GET /v1/status` with each of `states` in turn, and with the last one from then on.
fn service(states: Vec<Value>) -> Fake {
    let mut asked = 0;
    Fake::start(move |line, _| match line {
        "POST /v1/flush" => answer(202, json!({"pending": 3})),
        _ => {
            asked += 1;
            answer(200, states[(asked - 1).min(states.len() - 1)].clone())
        }
    })
}

#[tokio::test]
async fn waits_until_all_is_delivered() {
    let fake = service(vec![
        status("idle", 2, 10, 0),
        status("sending", 2, 10, 0),
        status("idle", 1, 11, 0),
        status("sending", 1, 11, 0),
        status("idle", 0, 12, 0),
    ]);
    let ran = fake.run(&["flush"]).await;
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert_eq!(ran.out, "0 of 2 sent\n1 of 2 sent\n2 of 2 sent\n2 sessions delivered.\n");
    assert_eq!(fake.lines()[..2], ["GET /v1/status", "POST /v1/flush"]);
}

#[tokio::test]
async fn ends_with_the_reason_when_the_uploader_stops() {
    let mut stopped = status("waiting", 3, 10, 0);
    stopped["uploader"]["reason"] = json!("503");
    stopped["uploader"]["next_attempt_at"] = json!("2026-03-07T18:44:00Z");
    let fake = service(vec![status("idle", 3, 10, 0), status("sending", 3, 10, 0), stopped.clone()]);
    let ran = fake.run(&["flush", "--json"]).await;
    assert_eq!(ran.code, 1);
    assert_eq!(serde_json::from_str::<Value>(&ran.out).unwrap(), stopped);
    assert_eq!(
        ran.err,
        "afterplay: 0 sessions delivered, 3 still waiting: the uploader is waiting (503), next attempt in 4 min\n"
    );
}

#[tokio::test]
async fn an_answer_that_is_none_is_no_success() {
    let fake = Fake::start(|_, _| answer(200, json!("fine")));
    assert_eq!(fake.run(&["flush"]).await.code, 1);
}

#[tokio::test]
async fn no_bar_is_left_where_it_fails() {
    let ends: [fn() -> Act; 3] = [|| Act::HangUp, || problem(500, "broken"), || answer(200, json!("fine"))];
    for end in ends {
        let mut asked = 0;
        let fake = Fake::start(move |line, _| match line {
            "POST /v1/flush" => answer(202, json!({"pending": 3})),
            _ => {
                asked += 1;
                if asked < 4 { answer(200, status("sending", 3, 0, 0)) } else { end() }
            }
        });
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut input: &[u8] = b"";
        let mut screen = Screen { err_live: true, ..screen(&mut out, &mut err, &mut input) };
        let failed = flush(&mut fake.client(), &FlushArgs { json: false }, &mut screen).await;
        assert!(failed.is_err());
        let err = String::from_utf8(err).unwrap();
        assert!(err.contains("0 of 3"), "{err:?}");
        assert!(err.ends_with(CLEAR_LINE), "{err:?}");
    }
}

#[test]
fn last_words() {
    let say = |delivered, quarantined, left| {
        let now = serde_json::from_value(status("paused", left, 0, 0)).unwrap();
        verdict(&Step { delivered, quarantined, left }, &now, NOW_MS)
    };
    assert_eq!(say(0, 0, 0).unwrap(), "Nothing to upload.");
    assert_eq!(say(1, 0, 0).unwrap(), "1 session delivered.");
    assert!(say(1, 1, 0).unwrap_err().starts_with("1 session refused"));
    assert!(say(0, 0, 2).unwrap_err().contains("the uploader is paused (link online)"));
}

#[test]
fn the_bar_says_how_much_is_done_and_fits() {
    let step = |delivered, quarantined, left| Step { delivered, quarantined, left };
    for (step, columns, shown) in [
        (step(0, 0, 0), 26, "  [              ] 0 of 0"),
        (step(1, 0, 2), 26, "  [━━━━          ] 1 of 3"),
        (step(3, 0, 0), 26, "  [━━━━━━━━━━━━━━] 3 of 3"),
        (step(2, 1, 3), 30, "  [━━━   ] 3 of 6 (1 refused)"),
        (step(2, 1, 3), 0, "  [] 3 of 6 (1 refused)"),
    ] {
        assert_eq!(bar(&step, columns), shown);
    }
    assert_eq!(bar(&step(20, 0, 20), 200).matches('━').count(), 20);
}
