//! Memory that was needed for a moment, given back to the system.
//!
//! A payload of some megabytes is made of thousands of small pieces. The allocator keeps what they took for the next ones,
//! which on a small box may not come for a day.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// So many bytes are worth the milliseconds that it takes.
const WORTH_IT: usize = 1 << 20;

static HOW: OnceLock<fn()> = OnceLock::new();
static TAKEN: AtomicUsize = AtomicUsize::new(0);

/// Says how memory is given back. The library cannot ask the allocator itself.
pub fn give_back_with(how: fn()) {
    // A second word would be the same.
    let _ = HOW.set(how);
}

/// Notes that so many bytes were worked on.
pub(crate) fn took(bytes: usize) {
    TAKEN.fetch_add(bytes, Ordering::Relaxed);
}

/// Gives back what is free, if it was worth it since the last time.
pub(crate) fn give_back() {
    if TAKEN.load(Ordering::Relaxed) >= WORTH_IT {
        TAKEN.store(0, Ordering::Relaxed);
        if let Some(how) = HOW.get() {
            how();
        }
    }
}
