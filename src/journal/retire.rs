//! What leaves the journal: events that were delivered or lost, receipts and quarantined sessions whose time is over.

use std::collections::BTreeMap;

use super::core::{Core, ROW_BYTES};
use super::outbox::wait_set;
use super::schema::PAGE_BYTES;
use super::{Refusal, aside};
use crate::clock::Moment;
use crate::session::Loss;

/// How often, at most, the service looks for what has expired; it does so when it writes anyway.
const EXPIRY_EVERY_MS: i64 = 3_600_000;
/// Pages given back to the file system at a time, so that the file shrinks without a long pause.
const VACUUM_PAGES: i64 = 256;
/// The same with each delivery on a full disk, where the WAL has little room.
const VACUUM_PAGES_SHORT: i64 = 16;
/// Pages that the file may be too long by until some later checkpoint: fewer are not worth one of their own.
const SLACK_PAGES: i64 = 64;

impl Core {
    /// Deletes the events of a session; answers how many of them came from a player.
    pub(super) fn delete_events(&mut self, id: i64) -> Result<i64, Refusal> {
        let (owner, recorded, bytes) = match self.open.get(&id) {
            Some(open) => (open.owner, open.run.events, open.run.bytes),
            None => self
                .conn
                .prepare_cached(
                    "SELECT owner, coalesce(events, 0), coalesce(bytes, 0) FROM sessions WHERE id = ?1",
                )?
                .query_row([id], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?)))?,
        };
        self.touched = true;
        *self.taken.entry(owner).or_default() -= bytes + recorded * ROW_BYTES;
        self.conn
            .prepare_cached(
                "DELETE FROM events WHERE session = ?1
                     AND id >= (SELECT first_event FROM sessions WHERE id = ?1)
                     AND id <= (SELECT coalesce(last_event, 9223372036854775807) FROM sessions WHERE id = ?1)",
            )?
            .execute([id])?;
        self.hollow = true;
        if self.reserve.is_missing() {
            self.vacuum(VACUUM_PAGES_SHORT)?;
        }
        Ok(recorded)
    }

    /// Whether pages can be given back now. Not while sessions go out one after the other: each page would have to
    /// change places with one that is free a moment later.
    pub(super) fn can_give_back(&self) -> bool {
        self.hollow && !self.draining && !self.reserve.is_missing() && self.attached && !self.doubtful
    }

    /// Gives some free pages back to the file system, in a commit of its own while nobody waits for one.
    pub(super) fn give_back(&mut self) {
        match self.give_some_back() {
            Ok(true) => {}
            Ok(false) => {
                self.hollow = false;
                self.shorten();
            }
            Err(refusal) => {
                self.hollow = false;
                tracing::debug!("the journal could not be made smaller: {refusal}");
                self.recover(&refusal);
            }
        }
    }

    fn give_some_back(&mut self) -> Result<bool, Refusal> {
        let free = |core: &Core| -> rusqlite::Result<i64> {
            core.conn.prepare_cached("PRAGMA freelist_count")?.query_row([], |row| row.get(0))
        };
        let before = free(self)?;
        if before == 0 {
            return Ok(false);
        }
        self.begin()?;
        self.vacuum(VACUUM_PAGES)?;
        self.commit()?;
        // Where a step frees nothing, neither would the next one.
        Ok((1..before).contains(&free(self)?))
    }

    /// The file gets shorter only when what the WAL says of it has reached it, which may be long after the last write.
    fn shorten(&mut self) {
        let pages = self
            .conn
            .prepare_cached("PRAGMA page_count")
            .and_then(|mut count| count.query_row([], |row| row.get::<_, i64>(0)));
        let bytes = std::fs::metadata(self.path()).map_or(0, |file| file.len());
        let held = i64::try_from(bytes).unwrap_or(i64::MAX) / PAGE_BYTES;
        if pages.is_ok_and(|pages| held - pages > SLACK_PAGES) {
            self.checkpoint_quietly();
        }
    }

    /// Gives so many free pages back to the file system.
    pub(super) fn vacuum(&self, pages: i64) -> rusqlite::Result<()> {
        let mut vacuum = self.conn.prepare_cached(&format!("PRAGMA incremental_vacuum({pages})"))?;
        let mut rows = vacuum.query([])?;
        // Each step frees one.
        while rows.next()?.is_some() {}
        Ok(())
    }

    /// Lets damaged journals go that were set aside long ago.
    fn expire_set_aside(&self, now: &Moment) -> rusqlite::Result<()> {
        let known: BTreeMap<String, Moment> = self.setting("set_aside")?.unwrap_or_default();
        let tags = match aside::tags(self.path()) {
            Ok(tags) => tags,
            Err(error) => {
                tracing::warn!("looking for old damaged journals: {error}");
                return Ok(());
            }
        };
        let (kept, over) = aside::ages(tags, &known, now, |since| self.since(since));
        for tag in over {
            if let Err(error) = aside::drop_one(self.path(), &tag) {
                tracing::warn!("removing an old damaged journal: {error}");
            }
        }
        if kept != known {
            self.conn.execute(
                "INSERT INTO settings (name, value) VALUES ('set_aside', ?1)
                 ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                [serde_json::to_string(&kept).unwrap_or_default()],
            )?;
        }
        Ok(())
    }

    /// Lets receipts and quarantined sessions go whose time is over; the latter are a loss.
    pub(super) fn expire(&mut self, now: &Moment) -> rusqlite::Result<()> {
        if self.expired_at.is_some_and(|at| now.boot_ms - at < EXPIRY_EVERY_MS) {
            return Ok(());
        }
        self.expired_at = Some(now.boot_ms);
        self.expire_set_aside(now)?;
        let (receipts, quarantined) = (self.policy.keep_receipts_ms, self.policy.keep_quarantined_ms);
        let mut query = self.conn.prepare_cached(
            "SELECT id, state, settled_boot, settled_boot_ms, settled_wall_ms FROM sessions
             WHERE state IN ('delivered', 'quarantined') ORDER BY id",
        )?;
        let over: Vec<(i64, bool)> = query
            .query_map([], |row| {
                let delivered = row.get_ref(1)?.as_str()? == "delivered";
                let keep = if delivered { receipts } else { quarantined };
                let over = wait_set(row, 2)?.is_some_and(|settled| self.surely_since(&settled) >= keep);
                Ok((over, (row.get(0)?, delivered)))
            })?
            .filter_map(|row| row.map(|(over, session)| over.then_some(session)).transpose())
            .collect::<Result<_, _>>()?;
        drop(query);
        for (id, delivered) in over {
            if delivered {
                self.conn.execute("DELETE FROM sessions WHERE id = ?1", [id])?;
            } else if let Err(refusal) = self.lose(id, Loss::Expired, "quarantined for too long") {
                tracing::warn!("an expired session stays for now: {refusal}");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::clock::ManualClock;
    use crate::journal::Trust;
    use crate::journal::anchors::tests::core;

    #[test]
    fn giving_pages_back_ends_even_where_none_can_be() {
        for (mode, left) in [("INCREMENTAL", false), ("NONE", true)] {
            let clock = ManualClock::at(1_795_000_000_000, "boot-1");
            let (mut core, _dir) = core(&clock, Trust::Kernel);
            core.conn
                .execute_batch(&format!(
                    "PRAGMA auto_vacuum = {mode}; VACUUM; CREATE TABLE waste (x);
                     INSERT INTO waste VALUES (zeroblob(4000000)); DELETE FROM waste"
                ))
                .unwrap();
            core.hollow = true;
            let mut steps = 0;
            while core.can_give_back() && steps < 100 {
                core.give_back();
                steps += 1;
            }
            assert!((1..100).contains(&steps), "{mode}: {steps} steps");
            let free = core.conn.query_row("PRAGMA freelist_count", [], |row| row.get::<_, i64>(0)).unwrap();
            assert_eq!(free > 0, left, "{mode}: {free} pages");
        }
    }
}
