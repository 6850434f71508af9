//! What the commands read out of the API's answers.
//!
//! Only what is shown is named, and what an older or newer service leaves out has a default, so that a difference of
//! versions costs a field and not the command.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// `GET /v1/status`
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    pub(super) version: String,
    pub(super) pid: u32,
    pub(super) started_at: Option<String>,
    pub(super) link: String,
    pub(super) uploader: Uploader,
    pub(super) sessions: SessionCounts,
    pub(super) events: EventCounts,
    pub(super) journal: JournalSize,
    pub(super) losses: BTreeMap<String, u64>,
    pub(super) possible_duplicates: u64,
    pub(super) consent: String,
    pub(super) clock: String,
    pub(super) clock_source: Option<String>,
    pub(super) clock_since: Option<String>,
    pub(super) clock_behind_s: Option<i64>,
}

impl Status {
    /// The present time as the service knows it, by the wall clock of the machine.
    pub(super) fn now_ms(&self, wall_ms: i64) -> i64 {
        wall_ms.saturating_add(self.clock_behind_s.unwrap_or_default().saturating_mul(1000))
    }
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Uploader {
    pub(super) state: String,
    pub(super) reason: Option<String>,
    pub(super) detail: Option<String>,
    pub(super) next_attempt_at: Option<String>,
    pub(super) hint: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct SessionCounts {
    pub(super) open: u64,
    pub(super) completed: u64,
    pub(super) delivered: u64,
    pub(super) quarantined: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct EventCounts {
    pub(super) stored: u64,
    pub(super) acknowledged: u64,
    pub(super) delivered: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct JournalSize {
    pub(super) path: String,
    pub(super) bytes: u64,
    pub(super) max_bytes: u64,
    pub(super) full: bool,
}

/// One session, as in the list and as the base of the detail.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Session {
    pub(super) session: String,
    pub(super) uid: Option<u32>,
    pub(super) state: String,
    pub(super) why: Option<String>,
    pub(super) title: Option<String>,
    pub(super) time: Option<String>,
    pub(super) started_at: Option<String>,
    pub(super) last_event_at: Option<String>,
    pub(super) completed_at: Option<String>,
    pub(super) delivered_at: Option<String>,
    pub(super) quarantined_at: Option<String>,
    pub(super) events: u64,
    pub(super) bytes: u64,
    pub(super) attempt_count: u64,
    pub(super) next_attempt_at: Option<String>,
    pub(super) last_verdict: Option<Verdict>,
    pub(super) continues_as: Option<String>,
    pub(super) continues: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Verdict {
    pub(super) verdict: String,
    pub(super) status: Option<u16>,
    pub(super) reason: Option<String>,
    pub(super) detail: Option<String>,
    pub(super) at: Option<String>,
}

/// `GET /v1/sessions/{key}`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Detail {
    #[serde(flatten)]
    pub(super) session: Session,
    pub(super) as_recorded: AsRecorded,
    pub(super) identity_map: Option<Value>,
    pub(super) attempts: Vec<Attempt>,
    pub(super) receipt: Option<Receipt>,
    pub(super) warnings: Vec<Value>,
}

/// Times as the wall clock had them.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct AsRecorded {
    pub(super) started_at: Option<String>,
    pub(super) last_event_at: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Attempt {
    pub(super) n: u64,
    pub(super) at: Option<String>,
    pub(super) ended_at: Option<String>,
    pub(super) status: Option<u16>,
    pub(super) verdict: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) detail: Option<String>,
    pub(super) bytes: Option<u64>,
    pub(super) maybe_delivered: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Receipt {
    pub(super) request_id: Option<String>,
    pub(super) session_id: Option<String>,
    pub(super) status: Option<u16>,
    pub(super) bytes: Option<u64>,
    pub(super) events: Option<u64>,
    pub(super) attempts: Option<u64>,
    pub(super) warnings: Vec<Value>,
    pub(super) delivered_at: Option<String>,
}

/// One of `GET /v1/losses`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct LossEntry {
    pub(super) name: String,
    pub(super) key: Option<String>,
    pub(super) owner: Option<u32>,
    pub(super) events: u64,
    pub(super) detail: String,
    pub(super) at: Option<String>,
}

/// One page of a list, its items as they came.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Page {
    #[serde(rename = "sessions", alias = "losses")]
    pub(super) items: Vec<Value>,
    #[serde(default)]
    pub(super) next: Option<String>,
}

/// The answer to recorded events.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Appended {
    pub(super) session: String,
    #[serde(default)]
    pub(super) recorded: u64,
    #[serde(default)]
    pub(super) continues_as: Option<String>,
}

/// `GET /v1/sessions/{key}/events`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Events {
    pub(super) events: Vec<Value>,
}
