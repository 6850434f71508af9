//! Row "full disk" of the reliability table (product promise 7): it never wedges the service, and loses nothing.
//!
//! A round fills a small file system from inside or outside, in one of the moments that matter. The commit tier plays
//! 10 of them; `AFTERPLAY_TEST_SCALE=20` the 200 of the release tier.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::books::{Books, Came};
use crate::endpoint::{Act, Endpoint, Reply};
use crate::scale;
use crate::service::{Place, Service, wait_for};

/// Rounds at scale 1.
const ROUNDS: u64 = 10;
/// How soon a greedy neighbour has what comes free.
const FILLED_EVERY: Duration = Duration::from_millis(250);
/// Bytes of the small file system.
const DISK: &str = "3m";

/// A file system of its own, of a few megabytes.
pub(crate) struct Disk(pub(crate) PathBuf);

impl Disk {
    pub(crate) fn mount(at: &Path) -> Option<Disk> {
        std::fs::create_dir_all(at).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={DISK},mode=0700"), "none"])
            .arg(at)
            .output();
        if mounted.is_ok_and(|mounted| mounted.status.success()) {
            return Some(Disk(at.to_owned()));
        }
        eprintln!("skipped: a small file system cannot be mounted (root is needed)");
        None
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    /// Somebody else takes every block that is left.
    pub(crate) fn fill(&self) {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(self.filler()).unwrap();
        for size in [64 << 10, 4096, 1] {
            while file.write_all(&vec![b'x'; size]).is_ok() {}
        }
    }

    fn listing(&self) -> String {
        let listed = Command::new("ls").arg("-ls").arg(&self.0).output().unwrap();
        String::from_utf8_lossy(&listed.stdout).into_owned()
    }

    pub(crate) fn free(&self) {
        let _ = std::fs::remove_file(self.filler());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

pub(crate) const KEYS: &str = "retry.initial = \"10ms\"\nretry.max = \"50ms\"\nupload.reconnect_jitter = \"0s\"\n\
    upload.thin = \"never\"\napi.max_connections = 16";

struct Round<'a> {
    disk: &'a Disk,
    endpoint: &'a Endpoint,
    books: Books,
    n: u64,
}

impl Round<'_> {
    fn key(&self, part: &str) -> String {
        format!("r{}-{part}", self.n)
    }

    /// Records until the service says that it is full.
    fn record_until_full(&mut self, service: &Service<'_>, part: &str) {
        let mut connection = service.connect();
        for n in 0.. {
            let key = self.key(&format!("{part}{}", n / 20));
            match self.books.record(&mut connection, &key, 4, 4000) {
                Came::Acknowledged => assert!(n < 10_000, "a disk of {DISK} is never full"),
                Came::Refused(answer) => {
                    assert_eq!(answer.status, 503, "{}", answer.text());
                    assert_eq!(answer.json()["reason"], "journal_full", "{}", answer.text());
                    assert!(answer.header("retry-after").is_some());
                    assert_eq!(service.status()["journal"]["full"], true, "{}", self.disk.listing());
                    return;
                }
                Came::Nothing => panic!("no answer"),
            }
        }
    }

    /// Intake is back within 5 s of space.
    fn record_again(&mut self, service: &Service<'_>, part: &str) {
        let key = self.key(part);
        let since = Instant::now();
        let mut connection = service.connect();
        wait_for("intake to be back", || {
            matches!(self.books.record(&mut connection, &key, 4, 1000), Came::Acknowledged).then_some(())
        });
        assert!(since.elapsed() <= Duration::from_secs(5), "there was space: {}", self.disk.listing());
        assert_eq!(service.status()["journal"]["full"], false, "{}", self.disk.listing());
    }

    /// Everything that was acknowledged arrives, whatever the disk is like.
    fn deliver(&mut self, service: &Service<'_>) {
        let keys: Vec<String> = self.books.sessions().map(str::to_owned).collect();
        for key in &keys {
            wait_for("completing to be possible", || {
                matches!(self.books.complete(&mut service.connect(), key), Came::Acknowledged).then_some(())
            });
        }
        self.endpoint.behave();
        wait_for("all to be delivered", || {
            let _ = service.request("POST", "/v1/flush", b"");
            let answer = service.request("GET", "/v1/status", b"");
            (answer.status == 200 && answer.json()["sessions"]["completed"] == 0).then_some(())
        });
    }

    fn down(&self) {
        self.endpoint.whenever("", Act::Answer(Reply::new(503, "")));
    }
}

/// The WAL keeps its blocks whatever it holds: what it let go of others would have.
#[test]
fn full_disk_deliveries_are_settled_while_others_take_every_block_that_comes_free() {
    let endpoint = Endpoint::start([]);
    let place = Place::new(&endpoint.url(), KEYS);
    let Some(disk) = Disk::mount(&place.dir.path().join("disk")) else { return };
    let journal = disk.0.join("journal.db");
    place.configure(&endpoint.url(), &format!("{KEYS}\njournal.path = {:?}", journal.to_str().unwrap()));
    let service = place.start();
    let mut round = Round { disk: &disk, endpoint: &endpoint, books: Books::default(), n: 0 };
    round.down();
    for n in 0..40 {
        let key = round.key(&n.to_string());
        let came = round.books.record(&mut service.connect(), &key, 4, 4000);
        assert!(matches!(came, Came::Acknowledged), "{came:?}; {}", disk.listing());
    }
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                disk.fill();
                std::thread::sleep(FILLED_EVERY);
            }
        });
        // Also when it fails: a filler without an end would hang the test.
        let _over = Over(&over);
        wait_for("the disk to be full", || {
            matches!(round.books.record(&mut service.connect(), "more", 4, 4000), Came::Refused(_))
                .then_some(())
        });
        round.deliver(&service);
    });
    disk.free();
    round.books.check_delivered(&endpoint.requests());
    assert!(service.stop().success());
}

/// Tells the filler to end, when dropped.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn full_disk_from_inside_and_outside_loses_nothing_and_wedges_nothing() {
    let endpoint = Endpoint::start([]);
    let place = Place::new(&endpoint.url(), KEYS);
    let Some(disk) = Disk::mount(&place.dir.path().join("disk")) else { return };
    let journal = disk.0.join("journal.db");
    place.configure(&endpoint.url(), &format!("{KEYS}\njournal.path = {:?}", journal.to_str().unwrap()));
    let mut service = place.start();
    let mut expected_purged = 0;
    for n in 0..ROUNDS * scale() {
        let seen = endpoint.requests().len();
        let mut round = Round { disk: &disk, endpoint: &endpoint, books: Books::default(), n };
        round.down();
        match n % 5 {
            // From inside, and the deliveries alone make room.
            0 => {
                round.record_until_full(&service, "a");
                round.deliver(&service);
                round.record_again(&service, "b");
                round.deliver(&service);
            }
            // From outside, and it stays full while everything is delivered.
            1 => {
                round.record_again(&service, "a");
                round.disk.fill();
                round.record_until_full(&service, "b");
                round.deliver(&service);
                round.disk.free();
                round.record_again(&service, "c");
                round.deliver(&service);
            }
            // While an upload is under way.
            2 => {
                round.record_again(&service, "a");
                endpoint.behave();
                endpoint.then(Act::Drip(Reply::accepted(), Duration::from_millis(1)));
                let key = round.key("a");
                round.books.complete(&mut service.connect(), &key);
                endpoint.wait_for(seen + 1);
                round.disk.fill();
                service.wait_for_state(&key, "delivered");
                round.disk.free();
            }
            // The person opts out on a full disk.
            3 => {
                round.record_until_full(&service, "a");
                round.disk.fill();
                wait_for("the opt-out", || {
                    let answer = service.request("PUT", "/v1/consent", br#"{"consent":"out"}"#);
                    (answer.status == 200).then_some(())
                });
                let status = service.status();
                expected_purged += round.books.acknowledged();
                assert_eq!(status["losses"]["purged"], expected_purged);
                assert_eq!(status["events"]["stored"], 0);
                round.disk.free();
                assert_eq!(service.request("PUT", "/v1/consent", br#"{"consent":"in"}"#).status, 200);
                round.books = Books::default();
                round.record_again(&service, "b");
                round.deliver(&service);
            }
            // The service is started on a full disk.
            _ => {
                round.record_until_full(&service, "a");
                service.kill();
                round.disk.fill();
                service = place.start();
                round.deliver(&service);
                round.disk.free();
                round.record_again(&service, "b");
                round.deliver(&service);
            }
        }
        let twice = round.books.check_delivered(&endpoint.requests()[seen..]);
        assert!(twice <= service.status()["possible_duplicates"].as_u64().unwrap(), "round {n}: {twice}");
    }
    assert!(!place.log_text().contains("panicked"));
    assert!(service.stop().success());
}
