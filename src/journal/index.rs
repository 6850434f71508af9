//! Whether indexes say what the rows say, and trees lead to where the rows are: through a damaged one a session would
//! never be found again, or be recorded twice.

use rusqlite::{Connection, ErrorCode};

use super::fault::corrupt;

/// Looks whether every row of a table is found where it should be. Indexes are made anew from the rows if need be.
pub(super) fn prove(conn: &Connection, table: &str) -> rusqlite::Result<()> {
    let check = format!("PRAGMA integrity_check('{table}')");
    let Some(problem) = first(conn, &check)? else { return Ok(()) };
    // Where the trees are not sound, what an index gives back could belong to somebody else.
    if let Some(problem) = first(conn, "PRAGMA quick_check(1)")? {
        return Err(corrupt(problem));
    }
    match conn.execute_batch(&format!("REINDEX {table}")) {
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
            return Err(corrupt(error.to_string()));
        }
        done => done?,
    }
    match first(conn, &check)? {
        Some(problem) => Err(corrupt(problem)),
        None => {
            tracing::error!(
                "an index of the journal was damaged ({problem}); it was made anew from the rows, nothing is lost"
            );
            Ok(())
        }
    }
}

/// The first thing that a check of SQLite's finds wrong.
fn first(conn: &Connection, check: &str) -> rusqlite::Result<Option<String>> {
    let said: String = conn.query_row(check, [], |row| row.get(0))?;
    // A line names the database before what is wrong with its pages.
    Ok((said != "ok").then(|| said.lines().last().unwrap_or_default().to_owned()))
}
