//! The link monitor against a real kernel: each change of the network is seen, classified and published once, and
//! nothing runs while nothing changes.
//!
//! Root gets a network namespace of its own for each test: the test starts itself anew in there. Nobody else's
//! network is touched.

use afterplay::link::{Evidence, Link, LinkState, Monitor, Target};
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Set in the process that runs inside the namespace.
const INSIDE: &str = "AFTERPLAY_TEST_NAMESPACE";

/// The debounce (500 ms), what the kernel may hold a carrier message back (1 s), and a busy machine.
const SEEN_WITHIN: Duration = Duration::from_secs(10);

/// Longer than the longest debounce.
const SETTLED: Duration = Duration::from_millis(3500);

/// Deletes the namespace, and what is in it, whatever becomes of the test.
struct Namespace(String);

impl Namespace {
    fn make(test: &str) -> Result<Namespace, String> {
        let name = format!("afterplay-{}-{test}", std::process::id());
        let made = Command::new("ip").args(["netns", "add", &name]).output().map_err(|e| e.to_string())?;
        if made.status.success() {
            Ok(Namespace(name))
        } else {
            Err(String::from_utf8_lossy(&made.stderr).into_owned())
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).stderr(Stdio::null()).status();
    }
}

/// Runs the body inside a namespace of its own; without the right to make one, says so and passes.
fn in_namespace(test: &str, body: impl AsyncFnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(body());
        return;
    }
    if !rustix::process::geteuid().is_root() {
        println!("skipped: {test} needs root for a network namespace");
        return;
    }
    let namespace = match Namespace::make(test) {
        Ok(namespace) => namespace,
        Err(why) => {
            println!("skipped: {test} cannot make a network namespace: {why}");
            return;
        }
    };
    let output = Command::new("ip")
        .args(["netns", "exec", &namespace.0])
        .arg(std::env::current_exe().unwrap())
        .args([&format!("monitor::{test}"), "--exact", "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    print!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "inside the namespace:\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "the test did not run inside");
}

/// Runs `ip` commands, one a line, in one process.
fn ip(commands: &str) {
    use std::io::Write;
    let mut child = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(commands.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "ip refused: {commands}");
}

/// A cable: `far` is the other end, and taking it down pulls the cable out of `near`.
const CABLE: &str = "link set lo up
    link add near type veth peer name far
    link set near up
    link set far up
    addr add 10.55.0.2/24 dev near
    route add default via 10.55.0.1";

/// The namespace's own switch against v6.
const V6_OFF: &str = "/proc/sys/net/ipv6/conf/default/disable_ipv6";

struct Observer {
    monitor: Monitor,
    link: watch::Receiver<LinkState>,
    last: LinkState,
}

impl Observer {
    /// Starts a monitor and waits until the interfaces have calmed down.
    async fn start(target: Target) -> Observer {
        let monitor = Monitor::start(target).unwrap();
        let mut link = monitor.watch();
        while tokio::time::timeout(SETTLED, link.changed()).await.is_ok() {}
        let last = *link.borrow_and_update();
        Observer { monitor, link, last }
    }

    /// Makes the endpoint answer, so that a fall back to unknown can be seen.
    fn online(&mut self) {
        self.monitor.report(Evidence::Answered);
        self.last = *self.link.borrow_and_update();
        assert_eq!(self.last.link, Link::Online);
    }

    /// The change must be published as one new path with this belief.
    async fn sees(&mut self, what: &str, expected: Link, change: impl FnOnce()) {
        let started = Instant::now();
        change();
        let changed = tokio::time::timeout(SEEN_WITHIN, self.link.changed()).await;
        let took = started.elapsed();
        assert!(changed.is_ok(), "{what}: not seen within {SEEN_WITHIN:?}");
        let now = *self.link.borrow_and_update();
        println!("{what}: {:?} after {} ms", now.link, took.as_millis());
        assert_eq!(now, LinkState { link: expected, path: self.last.path + 1 }, "{what}");
        assert!(took >= Duration::from_millis(500), "{what}: published before the debounce was over");
        self.last = now;
    }

    /// The changes, made one shortly after the other, must not be published.
    async fn ignores(&mut self, what: &str, changes: &[&str]) {
        for change in changes {
            ip(change);
            // Lets the monitor hear this one before the next.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let changed = tokio::time::timeout(SETTLED, self.link.changed()).await;
        assert!(changed.is_err(), "{what}: published {:?}", *self.link.borrow());
        println!("{what}: not republished");
    }
}

#[test]
fn each_change_of_the_network_is_seen_and_classified() {
    in_namespace("each_change_of_the_network_is_seen_and_classified", async || {
        ip(CABLE);
        let mut link = Observer::start(Target::Anywhere).await;
        assert_eq!(link.last.link, Link::Unknown);

        link.online();
        link.sees("carrier lost", Link::Offline, || ip("link set far down")).await;
        link.sees("carrier back", Link::Unknown, || ip("link set far up")).await;
        link.online();
        link.sees("default route removed", Link::Offline, || ip("route del default")).await;
        link.sees("default route added", Link::Unknown, || ip("route add default via 10.55.0.1")).await;
        link.online();
        link.sees("another v4 address", Link::Unknown, || {
            ip("addr del 10.55.0.2/24 dev near
                addr add 10.55.0.3/24 dev near
                route add default via 10.55.0.1");
        })
        .await;
        link.sees("interface down", Link::Offline, || ip("link set near down")).await;
        link.sees("interface gone, another with a network", Link::Unknown, || {
            ip("link del near
                link add other type veth peer name beyond
                link set other up
                link set beyond up
                addr add 10.66.0.2/24 dev other
                route add default via 10.66.0.1");
        })
        .await;
    });
}

#[test]
fn each_change_of_v6_is_seen_and_classified() {
    in_namespace("each_change_of_v6_is_seen_and_classified", async || {
        if !std::path::Path::new(V6_OFF).exists() {
            println!("skipped: this kernel has no v6");
            return;
        }
        ip(CABLE);
        let mut link = Observer::start(Target::Anywhere).await;
        link.online();
        link.sees("v6 joins", Link::Unknown, || {
            ip("addr add fd00:55::2/64 dev near nodad
                route add ::/0 via fd00:55::1");
        })
        .await;
        link.online();
        link.sees("v4 leaves, v6 stays", Link::Unknown, || ip("route del default")).await;
        link.online();
        link.sees("another v6 address", Link::Unknown, || {
            ip("addr add fd00:55::3/64 dev near nodad
                addr del fd00:55::2/64 dev near");
        })
        .await;
        link.online();
        link.sees("v6 default route removed", Link::Offline, || ip("route del ::/0")).await;
        link.sees("v6 default route added", Link::Unknown, || ip("route add ::/0 via fd00:55::1")).await;
    });
}

#[test]
fn a_carrier_is_seen_where_no_address_and_no_route_tells_of_it() {
    in_namespace("a_carrier_is_seen_where_no_address_and_no_route_tells_of_it", async || {
        // With v6 its own addresses come and go with the carrier, and would ring too.
        if std::path::Path::new(V6_OFF).exists() {
            std::fs::write(V6_OFF, "1").unwrap();
        }
        ip(CABLE);
        let mut link = Observer::start(Target::Anywhere).await;
        link.online();
        link.sees("carrier lost", Link::Offline, || ip("link set far down")).await;
        link.sees("carrier back", Link::Unknown, || ip("link set far up")).await;
    });
}

#[test]
fn a_cable_that_flaps_within_the_debounce_is_not_republished() {
    in_namespace("a_cable_that_flaps_within_the_debounce_is_not_republished", async || {
        ip(CABLE);
        let mut link = Observer::start(Target::Anywhere).await;
        link.online();
        link.ignores("cable out and in", &["link set far down", "link set far up"]).await;
        assert_eq!(link.last.link, Link::Online);
    });
}

#[test]
fn a_route_that_flaps_within_the_debounce_is_not_republished() {
    in_namespace("a_route_that_flaps_within_the_debounce_is_not_republished", async || {
        ip(CABLE);
        let mut link = Observer::start(Target::Anywhere).await;
        link.online();
        let flap = ["route del default", "route add default via 10.55.0.1"];
        link.ignores("default route out and in", &flap).await;
        assert_eq!(link.last.link, Link::Online);
    });
}

#[test]
fn foreign_changes_are_not_republished() {
    in_namespace("foreign_changes_are_not_republished", async || {
        ip(CABLE);
        let mut link = Observer::start(Target::Anywhere).await;
        link.online();
        let foreign = [
            "link add aside type veth peer name astray",
            "link set aside up",
            "route add 10.99.0.0/16 via 10.55.0.1",
            "route add blackhole 203.0.113.0/24",
        ];
        link.ignores("a second interface, a route elsewhere, a bogon filter", &foreign).await;
        assert_eq!(link.last.link, Link::Online);
    });
}

#[test]
fn an_address_needs_a_route_to_that_very_address() {
    in_namespace("an_address_needs_a_route_to_that_very_address", async || {
        ip(CABLE);
        let target = Target::of_host("10.77.0.1");
        assert_eq!(target, Target::Address(IpAddr::V4(Ipv4Addr::new(10, 77, 0, 1))));
        let mut link = Observer::start(target).await;
        link.online();
        link.sees("refused by a route", Link::Offline, || ip("route add prohibit 10.77.0.0/16")).await;
        link.sees("refusal gone", Link::Unknown, || ip("route del prohibit 10.77.0.0/16")).await;
        link.sees("default route removed", Link::Offline, || ip("route del default")).await;
        link.sees("a route of its own", Link::Unknown, || ip("route add 10.77.0.0/16 via 10.55.0.1")).await;
    });
}

#[test]
fn a_filtered_documentation_network_does_not_mean_offline() {
    in_namespace("a_filtered_documentation_network_does_not_mean_offline", async || {
        ip(CABLE);
        ip("route add blackhole 192.0.2.0/24");
        let link = Observer::start(Target::Anywhere).await;
        assert_eq!(link.last.link, Link::Unknown);
    });
}

#[test]
fn this_machine_needs_neither_cable_nor_route() {
    in_namespace("this_machine_needs_neither_cable_nor_route", async || {
        let mut link = Observer::start(Target::of_host("localhost")).await;
        assert_eq!(link.last.link, Link::Unknown);
        link.online();
        link.ignores("a whole network comes", &[CABLE]).await;
        link.ignores("and goes", &["link del near"]).await;

        link.monitor.set_target(Target::Anywhere);
        assert_eq!(
            *link.link.borrow_and_update(),
            LinkState { link: Link::Offline, path: link.last.path + 1 }
        );
    });
}

/// Thread id, name, and how often the thread went to sleep.
fn switches() -> Vec<(String, String, u64)> {
    let mut all = Vec::new();
    for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        let id = task.file_name().to_string_lossy().into_owned();
        // A thread may end between the two.
        let Ok(status) = std::fs::read_to_string(task.path().join("status")) else { continue };
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
        let count: u64 = field("voluntary_ctxt_switches:").parse().unwrap();
        all.push((id, field("Name:").to_owned(), count));
    }
    all.sort();
    all
}

#[test]
fn with_nothing_happening_nothing_runs_and_a_stop_ends_the_threads() {
    in_namespace("with_nothing_happening_nothing_runs_and_a_stop_ends_the_threads", async || {
        ip(CABLE);
        // Offline is the state that must cost nothing.
        ip("route del default");
        let (give, take) = std::sync::mpsc::channel();
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let service = std::thread::Builder::new()
            .name("service".to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    give.send(Monitor::start(Target::Anywhere).unwrap()).unwrap();
                    let _ = ended.await;
                });
            })
            .unwrap();
        let monitor = take.recv().unwrap();
        let listens = |name: &str| matches!(name, "link-netlink" | "link-clock");
        let ours = |(_, name, _): &(String, String, u64)| name == "service" || listens(name);

        // The kernel itself has things to say for some seconds after an interface came up (v6).
        let mut quiet = None;
        for _ in 0..10 {
            let before: Vec<_> = switches().into_iter().filter(ours).collect();
            assert_eq!(before.len(), 3, "{before:?}");
            // Nothing is waited for: that nothing happens for so long is what is tested.
            std::thread::sleep(Duration::from_secs(3));
            let after: Vec<_> = switches().into_iter().filter(ours).collect();
            if before == after {
                quiet = Some(after);
                break;
            }
            println!("not quiet yet: {before:?} {after:?}");
        }
        println!("3 s without a single wakeup: {:?}", quiet.expect("woke up in each of ten stretches"));

        let link = monitor.watch();
        let started = Instant::now();
        monitor.stop();
        let took = started.elapsed();
        println!("stopped in {} us", took.as_micros());
        assert!(took < Duration::from_millis(500), "{took:?}");
        assert!(!switches().iter().any(|(_, name, _)| listens(name)), "{:?}", switches());
        assert_eq!(link.borrow().link, Link::Offline);
        end.send(()).unwrap();
        service.join().unwrap();
    });
}
