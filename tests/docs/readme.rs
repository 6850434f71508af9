//! The snippets of the README, run as they stand against a real service; only places and ports are replaced.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use crate::endpoint::Endpoint;
use crate::service::{BINARY, Place, wait_for};

const SYSTEM_SOCKET: &str = "/run/afterplay/afterplay.sock";

fn readme() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap()
}

/// The one fenced block of this language that contains `mark`.
fn block(language: &str, mark: &str) -> String {
    let readme = readme();
    let fence = format!("```{language}\n");
    let mut found: Vec<&str> = readme
        .split(fence.as_str())
        .skip(1)
        .map(|rest| rest.split("\n```").next().unwrap())
        .filter(|block| block.contains(mark))
        .collect();
    assert_eq!(found.len(), 1, "blocks of {language} with {mark}");
    format!("{}\n", found.remove(0))
}

/// The output of a program; `None` with a message where it is not installed.
fn output(command: &mut Command) -> Option<Output> {
    match command.output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("skipped: there is no {} here", command.get_program().display());
            None
        }
        Err(error) => panic!("{}: {error}", command.get_program().display()),
    }
}

fn assert_success(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    out.into_owned()
}

/// Runs a player of the README, which must bring the session `key` to the endpoint.
fn plays(key: &str, player: impl FnOnce(&Place, &str) -> Option<String>) {
    let endpoint = Endpoint::start([]);
    let place = Place::new(&endpoint.url(), "session.close_grace = \"10ms\"");
    let service = place.start();
    let Some(said) = player(&place, place.socket().to_str().unwrap()) else { return };
    let session = service.wait_for_state(key, "delivered");
    assert_eq!(session["title"], "The Long Tide", "{said}");
    assert_eq!(session["receipt"]["events"], 3, "{said}");
    assert_eq!(session["why"], "end", "{said}");
}

#[test]
fn the_player_in_curl() {
    let Some(version) = output(Command::new("curl").arg("--version")) else { return };
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    plays("curl-1", |_, socket| {
        let script = block("sh", "curl ").replace(SYSTEM_SOCKET, socket);
        let said = assert_success(&output(Command::new("sh").args(["-euc", &script]))?);
        assert_eq!(said.lines().count(), 3, "an answer an event, from {version}: {said}");
        Some(said)
    });
}

#[test]
fn the_player_in_python() {
    plays("python-1", |_, socket| {
        let program = block("python", "AF_UNIX").replace(SYSTEM_SOCKET, socket);
        let said = assert_success(&output(Command::new("python3").args(["-I", "-c", &program]))?);
        assert!(said.contains("'recorded': 1"), "{said}");
        Some(said)
    });
}

#[test]
fn the_player_in_c() {
    plays("c-1", |place, socket| {
        let source = place.dir.path().join("player.c");
        std::fs::write(&source, block("c", "AF_UNIX").replace(SYSTEM_SOCKET, socket)).unwrap();
        let player = place.dir.path().join("player");
        let warnings = ["-Wall", "-Wextra", "-Werror", "-std=c11"];
        // `sockaddr_un` and MSG_NOSIGNAL are POSIX, which plain C11 hides.
        let mut cc = Command::new("cc");
        cc.args(warnings).arg("-D_POSIX_C_SOURCE=200809L").arg(&source).arg("-o").arg(&player);
        assert_success(&output(&mut cc)?);
        // Once more as the text says.
        assert_success(&output(Command::new("cc").arg(&source).arg("-o").arg(&player))?);
        Some(assert_success(&output(&mut Command::new(&player))?))
    });
}

/// What runs in a terminal of its own; ended with everything below it when dropped.
struct Terminal(Child);

impl Drop for Terminal {
    fn drop(&mut self) {
        let group = format!("-{}", self.0.id());
        let _ = Command::new("kill").args(["-s", "TERM", "--", &group]).status();
        let _ = self.0.wait();
    }
}

/// A shell with an empty home in which `afterplay` is the binary under test.
fn shell(home: &Path, script: &str) -> Command {
    let mut command = Command::new("sh");
    let path = std::env::var("PATH").unwrap_or_default();
    let bin = Path::new(BINARY).parent().unwrap().display();
    command
        .args(["-euc", script])
        .env_clear()
        .env("HOME", home)
        .env("PATH", format!("{bin}:{path}"))
        // As the README has it, only sooner.
        .env("AFTERPLAY_SESSION__CLOSE_GRACE", "10ms")
        .current_dir(home)
        .stdin(Stdio::null());
    command
}

#[test]
fn by_hand() {
    let home = tempfile::tempdir().unwrap();
    let port = crate::endpoint::nobody().port();
    let script = |mark: &str| block("sh", mark).replace(":8080", &format!(":{port}"));
    let run = |mark: &str| assert_success(&shell(home.path(), &script(mark)).output().unwrap());
    let terminal = |mark: &str| {
        let mut command = shell(home.path(), &script(mark));
        let quiet = command.process_group(0).stdout(Stdio::null()).stderr(Stdio::null());
        Terminal(quiet.spawn().unwrap())
    };
    let ask = |line: &str| shell(home.path(), line).output().unwrap();

    let _service = terminal("# terminal 1");
    wait_for("the service", || ask("afterplay status").status.success().then_some(()));
    let said = run("afterplay record");
    for part in ["\"seq\":2", "uploader", "film-1", "Timeline"] {
        assert!(said.to_lowercase().contains(&part.to_lowercase()), "{part}: {said}");
    }
    wait_for("the end of the session", || {
        String::from_utf8_lossy(&ask("afterplay show film-1").stdout)
            .contains("ended by the player")
            .then_some(())
    });
    let _sandbox = terminal("# terminal 3");
    wait_for("the sandbox", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    let said = run("afterplay flush");
    assert!(said.contains("Receipt") && said.contains("State         delivered"), "{said}");
    let received = std::fs::read(home.path().join("received/0001-200.json")).unwrap();
    assert!(received.starts_with(b"{\"events\":[{\"xdm\":"), "{}", String::from_utf8_lossy(&received));
}

#[test]
fn the_two_commands_of_the_beginning() {
    let commands = block("sh", "demo");
    assert_eq!(commands, "cargo run --release -- demo\ncargo test\n");
}

#[test]
fn the_set_up_installs_what_there_is() {
    let root = tempfile::tempdir().unwrap();
    let script = block("sh", "systemctl");
    for line in script.lines().filter(|line| line.starts_with("install ")) {
        let [_, d, m, mode, from, to] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let from = if from == "target/release/afterplay" { BINARY } else { from };
        let to = root.path().join(to.strip_prefix('/').unwrap());
        let mut install = Command::new("install");
        install.args([d, m, mode, from]).arg(to).current_dir(env!("CARGO_MANIFEST_DIR"));
        assert_success(&install.output().unwrap());
    }
    for path in [
        "usr/bin/afterplay",
        "etc/systemd/system/afterplay.service",
        "etc/systemd/system/afterplay.socket",
        "usr/lib/sysusers.d/afterplay.conf",
        "etc/afterplay/config.toml",
    ] {
        assert!(root.path().join(path).is_file(), "{path}");
    }
    let unit = std::fs::read_to_string(root.path().join("etc/systemd/system/afterplay.service")).unwrap();
    assert!(unit.contains("ExecStart=/usr/bin/afterplay run"));
    // What the groups and users of the other lines are called is said by the file that makes them.
    let users = std::fs::read_to_string(root.path().join("usr/lib/sysusers.d/afterplay.conf")).unwrap();
    assert!(users.contains("g afterplay-players") && script.contains("usermod -aG afterplay-players "));
}

#[test]
fn the_least_configuration_is_one() {
    let place = Place::new("http://127.0.0.1:9/ee/va/v1/downloaded", "");
    std::fs::write(&place.config, block("toml", "datastream_id")).unwrap();
    let loaded = afterplay::config::load(
        Some(&place.config),
        &afterplay::config::Surroundings::with_variables([("STATE_DIRECTORY", "/var/lib/afterplay")]),
    )
    .unwrap();
    assert_eq!(loaded.config.datastream_id.as_deref(), Some("your-datastream-id"));
    // The table of places is true.
    let readme = readme();
    assert_eq!(loaded.config.api.socket.to_str(), Some(SYSTEM_SOCKET));
    let journal = loaded.config.journal.path.display().to_string();
    assert!(readme.contains(&format!("| journal | `{journal}` |")), "{journal}");
}

#[test]
fn every_file_that_is_named_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = readme();
    let named = readme.split(['`', '(', ')', ' ', '\n']).filter(|word| {
        ["config/", "systemd/"].iter().any(|folder| word.starts_with(folder))
            || word.ends_with(".md")
            || word.starts_with("LICENSE")
    });
    let mut count = 0;
    for word in named {
        count += 1;
        assert!(root.join(word).exists(), "{word}");
    }
    assert!(count > 8, "{count}");
}
