//! The one table of keys: everything that can be configured, row by row.

use std::time::Duration;

use super::value::{self, duration_text};
use super::{Config, Scope};

/// One key of the configuration.
pub struct Key {
    /// Section, empty at the top of the file.
    pub section: &'static str,
    /// Name within its section.
    pub name: &'static str,
    /// One line of help.
    pub help: &'static str,
    /// Whether a running service takes a change over on SIGHUP.
    pub reloadable: bool,
    pub(super) default: Default,
    pub(super) kind: Kind,
    pub(super) same: fn(&Config, &Config) -> bool,
    pub(super) copy: fn(&mut Config, &Config),
}

/// What a key is when nobody sets it, as TOML.
pub(super) enum Default {
    /// The same for everybody.
    Always(&'static str),
    /// Depends on whose service it is.
    PerScope { system: &'static str, user: &'static str },
    /// The socket among the default places.
    Socket,
    /// The journal among the default places.
    Journal,
}

/// The items of a list that are wrong, by their position.
type WrongItems = Vec<(usize, String)>;

/// What a value has to be, and where it goes.
pub(super) enum Kind {
    Text { form: &'static str, set: fn(&mut Config, &str) -> Result<(), String> },
    Duration { min: Duration, max: Duration, why: &'static str, set: fn(&mut Config, Duration) },
    Whole { min: u64, max: u64, why: &'static str, set: fn(&mut Config, u64) },
    Switch { set: fn(&mut Config, bool) },
    List { form: &'static str, set: fn(&mut Config, &[String]) -> Result<(), WrongItems> },
}

impl Key {
    /// `section.name`, or the name alone at the top of the file.
    pub fn full_name(&self) -> String {
        if self.section.is_empty() { self.name.to_owned() } else { format!("{}.{}", self.section, self.name) }
    }

    /// The environment variable that sets it.
    pub fn variable(&self) -> String {
        let separator = if self.section.is_empty() { "" } else { "__" };
        format!("AFTERPLAY_{}{separator}{}", self.section, self.name).to_ascii_uppercase()
    }

    /// The default as it would be written in the file; for places that depend on the user, those of a system service.
    pub fn default_text(&self, scope: Scope) -> &'static str {
        match (&self.default, scope) {
            (Default::Always(text), _) => text,
            (Default::PerScope { system, .. }, Scope::System) => system,
            (Default::PerScope { user, .. }, Scope::User) => user,
            (Default::Socket, _) => r#""/run/afterplay/afterplay.sock""#,
            (Default::Journal, _) => r#""/var/lib/afterplay/journal.db""#,
        }
    }

    /// What a value has to look like.
    pub fn form(&self) -> String {
        match &self.kind {
            Kind::Text { form, .. } | Kind::List { form, .. } => (*form).to_owned(),
            Kind::Duration { min, max, .. } => format!(
                "a duration in quotes such as \"10m\", from \"{}\" to \"{}\"",
                duration_text(*min),
                duration_text(*max)
            ),
            Kind::Whole { min, max, .. } => format!("a whole number from {min} to {max}"),
            Kind::Switch { .. } => "true or false".to_owned(),
        }
    }
}

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

const fn hours(n: u64) -> Duration {
    Duration::from_secs(n * 3600)
}

const fn days(n: u64) -> Duration {
    hours(n * 24)
}

macro_rules! kind {
    (duration($min:expr, $max:expr, $why:literal) $($field:tt)+) => {
        Kind::Duration { min: $min, max: $max, why: $why, set: |config, value| config.$($field)+ = value }
    };
    (bytes($min:expr, $max:expr, $why:literal) $($field:tt)+) => {
        Kind::Whole { min: $min, max: $max, why: $why, set: |config, value| config.$($field)+ = value }
    };
    (count($min:expr, $max:expr, $why:literal) $($field:tt)+) => {
        Kind::Whole { min: $min, max: $max, why: $why, set: |config, value| config.$($field)+ = value as usize }
    };
    (switch() $($field:tt)+) => {
        Kind::Switch { set: |config, value| config.$($field)+ = value }
    };
    (text($parse:path, $form:literal) $($field:tt)+) => {
        Kind::Text { form: $form, set: |config, value| { config.$($field)+ = $parse(value)?; Ok(()) } }
    };
    (list($parse:path, $form:literal) $($field:tt)+) => {
        Kind::List { form: $form, set: |config, values| { config.$($field)+ = each(values, $parse)?; Ok(()) } }
    };
}

macro_rules! default {
    (Socket) => {
        Default::Socket
    };
    (Journal) => {
        Default::Journal
    };
    ((system $system:literal, user $user:literal)) => {
        Default::PerScope { system: stringify!($system), user: stringify!($user) }
    };
    ($text:tt) => {
        Default::Always(stringify!($text))
    };
}

macro_rules! reloadable {
    (live) => {
        true
    };
    (restart) => {
        false
    };
}

macro_rules! key {
    ($name:ident = $default:tt, $reload:ident, $kind:ident $limits:tt, $help:literal) => {
        key!(@row "", stringify!($name), $default, $reload, $kind $limits, $help, $name)
    };
    ([$section:ident] $name:ident = $default:tt, $reload:ident, $kind:ident $limits:tt, $help:literal) => {
        key!(@row stringify!($section), stringify!($name), $default, $reload, $kind $limits, $help, $section.$name)
    };
    (@row $section:expr, $name:expr, $default:tt, $reload:ident, $kind:ident $limits:tt, $help:literal, $($field:tt)+) => {
        Key {
            section: $section,
            name: $name,
            help: $help,
            reloadable: reloadable!($reload),
            default: default!($default),
            kind: kind!($kind $limits $($field)+),
            same: |a, b| a.$($field)+ == b.$($field)+,
            copy: |to, from| to.$($field)+.clone_from(&from.$($field)+),
        }
    };
}

/// Every key there is, in the order of the reference file.
#[rustfmt::skip]
pub static KEYS: &[Key] = &[
    key!(datastream_id = "", live, text(value::parse_datastream_id, "a datastream id in quotes"),
        "Adobe datastream that uploads go to; empty: record only"),
    key!(endpoint = "https://edge.adobedc.net/ee/va/v1/downloaded", live,
        text(value::Endpoint::parse, "a URL in quotes that begins with https://"),
        "Where uploads go; http:// only to this machine"),

    key!([api] socket = Socket, restart, text(value::parse_path, "an absolute path in quotes"),
        "Unix socket of the local API"),
    key!([api] listen = "", restart,
        text(value::parse_listen, "a loopback address with a port in quotes such as \"127.0.0.1:41780\""),
        "Loopback TCP for web players, port 0 for any free one; empty: off"),
    key!([api] origins = [], live,
        list(value::WebOrigin::parse, "a list of web origins such as [\"https://tv.example\"]"),
        "Web origins that may call the loopback listener"),
    key!([api] max_connections = 256, restart, count(1, 4096, "each one holds a file descriptor and a buffer"),
        "Connections to the local API at a time"),
    key!([api] max_connections_per_user = 64, restart, count(1, 4096, "each one holds a file descriptor and a buffer"),
        "The same, for one local user"),
    key!([api] max_requests_per_user = 1000, live, count(1, 1_000_000, "one user must not crowd out the others"),
        "Requests a second of one local user while others use the service too; alone there is no limit"),

    key!([journal] path = Journal, restart, text(value::parse_path, "an absolute path in quotes"),
        "The journal; its folder also keeps the API token"),
    key!([journal] max_bytes = 67108864, restart, bytes(1 << 20, 1 << 40, "an empty journal takes part of a mebibyte"),
        "Room for the journal on disk"),
    key!([journal] max_percent_per_user = 75, restart, count(1, 100, "it is a part of max_bytes"),
        "How much of that room one local user may fill"),
    key!([journal] evict = false, restart, switch(),
        "Whether a user's oldest completed sessions give way to new events when there is no room; else these are refused"),
    key!([journal] keep_receipts = "30d", restart, duration(ms(0), days(3650), "it is counted in milliseconds"),
        "How long the receipt of a delivered session is kept"),
    key!([journal] keep_quarantined = "30d", restart,
        duration(secs(1), days(3650), "a person must have a chance to decide"),
        "How long a quarantined session waits for a decision before it expires"),
    key!([journal] max_open_sessions_per_user = 256, restart, count(1, 100_000, "one user must not crowd out the others"),
        "Sessions that one local user can have open at a time"),

    key!([session] idle_timeout = "10m", live,
        duration(ms(100), days(7), "less completes a session that is still playing, more keeps it from being uploaded"),
        "Time without an event after which a session is completed"),
    key!([session] max_age = "24h", live, duration(ms(100), days(30), "less completes a session that is still playing"),
        "Age at which an open session is completed"),
    key!([session] close_grace = "5s", live, duration(ms(0), hours(1), "a closed session waits this long for its upload"),
        "Time for late events after the closing one"),

    key!([upload] thin = "as-needed", live, text(value::parse_thin, "\"never\", \"as-needed\" or a gap such as \"50s\""),
        "Which pings are left out of an upload; a gap is the longest time between two that stay"),
    key!([upload] connect_timeout = "10s", live, duration(ms(100), secs(300), "nothing else is sent meanwhile"),
        "Time to reach the endpoint, name look-up and TLS included"),
    key!([upload] timeout = "60s", live, duration(ms(100), hours(1), "a shorter one gives up on slow lines for ever"),
        "Time for a whole upload, on top of what its size takes"),
    key!([upload] body_budget = 60000, live, count(4096, 1 << 24, "the smallest session must fit and the service has little memory"),
        "Bytes of a request body above which pings are thinned out; Adobe names 64 KB"),
    key!([upload] concurrency = 1, live, count(1, 8, "more only makes the endpoint push back"),
        "Uploads at a time once the endpoint has answered; each that is under way when the power goes is sent again"),
    key!([upload] reconnect_jitter = (system "60s", user "0s"), live, duration(ms(0), hours(1), "sessions wait for it"),
        "Longest random wait when the network returns, so that a street of boxes does not come back as one"),
    key!([upload] timestamp = true, live, switch(),
        "Whether xdm.timestamp, the time of the first attempt, is sent"),

    key!([clock] trust = "kernel", live, text(value::parse_trust, "\"kernel\", \"endpoint\" or \"rtc\""),
        "Whose word counts for the time besides the endpoint's: the kernel's, nobody's, or also that of a good hardware clock"),
    key!([clock] hold_max = "7d", live, duration(ms(0), days(365), "sessions must be sent some day"),
        "How long a session waits for its times to be known before they are estimated"),

    key!([retry] initial = "5s", live, duration(ms(10), hours(24), "less would hammer an endpoint that is down"),
        "Wait after the first failed attempt; doubles with each further one"),
    key!([retry] max = "1h", live, duration(ms(10), days(7), "sessions must be tried again some day"),
        "Longest wait between attempts"),
    key!([retry] pause_initial = "15m", live, duration(ms(10), hours(24), "less would hammer an endpoint that refuses everything"),
        "Wait when the set-up and not a session is refused; doubles with each further refusal"),
    key!([retry] pause_max = "6h", live, duration(ms(10), days(7), "sessions must be tried again some day"),
        "Longest such wait"),

    key!([identity] namespace = "FPID", live, text(value::parse_namespace, "a namespace code in quotes such as \"FPID\""),
        "Namespace of the identity of sessions that bring none"),
    key!([identity] id = "", live, text(value::parse_optional, "an identity in quotes"),
        "That identity; empty: an FPID is made once and kept with the journal"),

    key!([implementation] name = "https://ns.adobe.com/experience/edge", live,
        text(value::parse_uri, "a URI in quotes"),
        "Name of the implementation in reports, a URI"),
    key!([implementation] version = "", live, text(value::parse_version, "a text in quotes"),
        "Its version; empty: that of afterplay"),
    key!([implementation] environment = "app", live,
        text(value::Environment::parse, "\"browser\", \"app\", \"server\" or \"iot\""),
        "Where the player runs: browser, app, server or iot"),

    key!([defaults] player_name = "", live, text(value::parse_optional, "a text in quotes"),
        "playerName of sessions that bring none"),
    key!([defaults] channel = "", live, text(value::parse_optional, "a text in quotes"),
        "channel of sessions that bring none"),

    key!([consent] initial = "in", restart, text(value::parse_consent, "\"in\", \"out\" or \"pending\""),
        "Consent of a new journal: in, out or pending; later `afterplay consent` decides"),
];

/// The key of a section by its name.
pub(super) fn find(section: &str, name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.section == section && key.name == name)
}

/// The names of all sections, each once.
pub(super) fn sections() -> impl Iterator<Item = &'static str> {
    let starts = |at: usize| at == 0 || KEYS[at - 1].section != KEYS[at].section;
    (0..KEYS.len())
        .filter(move |at| starts(*at))
        .map(|at| KEYS[at].section)
        .filter(|section| !section.is_empty())
}

fn each<T>(texts: &[String], parse: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, WrongItems> {
    let (mut values, mut wrong) = (Vec::new(), Vec::new());
    for (at, text) in texts.iter().enumerate() {
        match parse(text) {
            Ok(value) => values.push(value),
            Err(problem) => wrong.push((at, problem)),
        }
    }
    if wrong.is_empty() { Ok(values) } else { Err(wrong) }
}
