//! The quotas: what may be recorded, and what gives way when there is no room.

use rusqlite::params;

use super::core::{Core, ROW_BYTES};
use super::plan::Plan;
use super::schema::PAGE_BYTES;
use super::{Append, Refusal};
use crate::session::Loss;

/// Left free under the quota, so that settling what is there always fits.
const QUOTA_RESERVE: i64 = 256 * 1024;
/// More than a commit writes besides events.
const COMMIT_BYTES: i64 = 32 * 1024;
/// Receipts that go at a time.
const RECEIPTS: i64 = 64;

impl Core {
    /// Finds room for the new events of a request, or refuses before anything of it is written. What gives way, in
    /// this order: receipts, the user's own first; quarantined sessions whose time is over; and, only if configured,
    /// the user's own completed sessions, oldest first. Open sessions and those of other users never do.
    pub(super) fn check_room(&mut self, append: &Append, plan: &Plan) -> Result<(), Refusal> {
        let size = |(at, _): &(usize, i64)| {
            ROW_BYTES + i64::try_from(append.events[*at].body.len()).unwrap_or(i64::MAX / 4096)
        };
        let new: i64 = plan.fresh.iter().map(size).sum();
        if new == 0 {
            return Ok(());
        }
        let Some(refusal) = self.lacks_room(append.owner, new)? else { return Ok(()) };
        // Nothing is thrown away for a request that would be refused all the same.
        if new > self.room() || new > self.share_of(append.owner) {
            return Err(refusal);
        }
        self.make_room(append.owner, new)?;
        match self.lacks_room(append.owner, new)? {
            None => Ok(()),
            Some(refusal) => Err(refusal),
        }
    }

    fn lacks_room(&mut self, owner: u32, new: i64) -> Result<Option<Refusal>, Refusal> {
        if self.lacks_pages(new)? {
            let (used, room, max) = (self.used_bytes()?, self.room(), self.policy.max_bytes);
            let detail = format!(
                "events may take {room} of {max} bytes (journal.max_bytes), the rest is for its log and for deliveries; \
                 {used} are taken"
            );
            return Ok(Some(Refusal::Full(detail)));
        }
        let (mine, most) = (self.taken_by(owner), self.share_of(owner));
        Ok((mine + new > most).then(|| {
            Refusal::Full(format!(
                "this user's events fill {mine} of at most {most} bytes (journal.max_percent_per_user)"
            ))
        }))
    }

    /// Bytes that a user may take: their part of what all others leave, so that something is left for whoever comes
    /// next.
    fn share_of(&self, owner: u32) -> i64 {
        let others: i64 =
            self.taken.iter().filter(|(user, _)| **user != owner).map(|(_, bytes)| *bytes).sum();
        let left = (self.room() - others).max(0);
        let whole = i128::from(self.policy.max_bytes.max(1));
        let share = i128::from(left) * i128::from(self.policy.max_bytes_per_user) / whole;
        i64::try_from(share).unwrap_or(i64::MAX)
    }

    /// Bytes that the main file may come to by what is recorded: the WAL and the reserve take room too.
    fn room(&self) -> i64 {
        self.policy.max_bytes - QUOTA_RESERVE - self.reserve.with_wal()
    }

    /// Whether so many bytes more do not fit.
    pub(super) fn lacks_pages(&mut self, new: i64) -> Result<bool, Refusal> {
        // A row on pages of its own takes less than twice its bytes and a page.
        let at_most = 2 * new + PAGE_BYTES;
        if self.spare >= at_most {
            self.spare -= at_most;
            return Ok(false);
        }
        let free = self.room() - self.used_bytes()?;
        self.spare = free - at_most;
        Ok(new > free)
    }

    /// A commit begins: what it writes besides events comes off what is known to be free.
    pub(super) fn spend_on_commit(&mut self) {
        self.spare = self.spare.saturating_sub(COMMIT_BYTES);
    }

    fn taken_by(&self, owner: u32) -> i64 {
        self.taken.get(&owner).copied().unwrap_or(0)
    }

    fn make_room(&mut self, owner: u32, new: i64) -> Result<(), Refusal> {
        for whose in ["owner = ?1", "owner <> ?1"] {
            while self.lacks_pages(new)? && self.drop_receipts(whose, owner)? > 0 {}
        }
        if self.lacks_room(owner, new)?.is_some() {
            self.expired_at = None;
            self.expire(&self.now())?;
        }
        while self.policy.evict && self.lacks_room(owner, new)?.is_some() && self.evict_oldest(owner)? {}
        Ok(())
    }

    fn drop_receipts(&self, whose: &str, owner: u32) -> Result<usize, Refusal> {
        Ok(self.conn.execute(
            &format!(
                "DELETE FROM sessions WHERE id IN
                     (SELECT id FROM sessions WHERE state = 'delivered' AND {whose} ORDER BY id LIMIT ?2)"
            ),
            params![owner, RECEIPTS],
        )?)
    }

    /// Drops the oldest of a user's completed sessions that is not just being sent. Answers whether there was one.
    fn evict_oldest(&mut self, owner: u32) -> Result<bool, Refusal> {
        let oldest: Vec<i64> = self
            .conn
            .prepare_cached(
                "SELECT id FROM sessions WHERE state = 'completed' AND owner = ?1
                     AND NOT EXISTS (SELECT 1 FROM attempts WHERE session = sessions.id AND ended_wall_ms IS NULL)
                 ORDER BY id LIMIT 1",
            )?
            .query_map([owner], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for id in &oldest {
            self.lose(*id, Loss::Evicted, "made room for newer events (journal.evict)")?;
        }
        Ok(!oldest.is_empty())
    }

    /// Bytes of pages that hold something.
    fn used_bytes(&self) -> Result<i64, Refusal> {
        let number = |pragma: &str| -> rusqlite::Result<i64> {
            self.conn.prepare_cached(pragma)?.query_row([], |row| row.get(0))
        };
        let pages = number("PRAGMA page_count")? - number("PRAGMA freelist_count")?;
        Ok(pages * number("PRAGMA page_size")?)
    }
}
