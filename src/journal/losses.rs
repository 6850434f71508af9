//! The losses, each by itself (product section 2, promise 2).

use rusqlite::params;
use serde::Serialize;

use super::core::Core;
use super::query::only;
use super::{Journal, Refusal, Scope};
use crate::clock::rfc3339;

/// Acknowledged events that were lost together.
#[derive(Debug, Clone, Serialize)]
pub struct LossEntry {
    /// Grows with each loss.
    pub id: i64,
    /// What became of them: the name they are counted under.
    pub name: String,
    /// Key of their session; `None` after an opt-out, or where it could not be read any more.
    pub key: Option<String>,
    /// Whose they were; only administrators are told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<u32>,
    /// How many.
    pub events: i64,
    /// Why, for people; empty after an opt-out.
    pub detail: String,
    /// When, by the time that the service knew then.
    pub at: String,
}

/// One page of losses.
#[derive(Debug, Clone, Serialize)]
pub struct LossPage {
    /// Newest first.
    pub losses: Vec<LossEntry>,
    /// Where the next page begins, if there is one.
    pub next: Option<String>,
}

impl Journal {
    /// Losses the caller may see, newest first, at most `limit`: those whose `id` is below `before`, if that is given.
    pub async fn losses(&self, scope: Scope, limit: u32, before: Option<i64>) -> Result<LossPage, Refusal> {
        self.call(move |core| core.losses(scope, limit, before)).await
    }
}

impl Core {
    fn losses(&self, scope: Scope, limit: u32, before: Option<i64>) -> Result<LossPage, Refusal> {
        let mut query = self.conn.prepare_cached(
            "SELECT id, name, key, owner, events, detail, wall_ms FROM losses
             WHERE id < ?1 AND (?2 IS NULL OR owner = ?2) ORDER BY id DESC LIMIT ?3",
        )?;
        let before = before.unwrap_or(i64::MAX);
        let rows = query.query_map(params![before, only(scope), i64::from(limit) + 1], |row| {
            Ok(LossEntry {
                id: row.get(0)?,
                name: row.get(1)?,
                key: row.get(2)?,
                owner: if scope.admin { Some(row.get(3)?) } else { None },
                events: row.get(4)?,
                detail: row.get(5)?,
                at: rfc3339(row.get(6)?),
            })
        })?;
        let mut losses: Vec<LossEntry> = rows.collect::<Result<_, _>>()?;
        let more = losses.len() > limit as usize;
        losses.truncate(limit as usize);
        let next = losses.last().filter(|_| more).map(|last| format!("@{}", last.id));
        Ok(LossPage { losses, next })
    }
}
