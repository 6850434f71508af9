//! Writes what was found into a new journal.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::types::{ToSqlOutput, Value};
use rusqlite::{Connection, ErrorCode, Transaction, params, params_from_iter};

use super::decide::{Columns, Decision, Fate, Lost};
use super::finds::{self, Finds};
use super::pages::Pages;
use super::{Trouble, record};
use crate::clock::{Reading, rfc3339};
use crate::journal::seal::Table;

/// Inserts rows that prove themselves as they are; what the new journal's own rules refuse is left out.
fn insert(tx: &Transaction<'_>, table: &Table, values: &[Value]) -> rusqlite::Result<bool> {
    let marks = vec!["?"; table.columns.len()].join(", ");
    let sql = format!("INSERT OR IGNORE INTO {} ({}) VALUES ({marks})", table.name, table.columns.join(", "));
    match tx.prepare_cached(&sql)?.execute(params_from_iter(values)) {
        // A value of the wrong type is refused even so.
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => Ok(false),
        inserted => Ok(inserted? > 0),
    }
}

/// All tables but sessions, events and attempts.
pub(super) fn others(
    tx: &Transaction<'_>,
    finds: &Finds,
    decision: &Decision,
    tables: &[Table],
    consent_unknown: bool,
    now: &Reading,
) -> Result<(), Trouble> {
    let own = ["sessions", "attempts", "counters"];
    for table in tables.iter().filter(|table| !own.contains(&table.name.as_str())) {
        for (values, _) in finds.rows.get(&table.name).into_iter().flat_map(BTreeMap::values) {
            insert(tx, table, values)?;
        }
    }
    if consent_unknown {
        super::hold_back(tx)?;
    }
    let mut counter = tx.prepare("INSERT INTO counters (owner, name, value) VALUES (?1, ?2, ?3)")?;
    for ((owner, name), value) in &decision.counters {
        counter.execute(params![owner, name, value])?;
    }
    losses(tx, &decision.lost, now)?;
    Ok(())
}

/// Losses that have no row yet.
pub(super) fn losses(conn: &Connection, all: &[Lost], now: &Reading) -> rusqlite::Result<()> {
    let mut loss = conn.prepare(
        "INSERT INTO losses (name, owner, key, events, detail, wall_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    for lost in all {
        let name = lost.name.as_str();
        loss.execute(params![name, lost.owner, lost.key, lost.events, lost.detail, now.wall_ms])?;
    }
    Ok(())
}

/// The sessions; those that lost something are set apart. Boots whose rows are gone keep their numbers, so that no
/// later boot is taken for one of them.
pub(super) fn sessions(
    tx: &Transaction<'_>,
    decision: &mut Decision,
    table: &Table,
    now: &Reading,
) -> Result<(), Trouble> {
    let columns = Columns { names: &table.columns };
    let mut boots = BTreeSet::new();
    for kept in decision.sessions.values_mut() {
        let row = &mut kept.find.values;
        if !kept.find.proven {
            only_frozen(row, &columns);
        }
        if let Fate::Quarantine { events, bytes, .. } = kept.fate {
            set_apart(row, &columns, events, bytes, kept.events.last().copied(), now);
        }
        boots.extend(
            ["started_boot", "completed_boot", "settled_boot"]
                .iter()
                .filter_map(|at| columns.number(row, at)),
        );
    }
    let mut boot = tx.prepare(
        "INSERT OR IGNORE INTO boots (id, boot_id, first_boot_ms, first_wall_ms) VALUES (?1, 'unknown-' || ?1, 0, 0)",
    )?;
    for id in boots {
        boot.execute([id])?;
    }
    let mut refused = Vec::new();
    for (id, kept) in &decision.sessions {
        if !insert(tx, table, &kept.find.values)? {
            refused.push(*id);
        }
    }
    for id in refused {
        decision.sessions.remove(&id);
    }
    // Numbers of sessions are never used again.
    let used = decision.last_session;
    let known =
        tx.execute("UPDATE sqlite_sequence SET seq = max(seq, ?1) WHERE name = 'sessions'", [used])?;
    if known == 0 {
        tx.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('sessions', ?1)", [used])?;
    }
    Ok(())
}

/// Of a row that does not prove itself as a whole only what was frozen at the start is kept.
fn only_frozen(row: &mut [Value], columns: &Columns<'_>) {
    const FROZEN: [&str; 13] = [
        "id",
        "owner",
        "key",
        "generation",
        "identity_map",
        "identity_origin",
        "player_name",
        "channel",
        "implementation",
        "started_boot",
        "started_boot_ms",
        "started_wall_ms",
        "first_event",
    ];
    const ZERO: [&str; 6] = ["resumes", "attempts", "answers", "unreached", "wait_ms", "wait_network"];
    let checksum = columns.at("checksum");
    for (at, value) in row.iter_mut().enumerate() {
        let name = columns.names.get(at).map_or("", String::as_str);
        if ZERO.contains(&name) {
            *value = Value::Integer(0);
        } else if at != checksum && !FROZEN.contains(&name) {
            *value = Value::Null;
        }
    }
}

fn set_apart(
    row: &mut [Value],
    columns: &Columns<'_>,
    events: i64,
    bytes: i64,
    last: Option<i64>,
    now: &Reading,
) {
    let boot = Value::Integer(columns.number(row, "started_boot").unwrap_or(0));
    let boot_ms = columns.number(row, "started_boot_ms").unwrap_or(0).max(now.boot_ms);
    let verdict = serde_json::json!({
        "verdict": "quarantine", "status": null, "reason": "corrupt",
        "detail": "events of this session were lost: the journal was damaged", "at": rfc3339(now.wall_ms),
    });
    let was_open = columns.number(row, "completed_boot").is_none();
    let first = columns.number(row, "first_event").unwrap_or(0);
    let mut set = |name: &str, value: Value| {
        if let Some(place) = row.get_mut(columns.at(name)) {
            *place = value;
        }
    };
    set("state", Value::Text("quarantined".into()));
    set("events", Value::Integer(events));
    set("bytes", Value::Integer(bytes));
    set("last_event", Value::Integer(last.unwrap_or(first)));
    set("verdict", Value::Text(verdict.to_string()));
    // It never adds up again: nothing of it is ever sent.
    set("completed_sum", Value::Integer(0));
    set("wait_ms", Value::Integer(0));
    if was_open {
        // Ours, so that a new start under its key finds room.
        set("why", Value::Text("boot".into()));
        set("completed_boot", boot.clone());
        set("completed_boot_ms", Value::Integer(boot_ms));
        set("completed_wall_ms", Value::Integer(now.wall_ms));
    }
    set("settled_boot", boot);
    set("settled_boot_ms", Value::Integer(boot_ms));
    set("settled_wall_ms", Value::Integer(now.wall_ms));
}

/// The events of the sessions that stay, read once more page by page: their bodies need not fit into memory.
pub(super) fn events(tx: &Transaction<'_>, pages: &Pages, decision: &Decision) -> Result<u64, Trouble> {
    let names: Vec<String> = tx
        .prepare("SELECT name FROM pragma_table_info('events') ORDER BY cid")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let statement = |width: usize| {
        let marks = vec!["?"; width].join(", ");
        format!("INSERT OR IGNORE INTO events ({}) VALUES ({marks})", names[..width].join(", "))
    };
    let (mut written, mut failed) = (0, None);
    pages.each_row(|found| {
        let Some(columns) = record::columns(found.payload) else { return Ok(false) };
        let Some((id, row, _)) = finds::event(found.rowid, &columns) else { return Ok(false) };
        let wanted = decision.sessions.get(&row.session).is_some_and(|kept| kept.events.contains(&id));
        if wanted && columns.len() <= names.len() && failed.is_none() {
            let values = std::iter::once(ToSqlOutput::from(id))
                .chain(columns[1..].iter().map(|value| ToSqlOutput::Borrowed(*value)));
            let done = tx
                .prepare_cached(&statement(columns.len()))
                .and_then(|mut insert| insert.execute(params_from_iter(values)));
            match done {
                Ok(rows) => written += rows as u64,
                Err(error) => failed = Some(error),
            }
        }
        Ok(true)
    })?;
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(written),
    }
}

/// The attempts of the sessions that stay, as far as their rows know of them.
pub(super) fn attempts(
    tx: &Transaction<'_>,
    finds: &Finds,
    decision: &Decision,
    tables: &[Table],
    columns: &Columns<'_>,
) -> Result<(), Trouble> {
    let Some(table) = tables.iter().find(|table| table.name == "attempts") else { return Ok(()) };
    for (values, _) in finds.rows.get("attempts").into_iter().flat_map(BTreeMap::values) {
        let [Value::Integer(session), Value::Integer(n), ..] = &values[..] else { continue };
        let kept = decision.sessions.get(session);
        let made = kept.and_then(|kept| columns.number(&kept.find.values, "attempts")).unwrap_or(0);
        if *n <= made {
            insert(tx, table, values)?;
        }
    }
    Ok(())
}
