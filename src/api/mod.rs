//! The local API: one router, two faces, one journal (product section 4).

mod body;
mod bulk;
mod caller;
mod connection;
mod edge;
mod native;
mod problem;
mod share;
mod status;

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use tokio::sync::watch;

use self::caller::Gate;
use self::problem::ApiError;
use crate::clock::{Clock, Reading};
use crate::config::Config;
use crate::journal::Journal;
use crate::link::LinkState;
use crate::upload::Uploader;

pub use self::caller::WEB_UID;
pub use self::connection::{Caps, Listener, serve};
pub use self::share::Shares;

/// What requests are answered from.
#[derive(Debug)]
pub struct Api {
    /// The journal.
    pub journal: Journal,
    /// The uploader.
    pub uploader: Uploader,
    /// What is believed about the way to the endpoint.
    pub link: watch::Receiver<LinkState>,
    /// The present configuration.
    pub config: watch::Receiver<Arc<Config>>,
    /// The clock.
    pub clock: Clock,
    /// When the service started.
    pub started: Reading,
    /// What each user may take.
    pub shares: Shares,
}

/// The router behind the Unix socket.
pub fn router(api: Arc<Api>) -> Router {
    Router::new()
        .route("/v1/sessions", get(native::list).post(native::start))
        .route("/v1/sessions/{key}", get(native::detail).delete(native::discard))
        .route("/v1/sessions/{key}/events", get(native::recorded).post(native::events))
        .route("/v1/sessions/{key}/payload", get(native::payload_of))
        .route("/v1/sessions/{key}/complete", post(native::complete))
        .route("/v1/sessions/{key}/retry", post(native::retry))
        .route("/v1/status", get(native::status))
        .route("/v1/flush", post(native::flush))
        .route("/v1/verify", get(native::verify))
        .route("/v1/consent", get(native::consent).put(native::set_consent))
        .route("/v1/identity", get(native::identity))
        .route("/v1/identity/reset", post(native::reset_identity))
        .route("/v1/openapi.json", get(native::openapi))
        .route("/metrics", get(native::openmetrics))
        .route("/ee/va/v1/{action}", post(edge::media))
        .route("/ee/{hint}/va/v1/{action}", post(edge::media))
        .route("/ee/v1/interact", post(edge::interact))
        .route("/ee/{hint}/v1/interact", post(edge::interact))
        .fallback(nowhere)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(api.clone(), body::receive))
        .layer(Extension(Arc::new(bulk::Turns::default())))
        .with_state(api)
}

/// The router behind loopback TCP: the same, once the caller is known.
pub fn web_router(api: Arc<Api>, address: SocketAddr, token: String) -> Router {
    let gate = Gate { address, token };
    router(api.clone()).layer(middleware::from_fn_with_state((api, gate), caller::guard))
}

/// Reads a body as both faces do, without a service behind them, and says whether any of them would record it.
#[doc(hidden)]
pub fn decode(content_type: &'static str, body: &bytes::Bytes) -> bool {
    let mut headers = axum::http::HeaderMap::new();
    headers.insert(axum::http::header::CONTENT_TYPE, axum::http::HeaderValue::from_static(content_type));
    let native = at_once(body::events(&headers, body)).is_ok();
    at_once(edge::decode(body)) || native
}

/// Runs to its end what only gives way to others.
fn at_once<F: Future>(work: F) -> F::Output {
    let mut work = std::pin::pin!(work);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(done) = work.as_mut().poll(&mut context) {
            return done;
        }
    }
}

async fn nowhere() -> Response {
    ApiError::new(
        404,
        "not_found",
        "There is nothing at this path. GET /v1/openapi.json lists what there is.",
    )
    .into_response()
}

async fn wrong_method() -> Response {
    ApiError::new(
        405,
        "not_allowed",
        "This path has no such method. GET /v1/openapi.json lists what there is.",
    )
    .into_response()
}
