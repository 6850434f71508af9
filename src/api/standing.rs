//! The connections that stand, what each is doing, and which makes room when the caps are reached.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::caller::WEB_UID;

/// Connections at once.
#[derive(Debug, Clone, Copy)]
pub struct Caps {
    /// In all.
    pub all: usize,
    /// Of one user.
    pub per_user: usize,
}

/// What a connection is doing; the lower, the less it has to lose.
const SILENT: u8 = 0;
const IN_HEAD: u8 = 1;
/// The head is in; the body, leave to come in or a turn is waited for.
const WAITING: u8 = 2;
const AT_WORK: u8 = 3;

/// What a connection is doing, and that it is to go.
#[derive(Debug)]
pub(super) struct Activity {
    phase: AtomicU8,
    /// When it came or had its last answer: a number that grows.
    since: AtomicU64,
    close: Notify,
    /// `close` does not wait for the request that is under way.
    at_once: AtomicBool,
}

impl Activity {
    fn phase(&self) -> u8 {
        self.phase.load(Ordering::Relaxed)
    }

    fn since(&self) -> u64 {
        self.since.load(Ordering::Relaxed)
    }

    fn is_silent(&self) -> bool {
        self.phase() == SILENT
    }

    /// Whether part of a head is there.
    pub(super) fn is_in_head(&self) -> bool {
        self.phase() == IN_HEAD
    }

    /// Something came in. Answers whether a head begins with it.
    pub(super) fn came_in(&self) -> bool {
        self.phase.compare_exchange(SILENT, IN_HEAD, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// The head is in.
    pub(super) fn head_is_in(&self) {
        self.phase.store(WAITING, Ordering::Relaxed);
    }

    /// The request is whole and it is its turn.
    pub(super) fn is_at_work(&self) {
        self.phase.store(AT_WORK, Ordering::Relaxed);
    }

    fn is_answered(&self, tick: u64) {
        self.since.store(tick, Ordering::Relaxed);
        self.phase.store(SILENT, Ordering::Relaxed);
    }

    /// Waits until it is to go. Answers whether a request that is under way may end.
    pub(super) async fn told_to_go(&self) -> bool {
        self.close.notified().await;
        !self.is_in_head() && !self.at_once.load(Ordering::Relaxed)
    }
}

/// The connections that stand.
#[derive(Debug, Default)]
pub(super) struct Registry {
    standing: Mutex<Connections>,
    clock: AtomicU64,
}

impl Registry {
    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }

    /// Lets a connection in, making room if need be. `None`: all are busy.
    pub(super) fn enter(self: &Arc<Self>, uid: u32, caps: Caps) -> Option<Standing> {
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        let of_user = standing.values().filter(|(owner, _)| *owner == uid).count();
        if of_user >= caps.per_user {
            let victim = of_ones_own(&standing, uid)?;
            close(&mut standing, victim);
        } else if standing.len() >= caps.all {
            let victim = of_the_greediest(&standing, of_user + 1)
                .or_else(|| of_ones_own(&standing, uid))
                .or_else(|| longest(&standing, |_, activity| of_user == 0 && activity.is_silent()))?;
            close(&mut standing, victim);
        }
        let id = self.tick();
        let activity = Arc::new(Activity {
            phase: AtomicU8::new(SILENT),
            since: AtomicU64::new(id),
            close: Notify::new(),
            at_once: AtomicBool::new(false),
        });
        standing.insert(id, (uid, activity.clone()));
        Some(Standing { id, registry: self.clone(), activity })
    }

    /// Makes room for somebody who could not be let in.
    pub(super) fn shed(&self) {
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        let victim =
            of_the_greediest(&standing, 1).or_else(|| longest(&standing, |_, activity| activity.is_silent()));
        if let Some(victim) = victim {
            close(&mut standing, victim);
        }
    }
}

type Connections = HashMap<u64, (u32, Arc<Activity>)>;

/// The connection that has been in its phase for longest, those first that have less to lose.
fn longest(standing: &Connections, may: impl Fn(u32, &Activity) -> bool) -> Option<u64> {
    standing
        .iter()
        .filter(|(_, (owner, activity))| may(*owner, activity))
        .min_by_key(|(_, (_, activity))| (activity.phase(), activity.since()))
        .map(|(id, _)| *id)
}

/// The connection that gives way to another of the same user: only a silent one. Web players are many behind one uid, and
/// one who begins requests and ends none must not keep the others out: of theirs it is the one that was longest without an
/// answer, unless it is at work, so that a newcomer has the time in which all others are replaced.
fn of_ones_own(standing: &Connections, uid: u32) -> Option<u64> {
    if uid != WEB_UID {
        return longest(standing, |owner, activity| owner == uid && activity.is_silent());
    }
    standing
        .iter()
        .filter(|(_, (owner, activity))| *owner == uid && activity.phase() < AT_WORK)
        .min_by_key(|(_, (_, activity))| activity.since())
        .map(|(id, _)| *id)
}

/// The connection that a user gives up who has more than `fair` and no less than any other.
fn of_the_greediest(standing: &Connections, fair: usize) -> Option<u64> {
    let mut counts: HashMap<u32, usize> = HashMap::new();
    for (owner, _) in standing.values() {
        *counts.entry(*owner).or_default() += 1;
    }
    let most = counts.values().copied().max().filter(|most| *most > fair)?;
    longest(standing, |owner, _| counts.get(&owner) == Some(&most))
}

fn close(standing: &mut Connections, id: u64) {
    if let Some((_, activity)) = standing.remove(&id) {
        activity.at_once.store(!activity.is_silent(), Ordering::Relaxed);
        activity.close.notify_one();
    }
}

/// A place among the standing connections; given back when dropped.
pub(super) struct Standing {
    id: u64,
    registry: Arc<Registry>,
    activity: Arc<Activity>,
}

impl Standing {
    /// What the connection is doing.
    pub(super) fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }

    /// Its request was answered.
    pub(super) fn is_answered(&self) {
        self.activity.is_answered(self.registry.tick());
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.registry.standing.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPS: Caps = Caps { all: 6, per_user: 4 };
    const ANNA: u32 = 1;

    fn is_told_to_go(standing: &Standing) -> bool {
        !standing.registry.standing.lock().unwrap().contains_key(&standing.id)
    }

    /// Four connections: silent, in a head, with half a body, at work.
    fn four(registry: &Arc<Registry>, uid: u32) -> [Standing; 4] {
        let four = [(); 4].map(|()| registry.enter(uid, CAPS).unwrap());
        assert!(four[1].activity.came_in() && four[2].activity.came_in() && four[3].activity.came_in());
        four[2].activity.head_is_in();
        four[3].activity.is_at_work();
        four
    }

    #[test]
    fn a_user_of_the_socket_loses_nothing_but_silence() {
        let registry = Arc::<Registry>::default();
        let four = four(&registry, ANNA);
        let fifth = registry.enter(ANNA, CAPS).unwrap();
        assert_eq!([0, 1, 2, 3].map(|n| is_told_to_go(&four[n])), [true, false, false, false]);
        fifth.activity.came_in();
        assert!(registry.enter(ANNA, CAPS).is_none());
    }

    #[test]
    fn web_players_give_way_to_each_other_unless_they_are_at_work() {
        for caps in [CAPS, Caps { all: 4, per_user: 4 }, Caps { all: 4, per_user: 9 }] {
            let registry = Arc::<Registry>::default();
            let four = four(&registry, WEB_UID);
            // Who was answered last has waited least.
            four[0].is_answered();
            let mut newcomers = Vec::new();
            for gone in [[false, true, false, false], [false, true, true, false], [true, true, true, false]] {
                newcomers.push(registry.enter(WEB_UID, caps).unwrap());
                assert_eq!([0, 1, 2, 3].map(|n| is_told_to_go(&four[n])), gone, "{caps:?}");
            }
            newcomers.iter().for_each(|one| one.activity.is_at_work());
            assert!(registry.enter(WEB_UID, caps).is_none(), "all are at work");
        }
    }

    #[test]
    fn a_newcomer_from_the_web_is_the_last_to_go_of_those_who_begin_and_never_end() {
        let registry = Arc::<Registry>::default();
        let enter = || {
            let one = registry.enter(WEB_UID, CAPS).unwrap();
            one.activity.came_in();
            one
        };
        let _flood: Vec<_> = (0..9).map(|_| enter()).collect();
        let newcomer = registry.enter(WEB_UID, CAPS).unwrap();
        let mut more: Vec<_> = (0..CAPS.per_user - 1).map(|_| enter()).collect();
        assert!(!is_told_to_go(&newcomer));
        more.push(enter());
        assert!(is_told_to_go(&newcomer));
    }
}
