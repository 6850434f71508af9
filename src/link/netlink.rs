//! The doorbell on Linux: a netlink socket that says that something changed. What it says is thrown away.

use super::monitor::{Ring, lock};
use super::worker::{Stop, Worker};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with,
};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Multicast groups LINK, IPV4_IFADDR, IPV4_ROUTE, IPV6_IFADDR and IPV6_ROUTE.
const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;

/// Delay before a dead socket is made anew, doubled after each failure.
const REBUILD_FIRST: Duration = Duration::from_secs(1);
const REBUILD_CAP: Duration = Duration::from_secs(60);

/// A change of carrier or route rings here too, so that nobody needs to look again unasked.
pub(super) const HEARS_EVERYTHING: bool = true;

/// Rings until it is dropped.
#[derive(Debug)]
pub(super) struct Doorbell {
    worker: Option<Worker>,
    socket: Arc<Mutex<OwnedFd>>,
}

impl Doorbell {
    /// Starts listening; an error for which [`denied`] holds means that this process may not.
    pub(super) fn start(ring: impl Fn(Ring) + Send + 'static) -> io::Result<Doorbell> {
        let first = open()?;
        let socket = Arc::new(Mutex::new(first.try_clone()?));
        let shared = Arc::clone(&socket);
        let worker = Worker::spawn("link-netlink", move |stop| listen(first, &shared, stop, &ring))?;
        Ok(Doorbell { worker: Some(worker), socket })
    }
}

impl Drop for Doorbell {
    fn drop(&mut self) {
        if let Some(worker) = self.worker.take() {
            worker.end(|| ask_for_an_answer(&lock(&self.socket)));
        }
    }
}

/// Whether the error says that netlink is forbidden or absent, as in a sandbox, and trying again is useless.
pub(super) fn denied(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::PERM | Errno::ACCESS | Errno::AFNOSUPPORT))
}

fn open() -> io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
    Ok(socket)
}

fn listen(first: OwnedFd, shared: &Mutex<OwnedFd>, stop: &Stop, ring: &impl Fn(Ring)) {
    let mut socket = first;
    loop {
        let error = hear(&socket, stop, ring);
        if stop.asked() {
            return;
        }
        tracing::debug!(%error, "the netlink socket died and is made anew");
        let Some(anew) = rebuild(shared, stop) else {
            if !stop.asked() {
                ring(Ring::Deaf);
            }
            return;
        };
        socket = anew;
        // Whatever changed in between was not heard.
        ring(Ring::Changed);
    }
}

/// Rings at each message until the socket fails or the end is asked for.
fn hear(socket: &OwnedFd, stop: &Stop, ring: &impl Fn(Ring)) -> Errno {
    let mut start_of_message = [0_u8; 16];
    loop {
        let heard = recv(socket, &mut start_of_message[..], RecvFlags::empty());
        if stop.asked() {
            return Errno::CANCELED;
        }
        match reaction(heard.map(|_| ())) {
            Reaction::Ring => ring(Ring::Changed),
            Reaction::Again => {}
            Reaction::Dead(error) => return error,
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Reaction {
    Ring,
    Again,
    Dead(Errno),
}

fn reaction(heard: rustix::io::Result<()>) -> Reaction {
    match heard {
        // Messages were lost: the same as one that was heard.
        Ok(()) | Err(Errno::NOBUFS) => Reaction::Ring,
        Err(Errno::INTR) => Reaction::Again,
        Err(error) => Reaction::Dead(error),
    }
}

/// A new socket, or `None` when the end was asked for or the process may not listen any more.
fn rebuild(shared: &Mutex<OwnedFd>, stop: &Stop) -> Option<OwnedFd> {
    let mut delay = REBUILD_FIRST;
    loop {
        rest(delay, stop);
        if stop.asked() {
            return None;
        }
        match open().and_then(|socket| Ok((socket.try_clone()?, socket))) {
            Ok((socket, for_the_end)) => {
                *lock(shared) = for_the_end;
                // Whoever asked for the end just before has woken the old socket.
                return if stop.asked() { None } else { Some(socket) };
            }
            Err(error) if denied(&error) => return None,
            Err(error) => tracing::debug!(%error, "no netlink socket"),
        }
        delay = longer(delay);
    }
}

fn longer(delay: Duration) -> Duration {
    (delay * 2).min(REBUILD_CAP)
}

/// Waits, but not longer than until the end is asked for.
fn rest(delay: Duration, stop: &Stop) {
    let until = Instant::now() + delay;
    while !stop.asked() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        thread::park_timeout(left);
    }
}

/// Makes a blocked `recv` return: the kernel answers a question (RTM_GETLINK, interface 1), be it with an error.
/// Netlink knows no `shutdown`.
fn ask_for_an_answer(socket: &OwnedFd) {
    const RTM_GETLINK: u16 = 18;
    const NLM_F_REQUEST: u16 = 1;
    let mut question = [0_u8; 32];
    question[0..4].copy_from_slice(&32_u32.to_ne_bytes());
    question[4..6].copy_from_slice(&RTM_GETLINK.to_ne_bytes());
    question[6..8].copy_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    question[20..24].copy_from_slice(&1_i32.to_ne_bytes());
    if let Err(error) = send(socket, &question, SendFlags::empty()) {
        tracing::debug!(%error, "the netlink thread could not be woken");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn the_groups_are_the_documented_mask() {
        assert_eq!(GROUPS, 0x551);
    }

    #[test]
    fn lost_messages_ring_and_only_a_broken_socket_is_dead() {
        let cases = [
            (Ok(()), Reaction::Ring),
            (Err(Errno::NOBUFS), Reaction::Ring),
            (Err(Errno::INTR), Reaction::Again),
            (Err(Errno::BADF), Reaction::Dead(Errno::BADF)),
            (Err(Errno::NETDOWN), Reaction::Dead(Errno::NETDOWN)),
        ];
        for (heard, expected) in cases {
            assert_eq!(reaction(heard), expected, "{heard:?}");
        }
    }

    #[test]
    fn only_a_refusal_is_final() {
        for (errno, expected) in [
            (Errno::PERM, true),
            (Errno::ACCESS, true),
            (Errno::AFNOSUPPORT, true),
            (Errno::MFILE, false),
            (Errno::NOBUFS, false),
        ] {
            assert_eq!(denied(&errno.into()), expected, "{errno:?}");
        }
    }

    #[test]
    fn the_delay_doubles_up_to_the_cap() {
        let mut delay = REBUILD_FIRST;
        let mut all = vec![delay.as_secs()];
        for _ in 0..7 {
            delay = longer(delay);
            all.push(delay.as_secs());
        }
        assert_eq!(all, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn a_dead_socket_is_made_anew_and_rings() {
        let (rung, rings) = mpsc::channel();
        // No socket at all, so that receiving from it fails at once.
        let broken = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let shared = Arc::new(Mutex::new(broken.try_clone().unwrap()));
        let for_thread = Arc::clone(&shared);
        let worker = Worker::spawn("link-netlink", move |stop| {
            listen(broken, &for_thread, stop, &|_| rung.send(()).unwrap());
        })
        .unwrap();
        rings.recv_timeout(Duration::from_secs(5)).unwrap();
        let started = Instant::now();
        worker.end(|| ask_for_an_answer(&lock(&shared)));
        assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
    }

    #[test]
    fn the_end_does_not_wait_for_the_delay() {
        let stop_early = Worker::spawn("link-netlink", |stop| rest(Duration::from_secs(60), stop)).unwrap();
        let started = Instant::now();
        stop_early.end(|| {});
        assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
    }
}
