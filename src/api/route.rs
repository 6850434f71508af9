//! Which request is for what: method and path to a route. Allocates nothing and decodes nothing.

use hyper::Method;

/// What a request is for, with the parts of its path as they were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route<'p> {
    List,
    Start,
    Detail(&'p str),
    Discard(&'p str),
    Append(&'p str),
    Recorded(&'p str),
    Payload(&'p str),
    Complete(&'p str),
    Retry(&'p str),
    Losses,
    Status,
    Flush,
    Verify,
    Consent,
    SetConsent,
    Identity,
    ResetIdentity,
    OpenApi,
    Metrics,
    Media {
        hint: Option<&'p str>,
        action: &'p str,
    },
    Interact,
    /// There is something at this path, but not for this method: what is, as `Allow` says it.
    WrongMethod(&'static str),
    Nowhere,
}

/// Parts of the longest path that there is.
const MOST_PARTS: usize = 5;

/// The route of a request. `HEAD` goes where `GET` goes.
pub(super) fn find<'p>(method: &Method, path: &'p str) -> Route<'p> {
    let mut parts = [""; MOST_PARTS];
    let mut count = 0;
    for part in path.strip_prefix('/').unwrap_or_default().split('/') {
        let Some(place) = parts.get_mut(count) else { return Route::Nowhere };
        *place = part;
        count += 1;
    }
    match parts.get(..count).unwrap_or_default() {
        // A part may be empty, but not the last.
        [.., ""] => Route::Nowhere,
        ["v1", "sessions", key, "events"] => match *method {
            Method::POST => Route::Append(key),
            Method::GET | Method::HEAD => Route::Recorded(key),
            _ => Route::WrongMethod("GET,HEAD,POST"),
        },
        ["v1", "sessions"] => match *method {
            Method::POST => Route::Start,
            Method::GET | Method::HEAD => Route::List,
            _ => Route::WrongMethod("GET,HEAD,POST"),
        },
        ["v1", "sessions", key] => match *method {
            Method::GET | Method::HEAD => Route::Detail(key),
            Method::DELETE => Route::Discard(key),
            _ => Route::WrongMethod("GET,HEAD,DELETE"),
        },
        ["v1", "sessions", key, "payload"] => get(method, Route::Payload(key)),
        ["v1", "sessions", key, "complete"] => post(method, Route::Complete(key)),
        ["v1", "sessions", key, "retry"] => post(method, Route::Retry(key)),
        ["v1", "losses"] => get(method, Route::Losses),
        ["v1", "status"] => get(method, Route::Status),
        ["v1", "flush"] => post(method, Route::Flush),
        ["v1", "verify"] => get(method, Route::Verify),
        ["v1", "consent"] => match *method {
            Method::GET | Method::HEAD => Route::Consent,
            Method::PUT => Route::SetConsent,
            _ => Route::WrongMethod("GET,HEAD,PUT"),
        },
        ["v1", "identity"] => get(method, Route::Identity),
        ["v1", "identity", "reset"] => post(method, Route::ResetIdentity),
        ["v1", "openapi.json"] => get(method, Route::OpenApi),
        ["metrics"] => get(method, Route::Metrics),
        ["ee", "va", "v1", action] => post(method, Route::Media { hint: None, action }),
        ["ee", hint, "va", "v1", action] => post(method, Route::Media { hint: Some(hint), action }),
        ["ee", "v1", "interact"] => post(method, Route::Interact),
        ["ee", _hint, "v1", "interact"] => post(method, Route::Interact),
        _ => Route::Nowhere,
    }
}

fn get<'p>(method: &Method, route: Route<'p>) -> Route<'p> {
    if matches!(*method, Method::GET | Method::HEAD) { route } else { Route::WrongMethod("GET,HEAD") }
}

fn post<'p>(method: &Method, route: Route<'p>) -> Route<'p> {
    if *method == Method::POST { route } else { Route::WrongMethod("POST") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_and_method_has_its_route() {
        use Route::*;
        let media = |hint, action| Media { hint, action };
        let cases = [
            ("GET", "/v1/sessions", List),
            ("HEAD", "/v1/sessions", List),
            ("POST", "/v1/sessions", Start),
            ("PUT", "/v1/sessions", WrongMethod("GET,HEAD,POST")),
            ("GET", "/v1/sessions/", Nowhere),
            ("GET", "/v1/sessions/a", Detail("a")),
            ("HEAD", "/v1/sessions/a", Detail("a")),
            ("DELETE", "/v1/sessions/a", Discard("a")),
            ("POST", "/v1/sessions/a", WrongMethod("GET,HEAD,DELETE")),
            ("GET", "/v1/sessions/a%2Fb", Detail("a%2Fb")),
            ("GET", "/v1/sessions/events", Detail("events")),
            ("GET", "/v1/sessions/a/", Nowhere),
            ("POST", "/v1/sessions/a/events", Append("a")),
            ("GET", "/v1/sessions/a/events", Recorded("a")),
            ("HEAD", "/v1/sessions/a/events", Recorded("a")),
            ("OPTIONS", "/v1/sessions/a/events", WrongMethod("GET,HEAD,POST")),
            ("POST", "/v1/sessions//events", Append("")),
            ("POST", "/v1/sessions/a/b/events", Nowhere),
            ("POST", "/v1/sessions/a/events/", Nowhere),
            ("POST", "//v1/sessions/a/events", Nowhere),
            ("GET", "/v1/sessions/a/payload", Payload("a")),
            ("POST", "/v1/sessions/a/payload", WrongMethod("GET,HEAD")),
            ("POST", "/v1/sessions/a/complete", Complete("a")),
            ("HEAD", "/v1/sessions/a/complete", WrongMethod("POST")),
            ("POST", "/v1/sessions/a/retry", Retry("a")),
            ("GET", "/v1/sessions/a/b", Nowhere),
            ("GET", "/v1/losses", Losses),
            ("DELETE", "/v1/losses", WrongMethod("GET,HEAD")),
            ("GET", "/v1/status", Status),
            ("GET", "/V1/status", Nowhere),
            ("GET", "/v1/%73tatus", Nowhere),
            ("POST", "/v1/flush", Flush),
            ("GET", "/v1/verify", Verify),
            ("GET", "/v1/consent", Consent),
            ("PUT", "/v1/consent", SetConsent),
            ("POST", "/v1/consent", WrongMethod("GET,HEAD,PUT")),
            ("GET", "/v1/identity", Identity),
            ("POST", "/v1/identity/reset", ResetIdentity),
            ("GET", "/v1/openapi.json", OpenApi),
            ("GET", "/metrics", Metrics),
            ("GET", "/metrics/", Nowhere),
            ("POST", "/ee/va/v1/play", media(None, "play")),
            ("POST", "/ee/va/v1/interact", media(None, "interact")),
            ("POST", "/ee/irl1/va/v1/play", media(Some("irl1"), "play")),
            ("POST", "/ee/va/va/v1/play", media(Some("va"), "play")),
            ("POST", "/ee/v1/va/v1/play", media(Some("v1"), "play")),
            ("POST", "/ee//va/v1/play", media(Some(""), "play")),
            ("GET", "/ee/va/v1/play", WrongMethod("POST")),
            ("POST", "/ee/va/v1/", Nowhere),
            ("POST", "/ee/va/v1/play/now", Nowhere),
            ("POST", "/ee/v1/interact", Interact),
            ("POST", "/ee/irl1/v1/interact", Interact),
            ("POST", "/ee/v1/v1/interact", Interact),
            ("POST", "/ee//v1/interact", Interact),
            ("GET", "/ee/v1/interact", WrongMethod("POST")),
            ("GET", "/", Nowhere),
            ("GET", "", Nowhere),
            ("OPTIONS", "*", Nowhere),
            ("GET", "v1/status", Nowhere),
            ("GET", "/a/b/c/d/e/f/g", Nowhere),
        ];
        for (method, path, expected) in cases {
            assert_eq!(find(&method.parse().unwrap(), path), expected, "{method} {path}");
        }
    }
}
