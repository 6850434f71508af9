//! Wall clock, boot id and boot time: the system's, and a manual one for tests.
//!
//! This is the only file that reads a wall clock. Decisions take a [`Reading`] or a [`Moment`] as an argument.

use std::sync::{Arc, Mutex, PoisonError};
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
    /// Milliseconds from `earlier` to `self`, never negative: boot time within a boot. Across boots the wall time, if
    /// both can be believed, but never less than the present boot has lasted: a clock that was wrong then or is wrong
    /// now must neither cut a wait short nor hold it up.
    pub fn since(&self, earlier: &Moment) -> i64 {
        if self.boot == earlier.boot {
            return self.boot_ms.saturating_sub(earlier.boot_ms).max(0);
        }
        let believed = earlier.wall_ms >= PLAUSIBLE_FROM_MS && self.wall_ms >= PLAUSIBLE_FROM_MS;
        let by_wall = if believed { self.wall_ms.saturating_sub(earlier.wall_ms) } else { 0 };
        by_wall.max(self.boot_ms).max(0)
    }

    /// How long from `self` until `wait_ms` after `set` have passed, at most `wait_ms`.
    pub fn remaining(&self, set: &Moment, wait_ms: i64) -> i64 {
        wait_ms.saturating_sub(self.since(set)).clamp(0, wait_ms.max(0))
    }
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

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock {
    reading: watch::Sender<Reading>,
    boot_id: Mutex<String>,
}

impl ManualClock {
    /// A clock at `wall_ms`, one second after boot.
    pub fn at(wall_ms: i64, boot_id: &str) -> Arc<ManualClock> {
        Arc::new(ManualClock {
            reading: watch::Sender::new(Reading { wall_ms, boot_ms: 1000 }),
            boot_id: Mutex::new(boot_id.to_owned()),
        })
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

/// A wall clock before this moment (2026-01-01, before this program was first built) cannot be right.
const PLAUSIBLE_FROM_MS: i64 = 1_767_225_600_000;

/// Whether the wall clock can be believed: `trusted` or `untrusted`.
pub fn trust(now: &Reading) -> &'static str {
    if now.wall_ms >= PLAUSIBLE_FROM_MS { "trusted" } else { "untrusted" }
}

#[cfg(target_os = "linux")]
fn system_now() -> Reading {
    use rustix::time::{ClockId, clock_gettime};
    let ms = |id| {
        let now = clock_gettime(id);
        now.tv_sec * 1000 + now.tv_nsec / 1_000_000
    };
    Reading { wall_ms: ms(ClockId::Realtime), boot_ms: ms(ClockId::Boottime) }
}

#[cfg(not(target_os = "linux"))]
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
fn system_now() -> Reading {
    use rustix::time::{ClockId, clock_gettime};
    let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let boot = clock_gettime(ClockId::Monotonic);
    Reading {
        wall_ms: i64::try_from(wall.as_millis()).unwrap_or(i64::MAX),
        boot_ms: boot.tv_sec * 1000 + boot.tv_nsec / 1_000_000,
    }
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
        const WALL: i64 = PLAUSIBLE_FROM_MS + 1000;
        let at = |boot, boot_ms, wall_ms| Moment { boot, boot_ms, wall_ms };
        for (name, set, now, wait, left) in [
            ("same boot", at(1, 100, 0), at(1, 150, 0), 80, 30),
            ("same boot, wall set forward", at(1, 100, 0), at(1, 150, WALL), 80, 30),
            ("same boot, wall set back", at(1, 100, WALL), at(1, 150, 0), 80, 30),
            ("over", at(1, 100, 0), at(1, 500, 0), 80, 0),
            ("next boot", at(1, 100, WALL), at(2, 5, WALL + 50), 80, 30),
            ("next boot, clock set back", at(1, 100, WALL), at(2, 5, WALL - 500), 80, 75),
            (
                "next boot, clock set back, the wait has passed",
                at(1, 100, WALL),
                at(2, 90, WALL - 500),
                80,
                0,
            ),
            ("set in 1970, clock right since", at(1, 100, 40), at(2, 5, WALL), 80, 75),
            ("set in 1970, clock right since, the wait has passed", at(1, 100, 40), at(2, 80, WALL), 80, 0),
            ("booted in 1970 again", at(1, 100, 40), at(2, 30, 90), 80, 50),
        ] {
            assert_eq!(now.remaining(&set, wait), left, "{name}");
        }
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
