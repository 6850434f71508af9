//! The moment at which certificates must be valid.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::ClientConfig;
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use rustls_platform_verifier::BuilderVerifierExt;

use crate::clock::{BUILT_MS, Clock};

/// What TLS takes for the present time: the anchored one, else the wall clock or, if that lies before what has
/// certainly passed, that. A box that boots in 1970 can thus ask an endpoint for the time, and nothing is switched
/// off for it.
#[derive(Debug)]
pub struct ValidAt {
    clock: Clock,
    /// Wall time less boot time, if it is known; and what it is at the least.
    known: Mutex<(Option<i64>, i64)>,
}

impl ValidAt {
    /// By this clock.
    pub fn new(clock: Clock) -> Arc<ValidAt> {
        Arc::new(ValidAt { clock, known: Mutex::new((None, BUILT_MS)) })
    }

    /// What is known of the time: wall time less boot time, and what it is at the least.
    pub fn learn(&self, offset_ms: Option<i64>, floor_ms: i64) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = (offset_ms, floor_ms.max(BUILT_MS));
    }

    /// Milliseconds since 1970.
    pub fn now_ms(&self) -> i64 {
        let now = self.clock.now();
        match *self.known.lock().unwrap_or_else(PoisonError::into_inner) {
            (Some(offset), _) => now.boot_ms.saturating_add(offset),
            (None, floor) => now.wall_ms.max(now.boot_ms.saturating_add(floor)),
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
        roots.add_parsable_certificates(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned());
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
            valid_at.learn(offset, floor);
            assert_eq!(valid_at.now_ms(), at, "{wall} {offset:?} {floor}");
        }
    }
}
