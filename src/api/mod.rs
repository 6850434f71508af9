//! The local API: one router, two faces, one journal (product section 4).

mod answer;
mod bare;
mod body;
mod bulk;
mod caller;
mod connection;
mod edge;
mod local;
mod native;
mod problem;
mod route;
mod router;
mod share;
mod standing;
mod status;

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use tokio::sync::watch;

use self::caller::Gate;
use crate::clock::{Clock, Reading};
use crate::config::Config;
use crate::journal::Journal;
use crate::link::LinkState;
use crate::upload::Uploader;

pub use self::caller::WEB_UID;
pub use self::connection::{Listener, serve};
pub use self::router::Router;
pub use self::share::Shares;
pub use self::standing::Caps;

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
    Router::new(api, None)
}

/// The router behind loopback TCP: the same, once the caller is known.
pub fn web_router(api: Arc<Api>, address: SocketAddr, token: String) -> Router {
    Router::new(api, Some(Gate { address, token }))
}

/// Reads a body as both faces do, without a service behind them, and says whether any of them would record it.
#[doc(hidden)]
pub fn decode(content_type: &'static str, body: &bytes::Bytes) -> bool {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
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
