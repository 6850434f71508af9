//! The `afterplay` binary: parse, run, exit code.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match afterplay::cli::Cli::try_parse() {
        Ok(cli) => ExitCode::from(afterplay::commands::dispatch(cli)),
        Err(error) => {
            // Help goes to stdout and wrong usage to stderr; a closed pipe is nobody's mistake.
            let _ = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
        }
    }
}
