//! Attempt number to delay; the only file that knows `backoff`.
//!
//! The crate does the doubling and the cap. What it would get wrong for us is left out or done here: it gives up after
//! 15 minutes unless told otherwise, its own jitter reaches past its cap, and its state dies with the process. So a fresh
//! one is wound up to the stored attempt number each time, without jitter, and the jitter is drawn below.
#![allow(clippy::disallowed_types, reason = "this is the one file that knows `backoff`")]

use std::time::Duration;

use backoff::backoff::Backoff as _;
use backoff::{ExponentialBackoff, ExponentialBackoffBuilder};

/// No delay is shorter than this, or than the initial delay if that is shorter still: full jitter alone could draw
/// next to nothing and hammer an endpoint that has just failed.
const FLOOR: Duration = Duration::from_secs(1);

/// A schedule of growing delays: doubling from `initial`, never above `max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    initial: Duration,
    max: Duration,
}

impl Default for Backoff {
    /// 5 s up to 1 h (contract section 11).
    fn default() -> Self {
        Self { initial: Duration::from_secs(5), max: Duration::from_secs(3600) }
    }
}

/// Why a schedule was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BackoffError {
    /// A schedule from zero never grows.
    #[error("the initial delay must be longer than zero")]
    ZeroInitial,
    /// The cap lies under the first delay.
    #[error("the longest delay ({max:?}) must not be shorter than the initial one ({initial:?})")]
    MaxBelowInitial {
        /// The first delay as asked for.
        initial: Duration,
        /// The cap as asked for.
        max: Duration,
    },
}

impl Backoff {
    /// A checked schedule.
    pub fn new(initial: Duration, max: Duration) -> Result<Self, BackoffError> {
        if initial.is_zero() {
            return Err(BackoffError::ZeroInitial);
        }
        if max < initial {
            return Err(BackoffError::MaxBelowInitial { initial, max });
        }
        Ok(Self { initial, max })
    }

    /// The longest delay that may follow the given attempt (counted from 1): `initial`, doubled after each further
    /// attempt, never above `max`. A schedule without jitter, such as the probes of a pause, uses it as it is.
    pub fn ceiling(&self, attempt: u32) -> Duration {
        let mut steps: ExponentialBackoff = ExponentialBackoffBuilder::new()
            .with_initial_interval(self.initial)
            .with_max_interval(self.max)
            .with_multiplier(2.0)
            .with_randomization_factor(0.0)
            .with_max_elapsed_time(None)
            .build();
        let mut step = 1;
        while step < attempt && steps.current_interval < self.max {
            steps.next_backoff();
            step += 1;
        }
        steps.current_interval.min(self.max)
    }

    /// The delay after the given attempt (counted from 1) with full jitter (contract section 11): `random` from 0 to 1
    /// picks a point between nothing and [`ceiling`](Self::ceiling), but not below a small floor.
    pub fn delay(&self, attempt: u32, random: f64) -> Duration {
        let random = if random.is_finite() { random.clamp(0.0, 1.0) } else { 1.0 };
        let ceiling = self.ceiling(attempt);
        let drawn = Duration::try_from_secs_f64(ceiling.as_secs_f64() * random).unwrap_or(ceiling);
        drawn.max(FLOOR.min(self.initial)).min(ceiling)
    }

    /// [`delay`](Self::delay) with a random number of its own.
    pub fn random_delay(&self, attempt: u32) -> Duration {
        self.delay(attempt, fastrand::f64())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn schedule() -> Backoff {
        Backoff::new(5 * SECOND, 3600 * SECOND).unwrap()
    }

    #[test]
    fn the_ceiling_doubles_up_to_the_cap() {
        // Contract section 11: exponential, 5 s up to 1 h.
        let cases = [
            (0, 5),
            (1, 5),
            (2, 10),
            (3, 20),
            (4, 40),
            (9, 1280),
            (10, 2560),
            (11, 3600),
            (12, 3600),
            (u32::MAX, 3600),
        ];
        for (attempt, seconds) in cases {
            assert_eq!(schedule().ceiling(attempt), seconds * SECOND, "attempt {attempt}");
        }
    }

    #[test]
    fn a_pause_probes_after_15_minutes_doubling_to_6_hours() {
        let minutes = |m: u32| m * 60 * SECOND;
        let pause = Backoff::new(minutes(15), minutes(360)).unwrap();
        let probes: Vec<_> = (1..=7).map(|attempt| pause.ceiling(attempt)).collect();
        assert_eq!(probes, [15, 30, 60, 120, 240, 360, 360].map(minutes));
    }

    #[test]
    fn jitter_is_full_but_has_a_floor() {
        assert_eq!(schedule().delay(3, 1.0), 20 * SECOND);
        assert_eq!(schedule().delay(3, 0.5), 10 * SECOND);
        assert_eq!(schedule().delay(3, 0.0), SECOND);
        assert_eq!(schedule().delay(3, f64::NAN), 20 * SECOND);
        let short = Backoff::new(Duration::from_millis(20), SECOND).unwrap();
        assert_eq!(short.delay(1, 0.0), Duration::from_millis(20), "a short initial delay is its own floor");
        let endless = Backoff::new(SECOND, Duration::MAX).unwrap();
        assert!(endless.delay(u32::MAX, 1.0) > 3600 * SECOND);
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(Backoff::new(Duration::ZERO, SECOND), Err(BackoffError::ZeroInitial));
        let refused = Backoff::new(2 * SECOND, SECOND);
        assert_eq!(refused, Err(BackoffError::MaxBelowInitial { initial: 2 * SECOND, max: SECOND }));
        assert!(Backoff::new(SECOND, SECOND).is_ok());
    }

    proptest! {
        #[test]
        fn no_delay_leaves_its_bounds(
            initial_ms in 1u64..100_000_000,
            more_ms in 0u64..10_000_000_000,
            attempt: u32,
            random in 0.0f64..=1.0,
        ) {
            let initial = Duration::from_millis(initial_ms);
            let max = initial + Duration::from_millis(more_ms);
            let schedule = Backoff::new(initial, max).unwrap();

            let delay = schedule.delay(attempt, random);
            prop_assert!(delay <= schedule.ceiling(attempt));
            prop_assert!(schedule.ceiling(attempt) <= max);
            prop_assert!(delay >= initial.min(FLOOR));
            prop_assert!(schedule.ceiling(attempt) <= schedule.ceiling(attempt.saturating_add(1)));
            prop_assert!(schedule.random_delay(attempt) <= max);
        }
    }
}
