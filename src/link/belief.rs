//! What to believe: pure decisions, without a socket or a clock.

use super::path::Path;
use super::{Evidence, Link, LinkState};

/// What is believed about a path on which nothing has been tried.
pub(super) fn untried(path: &Path) -> Link {
    if path.leads_out() { Link::Unknown } else { Link::Offline }
}

/// A look at the path: what was learnt on another path says nothing about this one, and what was learnt on this one
/// still holds.
pub(super) fn believe(old: LinkState, before: &Path, now: &Path) -> LinkState {
    if before == now { old } else { renew(old, now) }
}

/// The path counts as new whatever it looks like: after a resume, or when the endpoint is another.
pub(super) fn renew(old: LinkState, now: &Path) -> LinkState {
    LinkState { link: untried(now), path: old.path.wrapping_add(1) }
}

/// An upload attempt ended on this path. The endpoint's own answer outranks what the routes say.
pub(super) fn learn(old: LinkState, path: &Path, evidence: Evidence) -> LinkState {
    let link = match evidence {
        Evidence::Answered => Link::Online,
        Evidence::Captive => Link::Captive,
        Evidence::Unreachable => untried(path),
    };
    LinkState { link, ..old }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Link::{Captive, Offline, Online, Unknown};
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn path(v4: u8, v6: u16, carrier: bool) -> Path {
        Path {
            v4: (v4 > 0).then(|| Ipv4Addr::new(10, 0, 0, v4)),
            v6: (v6 > 0).then(|| Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, v6)),
            carrier,
        }
    }

    #[test]
    fn a_changed_path_is_untried_and_an_unchanged_one_keeps_its_belief() {
        let home = path(2, 0, true);
        let cases = [
            ("nothing changed, online stays", Online, home, home, Online, 7),
            ("nothing changed, captive stays", Captive, home, home, Captive, 7),
            ("still no way out", Offline, path(0, 0, true), path(0, 0, true), Offline, 7),
            ("cable pulled, the route stays", Online, home, path(2, 0, false), Offline, 8),
            ("cable back", Offline, path(2, 0, false), home, Unknown, 8),
            ("route gone", Online, home, path(0, 0, true), Offline, 8),
            ("route back", Offline, path(0, 0, true), home, Unknown, 8),
            ("another address", Online, home, path(3, 0, true), Unknown, 8),
            ("another address behind a portal", Captive, home, path(3, 0, true), Unknown, 8),
            ("v6 joins", Online, home, path(2, 1, true), Unknown, 8),
            ("v4 leaves, v6 stays", Online, path(2, 1, true), path(0, 1, true), Unknown, 8),
            ("another v6 address", Online, path(0, 1, true), path(0, 2, true), Unknown, 8),
            (
                "address gone while the cable is out",
                Offline,
                path(2, 0, false),
                path(0, 0, false),
                Offline,
                8,
            ),
        ];
        for (name, link, before, now, expected, generation) in cases {
            let state = believe(LinkState { link, path: 7 }, &before, &now);
            assert_eq!(state, LinkState { link: expected, path: generation }, "{name}");
        }
    }

    #[test]
    fn a_renewed_path_is_new_even_if_it_looks_the_same() {
        for (now, expected) in [(path(2, 0, true), Unknown), (path(2, 0, false), Offline)] {
            let state = renew(LinkState { link: Online, path: 7 }, &now);
            assert_eq!(state, LinkState { link: expected, path: 8 });
        }
        assert_eq!(renew(LinkState { link: Online, path: u64::MAX }, &Path::ASSUMED).path, 0);
    }

    #[test]
    fn evidence_moves_the_belief_and_never_the_generation() {
        let (up, cut) = (path(2, 0, true), path(2, 0, false));
        let cases = [
            (Unknown, up, Evidence::Answered, Online),
            (Captive, up, Evidence::Answered, Online),
            (Offline, cut, Evidence::Answered, Online),
            (Unknown, up, Evidence::Captive, Captive),
            (Online, up, Evidence::Captive, Captive),
            (Online, up, Evidence::Unreachable, Unknown),
            (Captive, up, Evidence::Unreachable, Unknown),
            (Unknown, up, Evidence::Unreachable, Unknown),
            (Online, cut, Evidence::Unreachable, Offline),
            (Unknown, path(0, 0, true), Evidence::Unreachable, Offline),
            (Online, Path::ASSUMED, Evidence::Unreachable, Unknown),
        ];
        for (link, now, evidence, expected) in cases {
            let state = learn(LinkState { link, path: 7 }, &now, evidence);
            assert_eq!(state, LinkState { link: expected, path: 7 }, "{link:?} {evidence:?}");
        }
    }
}
