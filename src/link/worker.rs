//! A thread that blocks in the kernel and ends when it is told to.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// How long an ending thread is waited for. One that stays longer is left behind: it holds a descriptor and no data.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whether the thread is to end.
#[derive(Debug, Clone, Default)]
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// True from the moment that the end was asked for.
    pub(super) fn asked(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// A running thread.
#[derive(Debug)]
pub(super) struct Worker {
    thread: JoinHandle<()>,
    stop: Stop,
    ended: mpsc::Receiver<()>,
}

impl Worker {
    /// Starts `body`, which must look at [`Stop::asked`] whenever it wakes.
    pub(super) fn spawn(name: &str, body: impl FnOnce(&Stop) + Send + 'static) -> io::Result<Worker> {
        let stop = Stop::default();
        let (alive, ended) = mpsc::channel();
        let seen = stop.clone();
        let thread = Builder::new().name(name.to_owned()).spawn(move || {
            let _alive = alive;
            body(&seen);
        })?;
        Ok(Worker { thread, stop, ended })
    }

    /// Ends the thread: `wake` must make its blocking call return.
    pub(super) fn end(self, wake: impl FnOnce()) {
        self.stop.0.store(true, Ordering::SeqCst);
        self.thread.thread().unpark();
        wake();
        let name = self.thread.thread().name().unwrap_or_default().to_owned();
        match self.ended.recv_timeout(PATIENCE) {
            Err(mpsc::RecvTimeoutError::Timeout) => tracing::debug!(thread = name, "did not end in time"),
            _ => {
                if self.thread.join().is_err() {
                    tracing::error!(thread = name, "panicked");
                }
            }
        }
    }
}
