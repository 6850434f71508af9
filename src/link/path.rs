//! Is there a way out, and from which address? Asked of the kernel; nothing is sent.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Documentation addresses (RFC 5737, RFC 3849): nobody has them, so a route to them is the default route.
const ANYWHERE_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const ANYWHERE_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));

/// What a way out means for the configured endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The endpoint is on this machine: there is always a way, with or without a cable.
    Loopback,
    /// The endpoint is an address: a route to that very address.
    Address(IpAddr),
    /// The endpoint is a name: a route to the world, by v4 or v6.
    Anywhere,
}

impl Target {
    /// What a way out means for an endpoint with this host, as it stands in the URL (v6 with or without brackets).
    pub fn of_host(host: &str) -> Target {
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        match bare.parse::<IpAddr>().map(|address| address.to_canonical()) {
            Ok(address) if address.is_loopback() => Target::Loopback,
            Ok(address) => Target::Address(address),
            Err(_) if bare.trim_end_matches('.').eq_ignore_ascii_case("localhost") => Target::Loopback,
            Err(_) => Target::Anywhere,
        }
    }
}

/// One look at the way out. Two equal paths are the same network for all that can be seen from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Path {
    /// The address that the kernel would send from; unspecified when there is a way but it could not be told which.
    pub(super) v4: Option<Ipv4Addr>,
    /// The same for v6.
    pub(super) v6: Option<Ipv6Addr>,
    /// Whether any interface has a carrier: the route of a static address outlives the cable.
    pub(super) carrier: bool,
}

impl Path {
    /// A way that is taken for granted: to this machine itself, and where changes cannot be heard.
    pub(super) const ASSUMED: Path = Path { v4: Some(Ipv4Addr::UNSPECIFIED), v6: None, carrier: true };

    /// Whether something can be sent at all.
    pub(super) fn leads_out(&self) -> bool {
        self.carrier && (self.v4.is_some() || self.v6.is_some())
    }

    /// Asks the kernel for the present path to the target.
    pub(super) fn look(target: Target) -> Path {
        let (v4, v6) = match target {
            Target::Loopback => return Path::ASSUMED,
            Target::Address(address @ IpAddr::V4(_)) => (source(address, Aim::Endpoint), None),
            Target::Address(address @ IpAddr::V6(_)) => (None, source(address, Aim::Endpoint)),
            Target::Anywhere => (source(ANYWHERE_V4, Aim::StandIn), source(ANYWHERE_V6, Aim::StandIn)),
        };
        Path {
            v4: v4.map(|found| if let IpAddr::V4(own) = found { own } else { Ipv4Addr::UNSPECIFIED }),
            v6: v6.map(|found| if let IpAddr::V6(own) = found { own } else { Ipv6Addr::UNSPECIFIED }),
            carrier: any_carrier(),
        }
    }
}

/// Whose address is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aim {
    /// The endpoint's own: a route that refuses it is final.
    Endpoint,
    /// A stand-in for the world: a route that refuses just this address (a bogon filter) says nothing.
    StandIn,
}

/// The source address on the route to `address`. `None` is a firm no; what cannot be told counts as a way, because
/// a wrong no would hold uploads back until the next change.
fn source(address: IpAddr, aim: Aim) -> Option<IpAddr> {
    match route_lookup(address) {
        Ok(own) => Some(own.ip()),
        Err(error) if no_way(&error, aim) => None,
        Err(_) => Some(Ipv4Addr::UNSPECIFIED.into()),
    }
}

/// Not through `std::net::UdpSocket`, which must bind first: systemd's `SocketBindDeny=` refuses a bind and lets a
/// connect pass.
#[cfg(target_os = "linux")]
fn route_lookup(address: IpAddr) -> io::Result<SocketAddr> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, getsockname, socket_with};
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    connect(&socket, &SocketAddr::new(address, 443))?;
    Ok(SocketAddr::try_from(getsockname(&socket)?)?)
}

#[cfg(not(target_os = "linux"))]
fn route_lookup(address: IpAddr) -> io::Result<SocketAddr> {
    let any: IpAddr =
        if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = std::net::UdpSocket::bind((any, 0))?;
    socket.connect((address, 443))?;
    socket.local_addr()
}

/// Whether a failed route lookup is a firm no.
#[cfg(target_os = "linux")]
fn no_way(error: &io::Error, aim: Aim) -> bool {
    use rustix::io::Errno;
    match Errno::from_io_error(error) {
        Some(Errno::NETUNREACH | Errno::NETDOWN | Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT) => true,
        // Routes of the types `unreachable`, `prohibit` and `blackhole`.
        Some(Errno::HOSTUNREACH | Errno::ACCESS | Errno::INVAL) => aim == Aim::Endpoint,
        _ => false,
    }
}

#[cfg(not(target_os = "linux"))]
fn no_way(error: &io::Error, aim: Aim) -> bool {
    use io::ErrorKind::{AddrNotAvailable, HostUnreachable, NetworkDown, NetworkUnreachable};
    match error.kind() {
        NetworkUnreachable | NetworkDown | AddrNotAvailable => true,
        HostUnreachable => aim == Aim::Endpoint,
        _ => false,
    }
}

/// Whether any interface other than loopback has a carrier; true where that cannot be told.
#[cfg(target_os = "linux")]
fn any_carrier() -> bool {
    let Ok(entries) = std::fs::read_dir("/sys/class/net") else { return true };
    let interfaces: Vec<(String, String)> = entries
        .flatten()
        .map(|entry| {
            let operstate = match std::fs::read_to_string(entry.path().join("operstate")) {
                Ok(text) => text,
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => "unknown".to_owned(),
                // Unplugged since it was listed, or a file among the interfaces (bonding_masters).
                Err(_) => "notpresent".to_owned(),
            };
            (entry.file_name().to_string_lossy().into_owned(), operstate)
        })
        .collect();
    carried(&interfaces)
}

#[cfg(not(target_os = "linux"))]
fn any_carrier() -> bool {
    true
}

/// Decides on (name, operstate) pairs. A list without `lo` is not this network's, so nothing can be told from it.
#[cfg(target_os = "linux")]
fn carried(interfaces: &[(String, String)]) -> bool {
    let ours = interfaces.iter().any(|(name, _)| name == "lo");
    let up = |operstate: &str| !matches!(operstate.trim(), "down" | "lowerlayerdown" | "notpresent");
    !ours || interfaces.iter().any(|(name, operstate)| name != "lo" && up(operstate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_says_what_a_way_out_means() {
        let address = |text: &str| Target::Address(text.parse().unwrap());
        let cases = [
            ("edge.adobedc.net", Target::Anywhere),
            ("localhost", Target::Loopback),
            ("LocalHost.", Target::Loopback),
            ("localhost.example", Target::Anywhere),
            ("127.0.0.1", Target::Loopback),
            ("127.8.9.10", Target::Loopback),
            ("[::1]", Target::Loopback),
            ("::1", Target::Loopback),
            ("[::ffff:127.0.0.1]", Target::Loopback),
            ("10.1.2.3", address("10.1.2.3")),
            ("[::ffff:10.1.2.3]", address("10.1.2.3")),
            ("[2001:db8::7]", address("2001:db8::7")),
            ("[edge]", Target::Anywhere),
            ("", Target::Anywhere),
        ];
        for (host, expected) in cases {
            assert_eq!(Target::of_host(host), expected, "{host}");
        }
    }

    #[test]
    fn a_way_out_takes_an_address_and_a_carrier() {
        let (v4, v6) = (Some(Ipv4Addr::new(10, 0, 0, 2)), Some(Ipv6Addr::LOCALHOST));
        let cases = [
            (None, None, true, false),
            (v4, None, true, true),
            (None, v6, true, true),
            (v4, v6, true, true),
            (v4, v6, false, false),
            (None, None, false, false),
        ];
        for (v4, v6, carrier, expected) in cases {
            assert_eq!(Path { v4, v6, carrier }.leads_out(), expected, "{v4:?} {v6:?} {carrier}");
        }
        assert!(Path::ASSUMED.leads_out());
        assert_eq!(Path::look(Target::Loopback), Path::ASSUMED);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn only_a_firm_no_is_no_way() {
        use rustix::io::Errno;
        let cases = [
            (Errno::NETUNREACH, true, true),
            (Errno::NETDOWN, true, true),
            (Errno::ADDRNOTAVAIL, true, true),
            (Errno::AFNOSUPPORT, true, true),
            (Errno::HOSTUNREACH, true, false),
            (Errno::ACCESS, true, false),
            (Errno::INVAL, true, false),
            (Errno::MFILE, false, false),
            (Errno::NFILE, false, false),
            (Errno::NOMEM, false, false),
            (Errno::PERM, false, false),
            (Errno::AGAIN, false, false),
        ];
        for (errno, endpoint, stand_in) in cases {
            assert_eq!(no_way(&errno.into(), Aim::Endpoint), endpoint, "{errno:?}");
            assert_eq!(no_way(&errno.into(), Aim::StandIn), stand_in, "{errno:?}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_carrier_is_any_interface_that_is_not_down() {
        let cases: [(&[(&str, &str)], bool); 13] = [
            (&[("lo", "unknown\n")], false),
            (&[("lo", "unknown\n"), ("eth0", "up\n")], true),
            (&[("lo", "unknown\n"), ("eth0", "down\n")], false),
            (&[("lo", "unknown\n"), ("eth0", "lowerlayerdown\n")], false),
            (&[("lo", "unknown\n"), ("eth0", "notpresent\n")], false),
            (&[("lo", "unknown\n"), ("ppp0", "unknown\n")], true),
            (&[("lo", "unknown\n"), ("wlan0", "dormant\n")], true),
            (&[("lo", "unknown\n"), ("eth0", "testing\n")], true),
            (&[("lo", "unknown\n"), ("eth0", "down\n"), ("wwan0", "up\n")], true),
            (&[("eth0", "down\n"), ("lo", "unknown\n"), ("eth1", "down\n")], false),
            (&[("lo", "down\n"), ("eth0", "down\n")], false),
            (&[], true),
            (&[("eth0", "down\n")], true),
        ];
        for (interfaces, expected) in cases {
            let owned: Vec<_> =
                interfaces.iter().map(|(name, state)| ((*name).to_owned(), (*state).to_owned())).collect();
            assert_eq!(carried(&owned), expected, "{interfaces:?}");
        }
    }
}
