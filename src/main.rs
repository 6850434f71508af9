//! The `afterplay` binary: parse, run, exit code; and two calls for which there is no safe wrapper.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::dbg_macro
)]

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    afterplay::clock::ask_kernel_with(synchronised);
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    afterplay::memory::give_back_with(trim);
    match afterplay::cli::Cli::try_parse() {
        Ok(cli) => ExitCode::from(afterplay::commands::dispatch(cli)),
        Err(error) => {
            // Help goes to stdout and wrong usage to stderr; a closed pipe is nobody's mistake.
            let _ = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
        }
    }
}

/// Whether something keeps the wall clock right (`adjtimex`, a pure read), and how far off it may be.
#[cfg(target_os = "linux")]
fn synchronised() -> Option<std::time::Duration> {
    // SAFETY: `timex` consists of numbers, for which zero is a value.
    let mut clock: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is valid for the call, and modes 0 asks the kernel for nothing but to fill in what it knows.
    let state = unsafe { libc::adjtimex(&raw mut clock) };
    let kept = (0..libc::TIME_ERROR).contains(&state) && clock.status & libc::STA_UNSYNC == 0;
    kept.then(|| std::time::Duration::from_micros(u64::try_from(clock.maxerror).unwrap_or_default()))
}

/// Has the allocator give back the pages in which nothing is left.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn trim() {
    // SAFETY: it may be called at any time from any thread; what is in use is not touched.
    unsafe { libc::malloc_trim(0) };
}
