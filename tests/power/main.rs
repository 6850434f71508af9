//! The journal and a disk that lets it down: power cuts and failing calls.
#![allow(unsafe_code, reason = "a VFS is a table of C functions")]
#![allow(clippy::unwrap_used, reason = "a helper that cannot go on fails the test")]
#![allow(clippy::print_stdout, reason = "the figures are what a long run is for")]

mod alike;
mod disk;
mod errors;
mod image;
mod loss;
mod opened;
mod oracle;
mod sweep;
mod vfs;
mod workloads;

/// How much more than in every commit's run is tried.
fn scale() -> f64 {
    std::env::var("AFTERPLAY_TEST_SCALE").ok().and_then(|scale| scale.parse().ok()).unwrap_or(1.0)
}
