//! How an attempt ended, and what follows for its session: written in one commit.

use rusqlite::{OptionalExtension, params};

use super::core::Core;
use super::{Journal, Refusal};
use crate::clock::Moment;

/// What is to become of a session after an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// It is delivered: events go, the receipt stays.
    Deliver {
        /// The receipt, as JSON.
        receipt: String,
    },
    /// It is tried again after `ms`.
    Wait {
        /// How long.
        ms: i64,
        /// Whether a new path ends the wait.
        network: bool,
        /// Whether the answer counts against a limit.
        counts: bool,
    },
    /// A body of so many bytes was too large; it is tried again at once with a smaller one.
    Resize {
        /// Bytes of the body.
        bytes: i64,
        /// How long until the next attempt.
        wait_ms: i64,
    },
    /// It is set apart.
    Quarantine,
}

/// How an attempt ended, and what follows; written in one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// The session.
    pub id: i64,
    /// The attempt.
    pub attempt: u32,
    /// HTTP status, if an answer came.
    pub status: Option<u16>,
    /// Name of the verdict.
    pub verdict: &'static str,
    /// Short reason.
    pub reason: String,
    /// Reason for a person.
    pub detail: String,
    /// The body may have arrived although no answer came.
    pub maybe_delivered: bool,
    /// Nothing of this attempt or of one before can have arrived: the next one need not have the same bytes.
    pub unsent: bool,
    /// What follows for this session.
    pub action: Action,
    /// Quarantined sessions to take back.
    pub requeue: Vec<i64>,
    /// The uploader's own state, as JSON.
    pub book: String,
}

impl Journal {
    /// Writes down how an attempt ended and what follows.
    pub async fn settle(&self, settlement: Settlement) -> Result<(), Refusal> {
        self.call(move |core| core.settle(&settlement)).await
    }

    /// Quarantines a session that cannot be sent at all.
    pub async fn quarantine(&self, id: i64, reason: &'static str, detail: String) -> Result<(), Refusal> {
        self.call(move |core| core.quarantine(id, reason, &detail)).await
    }
}

fn verdict_json(
    at_ms: i64,
    verdict: &str,
    status: Option<u16>,
    reason: &str,
    detail: &str,
) -> serde_json::Value {
    serde_json::json!({
        "verdict": verdict, "status": status, "reason": reason, "detail": detail,
        "at": crate::clock::rfc3339(at_ms),
    })
}

impl Core {
    pub(super) fn settle(&mut self, settlement: &Settlement) -> Result<(), Refusal> {
        let now = self.now();
        let Settlement { id, attempt, status, verdict, reason, detail, .. } = settlement;
        let owner: Option<u32> = self
            .conn
            .prepare_cached(
                "SELECT owner FROM sessions WHERE id = ?1 AND state = 'completed' AND attempts = ?2",
            )?
            .query_row(params![id, attempt], |row| row.get(0))
            .optional()?;
        // Erased or dropped by a person while it was on its way, or set apart when the journal was damaged; another
        // session may have its number since.
        let Some(owner) = owner else { return self.write_book(&settlement.book) };
        self.conn
            .prepare_cached(
                "UPDATE attempts SET ended_wall_ms = ?3, status = ?4, verdict = ?5, reason = ?6, detail = ?7,
                     maybe_delivered = ?8 WHERE session = ?1 AND n = ?2",
            )?
            .execute(params![
                id,
                attempt,
                self.wall_of(&now),
                status,
                verdict,
                reason,
                detail,
                settlement.maybe_delivered
            ])?;
        let last = verdict_json(self.wall_now(), verdict, *status, reason, detail).to_string();
        if settlement.maybe_delivered {
            self.count(owner, "possible_duplicates", 1)?;
        }
        if let Action::Deliver { receipt } = &settlement.action {
            self.deliver(*id, owner, receipt, &last, &now)?;
        } else {
            self.conn
                .prepare_cached("UPDATE sessions SET verdict = ?2 WHERE id = ?1")?
                .execute(params![id, last])?;
        }
        match &settlement.action {
            Action::Deliver { .. } => {}
            Action::Wait { ms, network, counts } => {
                self.wait(*id, *ms, *network, *counts, &now)?;
                if settlement.unsent {
                    self.unfreeze(*id)?;
                }
            }
            Action::Resize { bytes, wait_ms } => {
                self.wait(*id, *wait_ms, false, false, &now)?;
                self.conn
                    .prepare_cached(
                        "UPDATE sessions SET refused_bytes = ?2, payload_sum = NULL, budget = NULL, gap_ms = NULL
                         WHERE id = ?1",
                    )?
                    .execute(params![id, bytes])?;
            }
            Action::Quarantine => self.set_quarantined(*id, &now)?,
        }
        for id in &settlement.requeue {
            self.requeue(*id)?;
        }
        self.write_book(&settlement.book)?;
        self.expire(&now)?;
        Ok(())
    }

    fn deliver(
        &mut self,
        id: i64,
        owner: u32,
        receipt: &str,
        verdict: &str,
        now: &Moment,
    ) -> Result<(), Refusal> {
        let events = self.delete_events(id)?;
        self.count(owner, "delivered", events)?;
        let is_estimated: bool = self
            .conn
            .prepare_cached("SELECT time IS 'estimated' FROM sessions WHERE id = ?1")?
            .query_row([id], |row| row.get(0))?;
        if is_estimated {
            self.count(owner, "estimated", 1)?;
        }
        self.conn
            .prepare_cached(
                "UPDATE sessions SET state = 'delivered', receipt = ?2, verdict = ?3, wait_ms = 0, unreached = 0,
                     settled_boot = ?4, settled_boot_ms = ?5, settled_wall_ms = ?6 WHERE id = ?1",
            )?
            .execute(params![id, receipt, verdict, now.boot, now.boot_ms, now.wall_ms])?;
        Ok(())
    }

    /// Nobody has seen the payload: should the time come to be known, it is told by that.
    fn unfreeze(&self, id: i64) -> Result<(), Refusal> {
        self.conn
            .prepare_cached(
                "UPDATE sessions SET offset_ms = NULL, time = NULL, timestamp_ms = NULL, payload_sum = NULL
                 WHERE id = ?1",
            )?
            .execute([id])?;
        Ok(())
    }

    fn wait(&self, id: i64, ms: i64, network: bool, counts: bool, now: &Moment) -> Result<(), Refusal> {
        self.conn
            .prepare_cached(
                "UPDATE sessions SET wait_ms = ?2, wait_network = ?3,
                     wait_boot = ?4, wait_boot_ms = ?5, wait_wall_ms = ?6,
                     unreached = iif(?3, unreached + 1, 0),
                     answers = answers + ?7,
                     first_answer_boot = iif(?7, coalesce(first_answer_boot, ?4), first_answer_boot),
                     first_answer_boot_ms = iif(?7, coalesce(first_answer_boot_ms, ?5), first_answer_boot_ms),
                     first_answer_wall_ms = iif(?7, coalesce(first_answer_wall_ms, ?6), first_answer_wall_ms)
                 WHERE id = ?1",
            )?
            .execute(params![id, ms, network, now.boot, now.boot_ms, now.wall_ms, counts])?;
        Ok(())
    }

    fn set_quarantined(&self, id: i64, now: &Moment) -> Result<(), Refusal> {
        self.conn
            .prepare_cached(
                "UPDATE sessions SET state = 'quarantined', wait_ms = 0, unreached = 0,
                     settled_boot = ?2, settled_boot_ms = ?3, settled_wall_ms = ?4
                 WHERE id = ?1 AND state = 'completed'",
            )?
            .execute(params![id, now.boot, now.boot_ms, now.wall_ms])?;
        Ok(())
    }

    fn quarantine(&mut self, id: i64, reason: &str, detail: &str) -> Result<(), Refusal> {
        let verdict = verdict_json(self.wall_now(), "quarantine", None, reason, detail).to_string();
        self.conn
            .prepare_cached("UPDATE sessions SET verdict = ?2 WHERE id = ?1 AND state = 'completed'")?
            .execute(params![id, verdict])?;
        self.set_quarantined(id, &self.now())
    }

    /// Takes a quarantined session back: due now, its count of refusals begun anew.
    pub(super) fn requeue(&mut self, id: i64) -> Result<(), Refusal> {
        self.conn
            .prepare_cached(
                "UPDATE sessions SET state = 'completed', wait_ms = 0, answers = 0, first_answer_boot = NULL,
                     settled_boot = NULL, settled_boot_ms = NULL, settled_wall_ms = NULL
                 WHERE id = ?1 AND state = 'quarantined'",
            )?
            .execute([id])?;
        self.work += 1;
        Ok(())
    }

    /// An attempt of a session that is about to be sent has no end when nobody knew, after a commit that failed, that it
    /// had been counted: it was not made.
    pub(super) fn close_attempts_not_made(&self, id: i64) -> rusqlite::Result<()> {
        self.conn
            .prepare_cached(
                "UPDATE attempts SET ended_wall_ms = started_wall_ms, verdict = 'backoff', reason = 'interrupted',
                     detail = 'this attempt was counted and, after a fault of the journal, not made'
                 WHERE session = ?1 AND ended_wall_ms IS NULL",
            )?
            .execute([id])?;
        Ok(())
    }

    /// An attempt without an end was under way when the process ended: the session goes again, perhaps twice.
    pub(super) fn close_interrupted_attempts(&self) -> rusqlite::Result<()> {
        let mut query = self.conn.prepare(
            "UPDATE attempts SET ended_wall_ms = started_wall_ms, verdict = 'backoff', reason = 'interrupted',
                 detail = 'the service ended while this attempt was under way', maybe_delivered = 1
             WHERE ended_wall_ms IS NULL RETURNING (SELECT owner FROM sessions WHERE id = attempts.session)",
        )?;
        let owners: Vec<Option<u32>> = query.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        for owner in owners {
            self.count(owner.unwrap_or(0), "possible_duplicates", 1)?;
        }
        Ok(())
    }
}
