//! Raw text to checked values; where files live.
//!
//! Values come from the built-in defaults, then the file, then the environment. [`KEYS`] is the one table of all keys;
//! everything else here reads it.

mod keys;
mod layers;
mod paths;
mod problem;
#[cfg(test)]
mod tests;
mod value;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use keys::{KEYS, Key};
pub use paths::{Places, SYSTEM_SOCKET, Scope, Surroundings, UserFolders, socket_exists};
pub use problem::{ConfigError, ConfigProblem};
pub(crate) use value::is_uri;
pub use value::{ClockTrust, Endpoint, Environment, Thin, WebOrigin, duration_text, parse_duration};

use layers::Layers;

use crate::session::Consent;

/// Everything that can be set, checked. What each key means is in [`KEYS`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The datastream; `None`: record only.
    pub datastream_id: Option<String>,
    /// Where uploads go.
    pub endpoint: Endpoint,
    /// Section `[api]`.
    pub api: Api,
    /// Section `[journal]`.
    pub journal: Journal,
    /// Section `[session]`.
    pub session: Session,
    /// Section `[upload]`.
    pub upload: Upload,
    /// Section `[clock]`.
    pub clock: ClockSection,
    /// Section `[retry]`.
    pub retry: Retry,
    /// Section `[identity]`.
    pub identity: Identity,
    /// Section `[implementation]`.
    pub implementation: Implementation,
    /// Section `[defaults]`.
    pub defaults: Defaults,
    /// Section `[consent]`.
    pub consent: InitialConsent,
}

macro_rules! sections {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty),+ $(,)? })+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name {
            $(#[doc = concat!("Key `", stringify!($field), "`, see [`KEYS`].")] pub $field: $type,)+
        }
    )+};
}

sections! {
    /// The local API.
    Api {
        socket: PathBuf,
        listen: Option<SocketAddr>,
        origins: Vec<WebOrigin>,
        max_connections: usize,
        max_connections_per_user: usize,
        max_requests_per_user: usize,
    }
    /// The journal.
    Journal {
        path: PathBuf,
        max_bytes: u64,
        max_percent_per_user: usize,
        evict: bool,
        keep_receipts: Duration,
        keep_quarantined: Duration,
        max_open_sessions_per_user: usize,
    }
    /// When a session is completed.
    Session { idle_timeout: Duration, max_age: Duration, close_grace: Duration }
    /// What is sent and how.
    Upload {
        thin: Thin,
        connect_timeout: Duration,
        timeout: Duration,
        body_budget: usize,
        concurrency: usize,
        reconnect_jitter: Duration,
        timestamp: bool,
    }
    /// Whose word counts for the time.
    ClockSection { trust: ClockTrust, hold_max: Duration }
    /// When it is sent again.
    Retry { initial: Duration, max: Duration, pause_initial: Duration, pause_max: Duration }
    /// Who watched, when the player does not say.
    Identity { namespace: String, id: Option<String> }
    /// `implementationDetails` (contract section 3.1).
    Implementation { name: String, version: String, environment: Environment }
    /// What sessions get that do not bring it themselves.
    Defaults { player_name: Option<String>, channel: Option<String> }
    /// The consent of a new journal.
    InitialConsent { initial: Consent }
}

impl Default for Config {
    /// The built-in defaults of a user's service, with empty paths.
    fn default() -> Self {
        Layers::defaults(Scope::User, None).config
    }
}

impl Config {
    /// Holds the place of every value until the defaults of the table are applied.
    fn blank() -> Self {
        let none = Duration::ZERO;
        Self {
            datastream_id: None,
            endpoint: Endpoint::unset(),
            api: Api {
                socket: PathBuf::new(),
                listen: None,
                origins: Vec::new(),
                max_connections: 0,
                max_connections_per_user: 0,
                max_requests_per_user: 0,
            },
            journal: Journal {
                path: PathBuf::new(),
                max_bytes: 0,
                max_percent_per_user: 0,
                evict: true,
                keep_receipts: none,
                keep_quarantined: none,
                max_open_sessions_per_user: 0,
            },
            session: Session { idle_timeout: none, max_age: none, close_grace: none },
            upload: Upload {
                thin: Thin::Never,
                connect_timeout: none,
                timeout: none,
                body_budget: 0,
                concurrency: 0,
                reconnect_jitter: none,
                timestamp: false,
            },
            clock: ClockSection { trust: ClockTrust::Endpoint, hold_max: none },
            retry: Retry { initial: none, max: none, pause_initial: none, pause_max: none },
            identity: Identity { namespace: String::new(), id: None },
            implementation: Implementation {
                name: String::new(),
                version: String::new(),
                environment: Environment::Server,
            },
            defaults: Defaults { player_name: None, channel: None },
            consent: InitialConsent { initial: Consent::Out },
        }
    }

    /// The token that native callers of the loopback listener show; beside the journal.
    pub fn token_file(&self) -> PathBuf {
        self.journal.path.with_file_name("api-token")
    }
}

/// A configuration and how it came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The checked values.
    pub config: Config,
    /// Whose service it is.
    pub scope: Scope,
    /// The file that was read; `None` when there is none at the default place.
    pub file: Option<PathBuf>,
    /// Whether the file was named on the command line.
    pub explicit: bool,
    /// Keys that are not at their default, with the file or environment variable that sets each.
    pub set: BTreeMap<String, String>,
}

impl Loaded {
    /// Where a client finds the service: a client that was told nothing takes the system's service when the user has
    /// none of their own.
    pub fn client_socket(&self, exists: impl Fn(&Path) -> bool) -> PathBuf {
        let own = &self.config.api.socket;
        let system = Path::new(SYSTEM_SOCKET);
        if self.explicit || self.set.contains_key("api.socket") || exists(own) || !exists(system) {
            own.clone()
        } else {
            system.to_owned()
        }
    }
}

/// Reads the configuration: the file that is named, else the one at the default place if it is there.
pub fn load(explicit: Option<&Path>, surroundings: &Surroundings) -> Result<Loaded, ConfigError> {
    let places = surroundings.places(explicit);
    let path = explicit.map(Path::to_owned).or_else(|| places.config_file.clone());
    let file = match path.map(|path| (std::fs::read(&path), path)) {
        None => None,
        Some((Ok(bytes), path)) => Some((path, bytes)),
        Some((Err(error), _)) if explicit.is_none() && error.kind() == std::io::ErrorKind::NotFound => None,
        Some((Err(source), path)) => return Err(ConfigError::Unreadable { path, source }),
    };
    assemble(&places, file, explicit.is_some(), surroundings)
}

/// Reads the configuration from a text, as if it were in a file that was named.
#[doc(hidden)]
pub fn load_text(text: &[u8], surroundings: &Surroundings) -> Result<Loaded, ConfigError> {
    let path = PathBuf::from("config.toml");
    let places = surroundings.places(Some(&path));
    assemble(&places, Some((path, text.to_owned())), true, surroundings)
}

fn assemble(
    places: &Places,
    file: Option<(PathBuf, Vec<u8>)>,
    explicit: bool,
    surroundings: &Surroundings,
) -> Result<Loaded, ConfigError> {
    let mut layers = Layers::defaults(places.scope, Some(places));
    if let Some((path, bytes)) = &file {
        layers.file(path, bytes);
    }
    layers.environment(surroundings);
    layers.check_together();
    if !layers.problems.is_empty() {
        let mut problems = layers.problems;
        problems.sort_by_key(|problem| (problem.line.is_none(), problem.line, problem.column));
        return Err(ConfigError::Invalid(problems));
    }
    Ok(Loaded {
        config: layers.config,
        scope: places.scope,
        file: file.map(|(path, _)| path),
        explicit,
        set: layers.set.into_iter().map(|(key, place)| (key, place.origin)).collect(),
    })
}

/// What a reload comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reload {
    /// The old configuration with all changes that can be taken over while running.
    pub config: Config,
    /// Keys whose new value is taken over.
    pub applied: Vec<String>,
    /// Keys that keep their old value until the service is restarted.
    pub needs_restart: Vec<String>,
}

/// Sorts the differences between the running configuration and a new one.
pub fn reloadable_change(old: &Config, new: &Config) -> Reload {
    let mut reload = Reload { config: old.clone(), applied: Vec::new(), needs_restart: Vec::new() };
    for key in KEYS.iter().filter(|key| !(key.same)(old, new)) {
        if key.reloadable {
            (key.copy)(&mut reload.config, new);
            reload.applied.push(key.full_name());
        } else {
            reload.needs_restart.push(key.full_name());
        }
    }
    reload
}
