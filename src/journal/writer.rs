//! The one thread that owns the connection: group commit.

use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, watch};

use super::core::Core;
use super::{Refusal, Signals};

/// Work for the journal's thread: says whether it went well and leaves an answer to be given after the commit. When
/// there is no transaction to work in, it gets the reason instead and passes it on.
pub(super) struct Job {
    /// Bytes it is about to write, roughly.
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

/// Runs until all handles are gone, then closes the journal.
pub(super) fn run(mut core: Core, mut queue: mpsc::UnboundedReceiver<Job>, signal: &watch::Sender<Signals>) {
    let mut batch = Vec::new();
    loop {
        let job = match queue.try_recv() {
            Ok(job) => job,
            Err(TryRecvError::Empty) if core.can_give_back() => {
                core.give_back();
                continue;
            }
            Err(_) => match queue.blocking_recv() {
                Some(job) => job,
                None => break,
            },
        };
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
        commit(&mut core, &mut batch, signal);
    }
    core.close();
}

/// Everything that waits goes into one transaction; nobody is answered before it is synced.
fn commit(core: &mut Core, batch: &mut Vec<Work>, signal: &watch::Sender<Signals>) {
    let alone = batch.len() == 1;
    let mut finishes: Vec<Finish> = Vec::with_capacity(batch.len());
    let mut broken = core.begin().err();
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
    let outcome = match broken {
        None => core.commit(),
        Some(error) => Err(error),
    };
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
