//! Text to checked values: durations, the endpoint, addresses, origins, identities.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::session::Consent;

/// How a duration is written, for error texts.
pub(super) const DURATION_FORM: &str = r#"a duration such as "200ms", "5s", "10m", "24h" or "7d""#;

const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Reads `200ms`, `10m`, `1h30m`; whole numbers, units from long to short, each at most once.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not {DURATION_FORM}");
    let (mut rest, mut total, mut last) = (text, 0_u64, u64::MAX);
    while !rest.is_empty() || last == u64::MAX {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let Ok(number) = number.parse::<u64>() else { return Err(wrong()) };
        if unit.is_empty() && after.is_empty() {
            return Err(format!("{text:?} has no unit at its end: write {DURATION_FORM}"));
        }
        let Some((_, factor)) = UNITS.iter().find(|(name, _)| *name == unit) else { return Err(wrong()) };
        if *factor >= last {
            return Err(format!(
                "{text:?} repeats or mixes up its units: write the longest first, as in \"1h30m\""
            ));
        }
        last = *factor;
        total = number
            .checked_mul(*factor)
            .and_then(|part| total.checked_add(part))
            .ok_or_else(|| format!("{text:?} is too long to count"))?;
        rest = after;
    }
    Ok(Duration::from_millis(total))
}

/// Writes a duration as [`parse_duration`] reads it; parts below a millisecond are dropped.
pub fn duration_text(duration: Duration) -> String {
    let mut left = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if left == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, factor) in UNITS {
        if left >= factor {
            text.push_str(&format!("{}{unit}", left / factor));
            left %= factor;
        }
    }
    text
}

/// Where uploads go: `https`, or `http` to this machine alone; without user, query and fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    text: String,
    host: String,
    port: u16,
    tls: bool,
}

impl Endpoint {
    /// Stands in until the default is applied.
    pub(super) fn unset() -> Self {
        Self { text: String::new(), host: String::new(), port: 0, tls: true }
    }

    /// Checks a URL.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("{text:?} {why}");
        if let Some(c) = text.chars().find(|c| !c.is_ascii_graphic() || matches!(c, '\\' | '"' | '<' | '>')) {
            return Err(wrong(&format!("contains {c:?}, which has no place in a URL")));
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(wrong("is not a URL: write it in full, beginning with https://"));
        };
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(wrong("must begin with https://")),
        };
        if rest.contains('#') {
            return Err(wrong("has a fragment: leave out the # and what follows"));
        }
        if rest.contains('?') {
            return Err(wrong(
                "has a query: leave out the ? and what follows; datastream_id is added by itself",
            ));
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(wrong("has a user name before the @: leave it out"));
        }
        let (host, port) = host_and_port(authority).map_err(|why| wrong(&why))?;
        if path.len() < 2 {
            return Err(wrong("has no path: Adobe's is /ee/va/v1/downloaded"));
        }
        if !tls && !is_loopback(host) {
            return Err(wrong(
                "is not encrypted: write https://; http:// is for 127.0.0.1, [::1] and localhost only",
            ));
        }
        let port = port.unwrap_or(if tls { 443 } else { 80 });
        Ok(Self { text: text.to_owned(), host: host.to_ascii_lowercase(), port, tls })
    }

    /// The URL as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The URL of a request for a datastream (contract section 2: `configId` is the only query).
    pub fn url(&self, datastream_id: &str) -> String {
        format!("{}?configId={datastream_id}", self.text)
    }

    /// Host in lower case; an IPv6 address in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Port, written or implied.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether the way there is encrypted and proves who answers.
    pub fn is_tls(&self) -> bool {
        self.tls
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Splits `host`, `host:port` and `[v6]:port`; names and addresses in their plain forms only, so that no two
/// parsers can disagree about them.
fn host_and_port(authority: &str) -> Result<(&str, Option<u16>), String> {
    let (host, port) = match authority.rfind(':') {
        Some(colon) if !authority.ends_with(']') => {
            let port = authority[colon + 1..].parse().ok().filter(|port| *port != 0);
            let port = port.ok_or("has no valid port: write a number from 1 to 65535 after the colon")?;
            (&authority[..colon], Some(port))
        }
        _ => (authority, None),
    };
    let plain = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let name = host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
            // A last label of digits is an address to a URL parser, in whatever base: it has to be a plain one.
            let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
            let address = last.starts_with(|c: char| c.is_ascii_digit())
                && (last.bytes().all(|b| b.is_ascii_digit())
                    || last.starts_with("0x")
                    || last.starts_with("0X"));
            name && !last.is_empty() && (!address || host.parse::<std::net::Ipv4Addr>().is_ok())
        }
    };
    if plain { Ok((host, port)) } else { Err("has no valid host name".to_owned()) }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A web origin that may call the loopback listener, as browsers write it in `Origin`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebOrigin(String);

impl WebOrigin {
    /// Checks `scheme://host[:port]` or `null` and brings it to the form browsers send.
    pub fn parse(text: &str) -> Result<Self, String> {
        let form = r#"write scheme://host, scheme://host:port or "null""#;
        if text == "null" {
            return Ok(Self(text.to_owned()));
        }
        if text == "*" {
            return Err(format!("\"*\" would let every web page in: name each origin; {form}"));
        }
        let Some((scheme, authority)) = text.split_once("://") else {
            return Err(format!("{text:?} is not a web origin: {form}"));
        };
        let named = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
        if !named || authority.contains('@') {
            return Err(format!("{text:?} is not a web origin: {form}"));
        }
        if authority.contains(['/', '?', '#']) {
            return Err(format!("{text:?} goes on after the host: {form}, without a slash at the end"));
        }
        let (host, port) = host_and_port(authority).map_err(|why| format!("{text:?} {why}"))?;
        let (scheme, host) = (scheme.to_ascii_lowercase(), host.to_ascii_lowercase());
        Ok(Self(
            match port.filter(|port| !matches!((scheme.as_str(), port), ("http", 80) | ("https", 443))) {
                Some(port) => format!("{scheme}://{host}:{port}"),
                None => format!("{scheme}://{host}"),
            },
        ))
    }

    /// The origin as a browser sends it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How pings are thinned out before an upload (contract section 12.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thin {
    /// Send every ping.
    Never,
    /// Only as far as the body budget demands.
    AsNeeded,
    /// Always to this largest gap, and further as far as the body budget demands.
    Gap(Duration),
}

/// `never`, `as-needed` or a gap.
pub(super) fn parse_thin(text: &str) -> Result<Thin, String> {
    match text {
        "never" => Ok(Thin::Never),
        "as-needed" => Ok(Thin::AsNeeded),
        _ => match parse_duration(text) {
            Ok(gap) if (Duration::from_secs(1)..=Duration::from_secs(540)).contains(&gap) => {
                Ok(Thin::Gap(gap))
            }
            Ok(_) => Err(format!(
                "{text:?} is out of range: from \"1s\" to \"9m\", since ten minutes without an event end a session"
            )),
            Err(_) => {
                Err(format!(r#"{text:?} is not known: write "never", "as-needed" or a gap such as "50s""#))
            }
        },
    }
}

macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $text)] $variant,)+
        }

        impl $name {
            /// The word that stands for it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// Reads the word that stands for it.
            pub fn parse(text: &str) -> Result<Self, String> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(format!("{text:?} is not known: write one of {}", [$(concat!("\"", $text, "\"")),+].join(", "))),
                }
            }
        }
    };
}

choice! {
    /// Where the player runs, for `implementationDetails` (contract section 3.1).
    Environment {
        /// A web page.
        Browser = "browser",
        /// An application.
        App = "app",
        /// A server.
        Server = "server",
        /// A thing.
        Iot = "iot",
    }
}

/// Whose word counts for the wall clock, besides the `Date` of the endpoint's answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockTrust {
    /// The kernel's, when something keeps the clock synchronised.
    Kernel,
    /// Nobody's.
    Endpoint,
    /// The kernel's, and that of a hardware clock.
    Rtc,
}

/// The word for whose word counts.
pub(super) fn parse_trust(text: &str) -> Result<ClockTrust, String> {
    match text {
        "kernel" => Ok(ClockTrust::Kernel),
        "endpoint" => Ok(ClockTrust::Endpoint),
        "rtc" => Ok(ClockTrust::Rtc),
        _ => Err(format!("{text:?} is not known: write one of \"kernel\", \"endpoint\", \"rtc\"")),
    }
}

/// The word for a consent.
pub(super) fn parse_consent(text: &str) -> Result<Consent, String> {
    Consent::parse(text)
        .ok_or_else(|| format!("{text:?} is not known: write one of \"in\", \"out\", \"pending\""))
}

/// A datastream id, or none.
pub(super) fn parse_datastream_id(text: &str) -> Result<Option<String>, String> {
    let fits = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':'));
    if fits && text.len() <= 128 {
        Ok(optional(text))
    } else {
        Err(format!(
            "{text:?} is not a datastream id: copy it from the Adobe interface, letters, digits and dashes only"
        ))
    }
}

/// A loopback address with a port, or none.
pub(super) fn parse_listen(text: &str) -> Result<Option<SocketAddr>, String> {
    let form = r#"write an address and a port of this machine such as "127.0.0.1:41780" or "[::1]:41780""#;
    if text.is_empty() {
        return Ok(None);
    }
    match text.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => Ok(Some(address)),
        Ok(_) => Err(format!("{text:?} could be reached from the network: {form}")),
        Err(_) => Err(format!("{text:?} is not an address with a port: {form}")),
    }
}

/// A path that does not depend on the current folder.
pub(super) fn parse_path(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if text.contains('\0') || !path.is_absolute() {
        return Err(format!("{text:?} is not an absolute path: write it in full, without ~ and variables"));
    }
    if path.file_name().is_none() || text.ends_with(std::path::is_separator) {
        return Err(format!("{text:?} names a folder: add the name of the file"));
    }
    Ok(path)
}

/// A namespace code (contract section 5).
pub(super) fn parse_namespace(text: &str) -> Result<String, String> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "{text:?} is not the code of an identity namespace: write one such as \"FPID\" or \"ECID\""
        ))
    }
}

/// Whether a text is a URI with its scheme, as the name of an implementation has to be (contract section 3.1).
pub(crate) fn is_uri(text: &str) -> bool {
    let scheme = text.split_once(':').filter(|(_, rest)| !rest.is_empty()).map(|(scheme, _)| scheme);
    let named = scheme.is_some_and(|scheme| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
    });
    named && text.bytes().all(|b| b.is_ascii_graphic())
}

/// The name of an implementation.
pub(super) fn parse_uri(text: &str) -> Result<String, String> {
    if is_uri(text) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "{text:?} is not a URI: write one with its scheme such as \"https://example.com/player\""
        ))
    }
}

/// A version; empty stands for that of this program.
pub(super) fn parse_version(text: &str) -> Result<String, String> {
    Ok(parse_optional(text)?.unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned()))
}

/// A text without control characters; empty stands for none.
pub(super) fn parse_optional(text: &str) -> Result<Option<String>, String> {
    match text.chars().find(|c| c.is_control()) {
        Some(c) => Err(format!("contains {c:?}: write it without control characters")),
        None => Ok(optional(text.trim())),
    }
}

fn optional(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// Whether a text is a UUID of version 4, the only form of an FPID that Adobe takes (contract section 5).
pub(super) fn is_fpid(text: &str) -> bool {
    text.len() == 36
        && uuid::Uuid::try_parse(text)
            .is_ok_and(|id| id.get_version_num() == 4 && id.get_variant() == uuid::Variant::RFC4122)
}
