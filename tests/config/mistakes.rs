//! What is said about mistakes: all at once, each with its place and with what would be right.

use afterplay::config::ConfigError;

use crate::{Home, NONE, reference_in_full};

#[test]
fn all_problems_are_told_at_once_with_their_places() {
    let home = Home::new();
    let text = r#"datastream_di = "x"
endpoint = "http://edge.example/x"
idle_timeout = "5m"
consnet = 1

[api]
listen = "0.0.0.0:80"
origins = ["https://a.example", "*", 3, "b"]
max_connections = 0
path = "/x"

[sesion]
idle_timeout = "1m"

[session]
idle_timeout = "10 parsecs"
max_age = 3600
close_grace = "2h"

[upload]
concurrency = 9
timestamp = "yes"
body_budget = 6e4
thin = "sometimes"
jitter = "1s"

[retry]
initial = "2m"
max = "1m"

[identity]
id = "my-tv"
"#;
    let variables = [
        ("AFTERPLAY_API_SOCKET", "/x"),
        ("AFTERPLAY_API__SOKCET", "/x"),
        ("AFTERPLAY_DATASTREAMID", "x"),
        ("AFTERPLAY_JOURNAL__MAX_BYTES", "64M"),
        ("AFTERPLAY_WHO__KNOWS", "x"),
    ];
    assert_eq!(
        home.complaints(text, &variables).lines().collect::<Vec<_>>(),
        [
            "config.toml:1:1: datastream_di: there is no such key: did you mean datastream_id?",
            "config.toml:2:12: endpoint: \"http://edge.example/x\" is not encrypted: write https://; http:// is for \
             127.0.0.1, [::1] and localhost only",
            "config.toml:3:1: idle_timeout: there is no such key here: idle_timeout belongs under [session]",
            "config.toml:4:1: consnet: there is no such key: at the top there are datastream_id, endpoint",
            "config.toml:7:10: api.listen: \"0.0.0.0:80\" could be reached from the network: write an address and a \
             port of this machine such as \"127.0.0.1:41780\" or \"[::1]:41780\"",
            "config.toml:8:38: api.origins: found the number 3, expected a list of web origins such as \
             [\"https://tv.example\"]",
            "config.toml:9:19: api.max_connections: 0 is too small: at least 1, since each one holds a file \
             descriptor and a buffer",
            "config.toml:10:1: api.path: there is no such key here: path belongs under [journal]",
            "config.toml:12:2: sesion: there is no such section: did you mean [session]?",
            "config.toml:16:16: session.idle_timeout: \"10 parsecs\" is not a duration such as \"200ms\", \"5s\", \
             \"10m\", \"24h\" or \"7d\"",
            "config.toml:17:11: session.max_age: 3600 has no unit: write a duration such as \"200ms\", \"5s\", \
             \"10m\", \"24h\" or \"7d\", in quotes",
            "config.toml:18:15: session.close_grace: \"2h\" is too long: at most \"1h\", since a closed session waits \
             this long for its upload",
            "config.toml:21:15: upload.concurrency: 9 is too large: at most 8, since more only makes the endpoint \
             push back",
            "config.toml:22:13: upload.timestamp: found the text \"yes\", expected true or false",
            "config.toml:23:15: upload.body_budget: found a number with a fraction, expected a whole number from \
             4096 to 16777216",
            "config.toml:24:8: upload.thin: \"sometimes\" is not known: write \"never\", \"as-needed\" or a gap such \
             as \"50s\"",
            "config.toml:25:1: upload.jitter: there is no such key: [upload] has thin, connect_timeout, timeout, \
             body_budget, concurrency, reconnect_jitter, timestamp",
            "config.toml:29:7: retry.max: retry.max (\"1m\") is shorter than retry.initial (\"2m\"): swap or align \
             them",
            "config.toml:32:6: identity.id: it is not a UUID of version 4, and Adobe takes no other FPID: write one, \
             or \"\" to have it made",
            "environment variable AFTERPLAY_API_SOCKET: it sets nothing: did you mean AFTERPLAY_API__SOCKET?",
            "environment variable AFTERPLAY_API__SOKCET: it sets nothing: did you mean AFTERPLAY_API__SOCKET?",
            "environment variable AFTERPLAY_DATASTREAMID: it sets nothing: did you mean AFTERPLAY_DATASTREAM_ID?",
            "environment variable AFTERPLAY_JOURNAL__MAX_BYTES: journal.max_bytes: found the text \"64M\", expected \
             a whole number from 1048576 to 1099511627776",
            "environment variable AFTERPLAY_WHO__KNOWS: it sets nothing: variables are named \
             AFTERPLAY_SECTION__KEY after the keys of the file",
        ]
    );
}

#[test]
fn each_bad_origin_is_named() {
    let home = Home::new();
    let complaints =
        home.complaints("[api]\norigins = [\n  \"https://a.example\",\n  \"*\",\n  \"b\",\n]\n", NONE);
    let places: Vec<_> = complaints.lines().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(places, ["config.toml:4:3", "config.toml:5:3"]);
}

#[test]
fn mistakes_in_the_syntax_have_a_place_too() {
    let home = Home::new();
    let duration = "a duration in quotes such as \"10m\", from \"100ms\" to \"7d\"";
    for (text, expected) in [
        (
            "[session]\nidle_timeout = 10m\n",
            format!("config.toml:2:16: session.idle_timeout: string values must be quoted: write {duration}"),
        ),
        (
            "[api]\nsocket = \"/a\"\nsocket = \"/b\"\n",
            "config.toml:3:1: this key or section is there twice: keep one and put everything below it"
                .to_owned(),
        ),
        (
            "[api]\n[api]\n",
            "config.toml:2:2: this key or section is there twice: keep one and put everything below it"
                .to_owned(),
        ),
        (
            "listne = \"\"\n[api\nsocket = \"/b\"\n",
            "config.toml:1:1: listne: there is no such key: at the top there are datastream_id, endpoint\n\
             config.toml:2:5: this is not TOML: unclosed table, expected `]`"
                .to_owned(),
        ),
        (
            "datastream_id: 5\n",
            "config.toml:1:14: this is not TOML: invalid unquoted key, expected letters, numbers, `-`, `_`"
                .to_owned(),
        ),
        (
            "[upload]\ntimestamp = True\n",
            "config.toml:2:13: upload.timestamp: invalid boolean: write true or false".to_owned(),
        ),
        ("api = 1\n", "config.toml:1:1: api: this is a section: write [api] on a line of its own".to_owned()),
        ("[[api]]\n", "config.toml:1:3: api: this is a section: write [api] on a line of its own".to_owned()),
    ] {
        assert_eq!(home.complaints(text, NONE), expected, "{text}");
    }
}

#[test]
fn places_count_characters_and_survive_windows_editors() {
    let home = Home::new();
    let complaints = home.complaints("\u{feff}[api]\r\n# ü\r\nlisten = \"ü\" ; #\r\n", NONE);
    assert!(complaints.starts_with("config.toml:3:14: "), "{complaints}");
    let complaints = home.complaints("\u{feff}endpiont = \"x\"\r\n", NONE);
    assert!(complaints.starts_with("config.toml:1:1: endpiont: "), "{complaints}");
    let loaded =
        home.load("\u{feff}datastream_id = \"abc\"\r\n[api]\r\nlisten = \"127.0.0.1:0\"\r\n", NONE).unwrap();
    assert_eq!(loaded.config.datastream_id.as_deref(), Some("abc"));
}

#[test]
fn bytes_that_are_not_text_have_a_place() {
    let home = Home::new();
    let complaints = home.complaints(b"[api]\nlisten = \"\xff\"\n", NONE);
    assert_eq!(complaints, "config.toml:2:11: this byte is not UTF-8: save the file as UTF-8");
}

#[test]
fn keys_that_depend_on_each_other() {
    let home = Home::new();
    assert_eq!(
        home.complaints("[identity]\nnamespace = \"ECID\"\n", NONE),
        "config.toml:2:13: identity.namespace: \"ECID\" needs an identity.id: only an FPID can be made here"
    );
    let complaints = home.complaints("[identity]\nid = \"secret-viewer\"\n", NONE);
    assert!(!complaints.contains("secret-viewer"), "identities stay out of errors: {complaints}");
    assert!(home.load("[identity]\nnamespace = \"ECID\"\nid = \"123\"\n", NONE).is_ok());
    assert!(home.load("[identity]\nid = \"5f0c3d1e-6c1b-4f0e-9a52-2f8f6f1f9a10\"\n", NONE).is_ok());
    assert_eq!(
        home.complaints("[retry]\ninitial = \"2h\"\n", NONE),
        "config.toml:2:11: retry.initial: retry.max (\"1h\") is shorter than retry.initial (\"2h\"): swap or align them"
    );
    assert_eq!(
        home.complaints("", &[("AFTERPLAY_RETRY__PAUSE_MAX", "1m")]),
        "environment variable AFTERPLAY_RETRY__PAUSE_MAX: retry.pause_max: retry.pause_max (\"1m\") is shorter than \
         retry.pause_initial (\"15m\"): swap or align them"
    );
    let one = home.complaints("[retry]\ninitial = \"2h\"\nmax = \"three hours\"\n", NONE);
    assert_eq!(one.lines().count(), 1, "a bad value is not also compared: {one}");
    let long = format!("/{}/afterplay.sock", "x".repeat(100));
    assert!(
        home.complaints(format!("[api]\nsocket = \"{long}\"\n"), NONE)
            .contains("config.toml:2:10: api.socket: ")
    );
}

fn scale() -> u32 {
    std::env::var("AFTERPLAY_TEST_SCALE").ok().and_then(|scale| scale.parse().ok()).unwrap_or(1)
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(256 * scale()))]

    /// Whatever an editor or a disk does to the file, it is read or refused with a place.
    #[test]
    fn damaged_files_are_refused_with_a_place(
        edits in proptest::collection::vec((0_usize..6000, proptest::prelude::any::<u8>(), 0_usize..3), 1..8),
    ) {
        let mut bytes = reference_in_full().into_bytes();
        for (at, byte, action) in edits {
            let at = at % bytes.len();
            match action {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => bytes.truncate(at.max(1)),
            }
        }
        match Home::new().load(&bytes, NONE) {
            Ok(_) => {}
            Err(ConfigError::Invalid(problems)) => {
                proptest::prop_assert!(!problems.is_empty());
                let lines = bytes.iter().filter(|byte| **byte == b'\n').count() + 1;
                for problem in problems {
                    let placed = problem.line.is_some_and(|line| line <= lines) && problem.column.is_some();
                    proptest::prop_assert!(placed, "{problem}");
                }
            }
            Err(other) => proptest::prop_assert!(false, "{other}"),
        }
    }
}
