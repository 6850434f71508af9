//! The loop behind the uploader: wait, claim, send, settle.

mod ask;
mod landing;
mod packing;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinSet};

use self::ask::Asking;
use self::landing::Trip;
use self::packing::Packed;
use super::book::{Book, Delays, GateKind};
use super::ledger::{Ledger, Patience};
use super::retry::Backoff;
use super::send::{Deadlines, Outcome, Sender, Sent, ValidAt};
use super::verdict::Hint;
use super::{Command, Doing, Shape, Uploader, View};
use crate::clock::{Clock, Moment};
use crate::config::Config;
use crate::journal::{Journal, Next, Refusal, Signals, Telling};
use crate::link::{Link, LinkState, Monitor};
use crate::memory;
use crate::session::Consent;
use crate::stop::Stop;

/// Between the starts of two attempts on links that come and go.
const FLAP_MS: i64 = 1000;
/// How long a session is left alone that could not be read.
const UNREADABLE_MS: i64 = 60_000;

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

/// The uploader's loop.
pub struct Courier {
    parts: Parts,
    commands: mpsc::Receiver<Command>,
    view: watch::Sender<View>,
    shape: watch::Sender<Shape>,
    link: watch::Receiver<LinkState>,
    signals: watch::Receiver<Signals>,
    /// The configuration that `sender` was made from.
    config: Arc<Config>,
    sender: Arc<Sender>,
    /// The moment at which certificates must be valid.
    valid_at: Arc<ValidAt>,
    asking: Asking,
    book: Book,
    ledger: Ledger,
    boot: i64,
    trips: HashMap<Id, Trip>,
    sends: JoinSet<Outcome>,
    /// The next session, made ready while another is on its way.
    packed: Option<Packed>,
    path: u64,
    was_offline: bool,
    hold_until: i64,
    last_start: Option<i64>,
    forced: bool,
    /// What was hinted at in this run.
    hinted: Vec<Hint>,
    hint: watch::Sender<Option<Hint>>,
    /// Sessions that could not be read, and until when they are left alone.
    unreadable: HashMap<i64, i64>,
    /// How often the journal had been opened anew when they were last tried for that reason, and when that was.
    healed: (u64, i64),
    patience: Patience,
    trouble: Option<Refusal>,
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
        let now = parts.journal.now().await?;
        let boot = now.boot;
        let passed = parts.journal.passed_since(book.begun()).await?;
        book.wake(now, &passed);
        let config = parts.config.borrow().clone();
        book.turn_to(config.endpoint.as_str());
        let (hint, hints) = watch::channel(None);
        let (shape, shaped) = watch::channel(shape_of(&config, &book));
        let link = parts.link.watch();
        let state = *link.borrow();
        let valid_at = ValidAt::new(parts.clock.clone());
        let sender = Arc::new(sender_for(&config, &valid_at));
        let mut courier = Courier {
            commands: queue,
            view,
            shape,
            signals: parts.journal.signals(),
            config,
            sender,
            valid_at,
            asking: Asking::default(),
            book,
            ledger: Ledger::default(),
            boot,
            trips: HashMap::new(),
            sends: JoinSet::new(),
            packed: None,
            path: state.path,
            was_offline: state.link == Link::Offline,
            hold_until: i64::MIN,
            last_start: None,
            forced: false,
            hinted: Vec::new(),
            hint,
            unreadable: HashMap::new(),
            healed: (0, i64::MIN),
            patience: Patience::default(),
            trouble: None,
            link,
            parts,
        };
        courier.learn_time().await?;
        Ok((courier, Uploader { commands, view: shown, shape: shaped, hint: hints }))
    }

    fn now(&self) -> Moment {
        let now = self.parts.clock.now();
        Moment { boot: self.boot, boot_ms: now.boot_ms, wall_ms: now.wall_ms }
    }

    /// Runs until `stop` turns true; then what is on its way gets a moment to end. A journal that refuses is asked
    /// again later; only one that is gone ends this.
    pub async fn run(mut self, mut stop: Stop) {
        let mut steps = self.parts.link.clock_steps();
        let clock = self.parts.clock.clone();
        loop {
            let wake = self.step().await;
            tokio::select! {
                Some(done) = self.sends.join_next_with_id() => self.landed(done),
                () = async { match wake {
                    Some(at) => clock.sleep_until(at).await,
                    None => std::future::pending().await,
                } } => {}
                // What these two tell is looked at in the next step, whatever woke it.
                _ = self.link.changed() => {}
                changed = self.signals.changed() => if changed.is_err() { break },
                // A set clock or a resume: look at the clocks again.
                _ = steps.changed() => self.clock_was_set().await,
                changed = self.parts.config.changed() => if changed.is_err() { break },
                Some(command) = self.commands.recv() => self.obey(command).await,
                () = stop.requested() => break,
            }
        }
        self.drain().await;
    }

    /// Writes down what is to be written, and sends what can be sent now. Answers the boot time to look again at, if
    /// any.
    async fn step(&mut self) -> Option<i64> {
        self.path_changed();
        self.reload();
        self.note_date().await;
        let now = self.now().boot_ms;
        let unwritten = self.turn(now).await;
        let (view, wake) = match self.patience.until(now) {
            Some(until) => (self.troubled(until), Some(until)),
            None => match self.advance().await {
                Ok(found) => {
                    self.patience.granted();
                    self.trouble = None;
                    found
                }
                Err(refusal) => {
                    tracing::warn!("nothing is sent for now: {refusal}");
                    self.trouble = Some(refusal);
                    let until = self.patience.refused(now);
                    (self.troubled(until), Some(until))
                }
            },
        };
        if self.sends.is_empty() {
            self.forced = false;
            // Nobody knows for how long it would take up memory.
            self.packed = None;
            // Kept, a connection would wake the device once more to be closed.
            self.sender.drop_pool();
            memory::give_back();
        }
        let view = if self.trips.is_empty() { view } else { View::of(Doing::Sending) };
        self.view.send_if_modified(|old| std::mem::replace(old, view.clone()) != view);
        wake.into_iter().chain(unwritten).min()
    }

    fn troubled(&self, until: i64) -> View {
        let (reason, detail) = match &self.trouble {
            Some(refusal @ (Refusal::Full(_) | Refusal::NoSpace(_))) => ("journal_full", refusal.to_string()),
            refusal => ("storage", refusal.as_ref().map(ToString::to_string).unwrap_or_default()),
        };
        View { next_attempt_ms: Some(until), ..View::because(Doing::Waiting, reason, &detail) }
    }

    async fn advance(&mut self) -> Result<(View, Option<i64>), Refusal> {
        let Signals { consent, healed, .. } = *self.signals.borrow_and_update();
        self.try_unreadable(healed);
        match consent {
            Consent::In => {}
            Consent::Out => {
                self.cut_off().await;
                return Ok((View::because(Doing::Paused, "consent_out", "the person opted out"), None));
            }
            Consent::Pending => {
                let detail = "consent is pending: sessions are recorded and held back";
                return Ok((View::because(Doing::Paused, "consent_pending", detail), None));
            }
        }
        let config = self.config.clone();
        loop {
            // What the next step will see: nothing begins any more.
            if self.signals.borrow().consent != Consent::In {
                return Ok((View::of(Doing::Waiting), None));
            }
            let next = self.next().await?;
            if next == Next::Nothing {
                return Ok((View::of(Doing::Idle), None));
            }
            if config.datastream_id.is_none() {
                let detail = "no datastream_id is configured: sessions are recorded and held back";
                return Ok((View::because(Doing::Paused, "no_datastream_id", detail), None));
            }
            let link = self.link.borrow().link;
            if link == Link::Offline && !self.forced {
                let detail = "the device has no way to the endpoint; a network change wakes the upload";
                return Ok((View::because(Doing::Waiting, "offline", detail), None));
            }
            if let Some(held) = self.held() {
                return Ok(held);
            }
            match next {
                Next::Ready(id) if self.has_room(link, config.upload.concurrency) => {
                    self.start(id).await?;
                }
                Next::Ready(id) => {
                    if link == Link::Online && !self.is_packed(id) {
                        self.packed = self.try_pack(id).await?;
                    }
                    return Ok((View::of(Doing::Sending), None));
                }
                Next::Clock(until) => return self.ask_time(until).await,
                Next::At(at) => {
                    let view = View { next_attempt_ms: Some(at), ..View::of(Doing::Waiting) };
                    return Ok((View { reason: Some("backoff".into()), ..view }, Some(at)));
                }
                Next::Nothing => return Ok((View::of(Doing::Idle), None)),
            }
        }
    }

    /// After the journal was opened anew, sessions that could not be read may be readable; not over and over again where
    /// that is no help.
    fn try_unreadable(&mut self, healed: u64) {
        let (seen, at) = self.healed;
        let now = self.now().boot_ms;
        if healed != seen && now.saturating_sub(at) >= UNREADABLE_MS {
            self.healed = (healed, now);
            self.unreadable.clear();
        }
    }

    /// The oldest session that is due and not in hand; one that stopped the uploader only if there is no other.
    async fn next(&mut self) -> Result<Next, Refusal> {
        let now = self.now().boot_ms;
        self.unreadable.retain(|_, until| *until > now);
        let in_hand = self.trips.values().map(|trip| trip.session.id);
        let skip: Vec<i64> =
            in_hand.chain(self.ledger.unsettled()).chain(self.unreadable.keys().copied()).collect();
        let doubted = self.book.doubted();
        let telling = Telling { assume: self.assume(), in_vain: self.asking.was_in_vain() };
        let journal = &self.parts.journal;
        let mut next = Next::Nothing;
        if !doubted.is_empty() {
            next = journal.next_due([&skip[..], &doubted].concat(), telling).await?;
        }
        if !matches!(next, Next::Ready(_)) {
            next = journal.next_due(skip, telling).await?;
        }
        Ok(match (next, self.unreadable.values().min()) {
            (Next::Nothing, Some(until)) => Next::At(*until),
            (Next::At(at), Some(until)) => Next::At(at.min(*until)),
            (Next::Clock(at), Some(until)) => Next::Clock(at.min(*until)),
            (next, _) => next,
        })
    }

    /// One at a time on a path where nothing has got through. What was sent on another path may hang there until its
    /// deadline and must not hold this one up.
    fn has_room(&self, link: Link, most: usize) -> bool {
        let room = if link == Link::Online && !self.book.is_cautious() { most } else { 1 };
        let here = self.trips.values().filter(|trip| trip.path == self.path).count();
        here < room && self.trips.len() < most
    }

    /// What holds everything back, if anything does.
    fn held(&self) -> Option<(View, Option<i64>)> {
        let now = self.now();
        if let Some((gate, left)) = self.book.held(&now) {
            let doing = if gate.kind == GateKind::Pause { Doing::Paused } else { Doing::Waiting };
            let at = now.boot_ms.saturating_add(left);
            let view = View { next_attempt_ms: Some(at), ..View::because(doing, &gate.reason, &gate.detail) };
            return Some((view, Some(at)));
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
    async fn start(&mut self, id: i64) -> Result<(), Refusal> {
        let packed =
            match self.packed.take().filter(|packed| packed.session.id == id && self.is_fresh(packed)) {
                Some(packed) => packed,
                None => match self.try_pack(id).await? {
                    Some(packed) => packed,
                    None => return Ok(()),
                },
            };
        if let Some(attempt) = self.parts.journal.begin(packed.beginning()).await? {
            self.send(packed, attempt);
        }
        Ok(())
    }

    /// Writes down how attempts ended and, in the same commit, that the one begins whose session is ready to go. Answers
    /// the boot time to write again at, if something is left.
    async fn turn(&mut self, now: i64) -> Option<i64> {
        if self.packed.as_ref().is_some_and(|packed| self.may_go(packed))
            && let Some(ended) = self.ledger.take_only(&self.book, now)
            && let Some(packed) = self.packed.take()
        {
            match self.parts.journal.turn(ended.clone(), packed.beginning()).await {
                Ok(begun) => {
                    self.ledger.written();
                    if let Some(attempt) = begun {
                        self.send(packed, attempt);
                    }
                    return None;
                }
                // Whichever of the two it was that cannot be written, the other may be.
                Err(refusal) => {
                    tracing::debug!("the next session does not go at once: {refusal}");
                    self.ledger.settle(ended);
                }
            }
        }
        self.ledger.write(&self.parts.journal, &self.book, now).await
    }

    fn send(&mut self, packed: Packed, attempt: u32) {
        let Packed { session, body, made, .. } = packed;
        tracing::info!(session = session.key, attempt, bytes = body.len(), "sending");
        self.last_start = Some(self.now().boot_ms);
        let (sender, sent) = (self.sender.clone(), Sent::default());
        let (path, config) = (self.link.borrow().path, self.config.clone());
        let trip = Trip { session, attempt, made, path, config, sent: sent.clone() };
        let task = self.sends.spawn(async move { sender.post_noting(body, &sent).await });
        self.trips.insert(task.id(), trip);
    }

    fn path_changed(&mut self) {
        let state = *self.link.borrow_and_update();
        if state.path == self.path {
            return;
        }
        self.path = state.path;
        self.asking.begin_anew();
        // Connections of the old path lead nowhere.
        self.sender.drop_pool();
        if state.link == Link::Offline {
            self.was_offline = true;
            return;
        }
        let now = self.now().boot_ms;
        if std::mem::take(&mut self.was_offline) {
            let most = self.config.upload.reconnect_jitter.as_secs_f64() * 1000.0;
            #[expect(clippy::cast_possible_truncation, reason = "a jitter of days fits")]
            let jitter = (fastrand::f64() * most) as i64;
            self.hold_until = now + jitter;
        }
        if let Some(last) = self.last_start {
            self.hold_until = self.hold_until.max(last + FLAP_MS);
        }
        if self.book.open(&[GateKind::Network]) {
            self.ledger.keep_book();
        }
        self.ledger.end_network_waits();
    }

    fn reload(&mut self) {
        let config = self.parts.config.borrow_and_update().clone();
        if Arc::ptr_eq(&config, &self.config) {
            return;
        }
        self.config = config;
        self.sender = Arc::new(sender_for(&self.config, &self.valid_at));
        self.asking = Asking::default();
        let opened = self.book.open(&[GateKind::Pause, GateKind::Network]);
        if self.book.turn_to(self.config.endpoint.as_str()) || opened {
            self.ledger.keep_book();
        }
        self.reshape();
    }

    /// What payloads are made to fit may have changed.
    fn reshape(&self) {
        self.shape.send_replace(shape_of(&self.config, &self.book));
    }

    async fn obey(&mut self, command: Command) {
        match command {
            Command::Stop(reply) => {
                self.cut_off().await;
                let _ = reply.send(());
            }
            Command::Flush(reply) => {
                // The endpoint's own word holds even against a person's.
                if self.book.open(&[GateKind::Pause, GateKind::Network]) {
                    self.ledger.keep_book();
                }
                let pending = self.parts.journal.end_all_waits().await;
                self.forced = true;
                self.asking.begin_anew();
                self.patience.granted();
                self.ledger.hurry();
                self.step().await;
                let _ = reply.send(pending);
            }
        }
    }

    /// The person opted out: what is on its way is cut off, and what was learnt of the erased sessions goes with them.
    async fn cut_off(&mut self) {
        self.sends.shutdown().await;
        self.trips.clear();
        self.packed = None;
        self.asking.forget_task();
        self.ledger.clear();
        self.unreadable.clear();
        self.book = Book::default();
        self.book.turn_to(self.config.endpoint.as_str());
        self.reshape();
    }
}

fn shape_of(config: &Config, book: &Book) -> Shape {
    Shape { budget: book.budget(config.upload.body_budget), thin: config.upload.thin }
}

/// The configuration was checked; should it be wrong all the same, a long wait does no harm.
fn schedule(initial: Duration, max: Duration) -> Backoff {
    Backoff::new(initial, max).unwrap_or_default()
}

fn sender_for(config: &Config, valid_at: &Arc<ValidAt>) -> Sender {
    let deadlines = Deadlines { connect: config.upload.connect_timeout, total: config.upload.timeout };
    Sender::new(config.endpoint.as_str(), config.datastream_id.as_deref().unwrap_or_default(), deadlines)
        .valid_at(valid_at.clone())
}
