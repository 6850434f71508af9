//! The doorbell where there is no netlink: address changes of the interfaces, heard by a kept library.

use super::monitor::Ring;
use std::io;

/// A route that changes while the addresses stay is not heard here.
pub(super) const HEARS_EVERYTHING: bool = false;

/// Rings until it is dropped.
pub(super) struct Doorbell {
    _watch: netwatcher::WatchHandle,
}

impl Doorbell {
    /// Starts listening.
    pub(super) fn start(ring: impl Fn(Ring) + Send + 'static) -> io::Result<Doorbell> {
        let watch = netwatcher::watch_interfaces_with_callback(move |update| {
            if !update.is_initial {
                ring(Ring::Changed);
            }
        })
        .map_err(io::Error::other)?;
        Ok(Doorbell { _watch: watch })
    }
}

/// Whether the error says that listening is forbidden. The library does not tell, and a monitor that cannot hear is
/// better than none.
pub(super) fn denied(_: &io::Error) -> bool {
    true
}

/// What happened to the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {}

/// Nothing tells of clock steps here.
pub(super) struct ClockWatch;

impl ClockWatch {
    /// Has nothing to start.
    pub(super) fn start(_: impl Fn(Step) + Send + 'static) -> io::Result<ClockWatch> {
        Ok(ClockWatch)
    }
}
