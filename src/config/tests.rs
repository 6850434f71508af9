//! Tables for the parsers and for the table of keys.

use std::collections::BTreeSet;
use std::time::Duration;

use super::value::*;
use super::*;

#[test]
fn durations() {
    let ms = Duration::from_millis;
    for (text, expected) in [
        ("0s", ms(0)),
        ("200ms", ms(200)),
        ("5s", ms(5_000)),
        ("10m", ms(600_000)),
        ("24h", ms(86_400_000)),
        ("7d", ms(604_800_000)),
        ("1h30m", ms(5_400_000)),
        ("1d2h3m4s5ms", ms(93_784_005)),
        ("090s", ms(90_000)),
    ] {
        assert_eq!(parse_duration(text), Ok(expected), "{text}");
    }
    for (text, expected) in [
        ("", "is not a duration such as"),
        ("s", "is not a duration such as"),
        ("10", "has no unit at its end"),
        ("1h30", "has no unit at its end"),
        ("10 m", "is not a duration such as"),
        ("10parsecs", "is not a duration such as"),
        ("10M", "is not a duration such as"),
        ("-5s", "is not a duration such as"),
        ("1.5h", "is not a duration such as"),
        ("5s ", "is not a duration such as"),
        ("30m1h", "repeats or mixes up its units"),
        ("1m1m", "repeats or mixes up its units"),
        ("99999999999999999999s", "is not a duration such as"),
        ("999999999999999999d", "is too long to count"),
        ("٣s", "is not a duration such as"),
    ] {
        let error = parse_duration(text).expect_err(text);
        assert!(error.contains(expected) && error.starts_with(&format!("{text:?}")), "{text}: {error}");
    }
}

#[test]
fn durations_are_written_as_they_are_read() {
    for text in ["0s", "1ms", "59s", "1m", "1h30m", "24h1ms", "30d", "1d1h1m1s1ms"] {
        let duration = parse_duration(text).unwrap();
        assert_eq!(parse_duration(&duration_text(duration)), Ok(duration), "{text}");
    }
    assert_eq!(duration_text(Duration::from_secs(86_400)), "1d");
    assert_eq!(duration_text(Duration::from_micros(10)), "0s");
}

#[test]
fn endpoints() {
    for (text, host, port, tls) in [
        ("https://edge.adobedc.net/ee/va/v1/downloaded", "edge.adobedc.net", 443, true),
        ("HTTPS://Edge.Example:8443/x", "edge.example", 8443, true),
        ("https://192.0.2.7/x", "192.0.2.7", 443, true),
        ("https://[2001:db8::1]:444/x", "[2001:db8::1]", 444, true),
        ("http://127.0.0.1:9/x", "127.0.0.1", 9, false),
        ("http://127.8.8.8/x", "127.8.8.8", 80, false),
        ("http://[::1]:80/x", "[::1]", 80, false),
        ("http://localhost/x/y", "localhost", 80, false),
    ] {
        let endpoint = Endpoint::parse(text).expect(text);
        assert_eq!((endpoint.host(), endpoint.port(), endpoint.is_tls()), (host, port, tls), "{text}");
        assert_eq!(endpoint.as_str(), text);
        assert_eq!(endpoint.url("a:b"), format!("{text}?configId=a:b"));
    }
    for (text, expected) in [
        ("", "is not a URL"),
        ("edge.adobedc.net/x", "is not a URL"),
        ("ftp://edge.adobedc.net/x", "must begin with https://"),
        ("http://edge.adobedc.net/x", "is not encrypted"),
        ("http://localhost.example/x", "is not encrypted"),
        ("http://127.0.0.1.example/x", "is not encrypted"),
        ("http://[::2]/x", "is not encrypted"),
        ("https://user@host/x", "has a user name"),
        ("http://127.0.0.1@evil.example/x", "has a user name"),
        ("http://127.0.0.1\\@evil.example/x", "contains '\\\\'"),
        ("https://host/x?configId=1", "has a query"),
        ("https://host/x#y", "has a fragment"),
        ("https://host", "has no path"),
        ("https://host/", "has no path"),
        ("https:///x", "has no valid host name"),
        ("https://:443/x", "has no valid host name"),
        ("https://::1/x", "has no valid host name"),
        ("https://[::1/x", "has no valid"),
        ("https://0x7f.1/x", "has no valid host name"),
        ("https://2130706433/x", "has no valid host name"),
        ("https://127.1/x", "has no valid host name"),
        ("https://ho%73t/x", "has no valid host name"),
        ("https://host:0/x", "has no valid port"),
        ("https://host:65536/x", "has no valid port"),
        ("https://host:/x", "has no valid port"),
        ("https://host/a b", "contains ' '"),
        ("https://hôst/x", "contains 'ô'"),
        ("https://host/\n", "contains '\\n'"),
    ] {
        let error = Endpoint::parse(text).expect_err(text);
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn endpoints_mean_the_same_to_the_sender() {
    for text in ["https://Edge.Example:8443/x", "http://127.0.0.1/x", "http://[::1]:9/x", "https://a_b.c-d/x"]
    {
        let (ours, theirs) = (Endpoint::parse(text).unwrap(), reqwest::Url::parse(text).unwrap());
        assert_eq!(Some(ours.host()), theirs.host_str(), "{text}");
        assert_eq!(Some(ours.port()), theirs.port_or_known_default(), "{text}");
    }
}

#[test]
fn origins() {
    for (text, expected) in [
        ("null", "null"),
        ("https://tv.example", "https://tv.example"),
        ("HTTPS://TV.Example:443", "https://tv.example"),
        ("http://tv.example:80", "http://tv.example"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("chrome-extension://abcdef", "chrome-extension://abcdef"),
    ] {
        assert_eq!(WebOrigin::parse(text).map(|origin| origin.as_str().to_owned()), Ok(expected.to_owned()));
    }
    for (text, expected) in [
        ("*", "would let every web page in"),
        ("", "is not a web origin"),
        ("tv.example", "is not a web origin"),
        ("https://a@b", "is not a web origin"),
        ("https://tv.example/", "goes on after the host"),
        ("https://tv.example/app", "goes on after the host"),
        ("https://*.example", "has no valid host name"),
        ("file://", "has no valid host name"),
    ] {
        let error = WebOrigin::parse(text).expect_err(text);
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn listen_addresses() {
    for text in ["127.0.0.1:41780", "[::1]:41780", "127.0.0.2:0"] {
        assert_eq!(parse_listen(text), Ok(Some(text.parse().unwrap())));
    }
    assert_eq!(parse_listen(""), Ok(None));
    for (text, expected) in [
        ("0.0.0.0:80", "could be reached from the network"),
        ("192.0.2.1:80", "could be reached from the network"),
        ("[::]:80", "could be reached from the network"),
        ("localhost:80", "is not an address with a port"),
        ("127.0.0.1", "is not an address with a port"),
        ("41780", "is not an address with a port"),
        ("127.0.0.1:99999", "is not an address with a port"),
    ] {
        let error = parse_listen(text).expect_err(text);
        assert!(error.contains(expected) && error.contains("127.0.0.1:41780"), "{text}: {error}");
    }
}

#[test]
fn thinning() {
    assert_eq!(parse_thin("never"), Ok(Thin::Never));
    assert_eq!(parse_thin("as-needed"), Ok(Thin::AsNeeded));
    assert_eq!(parse_thin("50s"), Ok(Thin::Gap(Duration::from_secs(50))));
    for text in ["10m", "0s", "999ms"] {
        assert!(parse_thin(text).expect_err(text).contains("out of range"), "{text}");
    }
    for text in ["", "always", "50", "Never"] {
        assert!(parse_thin(text).expect_err(text).contains(r#"write "never", "as-needed""#), "{text}");
    }
}

#[test]
fn paths() {
    for text in ["/run/a.sock", "/a", "/with space/ü.db"] {
        assert_eq!(parse_path(text), Ok(text.into()));
    }
    for (text, expected) in [
        ("", "is not an absolute path"),
        ("a.db", "is not an absolute path"),
        ("./a.db", "is not an absolute path"),
        ("~/a.db", "is not an absolute path"),
        ("/a\0b", "is not an absolute path"),
        ("/", "names a folder"),
        ("/var/lib/", "names a folder"),
        ("/var/..", "names a folder"),
    ] {
        let error = parse_path(text).expect_err(text);
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn texts() {
    assert_eq!(parse_optional(""), Ok(None));
    assert_eq!(parse_optional("  "), Ok(None));
    assert_eq!(parse_optional(" living room "), Ok(Some("living room".to_owned())));
    assert!(parse_optional("a\u{7}").unwrap_err().contains("control characters"));
    assert_eq!(parse_version(""), Ok(env!("CARGO_PKG_VERSION").to_owned()));
    assert_eq!(parse_version("2.1"), Ok("2.1".to_owned()));

    assert_eq!(parse_datastream_id(""), Ok(None));
    let id = "ebebf826-a01f-4458-8cec-ef61de241c93:dev";
    assert_eq!(parse_datastream_id(id), Ok(Some(id.to_owned())));
    for text in ["a b", "a&b=c", "ä", " ", &"a".repeat(129)] {
        assert!(parse_datastream_id(text).is_err(), "{text}");
    }

    for text in ["FPID", "ECID", "_acme", "A-1"] {
        assert!(parse_namespace(text).is_ok(), "{text}");
    }
    for text in ["", "F PID", "F\"PID"] {
        assert!(parse_namespace(text).is_err(), "{text}");
    }

    for text in ["https://example.com/player", "urn:acme:player", "a+b.c-d:x"] {
        assert!(parse_uri(text).is_ok(), "{text}");
    }
    for text in ["", "player", "1a:x", ":x", "a:", "a:x y", "/etc/passwd"] {
        assert!(parse_uri(text).is_err(), "{text}");
    }
}

#[test]
fn only_version_4_is_an_fpid() {
    for (text, expected) in [
        ("5f0c3d1e-6c1b-4f0e-9a52-2f8f6f1f9a10", true),
        ("5F0C3D1E-6C1B-4F0E-9A52-2F8F6F1F9A10", true),
        ("5f0c3d1e-6c1b-7f0e-9a52-2f8f6f1f9a10", false),
        ("5f0c3d1e-6c1b-4f0e-1a52-2f8f6f1f9a10", false),
        ("5f0c3d1e6c1b4f0e9a522f8f6f1f9a10", false),
        ("{5f0c3d1e-6c1b-4f0e-9a52-2f8f6f1f9a10}", false),
        ("12345678901234567890123456789012345678", false),
    ] {
        assert_eq!(is_fpid(text), expected, "{text}");
    }
}

#[test]
fn words_for_choices() {
    for word in ["browser", "app", "server", "iot"] {
        assert_eq!(Environment::parse(word).map(Environment::as_str), Ok(word));
        assert_eq!(serde_json::to_value(Environment::parse(word).unwrap()).unwrap(), word);
    }
    let error = Environment::parse("device").unwrap_err();
    assert_eq!(error, r#""device" is not known: write one of "browser", "app", "server", "iot""#);
    for word in ["in", "out", "pending"] {
        assert_eq!(value::parse_consent(word).map(Consent::as_str), Ok(word));
    }
    assert!(value::parse_consent("In").is_err());
}

#[test]
fn every_default_passes_its_own_check() {
    for scope in [Scope::System, Scope::User] {
        assert_eq!(Layers::defaults(scope, None).problems, []);
    }
    let (config, blank) = (Config::default(), Config::blank());
    let text_or_list = ["datastream_id", "api.listen", "api.origins", "identity.id", "defaults.player_name"];
    let place_or_zero = ["api.socket", "journal.path", "upload.reconnect_jitter", "defaults.channel"];
    for key in KEYS {
        let name = key.full_name();
        let empty = text_or_list.contains(&name.as_str()) || place_or_zero.contains(&name.as_str());
        assert_eq!((key.same)(&config, &blank), empty, "{name} must be set from its default");
    }
}

#[test]
fn defaults_are_those_that_are_promised() {
    let config = Config::default();
    let secs = Duration::from_secs;
    assert_eq!(config.endpoint.as_str(), "https://edge.adobedc.net/ee/va/v1/downloaded");
    assert_eq!(config.datastream_id, None);
    assert_eq!(config.api.listen, None);
    assert_eq!(config.journal.max_bytes, 64 << 20);
    assert_eq!(config.session.idle_timeout, secs(600));
    assert_eq!(config.session.max_age, secs(86_400));
    assert_eq!(config.session.close_grace, secs(5));
    assert_eq!((config.upload.thin, config.upload.concurrency), (Thin::AsNeeded, 1));
    assert_eq!((config.upload.connect_timeout, config.upload.timeout), (secs(10), secs(60)));
    assert_eq!((config.upload.body_budget, config.upload.timestamp), (60_000, true));
    assert_eq!((config.retry.initial, config.retry.max), (secs(5), secs(3600)));
    assert_eq!(config.upload.reconnect_jitter, secs(0));
    assert_eq!(Layers::defaults(Scope::System, None).config.upload.reconnect_jitter, secs(60));
}

#[test]
fn names_are_unique_and_variables_follow_them() {
    let names: BTreeSet<_> = KEYS.iter().map(Key::full_name).collect();
    let variables: BTreeSet<_> = KEYS.iter().map(Key::variable).collect();
    assert_eq!((names.len(), variables.len()), (KEYS.len(), KEYS.len()));
    assert!(
        variables.contains("AFTERPLAY_DATASTREAM_ID")
            && variables.contains("AFTERPLAY_SESSION__IDLE_TIMEOUT")
    );
    let sections: Vec<_> = keys::sections().collect();
    assert_eq!(
        sections.iter().collect::<BTreeSet<_>>().len(),
        sections.len(),
        "rows of a section stand together"
    );
    assert!(KEYS.iter().all(|key| !key.help.is_empty() && !key.form().is_empty()));
}
