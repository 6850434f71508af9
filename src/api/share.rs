//! What one local user may take of the service while others use it too: requests a second, and work at once.
//!
//! A user who is alone gets the full speed of the machine. On loopback TCP the kernel names no user, so all web
//! players count as one.
//!
//! Requests are counted, but a single one may cost a thousand times what another does. So the time that a user's
//! questions and large bodies take is counted too: one of them at a time, and a tenth of the time in all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::problem::ApiError;
use crate::journal::Scope;

/// After a request of theirs, other users count as using the service for this long.
const COMPANY: Duration = Duration::from_secs(3);
/// What a user may be ahead of the pace.
const BURST: Duration = Duration::from_secs(1);
/// A refusal is held back for this long: asking again at once would cost more than the work that was refused.
pub(super) const REFUSAL_DELAY: Duration = Duration::from_millis(50);
/// Users whose pace is kept before those that are back in pace are forgotten.
const KEPT: usize = 64;

/// KiB of request bodies of one user that are checked and written at a time: as much as one commit takes.
const BODIES: usize = 512;
/// A thread that walks through the whole journal for one question at a time cannot starve the questions of others.
const QUESTIONS: usize = 1;

/// Other users count as using the service for this long where a request costs much: players are silent for 10 s
/// between two pings (contract section 5).
const LONG_COMPANY: Duration = Duration::from_secs(15);
/// Of the time, a user's costly requests may take one part in so many.
const PART: u32 = 10;
/// The most that one request is held to have taken: it may have waited for others.
const COSTLIEST: Duration = Duration::from_millis(100);
/// How long a request waits for what its user has used up.
const PATIENCE: Duration = Duration::from_secs(3);

/// KiB of request bodies of one user that are in memory, beside one body that may come to its end in any case.
const HELD: usize = 2048;
/// Bytes by which the part of one of them grows.
const STEP: usize = 64 * 1024;

/// The shares of all users.
#[derive(Debug)]
pub struct Shares {
    pace: Mutex<Pace>,
    bodies: Lanes,
    questions: Lanes,
    costly: Lanes,
    held: Lanes,
    beyond: Lanes,
}

impl Default for Shares {
    fn default() -> Self {
        Shares {
            pace: Mutex::default(),
            bodies: Lanes::new(BODIES),
            questions: Lanes::new(QUESTIONS),
            costly: Lanes::new(1),
            held: Lanes::new(HELD),
            beyond: Lanes::new(1),
        }
    }
}

impl Shares {
    /// Whether the caller's next request fits its pace. Administrators always do, and others are there with them.
    pub(super) fn admit(&self, scope: Scope, per_second: usize) -> bool {
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if scope.admin {
            pace.note(scope.uid, now);
            return true;
        }
        pace.admit(scope.uid, per_second, now)
    }

    /// Waits for the user's turn to do something that costs much. `None`: nobody is there whom it could slow down.
    pub(super) async fn costly(&self, scope: Scope) -> Result<Option<Effort<'_>>, ApiError> {
        let paced = || {
            let pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
            !scope.admin && pace.in_company(scope.uid, Instant::now(), LONG_COMPANY)
        };
        if !paced() {
            return Ok(None);
        }
        let turn = async {
            let turn = self.costly.enter(scope.uid, 1).await;
            while let Some(at) = self.free_at(scope.uid).filter(|_| paced()) {
                tokio::time::sleep_until(at).await;
            }
            Effort { shares: self, uid: scope.uid, begun: Instant::now(), _turn: turn }
        };
        tokio::time::timeout(PATIENCE, turn).await.map(Some).map_err(|_| {
            ApiError::busy(
                "This user's questions and large bodies take too much of the time while others use the service too.",
            )
        })
    }

    /// When the user's next costly request may begin, if that lies ahead.
    fn free_at(&self, uid: u32) -> Option<Instant> {
        let pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        let at = pace.spent.get(&uid)?.checked_sub(BURST)?;
        (at > Instant::now()).then_some(at)
    }

    /// Waits until a body of the user's may be worked on.
    pub(super) async fn body(&self, uid: u32, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let weight = bytes.div_ceil(1024).clamp(1, BODIES);
        self.bodies.enter(uid, u32::try_from(weight).unwrap_or(u32::MAX)).await
    }

    /// Waits for the user's turn to ask something that takes a walk through the journal.
    pub(super) async fn question(&self, uid: u32) -> Option<OwnedSemaphorePermit> {
        self.questions.enter(uid, 1).await
    }
}

/// A costly request under way; what it took is counted when it is over.
pub(super) struct Effort<'s> {
    shares: &'s Shares,
    uid: u32,
    begun: Instant,
    _turn: Option<OwnedSemaphorePermit>,
}

impl Drop for Effort<'_> {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut pace = self.shares.pace.lock().unwrap_or_else(PoisonError::into_inner);
        if pace.spent.len() >= KEPT {
            pace.spent.retain(|_, until| *until > now);
        }
        let until = pace.spent.entry(self.uid).or_insert(now);
        *until = (*until).max(now) + (now - self.begun).min(COSTLIEST) * PART;
    }
}

/// What a body that is still coming in takes of its user's room in memory.
#[derive(Default)]
pub(super) struct Held {
    permit: Option<OwnedSemaphorePermit>,
    beyond: Option<OwnedSemaphorePermit>,
    /// Set when it first has to wait.
    patience: Option<Instant>,
}

impl Held {
    /// Waits until there is room for so many bytes in all.
    pub(super) async fn grow(&mut self, shares: &Shares, uid: u32, bytes: usize) -> Result<(), ApiError> {
        let have = self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = (bytes.div_ceil(STEP) * STEP / 1024).saturating_sub(have);
        if more == 0 || self.beyond.is_some() {
            return Ok(());
        }
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        let room = async {
            tokio::select! {
                biased;
                permit = shares.held.enter(uid, more) => match (&mut self.permit, permit) {
                    (Some(held), Some(permit)) => held.merge(permit),
                    (held, permit) => *held = permit,
                },
                // Of many that have begun one at least comes to its end.
                beyond = shares.beyond.enter(uid, 1) => self.beyond = beyond,
            }
        };
        let patience = *self.patience.get_or_insert_with(|| Instant::now() + PATIENCE);
        tokio::time::timeout_at(patience, room).await.map_err(|_| {
            ApiError::busy(
                "Too many large bodies of this user are coming in at once. Send one after the other.",
            )
        })
    }
}

/// How much was done since others had their turn on the thread that serves all requests.
#[derive(Debug, Default)]
pub(super) struct Slice(usize);

/// Bytes of JSON that are worked on at a time: well under a millisecond.
const SLICE: usize = 16 * 1024;

impl Slice {
    /// Gives way to others if enough has been done.
    pub(super) async fn add(&mut self, bytes: usize) {
        self.0 += bytes;
        if self.0 >= SLICE {
            self.0 = 0;
            tokio::task::yield_now().await;
        }
    }
}

/// A semaphore for each user that is there.
#[derive(Debug)]
struct Lanes {
    size: usize,
    users: Mutex<BTreeMap<u32, Arc<Semaphore>>>,
}

impl Lanes {
    fn new(size: usize) -> Lanes {
        Lanes { size, users: Mutex::default() }
    }

    /// `None` never happens: the semaphores are not closed.
    async fn enter(&self, uid: u32, weight: u32) -> Option<OwnedSemaphorePermit> {
        let lane = {
            let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
            if users.len() >= KEPT {
                // Nobody holds or waits for a lane that only this map knows.
                users.retain(|_, lane| Arc::strong_count(lane) > 1);
            }
            let lane = users.entry(uid).or_insert_with(|| Arc::new(Semaphore::new(self.size)));
            // Who waits has taken what is free already: nobody is overtaken here.
            if let Ok(permit) = lane.clone().try_acquire_many_owned(weight) {
                return Some(permit);
            }
            lane.clone()
        };
        lane.acquire_many_owned(weight).await.ok()
    }
}

/// Requests a second.
#[derive(Debug, Default)]
struct Pace {
    /// When each user is back in pace.
    ahead: BTreeMap<u32, Instant>,
    /// The last request.
    last: Option<(u32, Instant)>,
    /// The last request of any other user than that.
    other: Option<(u32, Instant)>,
    /// Until when each user has used up its part of the time.
    spent: BTreeMap<u32, Instant>,
}

impl Pace {
    fn admit(&mut self, uid: u32, per_second: usize, now: Instant) -> bool {
        self.note(uid, now);
        if !self.in_company(uid, now, COMPANY) {
            return true;
        }
        if self.ahead.len() >= KEPT {
            self.ahead.retain(|_, until| *until > now);
        }
        let until = self.ahead.entry(uid).or_insert(now);
        let step = Duration::from_secs(1) / u32::try_from(per_second.max(1)).unwrap_or(u32::MAX);
        let next = (*until).max(now) + step;
        let fits = next <= now + BURST;
        if fits {
            *until = next;
        }
        fits
    }

    fn note(&mut self, uid: u32, now: Instant) {
        if let Some(last) = self.last.filter(|(last, _)| *last != uid) {
            self.other = Some(last);
        }
        self.last = Some((uid, now));
    }

    fn in_company(&self, uid: u32, now: Instant, within: Duration) -> bool {
        [self.last, self.other].into_iter().flatten().any(|(user, at)| user != uid && now - at < within)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANNA: u32 = 1;
    const BERT: u32 = 2;

    fn taken(pace: &mut Pace, uid: u32, tries: usize, now: Instant) -> usize {
        (0..tries).filter(|_| pace.admit(uid, 10, now)).count()
    }

    #[test]
    fn who_is_alone_has_no_limit() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        assert_eq!(taken(&mut pace, ANNA, 500, now), 500);
        assert!(pace.ahead.is_empty(), "nothing is counted meanwhile");
        // From Bert's first request on it is a burst, then the pace; Bert has his own.
        assert_eq!(taken(&mut pace, BERT, 1, now), 1);
        assert_eq!(taken(&mut pace, ANNA, 500, now), 10);
        assert_eq!(taken(&mut pace, BERT, 9, now), 9);
        assert_eq!(taken(&mut pace, ANNA, 5, now + Duration::from_millis(250)), 2);
        // Refusals are not held against anybody.
        assert_eq!(taken(&mut pace, ANNA, 500, now + Duration::from_millis(1250)), 10);
        // Bert went away.
        let later = now + COMPANY;
        assert_eq!(taken(&mut pace, ANNA, 500, later), 500);
    }

    #[test]
    fn two_who_flood_are_company_to_each_other_and_to_a_third() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        let mut count = [0; 3];
        for _ in 0..40 {
            for uid in [0, 1] {
                count[uid as usize] += taken(&mut pace, uid, 100, now);
            }
            count[2] += taken(&mut pace, 2, 1, now);
            now += Duration::from_millis(100);
        }
        // The very first was alone for a moment.
        assert_eq!(count, [100 + 39 + 9, 10 + 39, 40]);
    }

    #[test]
    fn who_was_here_once_is_forgotten() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        for uid in 0..10_000 {
            now += Duration::from_millis(1);
            assert!(pace.admit(uid, 100, now));
        }
        assert!(pace.ahead.len() <= KEPT + 1, "{} are kept", pace.ahead.len());
    }

    #[tokio::test]
    async fn a_large_body_takes_the_whole_lane_of_its_user_and_of_no_other() {
        let shares = Shares::default();
        let soon = |uid, bytes| tokio::time::timeout(Duration::from_millis(20), shares.body(uid, bytes));
        let large = soon(ANNA, 1 << 20).await.unwrap();
        assert!(soon(ANNA, 0).await.is_err());
        let others = [soon(BERT, 100).await.unwrap(), soon(BERT, 300 << 10).await.unwrap()];
        assert!(soon(BERT, 300 << 10).await.is_err());
        drop((large, others));
        for uid in 10..10_000 {
            assert!(soon(uid, 1).await.is_ok());
        }
        assert!(shares.bodies.users.lock().unwrap().len() <= KEPT);
    }

    fn scope(uid: u32) -> Scope {
        Scope { uid, admin: uid == 0 }
    }

    /// Does something costly, and answers how long it had to wait before.
    async fn costly(shares: &Shares, uid: u32, takes: Duration) -> Option<Duration> {
        let begun = Instant::now();
        let effort = shares.costly(scope(uid)).await.ok()?;
        let waited = begun.elapsed();
        tokio::time::sleep(takes).await;
        drop(effort);
        Some(waited)
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_alone_or_administers_may_take_all_the_time() {
        let (shares, long) = (Shares::default(), COSTLIEST);
        assert!(shares.admit(scope(ANNA), 1000));
        for _ in 0..100 {
            assert_eq!(costly(&shares, ANNA, long).await, Some(Duration::ZERO));
        }
        shares.admit(scope(BERT), 1000);
        for _ in 0..100 {
            assert_eq!(costly(&shares, 0, long).await, Some(Duration::ZERO));
        }
        assert!(shares.pace.lock().unwrap().spent.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn in_company_a_tenth_of_the_time_goes_to_the_costly_requests_of_a_user() {
        let (shares, begun) = (Shares::default(), Instant::now());
        let takes = Duration::from_millis(20);
        let mut done = 0;
        while begun.elapsed() < Duration::from_secs(60) {
            // Bert has one event after the other, each 10 s after the last.
            if begun.elapsed().as_secs().is_multiple_of(10) {
                shares.admit(scope(BERT), 1000);
            }
            shares.admit(scope(ANNA), 1000);
            let waited = costly(&shares, ANNA, takes).await.unwrap();
            assert!(waited <= takes * PART, "{waited:?}");
            done += 1;
        }
        assert!((295..310).contains(&done), "{done} of 20 ms in 60 s");
        // Bert's own are not held up by Anna's.
        assert_eq!(costly(&shares, BERT, takes).await, Some(Duration::ZERO));
        // Bert went away.
        tokio::time::sleep(LONG_COMPANY).await;
        shares.admit(scope(ANNA), 1000);
        for _ in 0..100 {
            assert_eq!(costly(&shares, ANNA, takes).await, Some(Duration::ZERO));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn costly_requests_come_one_after_the_other_and_do_not_wait_for_ever() {
        let shares = Shares::default();
        shares.admit(scope(BERT), 1000);
        shares.admit(scope(ANNA), 1000);
        let first = shares.costly(scope(ANNA)).await.unwrap();
        let begun = Instant::now();
        let second = shares.costly(scope(ANNA)).await.err().unwrap();
        assert_eq!((second.status, second.reason, begun.elapsed()), (429, "busy", PATIENCE));
        drop(first);
        // However long it took, the next has its turn in a second at most.
        assert!(shares.costly(scope(ANNA)).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_that_come_in_share_the_room_of_their_user_and_one_comes_to_its_end() {
        const MIB: usize = 1 << 20;
        let shares = Shares::default();
        let mut held: Vec<Held> = (0..4).map(|_| Held::default()).collect();
        for one in &mut held {
            one.grow(&shares, ANNA, MIB / 2).await.unwrap();
        }
        // All room is taken by halves: one may go beyond, the others wait.
        held[0].grow(&shares, ANNA, MIB).await.unwrap();
        assert_eq!(held[1].grow(&shares, ANNA, MIB).await.unwrap_err().reason, "busy");
        Held::default().grow(&shares, BERT, MIB).await.unwrap();
        held.remove(0);
        held[0].grow(&shares, ANNA, MIB).await.unwrap();
        assert!(held[1].grow(&shares, ANNA, MIB).await.is_ok());
        assert!(held[2].grow(&shares, ANNA, MIB).await.is_err());
        drop(held);
        let mut all = Held::default();
        all.grow(&shares, ANNA, HELD * 1024).await.unwrap();
        assert!(all.beyond.is_none(), "everything was given back");
    }

    #[test]
    fn work_gives_way_after_each_slice() {
        let polls = |steps: usize, bytes: usize| {
            let work = async {
                let mut slice = Slice::default();
                for _ in 0..steps {
                    slice.add(bytes).await;
                }
            };
            let mut work = std::pin::pin!(work);
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            (1..).find(|_| work.as_mut().poll(&mut context).is_ready()).unwrap()
        };
        assert_eq!(polls(1, 1000), 1, "a single event is done in one go");
        assert_eq!(polls(64, 16 * 1024), 65);
        assert_eq!(polls(10_000, 100), 1 + 10_000 / SLICE.div_ceil(100));
    }
}
