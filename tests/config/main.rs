//! The configuration as a person meets it: files, the environment, and what is said about mistakes.

mod mistakes;

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
