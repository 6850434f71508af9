//! What libFuzzer cannot tell: its own limit of time counts in seconds.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The longest that one input may take, by the processor's clock.
const MOST: Duration = Duration::from_millis(100);

fn spent() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Runs a target and panics if it took too long.
pub fn time(target: fn(&[u8]), data: &[u8]) {
    let begun = spent();
    target(data);
    let took = spent() - begun;
    assert!(took <= MOST, "{} bytes took {took:?}", data.len());
}
