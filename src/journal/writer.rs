//! Group commit: everything that waits goes into one transaction.
//!
//! The connection has one user at a time, whoever holds the lock on it. As a rule that is the journal's own thread. A
//! few events on a disk that syncs fast are committed by the task that brought them: two threads that wake each other
//! take as long as the commit itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, watch};

use super::core::Core;
use super::{Refusal, Signals};

/// Work for the journal: says whether it went well and leaves an answer to be given after the commit. When there is no
/// transaction to work in, it gets the reason instead and passes it on.
pub(super) struct Job {
    /// Bytes it is about to write, roughly; 0 when it may do anything else.
    pub(super) bytes: usize,
    pub(super) work: Work,
}
pub(super) type Work = Box<dyn FnOnce(Result<&mut Core, Refusal>) -> (Result<(), Refusal>, Finish) + Send>;
/// Answers the caller, once it is known whether the commit is on disk.
pub(super) type Finish = Box<dyn FnOnce(Result<(), Refusal>) + Send>;

/// Jobs in one commit at most: bounds how long the first of them waits.
const MAX_BATCH: usize = 512;
/// Bytes in one commit, unless a single job has more: bounds the WAL.
const MAX_BATCH_BYTES: usize = 512 << 10;

/// Bytes that are committed where they came in, at most: more than that is better done beside what comes next.
const BRIEF_BYTES: usize = 32 << 10;
/// Microseconds a commit may take, by the last few, for a task to stand still meanwhile.
const QUICK_US: u64 = 1_500;
/// Of how many commits, about, their time is an average.
const LAST_FEW: u64 = 8;

/// The place where the journal is worked on.
pub(super) struct Desk {
    at_work: Mutex<Option<AtWork>>,
    /// Brief jobs of tasks that let others add to them before they commit.
    brief: Mutex<Vec<Job>>,
    pace_us: AtomicU64,
}

struct AtWork {
    core: Core,
    signal: watch::Sender<Signals>,
}

/// The far end of the thread's queue, as those see it who put jobs in.
pub(super) type Queue = mpsc::UnboundedSender<Job>;

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").field("pace_us", &self.pace_us).finish_non_exhaustive()
    }
}

impl Desk {
    pub(super) fn new(core: Core, signal: watch::Sender<Signals>) -> Desk {
        Desk {
            at_work: Mutex::new(Some(AtWork { core, signal })),
            brief: Mutex::default(),
            pace_us: AtomicU64::new(0),
        }
    }

    /// Takes a job in: it is committed by this task after all tasks that are ready have added theirs, or by the
    /// journal's thread. Whether that happened shows in the job's answer.
    pub(super) async fn take_in(&self, job: Job, queue: &Queue) {
        let quick = self.pace_us.load(Ordering::Relaxed) < QUICK_US;
        let brief = (1..=BRIEF_BYTES).contains(&job.bytes);
        if !(quick && brief && self.at_work.try_lock().is_ok()) {
            // That the thread has ended is told by the answer that never comes.
            let _ = queue.send(job);
            return;
        }
        self.waiting().push(job);
        // A task that is dropped here leaves its job to the thread.
        let left = Left { desk: self, queue };
        tokio::task::yield_now().await;
        self.commit_brief();
        drop(left);
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Job>> {
        // Jobs are whole, whatever happened to somebody who looked at them.
        self.brief.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits the brief jobs that wait, if that can be done at once.
    fn commit_brief(&self) {
        let Ok(mut at_work) = self.at_work.try_lock() else { return };
        let Some(AtWork { core, signal }) = at_work.as_mut() else { return };
        let mut waiting = self.waiting();
        let bytes: usize = waiting.iter().map(|job| job.bytes).sum();
        // As a rule another task has committed them all; the journal is not looked at for nothing.
        if waiting.is_empty() || bytes > BRIEF_BYTES || !core.is_calm() {
            return;
        }
        let mut batch: Vec<Work> = waiting.drain(..).map(|job| job.work).collect();
        drop(waiting);
        let begun = core.begin_calm();
        self.commit(core, begun, &mut batch, signal);
    }

    /// Everything in `batch` goes into the transaction that was `begun`; nobody is answered before it is synced.
    fn commit(
        &self,
        core: &mut Core,
        begun: Result<(), Refusal>,
        batch: &mut Vec<Work>,
        signal: &watch::Sender<Signals>,
    ) {
        let alone = batch.len() == 1;
        let mut finishes: Vec<Finish> = Vec::with_capacity(batch.len());
        let mut broken = begun.err();
        for job in batch.drain(..) {
            if broken.is_none() && !alone {
                broken = core.savepoint().err();
            }
            let (done, finish) = match &broken {
                None => job(Ok(core)),
                Some(refusal) => job(Err(refusal.clone())),
            };
            finishes.push(finish);
            if broken.is_none() {
                broken = match done {
                    Ok(()) if alone => None,
                    Ok(()) => core.release().err(),
                    Err(refusal) => {
                        core.note(&refusal);
                        if alone { core.rollback().err() } else { core.rollback_to_savepoint().err() }
                    }
                };
            }
        }
        let began = Instant::now();
        let outcome = match broken {
            None => core.commit(),
            Some(error) => Err(error),
        };
        self.note_pace(began);
        if let Err(refusal) = &outcome {
            core.recover(refusal);
        }
        core.after_commit();
        let signals = core.signals();
        signal.send_if_modified(|old| std::mem::replace(old, signals) != signals);
        for finish in finishes {
            finish(outcome.clone());
        }
    }

    fn note_pace(&self, began: Instant) {
        let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let pace = self.pace_us.load(Ordering::Relaxed);
        self.pace_us.store(average(pace, took), Ordering::Relaxed);
    }
}

/// `pace` with one more commit in it. One that took very long counts as one that was slow: the next few make up for it.
fn average(pace: u64, took: u64) -> u64 {
    (pace * (LAST_FEW - 1) + took.min(QUICK_US * LAST_FEW / 2)) / LAST_FEW
}

/// Brief jobs that nobody has committed are left to the thread.
struct Left<'d> {
    desk: &'d Desk,
    queue: &'d Queue,
}

impl Drop for Left<'_> {
    fn drop(&mut self) {
        for job in self.desk.waiting().drain(..) {
            let _ = self.queue.send(job);
        }
    }
}

/// What the journal's thread does: runs until all handles are gone, then closes the journal.
pub(super) fn run(desk: &Arc<Desk>, mut queue: mpsc::UnboundedReceiver<Job>) {
    // However the thread ends, those who wait for signals notice.
    let end = End(desk);
    let mut batch = Vec::new();
    loop {
        let job = match queue.try_recv() {
            Ok(job) => job,
            Err(TryRecvError::Empty) if end.give_back() => continue,
            Err(_) => match queue.blocking_recv() {
                Some(job) => job,
                None => break,
            },
        };
        // A panic in the middle of a job leaves nothing that could be relied on.
        let Ok(mut at_work) = desk.at_work.lock() else { return };
        let Some(AtWork { core, signal }) = at_work.as_mut() else { return };
        let mut bytes = job.bytes;
        batch.push(job.work);
        while batch.len() < MAX_BATCH && bytes < MAX_BATCH_BYTES {
            match queue.try_recv() {
                Ok(job) => {
                    bytes += job.bytes;
                    batch.push(job.work);
                }
                Err(_) => break,
            }
        }
        let begun = core.begin();
        desk.commit(core, begun, &mut batch, signal);
    }
    end.close();
}

/// Takes the journal off the desk when its thread ends.
struct End<'d>(&'d Desk);

impl End<'_> {
    /// Gives some space back to the file system, while nobody waits for a commit. Answers whether there was any to give.
    fn give_back(&self) -> bool {
        let Ok(mut at_work) = self.0.at_work.lock() else { return false };
        let Some(AtWork { core, .. }) = at_work.as_mut().filter(|at| at.core.can_give_back()) else {
            return false;
        };
        core.give_back();
        true
    }

    fn close(&self) {
        let at_work = self.0.at_work.lock().ok().and_then(|mut at_work| at_work.take());
        if let Some(AtWork { core, .. }) = at_work {
            core.close();
        }
    }
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.at_work.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slow_commit_is_not_a_slow_disk() {
        let mut pace = 0;
        for _ in 0..100 {
            pace = average(pace, 200);
        }
        assert!(average(pace, 1_000_000) < QUICK_US);
        for _ in 0..12 {
            pace = average(pace, 5_000);
        }
        assert!(pace >= QUICK_US);
        for _ in 0..20 {
            pace = average(pace, 200);
        }
        assert!(pace < QUICK_US);
    }
}
