//! A device and an endpoint, each in a network namespace of its own, and the cable between them. Nobody else's network is
//! touched. The test itself stays outside and talks to the service over its Unix socket.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::endpoint::{Authority, Endpoint, Validity};
use crate::service::{BINARY, Place, Service};
use serde_json::Value;

/// Set in the process that plays the endpoint; holds the file that its authority goes to.
const ROOTS: &str = "AFTERPLAY_TEST_ROOTS";

const DEVICE: Ipv4Addr = Ipv4Addr::new(10, 55, 0, 2);
const ENDPOINT: Ipv4Addr = Ipv4Addr::new(10, 55, 0, 1);

/// The upload starts this soon after the link is up, without jitter (product promise 10 costs no time).
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
    said: RefCell<BufReader<ChildStdout>>,
    _alive: ChildStdin,
}

impl Far {
    fn start(network: &Network, roots: &std::path::Path) -> Far {
        let mut child = Command::new("ip")
            .args(["netns", "exec", &network.far])
            .arg(std::env::current_exe().unwrap())
            .args(["scene::the_endpoint_on_the_other_side", "--exact", "--nocapture", "--test-threads=1"])
            .env(ROOTS, roots)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut far =
            Far { child, url: String::new(), said: RefCell::new(BufReader::new(stdout)), _alive: stdin };
        far.url = far.hears("url ");
        far
    }

    /// Waits for the next line that begins like this, and answers the rest of it.
    fn hears(&self, start: &str) -> String {
        loop {
            let mut line = String::new();
            assert!(self.said.borrow_mut().read_line(&mut line).unwrap() > 0, "the endpoint has ended");
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
        // Whoever started this ends it.
        while endpoint.requests().len() < n {
            std::thread::sleep(Duration::from_millis(2));
        }
        println!("request {n}");
    }
}

/// The service's device, its network, and the endpoint at the other end.
pub(crate) struct Scene {
    network: Network,
    far: Far,
    pub(crate) place: Place,
    roots: PathBuf,
    _folder: tempfile::TempDir,
}

impl Scene {
    /// Nothing where network namespaces are not allowed.
    pub(crate) fn make(test: &str, config: &str) -> Option<Scene> {
        let network = Network::make(test)?;
        let folder = tempfile::tempdir().unwrap();
        let roots = folder.path().join("roots.pem");
        let far = Far::start(&network, &roots);
        let place = Place::new(&far.url, config);
        Some(Scene { network, far, place, roots, _folder: folder })
    }

    /// Starts the service on the device.
    pub(crate) fn start(&self) -> Service<'_> {
        self.place.start_with(|command| {
            let mut inside = Command::new("ip");
            inside.args(["netns", "exec", &self.network.device, BINARY]).args(command.get_args());
            inside.env_clear().current_dir(self.place.dir.path()).stdin(Stdio::null());
            for (name, value) in command.get_envs() {
                inside.env(name, value.unwrap());
            }
            inside.env("SSL_CERT_FILE", &self.roots).env("SSL_CERT_DIR", self.place.dir.path());
            let log = self.place.dir.path().join("log");
            inside.stderr(std::fs::OpenOptions::new().append(true).open(log).unwrap());
            *command = inside;
        })
    }

    /// Pulls the cable out of the device, or puts it back.
    pub(crate) fn cable(&self, up: bool) {
        self.network.ip(&self.network.far, if up { "link set far up" } else { "link set far down" });
    }

    /// Puts the cable back, and an upload comes at once.
    #[track_caller]
    pub(crate) fn cable_brings_an_upload(&self) {
        let up = Instant::now();
        self.cable(true);
        self.far.hears("request ");
        let took = up.elapsed();
        println!("the upload came {} ms after the cable", took.as_millis());
        assert!(took < STARTS_WITHIN, "{took:?}");
    }

    /// Takes the endpoint's address away, so that nothing answers, or gives it back.
    pub(crate) fn address(&self, there: bool) {
        let change = if there { "add" } else { "del" };
        self.network.ip(&self.network.far, &format!("addr {change} {ENDPOINT}/24 dev far"));
    }

    /// Sends the device's packets from another of its addresses, as if it roamed.
    pub(crate) fn roam(&self, to: u8) {
        let own = Ipv4Addr::new(10, 55, 0, to);
        self.network.ip(&self.network.device, &format!("addr replace {own}/24 dev near"));
        self.network.ip(&self.network.device, &format!("route change 10.55.0.0/24 dev near src {own}"));
    }

    /// Where nobody listens, at the endpoint's address.
    pub(crate) fn nobody() -> String {
        format!("https://{ENDPOINT}:9/ee/va/v1/downloaded")
    }

    /// Packets that the device has sent, or tried to.
    pub(crate) fn sent(&self) -> u64 {
        let shown =
            Command::new("ip").args(["-n", &self.network.device, "-j", "-s", "link"]).output().unwrap();
        let links: Value = serde_json::from_slice(&shown.stdout).unwrap();
        let sent_on = |link: &Value| {
            let sent = &link["stats64"]["tx"];
            ["packets", "dropped", "errors"].iter().filter_map(|kind| sent[*kind].as_u64()).sum::<u64>()
        };
        links.as_array().unwrap().iter().map(sent_on).sum()
    }
}
