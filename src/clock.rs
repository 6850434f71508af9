//! Wall clock, boot id and boot time: the system's, and a manual one for tests.
//!
//! This is the only file that reads a wall clock. Decisions take a [`Reading`] or a [`Moment`] as an argument.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// What the clocks say at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Milliseconds since 1970 by the wall clock, right or wrong.
    pub wall_ms: i64,
    /// Milliseconds since boot, suspend included.
    pub boot_ms: i64,
}

/// A reading together with the boot it was taken in, as the journal keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Moment {
    /// The journal's number of the boot.
    pub boot: i64,
    /// Milliseconds since that boot, suspend included.
    pub boot_ms: i64,
    /// Milliseconds since 1970 by the wall clock of then, right or wrong.
    pub wall_ms: i64,
}

impl Moment {
    /// Milliseconds that have certainly passed from `earlier` to `self`: boot time within a boot; across boots what the
    /// present one has lasted. The journal, which knows the boots in between, can tell more.
    pub fn since(&self, earlier: &Moment) -> i64 {
        if self.boot == earlier.boot {
            self.boot_ms.saturating_sub(earlier.boot_ms).max(0)
        } else {
            self.boot_ms.max(0)
        }
    }

    /// How long from `self` until `wait_ms` after `set` have passed, at most `wait_ms`.
    pub fn remaining(&self, set: &Moment, wait_ms: i64) -> i64 {
        left_of(wait_ms, self.since(set))
    }
}

/// What is left of a wait when some of it has passed: neither more than the wait nor less than nothing.
pub fn left_of(wait_ms: i64, passed_ms: i64) -> i64 {
    wait_ms.saturating_sub(passed_ms).clamp(0, wait_ms.max(0))
}

/// Where time comes from.
#[derive(Debug, Clone)]
pub enum Clock {
    /// The machine's clocks.
    System,
    /// A clock that a test moves.
    Manual(Arc<ManualClock>),
}

impl Clock {
    /// Both clocks, now.
    pub fn now(&self) -> Reading {
        match self {
            Clock::System => system_now(),
            Clock::Manual(manual) => *manual.reading.borrow(),
        }
    }

    /// The kernel's word that something keeps the wall clock right, at `now`: how far off it may be. `None`: nothing does.
    pub fn synchronised(&self, now: &Reading) -> Option<Duration> {
        match self {
            Clock::System => KERNEL.get().and_then(|kernel| kernel.word(now)),
            Clock::Manual(manual) => {
                manual.synchronised.load(Ordering::Relaxed).then_some(Duration::from_millis(1))
            }
        }
    }

    /// What names the present boot.
    pub fn boot_id(&self) -> String {
        match self {
            Clock::System => system_boot_id(),
            Clock::Manual(manual) => manual.boot_id.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// Sleeps until boot time `boot_ms`. The system's timer stands still in suspend: whoever waits on it also waits
    /// for the link monitor's clock steps, which tell of a resume.
    pub async fn sleep_until(&self, boot_ms: i64) {
        match self {
            Clock::System => {
                let wait = boot_ms.saturating_sub(self.now().boot_ms);
                if let Ok(wait) = u64::try_from(wait) {
                    tokio::time::sleep(Duration::from_millis(wait)).await;
                }
            }
            Clock::Manual(manual) => {
                let mut reading = manual.reading.subscribe();
                // The sender lives in `manual`, which this future borrows, so waiting cannot fail.
                let _ = reading.wait_for(|now| now.boot_ms >= boot_ms).await;
            }
        }
    }
}

/// How the kernel is asked whether the wall clock is synchronised.
static KERNEL: OnceLock<Kernel> = OnceLock::new();

/// Milliseconds for which the kernel's word holds, unless the clock is set.
const WORD_HOLDS_MS: i64 = 100;

struct Kernel {
    ask: fn() -> Option<Duration>,
    last: Mutex<Option<(Reading, Option<Duration>)>>,
}

impl Kernel {
    /// Each event wants to know: many that come at once are worth one question.
    fn word(&self, now: &Reading) -> Option<Duration> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match *last {
            Some((asked, word)) if holds(&asked, now) => word,
            _ => last.insert((*now, (self.ask)())).1,
        }
    }
}

/// Whether what was said at `asked` can be relied on at `now`: soon after, by a clock that was not set meanwhile.
fn holds(asked: &Reading, now: &Reading) -> bool {
    let passed_ms = now.boot_ms.saturating_sub(asked.boot_ms);
    let wall_ms = now.wall_ms.saturating_sub(asked.wall_ms);
    // Both clocks are read one after the other and cut to milliseconds.
    (0..WORD_HOLDS_MS).contains(&passed_ms) && passed_ms.abs_diff(wall_ms) <= 2
}

/// Says how the kernel is asked whether the wall clock is synchronised, and how far off it may be. Until then it counts
/// as not synchronised. The question takes a system call for which there is no safe wrapper, so the binary brings it.
pub fn ask_kernel_with(ask: fn() -> Option<Duration>) {
    // The first answer holds.
    let _ = KERNEL.set(Kernel { ask, last: Mutex::new(None) });
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock {
    reading: watch::Sender<Reading>,
    synchronised: AtomicBool,
    boot_id: Mutex<String>,
}

impl ManualClock {
    /// A clock at `wall_ms`, one second after boot.
    pub fn at(wall_ms: i64, boot_id: &str) -> Arc<ManualClock> {
        Arc::new(ManualClock {
            reading: watch::Sender::new(Reading { wall_ms, boot_ms: 1000 }),
            synchronised: AtomicBool::new(true),
            boot_id: Mutex::new(boot_id.to_owned()),
        })
    }

    /// Whether something keeps the wall clock right.
    pub fn set_synchronised(&self, synchronised: bool) {
        self.synchronised.store(synchronised, Ordering::Relaxed);
    }

    /// Lets time pass on both clocks.
    pub fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.reading.send_modify(|now| {
            now.wall_ms += by;
            now.boot_ms += by;
        });
    }

    /// Sets the wall clock without any time passing.
    pub fn set_wall(&self, wall_ms: i64) {
        self.reading.send_modify(|now| now.wall_ms = wall_ms);
    }

    /// Starts a new boot: boot time begins again.
    pub fn reboot(&self, wall_ms: i64, boot_id: &str) {
        *self.boot_id.lock().unwrap_or_else(PoisonError::into_inner) = boot_id.to_owned();
        self.reading.send_modify(|now| *now = Reading { wall_ms, boot_ms: 1000 });
    }
}

/// `2026-03-07T18:30:00.120Z`: UTC with milliseconds, the form of everything that leaves the service (contract
/// section 4). Times outside what the calendar can show are clamped to its ends.
pub fn rfc3339(unix_ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(unix_ms).unwrap_or(if unix_ms < 0 {
        jiff::Timestamp::MIN
    } else {
        jiff::Timestamp::MAX
    });
    format!("{time:.3}")
}

/// 2026-11-01, when this version was made: a wall clock before that cannot be right. Raised with each release.
pub const BUILT_MS: i64 = 1_793_491_200_000;

/// The wall clock is asked through the C library, so that tools which run a program at another time (`faketime`) work;
/// boot time cannot be set by anybody.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
fn system_now() -> Reading {
    use rustix::time::{ClockId, clock_gettime};
    let wall_ms = match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
    };
    #[cfg(target_os = "linux")]
    let boot = clock_gettime(ClockId::Boottime);
    #[cfg(not(target_os = "linux"))]
    let boot = clock_gettime(ClockId::Monotonic);
    Reading { wall_ms, boot_ms: boot.tv_sec * 1000 + boot.tv_nsec / 1_000_000 }
}

fn system_boot_id() -> String {
    match std::fs::read_to_string("/proc/sys/kernel/random/boot_id") {
        Ok(id) => id.trim().to_owned(),
        // Without a boot id the minute of the boot names it: it moves only when the wall clock is set.
        Err(_) => {
            let now = system_now();
            format!("booted-at-minute-{}", (now.wall_ms - now.boot_ms) / 60_000)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn times_leave_as_utc_with_milliseconds() {
        for (ms, text) in [
            (1_772_908_200_120, "2026-03-07T18:30:00.120Z"),
            (1_772_908_200_000, "2026-03-07T18:30:00.000Z"),
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(rfc3339(ms), text);
        }
        assert!(rfc3339(i64::MAX).starts_with("9999-"));
    }

    #[test]
    fn waits_neither_stretch_nor_go_negative() {
        const WALL: i64 = BUILT_MS + 1000;
        let at = |boot, boot_ms, wall_ms| Moment { boot, boot_ms, wall_ms };
        for (name, set, now, wait, left) in [
            ("same boot", at(1, 100, 0), at(1, 150, 0), 80, 30),
            ("same boot, wall set forward", at(1, 100, 0), at(1, 150, WALL), 80, 30),
            ("same boot, wall set back", at(1, 100, WALL), at(1, 150, 0), 80, 30),
            ("over", at(1, 100, 0), at(1, 500, 0), 80, 0),
            ("a later boot", at(1, 100, 40), at(2, 5, WALL), 80, 75),
            ("a later boot that has lasted", at(1, 100, WALL), at(2, 90, 0), 80, 0),
        ] {
            assert_eq!(now.remaining(&set, wait), left, "{name}");
        }
        assert_eq!(left_of(80, i64::MIN), 80);
        assert_eq!(left_of(-5, 0), 0);
    }

    #[test]
    fn the_kernels_word_holds_for_a_moment_by_the_same_clock() {
        let at = |boot_ms, wall_ms| Reading { boot_ms, wall_ms };
        let asked = at(5000, BUILT_MS);
        for (name, now, kept) in [
            ("the same moment", asked, true),
            ("soon after", at(5099, BUILT_MS + 99), true),
            ("clocks read a millisecond apart", at(5010, BUILT_MS + 11), true),
            ("later", at(5100, BUILT_MS + 100), false),
            ("set forward", at(5010, BUILT_MS + 13), false),
            ("set back", at(5010, BUILT_MS), false),
            ("before it", at(4999, BUILT_MS - 1), false),
        ] {
            assert_eq!(holds(&asked, &now), kept, "{name}");
        }
    }

    #[test]
    fn the_kernel_is_asked_anew_when_its_word_no_longer_holds() {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        let ask = || Some(Duration::from_millis(ASKED.fetch_add(1, Ordering::Relaxed) as u64));
        let kernel = Kernel { ask, last: Mutex::new(None) };
        let word = |boot_ms| kernel.word(&Reading { boot_ms, wall_ms: BUILT_MS + boot_ms });
        let ms = |ms| Some(Duration::from_millis(ms));
        assert_eq!([word(0), word(50), word(99), word(100), word(150)], [ms(0), ms(0), ms(0), ms(1), ms(1)]);
    }

    #[tokio::test]
    async fn the_manual_clock_wakes_its_sleepers() {
        let manual = ManualClock::at(0, "a");
        let clock = Clock::Manual(manual.clone());
        let sleeper = tokio::spawn(async move { clock.sleep_until(5000).await });
        manual.advance(Duration::from_millis(3999));
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        manual.advance(Duration::from_millis(1));
        sleeper.await.unwrap();
    }
}
