//! What becomes of each session of a damaged journal, and what has to be counted as lost: pure.
//!
//! The books decide where rows are in doubt: events of sessions that are no longer open are recorded = delivered +
//! stored + losses, for each user. What is missing on the right is lost; a session that would be too much there was
//! settled already.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;

use rusqlite::types::Value;

use super::finds::{EventFind, Finds, SessionFind};
use crate::journal::rows::Run;
use crate::session::{Key, Loss, State};

/// What is done with a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// Kept as it is.
    Keep,
    /// Set apart, with so many events and so many bytes of them left.
    Quarantine {
        /// Events of the player's that are left.
        events: i64,
        /// Bytes of them.
        bytes: i64,
        /// Events that are gone.
        missing: i64,
    },
}

/// A session that stays.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) find: SessionFind,
    pub(super) fate: Fate,
    /// Numbers of its events.
    pub(super) events: BTreeSet<i64>,
}

/// Events that are gone for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) owner: u32,
    pub(super) name: Loss,
    pub(super) key: Option<String>,
    pub(super) events: i64,
    pub(super) detail: Cow<'static, str>,
}

impl Lost {
    /// What nobody can count: it is listed all the same.
    pub(super) fn uncounted() -> Lost {
        Lost { owner: 0, name: Loss::Corrupt, key: None, events: 0, detail: UNCOUNTED.into() }
    }

    /// Rows are gone, and some sessions were open: no total tells how many events these had.
    pub(super) fn open_ends() -> Lost {
        Lost { detail: OPEN_ENDS.into(), ..Lost::uncounted() }
    }

    /// The log is none any more: no total is as new as what it held.
    pub(super) fn log() -> Lost {
        Lost { detail: LOG.into(), ..Lost::uncounted() }
    }

    /// A journal of which not a row could be read: where it is.
    pub(super) fn unread(aside: &Path) -> Lost {
        let detail =
            format!("nothing could be read of a damaged journal; it was kept as {}", aside.display());
        Lost { detail: detail.into(), ..Lost::uncounted() }
    }
}

/// What the new journal is to hold.
#[derive(Debug, Default)]
pub(super) struct Decision {
    pub(super) sessions: BTreeMap<i64, Kept>,
    /// Losses that have no row yet.
    pub(super) lost: Vec<Lost>,
    pub(super) counters: BTreeMap<(u32, String), i64>,
    /// The highest number of a session that was seen anywhere.
    pub(super) last_session: i64,
    /// Whether a session is kept that is open.
    pub(super) keeps_open: bool,
}

/// What a session's row says, by name of the column.
pub(super) struct Columns<'a> {
    pub(super) names: &'a [String],
}

impl Columns<'_> {
    pub(super) fn at(&self, name: &str) -> usize {
        self.names.iter().position(|column| column == name).unwrap_or(usize::MAX)
    }

    pub(super) fn number(&self, row: &[Value], name: &str) -> Option<i64> {
        match row.get(self.at(name)) {
            Some(Value::Integer(number)) => Some(*number),
            _ => None,
        }
    }

    pub(super) fn text<'r>(&self, row: &'r [Value], name: &str) -> &'r str {
        match row.get(self.at(name)) {
            Some(Value::Text(text)) => text,
            _ => "",
        }
    }

    fn owner(&self, row: &[Value]) -> u32 {
        self.number(row, "owner").and_then(|owner| u32::try_from(owner).ok()).unwrap_or(0)
    }
}

const GONE: &str = "events that could not be read any more";
const ROW_GONE: &str = "its session's row could not be read any more";
const UNKNOWN: &str = "sessions of which nothing could be read any more";
const UNCOUNTED: &str =
    "the totals could not be read any more: there may have been more events than were counted";
const OPEN_ENDS: &str = "part of the journal could not be read any more: sessions that were open may have had more events than \
                         are left of them or were counted";
const LOG: &str =
    "nothing could be read of the journal's log: there may have been more events than were counted";
const LIST_GONE: &str = "the list of these losses could not be read any more";

/// Decides about everything that was found.
pub(super) fn decide(finds: &Finds, columns: &Columns<'_>) -> Decision {
    let mut decision = Decision::default();
    let numbers = finds.sessions.keys().chain(finds.events.keys()).chain(finds.names.keys());
    decision.last_session = numbers.copied().max().unwrap_or(0).max(0);
    let mut books = Books::read(finds, columns);
    let nothing = BTreeMap::new();
    let (mut names, mut reopened) = (HashSet::new(), Vec::new());
    // Of two sessions with one name the later one holds.
    for (id, find) in finds.sessions.iter().rev() {
        let events = finds.events.get(id).unwrap_or(&nothing);
        // No index knows it any more, nor does the newest version of its page; or it was open, and has no event: it
        // was dropped.
        let empty = events.is_empty() && columns.text(&find.values, "state") == "open";
        if !finds.indexed.contains(id) && (find.older || empty) {
            continue;
        }
        let broken_after = |last, rows| finds.broken_after(*id, last, rows);
        let Some((kept, opened)) = judge(find, events, broken_after, columns) else { continue };
        let row = &kept.find.values;
        let (owner, key) = (columns.owner(row), columns.text(row, "key").to_owned());
        if key.parse::<Key>().is_err()
            || !names.insert((owner, key.clone(), columns.number(row, "generation")))
        {
            continue;
        }
        // A row from before it was completed: the books know of its events.
        let ended = finds.ended.get(id).filter(|_| opened);
        if ended == Some(&State::Delivered) {
            continue;
        }
        decision.keeps_open |= opened && kept.fate == Fate::Keep;
        if ended.is_some() && kept.fate == Fate::Keep {
            reopened.push((owner, players(&kept.events, events), finds.was_tried(*id)));
        }
        if columns.text(row, "state") != "delivered" && !(opened && kept.fate == Fate::Keep) {
            let (left, missing) = match kept.fate {
                Fate::Keep => (columns.number(row, "events").unwrap_or(0), 0),
                Fate::Quarantine { events, missing, .. } => (events, missing),
            };
            books.stored(owner, left + missing, opened && ended.is_none());
            if missing > 0 {
                books.lose(owner, missing, Some(key), GONE);
            }
        }
        decision.sessions.insert(*id, kept);
    }
    for (owner, events, tried) in reopened {
        books.reopen(owner, events, tried);
    }
    books.drop_settled(finds, &mut decision.sessions, columns);
    books.take_orphans(finds, &decision.sessions);
    books.close(&mut decision);
    decision
}

/// What one session comes to, and whether it was open. `None`: there is nothing left of it to keep.
fn judge(
    find: &SessionFind,
    events: &BTreeMap<i64, EventFind>,
    broken_after: impl Fn(i64, i64) -> i64,
    columns: &Columns<'_>,
) -> Option<(Kept, bool)> {
    let row = &find.values;
    let state = columns.text(row, "state");
    if find.proven && state == "delivered" {
        let kept = Kept { find: find.clone(), fate: Fate::Keep, events: BTreeSet::new() };
        return Some((kept, false));
    }
    let opened = find.proven && state == "open";
    let first = columns.number(row, "first_event")?;
    let last = columns.number(row, "last_event").filter(|_| find.proven && !opened).unwrap_or(i64::MAX);
    let mine: Vec<(i64, &EventFind)> =
        events.range(first..=last.max(first)).map(|(id, event)| (*id, event)).collect();
    let mut run = Run::default();
    let mut dense = !mine.is_empty();
    for (_, event) in &mine {
        dense &= event.n == run.rows;
        run.add(event.checksum, event.synthetic, event.bytes);
    }
    let mut seen = mine.iter().map(|(_, event)| event.n + 1).max().unwrap_or(0);
    if opened {
        seen += broken_after(mine.last().map_or(first - 1, |(id, _)| *id), seen);
    }
    let whole = match (find.proven, opened) {
        (false, _) => false,
        (true, true) => dense && seen == run.rows,
        (true, false) => dense && columns.number(row, "completed_sum") == Some(run.sum),
    };
    let said = columns.number(row, "events").filter(|_| find.proven && !opened);
    let fate = if whole {
        Fate::Keep
    } else {
        // Without its own word the numbers of what is left tell how much there was.
        let missing = match said {
            Some(said) => said - run.events,
            None => (seen - run.rows).max(i64::from(opened && mine.is_empty())),
        };
        if mine.is_empty() && !opened && (find.older || !find.proven) {
            return None;
        }
        Fate::Quarantine { events: run.events, bytes: run.bytes, missing: missing.max(0) }
    };
    let events = mine.into_iter().map(|(id, _)| id).collect();
    Some((Kept { find: find.clone(), fate, events }, opened))
}

/// How many of a session's events came from a player.
fn players(mine: &BTreeSet<i64>, events: &BTreeMap<i64, EventFind>) -> i64 {
    let came = |id: &&i64| events.get(id).is_some_and(|event| !event.synthetic);
    i64::try_from(mine.iter().filter(came).count()).unwrap_or(i64::MAX)
}

/// Of one user.
#[derive(Debug, Default)]
struct Book {
    recorded: Option<i64>,
    delivered: Option<i64>,
    duplicates: i64,
    losses: HashMap<&'static str, i64>,
    /// Events of sessions that are no longer open, those included that are found missing in them.
    stored: i64,
    receipts: i64,
}

impl Book {
    fn settled(&self) -> i64 {
        self.delivered.unwrap_or(self.receipts) + self.losses.values().sum::<i64>() + self.stored
    }

    /// What the books say was recorded and is nowhere.
    fn gap(&self) -> i64 {
        self.recorded.map_or(0, |recorded| recorded - self.settled())
    }
}

#[derive(Debug, Default)]
struct Books {
    of: BTreeMap<u32, Book>,
    lost: Vec<Lost>,
}

impl Books {
    fn read(finds: &Finds, columns: &Columns<'_>) -> Books {
        let mut books = Books::default();
        let rows = |table: &str| finds.rows.get(table).into_iter().flat_map(BTreeMap::values);
        let owner = |number: i64| u32::try_from(number).unwrap_or(0);
        for (row, _) in rows("counters") {
            let [Value::Integer(of), Value::Text(name), Value::Integer(value), ..] = &row[..] else {
                continue;
            };
            let book = books.of.entry(owner(*of)).or_default();
            match (name.as_str(), Loss::parse(name)) {
                ("recorded", _) => book.recorded = Some(*value),
                ("delivered", _) => book.delivered = Some(*value),
                ("possible_duplicates", _) => book.duplicates = *value,
                (_, Some(loss)) => {
                    book.losses.insert(loss.as_str(), *value);
                }
                _ => {}
            }
        }
        let mut listed: BTreeMap<(u32, &'static str), i64> = BTreeMap::new();
        for (row, _) in rows("losses") {
            let [_, Value::Text(name), Value::Integer(of), _, Value::Integer(events), ..] = &row[..] else {
                continue;
            };
            if let Some(loss) = Loss::parse(name) {
                *listed.entry((owner(*of), loss.as_str())).or_default() += events;
            }
        }
        for find in finds.sessions.values().filter(|find| find.proven) {
            if columns.text(&find.values, "state") == "delivered" {
                let book = books.of.entry(columns.owner(&find.values)).or_default();
                book.receipts += columns.number(&find.values, "events").unwrap_or(0);
            }
        }
        let of: Vec<(u32, &Loss)> =
            books.of.keys().flat_map(|owner| Loss::ALL.iter().map(|loss| (*owner, loss))).collect();
        for (owner, loss) in of {
            let book = books.of.entry(owner).or_default();
            let counted = book.losses.get(loss.as_str()).copied().unwrap_or(0);
            let rows = listed.remove(&(owner, loss.as_str())).unwrap_or(0);
            book.losses.insert(loss.as_str(), counted.max(rows));
            if counted > rows {
                let (events, detail) = (counted - rows, LIST_GONE.into());
                books.lost.push(Lost { owner, name: *loss, key: None, events, detail });
            }
        }
        for ((owner, name), rows) in listed {
            books.of.entry(owner).or_default().losses.insert(name, rows);
        }
        books
    }

    fn stored(&mut self, owner: u32, events: i64, opened: bool) {
        let book = self.of.entry(owner).or_default();
        book.stored += events;
        if let Some(recorded) = book.recorded.as_mut().filter(|_| opened) {
            *recorded += events;
        }
    }

    /// A session that was completed is open once more: it is recorded when it is completed again. Books that are as old
    /// as its row know nothing of it.
    fn reopen(&mut self, owner: u32, events: i64, tried: bool) {
        let book = self.of.entry(owner).or_default();
        let known = events.min(book.gap()).max(0);
        book.recorded = book.recorded.map(|recorded| recorded - known);
        book.duplicates += i64::from(tried);
    }

    /// Writes down what is gone. It is counted where its session is.
    fn lose(&mut self, owner: u32, events: i64, key: Option<String>, detail: &'static str) {
        self.lost.push(Lost { owner, name: Loss::Corrupt, key, events, detail: detail.into() });
    }

    /// Leaves out sessions in doubt for which the books have no room: they were delivered or dropped.
    fn drop_settled(&mut self, finds: &Finds, sessions: &mut BTreeMap<i64, Kept>, columns: &Columns<'_>) {
        let doubtful: Vec<i64> = sessions
            .iter()
            .filter(|(id, kept)| kept.find.older || !finds.indexed.contains(id))
            .map(|(id, _)| *id)
            .collect();
        for id in doubtful {
            let Some(kept) = sessions.get(&id) else { continue };
            let row = &kept.find.values;
            let book = self.of.entry(columns.owner(row)).or_default();
            let state = columns.text(row, "state");
            if state == "delivered" || state == "open" {
                continue;
            }
            let events = match kept.fate {
                Fate::Keep => columns.number(row, "events").unwrap_or(0),
                Fate::Quarantine { events, missing, .. } => events + missing,
            };
            if events > 0 && book.gap() <= -events {
                book.stored -= events;
                let (owner, key) = (columns.owner(row), columns.text(row, "key").to_owned());
                self.lost.retain(|lost| !(lost.owner == owner && lost.key.as_ref() == Some(&key)));
                sessions.remove(&id);
            } else if kept.find.older {
                book.duplicates += 1;
            }
        }
    }

    /// Events without a session cannot be sent.
    fn take_orphans(&mut self, finds: &Finds, sessions: &BTreeMap<i64, Kept>) {
        let orphans: BTreeMap<i64, &BTreeMap<i64, EventFind>> = finds
            .events
            .iter()
            .filter(|(session, _)| !sessions.contains_key(session))
            .map(|(session, events)| (*session, events))
            .collect();
        for (session, events) in orphans {
            let settled = finds.ended.get(&session) == Some(&State::Delivered);
            if settled || finds.sessions.get(&session).is_some_and(|find| find.proven && find.older) {
                continue;
            }
            let seen = events.values().map(|event| event.n + 1).max().unwrap_or(0);
            let made = events.values().filter(|event| event.synthetic).count();
            let missing = seen - i64::try_from(made).unwrap_or(0);
            let name = finds.names.get(&session);
            // Without a name in an index its events may be what a page held before.
            let sure = name.is_some() && events.values().any(|event| !event.older);
            let owner = match name {
                Some((owner, _)) => *owner,
                None => self.likely_owner(missing),
            };
            let gap = self.of.entry(owner).or_default().gap();
            let book = self.of.entry(owner).or_default();
            let lost = match book.recorded {
                Some(recorded) if gap < missing && sure => {
                    // It was open: the books did not know it yet.
                    book.recorded = Some(recorded + missing - gap.max(0));
                    missing
                }
                Some(_) => missing.min(gap),
                None if sure => missing,
                None => 0,
            };
            if lost > 0 {
                book.stored += lost;
                self.lose(owner, lost, name.map(|(_, key)| key.clone()), ROW_GONE);
            }
        }
    }

    fn likely_owner(&self, missing: i64) -> u32 {
        let with_gap = self.of.iter().find(|(_, book)| book.gap() >= missing);
        with_gap.or_else(|| self.of.iter().next()).map_or(0, |(owner, _)| *owner)
    }

    /// Counts what is lost and makes the books agree.
    fn close(mut self, decision: &mut Decision) {
        let gaps: Vec<(u32, i64)> =
            self.of.iter().map(|(owner, book)| (*owner, book.gap())).filter(|(_, gap)| *gap > 0).collect();
        for (owner, gap) in gaps {
            self.stored(owner, gap, false);
            self.lose(owner, gap, None, UNKNOWN);
        }
        for (owner, book) in &mut self.of {
            book.recorded = Some(book.settled());
            let new = self.lost.iter().filter(|lost| lost.owner == *owner && lost.detail != LIST_GONE);
            let corrupt: i64 = new.map(|lost| lost.events).sum();
            *book.losses.entry(Loss::Corrupt.as_str()).or_default() += corrupt;
            let mut set = |name: &str, value: i64| {
                if value > 0 {
                    decision.counters.insert((*owner, name.to_owned()), value);
                }
            };
            set("recorded", book.recorded.unwrap_or(0));
            set("delivered", book.delivered.unwrap_or(book.receipts));
            set("possible_duplicates", book.duplicates);
            for (name, value) in &book.losses {
                set(name, *value);
            }
        }
        decision.lost = self.lost;
    }
}
