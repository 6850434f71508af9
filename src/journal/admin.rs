//! What a person or the player decides about a session: complete, retry, discard; consent and identity.

use rusqlite::params;
use uuid::Uuid;

use super::core::{Core, RECORDED};
use super::{Journal, Policy, Refusal, Scope};
use crate::session::{Consent, Loss, Name, State, Why};

impl Journal {
    /// Completes a session without adding an event. Answers its state and why it was completed.
    pub async fn complete(&self, scope: Scope, key: String) -> Result<(State, Why), Refusal> {
        self.call(move |core| core.complete_by_player(scope, &key)).await
    }

    /// Takes a quarantined session back.
    pub async fn retry(&self, scope: Scope, key: String) -> Result<(), Refusal> {
        self.call(move |core| {
            let id = core.find_surely(scope, &key)?;
            match core.state_of(id)?.0 {
                State::Quarantined => core.requeue(id),
                state => Err(Refusal::WrongState(state)),
            }
        })
        .await
    }

    /// Drops a session; what was not delivered is a loss named `discarded`.
    pub async fn discard(&self, scope: Scope, key: String) -> Result<(), Refusal> {
        self.call(move |core| {
            let id = core.find_surely(scope, &key)?;
            core.lose(id, Loss::Discarded, "dropped by a person")
        })
        .await
    }

    /// Sets consent; opting out erases everything that is stored.
    pub async fn set_consent(&self, consent: Consent) -> Result<(), Refusal> {
        self.call(move |core| core.set_consent(consent)).await?;
        self.call(|core| {
            if core.scrub {
                let detail =
                    "the data are erased, but traces may still be in the file; ask again to try anew";
                return Err(Refusal::Storage(detail.into()));
            }
            Ok(())
        })
        .await
    }

    /// The device's own FPID.
    pub async fn identity(&self) -> Result<String, Refusal> {
        self.call(|core| core.device_id()).await
    }

    /// Replaces the device's own FPID; sessions that have started keep theirs.
    pub async fn reset_identity(&self) -> Result<String, Refusal> {
        self.call(|core| {
            let id = Uuid::new_v4().to_string();
            core.set_setting("fpid", &id)?;
            Ok(id)
        })
        .await
    }

    /// Replaces what configuration lays down.
    pub async fn set_policy(&self, policy: Policy) -> Result<(), Refusal> {
        self.call(move |core| {
            core.policy = policy;
            core.touched = true;
            Ok(core.reload()?)
        })
        .await
    }
}

/// One session under a key.
struct Under {
    id: i64,
    owner: u32,
    generation: u32,
    continues: Option<i64>,
}

/// The last of an owner's sessions under a key: none goes on after it.
fn last(under: &[Under]) -> Option<&Under> {
    under.iter().rev().find(|one| !under.iter().any(|later| later.continues == Some(one.id)))
}

impl Core {
    /// The session of this name that the caller may see, their own before those of others. A bare key names the first
    /// session under it; when that is gone, the one that the key leads to.
    pub(super) fn find(&self, scope: Scope, name: &str) -> Result<i64, Refusal> {
        self.choose(scope, name, true, true)
    }

    /// The session that a bare key leads to: the last one under it.
    fn find_last(&self, scope: Scope, name: &str) -> Result<i64, Refusal> {
        self.choose(scope, name, false, true)
    }

    /// The session of this name of which a person decides. What an administrator asks for may be anybody's, so a name
    /// that several users have is refused: taking the administrator's own would drop or send again what nobody meant.
    fn find_surely(&self, scope: Scope, name: &str) -> Result<i64, Refusal> {
        self.choose(scope, name, true, false)
    }

    fn choose(&self, scope: Scope, name: &str, first: bool, own_first: bool) -> Result<i64, Refusal> {
        let name: Name = name.parse().map_err(|_| Refusal::UnknownSession)?;
        let under = self.under(scope, name.key.as_str())?;
        let chosen = |under: &[Under]| -> Option<(u32, i64)> {
            let wanted = name.generation.or(first.then_some(1));
            let named = under.iter().find(|one| Some(one.generation) == wanted);
            let found = if name.generation.is_some() { named } else { named.or_else(|| last(under)) };
            found.map(|one| (one.owner, one.id))
        };
        let found: Vec<(u32, i64)> = under.chunk_by(|a, b| a.owner == b.owner).filter_map(chosen).collect();
        match found.as_slice() {
            [] => Err(Refusal::UnknownSession),
            [(_, id)] => Ok(*id),
            several => match several.iter().find(|(owner, _)| own_first && *owner == scope.uid) {
                Some((_, own)) => Ok(*own),
                None => Err(Refusal::Ambiguous(several.iter().map(|(owner, _)| *owner).collect())),
            },
        }
    }

    /// What the caller may see under a key, by owner and generation.
    fn under(&self, scope: Scope, key: &str) -> Result<Vec<Under>, Refusal> {
        let (from, to) = if scope.admin { (0, u32::MAX) } else { (scope.uid, scope.uid) };
        // The index of names tells which rows these are; the rows themselves are large.
        let mut query = self.conn.prepare_cached(
            "SELECT id, owner, generation, continues FROM sessions
             WHERE id IN (SELECT id FROM sessions WHERE owner BETWEEN ?2 AND ?3 AND key = ?1)
             ORDER BY owner, generation",
        )?;
        let under = query.query_map(params![key, from, to], |row| {
            Ok(Under { id: row.get(0)?, owner: row.get(1)?, generation: row.get(2)?, continues: row.get(3)? })
        })?;
        Ok(under.collect::<Result<_, _>>()?)
    }

    pub(super) fn state_of(&self, id: i64) -> Result<(State, Why), Refusal> {
        Ok(self.conn.prepare_cached("SELECT state, why FROM sessions WHERE id = ?1")?.query_row(
            [id],
            |row| {
                Ok((
                    State::parse(row.get_ref(0)?.as_str()?).unwrap_or(State::Completed),
                    row.get_ref(1)?.as_str_or_null()?.and_then(Why::parse).unwrap_or(Why::Complete),
                ))
            },
        )?)
    }

    fn complete_by_player(&mut self, scope: Scope, key: &str) -> Result<(State, Why), Refusal> {
        self.complete_due(None)?;
        let id = self.find_last(scope, key)?;
        if let Some(open) = self.open.get(&id) {
            let why = if open.times.closed_ms.is_some() { Why::End } else { Why::Complete };
            self.complete(id, why)?;
        }
        let (state, why) = self.state_of(id)?;
        if why.is_ours() {
            self.note_own_end(id, Why::Complete)?;
        }
        Ok((state, why))
    }

    /// Takes a session out of the journal. What had not been delivered is counted and written down as a loss.
    pub(super) fn lose(&mut self, id: i64, loss: Loss, detail: &str) -> Result<(), Refusal> {
        let (owner, key, state): (u32, String, String) = self
            .conn
            .prepare_cached("SELECT owner, key, state FROM sessions WHERE id = ?1")?
            .query_row([id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let events = self.delete_events(id)?;
        self.conn.prepare_cached("DELETE FROM sessions WHERE id = ?1")?.execute([id])?;
        if state == State::Open.as_str() {
            self.count(owner, RECORDED, events)?;
        }
        if state != State::Delivered.as_str() {
            self.count(owner, loss.as_str(), events)?;
            self.conn
                .prepare_cached(
                    "INSERT INTO losses (name, owner, key, events, detail, wall_ms)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                )?
                .execute(params![loss.as_str(), owner, key, events, detail, self.wall_now()])?;
        }
        self.touched = true;
        if let Some(open) = self.open.remove(&id) {
            self.open_by_key.remove(&(open.owner, open.key));
        }
        Ok(())
    }

    fn set_consent(&mut self, consent: Consent) -> Result<(), Refusal> {
        self.set_setting("consent", &consent)?;
        self.touched = true;
        self.consent = consent;
        self.note_change();
        if consent == Consent::Out {
            self.purge()?;
        }
        Ok(())
    }

    /// Erases every session in every state, and with them whatever could name the person: keys, titles, identities.
    fn purge(&mut self) -> Result<(), Refusal> {
        let wall_ms = self.wall_now();
        self.conn.execute(
            "INSERT INTO counters (owner, name, value)
             SELECT s.owner, 'purged', count(*) FROM events e JOIN sessions s ON s.id = e.session
             WHERE e.synthetic = 0 GROUP BY s.owner
             ON CONFLICT (owner, name) DO UPDATE SET value = value + excluded.value",
            [],
        )?;
        self.conn.execute(
            "INSERT INTO counters (owner, name, value)
             SELECT s.owner, ?1, count(*) FROM events e JOIN sessions s ON s.id = e.session
             WHERE e.synthetic = 0 AND s.state = 'open' GROUP BY s.owner
             ON CONFLICT (owner, name) DO UPDATE SET value = value + excluded.value",
            [RECORDED],
        )?;
        self.conn.execute("UPDATE losses SET key = NULL, detail = ''", [])?;
        self.conn.execute(
            "INSERT INTO losses (name, owner, events, detail, wall_ms)
             SELECT 'purged', s.owner, count(*), '', ?1 FROM events e JOIN sessions s ON s.id = e.session
             WHERE e.synthetic = 0 GROUP BY s.owner",
            [wall_ms],
        )?;
        self.conn.execute_batch(
            "DELETE FROM attempts; DELETE FROM events; DELETE FROM sessions;
             DELETE FROM settings WHERE name IN ('fpid', 'uploader')",
        )?;
        self.open.clear();
        self.taken.clear();
        self.open_by_key.clear();
        self.deadline = None;
        self.scrub = true;
        Ok(())
    }

    /// The device's FPID: made once, kept for good (contract section 5).
    pub(super) fn device_id(&self) -> Result<String, Refusal> {
        if let Some(id) = self.setting::<String>("fpid")? {
            return Ok(id);
        }
        let id = Uuid::new_v4().to_string();
        self.set_setting("fpid", &id)?;
        Ok(id)
    }

    /// `identityMap` for a session whose player names nobody.
    pub(super) fn configured_identity(&self) -> Result<String, Refusal> {
        let (namespace, id) = match &self.policy.identity {
            Some(configured) => configured.clone(),
            None => ("FPID".to_owned(), self.device_id()?),
        };
        let item = serde_json::json!([{ "id": id, "authenticatedState": "ambiguous", "primary": true }]);
        let mut map = serde_json::Map::new();
        map.insert(namespace, item);
        Ok(serde_json::Value::Object(map).to_string())
    }
}
