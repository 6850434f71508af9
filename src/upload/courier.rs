//! The loop behind the uploader: wait, claim, send, settle.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::book::{Book, Delays, GateKind};
use super::retry::Backoff;
use super::send::{Deadlines, Outcome, Sender};
use super::verdict::{self, Context, Judgement};
use super::{Command, DRAIN, Doing, Shape, Uploader, View, body_of};
use crate::clock::{Clock, Moment, rfc3339};
use crate::config::Config;
use crate::journal::{Action, Journal, Next, Outgoing, Refusal, Settlement, Signals};
use crate::link::{Link, LinkState, Monitor};
use crate::session::Consent;
use crate::stop::Stop;

/// Between the starts of two attempts on links that come and go.
const FLAP_MS: i64 = 1000;
/// Between two tries to write down a verdict when the disk refuses.
const SETTLE_AGAIN: Duration = Duration::from_secs(1);

/// What the uploader works with.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The journal.
    pub journal: Journal,
    /// The clock.
    pub clock: Clock,
    /// The link monitor.
    pub link: Monitor,
    /// The present configuration.
    pub config: watch::Receiver<Arc<Config>>,
}

/// A session on its way.
struct Trip {
    session: Outgoing,
    attempt: u32,
    bytes: usize,
}

/// The uploader's loop.
pub struct Courier {
    parts: Parts,
    commands: mpsc::Receiver<Command>,
    view: watch::Sender<View>,
    link: watch::Receiver<LinkState>,
    signals: watch::Receiver<Signals>,
    sender: Arc<Sender>,
    book: Book,
    boot: i64,
    trips: HashMap<i64, Trip>,
    sends: JoinSet<(i64, Outcome)>,
    path: u64,
    was_offline: bool,
    hold_until: i64,
    last_start: Option<i64>,
    forced: bool,
    hinted: bool,
}

impl Delays for Config {
    fn backoff(&self, attempt: u32) -> Duration {
        schedule(self.retry.initial, self.retry.max).random_delay(attempt)
    }

    fn pause(&self, probe: u32) -> Duration {
        schedule(self.retry.pause_initial, self.retry.pause_max).ceiling(probe)
    }
}

impl Courier {
    /// An uploader, and the handle to it.
    pub async fn new(parts: Parts) -> Result<(Courier, Uploader), Refusal> {
        let (commands, queue) = mpsc::channel(8);
        let (view, shown) = watch::channel(View::of(Doing::Idle));
        let book = parts.journal.book().await?;
        let mut book: Book = book.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        // What a pause waits for may have been put right while the service was down.
        book.open(&[GateKind::Pause]);
        let link = parts.link.watch();
        let state = *link.borrow();
        let sender = Arc::new(sender_for(&parts.config.borrow()));
        let boot = parts.journal.now().await?.boot;
        let courier = Courier {
            commands: queue,
            view,
            signals: parts.journal.signals(),
            sender,
            book,
            boot,
            trips: HashMap::new(),
            sends: JoinSet::new(),
            path: state.path,
            was_offline: state.link == Link::Offline,
            hold_until: i64::MIN,
            last_start: None,
            forced: false,
            hinted: false,
            link,
            parts,
        };
        Ok((courier, Uploader { commands, view: shown }))
    }

    fn now(&self) -> Moment {
        let now = self.parts.clock.now();
        Moment { boot: self.boot, boot_ms: now.boot_ms, wall_ms: now.wall_ms }
    }

    fn config(&self) -> Arc<Config> {
        self.parts.config.borrow().clone()
    }

    /// Runs until `stop` turns true; then what is on its way gets a moment to end.
    pub async fn run(mut self, mut stop: Stop) -> Result<(), Refusal> {
        let mut steps = self.parts.link.clock_steps();
        let mut stopping = stop.clone();
        loop {
            let wake = self.step().await?;
            let clock = self.parts.clock.clone();
            tokio::select! {
                Some(done) = self.sends.join_next(), if !self.sends.is_empty() => {
                    if let Ok((id, outcome)) = done {
                        self.settle(id, &outcome, &mut stop).await?;
                    }
                }
                () = async { match wake {
                    Some(at) => clock.sleep_until(at).await,
                    None => std::future::pending().await,
                } } => {}
                changed = self.link.changed() => if changed.is_ok() { self.path_changed().await? },
                changed = self.signals.changed() => if changed.is_err() { break },
                // A set clock or a resume: look at the clocks again.
                _ = steps.changed() => {}
                changed = self.parts.config.changed() => if changed.is_ok() { self.reload().await? },
                Some(command) = self.commands.recv() => self.obey(command).await?,
                () = stopping.requested() => break,
            }
        }
        self.drain(&mut stop).await
    }

    /// Sends what can be sent now. Answers the boot time to look again at, if any.
    async fn step(&mut self) -> Result<Option<i64>, Refusal> {
        let (view, wake) = self.advance().await?;
        let view = match self.sends.len() {
            0 => view,
            _ => View::of(Doing::Sending),
        };
        self.view.send_if_modified(|old| std::mem::replace(old, view.clone()) != view);
        Ok(wake)
    }

    async fn advance(&mut self) -> Result<(View, Option<i64>), Refusal> {
        match self.signals.borrow_and_update().consent {
            Consent::In => {}
            Consent::Out => {
                return Ok((View::because(Doing::Paused, "consent_out", "the person opted out"), None));
            }
            Consent::Pending => {
                let detail = "consent is pending: sessions are recorded and held back";
                return Ok((View::because(Doing::Paused, "consent_pending", detail), None));
            }
        }
        let config = self.config();
        loop {
            let skip = self.trips.keys().copied().collect();
            let id = match self.parts.journal.next_due(skip).await? {
                Next::Nothing => {
                    self.forced &= !self.sends.is_empty();
                    return Ok((View::of(Doing::Idle), None));
                }
                next if config.datastream_id.is_none() => {
                    let _ = next;
                    let detail = "no datastream_id is configured: sessions are recorded and held back";
                    return Ok((View::because(Doing::Paused, "no_datastream_id", detail), None));
                }
                next => {
                    let link = self.link.borrow().link;
                    if link == Link::Offline && !self.forced {
                        let detail =
                            "the device has no way to the endpoint; a network change wakes the upload";
                        return Ok((View::because(Doing::Waiting, "offline", detail), None));
                    }
                    if let Some(held) = self.held() {
                        return Ok(held);
                    }
                    let room = if link == Link::Online { config.upload.concurrency } else { 1 };
                    match next {
                        Next::At(at) => {
                            self.forced &= !self.sends.is_empty();
                            let view = View { next_attempt_ms: Some(at), ..View::of(Doing::Waiting) };
                            let view = View { reason: Some("backoff".into()), ..view };
                            return Ok((view, Some(at)));
                        }
                        Next::Ready(_) if self.sends.len() >= room => {
                            return Ok((View::of(Doing::Sending), None));
                        }
                        Next::Ready(id) => id,
                        Next::Nothing => return Ok((View::of(Doing::Idle), None)),
                    }
                }
            };
            self.start(id, &config).await?;
        }
    }

    /// What holds everything back, if anything does.
    fn held(&self) -> Option<(View, Option<i64>)> {
        let now = self.now();
        if let Some(gate) = &self.book.gate {
            let left = gate.remaining(&now);
            if left > 0 {
                let doing = if gate.kind == GateKind::Pause { Doing::Paused } else { Doing::Waiting };
                let at = now.boot_ms.saturating_add(left);
                let view =
                    View { next_attempt_ms: Some(at), ..View::because(doing, &gate.reason, &gate.detail) };
                return Some((view, Some(at)));
            }
        }
        if self.hold_until > now.boot_ms && !self.forced {
            let view = View {
                next_attempt_ms: Some(self.hold_until),
                ..View::because(Doing::Waiting, "reconnected", "the network came back a moment ago")
            };
            return Some((view, Some(self.hold_until)));
        }
        None
    }

    /// Builds the payload of a session, counts the attempt, and sends it.
    async fn start(&mut self, id: i64, config: &Config) -> Result<(), Refusal> {
        let journal = &self.parts.journal;
        let session = match journal.outgoing(id).await {
            Ok(Some(session)) => session,
            Ok(None) => return Ok(()),
            Err(Refusal::Damaged(detail)) => {
                tracing::error!("a session was set apart because its rows are damaged: {detail}");
                return journal.quarantine(id, "corrupt", detail).await;
            }
            Err(refusal) => return Err(refusal),
        };
        let timestamp = config.upload.timestamp.then_some(self.parts.clock.now().wall_ms);
        let shape = Shape { budget: config.upload.body_budget, thin: config.upload.thin };
        let body = match body_of(&session, timestamp, &shape) {
            Ok(built) => built.body,
            Err(error) => return journal.quarantine(id, "no_payload", error.to_string()).await,
        };
        let Some(attempt) = journal.begin_attempt(id, timestamp, &body).await? else { return Ok(()) };
        tracing::info!(session = session.key, attempt, bytes = body.len(), "sending");
        self.last_start = Some(self.now().boot_ms);
        self.trips.insert(id, Trip { session, attempt, bytes: body.len() });
        let sender = self.sender.clone();
        self.sends.spawn(async move { (id, sender.post(body).await) });
        Ok(())
    }

    /// Judges how a trip ended and writes down what follows.
    async fn settle(&mut self, id: i64, outcome: &Outcome, stop: &mut Stop) -> Result<(), Refusal> {
        let Some(trip) = self.trips.remove(&id) else { return Ok(()) };
        let now = self.now();
        let context = Context {
            identity_from_configuration: trip.session.identity_from_configuration,
            now_ms: now.wall_ms,
        };
        let judgement = verdict::judge(outcome, &context);
        self.parts.link.report(judgement.evidence);
        if judgement.concerns_all {
            self.forced = false;
        }
        let config = self.config();
        let mut consequence = self.book.enter(&trip.session, &judgement, config.as_ref(), now);
        if let Action::Deliver { receipt } = &mut consequence.action {
            *receipt = receipt_of(&trip, &judgement, now.wall_ms);
        }
        self.tell(&trip, &judgement, &consequence.action);
        let settlement = Settlement {
            id,
            attempt: trip.attempt,
            status: judgement.status,
            verdict: judgement.verdict.name(),
            reason: judgement.reason,
            detail: judgement.detail,
            maybe_delivered: judgement.maybe_delivered,
            action: consequence.action,
            requeue: consequence.requeue,
            book: book_text(&self.book)?,
        };
        self.write(settlement, stop).await;
        if consequence.outage_over {
            self.parts.journal.end_network_waits().await?;
        }
        Ok(())
    }

    /// Writes a settlement down. A disk that refuses does not make an answer undone, so this goes on until it succeeds
    /// or the service is told to stop.
    async fn write(&self, settlement: Settlement, stop: &mut Stop) {
        while let Err(refusal) = self.parts.journal.settle(settlement.clone()).await {
            tracing::warn!("a verdict could not be written down yet: {refusal}");
            let again =
                self.parts.clock.now().boot_ms + i64::try_from(SETTLE_AGAIN.as_millis()).unwrap_or(i64::MAX);
            tokio::select! {
                () = self.parts.clock.sleep_until(again) => {}
                () = stop.requested() => return,
            }
        }
    }

    fn tell(&mut self, trip: &Trip, judgement: &Judgement, action: &Action) {
        let (session, attempt) = (&trip.session.key, trip.attempt);
        let reason = &judgement.reason;
        match action {
            Action::Deliver { .. } => tracing::info!(session, attempt, "delivered"),
            Action::Wait { .. } | Action::Resize { .. } => {
                tracing::warn!(session, attempt, reason, "not delivered yet; kept")
            }
            Action::Quarantine => {
                tracing::error!(session, attempt, reason, "refused; set apart until a person decides");
            }
        }
        if let Some(hint) = judgement.hint.as_ref().filter(|_| !self.hinted) {
            self.hinted = true;
            tracing::warn!("{hint}");
        }
    }

    async fn path_changed(&mut self) -> Result<(), Refusal> {
        let state = *self.link.borrow_and_update();
        if state.path == self.path {
            return Ok(());
        }
        self.path = state.path;
        // Connections of the old path lead nowhere.
        self.sender.drop_pool();
        if state.link == Link::Offline {
            self.was_offline = true;
            return Ok(());
        }
        let now = self.now().boot_ms;
        if std::mem::take(&mut self.was_offline) {
            let most = self.config().upload.reconnect_jitter.as_secs_f64() * 1000.0;
            #[expect(clippy::cast_possible_truncation, reason = "a jitter of days fits")]
            let jitter = (fastrand::f64() * most) as i64;
            self.hold_until = now + jitter;
        }
        if let Some(last) = self.last_start {
            self.hold_until = self.hold_until.max(last + FLAP_MS);
        }
        if self.book.open(&[GateKind::Network]) {
            self.parts.journal.set_book(book_text(&self.book)?).await?;
        }
        self.parts.journal.end_network_waits().await
    }

    async fn reload(&mut self) -> Result<(), Refusal> {
        let config = self.parts.config.borrow_and_update().clone();
        self.sender = Arc::new(sender_for(&config));
        if self.book.open(&[GateKind::Pause, GateKind::Network]) {
            self.parts.journal.set_book(book_text(&self.book)?).await?;
        }
        Ok(())
    }

    async fn obey(&mut self, command: Command) -> Result<(), Refusal> {
        match command {
            Command::Stop(reply) => {
                self.sends.shutdown().await;
                self.trips.clear();
                let _ = reply.send(());
            }
            Command::Flush(reply) => {
                // The endpoint's own word holds even against a person's.
                self.book.open(&[GateKind::Pause, GateKind::Network]);
                self.parts.journal.set_book(book_text(&self.book)?).await?;
                let pending = self.parts.journal.end_all_waits().await;
                self.forced = true;
                self.step().await?;
                let _ = reply.send(pending);
            }
        }
        Ok(())
    }

    /// Gives what is on its way a moment to end, then cuts it off.
    async fn drain(mut self, stop: &mut Stop) -> Result<(), Refusal> {
        let deadline = tokio::time::Instant::now() + DRAIN;
        while !self.sends.is_empty() {
            match tokio::time::timeout_at(deadline, self.sends.join_next()).await {
                Ok(Some(Ok((id, outcome)))) => self.settle(id, &outcome, stop).await?,
                Ok(_) => {}
                Err(_) => break,
            }
        }
        self.sends.shutdown().await;
        for id in self.trips.keys().copied().collect::<Vec<_>>() {
            let Some(trip) = self.trips.remove(&id) else { continue };
            let settlement = Settlement {
                id,
                attempt: trip.attempt,
                status: None,
                verdict: "backoff",
                reason: "interrupted".into(),
                detail: "the service was stopped while this attempt was under way".into(),
                maybe_delivered: true,
                action: Action::Wait { ms: 0, network: false, counts: false },
                requeue: Vec::new(),
                book: book_text(&self.book)?,
            };
            self.write(settlement, stop).await;
        }
        Ok(())
    }
}

/// The configuration was checked; should it be wrong all the same, a long wait does no harm.
fn schedule(initial: Duration, max: Duration) -> Backoff {
    Backoff::new(initial, max).unwrap_or_default()
}

fn sender_for(config: &Config) -> Sender {
    let deadlines = Deadlines { connect: config.upload.connect_timeout, total: config.upload.timeout };
    Sender::new(config.endpoint.as_str(), config.datastream_id.as_deref().unwrap_or_default(), deadlines)
}

fn book_text(book: &Book) -> Result<String, Refusal> {
    serde_json::to_string(book).map_err(|error| Refusal::Storage(error.to_string()))
}

fn receipt_of(trip: &Trip, judgement: &Judgement, wall_ms: i64) -> String {
    serde_json::json!({
        "request_id": judgement.request_id,
        "session_id": judgement.session_id,
        "status": judgement.status,
        "bytes": trip.bytes,
        "events": trip.session.events.len(),
        "attempts": trip.attempt,
        "warnings": judgement.warnings,
        "uncertain": judgement.uncertain,
        "delivered_at": rfc3339(wall_ms),
    })
    .to_string()
}
