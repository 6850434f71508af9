//! The way of one request: who calls, at what pace, with what body, and which answer that gets.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_LENGTH, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode};

use super::answer::{Body, Response, empty};
use super::bulk::Turns;
use super::caller::{Gate, tell_browser};
use super::problem::ApiError;
use super::route::{Route, find};
use super::share::{Held, REFUSAL_DELAY};
use super::standing::Activity;
use super::{Api, body, edge, native};
use crate::journal::Scope;

/// What answers the requests of one listener.
#[derive(Debug)]
pub struct Router {
    api: Arc<Api>,
    turns: Turns,
    /// What callers have to pass whom the kernel does not name.
    gate: Option<Gate>,
}

/// A request that was let in, and its body or why it was not taken in.
pub(super) struct Call<'r> {
    pub(super) api: &'r Api,
    pub(super) turns: &'r Turns,
    pub(super) scope: Scope,
    pub(super) headers: &'r HeaderMap,
    pub(super) body: Result<Bytes, ApiError>,
    query: &'r str,
}

impl<'r> Call<'r> {
    /// A parameter of the query; of several with this name the last.
    pub(super) fn parameter(&self, name: &str) -> Option<Cow<'r, str>> {
        let of_name = form_urlencoded::parse(self.query.as_bytes()).filter(|(given, _)| given == name);
        of_name.last().map(|(_, value)| value)
    }
}

impl Router {
    pub(super) fn new(api: Arc<Api>, gate: Option<Gate>) -> Router {
        Router { api, turns: Turns::default(), gate }
    }

    /// Answers a request of a peer, and tells its connection when work on it begins.
    pub(super) async fn answer(
        &self,
        peer: Scope,
        request: Request<Incoming>,
        activity: &Activity,
    ) -> Response {
        let (head, body) = request.into_parts();
        let route = find(&head.method, head.uri.path());
        let mut response = match &self.gate {
            None => self.receive(peer, &head, body, route, activity).await,
            Some(gate) => self.guard(gate, peer, &head, body, route, activity).await,
        };
        if let Route::WrongMethod(allowed) = route {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
        }
        if head.method == Method::HEAD {
            let length = response.body().len();
            response.headers_mut().insert(CONTENT_LENGTH, length.into());
            *response.body_mut() = Body::default();
        }
        response
    }

    /// Lets in who may call over loopback TCP, and tells browsers so.
    async fn guard(
        &self,
        gate: &Gate,
        peer: Scope,
        head: &Parts,
        body: Incoming,
        route: Route<'_>,
        activity: &Activity,
    ) -> Response {
        let config = self.api.config.borrow().clone();
        let origin = match gate.admit(&head.uri, &head.headers, &config.api.origins) {
            Ok(origin) => origin,
            Err(refused) => {
                // These never get as far as the pace of requests.
                tokio::time::sleep(REFUSAL_DELAY).await;
                return refused.into_response();
            }
        };
        let preflight = origin.is_some() && head.method == Method::OPTIONS;
        let mut response = if preflight {
            empty(StatusCode::NO_CONTENT)
        } else {
            self.receive(peer, head, body, route, activity).await
        };
        if let Some(origin) = origin {
            tell_browser(response.headers_mut(), origin, preflight);
        }
        response
    }

    /// Lets a request in at its user's pace, and takes its body in before anything else is answered: a refusal that
    /// leaves part of it unread ends the connection.
    async fn receive(
        &self,
        scope: Scope,
        head: &Parts,
        body: Incoming,
        route: Route<'_>,
        activity: &Activity,
    ) -> Response {
        let api = &*self.api;
        let refuse = |error: ApiError| {
            if edge::is_edge(head.uri.path()) { edge::refuse(error) } else { error.into_response() }
        };
        let per_second = api.config.borrow().api.max_requests_per_user;
        if !api.shares.admit(scope, per_second) {
            tokio::time::sleep(REFUSAL_DELAY).await;
            return refuse(ApiError::busy(format!(
                "This user makes more than {per_second} requests a second while others use the service too."
            )));
        }
        // Held until there is an answer.
        let mut held = Held::default();
        let body = body::read(body, body::waits(head), &mut held, &api.shares, scope.uid).await;
        let bytes = body.as_ref().map_or(0, Bytes::len);
        let _effort =
            match if is_costly(&head.method, bytes) { api.shares.costly(scope).await } else { Ok(None) } {
                Ok(effort) => effort,
                Err(error) => return refuse(error),
            };
        // Held until there is an answer. A request without a body takes turns elsewhere, if it has to.
        let _lane = if bytes > 0 { api.shares.body(scope.uid, bytes).await } else { None };
        activity.is_at_work();
        let query = head.uri.query().unwrap_or_default();
        let call = Call { api, turns: &self.turns, scope, headers: &head.headers, body, query };
        dispatch(call, route).await
    }
}

/// Whether a request with a body of so many bytes may take much time. What a HEAD asks for is worked out as for a GET.
fn is_costly(method: &Method, bytes: usize) -> bool {
    bytes > body::LARGE || matches!(*method, Method::GET | Method::HEAD)
}

/// Answers a request that was let in.
async fn dispatch(call: Call<'_>, route: Route<'_>) -> Response {
    let answered = match route {
        Route::Append(key) => native::events(call, key).await,
        Route::Start => native::start(call).await,
        Route::List => native::list(call).await,
        Route::Detail(key) => native::detail(call, key).await,
        Route::Discard(key) => native::discard(call, key).await,
        Route::Recorded(key) => native::recorded(call, key).await,
        Route::Payload(key) => native::payload_of(call, key).await,
        Route::Complete(key) => native::complete(call, key).await,
        Route::Retry(key) => native::retry(call, key).await,
        Route::Losses => native::losses(call).await,
        Route::Status => native::status(call).await,
        Route::Flush => native::flush(call).await,
        Route::Verify => native::verify(call).await,
        Route::Consent => Ok(native::consent(&call)),
        Route::SetConsent => native::set_consent(call).await,
        Route::Identity => native::identity(call).await,
        Route::ResetIdentity => native::reset_identity(call).await,
        Route::OpenApi => Ok(native::openapi()),
        Route::Metrics => native::openmetrics(call).await,
        Route::Media { hint, action } => return edge::media(call, hint, action).await,
        Route::Interact => return edge::interact(call).await,
        Route::WrongMethod(_) => Err(ApiError::new(
            405,
            "not_allowed",
            "This path has no such method. GET /v1/openapi.json lists what there is.",
        )),
        Route::Nowhere => Err(ApiError::new(
            404,
            "not_found",
            "There is nothing at this path. GET /v1/openapi.json lists what there is.",
        )),
    };
    answered.unwrap_or_else(ApiError::into_response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_asks_and_what_is_large_is_costly() {
        for (method, bytes, costly) in [
            (Method::GET, 0, true),
            (Method::HEAD, 0, true),
            (Method::POST, 0, false),
            (Method::POST, body::LARGE, false),
            (Method::POST, body::LARGE + 1, true),
            (Method::PUT, 10, false),
            (Method::DELETE, 0, false),
        ] {
            assert_eq!(is_costly(&method, bytes), costly, "{method} with {bytes} bytes");
        }
    }
}
