//! The command line: clap types only, from arguments to a [`Command`].

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the service is not running, 78 the configuration is invalid.

Start with `afterplay demo`: it shows the whole story and needs no set-up.";

/// Keeps media tracking sessions while the device is offline and uploads them when it is back.
///
/// Players hand their events to a background service over a local socket. The service keeps them in a journal and
/// uploads each finished media session in one piece to Adobe's Media Edge API.
#[derive(Debug, Parser)]
#[command(name = "afterplay", version, after_help = EXIT_CODES, max_term_width = 100)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Default, Args)]
pub struct Global {
    /// Configuration file to read instead of the usual one
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
}

/// One command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the service in the foreground
    #[command(after_help = "\
SIGTERM finishes what is under way and stops, a second one stops at once; SIGHUP reads the configuration again.

Examples:
  afterplay run
  afterplay run --config ./afterplay.toml")]
    Run,
    /// Show the whole story in a temporary folder: record offline, come back online, deliver
    Demo,
    /// Run a stand-in for Adobe's endpoint that checks and keeps what it receives
    #[command(after_help = "\
A script is a list of answers, `x` repeats one; after the last, requests are checked and answered 200:
  503x2    twice status 503           429:30       status 429 with Retry-After: 30
  207:refused  a refused session      hang         no answer at all

Examples:
  afterplay sandbox --listen 127.0.0.1:8080 --save ./payloads
  afterplay sandbox --listen 127.0.0.1:8080 --answer 503x2,429:30,200")]
    Sandbox(SandboxArgs),
    /// Record events: JSON lines on standard input, one answer a line on standard output
    #[command(after_help = "\
Without --session each media.sessionStart opens a new session and the events after it go there.
A refused event is answered with a problem; the rest is still recorded and the exit code is 1.

Examples:
  my-player | afterplay record
  afterplay record --session living-room-0042 < events.jsonl")]
    Record(RecordArgs),
    /// Journal `downloaded` request bodies as completed sessions
    #[command(after_help = "\
Examples:
  afterplay import episode.json film.json
  afterplay payload living-room-0042 | ssh box afterplay import -")]
    Import(ImportArgs),
    /// Show link, uploader, sessions, journal, losses, consent and clock
    #[command(after_help = "\
Examples:
  afterplay status
  afterplay status --watch
  afterplay status --json | jq .sessions")]
    Status(StatusArgs),
    /// List sessions, newest first
    #[command(after_help = "\
Examples:
  afterplay sessions
  afterplay sessions --state quarantined --json")]
    Sessions(SessionsArgs),
    /// List what was acknowledged and lost, newest first, and why
    #[command(after_help = "\
Examples:
  afterplay losses
  afterplay losses --json")]
    Losses(LossesArgs),
    /// Show one session with its timeline and its upload attempts
    #[command(after_help = "\
Example:
  afterplay show living-room-0042")]
    Show(ShowArgs),
    /// Print the exact request body of a session
    #[command(after_help = "\
Example:
  afterplay payload living-room-0042 | jq .")]
    Payload(PayloadArgs),
    /// Try to upload now and wait for the end
    #[command(after_help = "\
Exits with 0 when everything was delivered, with 1 and the reason when the uploader stopped before.")]
    Flush(FlushArgs),
    /// Send quarantined sessions again
    #[command(after_help = "\
Examples:
  afterplay retry living-room-0042
  afterplay retry --all")]
    Retry(RetryArgs),
    /// Drop sessions for good; each is counted as a loss named `discarded`
    #[command(after_help = "\
This asks nothing and cannot be undone. To look first: afterplay show KEY

Example:
  afterplay discard living-room-0042")]
    Discard(DiscardArgs),
    /// Show or set the consent
    #[command(after_help = "\
  in        record and upload
  pending   record and hold back
  out       erase everything that is stored and refuse more

Examples:
  afterplay consent
  afterplay consent out")]
    Consent(ConsentArgs),
    /// Show or replace the identity that new sessions are recorded under
    #[command(after_help = "\
Sessions that are already recorded keep the identity they started with.

Examples:
  afterplay identity
  afterplay identity --reset")]
    Identity(IdentityArgs),
    /// Say what is wrong with the configuration, the journal or the way to the endpoint
    #[command(after_help = "\
Examples:
  afterplay check
  afterplay check --config ./afterplay.toml")]
    Check(CheckArgs),
    /// Read the whole journal, check every checksum and number, and say what is wrong; changes nothing
    #[command(after_help = "\
Asks the service when it runs, else reads a copy of the journal.

Examples:
  afterplay verify
  afterplay verify --json")]
    Verify(VerifyArgs),
    /// Print a completion script for a shell
    #[command(after_help = "\
Examples:
  afterplay completions bash > /usr/share/bash-completion/completions/afterplay
  afterplay completions fish > ~/.config/fish/completions/afterplay.fish")]
    Completions(CompletionsArgs),
    /// Print the manual page, or write one for every command into a folder
    #[command(after_help = "\
Examples:
  afterplay man | man -l -
  afterplay man --dir /usr/share/man/man1")]
    Man(ManArgs),
}

/// `afterplay sandbox`
#[derive(Debug, Args)]
pub struct SandboxArgs {
    /// Address and port to listen on, for example 127.0.0.1:8080
    #[arg(long, value_name = "ADDR")]
    pub listen: SocketAddr,
    /// Folder to keep the received bodies in; it is made when missing
    #[arg(long, value_name = "DIR")]
    pub save: Option<PathBuf>,
    /// Answers to play, for example 503x2,429:30,207:refused,hang,200
    #[arg(long, value_name = "SCRIPT")]
    pub answer: Option<String>,
}

/// `afterplay record`
#[derive(Debug, Args)]
pub struct RecordArgs {
    /// Record everything under this key
    #[arg(long, value_name = "KEY", value_parser = NonEmptyStringValueParser::new())]
    pub session: Option<String>,
}

/// `afterplay import`
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Files with one `downloaded` request body each; `-` reads standard input
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Print one JSON object a session instead of text
    #[arg(long)]
    pub json: bool,
}

/// `afterplay status`
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Print the service's own answer
    #[arg(long)]
    pub json: bool,
    /// Stay and redraw each second; into a pipe, print a line at each change
    #[arg(long)]
    pub watch: bool,
}

/// `afterplay sessions`
#[derive(Debug, Args)]
pub struct SessionsArgs {
    /// Only the sessions in this state
    #[arg(long, value_name = "STATE")]
    pub state: Option<SessionState>,
    /// Print the service's own answer, all pages in one
    #[arg(long)]
    pub json: bool,
}

/// `afterplay losses`
#[derive(Debug, Args)]
pub struct LossesArgs {
    /// Print the service's own answer, all pages in one
    #[arg(long)]
    pub json: bool,
}

/// `afterplay show`
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Key of the session
    #[arg(value_name = "KEY", value_parser = NonEmptyStringValueParser::new())]
    pub key: String,
    /// Whose session is meant, by uid; administrators may name any user
    #[arg(long, value_name = "UID")]
    pub owner: Option<u32>,
    /// Print the service's own answer
    #[arg(long)]
    pub json: bool,
}

/// `afterplay payload`
#[derive(Debug, Args)]
pub struct PayloadArgs {
    /// Key of the session
    #[arg(value_name = "KEY", value_parser = NonEmptyStringValueParser::new())]
    pub key: String,
    /// Whose session is meant, by uid; administrators may name any user
    #[arg(long, value_name = "UID")]
    pub owner: Option<u32>,
}

/// `afterplay flush`
#[derive(Debug, Args)]
pub struct FlushArgs {
    /// Print the service's status at the end instead of the progress
    #[arg(long)]
    pub json: bool,
}

/// `afterplay retry`
#[derive(Debug, Args)]
pub struct RetryArgs {
    /// Keys of quarantined sessions
    #[arg(value_name = "KEY", required_unless_present = "all", value_parser = NonEmptyStringValueParser::new())]
    pub keys: Vec<String>,
    /// Every quarantined session
    #[arg(long, conflicts_with = "keys")]
    pub all: bool,
    /// Whose sessions are meant, by uid; administrators may name any user
    #[arg(long, value_name = "UID")]
    pub owner: Option<u32>,
    /// Print the service's answers, one JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// `afterplay discard`
#[derive(Debug, Args)]
pub struct DiscardArgs {
    /// Keys of the sessions to drop
    #[arg(value_name = "KEY", required = true, value_parser = NonEmptyStringValueParser::new())]
    pub keys: Vec<String>,
    /// Whose sessions are meant, by uid; administrators may name any user
    #[arg(long, value_name = "UID")]
    pub owner: Option<u32>,
    /// Print what was dropped, one JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// `afterplay consent`
#[derive(Debug, Args)]
pub struct ConsentArgs {
    /// The new consent; without it the present one is shown
    #[arg(value_name = "CONSENT")]
    pub consent: Option<ConsentChoice>,
    /// Print the service's own answer
    #[arg(long)]
    pub json: bool,
}

/// `afterplay identity`
#[derive(Debug, Args)]
pub struct IdentityArgs {
    /// Make a new device identity for the sessions to come
    #[arg(long)]
    pub reset: bool,
    /// Print the service's own answer
    #[arg(long)]
    pub json: bool,
}

/// `afterplay check`
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Print the findings as JSON
    #[arg(long)]
    pub json: bool,
}

/// `afterplay verify`
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Print what was found as JSON
    #[arg(long)]
    pub json: bool,
}

/// `afterplay completions`
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

/// `afterplay man`
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Write a page for every command into this folder; it is made when missing
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// What a user has agreed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ConsentChoice {
    /// Record and upload
    In,
    /// Erase everything that is stored and refuse more
    Out,
    /// Record and hold back
    Pending,
}

impl ConsentChoice {
    /// The word on the wire.
    pub fn word(self) -> &'static str {
        match self {
            ConsentChoice::In => "in",
            ConsentChoice::Out => "out",
            ConsentChoice::Pending => "pending",
        }
    }
}

/// The state of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SessionState {
    /// Events can still be added
    Open,
    /// Finished, ready to upload
    Completed,
    /// The endpoint confirmed it
    Delivered,
    /// Refused for a reason of its own; kept until a person decides
    Quarantined,
}

impl SessionState {
    /// The word on the wire.
    pub fn word(self) -> &'static str {
        match self {
            SessionState::Open => "open",
            SessionState::Completed => "completed",
            SessionState::Delivered => "delivered",
            SessionState::Quarantined => "quarantined",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_is_accepted_and_what_is_wrong_usage() {
        let cases: &[(&[&str], Option<i32>)] = &[
            (&["run"], None),
            (&["run", "--config", "x.toml"], None),
            (&["--config", "x.toml", "status", "--json"], None),
            (&["sandbox", "--listen", "127.0.0.1:0"], None),
            (&["sandbox"], Some(2)),
            (&["sandbox", "--listen", "here"], Some(2)),
            (&["record", "--session", "k"], None),
            (&["record", "--session", ""], Some(2)),
            (&["import"], Some(2)),
            (&["import", "-"], None),
            (&["sessions", "--state", "quarantined"], None),
            (&["sessions", "--state", "sending"], Some(2)),
            (&["show"], Some(2)),
            (&["retry"], Some(2)),
            (&["retry", "--all"], None),
            (&["retry", "--all", "k"], Some(2)),
            (&["retry", "a", "b"], None),
            (&["retry", "--all", "--owner", "1000"], None),
            (&["show", "k", "--owner", "anna"], Some(2)),
            (&["discard"], Some(2)),
            (&["consent"], None),
            (&["consent", "out"], None),
            (&["consent", "maybe"], Some(2)),
            (&["identity", "--reset"], None),
            (&["completions", "bash"], None),
            (&["man", "--dir", "x"], None),
            (&["--help"], Some(0)),
            (&["--version"], Some(0)),
            (&[], Some(2)),
        ];
        for (args, expected) in cases {
            let line = std::iter::once("afterplay").chain(args.iter().copied());
            let got = Cli::try_parse_from(line).err().map(|error| error.exit_code());
            assert_eq!(got, *expected, "{args:?}");
        }
    }

    #[test]
    fn every_command_and_argument_explains_itself() {
        fn walk(command: &clap::Command) {
            assert!(command.get_about().is_some(), "{} has no help", command.get_name());
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
            }
            command.get_subcommands().for_each(walk);
        }
        walk(&Cli::command());
    }

    #[test]
    fn reading_commands_speak_json() {
        let command = Cli::command();
        for name in [
            "status", "sessions", "losses", "show", "flush", "retry", "discard", "consent", "identity",
            "check",
        ] {
            let sub = command.find_subcommand(name).unwrap();
            assert!(sub.get_arguments().any(|argument| argument.get_id() == "json"), "{name}");
        }
    }
}
