//! Every row but an event proves itself by `row_sum`, a checksum over its other columns.
//!
//! Temporary triggers of the connection write it, so that no statement can forget to. A row that did not prove itself
//! before a change does not afterwards either: damage is never sealed.

use rusqlite::functions::FunctionFlags;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, params_from_iter};
use xxhash_rust::xxh3::Xxh3Default;

/// The column that holds the checksum; always the last.
pub(super) const COLUMN: &str = "row_sum";

/// A table whose rows prove themselves.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) name: String,
    /// All columns but the checksum, in order.
    pub(super) columns: Vec<String>,
    /// Positions of those that make up the primary key.
    pub(super) key: Vec<usize>,
    /// Whether the only key column stands for the rowid, so that a record has NULL in its place.
    pub(super) rowid: bool,
    /// Where the checksum stands in a record: later columns may follow it.
    pub(super) sum_at: usize,
}

/// The tables that have the column.
pub(super) fn tables(conn: &Connection) -> rusqlite::Result<Vec<Table>> {
    let mut query = conn.prepare(
        "SELECT t.name, t.wr FROM pragma_table_list t
         WHERE t.schema = 'main' AND t.type = 'table'
             AND EXISTS (SELECT 1 FROM pragma_table_info(t.name) c WHERE c.name = ?1)
         ORDER BY t.name",
    )?;
    let names: Vec<(String, bool)> =
        query.query_map([COLUMN], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    names.into_iter().map(|(name, without_rowid)| table(conn, name, without_rowid)).collect()
}

fn table(conn: &Connection, name: String, without_rowid: bool) -> rusqlite::Result<Table> {
    let mut query = conn.prepare("SELECT name, pk FROM pragma_table_info(?1) ORDER BY cid")?;
    let all: Vec<(String, i64)> =
        query.query_map([&name], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    let sum_at = all.iter().position(|(column, _)| column == COLUMN).unwrap_or(all.len());
    let (mut columns, mut key) = (Vec::new(), Vec::new());
    for (column, pk) in all.into_iter().filter(|(column, _)| column != COLUMN) {
        if pk > 0 {
            key.push(columns.len());
        }
        columns.push(column);
    }
    Ok(Table { name, columns, rowid: !without_rowid && key.len() == 1, key, sum_at })
}

impl Table {
    fn call(&self, of: &str) -> String {
        let columns: Vec<String> = self.columns.iter().map(|column| format!("{of}{column}")).collect();
        format!("sum_of_row('{}', {})", self.name, columns.join(", "))
    }

    fn triggers(&self) -> String {
        let (name, old, new) = (&self.name, self.call("OLD."), self.call("NEW."));
        let this: Vec<String> =
            self.key.iter().map(|at| format!("{0} = NEW.{0}", self.columns[*at])).collect();
        let seal = format!("UPDATE {name} SET {COLUMN} = {new} WHERE {}", this.join(" AND "));
        format!(
            "CREATE TEMP TRIGGER seal_new_{name} AFTER INSERT ON main.{name} BEGIN {seal}; END;
             CREATE TEMP TRIGGER seal_{name} AFTER UPDATE ON main.{name}
             WHEN NEW.{COLUMN} IS OLD.{COLUMN} AND OLD.{COLUMN} IS {old} BEGIN {seal}; END;"
        )
    }

    /// The checksum that a row must have. Columns that are NULL do not count, so that adding one changes nothing.
    pub(super) fn sum<'a>(&self, values: impl Iterator<Item = ValueRef<'a>>) -> i64 {
        sum_of_row(self.name.as_bytes(), values)
    }
}

fn sum_of_row<'a>(table: &[u8], values: impl Iterator<Item = ValueRef<'a>>) -> i64 {
    let mut sum = Xxh3Default::new();
    let mut bytes = |tag: u8, at: u64, bytes: &[u8]| {
        sum.update(&[tag]);
        sum.update(&at.to_le_bytes());
        sum.update(&(bytes.len() as u64).to_le_bytes());
        sum.update(bytes);
    };
    bytes(0, 0, table);
    for (at, value) in (0..).zip(values) {
        match value {
            ValueRef::Null => {}
            ValueRef::Integer(number) => bytes(1, at, &number.to_le_bytes()),
            ValueRef::Real(number) => bytes(2, at, &number.to_bits().to_le_bytes()),
            ValueRef::Text(text) => bytes(3, at, text),
            ValueRef::Blob(blob) => bytes(4, at, blob),
        }
    }
    sum.digest().cast_signed()
}

/// Sees to it that every row this connection writes is sealed, and seals those that a migration left unsealed. Makes
/// a view, `proven_sessions`, that tells of each session whether its row proves itself.
pub(super) fn install(conn: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    conn.create_scalar_function("sum_of_row", -1, flags, |row| {
        let table = match row.get_raw(0) {
            ValueRef::Text(table) => table,
            _ => &[],
        };
        Ok(sum_of_row(table, (1..row.len()).map(|at| row.get_raw(at))))
    })?;
    for table in tables(conn)? {
        conn.execute(
            &format!("UPDATE {} SET {COLUMN} = {} WHERE {COLUMN} IS NULL", table.name, table.call("")),
            [],
        )?;
        conn.execute_batch(&table.triggers())?;
        if table.name == "sessions" {
            let proven = format!("{COLUMN} IS {}", table.call(""));
            conn.execute_batch(&format!(
                "CREATE TEMP VIEW proven_sessions AS SELECT id, {proven} AS proven FROM main.sessions"
            ))?;
        }
    }
    Ok(())
}

/// The first row that does not prove itself, as people name it.
pub(super) fn first_unproven(conn: &Connection, table: &Table) -> rusqlite::Result<Option<String>> {
    let key: Vec<&str> = table.key.iter().map(|at| table.columns[*at].as_str()).collect();
    let mut query = conn.prepare(&format!(
        "SELECT {0} FROM {1} WHERE {COLUMN} IS NOT {2} LIMIT 1",
        key.join(", "),
        table.name,
        table.call("")
    ))?;
    let mut rows = query.query(params_from_iter([0; 0]))?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let mut name = format!("a row of {}", table.name);
    for (at, column) in key.iter().enumerate() {
        let value = match row.get_ref(at)? {
            ValueRef::Integer(number) => number.to_string(),
            ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
            _ => "?".into(),
        };
        name += &format!("{}{column} {value}", if at == 0 { " (" } else { ", " });
    }
    Ok(Some(name + ")"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(values: &[ValueRef<'_>]) -> i64 {
        sum_of_row(b"t", values.iter().copied())
    }

    #[test]
    fn every_value_its_place_and_its_type_count() {
        use ValueRef::{Blob, Integer, Null, Real, Text};
        let rows: &[&[ValueRef<'_>]] = &[
            &[],
            &[Integer(0)],
            &[Null, Integer(0)],
            &[Integer(1)],
            &[Real(0.0)],
            &[Text(b"")],
            &[Blob(b"")],
            &[Text(b"ab"), Text(b"")],
            &[Text(b"a"), Text(b"b")],
            &[Text(b""), Text(b"ab")],
        ];
        let mut sums: Vec<i64> = rows.iter().map(|row| sum(row)).collect();
        sums.sort_unstable();
        sums.dedup();
        assert_eq!(sums.len(), rows.len());
        assert_eq!(sum(&[Integer(1)]), sum(&[Integer(1), Null]), "a column added later changes nothing");
    }
}
