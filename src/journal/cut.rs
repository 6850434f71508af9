//! A log that was cut under the running service: what it held is counted, for each user.

use std::collections::BTreeMap;

use rusqlite::params;

use super::core::{Core, RECORDED};
use super::{Refusal, Scope};
use crate::session::Loss;

const CUT: &str = "somebody cut the journal's log while it was in use";
const UNKNOWN: &str = "somebody cut the journal's log while it was in use: how many events of completed sessions it held is not known";

/// What was acknowledged before the log was cut. Kept until what is lost of it is written down.
#[derive(Debug)]
pub(super) struct Cut {
    /// By user; `None` where the totals went with the log.
    acknowledged: Option<BTreeMap<u32, i64>>,
    /// By open session: its user and its events.
    open: BTreeMap<i64, (u32, i64)>,
}

impl Core {
    /// What is known before the connection to a log that was cut is closed.
    pub(super) fn known_before_cut(&self) -> Cut {
        let open = self.open.iter().map(|(id, open)| (*id, (open.owner, open.run.events)));
        Cut { acknowledged: self.acknowledged().ok(), open: open.collect() }
    }

    /// Events of each user that were ever acknowledged.
    fn acknowledged(&self) -> Result<BTreeMap<u32, i64>, Refusal> {
        let owners: Vec<u32> = self
            .conn
            .prepare_cached("SELECT owner FROM counters UNION SELECT owner FROM sessions")?
            .query_map([], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let events = |uid| {
            let status = self.status(Scope { uid, admin: false })?;
            Ok((uid, i64::try_from(status.acknowledged()).unwrap_or(i64::MAX)))
        };
        owners.into_iter().map(events).collect()
    }

    /// What of it is gone, for each user.
    fn lost_by(&self, cut: &Cut) -> Result<BTreeMap<u32, i64>, Refusal> {
        let mut lost = BTreeMap::new();
        if let Some(known) = &cut.acknowledged {
            let left = self.acknowledged()?;
            for (owner, events) in known {
                lost.insert(*owner, events - left.get(owner).unwrap_or(&0));
            }
        } else {
            for (id, (owner, events)) in &cut.open {
                let left = self.open.get(id).map_or(0, |open| open.run.events);
                *lost.entry(*owner).or_default() += (events - left).max(0);
            }
        }
        lost.retain(|_, events| *events > 0);
        Ok(lost)
    }

    /// Writes down what went with a log that was cut, if one was and that is not done yet.
    pub(super) fn count_cut(&mut self) -> Result<(), Refusal> {
        let Some(cut) = &self.cut else { return Ok(()) };
        let lost = self.lost_by(cut)?;
        let is_known = cut.acknowledged.is_some();
        let now_ms = self.wall_now();
        let transaction = self.conn.unchecked_transaction()?;
        let list = |owner: u32, events: i64, detail: &str| {
            self.conn.execute(
                "INSERT INTO losses (name, owner, key, events, detail, wall_ms) VALUES (?1, ?2, NULL, ?3, ?4, ?5)",
                params![Loss::Corrupt.as_str(), owner, events, detail, now_ms],
            )
        };
        for (owner, events) in &lost {
            self.count(*owner, Loss::Corrupt.as_str(), *events)?;
            self.count(*owner, RECORDED, *events)?;
            list(*owner, *events, CUT)?;
        }
        if !is_known {
            list(0, 0, UNKNOWN)?;
        }
        transaction.commit()?;
        let all: i64 = lost.values().sum();
        tracing::error!("{}; {all} events are lost", if is_known { CUT } else { UNKNOWN });
        self.cut = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::clock::ManualClock;
    use crate::event::EventType;
    use crate::journal::anchors::tests::core;
    use crate::journal::files::beside;
    use crate::journal::{Append, NewEvent, Trust};

    fn record(core: &mut Core, owner: u32, key: &str, pings: usize) {
        let event = |kind: EventType| NewEvent {
            kind,
            seq: None,
            said_ms: None,
            playhead: 0.0,
            body: format!(r#"{{"mediaEventType":"{}","mediaCollection":{{"playhead":0}}}}"#, kind.as_str())
                .into(),
            title: None,
            identity: None,
            lacks: (false, false),
        };
        let mut events = vec![event(EventType::SessionStart)];
        events.extend((0..pings).map(|_| event(EventType::Ping)));
        core.begin().unwrap();
        core.append(Append::new(owner, key.parse().unwrap(), events)).unwrap();
        core.commit().unwrap();
    }

    fn losses(core: &Core) -> Vec<(u32, i64, String)> {
        let mut query = core.conn.prepare("SELECT owner, events, detail FROM losses ORDER BY id").unwrap();
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        query.query_map([], row).unwrap().map(Result::unwrap).collect()
    }

    fn lost(owner: u32, events: i64) -> (u32, i64, String) {
        (owner, events, CUT.to_owned())
    }

    #[test]
    fn what_a_log_held_is_lost_to_those_whose_it_was_though_the_journal_opens_only_later() {
        let clock = ManualClock::at(1_790_000_000_000, "a");
        let (mut core, dir) = core(&clock, Trust::Kernel);
        record(&mut core, 1000, "one", 1);
        record(&mut core, 2000, "other", 2);
        core.begin().unwrap();
        core.commit().unwrap();
        let known = core.acknowledged().unwrap();
        let path = core.path().to_owned();
        fs::File::options().write(true).open(beside(&path, "-wal")).unwrap().set_len(0).unwrap();
        let away = dir.path().join("away");
        fs::rename(&path, &away).unwrap();
        fs::create_dir(&path).unwrap();
        core.make_sure().unwrap_err();
        fs::remove_dir(&path).unwrap();
        fs::rename(&away, &path).unwrap();
        core.make_sure().unwrap();
        assert_eq!(losses(&core), [lost(1000, 2), lost(2000, 3)]);
        assert_eq!(core.acknowledged().unwrap(), known);
        core.make_sure().unwrap();
        assert_eq!(losses(&core).len(), 2, "counted once");
    }

    #[test]
    fn a_count_that_cannot_be_written_is_written_later() {
        let clock = ManualClock::at(1_790_000_000_000, "a");
        let (mut core, _dir) = core(&clock, Trust::Kernel);
        record(&mut core, 1000, "one", 1);
        let id = *core.open.keys().next().unwrap();
        let open = BTreeMap::from([(id, (1000, 5)), (id + 1, (2000, 4))]);
        core.cut = Some(Cut { acknowledged: None, open });
        core.conn
            .execute_batch(
                "CREATE TEMP TRIGGER never BEFORE INSERT ON main.losses BEGIN SELECT RAISE(ABORT, 'no'); END",
            )
            .unwrap();
        core.count_cut().unwrap_err();
        assert!(core.conn.is_autocommit() && !core.acknowledged().unwrap().contains_key(&2000));
        core.conn.execute_batch("DROP TRIGGER never").unwrap();
        for _ in 0..2 {
            core.count_cut().unwrap();
            assert_eq!(losses(&core), [lost(1000, 3), lost(2000, 4), (0, 0, UNKNOWN.to_owned())]);
            assert_eq!(core.acknowledged().unwrap(), BTreeMap::from([(1000, 5), (2000, 4)]));
        }
    }
}
