//! Hears that the wall clock was set or that the machine was suspended, without looking at the time again and again.

use super::worker::{Stop, Worker};
use rustix::io::Errno;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

/// The kernel's last second. No clock can be set there, so the timer itself never fires.
const NEVER: Timespec = Timespec { tv_sec: i64::MAX / 1_000_000_000, tv_nsec: 0 };

/// A growth of the time asleep below this is the noise of two readings.
const ASLEEP_LEAST: Duration = Duration::from_millis(50);

/// What happened to the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Somebody set the wall clock.
    Set,
    /// The machine slept in between.
    Resumed,
}

/// Tells of steps until it is dropped.
#[derive(Debug)]
pub(super) struct ClockWatch {
    worker: Option<Worker>,
    timer: Arc<OwnedFd>,
}

impl ClockWatch {
    /// Starts watching.
    pub(super) fn start(stepped: impl Fn(Step) + Send + 'static) -> io::Result<ClockWatch> {
        let timer = Arc::new(timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::CLOEXEC)?);
        arm(&timer)?;
        let shared = Arc::clone(&timer);
        let worker = Worker::spawn("link-clock", move |stop| listen(&shared, stop, &stepped))?;
        Ok(ClockWatch { worker: Some(worker), timer })
    }
}

impl Drop for ClockWatch {
    fn drop(&mut self) {
        if let Some(worker) = self.worker.take() {
            worker.end(|| {
                let soon = Itimerspec {
                    it_interval: Timespec::default(),
                    it_value: Timespec { tv_sec: 0, tv_nsec: 1 },
                };
                if let Err(error) = timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &soon) {
                    tracing::debug!(%error, "the clock thread could not be woken");
                }
            });
        }
    }
}

/// Arms the timer; true when the clock was set since the last time.
fn arm(timer: &OwnedFd) -> rustix::io::Result<bool> {
    let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
    let never = Itimerspec { it_interval: Timespec::default(), it_value: NEVER };
    match timerfd_settime(timer, flags, &never) {
        Ok(_) => Ok(false),
        // The timer is armed all the same.
        Err(Errno::CANCELED) => Ok(true),
        Err(error) => Err(error),
    }
}

fn listen(timer: &OwnedFd, stop: &Stop, stepped: &impl Fn(Step)) {
    let mut before = asleep();
    let mut fired = [0_u8; 8];
    while !stop.asked() {
        let heard = rustix::io::read(timer, &mut fired[..]).map(|_| ());
        if stop.asked() {
            return;
        }
        let now = asleep();
        match reaction(heard, before, now) {
            Reaction::Again => {}
            Reaction::Tell(step) => stepped(step),
            Reaction::Dead(error) => {
                tracing::warn!(%error, "steps of the wall clock are not seen any more until a restart");
                return;
            }
        }
        before = now;
        // The end is looked for after this, because arming undoes the wake.
        match arm(timer) {
            Ok(true) => stepped(Step::Set),
            Ok(false) => {}
            Err(error) => tracing::debug!(%error, "the clock timer could not be armed"),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Reaction {
    Again,
    Tell(Step),
    Dead(Errno),
}

fn reaction(heard: rustix::io::Result<()>, before: Duration, now: Duration) -> Reaction {
    match heard {
        Err(Errno::CANCELED) if now.saturating_sub(before) >= ASLEEP_LEAST => Reaction::Tell(Step::Resumed),
        Err(Errno::CANCELED) => Reaction::Tell(Step::Set),
        Ok(()) | Err(Errno::INTR) => Reaction::Again,
        Err(error) => Reaction::Dead(error),
    }
}

/// How long the machine has been suspended since boot. Being scheduled away between two readings only adds to it, so
/// the least of some is right.
fn asleep() -> Duration {
    let read = |clock| Duration::try_from(clock_gettime(clock)).unwrap_or_default();
    let once = |_| {
        let awake = read(ClockId::Monotonic);
        read(ClockId::Boottime).saturating_sub(awake)
    };
    (0..5).map(once).min().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Instant;

    #[test]
    fn a_cancelled_timer_is_a_step_and_sleep_makes_it_a_resume() {
        let ms = Duration::from_millis;
        let cases = [
            (Err(Errno::CANCELED), ms(0), ms(0), Reaction::Tell(Step::Set)),
            (Err(Errno::CANCELED), ms(900), ms(901), Reaction::Tell(Step::Set)),
            (Err(Errno::CANCELED), ms(900), ms(899), Reaction::Tell(Step::Set)),
            (Err(Errno::CANCELED), ms(900), ms(950), Reaction::Tell(Step::Resumed)),
            (Err(Errno::CANCELED), ms(0), ms(3_600_000), Reaction::Tell(Step::Resumed)),
            (Ok(()), ms(0), ms(3_600_000), Reaction::Again),
            (Err(Errno::INTR), ms(0), ms(0), Reaction::Again),
            (Err(Errno::BADF), ms(0), ms(0), Reaction::Dead(Errno::BADF)),
        ];
        for (heard, before, now, expected) in cases {
            assert_eq!(reaction(heard, before, now), expected, "{heard:?} {before:?} {now:?}");
        }
    }

    #[test]
    fn the_time_asleep_stands_still_while_awake() {
        let before = asleep();
        for _ in 0..1000 {
            assert!(asleep().abs_diff(before) < ASLEEP_LEAST);
        }
    }

    #[test]
    fn nothing_is_told_while_nobody_sets_the_clock_and_the_end_is_prompt() {
        let (tell, told) = mpsc::channel();
        let watch = ClockWatch::start(move |step| tell.send(step).unwrap()).unwrap();
        assert!(told.recv_timeout(Duration::from_millis(100)).is_err());
        let started = Instant::now();
        drop(watch);
        assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
        assert!(matches!(told.try_recv(), Err(mpsc::TryRecvError::Disconnected)));
    }
}
