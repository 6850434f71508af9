//! Who is calling: peer uid on the Unix socket; host, origin and token on loopback TCP (product section 7).

use std::net::SocketAddr;

use hyper::Uri;
use hyper::header::{self, HeaderMap, HeaderValue};

use super::problem::ApiError;
use crate::config::WebOrigin;
use crate::journal::Scope;

/// The owner of sessions that come over loopback TCP, where the kernel names no user: no real uid, no administrator.
pub const WEB_UID: u32 = u32::MAX;

/// The scope of a local user.
pub(super) fn scope_of(uid: u32, own_uid: u32) -> Scope {
    Scope { uid, admin: uid == 0 || uid == own_uid }
}

/// What is checked of each request on loopback TCP, before anything else looks at it.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    /// Where the listener is bound.
    pub(super) address: SocketAddr,
    /// Bearer token for callers without an origin.
    pub(super) token: String,
}

/// What a request's headers come to.
#[derive(Debug, PartialEq, Eq)]
enum Verdict<'a> {
    WrongHost,
    Forbidden(&'static str),
    Allowed { origin: Option<&'a str> },
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Whether `host` names this listener: a page that had its name point here (DNS rebinding) sends its own name.
fn is_our_host(host: &str, address: SocketAddr) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => {
            (name, port.parse().ok())
        }
        _ => (host, Some(80)),
    };
    let name_is_ours = ["localhost", "127.0.0.1", "[::1]"].iter().any(|ours| name.eq_ignore_ascii_case(ours));
    name_is_ours && port == Some(address.port())
}

/// Compares without telling by its time how much was right.
fn same_secret(given: &str, expected: &str) -> bool {
    given.len() == expected.len()
        && given.bytes().zip(expected.bytes()).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

fn decide<'a>(target: &Uri, headers: &'a HeaderMap, gate: &Gate, origins: &[WebOrigin]) -> Verdict<'a> {
    let hosts = headers.get_all(header::HOST).iter().count();
    if hosts != 1 || !text(headers, header::HOST).is_some_and(|host| is_our_host(host, gate.address)) {
        return Verdict::WrongHost;
    }
    // A target in absolute form names a host of its own, which to HTTP counts before the header.
    if target.authority().is_some_and(|authority| !is_our_host(authority.as_str(), gate.address)) {
        return Verdict::WrongHost;
    }
    if headers.contains_key(header::ORIGIN) {
        let listed = |origin: &HeaderValue| origins.iter().any(|allowed| *origin == allowed.as_str());
        return match text(headers, header::ORIGIN) {
            Some(origin) if headers.get_all(header::ORIGIN).iter().all(listed) => {
                Verdict::Allowed { origin: Some(origin) }
            }
            _ => Verdict::Forbidden("This origin is not on the list (api.origins)."),
        };
    }
    let token = text(headers, header::AUTHORIZATION)
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    match token {
        Some(token) if same_secret(token, &gate.token) => Verdict::Allowed { origin: None },
        _ => Verdict::Forbidden(
            "A caller without an Origin must show the token from the service's api-token file as a bearer token.",
        ),
    }
}

impl Gate {
    /// Whether the caller may come in, and the origin that its browser is to be told of.
    pub(super) fn admit(
        &self,
        target: &Uri,
        headers: &HeaderMap,
        origins: &[WebOrigin],
    ) -> Result<Option<HeaderValue>, ApiError> {
        match decide(target, headers, self, origins) {
            Verdict::WrongHost => Err(ApiError::new(
                421,
                "wrong_host",
                "The Host header, and the request's target if it is a whole URL, must name this listener: \
                 localhost, 127.0.0.1 or [::1] with its port.",
            )),
            Verdict::Forbidden(detail) => Err(ApiError::forbidden(detail)),
            Verdict::Allowed { origin } => Ok(origin.and_then(|origin| HeaderValue::from_str(origin).ok())),
        }
    }
}

/// Tells a browser that it may see the answer, and to a preflight also what it may ask.
pub(super) fn tell_browser(headers: &mut HeaderMap, origin: HeaderValue, preflight: bool) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    let always = [
        (header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true"),
        (header::VARY, "Origin"),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, "location, retry-after"),
    ];
    for (name, value) in always {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if preflight {
        for (name, value) in [
            ("access-control-allow-methods", "GET, POST, PUT, DELETE"),
            ("access-control-allow-headers", "content-type, authorization"),
            ("access-control-allow-private-network", "true"),
            ("access-control-max-age", "600"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_callers_pass() {
        let gate = Gate { address: "127.0.0.1:41780".parse().unwrap(), token: "secret".into() };
        let origins = ["https://tv.example", "null"].map(|origin| WebOrigin::parse(origin).unwrap());
        let forbidden = |verdict: &Verdict<'_>| matches!(verdict, Verdict::Forbidden(_));
        type Expect = fn(&Verdict<'_>) -> bool;
        let wrong_host: Expect = |verdict| *verdict == Verdict::WrongHost;
        let allowed: Expect = |verdict| matches!(verdict, Verdict::Allowed { .. });
        let cases: [(&[(&str, &str)], Expect); 13] = [
            (&[], wrong_host),
            (&[("host", "evil.example:41780"), ("origin", "https://tv.example")], wrong_host),
            (&[("host", "127.0.0.1:80"), ("authorization", "Bearer secret")], wrong_host),
            (&[("host", "127.0.0.1"), ("authorization", "Bearer secret")], wrong_host),
            (&[("host", "127.0.0.1:41780"), ("host", "evil.example")], wrong_host),
            (&[("host", "127.0.0.1:41780")], forbidden),
            (&[("host", "127.0.0.1:41780"), ("authorization", "Bearer wrong!")], forbidden),
            (&[("host", "127.0.0.1:41780"), ("authorization", "Basic secret")], forbidden),
            (&[("host", "127.0.0.1:41780"), ("authorization", "bearer secret")], allowed),
            (&[("host", "localhost:41780"), ("origin", "https://tv.example")], allowed),
            (&[("host", "[::1]:41780"), ("origin", "null")], allowed),
            (&[("host", "[::1]:41780"), ("origin", "https://tv.example.evil")], forbidden),
            (
                &[
                    ("host", "localhost:41780"),
                    ("origin", "https://evil.example"),
                    ("authorization", "Bearer secret"),
                ],
                forbidden,
            ),
        ];
        for (pairs, expected) in cases {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers
                    .append(header::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
            }
            let verdict = decide(&Uri::from_static("/v1/status"), &headers, &gate, &origins);
            assert!(expected(&verdict), "{pairs:?}: {verdict:?}");
        }
    }

    #[test]
    fn the_target_and_every_origin_count() {
        let gate = Gate { address: "127.0.0.1:41780".parse().unwrap(), token: "secret".into() };
        let origins =
            ["https://tv.example", "https://radio.example"].map(|one| WebOrigin::parse(one).unwrap());
        let verdict = |target: &str, given: &[&str]| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, "localhost:41780".parse().unwrap());
            for origin in given {
                headers.append(header::ORIGIN, origin.parse().unwrap());
            }
            match decide(&target.parse().unwrap(), &headers, &gate, &origins) {
                Verdict::WrongHost => 421,
                Verdict::Forbidden(_) => 403,
                Verdict::Allowed { .. } => 200,
            }
        };
        let tv = "https://tv.example";
        for (target, origins, expected) in [
            ("http://127.0.0.1:41780/v1/status", &[tv][..], 200),
            ("http://LOCALHOST:41780/v1/status", &[tv], 200),
            ("http://evil.example/v1/status", &[tv], 421),
            ("http://evil.example:41780/v1/status", &[tv], 421),
            ("http://localhost:41780@evil.example/v1/status", &[tv], 421),
            ("http://evil.example@localhost:41780/v1/status", &[tv], 421),
            ("http://localhost/v1/status", &[tv], 421),
            ("evil.example:443", &[tv], 421),
            ("*", &[tv], 200),
            ("/v1/status", &[tv, "https://radio.example"], 200),
            ("/v1/status", &[tv, "https://evil.example"], 403),
            ("/v1/status", &["https://evil.example", tv], 403),
            ("/v1/status", &[tv, "https://tv.example, https://evil.example"], 403),
            ("/v1/status", &[tv, ""], 403),
        ] {
            assert_eq!(verdict(target, origins), expected, "{target} {origins:?}");
        }
    }

    #[test]
    fn root_and_the_service_administer() {
        assert!(scope_of(0, 1000).admin);
        assert!(scope_of(1000, 1000).admin);
        assert!(!scope_of(1001, 1000).admin);
        assert!(!scope_of(WEB_UID, 1000).admin);
    }
}
