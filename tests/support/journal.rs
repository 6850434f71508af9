//! A journal by itself, opened as the service opens it, under a clock that tests move.
#![allow(dead_code, reason = "each test file that includes this uses its own part of it")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use afterplay::clock::{Clock, ManualClock};
use afterplay::journal::{Journal, OpenError, Policy, Scope, Trust, Writer};
use afterplay::session::{Consent, Limits};

pub(crate) const ROOT: Scope = Scope { uid: 0, admin: true };

/// The rules of a journal that has room for every test that does not say otherwise.
pub(crate) fn policy() -> Policy {
    Policy {
        limits: Limits { idle_ms: 600_000, age_ms: 86_400_000, grace_ms: 5000 },
        identity: None,
        player_name: None,
        channel: None,
        implementation: r#"{"name":"n","version":"1","environment":"app"}"#.into(),
        max_bytes: 64 << 20,
        max_bytes_per_user: 48 << 20,
        evict: false,
        max_open_per_user: 64,
        keep_receipts_ms: 86_400_000,
        keep_quarantined_ms: 86_400_000,
        hold_max_ms: 7 * 86_400_000,
        trust: Trust::Kernel,
        initial_consent: Consent::In,
    }
}

/// An open journal.
pub(crate) struct Open {
    pub(crate) journal: Journal,
    writer: Writer,
}

impl Open {
    pub(crate) fn at(path: &Path, clock: &Arc<ManualClock>) -> Open {
        Open::with(path, clock, policy()).unwrap()
    }

    pub(crate) fn with(path: &Path, clock: &Arc<ManualClock>, policy: Policy) -> Result<Open, OpenError> {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            match Journal::open(path, policy.clone(), Clock::Manual(clock.clone())) {
                Ok((journal, writer)) => return Ok(Open { journal, writer }),
                // A child that another test starts holds what was open here, a closed journal's lock too, until it has
                // become another program.
                Err(OpenError::InUse { .. }) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// As the service does when it stops.
    pub(crate) fn close(self) {
        drop(self.journal);
        self.writer.join();
    }
}
