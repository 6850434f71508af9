//! The figures that afterplay promises, beside the limit measured in the same run (`docs/performance.md`).
//!
//! `cargo bench --bench figures` prints every row with its goal and keeps them in `target/figures.json`.

mod backlog;
mod client;
mod endpoint;
mod events;
mod limit;
mod process;
mod quiet;
mod rates;
mod redis;
mod report;
mod service;
mod vfs;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

/// Measures afterplay beside the limit.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo bench --bench figures --")]
struct Arguments {
    /// Only rows whose name contains one of these
    rows: Vec<String>,
    /// Milliseconds that each sync takes longer
    #[arg(long, value_name = "MS", default_value_t = 0)]
    delay: u64,
    /// How often each figure is taken; the median counts
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Milliseconds of each load
    #[arg(long, value_name = "MS", default_value_t = 1000)]
    time: u64,
    /// Seconds over which wakeups are counted
    #[arg(long, value_name = "S", default_value_t = 60)]
    quiet: u64,
    /// Divides the million events of the backlog
    #[arg(long, default_value_t = 1)]
    scale: usize,
    /// Where the rows are kept for programs
    #[arg(long, default_value = concat!(env!("CARGO_TARGET_TMPDIR"), "/../figures.json"))]
    json: String,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// How to measure.
struct Options {
    only: Vec<String>,
    delay: Duration,
    rounds: usize,
    time: Duration,
    quiet: Duration,
    scale: usize,
}

impl Options {
    /// Whether a row, or a group of them, was asked for.
    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| name.contains(only.as_str()))
    }
}

fn main() -> ExitCode {
    if let Some(code) = vfs::serve() {
        return ExitCode::from(code);
    }
    let arguments = Arguments::parse();
    let options = Options {
        only: arguments.rows,
        delay: Duration::from_millis(arguments.delay),
        rounds: arguments.rounds.max(1),
        time: Duration::from_millis(arguments.time),
        quiet: Duration::from_secs(arguments.quiet),
        scale: arguments.scale.max(1),
    };
    let mut rows = report::Rows::default();
    if !options.delay.is_zero() {
        vfs::register(options.delay);
    }
    rates::rows(&options, &mut rows);
    if options.delay.is_zero() {
        quiet::rows(&options, &mut rows);
        backlog::rows(&options, &mut rows);
    }
    print!("{}", report::table(&rows));
    report::save(&rows, Path::new(&arguments.json));
    ExitCode::SUCCESS
}
