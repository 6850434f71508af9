//! The systemd units, read by systemd itself where it is installed.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What `systemd-analyze security` may say at most; it says 1.3 with systemd 252.
const EXPOSURE_LIMIT: f64 = 1.5;

fn unit(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Units in a folder of their own, with a program that is there.
struct Copies {
    folder: tempfile::TempDir,
}

impl Copies {
    fn of(units: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in units {
            let text = unit(name).replace("/usr/bin/afterplay", "/bin/sh");
            std::fs::write(folder.path().join(Path::new(name).file_name().unwrap()), text).unwrap();
        }
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs `systemd-analyze`; `None` with a message where there is none.
    fn analyze(&self, arguments: &[&str], units: &[&str]) -> Option<Output> {
        let mut command = Command::new("systemd-analyze");
        command.args(arguments).args(units.iter().map(|name| self.path(name)));
        command
            .env("XDG_RUNTIME_DIR", self.folder.path())
            .env("SYSTEMD_COLORS", "0")
            .env("LC_ALL", "C.UTF-8");
        match command.output() {
            Ok(output) if String::from_utf8_lossy(&output.stderr).contains("unrecognized option") => {
                println!("skipped: systemd-analyze is too old for {arguments:?}");
                None
            }
            Ok(output) => Some(output),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                println!("skipped: there is no systemd-analyze here");
                None
            }
            Err(error) => panic!("systemd-analyze: {error}"),
        }
    }
}

/// What the command said must be nothing about our units.
fn assert_clean(output: &Output) {
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    assert!(!said.lines().any(|line| line.contains("afterplay.s")), "{said}");
}

#[test]
fn system_units_pass_verification() {
    let copies = Copies::of(&["afterplay.service", "afterplay.socket"]);
    // The manual page is looked for only once it is installed.
    if let Some(output) = copies.analyze(&["verify", "--man=no"], &["afterplay.service", "afterplay.socket"])
    {
        assert_clean(&output);
    }
}

#[test]
fn user_units_pass_verification() {
    let copies = Copies::of(&["user/afterplay.service", "user/afterplay.socket"]);
    let arguments = ["--user", "verify", "--man=no"];
    if let Some(output) = copies.analyze(&arguments, &["afterplay.service", "afterplay.socket"]) {
        assert_clean(&output);
    }
}

#[test]
fn the_service_is_well_confined() {
    let copies = Copies::of(&["afterplay.service"]);
    let Some(output) = copies.analyze(&["--offline=true", "security"], &["afterplay.service"]) else {
        return;
    };
    let said = String::from_utf8_lossy(&output.stdout);
    let figure = exposure(&said).unwrap_or_else(|| {
        panic!("no figure in what was said:\n{said}{}", String::from_utf8_lossy(&output.stderr))
    });
    assert!(figure <= EXPOSURE_LIMIT, "exposure is {figure}, more than {EXPOSURE_LIMIT}:\n{said}");
}

fn exposure(said: &str) -> Option<f64> {
    let (_, rest) = said.split_once("Overall exposure level for afterplay.service: ")?;
    rest.split_whitespace().next()?.parse().ok()
}

#[test]
fn the_socket_unit_owns_the_runtime_directory() {
    for name in ["afterplay.service", "user/afterplay.service"] {
        let directives = unit(name);
        assert!(!directives.lines().any(|line| line.starts_with("RuntimeDirectory")), "{name}");
        assert!(directives.contains("Requires=afterplay.socket"), "{name}");
    }
    let socket = format!("ListenStream={}", afterplay::config::SYSTEM_SOCKET);
    assert!(unit("afterplay.socket").lines().any(|line| line == socket), "{socket}");
    assert!(unit("user/afterplay.socket").contains("ListenStream=%t/afterplay/afterplay.sock"));
}

#[test]
fn users_and_groups_exist_before_they_are_used() {
    let (service, socket, sysusers) =
        (unit("afterplay.service"), unit("afterplay.socket"), unit("afterplay.sysusers"));
    assert!(service.contains("User=afterplay\n") && sysusers.contains("\nu afterplay "));
    assert!(
        socket.contains("SocketGroup=afterplay-players\n") && sysusers.contains("\ng afterplay-players ")
    );
}
