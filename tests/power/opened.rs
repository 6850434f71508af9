//! A journal opened as the service opens it, and everything that it shows.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

use afterplay::clock::ManualClock;
use afterplay::journal::{Journal, OpenError, Policy, Refusal, Scope};
use afterplay::session::{Consent, Loss, State};

use super::journal::{self, Open, ROOT};
use super::oracle::{Observation, Seen};

pub(crate) const WALL_MS: i64 = 1_780_000_000_000;

/// What is kept for how long decides nothing here unless a test says so.
pub(crate) fn policy() -> Policy {
    Policy { keep_receipts_ms: i64::MAX / 4, keep_quarantined_ms: i64::MAX / 4, ..journal::policy() }
}

/// Opens a journal whose panics are counted.
pub(crate) fn open(path: &Path, policy: Policy, clock: &Arc<ManualClock>) -> Result<Open, OpenError> {
    count_panics();
    Open::with(path, clock, policy)
}

static PANICS: AtomicUsize = AtomicUsize::new(0);

fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if std::thread::current().name() == Some("journal") {
                PANICS.fetch_add(1, Ordering::SeqCst);
            }
            hook(info);
        }));
    });
}

/// How often a journal's thread has panicked in this process.
pub(crate) fn panics() -> usize {
    PANICS.load(Ordering::SeqCst)
}

/// Opens the journal at `path` after a power cut, closes it again and tells what it showed.
pub(crate) fn observe(path: &Path, runtime: &tokio::runtime::Runtime) -> Result<Observation, String> {
    // A new boot, a little later.
    let clock = ManualClock::at(WALL_MS + 100_000, "the boot after");
    let opened = open(path, policy(), &clock).map_err(|error| format!("cannot be opened: {error}"))?;
    let shown = runtime.block_on(show(&opened.journal));
    opened.close();
    let (mut seen, lossy) = shown.map_err(|refusal| format!("cannot be read: {refusal}"))?;
    if lossy {
        seen.losses = losses(path).map_err(|error| format!("its losses cannot be read: {error}"))?;
    }
    let aside = std::fs::read_dir(path.parent().unwrap())
        .unwrap()
        .any(|entry| entry.unwrap().file_name().to_string_lossy().contains(".damaged-"));
    if aside {
        return Err("it was taken for damaged and set aside".into());
    }
    Ok(seen)
}

/// What the journal tells by itself, and whether it has lost anything.
pub(crate) async fn show(journal: &Journal) -> Result<(Observation, bool), Refusal> {
    // Asked together, answered in one transaction.
    let (page, status) = tokio::join!(journal.list(ROOT, None, 1000, None), journal.status(ROOT));
    let (page, status) = (page?, status?);
    let mut asked = Vec::new();
    for summary in &page.sessions {
        let scope = Scope { uid: summary.uid, admin: true };
        let key = summary.session.clone();
        let journal = journal.clone();
        let delivered = summary.state == State::Delivered;
        asked.push(async move {
            if delivered {
                let detail = journal.detail(scope, key).await?;
                return Ok((None, detail.receipt.map(|receipt| receipt.get().to_owned())));
            }
            // Checks every checksum on the way.
            Ok::<_, Refusal>((Some(journal.outgoing_by_key(scope, key).await?), None))
        });
    }
    let mut sessions = Vec::new();
    for (summary, answer) in page.sessions.into_iter().zip(all(asked).await) {
        let (outgoing, receipt) = answer?;
        let timestamp_ms = outgoing.as_ref().and_then(|outgoing| outgoing.timestamp_ms);
        let events = outgoing.map(|outgoing| outgoing.events).unwrap_or_default();
        let bodies = events.into_iter().filter(|event| !event.synthetic).map(|event| event.body).collect();
        sessions.push(Seen {
            key: summary.session,
            state: summary.state,
            bodies,
            events: summary.events,
            attempts: summary.attempt_count,
            timestamp_ms,
            receipt,
        });
    }
    let counted: HashMap<Loss, u64> = status.losses;
    let mut counted: Vec<(Loss, i64)> =
        counted.into_iter().filter(|(_, n)| *n > 0).map(|(loss, n)| (loss, n.cast_signed())).collect();
    counted.sort_by_key(|(loss, _)| loss.as_str());
    let lossy = !counted.is_empty();
    let observation = Observation {
        sessions,
        losses: Vec::new(),
        stored: status.stored.cast_signed(),
        delivered: status.delivered.cast_signed(),
        counted,
        out: status.consent == Some(Consent::Out),
    };
    Ok((observation, lossy))
}

/// Waits for all of them, in order, after all have been started.
pub(crate) async fn all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut waiting: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        let mut ready = true;
        for (future, output) in &mut waiting {
            if output.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => *output = Some(value),
                    std::task::Poll::Pending => ready = false,
                }
            }
        }
        if ready { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    waiting.into_iter().filter_map(|(_, output)| output).collect()
}

/// The rows of a closed journal's losses: name, key, events.
#[allow(clippy::disallowed_methods, reason = "the rows are read from outside")]
fn losses(path: &Path) -> rusqlite::Result<Vec<(String, Option<String>, i64)>> {
    let file = rusqlite::Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut query = file.prepare("SELECT name, key, events FROM losses ORDER BY id")?;
    query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
}
