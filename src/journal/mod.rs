//! The handle: append, complete, claim, settle, read.
//!
//! One thread owns the SQLite connection ([`writer`]). Everything here sends it a job and waits for the answer, which
//! comes after the commit that holds the job is synced.

mod admin;
mod anchors;
mod aside;
mod attach;
mod complete;
mod core;
mod cut;
mod fault;
mod files;
mod heal;
mod index;
mod intake;
mod long;
mod losses;
mod numbers;
mod open;
mod outbox;
mod plan;
mod presence;
mod query;
mod quota;
mod recorded;
mod replace;
mod resume;
mod retire;
mod review;
mod rows;
mod salvage;
mod schema;
mod seal;
mod settle;
mod space;
mod split;
mod undo;
mod verify;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};

use self::core::Core;
use self::writer::Desk;
use crate::clock::Clock;
use crate::event::{EventType, Problem};
use crate::session::{Consent, Key, Limits, State, Why};

pub use self::anchors::{ClockStatus, DateSeen, Known, Telling, TimeBasis, Timing, Trust};
pub use self::attach::Claim;
pub(crate) use self::attach::check_place;
pub use self::fault::OpenError;
pub(crate) use self::files::{is_beheaded, led_to};
pub use self::long::lasts_too_long;
pub use self::losses::{LossEntry, LossPage};
pub use self::outbox::{Beginning, Fit, Next, Outgoing, StoredEvent};
pub use self::query::{AsRecorded, Attempt, Detail, Page, Status, Summary};
pub use self::recorded::Recorded;
pub(crate) use self::rows::body_sum;
pub use self::settle::{Action, Settlement};
pub use self::split::{Made, Split, in_order};
pub use self::verify::{Verified, verify_file};

/// Who asks, and whether they may see and touch the sessions of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope {
    /// The local user.
    pub uid: u32,
    /// Root or the service's own user.
    pub admin: bool,
}

/// What configuration lays down for the journal; replaced as a whole on a reload.
#[derive(Debug, Clone)]
pub struct Policy {
    /// How long sessions may stay open.
    pub limits: Limits,
    /// Namespace and id that stand for the viewer when a player names none; `None`: the device's own FPID.
    pub identity: Option<(String, String)>,
    /// `playerName` when a player gives none.
    pub player_name: Option<String>,
    /// `channel` when a player gives none.
    pub channel: Option<String>,
    /// `implementationDetails`, as JSON.
    pub implementation: String,
    /// Bytes the journal may take.
    pub max_bytes: i64,
    /// Bytes one user's events may take of these.
    pub max_bytes_per_user: i64,
    /// Whether a user's oldest completed sessions give way when there is no room.
    pub evict: bool,
    /// Sessions a user may have open at once.
    pub max_open_per_user: usize,
    /// How long receipts are kept.
    pub keep_receipts_ms: i64,
    /// How long quarantined sessions are kept.
    pub keep_quarantined_ms: i64,
    /// How long a session waits for its times to be known.
    pub hold_max_ms: i64,
    /// Whose word counts for the wall clock.
    pub trust: Trust,
    /// Consent as long as nobody has said anything.
    pub initial_consent: Consent,
}

/// One checked event on its way in.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// Its type.
    pub kind: EventType,
    /// The player's number for it.
    pub seq: Option<u64>,
    /// The player's timestamp, Unix milliseconds.
    pub said_ms: Option<i64>,
    /// Where the main content stands, in seconds.
    pub playhead: f64,
    /// Byte for byte as the player sent it.
    pub body: Bytes,
    /// A title for people, from a start event.
    pub title: Option<String>,
    /// `identityMap` of a start event, as JSON.
    pub identity: Option<String>,
    /// Whether the start of a session or an ad lacks `playerName`, that of a session `channel`.
    pub lacks: (bool, bool),
}

/// Events for one session: all or nothing.
#[derive(Debug, Clone)]
pub struct Append {
    /// The user whose session it is.
    pub owner: u32,
    /// Its key.
    pub key: Key,
    /// In the order of arrival; at least one.
    pub events: Vec<NewEvent>,
    /// What the check of the events found odd.
    pub warnings: Vec<Problem>,
    /// Complete it in the same commit.
    pub complete: Option<Why>,
    /// The caller's own `implementationDetails`, as JSON.
    pub implementation: Option<String>,
    /// Whether paths of problems begin with the event's position.
    pub batch: bool,
    /// What paths of problems begin with before that.
    pub prefix: String,
}

impl Append {
    /// Events for a session that stays open.
    pub fn new(owner: u32, key: Key, events: Vec<NewEvent>) -> Append {
        Append {
            owner,
            key,
            events,
            warnings: Vec::new(),
            complete: None,
            implementation: None,
            batch: false,
            prefix: String::new(),
        }
    }

    /// Bytes of its events.
    fn bytes(&self) -> usize {
        self.events.iter().map(|event| event.body.len()).sum()
    }
}

/// What became of an append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// The session's state afterwards.
    pub state: State,
    /// Whether the session was made by it.
    pub created: bool,
    /// Events that are now in the journal and were not before.
    pub recorded: u64,
    /// Events that were there already.
    pub duplicates: u64,
    /// The number of the last event of the request.
    pub seq: u64,
    /// The session that goes on under the key, when it is not the first one.
    pub continues_as: Option<String>,
    /// What is odd about the events, by their position in the request.
    pub warnings: Vec<(usize, Problem)>,
}

/// Why the journal did not do what it was asked; nothing was changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Refusal {
    /// No session of this key that the caller may see.
    #[error("no session of this key")]
    UnknownSession,
    /// Sessions of several users have this key.
    #[error("several users have a session of this key: {0:?}")]
    Ambiguous(Vec<u32>),
    /// The first event of a new key is not a start.
    #[error("the first event of a session must be media.sessionStart")]
    NotStarted,
    /// The session takes no more events.
    #[error("the session is {}", state.as_str())]
    Completed {
        /// Its state.
        state: State,
        /// Why it was completed.
        why: Why,
    },
    /// A number is used by another event, or a second start came.
    #[error("out of sequence")]
    Sequence(Vec<Problem>),
    /// Something the journal can see is wrong with the events.
    #[error("invalid")]
    Invalid(Vec<Problem>),
    /// The session is in a state in which this cannot be done.
    #[error("the session is {}", .0.as_str())]
    WrongState(State),
    /// The person opted out.
    #[error("the person opted out")]
    ConsentOut,
    /// The user has too many open sessions.
    #[error("more than {0} open sessions")]
    TooManyOpen(usize),
    /// The quota is full.
    #[error("the journal is full: {0}")]
    Full(String),
    /// The disk is full.
    #[error("the journal cannot grow: {0}")]
    NoSpace(String),
    /// A row does not match its checksum.
    #[error("the journal is damaged: {0}")]
    Damaged(String),
    /// SQLite or the disk failed.
    #[error("the journal could not be written or read: {0}")]
    Storage(String),
    /// A statement failed by a fault of its own; the disk has nothing to do with it.
    #[error("the journal could not do what it was asked: {0}")]
    Fault(String),
}

impl Refusal {
    /// The same refusal, its problems seen from further up.
    #[must_use]
    fn under(self, prefix: &str) -> Refusal {
        let up = |problems: Vec<Problem>| problems.into_iter().map(|problem| problem.under(prefix)).collect();
        match self {
            Refusal::Sequence(problems) => Refusal::Sequence(up(problems)),
            Refusal::Invalid(problems) => Refusal::Invalid(up(problems)),
            other => other,
        }
    }
}

/// A cheap handle to the journal.
#[derive(Debug, Clone)]
pub struct Journal {
    desk: Arc<Desk>,
    queue: writer::Queue,
    signals: watch::Receiver<Signals>,
    path: PathBuf,
}

/// What the journal tells those who wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signals {
    /// Raised when the uploader may have something new to do.
    pub work: u64,
    /// Raised when what was read of a session may no longer be so: its rows, or what is known of the time.
    pub changed: u64,
    /// Boot time of the next deadline of an open session.
    pub deadline: Option<i64>,
    /// Present consent.
    pub consent: Consent,
    /// Raised when the journal was opened again and checked: what could not be read may be readable now.
    pub healed: u64,
}

/// The thread behind a journal; joined when the service stops.
#[derive(Debug)]
pub struct Writer(std::thread::JoinHandle<()>);

impl Writer {
    /// Waits until the last commit is done and the journal closed. All handles must be gone.
    pub fn join(self) {
        if self.0.join().is_err() {
            tracing::error!("the journal's thread panicked");
        }
    }
}

impl Journal {
    /// Makes a journal ours before it is opened: that may take a while after a crash.
    pub fn claim(path: &Path, policy: &Policy, clock: &Clock) -> Result<Claim, OpenError> {
        Claim::new(path, policy.max_bytes, clock.now().boot_ms)
    }

    /// Opens the journal and starts its thread.
    pub fn open(path: &Path, policy: Policy, clock: Clock) -> Result<(Journal, Writer), OpenError> {
        Journal::open_claimed(Journal::claim(path, &policy, &clock)?, policy, clock)
    }

    /// Opens a journal that is ours and starts its thread.
    pub fn open_claimed(claim: Claim, policy: Policy, clock: Clock) -> Result<(Journal, Writer), OpenError> {
        let path = claim.path.clone();
        let core = Core::open(claim, policy, clock)?;
        let (signal, signals) = watch::channel(core.signals());
        let (queue, jobs) = mpsc::unbounded_channel();
        let desk = Arc::new(Desk::new(core, signal));
        let at = desk.clone();
        let thread = std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || writer::run(&at, jobs))
            .map_err(|source| OpenError::Io {
                doing: "starting the thread of",
                path: path.clone(),
                source,
            })?;
        Ok((Journal { desk, queue, signals, path }, Writer(thread)))
    }

    /// Where the journal is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the journal tells those who wait.
    pub fn signals(&self) -> watch::Receiver<Signals> {
        self.signals.clone()
    }

    /// Records events; they are synced when this returns.
    pub async fn append(&self, append: Append) -> Result<Appended, Refusal> {
        self.call_writing(append.bytes(), move |core| core.append(append)).await
    }

    /// Records several whole sessions at once: all or nothing.
    pub async fn append_all(&self, appends: Vec<Append>) -> Result<Vec<Appended>, Refusal> {
        let bytes = appends.iter().map(Append::bytes).sum();
        self.call_writing(bytes, move |core| {
            let mut appended = Vec::with_capacity(appends.len());
            core.undo.keep();
            for append in appends {
                let prefix = append.prefix.clone();
                appended.push(core.append(append).map_err(|refusal| refusal.under(&prefix))?);
            }
            Ok(appended)
        })
        .await
    }

    /// Runs `work` with the journal, inside a transaction, and answers after its commit.
    async fn call<T, F>(&self, work: F) -> Result<T, Refusal>
    where
        T: Send + 'static,
        F: FnOnce(&mut Core) -> Result<T, Refusal> + Send + 'static,
    {
        self.call_writing(0, work).await
    }

    /// The same for work that writes about so many bytes.
    async fn call_writing<T, F>(&self, bytes: usize, work: F) -> Result<T, Refusal>
    where
        T: Send + 'static,
        F: FnOnce(&mut Core) -> Result<T, Refusal> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let work: writer::Work = Box::new(move |core| {
            let result = core.and_then(work);
            let done = result.as_ref().map(|_| ()).map_err(Clone::clone);
            let finish: writer::Finish = Box::new(move |committed| {
                // A caller that went away does not want the answer.
                let _ = reply.send(committed.and(result));
            });
            (done, finish)
        });
        self.desk.take_in(writer::Job { bytes, work }, &self.queue).await;
        answer.await.map_err(|_| Refusal::Storage("the journal's thread has ended".into()))?
    }
}
