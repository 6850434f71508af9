//! The end of open sessions: when their time has come, when they have grown too large, when somebody asks.

use rusqlite::params;

use super::core::{Core, RECORDED};
use super::open::Open;
use super::plan::Plan;
use super::{Append, Refusal};
use crate::clock::Moment;
use crate::course::Course;
use crate::event::EventType;
use crate::session::{self, OpenTimes, Why};

/// Between two tries to complete a session that could not be.
const AGAIN_MS: i64 = 1000;
/// Events that are looked at once more in one go, about: what else is due waits for the next one.
const MOST_REVIEWED: i64 = 20_000;

impl Core {
    /// Completes a session: no event can be added from now on. The memory changes last.
    pub(super) fn complete(&mut self, id: i64, why: Why) -> Result<(), Refusal> {
        let Some(open) = self.open.get(&id) else { return Ok(()) };
        let reviewed = if open.span.out_of_order { self.review(id)? } else { None };
        self.write_completion(id, open, reviewed.as_ref(), why, &self.now())?;
        if let Some(open) = self.open.remove(&id) {
            self.open_by_key.remove(&(open.owner, open.key.clone()));
            self.touched |= !self.undo.completed(id, open);
        }
        self.work += 1;
        Ok(())
    }

    /// `reviewed` is what the session comes to in the order of its times, where that is another one.
    pub(super) fn write_completion(
        &self,
        id: i64,
        open: &Open,
        reviewed: Option<&Course>,
        why: Why,
        now: &Moment,
    ) -> rusqlite::Result<()> {
        // Only what we completed can go on under its key.
        let course = why.is_ours().then(|| reviewed.unwrap_or(&open.course));
        let course = course.map(|course| serde_json::to_string(course).unwrap_or_default());
        let mut update = self.conn.prepare_cached(
            "UPDATE sessions SET state = 'completed', why = ?2, last_event = ?3, events = ?4, bytes = ?5,
                 completed_boot = ?6, completed_boot_ms = ?7, completed_wall_ms = ?8, completed_sum = ?9,
                 course = ?10, max_seq = ?11, numbers = ?12
             WHERE id = ?1 AND state = 'open'",
        )?;
        let completed = update.execute(params![
            id,
            why.as_str(),
            open.last_event,
            open.run.events,
            open.run.bytes,
            now.boot,
            now.boot_ms,
            now.wall_ms,
            open.run.sum,
            course,
            open.max_seq,
            serde_json::to_string(&open.numbers.keep()).unwrap_or_default(),
        ])?;
        if completed > 0 {
            self.count(open.owner, RECORDED, open.run.events)?;
            self.keep_basis(id)?;
        }
        Ok(())
    }

    /// Completes open sessions whose deadline has come, `first` before the others. One that cannot be completed stays
    /// open for a moment more and keeps none of the others from it; so does what is too much work for one go.
    pub(super) fn complete_due(&mut self, first: Option<i64>) -> Result<(), Refusal> {
        let now = self.now().boot_ms;
        if self.deadline.is_none_or(|at| at > now) {
            return Ok(());
        }
        let mut due: Vec<(i64, Why)> = self
            .open
            .iter()
            .map(|(id, open)| (*id, session::deadline(&open.times, &self.policy.limits)))
            .filter(|(_, (at, _))| *at <= now)
            .map(|(id, (_, why))| (id, why))
            .collect();
        due.sort_unstable_by_key(|(id, _)| (Some(*id) != first, *id));
        let mut failed = Vec::new();
        let mut reviewed = 0;
        for (id, why) in due {
            if reviewed >= MOST_REVIEWED {
                break;
            }
            let open = self.open.get(&id).filter(|open| open.span.out_of_order);
            reviewed += open.map_or(0, |open| open.run.rows);
            if let Err(refusal) = self.complete_alone(id, why)? {
                tracing::warn!("a session whose time has come stays open for now: {refusal}");
                self.note(&refusal);
                failed.push(id);
            }
        }
        let deadline = |(id, open): (&i64, &Open)| {
            if failed.contains(id) {
                now.saturating_add(AGAIN_MS)
            } else {
                session::deadline(&open.times, &self.policy.limits).0
            }
        };
        self.deadline = self.open.iter().map(deadline).min();
        Ok(())
    }

    /// Completes one of several: when it fails, nothing else is undone. Fails itself when everything was.
    fn complete_alone(&mut self, id: i64, why: Why) -> Result<Result<(), Refusal>, Refusal> {
        self.conn.prepare_cached("SAVEPOINT completion")?.execute([])?;
        let completed = self.complete(id, why);
        match &completed {
            Ok(()) => self.conn.prepare_cached("RELEASE completion")?.execute([]).map(drop)?,
            Err(refusal) if self.conn.is_autocommit() => return Err(refusal.clone()),
            Err(_) => self.conn.execute_batch("ROLLBACK TO completion; RELEASE completion")?,
        }
        Ok(completed)
    }

    /// Lets the memory know that `open`'s deadline may have come nearer.
    pub(super) fn note_deadline(&mut self, times: &OpenTimes) {
        let (at, _) = session::deadline(times, &self.policy.limits);
        if self.deadline.is_none_or(|old| at < old) {
            self.deadline = Some(at);
        }
    }

    /// Completes a session that would become too large with the new events of a request, so that they go on in a
    /// successor, all of them. Answers whether it did.
    pub(super) fn complete_full(&mut self, id: i64, append: &Append, plan: &Plan) -> Result<bool, Refusal> {
        let Some(open) = self.open.get(&id) else { return Ok(false) };
        let new = || plan.fresh.iter().map(|(at, _)| &append.events[*at]);
        let bytes: usize = new().map(|event| event.body.len()).sum();
        let (rows, all) = (
            open.run.rows.saturating_add(i64::try_from(plan.fresh.len()).unwrap_or(i64::MAX)),
            open.run.bytes.saturating_add(i64::try_from(bytes).unwrap_or(i64::MAX)),
        );
        let ends = |kind| matches!(kind, EventType::SessionComplete | EventType::SessionEnd);
        // The end of a session belongs to it, but only one.
        let just_ends =
            open.times.closed_ms.is_none() && plan.fresh.len() == 1 && new().all(|event| ends(event.kind));
        if !session::is_too_large(rows, all) || plan.fresh.is_empty() || just_ends {
            return Ok(false);
        }
        if open.times.closed_ms.is_some() {
            return Err(Refusal::Completed { state: session::State::Completed, why: Why::End });
        }
        let warning = format!(
            "it reached {} events of {} bytes, about as many as one session may have: it ends there and goes on in a \
             successor, which counts as one more resume",
            open.run.rows, open.run.bytes
        );
        self.keep_warnings(id, std::slice::from_ref(&warning))?;
        self.complete(id, Why::Age)?;
        Ok(true)
    }
}
