//! The decisions of contract section 11 as tables, in its order and grouping, to be held beside it line by line.

use super::answer::{Code, Space};
use crate::link::Evidence;
use crate::upload::send::FailureKind;

/// A verdict as the tables write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    Deliver,
    RetryAfter,
    Backoff,
    BackoffUpTo(u32),
    Pause,
    Resize,
    Consent,
    Quarantine,
    /// PAUSE if the identity comes from configuration, else QUARANTINE.
    Identity,
}

/// What happened instead of an answer of the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    Failed(FailureKind),
    Redirect,
    NotAdobe,
    /// It came as an answer of the endpoint would, and nothing in it can be read.
    Unreadable,
}

/// Why an attempt failed by which one can see that the clock may be wrong.
pub const CERTIFICATE_TIME: &str = "certificate-time";

/// A row: the trouble, the verdict, its reason, what it says about the path, and the words for a person.
type TransportRow = (Trouble, Rule, &'static str, Evidence, &'static str);

/// Contract section 11.1.
const BY_TRANSPORT: &[TransportRow] = {
    use Evidence::{Captive, Unreachable};
    use FailureKind::{CertificateTime, Connect, Dns, Protocol, Reset, Setup, Timeout, Tls};
    use Rule::{Backoff, BackoffUpTo, Pause};
    use Trouble::{Failed, NotAdobe, Redirect, Unreadable};
    &[
        // No route, DNS failure, refused, reset, connect timeout.
        (Failed(Dns), Backoff, "dns", Unreachable, "the endpoint's name could not be resolved"),
        (Failed(Connect), Backoff, "connect", Unreachable, "no connection to the endpoint"),
        (Failed(Timeout), Backoff, "timeout", Unreachable, "the endpoint did not answer in time"),
        // TLS failure: certificate not yet valid / expired. Which of the two clocks is wrong cannot be known.
        (
            Failed(CertificateTime),
            Backoff,
            CERTIFICATE_TIME,
            Unreachable,
            "the certificate is not valid at this time; check the device's clock",
        ),
        // TLS failure: other.
        (
            Failed(Tls),
            Backoff,
            "tls",
            Captive,
            "TLS failed; something else may answer in the endpoint's place",
        ),
        // Reset after the body was sent.
        (Failed(Reset), Backoff, "reset", Unreachable, "the connection broke before the answer was complete"),
        // 3xx.
        (Redirect, Backoff, "redirect", Captive, "something redirects instead of the endpoint; not followed"),
        // 2xx with a non-JSON body, and what is no HTTP at all.
        (NotAdobe, Backoff, "not-adobe", Captive, "this is no answer of the endpoint"),
        (Failed(Protocol), Backoff, "not-adobe", Captive, "this is no answer of the endpoint"),
        // Not in the contract: a 2xx with JSON, or what may be JSON, of which nothing is known.
        (
            Unreadable,
            BackoffUpTo(10),
            "not-adobe",
            Captive,
            "nothing in this can be read as an answer of the endpoint",
        ),
        // Not in the contract: a fault of this device's set-up hits all sessions and outlasts a retry.
        (Failed(Setup), Pause, "setup", Unreachable, "no request could be made"),
    ]
};

/// The statuses that a row is for.
enum Status {
    Is(&'static [u16]),
    /// This one with a `va-edge` code.
    WithMediaCode(u16),
    /// Whatever begins with this digit and has no row above.
    Other(u16),
}

/// Contract section 11.2. The rows for successes hold once the body has been read (`success`, `multi_status`).
const BY_STATUS: &[(Status, Rule)] = {
    use Rule::{Backoff, BackoffUpTo, Deliver, Pause, Quarantine, Resize, RetryAfter};
    use Status::{Is, Other, WithMediaCode};
    &[
        (Is(&[200]), Deliver),
        (Is(&[201, 202, 204]), Deliver),
        // What is left of 11.4 when nothing in the body decides, or there is none: refused, most likely, without a
        // reason.
        (Is(&[207]), BackoffUpTo(10)),
        (Is(&[400]), Quarantine),
        (Is(&[401]), Pause),
        (Is(&[403]), Pause),
        (WithMediaCode(404), Quarantine),
        (Is(&[404, 405]), Pause),
        (Is(&[407, 511]), Backoff),
        (Is(&[408, 425]), Backoff),
        (Is(&[409]), Quarantine),
        (Is(&[410]), Quarantine),
        (Is(&[413]), Resize),
        (Is(&[415]), Pause),
        (Is(&[422]), Quarantine),
        (Is(&[429]), RetryAfter),
        (Other(4), Quarantine),
        (Is(&[500]), BackoffUpTo(10)),
        (Is(&[502, 504]), Backoff),
        (Is(&[503]), RetryAfter),
        (Is(&[507]), Backoff),
        (Is(&[501, 505]), Pause),
        (Other(5), Backoff),
        // Not in the contract: another success with Adobe's body is one.
        (Other(2), Deliver),
    ]
};

/// Any `va-edge` code with a status of 5xx.
const MEDIA_5XX: &str = "va-edge, status 5xx";

/// Contract section 11.3. Any other code: by status.
const BY_CODE: &[(&[&str], Rule)] = {
    use Rule::{Backoff, BackoffUpTo, Consent, Deliver, Identity, Pause, Quarantine, Resize, RetryAfter};
    &[
        (&["0000-503"], RetryAfter),
        (&["0001-500"], BackoffUpTo(10)),
        (&["0002-400"], Pause),
        (&["0003-400"], Pause),
        (&["0004-422"], Pause),
        (&["0010-422"], Pause),
        (&["0011-422", "0012-422"], Pause),
        (&["0013-422"], Pause),
        (&["0100-500"], BackoffUpTo(3)),
        (&["0101-400"], Quarantine),
        (&["0102-400", "0103-400", "0104-422", "0105-400"], Quarantine),
        (&["0106-400", "0111-415"], Pause),
        (&["0107-400", "0108-400", "0110-400"], Pause),
        (&["0109-408"], BackoffUpTo(10)),
        (&["0112-413"], Resize),
        (&["0113-400"], Pause),
        (&["0200-504"], Backoff),
        (&["0201-503"], RetryAfter),
        (&["0202-502"], BackoffUpTo(10)),
        (&["0203-502", "0205-502"], Backoff),
        (&["0204-200"], Deliver),
        (&["0300-502", "0307-502"], Backoff),
        (&["0301-200"], Consent),
        (&["0302-409"], Quarantine),
        (&["0303-200"], Deliver),
        (&["0304-400", "0305-400", "0306-400", "0308-400"], Identity),
        (&["0400-403"], Pause),
        (&["0500-401", "0501-401", "0502-401", "0503-401", "0504-401", "0505-401", "0506-401"], Pause),
        (&["va-edge-0400-400"], Quarantine),
        (&["va-edge-0404-404"], Quarantine),
        (&[MEDIA_5XX], BackoffUpTo(10)),
    ]
};

/// What a trouble means: the verdict, its reason, what it says about the path, and the words for a person.
pub(super) fn by_transport(trouble: Trouble) -> (Rule, &'static str, Evidence, &'static str) {
    let row = BY_TRANSPORT.iter().find(|row| row.0 == trouble).unwrap_or(&BY_TRANSPORT[0]);
    (row.1, row.2, row.3, row.4)
}

/// What a status means; `media_code` says whether a `va-edge` code came with it.
pub(super) fn by_status(status: u16, media_code: bool) -> Rule {
    let row = BY_STATUS.iter().find(|(statuses, _)| match statuses {
        Status::Is(these) => these.contains(&status),
        Status::WithMediaCode(this) => media_code && *this == status,
        Status::Other(class) => status / 100 == *class,
    });
    row.map_or(Rule::Backoff, |row| row.1)
}

/// What a code means, if it is a known one.
pub(super) fn by_code(code: &Code) -> Option<Rule> {
    BY_CODE.iter().find(|(names, _)| names.iter().any(|name| is_named(code, name))).map(|row| row.1)
}

/// The number names the error. A status of another class behind it makes it another error, one of the same class does
/// not: Adobe prints both 0201-503 and 0201-504.
fn is_named(code: &Code, name: &str) -> bool {
    let class = code.status.map(|status| status / 100);
    if name == MEDIA_5XX {
        return code.space == Space::Media && class == Some(5);
    }
    Code::parse(name).is_some_and(|named| {
        (&named.space, named.number) == (&code.space, code.number)
            && (class.is_none() || class == named.status.map(|status| status / 100))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_in_the_table_can_be_read_and_stands_once() {
        let names: Vec<&str> = BY_CODE.iter().flat_map(|row| row.0).copied().collect();
        for name in &names {
            assert_eq!(names.iter().filter(|other| *other == name).count(), 1, "{name}");
            if *name != MEDIA_5XX {
                assert_eq!(Code::parse(name).map(|code| code.to_string()).as_deref(), Some(*name));
            }
        }
    }

    #[test]
    fn every_trouble_has_its_row() {
        use FailureKind::{CertificateTime, Connect, Dns, Protocol, Reset, Setup, Timeout, Tls};
        let kinds = [Setup, Dns, Connect, CertificateTime, Tls, Timeout, Reset, Protocol];
        let troubles = kinds.map(Trouble::Failed).into_iter().chain([
            Trouble::Redirect,
            Trouble::NotAdobe,
            Trouble::Unreadable,
        ]);
        for trouble in troubles {
            assert_eq!(BY_TRANSPORT.iter().filter(|row| row.0 == trouble).count(), 1, "{trouble:?}");
        }
    }
}
