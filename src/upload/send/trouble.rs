//! What kept an answer away: which kind of trouble, by what the libraries say caused it.

use std::error::Error;
use std::io;
use std::time::Duration;

use rustls::CertificateError;

use super::{Failure, FailureKind, Outcome};

/// What kept an answer away.
pub(super) struct Trouble {
    pub(super) kind: FailureKind,
    pub(super) detail: String,
}

impl Trouble {
    pub(super) fn setup(detail: String) -> Self {
        Self { kind: FailureKind::Setup, detail }
    }

    pub(super) fn timeout(after: Duration) -> Self {
        Self { kind: FailureKind::Timeout, detail: format!("no complete answer within {after:.1?}") }
    }

    pub(super) fn from_error(error: &reqwest::Error) -> Self {
        Self { kind: classify(error), detail: innermost(error) }
    }

    pub(super) fn failed(self, maybe_delivered: bool) -> Outcome {
        Outcome::Failed(Failure { kind: self.kind, maybe_delivered, detail: self.detail })
    }
}

/// The kind of trouble, by the most telling cause: what TLS says first, then how far the attempt came.
pub(super) fn classify(error: &reqwest::Error) -> FailureKind {
    use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};

    let mut not_http = false;
    for cause in causes(error) {
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            return match tls {
                rustls::Error::InvalidCertificate(
                    Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. },
                ) => FailureKind::CertificateTime,
                _ => FailureKind::Tls,
            };
        }
        not_http |= cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse);
    }
    if error.is_builder() {
        FailureKind::Setup
    } else if error.is_dns() {
        FailureKind::Dns
    } else if error.is_timeout() {
        FailureKind::Timeout
    } else if error.is_connect() {
        FailureKind::Connect
    } else if not_http {
        FailureKind::Protocol
    } else {
        FailureKind::Reset
    }
}

/// An error and what caused it, from the outside in. `io::Error` hides the error it carries from `source`.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |cause| cause_of(*cause)).take(32)
}

fn cause_of<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(carried) => Some(carried),
        None => error.source(),
    }
}

pub(super) fn innermost(error: &(dyn Error + 'static)) -> String {
    causes(error).last().map_or_else(|| error.to_string(), ToString::to_string)
}
