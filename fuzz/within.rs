//! What libFuzzer cannot tell: its own limit of time counts in seconds.

use std::sync::Mutex;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The longest that one input may take, by the processor's clock. As shipped it is 100 ms, to which `cargo test --release
/// --test fuzz` holds the kept corpus; here the sanitizer, the counters of coverage and the assertions make everything
/// several times as slow, some inputs over ten times. A failure counts if the other has it too.
const MOST: Duration = Duration::from_millis(400);

/// The slowest so far, from where it is worth a line.
static SLOWEST: Mutex<Duration> = Mutex::new(Duration::from_millis(10));

fn spent() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Runs a target and panics if it took too long.
pub fn time(target: fn(&[u8]), data: &[u8]) {
    let begun = spent();
    target(data);
    let took = spent() - begun;
    let mut slowest = SLOWEST.lock().expect("a panic ends the process");
    if took > *slowest {
        *slowest = took;
        eprintln!("slowest: {} bytes took {took:?}", data.len());
    }
    assert!(took <= MOST, "{} bytes took {took:?}", data.len());
}
