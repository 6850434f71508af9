//! The monitor: hears changes, waits a burst out, looks, and publishes what differs.

use super::path::{Path, Target};
use super::{Evidence, Link, LinkState, belief};
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

#[cfg(target_os = "linux")]
use super::{
    clock_step::{ClockWatch, Step},
    netlink as doorbell,
};
#[cfg(not(target_os = "linux"))]
use super::{
    other as doorbell,
    other::{ClockWatch, Step},
};

/// Quiet that ends a burst of changes: interfaces come up in many steps.
const QUIET: Duration = Duration::from_millis(500);

/// A burst that does not end is looked at all the same.
const BURST_MOST: Duration = Duration::from_secs(3);

/// Where route changes are not heard, a link that is down is looked at this often.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// What a doorbell says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ring {
    /// Something changed: look.
    Changed,
    /// No change will be heard any more.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code))]
    Deaf,
}

/// A handle to the monitor of the link; clones share it. The last one that goes stops it.
#[derive(Debug, Clone)]
pub struct Monitor {
    running: Arc<Running>,
}

impl Monitor {
    /// Starts to watch the way to the target. Must be called inside a tokio runtime with time enabled. Where the
    /// kernel refuses to tell of changes (a sandbox), the link stays unknown until evidence is reported.
    pub fn start(target: Target) -> io::Result<Monitor> {
        let runtime = tokio::runtime::Handle::try_current().map_err(io::Error::other)?;
        let shared = Arc::new(Shared::new(target));
        let (ringing, stepping) = (Arc::clone(&shared), Arc::clone(&shared));
        let bell = match doorbell::Doorbell::start(move |ring| ringing.rung(ring)) {
            Ok(bell) => Some(bell),
            Err(error) if doorbell::denied(&error) => {
                shared.deafen(&error);
                None
            }
            Err(error) => return Err(error),
        };
        let clock = match ClockWatch::start(move |step| stepping.stepped(step)) {
            Ok(clock) => Some(clock),
            Err(error) => {
                tracing::warn!(%error, "steps of the wall clock are not seen here");
                None
            }
        };
        // After the doorbell is there, so that no change falls between the first look and the first ring.
        shared.look();
        let task = runtime.spawn(follow(Arc::clone(&shared)));
        let parts = Parts { bell, clock, task };
        Ok(Monitor { running: Arc::new(Running { shared, parts: Mutex::new(Some(parts)) }) })
    }

    /// What is believed now, and each change of it.
    pub fn watch(&self) -> watch::Receiver<LinkState> {
        self.running.shared.state.subscribe()
    }

    /// Raised each time that the wall clock was set or the machine woke up.
    pub fn clock_steps(&self) -> watch::Receiver<u64> {
        self.running.shared.steps.subscribe()
    }

    /// What an upload attempt taught about the path.
    pub fn report(&self, evidence: Evidence) {
        self.running.shared.learn(evidence);
    }

    /// Another endpoint: what was known of the way to the old one does not count.
    pub fn set_target(&self, target: Target) {
        self.running.shared.aim(target);
    }

    /// Stops watching and ends the threads; what was last believed stays readable. Dropping the last handle does the
    /// same.
    pub fn stop(&self) {
        self.running.stop();
    }
}

/// What ends with the last handle. Task and threads hold only what is shared, else it would never go.
struct Running {
    shared: Arc<Shared>,
    parts: Mutex<Option<Parts>>,
}

struct Parts {
    bell: Option<doorbell::Doorbell>,
    clock: Option<ClockWatch>,
    task: JoinHandle<()>,
}

impl Running {
    fn stop(&self) {
        let parts = lock(&self.parts).take();
        if let Some(Parts { bell, clock, task }) = parts {
            task.abort();
            drop(bell);
            drop(clock);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("state", &*self.shared.state.borrow()).finish_non_exhaustive()
    }
}

/// What the handle, the task and the threads have in common.
struct Shared {
    view: Mutex<View>,
    state: watch::Sender<LinkState>,
    steps: watch::Sender<u64>,
    bell: Notify,
}

/// What the present belief rests on.
struct View {
    target: Target,
    path: Path,
    deaf: bool,
}

impl View {
    /// A path whose end would not be heard must not be seen to end: nothing would take that back.
    fn look(&self) -> Path {
        if self.deaf { Path::ASSUMED } else { Path::look(self.target) }
    }
}

impl Shared {
    fn new(target: Target) -> Shared {
        let view = View { target, path: Path::look(target), deaf: false };
        let state = LinkState { link: belief::untried(&view.path), path: 0 };
        Shared {
            view: Mutex::new(view),
            state: watch::Sender::new(state),
            steps: watch::Sender::new(0),
            bell: Notify::new(),
        }
    }

    fn rung(&self, ring: Ring) {
        match ring {
            Ring::Changed => self.bell.notify_one(),
            Ring::Deaf => self.deafen(&io::Error::from(io::ErrorKind::PermissionDenied)),
        }
    }

    fn deafen(&self, error: &io::Error) {
        tracing::warn!(
            %error,
            "network changes cannot be heard here (netlink is needed); the link counts as unknown, and uploads are tried on their own schedule"
        );
        lock(&self.view).deaf = true;
        self.look();
    }

    fn stepped(&self, step: Step) {
        #[cfg(target_os = "linux")]
        if step == Step::Resumed {
            self.renew(|_| {});
        }
        tracing::debug!(?step, "the wall clock stepped");
        self.steps.send_modify(|steps| *steps = steps.wrapping_add(1));
    }

    fn look(&self) {
        let mut view = lock(&self.view);
        let now = view.look();
        let before = std::mem::replace(&mut view.path, now);
        self.publish(&view, |old| belief::believe(old, &before, &now));
    }

    fn renew(&self, change: impl FnOnce(&mut View)) {
        let mut view = lock(&self.view);
        change(&mut view);
        let now = view.look();
        view.path = now;
        self.publish(&view, |old| belief::renew(old, &now));
    }

    fn aim(&self, target: Target) {
        self.renew(|view| view.target = target);
    }

    fn learn(&self, evidence: Evidence) {
        let view = lock(&self.view);
        self.publish(&view, |old| belief::learn(old, &view.path, evidence));
    }

    /// Taking the locked view keeps two publishers apart.
    fn publish(&self, view: &View, next: impl FnOnce(LinkState) -> LinkState) {
        self.state.send_if_modified(|state| {
            let new = next(*state);
            let differs = new != *state;
            if differs {
                tracing::info!(link = ?new.link, path = new.path, "the way to the endpoint changed");
                tracing::debug!(path = ?view.path, target = ?view.target, "looked");
            }
            *state = new;
            differs
        });
    }
}

/// The task: sleeps until the bell rings.
async fn follow(shared: Arc<Shared>) {
    loop {
        tokio::select! {
            () = shared.bell.notified() => burst_over(&shared.bell).await,
            () = look_again(&shared.state) => {}
        }
        shared.look();
    }
}

/// Waits until the bell was quiet for a while, or for the longest burst. Called after a first ring.
async fn burst_over(bell: &Notify) {
    let first = Instant::now();
    let mut last = first;
    let mut over = pin!(tokio::time::sleep_until(burst_end(first, last)));
    loop {
        tokio::select! {
            biased;
            () = &mut over => return,
            () = bell.notified() => last = Instant::now(),
        }
        over.as_mut().reset(burst_end(first, last));
    }
}

fn burst_end(first: Instant, last: Instant) -> Instant {
    (last + QUIET).min(first + BURST_MOST)
}

/// Comes back only where a link that is down could come up unheard.
async fn look_again(state: &watch::Sender<LinkState>) {
    if doorbell::HEARS_EVERYTHING {
        std::future::pending::<()>().await;
    }
    // Fails only without a sender, which is borrowed here.
    let _ = state.subscribe().wait_for(|state| state.link == Link::Offline).await.is_ok();
    tokio::time::sleep(LOOK_AGAIN).await;
}

/// A panic elsewhere leaves nothing half done behind these locks.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};

    #[tokio::test(start_paused = true)]
    async fn a_burst_ends_with_quiet_or_after_the_longest_wait() {
        // (rings in ms, looked at in ms)
        let cases: [(&[u64], u64); 6] = [
            (&[0], 500),
            (&[0, 400], 900),
            (&[0, 10, 20, 30], 530),
            (&[0, 499, 998], 1498),
            (&[0, 600], 500),
            (&[0, 400, 800, 1200, 1600, 2000, 2400, 2800, 3200], 3000),
        ];
        for (rings, looked) in cases {
            let bell = Notify::new();
            let started = Instant::now();
            let ringing = async {
                for ring in &rings[1..] {
                    tokio::time::sleep_until(started + Duration::from_millis(*ring)).await;
                    bell.notify_one();
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = ringing => {}
                () = burst_over(&bell) => {}
            }
            // The timer wheel rounds up to the next millisecond.
            let took = u64::try_from(started.elapsed().as_millis()).unwrap();
            assert!(took.abs_diff(looked) <= 1, "{rings:?}: {took} ms");
        }
    }

    #[tokio::test]
    async fn a_monitor_on_this_machine_believes_what_is_reported() {
        let monitor = Monitor::start(Target::Loopback).unwrap();
        let mut link = monitor.clone().watch();
        assert_eq!(link.borrow_and_update().link, Link::Unknown);
        for (evidence, expected, published) in [
            (Evidence::Answered, Link::Online, true),
            (Evidence::Answered, Link::Online, false),
            (Evidence::Captive, Link::Captive, true),
            (Evidence::Unreachable, Link::Unknown, true),
            (Evidence::Unreachable, Link::Unknown, false),
        ] {
            monitor.report(evidence);
            assert_eq!(link.has_changed().unwrap(), published, "{evidence:?}");
            assert_eq!(link.borrow_and_update().link, expected, "{evidence:?}");
        }
        monitor.report(Evidence::Answered);
        let before = *link.borrow_and_update();
        monitor.set_target(Target::Loopback);
        assert_eq!(*link.borrow_and_update(), LinkState { link: Link::Unknown, path: before.path + 1 });

        monitor.stop();
        monitor.stop();
        assert_eq!(link.borrow().link, Link::Unknown);
        drop(monitor);
        assert!(link.changed().await.is_err(), "the last handle takes everything along");
    }

    #[test]
    fn without_a_runtime_it_does_not_start() {
        assert!(Monitor::start(Target::Anywhere).is_err());
    }

    #[test]
    fn where_changes_cannot_be_heard_the_link_is_never_offline() {
        // No route leads to this address.
        let nowhere = Target::Address(IpAddr::V4(Ipv4Addr::BROADCAST));
        let shared = Shared::new(nowhere);
        let link = || shared.state.borrow().link;
        shared.deafen(&io::Error::from(io::ErrorKind::PermissionDenied));
        assert_eq!(link(), Link::Unknown);
        shared.aim(nowhere);
        assert_eq!(link(), Link::Unknown);
        shared.learn(Evidence::Answered);
        shared.learn(Evidence::Unreachable);
        assert_eq!(link(), Link::Unknown);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_set_clock_is_told_and_only_a_resume_makes_the_path_new() {
        let shared = Shared::new(Target::Loopback);
        shared.learn(Evidence::Answered);
        shared.stepped(Step::Set);
        assert_eq!(*shared.steps.borrow(), 1);
        assert_eq!(*shared.state.borrow(), LinkState { link: Link::Online, path: 0 });
        shared.stepped(Step::Resumed);
        assert_eq!(*shared.steps.borrow(), 2);
        assert_eq!(*shared.state.borrow(), LinkState { link: Link::Unknown, path: 1 });
    }
}
