//! The real binary in a folder of its own, on the disk under `target/`.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::client::Client;
use super::vfs;

/// Names another binary than the one that was built with this program, to compare the two.
const BINARY: &str = "AFTERPLAY_FIGURES_BINARY";

/// The binary as it is shipped.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os(BINARY).map_or_else(|| env!("CARGO_BIN_EXE_afterplay").into(), PathBuf::from)
}

/// Where nobody listens. In a network without a way out it is not even tried.
pub(crate) const NOBODY: &str = "https://192.0.2.1/nobody";

/// A folder that goes with everything in it.
pub(crate) struct Place(tempfile::TempDir);

/// How the service is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The binary itself.
    Binary,
    /// The same code in this program and cut off too, so that syncs are counted and take so much longer.
    Counted { delay: Duration },
    /// The binary in a network without any way out.
    CutOff,
}

impl Place {
    pub(crate) fn new() -> Place {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        fs::create_dir_all(folder).unwrap();
        Place(tempfile::Builder::new().prefix("figures-").tempdir_in(folder).unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path().join("s")
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.path().join("journal.db")
    }

    /// Puts a copy of a stored journal here.
    pub(crate) fn take(&self, stored: &Path) {
        for suffix in ["", "-wal"] {
            let from = PathBuf::from(format!("{}{suffix}", stored.display()));
            if from.exists() {
                fs::copy(&from, format!("{}{suffix}", self.journal().display())).unwrap();
            }
        }
        fs::File::open(self.journal()).unwrap().sync_all().unwrap();
    }

    pub(crate) fn start(&self, endpoint: &str, mode: Mode) -> Service<'_> {
        let config = self.path().join("config.toml");
        let text = format!(
            "datastream_id = \"figures\"\nendpoint = \"{endpoint}\"\napi.socket = {:?}\njournal.path = {:?}\n\
             journal.max_bytes = 17179869184\njournal.max_percent_per_user = 100\n\
             upload.reconnect_jitter = \"0s\"\n",
            self.socket().to_str().unwrap(),
            self.journal().to_str().unwrap()
        );
        fs::write(&config, text).unwrap();
        let cut_off = |program: PathBuf| {
            let mut command = Command::new("unshare");
            command.args(["--net", "--map-root-user"]).arg(program);
            command
        };
        let mut command = match mode {
            Mode::Binary => Command::new(binary()),
            Mode::CutOff => cut_off(binary()),
            Mode::Counted { .. } => cut_off(std::env::current_exe().unwrap()),
        };
        command.args(["run", "--config"]).arg(&config).env_clear().env("HOME", self.path());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("AFTERPLAY_LOG", "error");
        if let Mode::Counted { delay } = mode {
            command.env(vfs::DELAY, delay.as_micros().to_string()).env(vfs::COUNTS, self.counts());
        }
        let began = Instant::now();
        let child = command.stdin(Stdio::null()).spawn().unwrap();
        let service = Service { place: self, child, accepted_after: Duration::ZERO };
        service.until_accepting(began)
    }

    pub(crate) fn counts(&self) -> PathBuf {
        self.path().join("counts")
    }
}

/// A running service; stopped when dropped.
pub(crate) struct Service<'a> {
    place: &'a Place,
    child: Child,
    /// From the start of the process to the first accepted connection.
    pub(crate) accepted_after: Duration,
}

impl Service<'_> {
    fn until_accepting(mut self, began: Instant) -> Self {
        while UnixStream::connect(self.place.socket()).is_err() {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the service ended with {status}");
            }
            assert!(began.elapsed() < Duration::from_secs(120), "the service does not come up");
            std::thread::sleep(Duration::from_micros(500));
        }
        self.accepted_after = began.elapsed();
        self
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.place.socket())
    }

    /// Ends it in good order.
    pub(crate) fn stop(mut self) {
        self.terminate();
    }

    fn terminate(&mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.child.id().cast_signed()) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.child.wait();
    }
}

impl Drop for Service<'_> {
    fn drop(&mut self) {
        self.terminate();
    }
}
