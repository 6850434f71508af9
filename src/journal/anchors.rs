//! What is known of time: boots, their anchors, and what follows from them.

use rusqlite::params;

use super::core::Core;
use super::{Journal, Refusal};
use crate::anchor::boots::{Anchor, Boot, History, Source, Standing};
use crate::anchor::{self, Basis, Context, EventTimes, Offsets, STEP_MS};
use crate::clock::{BUILT_MS, Clock, Moment, Reading, left_of, rfc3339};
use crate::session::Why;

/// Whose word counts for the wall clock, besides the endpoint's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// The kernel's.
    Kernel,
    /// Nobody's.
    Endpoint,
    /// The kernel's, and the hardware clock's.
    Rtc,
}

/// Nobody checks a hardware clock; whoever knows better is believed rather.
const RTC_UNCERTAINTY_MS: i64 = 60_000;

/// Within this time a last question for the time has an answer, or has failed.
const LAST_QUESTION_MS: i64 = 60_000;

/// How well the times of a session are known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TimeBasis {
    /// By an anchor of its boot.
    Trusted,
    /// By the wall clock, which looked right and which nobody confirmed.
    Assumed,
    /// Put between the boots before and after it.
    Estimated,
    /// The player's own clock gave all of them.
    #[default]
    Given,
}

impl TimeBasis {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            TimeBasis::Trusted => "trusted",
            TimeBasis::Assumed => "assumed",
            TimeBasis::Estimated => "estimated",
            TimeBasis::Given => "given",
        }
    }

    pub(super) fn parse(text: &str) -> Option<TimeBasis> {
        let all = [TimeBasis::Trusted, TimeBasis::Assumed, TimeBasis::Estimated, TimeBasis::Given];
        all.into_iter().find(|basis| basis.as_str() == text)
    }
}

/// How a session's boot time becomes wall time; frozen at the first attempt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timing {
    /// The offsets.
    pub offsets: Offsets,
    /// How well they are known.
    pub basis: TimeBasis,
}

/// What an answer's `Date` said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DateSeen {
    /// Boot time at the middle of the round trip.
    pub boot_ms: i64,
    /// The `Date`, in the middle of its second.
    pub date_ms: i64,
    /// How far off that may be.
    pub uncertainty_ms: i64,
}

/// What is known of the present time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Wall time less boot time, if this boot has an anchor; not before what was more certain.
    pub offset_ms: Option<i64>,
    /// Wall time less boot time at the least.
    pub floor_ms: i64,
    /// Who says that it is not less; `None`: this version was not made before.
    pub floor_by: Option<Source>,
}

/// Whether the time is known, for `status`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClockStatus {
    /// Who says so; `None`: nobody.
    pub source: Option<Source>,
    /// Since when.
    pub since_ms: Option<i64>,
    /// Wall time less boot time.
    pub offset_ms: Option<i64>,
}

/// Who can be hoped to tell the time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Telling {
    /// Nobody can confirm a clock: one that looks right is good enough.
    pub assume: bool,
    /// The endpoint was asked and did not tell.
    pub in_vain: bool,
}

impl Telling {
    /// Nobody.
    pub const NOBODY: Telling = Telling { assume: true, in_vain: true };
}

/// When a completed session may go, as far as time is concerned.
pub(super) enum Release {
    Now,
    /// It waits for an anchor, at most until this boot time.
    Held(i64),
}

impl Journal {
    /// An answer over verified TLS said what time it is.
    pub async fn note_date(&self, seen: DateSeen) -> Result<Known, Refusal> {
        self.call(move |core| {
            core.note_date(&seen)?;
            Ok(core.known_time())
        })
        .await
    }

    /// What is known of the present time.
    pub async fn known_time(&self) -> Result<Known, Refusal> {
        self.call(|core| {
            core.look_at_clock()?;
            Ok(core.known_time())
        })
        .await
    }

    /// How long ago each of these moments was, of whatever boot.
    pub async fn passed_since(&self, moments: Vec<Moment>) -> Result<Vec<i64>, Refusal> {
        self.call(move |core| {
            core.look_at_clock()?;
            Ok(moments.iter().map(|moment| core.since(moment)).collect())
        })
        .await
    }
}

impl Core {
    /// Names the present boot, and notes the last moment of those before it. Answers the boot's number.
    pub(super) fn enter_boot(&self, now: &Reading) -> rusqlite::Result<i64> {
        self.conn.execute(
            "INSERT INTO boots (boot_id, first_boot_ms, first_wall_ms) VALUES (?1, ?2, ?3)
             ON CONFLICT (boot_id) DO NOTHING",
            params![self.clock.boot_id(), now.boot_ms, now.wall_ms],
        )?;
        let is_new = self.conn.changes() > 0;
        let boot = self.conn.query_row(
            "SELECT id FROM boots WHERE boot_id = ?1",
            [self.clock.boot_id()],
            |row| row.get(0),
        )?;
        // Never written while the service runs, so that nothing is written for the sake of time alone. The boot before a
        // new one may have gone on after an orderly stop.
        self.conn.execute(
            "WITH seen (boot, boot_ms, wall_ms) AS (
                 SELECT id, first_boot_ms, first_wall_ms FROM boots
                 UNION ALL SELECT id, last_boot_ms, last_wall_ms FROM boots
                 UNION ALL SELECT boot, boot_ms, wall_ms FROM anchors
                 UNION ALL SELECT started_boot, started_boot_ms, started_wall_ms FROM sessions
                 UNION ALL SELECT completed_boot, completed_boot_ms, completed_wall_ms FROM sessions
                 UNION ALL SELECT settled_boot, settled_boot_ms, settled_wall_ms FROM sessions
                 UNION ALL SELECT wait_boot, wait_boot_ms, wait_wall_ms FROM sessions
                 UNION ALL SELECT boot, boot_ms, wall_ms FROM events
                     WHERE id >= (SELECT min(first_event) FROM sessions WHERE state = 'open'))
             UPDATE boots SET (last_boot_ms, last_wall_ms) =
                 (SELECT boot_ms, wall_ms FROM seen WHERE seen.boot = boots.id ORDER BY boot_ms DESC LIMIT 1)
             WHERE id <> ?1
                 AND (last_boot_ms IS NULL OR (?2 AND id = (SELECT max(id) FROM boots WHERE id < ?1)))",
            params![boot, is_new],
        )?;
        Ok(boot)
    }

    /// Notes how long this boot has lasted when the service stops in good order. A boot whose time is known needs no
    /// such note: what passes from there to the next one is told by the clock.
    pub(super) fn note_last_moment(&self) -> rusqlite::Result<()> {
        if !self.attached || !self.conn.is_autocommit() || !self.anchors().is_empty() {
            return Ok(());
        }
        let now = self.clock.now();
        self.conn.execute(
            "UPDATE boots SET last_boot_ms = ?2, last_wall_ms = ?3 WHERE id = ?1",
            params![self.boot, now.boot_ms, now.wall_ms],
        )?;
        Ok(())
    }

    pub(super) fn read_history(&self) -> rusqlite::Result<History> {
        let mut boots: Vec<Boot> = self
            .conn
            .prepare(
                "SELECT id, first_boot_ms, first_wall_ms, coalesce(last_boot_ms, first_boot_ms),
                     coalesce(last_wall_ms, first_wall_ms) FROM boots WHERE id <= ?1 ORDER BY id",
            )?
            .query_map([self.boot], |row| {
                Ok(Boot {
                    id: row.get(0)?,
                    first: Reading { boot_ms: row.get(1)?, wall_ms: row.get(2)? },
                    last: Reading { boot_ms: row.get(3)?, wall_ms: row.get(4)? },
                    anchors: Vec::new(),
                })
            })?
            .collect::<Result<_, _>>()?;
        let mut query = self
            .conn
            .prepare("SELECT boot, boot_ms, wall_ms, source, uncertainty_ms FROM anchors ORDER BY id")?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let boot: i64 = row.get(0)?;
            let found = boots.binary_search_by_key(&boot, |boot| boot.id).ok();
            let (Some(at), Some(source)) = (found, Source::parse(row.get_ref(3)?.as_str()?)) else {
                continue;
            };
            let anchor =
                Anchor { boot_ms: row.get(1)?, wall_ms: row.get(2)?, source, uncertainty_ms: row.get(4)? };
            boots[at].anchors.push(anchor);
        }
        Ok(History { boots })
    }

    /// Takes note of the time, and of an anchor if the clock has come to be trusted. Writes only then.
    pub(super) fn look_at_clock(&mut self) -> rusqlite::Result<()> {
        let now = self.clock.now();
        if let Some(present) = self.history.boots.last_mut() {
            present.last = now;
        }
        let Some((source, uncertainty_ms)) = vouched_for(&self.clock, self.policy.trust, &now) else {
            return Ok(());
        };
        if source == Source::Rtc && !self.history.is_possible(&now) {
            return Ok(());
        }
        let anchor = Anchor { boot_ms: now.boot_ms, wall_ms: now.wall_ms, source, uncertainty_ms };
        let is_known =
            |known: &Anchor| known.offset_ms().abs_diff(anchor.offset_ms()) < STEP_MS.unsigned_abs();
        let latest = self.anchors().iter().rev().find(|known| known.source == source);
        // A kernel that vouches again is believed rather than what contradicted it in the meantime.
        let best = self.history.boots.last().and_then(Boot::anchor);
        let counts = source == Source::Rtc || best.is_some_and(|best| best.agrees_with(&anchor));
        if latest.is_some_and(is_known) && counts { Ok(()) } else { self.keep_anchor(anchor) }
    }

    fn anchors(&self) -> &[Anchor] {
        self.history.boots.last().map_or(&[], |boot| &boot.anchors)
    }

    fn keep_anchor(&mut self, anchor: Anchor) -> rusqlite::Result<()> {
        self.touched = true;
        self.conn
            .prepare_cached(
                "INSERT INTO anchors (boot, boot_ms, wall_ms, source, uncertainty_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                self.boot,
                anchor.boot_ms,
                anchor.wall_ms,
                anchor.source.as_str(),
                anchor.uncertainty_ms
            ])?;
        tracing::info!(
            source = anchor.source.as_str(),
            uncertainty_ms = anchor.uncertainty_ms,
            "the time is known: {}",
            rfc3339(anchor.wall_ms)
        );
        if let Some(present) = self.history.boots.last_mut() {
            present.anchors.push(anchor);
        }
        // Sessions that waited for it are due.
        self.note_change();
        Ok(())
    }

    /// Whether the kernel says at this moment that the clock is right.
    fn kernel_vouches(&self) -> bool {
        let vouches = vouched_for(&self.clock, self.policy.trust, &self.clock.now());
        vouches.is_some_and(|(source, _)| source == Source::Kernel)
    }

    /// A clock that agrees with the `Date` is the finer of the two; one that the kernel vouches for at this moment is
    /// believed even against it.
    fn note_date(&mut self, seen: &DateSeen) -> Result<(), Refusal> {
        self.look_at_clock()?;
        if seen.date_ms < BUILT_MS {
            return Ok(());
        }
        let DateSeen { boot_ms, date_ms, uncertainty_ms } = *seen;
        let said = Anchor { boot_ms, wall_ms: date_ms, source: Source::Date, uncertainty_ms };
        let now = self.clock.now();
        let wall_ms = now.wall_ms.saturating_sub(now.boot_ms.saturating_sub(boot_ms));
        let own = Anchor { wall_ms, ..said };
        let confirmed = own.offset_ms().abs_diff(said.offset_ms()) <= uncertainty_ms.unsigned_abs();
        let anchor = if confirmed { own } else { said };
        let best = self.history.boots.last().and_then(Boot::anchor);
        // Kept all the same if it is far more certain: at least by half, so that few are kept.
        let known = |known: &&Anchor| known.agrees_with(&said) && known.uncertainty_ms < 2 * uncertainty_ms;
        // A hardware clock is no reason not to take down what is more certain.
        let best = best.filter(|best| best.source != Source::Rtc);
        if best.filter(known).is_some() {
            return Ok(());
        }
        if best.is_some() && self.kernel_vouches() {
            tracing::debug!("the endpoint says {}, the kernel another time", rfc3339(date_ms));
            return Ok(());
        }
        Ok(self.keep_anchor(anchor)?)
    }

    pub(super) fn known_time(&self) -> Known {
        let (floor_ms, floor_by) = self.history.floor();
        Known { offset_ms: self.history.checked_offset_ms(), floor_ms, floor_by }
    }

    pub(super) fn clock_status(&self) -> ClockStatus {
        let present = self.history.boots.last();
        let Some(anchor) = present.and_then(Boot::anchor) else { return ClockStatus::default() };
        let first = self.anchors().first().map(|first| first.boot_ms.saturating_add(anchor.offset_ms()));
        ClockStatus { source: Some(anchor.source), since_ms: first, offset_ms: Some(anchor.offset_ms()) }
    }

    /// How much time has passed since a moment, of whatever boot.
    pub(super) fn since(&self, earlier: &Moment) -> i64 {
        self.history.since(earlier, &self.now())
    }

    /// The same for whatever cannot be undone.
    pub(super) fn surely_since(&self, earlier: &Moment) -> i64 {
        self.history.surely_since(earlier, &self.now())
    }

    /// What is left of a wait that was begun at a moment, of whatever boot.
    pub(super) fn remaining(&self, set: &Moment, wait_ms: i64) -> i64 {
        left_of(wait_ms, self.since(set))
    }

    /// The wall time of a moment as well as it is known: by the anchor of its boot, else by the clock of then.
    pub(super) fn wall_of(&self, moment: &Moment) -> i64 {
        self.history.wall_ms(moment.boot, moment.boot_ms).unwrap_or(moment.wall_ms)
    }

    /// The present wall time as well as it is known.
    pub(super) fn wall_now(&self) -> i64 {
        self.wall_of(&self.now())
    }

    /// A moment as people are shown it: as it was sent, else as well as it can be told.
    pub(super) fn shown(&self, moment: &Moment, frozen: Option<i64>) -> i64 {
        let settled = || self.history.place(moment.boot).filter(|place| place.settled);
        let offset = frozen.or_else(|| settled().map(|place| place.offset_ms));
        offset.map_or(moment.wall_ms, |offset| moment.boot_ms.saturating_add(offset))
    }

    /// The same as well as it can be told now, else as it was sent.
    pub(super) fn told(&self, moment: &Moment, frozen: Option<i64>) -> i64 {
        let settled = self.history.place(moment.boot).is_some_and(|place| place.settled);
        self.shown(moment, frozen.filter(|_| !settled))
    }

    /// How well the times of a session of this boot are known now.
    pub(super) fn basis_of(&self, told_by: Basis, boot: i64) -> TimeBasis {
        match told_by {
            Basis::Given => TimeBasis::Given,
            Basis::Clock => self.basis_now(boot),
            Basis::Guess => TimeBasis::Estimated,
        }
    }

    /// How well our times of a boot are known now.
    fn basis_now(&self, boot: i64) -> TimeBasis {
        match self.history.place(boot).map(|place| place.standing) {
            Some(Standing::Trusted) => TimeBasis::Trusted,
            Some(Standing::Estimated) => TimeBasis::Estimated,
            Some(Standing::Assumed) | None => TimeBasis::Assumed,
        }
    }

    /// How the times of a session's events are to be told now.
    pub(super) fn timing(&self, boot: i64, context: Context, events: &[EventTimes]) -> Timing {
        let believed_ms = self.history.place(boot).map_or_else(
            || events.last().map_or(0, |last| last.wall_ms.saturating_sub(last.boot_ms)),
            |place| place.offset_ms,
        );
        let basis = self.basis_of(anchor::basis(events, &context), boot);
        Timing { offsets: Offsets { believed_ms, context }, basis }
    }

    /// What is known of a session of this boot besides its events.
    pub(super) fn context(&self, boot: i64, why: Option<Why>) -> Context {
        let first_ms =
            self.history.boot(boot).map(|boot| boot.first.wall_ms.saturating_sub(boot.first.boot_ms));
        Context { first_ms, whole: why == Some(Why::Import) }
    }

    /// Whether a completed session of this boot may be sent, as far as its times are known. When it was held for long
    /// enough, whoever can tell the time is asked once more.
    pub(super) fn released(
        &self,
        session: i64,
        told_by: Option<Basis>,
        boot: i64,
        completed: &Moment,
        telling: Telling,
    ) -> Result<Release, Refusal> {
        let Some(place) = self.history.place(boot) else { return Ok(Release::Now) };
        let good_enough = match place.standing {
            Standing::Trusted => true,
            Standing::Assumed => telling.assume,
            Standing::Estimated => {
                place.settled || (boot != self.boot && self.history.is_present_known(telling.assume))
            }
        };
        if good_enough {
            return Ok(Release::Now);
        }
        let left = self.remaining(completed, self.policy.hold_max_ms);
        let is_over = left == 0 && (telling.assume || telling.in_vain);
        let told_by = told_by.map_or_else(|| self.look_up_basis(session), Ok)?;
        if is_over || told_by == Basis::Given {
            return Ok(Release::Now);
        }
        let left = if left == 0 { LAST_QUESTION_MS } else { left };
        Ok(Release::Held(self.now().boot_ms.saturating_add(left)))
    }

    /// Writes down what the times of a completed session go by, so that nobody has to read its events to know.
    pub(super) fn keep_basis(&self, session: i64) -> rusqlite::Result<()> {
        let boot: i64 = self
            .conn
            .prepare_cached("SELECT started_boot FROM sessions WHERE id = ?1")?
            .query_row([session], |row| row.get(0))?;
        if self.history.place(boot).is_some_and(|place| place.standing == Standing::Trusted) {
            // Nobody asks what the times of a known clock go by.
            return Ok(());
        }
        let told_by = self.look_up_basis(session)?;
        self.conn
            .prepare_cached("UPDATE sessions SET told_by = ?2 WHERE id = ?1")?
            .execute(params![session, told_by.as_str()])?;
        Ok(())
    }

    /// What the times of a session go by, by its events.
    pub(super) fn look_up_basis(&self, session: i64) -> rusqlite::Result<Basis> {
        let (first, last, boot, why): (i64, Option<i64>, i64, Option<String>) = self
            .conn
            .prepare_cached("SELECT first_event, last_event, started_boot, why FROM sessions WHERE id = ?1")?
            .query_row([session], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
        let events: Vec<EventTimes> = self
            .conn
            .prepare_cached(
                "SELECT said_ms, wall_ms, boot_ms FROM events WHERE id BETWEEN ?2 AND ?3 AND session = ?1 ORDER BY id",
            )?
            .query_map(params![session, first, last.unwrap_or(i64::MAX)], |row| {
                Ok(EventTimes { said_ms: row.get(0)?, wall_ms: row.get(1)?, boot_ms: row.get(2)? })
            })?
            .collect::<Result<_, _>>()?;
        let context = self.context(boot, why.as_deref().and_then(Why::parse));
        Ok(anchor::basis(&events, &context))
    }
}

/// Who vouches for the wall clock, and how far off it may be.
fn vouched_for(clock: &Clock, trust: Trust, now: &Reading) -> Option<(Source, i64)> {
    if now.wall_ms < BUILT_MS {
        return None;
    }
    let kernel = if trust == Trust::Endpoint { None } else { clock.synchronised(now) };
    match kernel {
        Some(off) => Some((Source::Kernel, i64::try_from(off.as_millis()).unwrap_or(i64::MAX))),
        None if trust == Trust::Rtc => Some((Source::Rtc, RTC_UNCERTAINTY_MS)),
        None => None,
    }
}

#[cfg(test)]
pub(super) mod tests;
