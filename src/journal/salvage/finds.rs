//! What the pages of a damaged journal still prove.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;

use rusqlite::types::{Value, ValueRef};

use super::pages::{Found, Pages};
use super::record;
use crate::journal::rows::{EventRow, SessionRow, event_sum, session_sum};
use crate::journal::seal::Table;
use crate::session::State;

/// Columns of an event that its checksum is about, and the checksum among them.
pub(super) const EVENT_COLUMNS: usize = 13;

/// A session's row.
#[derive(Debug, Clone)]
pub(super) struct SessionFind {
    /// In the order of the table's columns.
    pub(super) values: Vec<Value>,
    /// Whether all of it proves itself; else only what was frozen at the start does.
    pub(super) proven: bool,
    /// Whether something newer about it may have been lost.
    pub(super) older: bool,
}

/// An event that proved itself, without its body.
#[derive(Debug, Clone, Copy)]
pub(super) struct EventFind {
    pub(super) n: i64,
    pub(super) checksum: i64,
    pub(super) synthetic: bool,
    pub(super) bytes: i64,
    pub(super) older: bool,
}

/// Everything but the bodies of the events.
#[derive(Debug, Default)]
pub(super) struct Finds {
    /// By table, then by primary key.
    pub(super) rows: HashMap<String, BTreeMap<String, (Vec<Value>, bool)>>,
    pub(super) sessions: BTreeMap<i64, SessionFind>,
    /// By session, then by number.
    pub(super) events: HashMap<i64, BTreeMap<i64, EventFind>>,
    /// The same of events that do not prove themselves: their places in their sessions, if those are right.
    broken: HashMap<i64, BTreeMap<i64, i64>>,
    /// Whether there is a row of a numbered table of which not even that could be read.
    unread: bool,
    /// What an index says of sessions: owner, key.
    pub(super) names: HashMap<i64, (u32, String)>,
    /// Sessions that an index knows in a page that is not in doubt.
    pub(super) indexed: HashSet<i64>,
    /// Those of them that an index has in another state than open, by the newest page that says so.
    pub(super) ended: HashMap<i64, State>,
    /// Pages with rows that are not in a table of numbered rows, some of them damaged.
    unsound: HashSet<u32>,
    /// The page that holds the setting every journal has.
    settings_page: Option<u32>,
}

/// An event's row, if it is one and its checksum is right: its number and the row.
pub(super) fn event<'a>(rowid: Option<i64>, columns: &[ValueRef<'a>]) -> Option<(i64, EventRow<'a>, i64)> {
    let id = rowid?;
    if columns.len() < EVENT_COLUMNS || columns[0] != ValueRef::Null {
        return None;
    }
    let number = |at: usize| columns[at].as_i64().ok();
    let row = EventRow {
        session: number(1)?,
        n: number(2)?,
        seq: number(3)?,
        kind: columns[4].as_str().ok()?,
        said_ms: columns[5].as_i64_or_null().ok()?,
        synthetic: number(7)? != 0,
        boot: number(8)?,
        boot_ms: number(9)?,
        wall_ms: number(10)?,
        body: columns[12].as_str().ok()?,
    };
    let checksum = number(11)?;
    (event_sum(&row) == checksum).then_some((id, row, checksum))
}

/// Whether what a session froze at its start proves itself.
fn is_frozen(table: &Table, values: &[ValueRef<'_>]) -> bool {
    let of =
        |name: &str| table.columns.iter().position(|column| column == name).and_then(|at| values.get(at));
    let sum = || {
        let number = |name| of(name)?.as_i64().ok();
        let text = |name| of(name)?.as_str().ok();
        let maybe = |name| of(name)?.as_str_or_null().ok();
        let row = SessionRow {
            owner: u32::try_from(number("owner")?).ok()?,
            key: text("key")?,
            generation: u32::try_from(number("generation")?).ok()?,
            identity_map: text("identity_map")?,
            identity_origin: text("identity_origin")?,
            player_name: maybe("player_name")?,
            channel: maybe("channel")?,
            implementation: text("implementation")?,
            started: [number("started_boot")?, number("started_boot_ms")?, number("started_wall_ms")?],
            first_event: number("first_event")?,
        };
        Some(session_sum(&row) == number("checksum")?)
    };
    sum().unwrap_or(false)
}

fn owned(value: &ValueRef<'_>) -> Value {
    // What is not UTF-8 was not written by us; a row with it proves nothing anyway.
    Value::try_from(*value).unwrap_or(Value::Null)
}

impl Finds {
    /// Reads every page.
    pub(super) fn gather(pages: &Pages, tables: &[Table]) -> io::Result<Finds> {
        let mut finds = Finds::default();
        pages.each_row(|found| Ok(finds.take(found, tables)))?;
        Ok(finds)
    }

    /// Whether nothing at all proved to be ours.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.sessions.is_empty() && self.events.is_empty()
    }

    /// How many events of a session follow on `run`, which ends at the row `last`, and do not prove themselves.
    pub(super) fn broken_after(&self, session: i64, last: i64, rows: i64) -> i64 {
        let broken = self.broken.get(&session).into_iter().flat_map(|broken| broken.range(last + 1..));
        let sound = self.events.get(&session);
        let broken = broken.filter(|(id, _)| sound.is_none_or(|sound| !sound.contains_key(id)));
        broken.zip(rows..).take_while(|((_, n), next)| *n == next).count() as i64
    }

    /// Whether rows are gone of which nobody can say what they were.
    pub(super) fn lacks_rows(&self, pages: &Pages) -> io::Result<bool> {
        Ok(self.unread || pages.lacks_some()?)
    }

    /// Whether every setting there was has been read.
    pub(super) fn knows_settings(&self) -> bool {
        self.settings_page.is_some_and(|page| !self.unsound.contains(&page))
    }

    /// Whether any total was found: without them nobody knows how much there was.
    pub(super) fn has_totals(&self) -> bool {
        self.rows.contains_key("counters")
    }

    /// Whether an attempt to send a session is known.
    pub(super) fn was_tried(&self, session: i64) -> bool {
        let of = |(values, _): &(Vec<Value>, bool)| values.first() == Some(&Value::Integer(session));
        self.rows.get("attempts").is_some_and(|rows| rows.values().any(of))
    }

    pub(super) fn has_consent(&self) -> bool {
        self.setting("consent").is_some()
    }

    /// The schema that the settings name.
    pub(super) fn schema(&self) -> Option<i64> {
        self.setting("schema")?.parse().ok()
    }

    fn setting(&self, wanted: &str) -> Option<&str> {
        self.rows.get("settings")?.values().find_map(|(values, _)| match &values[..] {
            [Value::Text(name), Value::Text(value)] if name == wanted => Some(value.as_str()),
            _ => None,
        })
    }

    fn take(&mut self, found: &Found<'_>, tables: &[Table]) -> bool {
        let sound = self.sort_in(found, tables);
        if !sound && found.rowid.is_none() {
            self.unsound.insert(found.page);
        }
        sound
    }

    fn sort_in(&mut self, found: &Found<'_>, tables: &[Table]) -> bool {
        let Some(columns) = record::columns(found.payload) else {
            self.unread |= found.rowid.is_some() && !found.older;
            return false;
        };
        if let Some((id, row, checksum)) = event(found.rowid, &columns) {
            let bytes = i64::try_from(row.body.len()).unwrap_or(i64::MAX);
            let EventRow { n, synthetic, .. } = row;
            let find = EventFind { n, checksum, synthetic, bytes, older: found.older };
            let events = self.events.entry(row.session).or_default();
            if events.get(&id).is_none_or(|known| known.older) {
                events.insert(id, find);
            }
            return true;
        }
        self.take_broken(found, &columns);
        for table in tables.iter().filter(|table| table.rowid == found.rowid.is_some()) {
            if columns.len() <= table.sum_at || columns.len() > table.columns.len() + 1 {
                continue;
            }
            let mut values = columns.clone();
            let sum = values.remove(table.sum_at);
            if let (true, Some(rowid)) = (table.rowid, found.rowid) {
                values[table.key[0]] = ValueRef::Integer(rowid);
            }
            let proven = sum == ValueRef::Integer(table.sum(values.iter().copied()));
            if table.name == "sessions" {
                if proven || is_frozen(table, &values) {
                    self.take_session(found, &values, table, proven);
                    return proven;
                }
            } else if proven {
                self.take_row(found, &values, table);
                return true;
            }
        }
        // A somewhat older index says too little of what came after it, but nothing wrong of what was there before.
        if found.rowid.is_none() && found.vouched {
            self.take_index(&columns, found.older);
        }
        false
    }

    /// A row that looks like an event and does not prove itself.
    fn take_broken(&mut self, found: &Found<'_>, columns: &[ValueRef<'_>]) {
        if let (
            Some(id),
            EVENT_COLUMNS..,
            [ValueRef::Null, ValueRef::Integer(session), ValueRef::Integer(n), ..],
        ) = (found.rowid, columns.len(), columns)
        {
            self.broken.entry(*session).or_default().insert(id, *n);
        }
    }

    /// Indexes prove nothing, but they tell of sessions whose rows are gone, and of rows that should be.
    fn take_index(&mut self, columns: &[ValueRef<'_>], older: bool) {
        match columns {
            [ValueRef::Integer(owner), ValueRef::Text(key), ValueRef::Integer(_), ValueRef::Integer(id)] => {
                if let (Ok(owner), Ok(key)) = (u32::try_from(*owner), std::str::from_utf8(key)) {
                    self.names.insert(*id, (owner, key.to_owned()));
                    self.indexed.insert(*id);
                }
            }
            // SQLite puts the number of the row behind the columns, whatever these are.
            [ValueRef::Text(state), ValueRef::Integer(id), ValueRef::Integer(row)] if id == row => {
                let Some(state) = std::str::from_utf8(state).ok().and_then(State::parse) else { return };
                self.indexed.insert(*id);
                if state != State::Open && !(older && self.ended.contains_key(id)) {
                    self.ended.insert(*id, state);
                }
            }
            _ => {}
        }
    }

    fn take_session(&mut self, found: &Found<'_>, values: &[ValueRef<'_>], table: &Table, proven: bool) {
        let Some(id) = found.rowid else { return };
        let mut values: Vec<Value> = values.iter().map(owned).collect();
        values.resize(table.columns.len(), Value::Null);
        let mut find = SessionFind { values, proven, older: found.older };
        let rank = |find: &SessionFind| {
            let state = table.columns.iter().position(|column| column == "state").map(|at| &find.values[at]);
            let state = match state {
                Some(Value::Text(state)) => state.as_str(),
                _ => "",
            };
            let order = ["open", "completed", "quarantined", "delivered"];
            (find.proven, !find.older, order.iter().position(|known| *known == state))
        };
        if let Some(known) = self.sessions.get(&id) {
            if find.older && !known.older && known.proven {
                return;
            }
            // What is said twice is believed less, unless both say the same.
            let older = (find.older && known.older) || find.values != known.values;
            let mut best = if rank(&find) > rank(known) { find } else { known.clone() };
            best.older = older;
            find = best;
        }
        self.sessions.insert(id, find);
    }

    fn take_row(&mut self, found: &Found<'_>, values: &[ValueRef<'_>], table: &Table) {
        let mut values: Vec<Value> = values.iter().map(owned).collect();
        values.resize(table.columns.len(), Value::Null);
        let key: Vec<String> = table.key.iter().map(|at| format!("{:?}", values[*at])).collect();
        if table.name == "settings" && values.first() == Some(&Value::Text("schema".into())) {
            self.settings_page = Some(found.page);
        }
        let rows = self.rows.entry(table.name.clone()).or_default();
        let known = rows.get(&key.join("|"));
        let better = match known {
            None => true,
            Some((_, true)) if !found.older => true,
            // Of two versions the one that allows less, or counted more, is the later one or does no harm.
            Some((known, older)) if *older == found.older => {
                restricts(&values) > restricts(known) || counts(&values) > counts(known)
            }
            Some(_) => false,
        };
        if better {
            rows.insert(key.join("|"), (values, found.older));
        }
    }
}

/// How much a consent forbids; 0 for every other row.
fn restricts(values: &[Value]) -> u8 {
    match values {
        [Value::Text(name), Value::Text(value)] if name == "consent" => match value.as_str() {
            "\"out\"" => 2,
            "\"pending\"" => 1,
            _ => 0,
        },
        _ => 0,
    }
}

/// The value of a counter; the least for every other row.
fn counts(values: &[Value]) -> i64 {
    match values {
        [Value::Integer(_), Value::Text(_), Value::Integer(value)] => *value,
        _ => i64::MIN,
    }
}
