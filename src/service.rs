//! Wiring: open, spawn, wait, drain in order.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::api::{self, Api, Caps, Listener};
use crate::clock::Clock;
use crate::config::{ClockTrust, Config, Reload, reloadable_change};
use crate::journal::{Journal, OpenError, Policy, Refusal, Trust, Writer};
use crate::link::{Monitor, Target};
use crate::owner::{self, NotOurs};
use crate::session::Limits;
use crate::socket::{self, Keeper, SocketError};
use crate::stop::Stop;
use crate::upload::{Courier, Parts, View};

/// Why the service could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The journal could not be opened.
    #[error(transparent)]
    Journal(#[from] OpenError),
    /// The journal failed while the service was running.
    #[error("the journal failed: {0}")]
    Refused(#[from] Refusal),
    /// The socket could not be bound.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// Another user could reach into it.
    #[error("the {what} is not safe here: {source}")]
    NotOurs {
        /// What would be there.
        what: &'static str,
        /// Why.
        source: NotOurs,
    },
    /// The operating system refused.
    #[error("{doing} {what}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        what: String,
        /// The cause.
        source: io::Error,
    },
    /// A part ended although nobody asked it to.
    #[error("the {0} ended unexpectedly")]
    Ended(&'static str),
}

fn io_error(doing: &'static str, what: impl ToString) -> impl FnOnce(io::Error) -> ServiceError {
    move |source| ServiceError::Io { doing, what: what.to_string(), source }
}

/// A running service.
#[derive(Debug)]
pub struct Service {
    journal: Journal,
    writer: Writer,
    link: Monitor,
    stop: watch::Sender<bool>,
    config: watch::Sender<Arc<Config>>,
    caps: watch::Sender<Caps>,
    view: watch::Receiver<View>,
    parts: JoinSet<(&'static str, Result<(), ServiceError>)>,
    web: Option<SocketAddr>,
}

impl Service {
    /// Claims the journal, binds the sockets (unless systemd `passed` one), opens the journal, and spawns the parts.
    /// Who connects meanwhile is answered when it is open.
    pub async fn start(
        config: Config,
        clock: Clock,
        passed: Option<std::os::unix::net::UnixListener>,
    ) -> Result<Service, ServiceError> {
        let laid_down = policy(&config);
        let claim = Journal::claim(&config.journal.path, &laid_down, &clock)?;
        // First, as the address may be taken: nobody is let in by a service that does not come up.
        let tcp = match config.api.listen {
            Some(address) => {
                let listener = TcpListener::bind(address).await.map_err(io_error("listening on", address))?;
                let bound = listener.local_addr().map_err(io_error("listening on", address))?;
                Some((listener, bound, token(&config.token_file())?))
            }
            None => None,
        };
        let (unix, keeper) = match passed {
            Some(listener) => (socket::from_systemd(listener)?, None),
            None => {
                let (unix, keeper) = Keeper::bind(&config.api.socket).await?;
                (unix, Some(keeper))
            }
        };
        let (successor, successors) = mpsc::channel(1);
        let (journal, writer) = Journal::open_claimed(claim, laid_down, clock.clone())?;
        let link = Monitor::start(Target::of_host(config.endpoint.host()))
            .map_err(io_error("watching", "the network"))?;
        let (stop, stopped) = Stop::new();
        let (caps, caps_now) = watch::channel(caps_of(&config));
        let (config, config_now) = watch::channel(Arc::new(config));
        let started = clock.now();

        let (courier, uploader) = Courier::new(Parts {
            journal: journal.clone(),
            clock: clock.clone(),
            link: link.clone(),
            config: config_now.clone(),
        })
        .await?;
        let view = uploader.view();
        let api = Arc::new(Api {
            journal: journal.clone(),
            uploader,
            link: link.watch(),
            config: config_now,
            clock: clock.clone(),
            started,
            shares: api::Shares::default(),
        });

        let mut listeners = vec![(Listener::Unix(unix, successors), api::router(api.clone()))];
        let mut web = None;
        if let Some((listener, address, token)) = tcp {
            listeners.push((Listener::Tcp(listener), api::web_router(api.clone(), address, token)));
            web = Some(address);
        }
        drop(api);

        let mut parts = JoinSet::new();
        let own_uid = rustix::process::geteuid().as_raw();
        let serving = api::serve(listeners, caps_now, own_uid, stopped.clone());
        parts.spawn(async move {
            serving.await;
            ("local API", Ok(()))
        });
        let uploading = courier.run(stopped.clone());
        parts.spawn(async move {
            uploading.await;
            ("uploader", Ok(()))
        });
        if let Some(keeper) = keeper {
            let keeping = keeper.keep(successor, stopped.clone());
            parts.spawn(async move {
                keeping.await;
                ("socket's keeper", Ok(()))
            });
        }
        let keeping = keep_deadlines(journal.clone(), clock, link.clock_steps(), stopped);
        parts.spawn(async move {
            keeping.await;
            ("session timer", Ok(()))
        });
        Ok(Service { journal, writer, link, stop, config, caps, view, parts, web })
    }

    /// The journal, for the watchdog's question whether it still answers.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// What the uploader is doing.
    pub fn view(&self) -> watch::Receiver<View> {
        self.view.clone()
    }

    /// Where web players find the service.
    pub fn web_address(&self) -> Option<SocketAddr> {
        self.web
    }

    /// Takes over what can be taken over of a new configuration.
    pub async fn reload(&self, new: &Config) -> Result<Reload, ServiceError> {
        let old = self.config.borrow().clone();
        let reload = reloadable_change(&old, new);
        self.journal.set_policy(policy(&reload.config)).await?;
        if old.endpoint != reload.config.endpoint {
            self.link.set_target(Target::of_host(reload.config.endpoint.host()));
        }
        self.caps.send_replace(caps_of(&reload.config));
        self.config.send_replace(Arc::new(reload.config.clone()));
        Ok(reload)
    }

    /// Waits for a part to end, which none does unless it fails.
    pub async fn failed(&mut self) -> ServiceError {
        match self.parts.join_next().await {
            Some(Ok((_, Err(error)))) => error,
            Some(Ok((name, Ok(())))) => ServiceError::Ended(name),
            Some(Err(_)) | None => ServiceError::Ended("service"),
        }
    }

    /// Stops accepting, finishes requests, settles the upload, commits, checkpoints, joins.
    pub async fn stop(mut self) -> Result<(), ServiceError> {
        self.stop.send_replace(true);
        let mut outcome = Ok(());
        while let Some(ended) = self.parts.join_next().await {
            if let Ok((_, Err(error))) = ended {
                outcome = Err(error);
            }
        }
        self.link.stop();
        drop(self.journal);
        let writer = self.writer;
        if tokio::task::spawn_blocking(move || writer.join()).await.is_err() {
            tracing::error!("the journal's thread could not be joined");
        }
        outcome
    }
}

/// Descriptors that are no local connection: the journal, listeners, the network, uploads.
const OTHER_DESCRIPTORS: u64 = 40;
/// Connections that are tried even where descriptors are that few.
const LEAST_CONNECTIONS: usize = 8;

/// What is configured, as far as this process may open so many files.
fn caps_of(config: &Config) -> Caps {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let room = files.map_or(usize::MAX, |files| {
        usize::try_from(files.saturating_sub(OTHER_DESCRIPTORS)).unwrap_or(usize::MAX).max(LEAST_CONNECTIONS)
    });
    let all = config.api.max_connections.min(room);
    if all < config.api.max_connections {
        tracing::warn!(
            "this process may open {} files: {all} connections at a time, not the {} of api.max_connections",
            files.unwrap_or_default(),
            config.api.max_connections
        );
    }
    Caps { all, per_user: config.api.max_connections_per_user }
}

fn ms(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// What configuration lays down for the journal.
fn policy(config: &Config) -> Policy {
    let implementation = serde_json::json!({
        "name": config.implementation.name,
        "version": config.implementation.version,
        "environment": config.implementation.environment.as_str(),
    });
    Policy {
        limits: Limits {
            idle_ms: ms(config.session.idle_timeout),
            age_ms: ms(config.session.max_age),
            grace_ms: ms(config.session.close_grace),
        },
        identity: config.identity.id.clone().map(|id| (config.identity.namespace.clone(), id)),
        player_name: config.defaults.player_name.clone(),
        channel: config.defaults.channel.clone(),
        implementation: implementation.to_string(),
        max_bytes: i64::try_from(config.journal.max_bytes).unwrap_or(i64::MAX),
        max_bytes_per_user: i64::try_from(
            config.journal.max_bytes / 100 * config.journal.max_percent_per_user as u64,
        )
        .unwrap_or(i64::MAX),
        evict: config.journal.evict,
        max_open_per_user: config.journal.max_open_sessions_per_user,
        keep_receipts_ms: ms(config.journal.keep_receipts),
        keep_quarantined_ms: ms(config.journal.keep_quarantined),
        hold_max_ms: ms(config.clock.hold_max),
        trust: match config.clock.trust {
            ClockTrust::Kernel => Trust::Kernel,
            ClockTrust::Endpoint => Trust::Endpoint,
            ClockTrust::Rtc => Trust::Rtc,
        },
        initial_consent: config.consent.initial,
    }
}

/// Between two tries when the journal refuses to complete sessions.
const COMPLETE_AGAIN_MS: i64 = 1000;

/// Completes open sessions when their time has come. With none open there is no timer.
async fn keep_deadlines(journal: Journal, clock: Clock, mut steps: watch::Receiver<u64>, mut stop: Stop) {
    let mut signals = journal.signals();
    let mut not_before = i64::MIN;
    loop {
        let deadline = signals.borrow_and_update().deadline;
        let due = async {
            match deadline {
                Some(at) => clock.sleep_until(at.max(not_before)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = due => {
                if let Err(refusal) = journal.complete_due().await {
                    tracing::warn!("sessions whose time has come stay open for now: {refusal}");
                    not_before = clock.now().boot_ms + COMPLETE_AGAIN_MS;
                }
            }
            changed = signals.changed() => if changed.is_err() { break },
            // After a resume the timer is late: look again. And a clock that was set may have come to be right.
            _ = steps.changed() => {
                if let Err(refusal) = journal.known_time().await {
                    tracing::warn!("the time could not be written down: {refusal}");
                }
            }
            () = stop.requested() => break,
        }
    }
}

/// The bearer token for callers on loopback TCP that have no origin; made once.
fn token(path: &Path) -> Result<String, ServiceError> {
    use std::io::Write;
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    owner::check_file(path).map_err(|source| ServiceError::NotOurs { what: "API token", source })?;
    match fs::read_to_string(path) {
        Ok(token) if !token.trim().is_empty() => return Ok(token.trim().to_owned()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(io_error("reading", path.display())(error));
        }
        _ => {}
    }
    let token = format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
    // The umask of a service leaves nothing to the group; this file is for it.
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| {
            writeln!(file, "{token}")?;
            file.set_permissions(fs::Permissions::from_mode(0o640))
        })
        .map_err(io_error("writing", path.display()))?;
    Ok(token)
}
