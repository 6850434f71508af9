use std::io::{self, Write};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Status, table, watch};
use crate::cli::StatusArgs;
use crate::commands::fake::{Fake, NOW_MS, answer, screen};
use crate::commands::style::Style;
use crate::commands::{ExitError, text};

fn body() -> Value {
    json!({
        "version": "0.1.0", "pid": 812, "started_at": "2026-03-07T15:40:00Z", "link": "offline",
        "uploader": {"state": "waiting", "reason": "dns", "next_attempt_at": "2026-03-07T18:44:00Z"},
        "sessions": {"open": 1, "completed": 4, "delivered": 17, "quarantined": 0},
        "events": {"stored": 812, "acknowledged": 9120, "delivered": 8308},
        "journal": {"path": "/var/lib/afterplay/journal.db", "bytes": 409_600, "max_bytes": 67_108_864},
        "losses": {"evicted": 0, "expired": 0, "purged": 0, "discarded": 0, "corrupt": 0},
        "possible_duplicates": 0, "consent": "in", "clock": "trusted",
    })
}

fn show(body: &Value) -> String {
    let shown = table(&serde_json::from_value(body.clone()).unwrap(), NOW_MS, 80, Style::plain());
    assert!(shown.lines().all(|line| text::width(line) <= 80), "{shown}");
    shown
}

#[test]
fn all_is_quiet() {
    insta::assert_snapshot!(show(&body()), @r"
    afterplay 0.1.0, pid 812, running for 3 h

      Link          offline
      Uploader      waiting: dns; next attempt in 4 min
      Consent       in
      Clock         trusted
      Sessions      1 open, 4 completed, 17 delivered, 0 quarantined
      Events        812 stored, 9120 acknowledged, 8308 delivered
      Journal       400 KiB of 64 MiB (0 %) in /var/lib/afterplay/journal.db
      Losses        none
    ");
}

#[test]
fn trouble_of_every_kind() {
    let mut body = body();
    body["link"] = json!("captive");
    body["uploader"] =
        json!({"state": "paused", "reason": "0003-400: the datastream \u{1b}[31mdoes not exist; ".repeat(3)});
    body["sessions"]["quarantined"] = json!(2);
    body["journal"]["path"] = json!(format!("/{}journal.db", "a-long-folder/".repeat(8)));
    body["losses"] = json!({"evicted": 1, "expired": 0, "discarded": 12});
    body["possible_duplicates"] = json!(1);
    body["consent"] = json!("pending");
    body["clock"] = json!("untrusted");
    insta::assert_snapshot!(show(&body), @r"
    afterplay 0.1.0, pid 812, running for 3 h

      Link          captive
      Uploader      paused: 0003-400: the datastream \u{1b}[31mdoes not exist;
                    0003-400: the datastream \u{1b}[31mdoes not exist; 0003-400: the
                    datastream \u{1b}[31mdoes not exist;
      Consent       pending: recorded sessions are held back
      Clock         untrusted: times are corrected once the clock is set
      Sessions      1 open, 4 completed, 17 delivered, 2 quarantined
      Events        812 stored, 9120 acknowledged, 8308 delivered
      Journal       400 KiB of 64 MiB (0 %) in /a-long-folder/a-long-folder/a-long-f
                    older/a-long-folder/a-long-folder/a-long-folder/a-long-folder/a-
                    long-folder/journal.db
      Losses        12 discarded, 1 evicted
      Duplicates    1 session perhaps sent twice
    ");
}

#[test]
fn a_clock_that_is_off_is_told_and_makes_no_time_wrong() {
    let mut body = body();
    body["clock_source"] = json!("date");
    body["clock_since"] = json!("2026-03-07T18:00:00Z");
    body["uploader"]["next_attempt_at"] = json!("2026-03-07T18:40:30Z");
    // By the machine's clock it is 1970.
    let status: Status = serde_json::from_value(body.clone()).unwrap();
    let really = show(&body);
    let machine = 3_600_000;
    body["clock_behind_s"] = json!((NOW_MS - machine) / 1000);
    let status = Status { clock_behind_s: body["clock_behind_s"].as_i64(), ..status };
    let shown = table(&status, status.now_ms(machine), 80, Style::plain());
    assert_eq!(shown.lines().next(), really.lines().next());
    assert!(shown.contains("next attempt in 30 s"), "{shown}");
    let clock = shown.split_once("Clock").unwrap().1.split_whitespace().collect::<Vec<_>>().join(" ");
    let told = "trusted, by the endpoint's answers, for 40 min; the machine's clock is 20519 d behind";
    assert!(clock.starts_with(told), "{clock}");
}

#[test]
fn a_hint_is_shown() {
    let mut body = body();
    body["uploader"]["hint"] = json!("the endpoint named no media session");
    assert!(show(&body).ends_with("  Hint          the endpoint named no media session\n"));
}

#[test]
fn what_an_older_service_does_not_say_costs_nothing_else() {
    assert!(show(&json!({"link": "online"})).contains("online"));
}

#[tokio::test]
async fn json_is_the_answer_of_the_service() {
    let fake = Fake::start(|_, _| answer(200, body()));
    let ran = fake.run(&["status", "--json"]).await;
    assert_eq!(ran.code, 0);
    assert_eq!(serde_json::from_str::<Value>(&ran.out).unwrap(), body());
    assert_eq!(fake.lines(), ["GET /v1/status"]);
    assert!(fake.run(&["status"]).await.out.contains("4 completed"));
}

#[tokio::test]
async fn an_answer_that_is_none_is_an_error() {
    let fake = Fake::start(|_, _| answer(200, json!([1, 2])));
    let ran = fake.run(&["status"]).await;
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    assert!(ran.err.starts_with("afterplay: the answer to GET /v1/status on "), "{}", ran.err);
}

/// A reader that goes away after some lines, as `head` does.
struct Head(Vec<u8>, usize);

impl Write for Head {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.iter().filter(|byte| **byte == b'\n').count() >= self.1 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn watched(fake: &Fake, json: bool, live: bool, lines: usize) -> (String, ExitError) {
    let (mut out, mut err) = (Head(Vec::new(), lines), Vec::new());
    let mut input: &[u8] = b"";
    let result = {
        let mut screen = screen(&mut out, &mut err, &mut input);
        screen.live = live;
        let args = StatusArgs { json, watch: true };
        watch(&mut fake.client(), &args, &mut screen, Duration::from_millis(1)).await
    };
    (String::from_utf8(out.0).unwrap(), result.unwrap_err())
}

#[tokio::test]
async fn into_a_pipe_there_is_a_line_for_each_change_only() {
    let mut asked = 0;
    let fake = Fake::start(move |_, _| {
        asked += 1;
        let mut body = body();
        body["events"]["stored"] = json!(asked / 5);
        answer(200, body)
    });
    let (out, end) = watched(&fake, false, false, 3).await;
    assert_eq!(end, ExitError::quiet(0), "a closed pipe is a quiet end");
    let stored: Vec<&str> =
        out.lines().map(|line| line.split(' ').find(|word| word.starts_with("stored=")).unwrap()).collect();
    assert_eq!(stored, ["stored=0", "stored=1", "stored=2"]);
    assert!(out.starts_with("link=offline uploader=waiting open=1 completed=4 delivered=17"), "{out}");
    let (out, _) = watched(&fake, true, false, 1).await;
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["link"], "offline");
}

#[tokio::test]
async fn on_a_terminal_the_screen_is_redrawn_and_a_restart_is_waited_for() {
    let mut asked = 0;
    let fake = Fake::start(move |_, _| {
        asked += 1;
        match asked {
            2 => crate::commands::fake::problem(503, "storage"),
            _ => answer(200, body()),
        }
    });
    let (out, end) = watched(&fake, false, true, 25).await;
    assert_eq!(end, ExitError::quiet(0));
    let frames: Vec<&str> = out.split("\u{1b}[H").skip(1).collect();
    assert!(frames[0].contains("4 completed"));
    assert!(frames[1].contains("storage, status 503") && !frames[1].contains("completed"), "{}", frames[1]);
    assert!(frames[2].contains("4 completed"));
    assert!(frames.iter().all(|frame| frame.ends_with("\u{1b}[J")));
}
