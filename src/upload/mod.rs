//! Waits for work and a network, sends each completed session, settles the answer.
//!
//! The uploader owns attempts: it alone decides when one is made. An attempt is counted and synced before it is made,
//! and its verdict synced after it; what was under way when the process died is sent again.

pub mod book;
mod courier;
pub mod cut;
mod ledger;
pub mod payload;
pub mod repair;
pub mod retry;
pub mod send;
pub mod shape;
pub mod thin;
pub mod verdict;

use std::time::Duration;

use serde::Serialize;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::anchor;
use crate::config::Thin;
use crate::event::EventType;
use crate::journal::{Fit, Outgoing, Refusal, StoredEvent};
use crate::upload::payload::{Facts, Implementation, PayloadError, Recorded};
use crate::upload::verdict::Hint;

pub use self::courier::{Courier, Parts};
pub use self::payload::{Built, Shape};

/// What the uploader is doing (product section 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Doing {
    /// There is nothing to send.
    Idle,
    /// A session is on its way.
    Sending,
    /// Something is to be sent, later.
    Waiting,
    /// Nothing is sent until something is put right.
    Paused,
}

/// What the uploader shows of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// What it is doing.
    pub doing: Doing,
    /// Short reason.
    pub reason: Option<String>,
    /// Reason for a person.
    pub detail: Option<String>,
    /// Boot time of the next attempt.
    pub next_attempt_ms: Option<i64>,
}

impl View {
    fn of(doing: Doing) -> View {
        View { doing, reason: None, detail: None, next_attempt_ms: None }
    }

    fn because(doing: Doing, reason: &str, detail: &str) -> View {
        View { reason: Some(reason.to_owned()), detail: Some(detail.to_owned()), ..View::of(doing) }
    }
}

/// What the uploader can be asked.
#[derive(Debug)]
enum Command {
    /// Try now whatever waits.
    Flush(oneshot::Sender<Result<u64, Refusal>>),
    /// Cut off what is on its way.
    Stop(oneshot::Sender<()>),
}

/// A cheap handle to the uploader.
#[derive(Debug, Clone)]
pub struct Uploader {
    commands: mpsc::Sender<Command>,
    view: watch::Receiver<View>,
    shape: watch::Receiver<Shape>,
    hint: watch::Receiver<Option<Hint>>,
}

impl Uploader {
    /// Tries now whatever waits, except against the endpoint's own word. Answers how many sessions wait, once the
    /// first is on its way.
    pub async fn flush(&self) -> Result<u64, Refusal> {
        let (reply, answer) = oneshot::channel();
        let gone = || Refusal::Storage("the uploader has ended".into());
        self.commands.send(Command::Flush(reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Cuts off what is on its way.
    pub async fn stop_sending(&self) {
        let (reply, answer) = oneshot::channel();
        if self.commands.send(Command::Stop(reply)).await.is_ok() {
            let _ = answer.await;
        }
    }

    /// What payloads are made to fit.
    pub fn shape(&self) -> Shape {
        *self.shape.borrow()
    }

    /// What the deliveries of this run suggest about the set-up.
    pub fn hint(&self) -> Option<Hint> {
        *self.hint.borrow()
    }

    /// What the uploader is doing.
    pub fn view(&self) -> watch::Receiver<View> {
        self.view.clone()
    }
}

/// The request body of a session. `timestamp_ms` is `xdm.timestamp` as long as no attempt has frozen one.
pub fn body_of(session: &Outgoing, timestamp_ms: Option<i64>, shape: &Shape) -> Result<Built, PayloadError> {
    let times: Vec<_> = session.events.iter().map(|event| event.times).collect();
    let times = anchor::resolve(&times, &session.timing.offsets);
    // A start whose clock was ahead of the others' would press all of them together behind it.
    let earliest = times.iter().copied().min().unwrap_or_default();
    let at = |event: &StoredEvent, at_ms: i64| {
        if event.kind == EventType::SessionStart { earliest } else { at_ms }
    };
    let events: Vec<Recorded<'_>> = session
        .events
        .iter()
        .zip(times)
        .map(|(event, at_ms)| Recorded { kind: event.kind, body: &event.body, at_ms: at(event, at_ms) })
        .collect();
    let implementation: serde_json::Value = serde_json::from_str(&session.implementation).unwrap_or_default();
    let text =
        |member: &str| implementation.get(member).and_then(serde_json::Value::as_str).unwrap_or_default();
    let facts = Facts {
        identity_map: &session.identity_map,
        player_name: session.player_name.as_deref(),
        channel: session.channel.as_deref(),
        implementation: Implementation {
            name: text("name"),
            version: text("version"),
            environment: text("environment"),
        },
        resumes: session.resumes,
        timestamp_ms: if session.frozen { session.timestamp_ms } else { timestamp_ms },
    };
    payload::build(&facts, &events, &shape_for(session, shape))
}

/// Sessions of more events are packed beside everything else.
const MANY_EVENTS: usize = 500;

/// A session and its request body. Where that is much work nobody else waits for it, and one is made after the other:
/// what it takes in memory for a while is what the largest takes.
pub async fn pack(
    session: Outgoing,
    timestamp_ms: Option<i64>,
    shape: Shape,
) -> Result<(Outgoing, Result<Built, PayloadError>), Refusal> {
    static ONE: Semaphore = Semaphore::const_new(1);
    if session.events.len() <= MANY_EVENTS {
        let built = body_of(&session, timestamp_ms, &shape);
        return Ok((session, built));
    }
    let failed =
        |error: &dyn std::fmt::Display| Refusal::Storage(format!("a payload was not built: {error}"));
    let turn = ONE.acquire().await.map_err(|error| failed(&error))?;
    let task = tokio::task::spawn_blocking(move || {
        let built = body_of(&session, timestamp_ms, &shape);
        (session, built)
    });
    let packed = task.await.map_err(|error| failed(&error));
    drop(turn);
    packed
}

/// What the payload of a session is made to fit: what its first attempt fitted, so that the bytes are the same, else
/// what holds now. One that was refused must become smaller, whatever else is allowed.
fn shape_for(session: &Outgoing, now: &Shape) -> Shape {
    if let Some(fit) = session.fit {
        let thin = match fit.gap_ms {
            AS_NEEDED => Thin::AsNeeded,
            gap_ms => u64::try_from(gap_ms).map_or(Thin::Never, |ms| Thin::Gap(Duration::from_millis(ms))),
        };
        return Shape { budget: usize::try_from(fit.budget).unwrap_or(now.budget), thin };
    }
    let refused = session.refused_bytes.and_then(|bytes| usize::try_from(bytes - 1).ok());
    Shape { budget: refused.map_or(now.budget, |bytes| now.budget.min(bytes)), ..*now }
}

/// The same as the journal keeps it.
fn fit_of(shape: &Shape) -> Fit {
    let gap_ms = match shape.thin {
        Thin::AsNeeded => AS_NEEDED,
        Thin::Never => -1,
        Thin::Gap(gap) => i64::try_from(gap.as_millis()).unwrap_or(i64::MAX),
    };
    Fit { budget: i64::try_from(shape.budget).unwrap_or(i64::MAX), gap_ms }
}

/// How the journal writes down that pings go as far as needed.
const AS_NEEDED: i64 = -2;

/// How long an upload that is on its way may take to end when the service stops.
const DRAIN: Duration = Duration::from_secs(4);
