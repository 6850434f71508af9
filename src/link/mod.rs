//! What is believed about the way to the endpoint.
//!
//! The kernel rings (a netlink message), the burst is waited out, and two cheap questions are asked: is there a route,
//! and is there a carrier? Only a path that differs is published. Whether the endpoint answers on it is for the
//! uploader to find out and to [report](Monitor::report): nothing is ever sent from here. With nothing happening,
//! nothing runs.

mod belief;
#[cfg(target_os = "linux")]
mod clock_step;
mod monitor;
#[cfg(target_os = "linux")]
mod netlink;
#[cfg(not(target_os = "linux"))]
mod other;
mod path;
#[cfg(target_os = "linux")]
mod worker;

pub use monitor::Monitor;
pub use path::Target;

/// The way to the endpoint, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Link {
    /// No carrier or no route.
    Offline,
    /// Somebody else answers in the endpoint's place.
    Captive,
    /// The endpoint itself answered on this path.
    Online,
    /// There is a path and nothing has been tried on it.
    #[default]
    Unknown,
}

/// What is published to whoever waits for the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkState {
    /// The present belief.
    pub link: Link,
    /// Raised at each change of the path (source addresses, carrier) and at resume, so that a waiter sees a new path
    /// even when the belief stays the same.
    pub path: u64,
}

/// What an upload attempt taught about the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// The endpoint itself answered, whatever it said.
    Answered,
    /// Something else answered in its place.
    Captive,
    /// Nobody answered.
    Unreachable,
}
