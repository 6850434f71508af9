//! The configuration as a person meets it: files, the environment, and what is said about mistakes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests stand outside the test functions"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use afterplay::config::{
    Config, ConfigError, KEYS, Loaded, SYSTEM_SOCKET, Scope, Surroundings, Thin, UserFolders, load,
    reloadable_change,
};

const NONE: &[(&str, &str)] = &[];

/// A home of its own, so that no test meets the files of whoever runs it.
struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn write(&self, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join("config.toml");
        std::fs::write(&path, text).unwrap();
        path
    }

    fn surroundings(&self, variables: &[(&str, &str)]) -> Surroundings {
        let base = self.folder.path();
        let folders = UserFolders {
            config: base.join("config/afterplay"),
            data: base.join("data/afterplay"),
            runtime: Some(base.join("run/afterplay")),
        };
        Surroundings {
            uid: Some(1000),
            folders: Some(folders),
            ..Surroundings::with_variables(variables.iter().copied())
        }
    }

    fn load(&self, text: impl AsRef<[u8]>, variables: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
        load(Some(&self.write(text)), &self.surroundings(variables))
    }

    /// What is said about a file, with the folder of the test taken out.
    fn complaints(&self, text: impl AsRef<[u8]>, variables: &[(&str, &str)]) -> String {
        let error = self.load(text, variables).expect_err("the configuration must be refused");
        error.to_string().replace(&format!("{}/", self.folder.path().display()), "")
    }
}

fn reference() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/config.toml")).unwrap()
}

/// The reference with all its keys set.
fn reference_in_full() -> String {
    let key = |line: &&str| line.starts_with('#') && !line.starts_with("# ") && line.contains(" = ");
    reference()
        .lines()
        .map(|line| if key(&line) { line.trim_start_matches('#') } else { line })
        .collect::<Vec<_>>()
        .join("\n")
}

fn system(variables: &[(&str, &str)]) -> Surroundings {
    let mut surroundings = Surroundings::with_variables(variables.iter().copied());
    surroundings.variables.insert("STATE_DIRECTORY".into(), "/var/lib/afterplay".into());
    surroundings
}

#[test]
fn the_reference_holds_the_defaults() {
    let home = Home::new();
    let defaults = {
        let nothing = home.write("");
        load(Some(&nothing), &system(&[])).unwrap().config
    };
    let shipped = load(Some(&home.write(reference())), &system(&[])).unwrap();
    assert_eq!(shipped.config, defaults);
    assert!(shipped.set.is_empty(), "the reference leaves every key at its default: {:?}", shipped.set);

    let full = load(Some(&home.write(reference_in_full())), &system(&[])).unwrap();
    assert_eq!(full.config, defaults);
    let named: BTreeSet<String> = full.set.keys().cloned().collect();
    let known: BTreeSet<String> = KEYS.iter().map(|key| key.full_name()).collect();
    assert_eq!(named, known);
}

#[test]
fn the_reference_shows_default_and_reload_as_the_table_has_them() {
    let reference = reference();
    for key in KEYS {
        let line = format!("#{} = {}", key.name, key.default_text(Scope::System));
        let at =
            reference.find(&format!("{line}\n")).unwrap_or_else(|| panic!("{line} is not in the reference"));
        let paragraph = reference[..at].rsplit("\n\n").next().unwrap();
        assert_eq!(paragraph.contains("(reload)"), key.reloadable, "{}", key.full_name());
    }
}

#[test]
fn nothing_at_the_default_place_means_defaults() {
    let home = Home::new();
    let loaded = load(None, &home.surroundings(NONE)).unwrap();
    assert_eq!((loaded.file, loaded.explicit, loaded.scope), (None, false, Scope::User));
    let base = home.folder.path();
    assert_eq!(loaded.config.api.socket, base.join("run/afterplay/afterplay.sock"));
    assert_eq!(loaded.config.journal.path, base.join("data/afterplay/journal.db"));
    assert_eq!(loaded.config.token_file(), base.join("data/afterplay/api-token"));
    assert_eq!(loaded.config.session, Config::default().session);
}

#[test]
fn a_file_at_the_default_place_is_read() {
    let home = Home::new();
    let folder = home.folder.path().join("config/afterplay");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("config.toml"), "[upload]\nthin = \"50s\"\n").unwrap();
    let loaded = load(None, &home.surroundings(NONE)).unwrap();
    assert_eq!(loaded.config.upload.thin, Thin::Gap(Duration::from_secs(50)));
    assert_eq!((loaded.file, loaded.explicit), (Some(folder.join("config.toml")), false));
}

#[test]
fn the_environment_wins_over_the_file() {
    let home = Home::new();
    let text = "datastream_id = \"from-file\"\n[session]\nidle_timeout = \"1m\"\nmax_age = \"2h\"\n";
    let variables = [
        ("AFTERPLAY_DATASTREAM_ID", "from-environment"),
        ("AFTERPLAY_SESSION__IDLE_TIMEOUT", "2m"),
        ("AFTERPLAY_UPLOAD__CONCURRENCY", "4"),
        ("AFTERPLAY_UPLOAD__TIMESTAMP", "false"),
        ("AFTERPLAY_API__ORIGINS", "https://a.example, null"),
        ("AFTERPLAY_LOG", "debug"),
        ("AFTERPLAY_TEST_SCALE", "2"),
        ("AFTERPLAY_TEST_A__B", "2"),
        ("AFTERPLAY_HOME", "belongs to somebody else"),
        ("PATH", "/bin"),
    ];
    let loaded = home.load(text, &variables).unwrap();
    let config = &loaded.config;
    assert_eq!(config.datastream_id.as_deref(), Some("from-environment"));
    assert_eq!(config.session.idle_timeout, Duration::from_secs(120));
    assert_eq!(config.session.max_age, Duration::from_secs(7200));
    assert_eq!((config.upload.concurrency, config.upload.timestamp), (4, false));
    let origins: Vec<_> = config.api.origins.iter().map(|origin| origin.as_str()).collect();
    assert_eq!(origins, ["https://a.example", "null"]);
    assert_eq!(loaded.set["session.idle_timeout"], "environment variable AFTERPLAY_SESSION__IDLE_TIMEOUT");
    assert!(loaded.set["session.max_age"].ends_with("config.toml"));
}

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

#[test]
fn a_named_file_must_be_there() {
    let home = Home::new();
    for path in [home.folder.path().join("missing.toml"), home.folder.path().to_owned()] {
        let error = load(Some(&path), &home.surroundings(NONE)).unwrap_err();
        assert!(matches!(&error, ConfigError::Unreadable { path: named, .. } if *named == path), "{error}");
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    }
    assert_eq!(ConfigError::EXIT_CODE, 78);
}

#[test]
fn without_a_home_the_places_have_to_be_told() {
    let home = Home::new();
    let nowhere = |variables: &[(&str, &str)]| Surroundings::with_variables(variables.iter().copied());
    let error = load(None, &nowhere(&[])).unwrap_err().to_string();
    assert_eq!(
        error.lines().collect::<Vec<_>>(),
        [
            "built-in default: api.socket: no home folder is known to put it in: set it in the configuration, or HOME",
            "built-in default: journal.path: no home folder is known to put it in: set it in the configuration, or HOME",
        ]
    );
    let told = home.write("[api]\nsocket = \"/x/a.sock\"\n");
    let loaded = load(Some(&told), &nowhere(&[("AFTERPLAY_JOURNAL__PATH", "/x/j.db")])).unwrap();
    assert_eq!(loaded.config.token_file(), Path::new("/x/api-token"));
}

#[test]
fn a_system_service_has_the_folders_of_the_system() {
    let home = Home::new();
    let loaded = load(Some(&home.write("")), &system(&[])).unwrap();
    assert_eq!(loaded.scope, Scope::System);
    assert_eq!(loaded.config.api.socket, Path::new(SYSTEM_SOCKET));
    assert_eq!(loaded.config.journal.path, Path::new("/var/lib/afterplay/journal.db"));
    assert_eq!(loaded.config.upload.reconnect_jitter, Duration::from_secs(60));
}

#[test]
fn clients_find_the_service() {
    let home = Home::new();
    let own = home.folder.path().join("run/afterplay/afterplay.sock");
    let system = Path::new(SYSTEM_SOCKET);
    let client = |loaded: &Loaded, there: &[&Path]| loaded.client_socket(|path| there.contains(&path));

    let plain = load(None, &home.surroundings(NONE)).unwrap();
    assert_eq!(client(&plain, &[]), own);
    assert_eq!(client(&plain, &[&own]), own);
    assert_eq!(client(&plain, &[&own, system]), own);
    assert_eq!(client(&plain, &[system]), system);

    let told = load(None, &home.surroundings(&[("AFTERPLAY_API__SOCKET", "/x/a.sock")])).unwrap();
    assert_eq!(client(&told, &[system]), Path::new("/x/a.sock"));
    let explicit = home.load("", NONE).unwrap();
    assert_eq!(client(&explicit, &[system]), own);
}

#[test]
fn a_reload_takes_over_what_can_be_taken_over() {
    let home = Home::new();
    let old = home.load("", NONE).unwrap().config;
    assert_eq!(reloadable_change(&old, &old).config, old);

    let text = "datastream_id = \"abc\"\n[api]\nlisten = \"127.0.0.1:0\"\n[session]\nidle_timeout = \"1m\"\n\
                [journal]\npath = \"/x/j.db\"\n";
    let new = home.load(text, NONE).unwrap().config;
    let reload = reloadable_change(&old, &new);
    assert_eq!(reload.applied, ["datastream_id", "session.idle_timeout"]);
    assert_eq!(reload.needs_restart, ["api.listen", "journal.path"]);
    assert_eq!(reload.config.datastream_id.as_deref(), Some("abc"));
    assert_eq!(reload.config.session.idle_timeout, Duration::from_secs(60));
    assert_eq!((reload.config.api.listen, &reload.config.journal.path), (None, &old.journal.path));
}

#[test]
fn each_key_reaches_its_own_field() {
    let home = Home::new();
    let other = |name: &str| match name {
        "datastream_id" | "identity.namespace" | "defaults.player_name" | "defaults.channel" => "abc",
        "endpoint" => "http://127.0.0.1:1/x",
        "api.socket" | "journal.path" => "/x/y",
        "api.listen" => "127.0.0.1:1",
        "api.origins" => "null",
        "upload.thin" => "never",
        "clock.trust" => "rtc",
        "upload.timestamp" => "false",
        "identity.id" => "5f0c3d1e-6c1b-4f0e-9a52-2f8f6f1f9a10",
        "implementation.name" => "urn:a:b",
        "implementation.version" => "9",
        "implementation.environment" => "iot",
        "consent.initial" => "out",
        "upload.concurrency" => "3",
        "upload.body_budget" => "5000",
        "journal.max_bytes" => "2000000",
        "journal.evict" => "true",
        name if name.contains("max_connections")
            || name.contains("max_open")
            || name.contains("percent")
            || name.contains("max_requests") =>
        {
            "7"
        }
        "retry.max" | "retry.pause_max" => "23h",
        _ => "11s",
    };
    let old = home.load("", NONE).unwrap().config;
    for key in KEYS {
        let (name, variable) = (key.full_name(), key.variable());
        let mut variables = vec![(variable.as_str(), other(&name))];
        if name == "identity.namespace" {
            variables.push(("AFTERPLAY_IDENTITY__ID", "1"));
        }
        let new = home.load("", &variables).unwrap_or_else(|error| panic!("{error}")).config;
        let reload = reloadable_change(&old, &new);
        let changed: Vec<_> = reload.applied.iter().chain(&reload.needs_restart).collect();
        let expected: Vec<&str> = if name == "identity.namespace" {
            vec!["identity.namespace", "identity.id"]
        } else {
            vec![&name]
        };
        assert_eq!(changed, expected);
        assert_eq!(reload.config == new, key.reloadable, "{name}");
    }
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
