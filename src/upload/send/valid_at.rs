//! The moment at which certificates must be valid.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::ClientConfig;
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use rustls_platform_verifier::BuilderVerifierExt;

use crate::anchor::boots::Source;
use crate::clock::{BUILT_MS, Clock};
use crate::journal::Known;

/// What TLS takes for the present time: the anchored one, else the wall clock or, if that lies before what has
/// certainly passed, that. A box that boots in 1970 can thus ask an endpoint for the time, and nothing is switched
/// off for it.
#[derive(Debug)]
pub struct ValidAt {
    clock: Clock,
    known: Mutex<Known>,
}

impl ValidAt {
    /// By this clock.
    pub fn new(clock: Clock) -> Arc<ValidAt> {
        let known = Known { offset_ms: None, floor_ms: BUILT_MS, floor_by: None };
        Arc::new(ValidAt { clock, known: Mutex::new(known) })
    }

    /// What the journal knows of the time.
    pub fn learn(&self, known: &Known) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) =
            Known { floor_ms: known.floor_ms.max(BUILT_MS), ..*known };
    }

    fn known(&self) -> Known {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since the boot.
    pub fn boot_ms(&self) -> i64 {
        self.clock.now().boot_ms
    }

    /// The least that it can have been at this boot time, without the boot's own anchor.
    pub fn floor_at(&self, boot_ms: i64) -> i64 {
        boot_ms.saturating_add(self.known().floor_ms)
    }

    /// Who says that it is that late, for a person.
    pub fn by(&self) -> &'static str {
        let (known, now) = (self.known(), self.clock.now());
        match (known.offset_ms, known.floor_by) {
            (Some(_), _) => "what is known of this boot",
            (None, _) if now.wall_ms >= now.boot_ms.saturating_add(known.floor_ms) => "the wall clock",
            (None, Some(Source::Date)) => "what the endpoint said before the last boot",
            (None, Some(_)) => "what the kernel said before the last boot",
            (None, None) => "the date of this version",
        }
    }

    /// Milliseconds since 1970.
    pub fn now_ms(&self) -> i64 {
        let now = self.clock.now();
        let known = self.known();
        match known.offset_ms {
            Some(offset) => now.boot_ms.saturating_add(offset),
            None => now.wall_ms.max(now.boot_ms.saturating_add(known.floor_ms)),
        }
    }
}

impl TimeProvider for ValidAt {
    fn current_time(&self) -> Option<UnixTime> {
        let now = u64::try_from(self.now_ms()).ok()?;
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_millis(now)))
    }
}

/// How TLS is spoken: with the roots of the machine, else with the bundled ones.
pub(super) fn tls_config(valid_at: Arc<ValidAt>) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = || {
        ClientConfig::builder_with_details(provider.clone(), valid_at.clone())
            .with_safe_default_protocol_versions()
    };
    let config = builder()?.with_platform_verifier().or_else(|error| {
        tracing::info!(cause = %error, "no usable root certificates on this machine; using the bundled ones");
        let mut roots = rustls::RootCertStore::empty();
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        Ok::<_, rustls::Error>(builder()?.with_root_certificates(roots))
    })?;
    let mut config = config.with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn certificates_are_checked_at_the_latest_time_that_is_sure() {
        const DAY: i64 = 24 * 3600 * 1000;
        for (wall, offset, floor, at) in [
            (BUILT_MS + DAY, None, 0, BUILT_MS + DAY),
            (0, None, 0, BUILT_MS + 1000),
            (0, None, BUILT_MS + 5 * DAY, BUILT_MS + 5 * DAY + 1000),
            (BUILT_MS + 9 * DAY, None, BUILT_MS + 5 * DAY, BUILT_MS + 9 * DAY),
            (0, Some(BUILT_MS + DAY), BUILT_MS, BUILT_MS + DAY + 1000),
            (BUILT_MS + 9999 * DAY, Some(BUILT_MS + DAY), BUILT_MS, BUILT_MS + DAY + 1000),
        ] {
            let valid_at = ValidAt::new(Clock::Manual(ManualClock::at(wall, "a")));
            for (floor_by, by) in [
                (None, "this version"),
                (Some(Source::Date), "the endpoint"),
                (Some(Source::Kernel), "the kernel"),
            ] {
                valid_at.learn(&Known { offset_ms: offset, floor_ms: floor, floor_by });
                assert_eq!(valid_at.now_ms(), at, "{wall} {offset:?} {floor}");
                let by = if offset.is_some() {
                    "this boot"
                } else if at == wall {
                    "the wall clock"
                } else {
                    by
                };
                assert!(valid_at.by().contains(by), "{} {by}", valid_at.by());
            }
        }
    }
}
