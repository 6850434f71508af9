//! `afterplay run`: the service in the foreground, between signals and systemd.

use std::pin::Pin;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::{ExitError, Screen, load_config, log};
use crate::cli::Global;
use crate::clock::Clock;
use crate::config::{self, Loaded};
use crate::journal::Journal;
use crate::service::{Service, ServiceError};
use crate::upload::{Doing, View};

impl From<ServiceError> for ExitError {
    fn from(error: ServiceError) -> ExitError {
        ExitError::failed(error.to_string())
    }
}

/// Runs the service until it is told to stop.
pub(super) async fn run(global: &Global, screen: &mut Screen<'_>) -> Result<(), ExitError> {
    let loaded = load_config(global)?;
    log::to_stderr(screen);
    let mut signals =
        Signals::new().map_err(|error| ExitError::failed(format!("cannot watch signals: {error}")))?;
    let passed = passed_socket()?;
    let mut service = Service::start(loaded.config.clone(), Clock::System, passed).await?;
    announce(&loaded, &service);
    let mut systemd = Systemd::new(service.view(), service.journal().clone());
    systemd.ready();
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => break,
            _ = signals.interrupt.recv() => break,
            // The journal may take its time; a word to stop does not wait for it.
            _ = signals.hangup.recv() => tokio::select! {
                () = reload(global, &service, &systemd) => {}
                () = signals.again() => break,
            },
            error = service.failed() => return Err(error.into()),
            () = systemd.next() => {}
        }
    }
    tracing::info!("stopping");
    systemd.stopping();
    tokio::select! {
        stopped = service.stop() => Ok(stopped?),
        () = signals.again() => {
            tracing::warn!("stopped at once; the next start makes up for what was under way");
            Ok(())
        }
    }
}

fn announce(loaded: &Loaded, service: &Service) {
    let config = &loaded.config;
    let file = loaded.file.as_ref().map_or("no file, defaults".into(), |file| file.display().to_string());
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        socket = %config.api.socket.display(),
        journal = %config.journal.path.display(),
        configuration = file,
        "ready"
    );
    if let Some(address) = service.web_address() {
        tracing::info!(%address, token = %config.token_file().display(), "listening for web players");
    }
    if config.datastream_id.is_none() {
        tracing::warn!("no datastream_id is configured: sessions are recorded and held back");
    }
}

/// A broken file changes nothing.
async fn reload(global: &Global, service: &Service, systemd: &Systemd) {
    systemd.reloading();
    match config::load(global.config.as_deref(), &config::Surroundings::of_process()) {
        Err(error) => tracing::error!("the configuration was not reloaded, the old one stays: {error}"),
        Ok(loaded) => match service.reload(&loaded.config).await {
            Err(error) => tracing::error!("the configuration was not reloaded: {error}"),
            Ok(reload) => {
                tracing::info!(applied = reload.applied.join(", "), "reloaded the configuration");
                if !reload.needs_restart.is_empty() {
                    let keys = reload.needs_restart.join(", ");
                    tracing::warn!(keys, "these take effect only after a restart");
                }
            }
        },
    }
    systemd.ready();
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    /// Caught and forgotten: a write beyond a limit of file size fails then, and does not end the process.
    #[cfg(target_os = "linux")]
    _too_large: Signal,
}

/// SIGXFSZ, whose number `SignalKind` has no name for.
#[cfg(target_os = "linux")]
const SIGXFSZ: i32 = rustix::process::Signal::XFSZ.as_raw();

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            #[cfg(target_os = "linux")]
            _too_large: signal(SignalKind::from_raw(SIGXFSZ))?,
        })
    }

    /// Waits for a second word to stop.
    async fn again(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// The socket that systemd passed, if it did.
fn passed_socket() -> Result<Option<std::os::unix::net::UnixListener>, ExitError> {
    let mut passed = listenfd::ListenFd::from_env();
    if passed.len() == 0 {
        return Ok(None);
    }
    if passed.len() > 1 {
        tracing::warn!(
            "systemd passed {} sockets: the first is served, nobody answers on the others",
            passed.len()
        );
    }
    passed.take_unix_listener(0).map_err(|error| {
        ExitError::failed(format!("systemd passed something that is no Unix stream socket: {error}"))
    })
}

/// Whether the journal's thread answered.
type Answered = Pin<Box<dyn Future<Output = bool>>>;

/// What the service tells systemd; nothing when systemd did not start it.
struct Systemd {
    view: watch::Receiver<View>,
    journal: Journal,
    watchdog: Option<tokio::time::Interval>,
    /// The watchdog's question to the journal, while it waits for the answer.
    asked: Option<Answered>,
}

impl Systemd {
    fn new(view: watch::Receiver<View>, journal: Journal) -> Systemd {
        let watchdog = watchdog().map(|within| tokio::time::interval(within / 2));
        Systemd { view, journal, watchdog, asked: None }
    }

    /// Waits until there is something to tell, and tells it. May be dropped and called again at any time.
    async fn next(&mut self) {
        let Systemd { view, journal, watchdog, asked } = self;
        tokio::select! {
            answers = pet(watchdog, asked, journal) => if answers {
                notify(&[State::Watchdog]);
            },
            changed = view.changed() => match changed {
                Ok(()) => notify(&[State::Status(&describe(&view.borrow_and_update()))]),
                Err(_) => std::future::pending().await,
            },
        }
    }

    fn ready(&self) {
        notify(&[State::Ready, State::Status(&describe(&self.view.borrow()))]);
    }

    fn reloading(&self) {
        notify(&[State::Status("reloading")]);
    }

    /// The last word: it lets go of the journal.
    fn stopping(self) {
        notify(&[State::Stopping, State::Status("stopping")]);
    }
}

/// The watchdog is petted only when the journal's thread answers: that is where all work goes through.
async fn pet(
    watchdog: &mut Option<tokio::time::Interval>,
    asked: &mut Option<Answered>,
    journal: &Journal,
) -> bool {
    let Some(interval) = watchdog else { return std::future::pending().await };
    if asked.is_none() {
        interval.tick().await;
    }
    let answers = asked
        .get_or_insert_with(|| {
            let journal = journal.clone();
            Box::pin(async move { journal.now().await.is_ok() })
        })
        .await;
    *asked = None;
    answers
}

fn describe(view: &View) -> String {
    let doing = match view.doing {
        Doing::Idle => "nothing to upload",
        Doing::Sending => "uploading",
        Doing::Waiting => "waiting to upload",
        Doing::Paused => "uploads are paused",
    };
    match &view.reason {
        Some(reason) => format!("{doing}: {reason}"),
        None => doing.to_owned(),
    }
}

enum State<'a> {
    Ready,
    Stopping,
    Watchdog,
    Status(&'a str),
}

#[cfg(target_os = "linux")]
fn notify(states: &[State<'_>]) {
    let states: Vec<sd_notify::NotifyState<'_>> = states
        .iter()
        .map(|state| match state {
            State::Ready => sd_notify::NotifyState::Ready,
            State::Stopping => sd_notify::NotifyState::Stopping,
            State::Watchdog => sd_notify::NotifyState::Watchdog,
            State::Status(text) => sd_notify::NotifyState::Status(text),
        })
        .collect();
    if let Err(error) = sd_notify::notify(&states) {
        tracing::debug!("systemd could not be told: {error}");
    }
}

#[cfg(target_os = "linux")]
fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

#[cfg(not(target_os = "linux"))]
fn notify(_: &[State<'_>]) {}

#[cfg(not(target_os = "linux"))]
fn watchdog() -> Option<Duration> {
    None
}
