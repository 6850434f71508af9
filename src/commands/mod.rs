//! The commands: one file a family, each a conversation with the service through [`Client`].

mod check;
mod demo;
mod flush;
mod import;
mod layout;
mod log;
mod losses;
mod manage;
mod model;
mod pages;
mod payload;
mod record;
mod run;
mod sandbox;
mod scripts;
mod sessions;
mod show;
mod status;
pub mod style;
pub mod text;
pub mod timeline;
mod verify;

#[cfg(test)]
pub(crate) mod fake;

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use jiff::tz::TimeZone;
use tokio::io::{AsyncBufRead, BufReader};

use crate::cli::{Cli, Command, Global};
use crate::client::{Client, ClientError};
use crate::clock::Clock;
use crate::config;
use style::Style;

/// How long a blocked helper thread, such as one that reads a terminal or asks a name server, may hold up the end.
const PATIENCE_AT_END: Duration = Duration::from_millis(500);

/// Columns that everything fits when nobody says how wide the screen is.
const COLUMNS: usize = 80;

/// Where a command reads, writes and looks at the clock.
pub struct Screen<'a> {
    /// What was asked for.
    pub out: &'a mut dyn Write,
    /// Errors and progress.
    pub err: &'a mut dyn Write,
    /// Standard input.
    pub input: &'a mut (dyn AsyncBufRead + Unpin),
    /// `out` is a terminal.
    pub live: bool,
    /// `err` is a terminal.
    pub err_live: bool,
    /// Colour on `out`.
    pub style: Style,
    /// Columns to fit into.
    pub width: usize,
    /// Where times are shown.
    pub zone: LazyLock<TimeZone>,
    /// The wall clock in milliseconds since 1970.
    pub now_ms: fn() -> i64,
}

impl Screen<'_> {
    /// One line on `out`.
    fn line(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.write_all(b"\n")
    }

    /// A message about trouble on `err`, in the form of every other one.
    fn complain(&mut self, text: &str) {
        // Where even standard error is closed there is nobody left to tell.
        let text = log::complaint(&format!("afterplay: {}", text::visible_lines(text)));
        let _ = self.err.write_all(text.as_bytes());
    }
}

/// Why a command ends with another code than 0, and what it says about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExitError {
    /// The exit code.
    pub code: u8,
    /// What to print; nothing where it has been said already.
    pub message: Option<String>,
}

impl ExitError {
    /// Failed: exit code 1.
    pub fn failed(message: impl Into<String>) -> ExitError {
        ExitError { code: 1, message: Some(message.into()) }
    }

    /// The configuration is invalid: exit code 78.
    pub fn config(message: impl Into<String>) -> ExitError {
        ExitError { code: 78, message: Some(message.into()) }
    }

    /// Everything has been said.
    pub fn quiet(code: u8) -> ExitError {
        ExitError { code, message: None }
    }
}

impl From<ClientError> for ExitError {
    fn from(error: ClientError) -> ExitError {
        let code = if matches!(error, ClientError::NotRunning { .. }) { 3 } else { 1 };
        ExitError { code, message: Some(error.to_string()) }
    }
}

/// Errors of writing the output. A reader that has seen enough, such as `head`, is no failure.
impl From<io::Error> for ExitError {
    fn from(error: io::Error) -> ExitError {
        match error.kind() {
            io::ErrorKind::BrokenPipe => ExitError::quiet(0),
            _ => ExitError::failed(format!("cannot write the output: {error}")),
        }
    }
}

/// Does what the command line says and returns the exit code.
pub fn dispatch(cli: Cli) -> u8 {
    let (stdout, stderr) = (io::stdout(), io::stderr());
    let var = |name| std::env::var_os(name);
    let live = stdout.is_terminal();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = writeln!(io::stderr(), "afterplay: cannot start: {error}");
            return 1;
        }
    };
    let code = runtime.block_on(async {
        let mut screen = Screen {
            style: Style::for_stream(live, var("NO_COLOR").as_deref(), var("TERM").as_deref()),
            width: columns(std::env::var("COLUMNS").ok().as_deref().or(window_width().as_deref())),
            live,
            err_live: stderr.is_terminal(),
            out: &mut stdout.lock(),
            err: &mut io::stderr(),
            input: &mut BufReader::new(tokio::io::stdin()),
            zone: LazyLock::new(|| TimeZone::try_system().unwrap_or(TimeZone::UTC)),
            now_ms,
        };
        let result = perform(cli, &mut screen).await;
        conclude(result, &mut screen)
    });
    runtime.shutdown_timeout(PATIENCE_AT_END);
    code
}

/// Runs one command on `screen`.
pub async fn perform(cli: Cli, screen: &mut Screen<'_>) -> Result<(), ExitError> {
    let global = &cli.global;
    match &cli.command {
        Command::Run => run::run(global, screen).await,
        Command::Demo => demo::demo(global, screen).await,
        Command::Sandbox(args) => sandbox::sandbox(args, screen).await,
        Command::Check(args) => check::check(global, args, screen).await,
        Command::Verify(args) => verify::verify(global, args, screen).await,
        Command::Completions(args) => scripts::completions(args, screen),
        Command::Man(args) => scripts::man(args, screen),
        command => converse(&mut Client::new(socket_of(global)?), command, screen).await,
    }
}

/// Runs a command that is a conversation with the service.
async fn converse(client: &mut Client, command: &Command, screen: &mut Screen<'_>) -> Result<(), ExitError> {
    match command {
        Command::Record(args) => record::record(client, args, screen).await,
        Command::Import(args) => import::import(client, args, screen).await,
        Command::Status(args) => status::status(client, args, screen).await,
        Command::Sessions(args) => sessions::sessions(client, args, screen).await,
        Command::Losses(args) => losses::losses(client, args, screen).await,
        Command::Show(args) => show::show(client, args, screen).await,
        Command::Payload(args) => payload::payload(client, args, screen).await,
        Command::Flush(args) => flush::flush(client, args, screen).await,
        Command::Retry(args) => manage::retry(client, args, screen).await,
        Command::Discard(args) => manage::discard(client, args, screen).await,
        Command::Consent(args) => manage::consent(client, args, screen).await,
        Command::Identity(args) => manage::identity(client, args, screen).await,
        Command::Run
        | Command::Demo
        | Command::Sandbox(_)
        | Command::Check(_)
        | Command::Verify(_)
        | Command::Completions(_)
        | Command::Man(_) => Ok(()),
    }
}

/// Flushes, says what went wrong and returns the exit code.
fn conclude(result: Result<(), ExitError>, screen: &mut Screen<'_>) -> u8 {
    let flushed = screen.out.flush().map_err(ExitError::from);
    match result.and(flushed) {
        Ok(()) => 0,
        Err(error) => {
            if let Some(message) = &error.message {
                screen.complain(message);
            }
            error.code
        }
    }
}

/// Where the service's socket is.
fn socket_of(global: &Global) -> Result<PathBuf, ExitError> {
    Ok(load_config(global)?.client_socket(config::socket_exists))
}

/// Reads the configuration that the command line and the environment point to.
fn load_config(global: &Global) -> Result<config::Loaded, ExitError> {
    config::load(global.config.as_deref(), &config::Surroundings::of_process())
        .map_err(|error| ExitError::config(error.to_string()))
}

/// The present time as the service knows it, which on a machine without a clock is not what the wall clock says.
async fn now_by_service(client: &mut Client, screen: &Screen<'_>) -> i64 {
    let wall_ms = (screen.now_ms)();
    // Ages are no reason to fail.
    let status: Result<model::Status, _> = client.get("/v1/status").await;
    status.map_or(wall_ms, |status| status.now_ms(wall_ms))
}

/// The wall clock, for ages on the screen.
fn now_ms() -> i64 {
    Clock::System.now().wall_ms
}

/// Columns of the terminal on standard output, as text.
fn window_width() -> Option<String> {
    let size = rustix::termios::tcgetwinsize(rustix::stdio::stdout()).ok()?;
    (size.ws_col > 0).then(|| size.ws_col.to_string())
}

/// Columns of the screen by the value of `COLUMNS`, within what the layouts can do.
fn columns(value: Option<&str>) -> usize {
    value.and_then(|value| value.trim().parse().ok()).map_or(COLUMNS, |columns: usize| columns.clamp(60, 200))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn errors_become_exit_codes() {
        let socket = || PathBuf::from("/run/x.sock");
        let cause = || io::Error::from(io::ErrorKind::NotFound);
        let cases = [
            (ClientError::NotRunning { socket: socket(), cause: cause() }, 3),
            (ClientError::Forbidden { socket: socket(), hint: String::from("ask") }, 1),
            (ClientError::Io { socket: socket(), cause: cause() }, 1),
            (ClientError::Unanswered { socket: socket(), maybe_done: true }, 1),
        ];
        for (error, code) in cases {
            assert_eq!(ExitError::from(error).code, code);
        }
        assert_eq!(ExitError::from(io::Error::from(io::ErrorKind::BrokenPipe)), ExitError::quiet(0));
        assert_eq!(ExitError::from(io::Error::from(io::ErrorKind::StorageFull)).code, 1);
    }

    #[test]
    fn not_running_says_how_to_start_it() {
        let error = ClientError::NotRunning {
            socket: PathBuf::from("/run/x.sock"),
            cause: io::ErrorKind::NotFound.into(),
        };
        let message = ExitError::from(error).message.unwrap();
        for part in ["/run/x.sock", "afterplay run", "systemctl start afterplay"] {
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn the_width_comes_from_the_environment_within_reason() {
        for (value, expected) in
            [(None, 80), (Some("100"), 100), (Some("7"), 60), (Some("9999"), 200), (Some("wide"), 80)]
        {
            assert_eq!(columns(value), expected);
        }
    }
}
