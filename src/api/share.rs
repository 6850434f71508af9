//! What one local user may take of the service while others use it too: requests a second, and work at once.
//!
//! A user who is alone gets the full speed of the machine. On loopback TCP the kernel names no user, so all web
//! players count as one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

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

/// The shares of all users.
#[derive(Debug)]
pub struct Shares {
    pace: Mutex<Pace>,
    bodies: Lanes,
    questions: Lanes,
}

impl Default for Shares {
    fn default() -> Self {
        Shares { pace: Mutex::default(), bodies: Lanes::new(BODIES), questions: Lanes::new(QUESTIONS) }
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

/// A semaphore for each user that is there.
#[derive(Debug)]
struct Lanes {
    size: usize,
    users: Mutex<HashMap<u32, Arc<Semaphore>>>,
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
            users.entry(uid).or_insert_with(|| Arc::new(Semaphore::new(self.size))).clone()
        };
        lane.acquire_many_owned(weight).await.ok()
    }
}

/// Requests a second.
#[derive(Debug, Default)]
struct Pace {
    /// When each user is back in pace.
    ahead: HashMap<u32, Instant>,
    /// The last request.
    last: Option<(u32, Instant)>,
    /// The last request of any other user than that.
    other: Option<(u32, Instant)>,
}

impl Pace {
    fn admit(&mut self, uid: u32, per_second: usize, now: Instant) -> bool {
        self.note(uid, now);
        if !self.in_company(uid, now) {
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

    fn in_company(&self, uid: u32, now: Instant) -> bool {
        [self.last, self.other].into_iter().flatten().any(|(user, at)| user != uid && now - at < COMPANY)
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
}
