//! `GET /v1/status` and `/metrics`: one set of facts, two forms.

use std::fmt::Write as _;

use serde::Serialize;

use super::Api;
use super::problem::ApiError;
use crate::anchor::boots::Source;
use crate::clock::{Reading, rfc3339};
use crate::journal::Scope;
use crate::link::Link;
use crate::session::{Consent, Loss, State};
use crate::upload::Doing;

/// What `GET /v1/status` answers.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Status {
    version: &'static str,
    pid: u32,
    started_at: String,
    link: Link,
    uploader: UploaderStatus,
    sessions: Sessions,
    events: Events,
    journal: JournalStatus,
    losses: Losses,
    possible_duplicates: u64,
    consent: Consent,
    clock: &'static str,
    clock_source: Option<Source>,
    clock_since: Option<String>,
    /// By how many seconds the wall clock is behind the known time.
    clock_behind_s: Option<i64>,
    estimated: u64,
}

#[derive(Debug, Clone, Serialize)]
struct UploaderStatus {
    state: Doing,
    reason: Option<String>,
    detail: Option<String>,
    next_attempt_at: Option<String>,
    /// What the deliveries of this run suggest about the set-up.
    hint: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
struct Sessions {
    open: u64,
    completed: u64,
    delivered: u64,
    quarantined: u64,
}

#[derive(Debug, Clone, Serialize)]
struct Events {
    stored: u64,
    acknowledged: u64,
    delivered: u64,
}

#[derive(Debug, Clone, Serialize)]
struct JournalStatus {
    path: String,
    bytes: u64,
    max_bytes: u64,
    full: bool,
}

#[derive(Debug, Clone, Serialize)]
struct Losses {
    evicted: u64,
    expired: u64,
    purged: u64,
    discarded: u64,
    corrupt: u64,
}

/// When the service was started by the clock of now, which may have been set since. The two clocks are not read in the
/// same instant, and the time of a start that differed from answer to answer would look like a restart.
fn started_wall_ms(started: &Reading, now: &Reading) -> i64 {
    let by_this_clock = now.wall_ms - (now.boot_ms - started.boot_ms);
    if by_this_clock.abs_diff(started.wall_ms) < 1000 { started.wall_ms } else { by_this_clock }
}

/// What the caller may see of the service's state.
pub(super) async fn status_of(api: &Api, scope: Scope) -> Result<Status, ApiError> {
    let totals = {
        let _turn = api.shares.question(scope.uid).await;
        api.journal.status(scope).await?
    };
    let view = api.uploader.view().borrow().clone();
    let now = api.clock.now();
    let known_ms = totals.clock.offset_ms.map(|offset| now.boot_ms.saturating_add(offset));
    let behind_ms = known_ms.map(|known| known.saturating_sub(now.wall_ms));
    let now = Reading { wall_ms: known_ms.unwrap_or(now.wall_ms), ..now };
    let count = |state| totals.sessions.get(&state).copied().unwrap_or(0);
    let lost = |loss| totals.losses.get(&loss).copied().unwrap_or(0);
    Ok(Status {
        version: env!("CARGO_PKG_VERSION"),
        pid: std::process::id(),
        started_at: rfc3339(started_wall_ms(&api.started, &now)),
        link: api.link.borrow().link,
        uploader: UploaderStatus {
            state: view.doing,
            reason: view.reason,
            // It may quote an answer, and an answer what another user sent.
            detail: view.detail.filter(|_| scope.admin),
            next_attempt_at: view.next_attempt_ms.map(|at| rfc3339(now.wall_ms + (at - now.boot_ms).max(0))),
            hint: api.uploader.hint().map(|hint| hint.to_string()),
        },
        sessions: Sessions {
            open: count(State::Open),
            completed: count(State::Completed),
            delivered: count(State::Delivered),
            quarantined: count(State::Quarantined),
        },
        events: Events {
            stored: totals.stored,
            acknowledged: totals.acknowledged(),
            delivered: totals.delivered,
        },
        journal: JournalStatus {
            path: api.journal.path().display().to_string(),
            bytes: totals.bytes,
            max_bytes: api.config.borrow().journal.max_bytes,
            full: totals.full,
        },
        losses: Losses {
            evicted: lost(Loss::Evicted),
            expired: lost(Loss::Expired),
            purged: lost(Loss::Purged),
            discarded: lost(Loss::Discarded),
            corrupt: lost(Loss::Corrupt),
        },
        possible_duplicates: totals.possible_duplicates,
        consent: totals.consent.unwrap_or(Consent::In),
        clock: if totals.clock.source.is_some() { "trusted" } else { "untrusted" },
        clock_source: totals.clock.source,
        clock_since: totals.clock.since_ms.map(rfc3339),
        clock_behind_s: behind_ms.map(|behind| behind / 1000),
        estimated: totals.estimated,
    })
}

/// The same facts as OpenMetrics text.
pub(super) fn metrics(status: &Status) -> String {
    let mut text = String::new();
    let mut family = |name: &str, kind: &str, help: &str, samples: &[(&str, u64)]| {
        let suffix = if kind == "counter" { "_total" } else { "" };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# TYPE afterplay_{name} {kind}\n# HELP afterplay_{name} {help}");
        for (labels, value) in samples {
            let _ = writeln!(text, "afterplay_{name}{suffix}{labels} {value}");
        }
    };
    let sessions = &status.sessions;
    family(
        "sessions",
        "gauge",
        "Sessions in the journal, by state.",
        &[
            ("{state=\"open\"}", sessions.open),
            ("{state=\"completed\"}", sessions.completed),
            ("{state=\"delivered\"}", sessions.delivered),
            ("{state=\"quarantined\"}", sessions.quarantined),
        ],
    );
    family("events_stored", "gauge", "Events in the journal.", &[("", status.events.stored)]);
    family(
        "events_acknowledged",
        "counter",
        "Events ever acknowledged.",
        &[("", status.events.acknowledged)],
    );
    family("events_delivered", "counter", "Events ever delivered.", &[("", status.events.delivered)]);
    let losses = &status.losses;
    family(
        "events_lost",
        "counter",
        "Acknowledged events that were lost, by name.",
        &[
            ("{name=\"evicted\"}", losses.evicted),
            ("{name=\"expired\"}", losses.expired),
            ("{name=\"purged\"}", losses.purged),
            ("{name=\"discarded\"}", losses.discarded),
            ("{name=\"corrupt\"}", losses.corrupt),
        ],
    );
    family(
        "possible_duplicates",
        "counter",
        "Sessions that may have arrived twice.",
        &[("", status.possible_duplicates)],
    );
    family(
        "sessions_estimated",
        "counter",
        "Sessions that were sent with estimated times.",
        &[("", status.estimated)],
    );
    family("journal_bytes", "gauge", "Bytes the journal takes on disk.", &[("", status.journal.bytes)]);
    family("journal_max_bytes", "gauge", "Bytes the journal may take.", &[("", status.journal.max_bytes)]);
    let full = u64::from(status.journal.full);
    family("journal_full", "gauge", "Whether the journal's file system has no space left.", &[("", full)]);
    let state_set = |name: &str, now: &str, all: &[&str]| -> Vec<(String, u64)> {
        all.iter()
            .map(|state| (format!("{{afterplay_{name}=\"{state}\"}}"), u64::from(*state == now)))
            .collect()
    };
    for (name, help, now, all) in [
        (
            "link",
            "The way to the endpoint.",
            json_name(&status.link),
            &["offline", "captive", "online", "unknown"][..],
        ),
        (
            "uploader",
            "What the uploader is doing.",
            json_name(&status.uploader.state),
            &["idle", "sending", "waiting", "paused"],
        ),
        ("consent", "Whether the person agreed.", json_name(&status.consent), &["in", "out", "pending"]),
        ("clock", "Whether the clock is trusted.", status.clock.to_owned(), &["trusted", "untrusted"]),
    ] {
        let samples = state_set(name, &now, all);
        let samples: Vec<(&str, u64)> =
            samples.iter().map(|(labels, value)| (labels.as_str(), *value)).collect();
        family(name, "stateset", help, &samples);
    }
    let _ = writeln!(
        text,
        "# TYPE afterplay_build info\nafterplay_build_info{{version=\"{}\"}} 1\n# EOF",
        status.version
    );
    text
}

fn json_name(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_stands_still_unless_the_clock_was_set() {
        let started = Reading { wall_ms: 50_000, boot_ms: 1000 };
        for (wall_ms, boot_ms, expected) in [
            (60_000, 11_000, 50_000),
            (60_001, 11_000, 50_000),
            (60_000, 11_900, 50_000),
            (990_000, 11_000, 980_000),
        ] {
            assert_eq!(started_wall_ms(&started, &Reading { wall_ms, boot_ms }), expected);
        }
    }
}
