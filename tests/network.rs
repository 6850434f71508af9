//! The real service on a network of its own that goes down and comes up: offline it neither waits on a timer nor sends
//! a packet, and when the link is up the upload starts within two seconds (product promise 10).
//!
//! Needs root: the service gets a network namespace, the endpoint another one, and a cable lies between them. Nobody
//! else's network is touched. The test itself stays outside and talks to the service over its Unix socket.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests are tests")]

#[path = "support/endpoint.rs"]
mod endpoint;
#[path = "support/service.rs"]
mod service;

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use endpoint::{Authority, Endpoint, Validity};
use serde_json::Value;
use service::{BINARY, Place, Service, wait_for};

/// Set in the process that plays the endpoint; holds the file that its authority goes to.
const ROOTS: &str = "AFTERPLAY_TEST_ROOTS";

const DEVICE: Ipv4Addr = Ipv4Addr::new(10, 55, 0, 2);
const ENDPOINT: Ipv4Addr = Ipv4Addr::new(10, 55, 0, 1);

/// Issue text and product: the upload starts this soon after the link is up, without jitter.
const STARTS_WITHIN: Duration = Duration::from_secs(2);

/// Two namespaces and the cable between them; gone when dropped.
struct Network {
    device: String,
    far: String,
}

impl Network {
    /// Nothing where that is not allowed.
    fn make(test: &str) -> Option<Network> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: {test} needs root for a network namespace");
            return None;
        }
        let name = |end: &str| format!("afterplay-{}-{test}-{end}", std::process::id());
        let network = Network { device: name("device"), far: name("far") };
        for namespace in [&network.device, &network.far] {
            let made = Command::new("ip").args(["netns", "add", namespace]).output();
            if !made.as_ref().is_ok_and(|made| made.status.success()) {
                println!("skipped: {test} cannot make a network namespace: {made:?}");
                return None;
            }
            // The kernel's own talk would be counted as the service's.
            let quiet =
                "for f in all default; do echo 1 > /proc/sys/net/ipv6/conf/$f/disable_ipv6; done; true";
            run(Command::new("ip")
                .args(["netns", "exec", namespace, "sh", "-c", quiet])
                .stderr(Stdio::null()));
            network.ip(namespace, "link set lo up");
        }
        let (device, far) = (&network.device, &network.far);
        network.ip(device, &format!("link add near type veth peer name far netns {far}"));
        for (namespace, end, own, other) in
            [(device, "near", DEVICE, ENDPOINT), (far, "far", ENDPOINT, DEVICE)]
        {
            let mac = |address: Ipv4Addr| format!("02:00:00:00:00:{:02x}", address.octets()[3]);
            network.ip(namespace, &format!("link set {end} address {}", mac(own)));
            network.ip(namespace, &format!("addr add {own}/24 dev {end}"));
            network.ip(namespace, &format!("link set {end} up"));
            network
                .ip(namespace, &format!("neigh add {other} lladdr {} dev {end} nud permanent", mac(other)));
        }
        Some(network)
    }

    fn ip(&self, namespace: &str, command: &str) {
        run(Command::new("ip").args(["-n", namespace]).args(command.split(' ')));
    }

    /// Pulls the cable out of the device, or puts it back.
    fn cable(&self, up: bool) {
        self.ip(&self.far, if up { "link set far up" } else { "link set far down" });
    }

    /// Packets that the device has sent, or tried to.
    fn sent(&self) -> u64 {
        let shown = Command::new("ip").args(["-n", &self.device, "-j", "-s", "link"]).output().unwrap();
        let links: Value = serde_json::from_slice(&shown.stdout).unwrap();
        links
            .as_array()
            .unwrap()
            .iter()
            .map(|link| {
                let sent = &link["stats64"]["tx"];
                ["packets", "dropped", "errors"].iter().filter_map(|kind| sent[*kind].as_u64()).sum::<u64>()
            })
            .sum()
    }

    fn start<'a>(&self, place: &'a Place, roots: &Path) -> Service<'a> {
        place.start_with(|command| {
            let mut inside = Command::new("ip");
            inside.args(["netns", "exec", &self.device, BINARY]).args(command.get_args());
            inside.env_clear().current_dir(place.dir.path()).stdin(Stdio::null());
            for (name, value) in command.get_envs() {
                inside.env(name, value.unwrap());
            }
            inside.env("SSL_CERT_FILE", roots).env("SSL_CERT_DIR", place.dir.path());
            let log = std::fs::OpenOptions::new().append(true).open(place.dir.path().join("log")).unwrap();
            inside.stderr(log);
            *command = inside;
        })
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for namespace in [&self.device, &self.far] {
            let _ = Command::new("ip").args(["netns", "del", namespace]).stderr(Stdio::null()).status();
        }
    }
}

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}

/// The endpoint in the far namespace: this test program anew.
struct Far {
    child: Child,
    url: String,
    said: BufReader<ChildStdout>,
    _alive: ChildStdin,
}

impl Far {
    fn start(network: &Network, roots: &Path) -> Far {
        let mut child = Command::new("ip")
            .args(["netns", "exec", &network.far])
            .arg(std::env::current_exe().unwrap())
            .args(["the_endpoint_on_the_other_side", "--exact", "--nocapture", "--test-threads=1"])
            .env(ROOTS, roots)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut far = Far { child, url: String::new(), said: BufReader::new(stdout), _alive: stdin };
        far.url = far.hears("url ");
        far
    }

    /// Waits for the next line that begins like this, and answers the rest of it.
    fn hears(&mut self, start: &str) -> String {
        loop {
            let mut line = String::new();
            assert!(self.said.read_line(&mut line).unwrap() > 0, "the endpoint has ended");
            if let Some((_, rest)) = line.trim_end().split_once(start) {
                return rest.to_owned();
            }
        }
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// No test of its own: what [`Far`] runs on the other side.
#[test]
fn the_endpoint_on_the_other_side() {
    let Some(roots) = std::env::var_os(ROOTS) else { return };
    let authority = Authority::new();
    std::fs::write(&roots, authority.pem()).unwrap();
    let address = SocketAddr::from((ENDPOINT, 0));
    let tls = authority.server(&ENDPOINT.to_string(), Validity::Now);
    let endpoint = Endpoint::start_at(address, Some(tls), []);
    println!("url {}", endpoint.url());
    std::thread::spawn(|| {
        // Whoever started this has gone.
        let _ = std::io::stdin().read(&mut [0]);
        std::process::abort();
    });
    for n in 1.. {
        wait_for_ever(|| endpoint.requests().len() >= n);
        println!("request {n}");
    }
}

fn wait_for_ever(mut over: impl FnMut() -> bool) {
    while !over() {
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// How often each thread of the service was put to sleep or off the processor. Helpers of the runtime that have nothing
/// to do end by themselves some seconds later; that is not a timer that comes back.
fn switches(service: &Service<'_>) -> Vec<(String, u64)> {
    let mut all = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{}/task", service.child.id())).unwrap().flatten() {
        let Ok(status) = std::fs::read_to_string(task.path().join("status")) else { continue };
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
        let name = format!("{} {}", field("Name:"), field("Pid:"));
        if !name.starts_with("tokio-") {
            all.push((name, field("voluntary_ctxt_switches:").parse().unwrap()));
        }
    }
    all.sort();
    all
}

/// There must be a stretch in which the service does not wake up once and no packet is sent.
#[track_caller]
fn assert_rests(network: &Network, service: &Service<'_>) {
    let mut tries = Vec::new();
    // What was just done may have an echo, and the kernel has things of its own to say.
    for _ in 0..4 {
        let before = (switches(service), network.sent());
        assert!(before.0.len() >= 4, "main, journal, netlink and clock: {before:?}");
        std::thread::sleep(Duration::from_secs(2));
        let after = (switches(service), network.sent());
        if before == after {
            return;
        }
        tries.push((before, after));
    }
    panic!("it woke up or sent something in each of four stretches: {tries:#?}");
}

fn wait_for_link(service: &Service<'_>, link: &str) -> Value {
    wait_for(&format!("the link to be {link}"), || {
        let status = service.status();
        (status["link"] == link).then_some(status)
    })
}

/// The clock is vouched for, so that the endpoint need not be asked for the time.
const CONFIG: &str =
    "upload.reconnect_jitter = \"0s\"\nretry.initial = \"1h\"\nretry.max = \"1h\"\nclock.trust = \"rtc\"";

#[test]
fn offline_it_rests_and_with_the_link_the_upload_starts() {
    let Some(network) = Network::make("link") else { return };
    let roots = tempfile::tempdir().unwrap();
    let roots = roots.path().join("roots.pem");
    let mut far = Far::start(&network, &roots);
    network.cable(false);
    let place = Place::new(&far.url, CONFIG);
    let service = network.start(&place, &roots);
    wait_for_link(&service, "offline");
    service.play("a");
    let status = wait_for("a to wait", || {
        let status = service.status();
        (status["uploader"]["reason"] == "offline").then_some(status)
    });
    assert_eq!(status["uploader"]["state"], "waiting");
    assert_eq!(status["uploader"]["next_attempt_at"], Value::Null, "no timer");
    assert_rests(&network, &service);
    assert_eq!(service.get("/v1/sessions/a")["attempt_count"], 0);

    let up = Instant::now();
    network.cable(true);
    far.hears("request ");
    let took = up.elapsed();
    println!("the upload came {} ms after the cable", took.as_millis());
    assert!(took < STARTS_WITHIN, "{took:?}");
    service.wait_for_state("a", "delivered");
    assert_eq!(service.status()["link"], "online");

    // And once more, on a link that has been good: no failure and no wait is left over.
    network.cable(false);
    wait_for_link(&service, "offline");
    service.play("b");
    wait_for("b to wait", || (service.status()["uploader"]["reason"] == "offline").then_some(()));
    let up = Instant::now();
    network.cable(true);
    far.hears("request ");
    let took = up.elapsed();
    println!("the upload came {} ms after the cable", took.as_millis());
    assert!(took < STARTS_WITHIN, "{took:?}");
    let delivered = service.wait_for_state("b", "delivered");
    assert_eq!(delivered["receipt"]["attempts"], 1);
}

#[test]
fn with_nothing_to_send_it_rests_on_a_good_link_too() {
    let Some(network) = Network::make("rest") else { return };
    let roots = tempfile::tempdir().unwrap();
    let roots = roots.path().join("roots.pem");
    let far = Far::start(&network, &roots);
    let place = Place::new(&far.url, CONFIG);
    let service = network.start(&place, &roots);
    assert_eq!(service.status()["link"], "unknown", "nothing has been tried");
    assert_rests(&network, &service);

    service.play("a");
    service.wait_for_state("a", "delivered");
    // No connection is kept that would have to be closed later.
    assert_rests(&network, &service);
    assert_eq!(service.status()["uploader"]["state"], "idle");
}

#[test]
fn a_link_that_dies_under_an_upload_costs_nothing_but_time() {
    let Some(network) = Network::make("dies") else { return };
    let roots = tempfile::tempdir().unwrap();
    let roots = roots.path().join("roots.pem");
    let mut far = Far::start(&network, &roots);
    // The far end lets everything through but answers nothing: the service has sent and waits.
    let place = Place::new(&far.url, &format!("{CONFIG}\nupload.connect_timeout = \"60s\""));
    run(Command::new("ip").args([
        "-n",
        &network.far,
        "addr",
        "del",
        &format!("{ENDPOINT}/24"),
        "dev",
        "far",
    ]));
    let service = network.start(&place, &roots);
    service.play("a");
    wait_for("an attempt", || (service.status()["uploader"]["state"] == "sending").then_some(()));
    network.cable(false);
    wait_for_link(&service, "offline");
    service.play("b");

    network.ip(&network.far, &format!("addr add {ENDPOINT}/24 dev far"));
    let up = Instant::now();
    network.cable(true);
    far.hears("request ");
    let took = up.elapsed();
    println!("the upload came {} ms after the cable", took.as_millis());
    assert!(took < STARTS_WITHIN, "{took:?}: what hangs on the old path does not hold up the new one");
    service.wait_for_state("b", "delivered");
    service.wait_for_state("a", "delivered");
    assert_eq!(service.status()["sessions"]["quarantined"], 0);
}

#[test]
fn endpoint_500_link_flaps_consume_nothing() {
    let Some(network) = Network::make("flap") else { return };
    let roots = tempfile::tempdir().unwrap();
    let roots = roots.path().join("roots.pem");
    let far = Far::start(&network, &roots);
    let place = Place::new(&far.url, "upload.reconnect_jitter = \"0s\"");
    let service = network.start(&place, &roots);
    let began = Instant::now();
    for n in 0..500 {
        network.cable(n % 2 == 1);
        if n % 100 == 0 {
            service.play(&format!("s{n}"));
        }
    }
    network.cable(true);
    let flapped = began.elapsed().as_secs();
    for n in (0..500).step_by(100) {
        let session = service.wait_for_state(&format!("s{n}"), "delivered");
        // One attempt a second on a link that comes and goes.
        let attempts = session["attempt_count"].as_u64().unwrap();
        assert!(attempts <= flapped + 5, "{attempts} attempts in {flapped} s");
    }
    let status = service.status();
    assert_eq!(status["sessions"]["quarantined"], 0);
    assert_eq!(status["events"]["delivered"], status["events"]["acknowledged"]);
}
