//! Who is calling: peer uid on the Unix socket; host, origin and token on loopback TCP (product section 7).

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Request, State as Shared};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Api;
use super::problem::ApiError;
use super::share::REFUSAL_DELAY;
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

fn decide<'a>(headers: &'a HeaderMap, gate: &Gate, origins: &[String]) -> Verdict<'a> {
    let hosts = headers.get_all(header::HOST).iter().count();
    if hosts != 1 || !text(headers, header::HOST).is_some_and(|host| is_our_host(host, gate.address)) {
        return Verdict::WrongHost;
    }
    if headers.contains_key(header::ORIGIN) {
        return match text(headers, header::ORIGIN) {
            Some(origin) if origins.iter().any(|allowed| allowed == origin) => {
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

/// Lets in who may call over loopback TCP, and tells browsers so.
pub(super) async fn guard(
    Shared((api, gate)): Shared<(Arc<Api>, Gate)>,
    request: Request,
    next: Next,
) -> Response {
    let origins: Vec<String> =
        api.config.borrow().api.origins.iter().map(|origin| origin.as_str().to_owned()).collect();
    let refused = match decide(request.headers(), &gate, &origins) {
        Verdict::WrongHost => ApiError::new(
            421,
            "wrong_host",
            "The Host header must name this listener: localhost, 127.0.0.1 or [::1] with its port.",
        ),
        Verdict::Forbidden(detail) => ApiError::forbidden(detail),
        Verdict::Allowed { origin } => {
            let origin = origin.and_then(|origin| HeaderValue::from_str(origin).ok());
            return admit(origin, request, next).await;
        }
    };
    // These never get as far as the pace of requests.
    tokio::time::sleep(REFUSAL_DELAY).await;
    refused.into_response()
}

/// Passes a request on, and tells a browser that it may see the answer.
async fn admit(origin: Option<HeaderValue>, mut request: Request, next: Next) -> Response {
    let preflight = origin.is_some() && request.method() == Method::OPTIONS;
    request.extensions_mut().insert(Scope { uid: WEB_UID, admin: false });
    let mut response =
        if preflight { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    if let Some(origin) = origin {
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        headers.insert(header::VARY, HeaderValue::from_static("Origin"));
        headers
            .insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("location, retry-after"));
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
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_callers_pass() {
        let gate = Gate { address: "127.0.0.1:41780".parse().unwrap(), token: "secret".into() };
        let origins = ["https://tv.example".to_owned(), "null".to_owned()];
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
            let verdict = decide(&headers, &gate, &origins);
            assert!(expected(&verdict), "{pairs:?}: {verdict:?}");
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
