use super::*;
use crate::clock::Reading;
use crate::journal::attach::open;
use crate::journal::fault::OpenError;
use crate::journal::files::beside;

const NOW: Reading = Reading { wall_ms: 1_780_000_000_000, boot_ms: 1000 };

#[test]
fn a_new_journal_has_the_promised_pragmas() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(&dir.path().join("new/journal.db"), &NOW).unwrap();
    let text = |pragma: &str| -> String {
        opened
            .conn
            .pragma_query_value(None, pragma, |row| row.get::<_, rusqlite::types::Value>(0))
            .map(|value| match value {
                rusqlite::types::Value::Integer(n) => n.to_string(),
                rusqlite::types::Value::Text(text) => text,
                other => format!("{other:?}"),
            })
            .unwrap()
    };
    for (pragma, value) in [
        ("journal_mode", "wal"),
        ("synchronous", "2"),
        ("locking_mode", "exclusive"),
        ("auto_vacuum", "2"),
        ("secure_delete", "2"),
        ("user_version", "4"),
    ] {
        assert_eq!(text(pragma), value, "{pragma}");
    }
    let version = rusqlite::version_number();
    assert!(version >= 3_051_003, "SQLite {version}");
    let options: Vec<String> = opened
        .conn
        .prepare("PRAGMA compile_options")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert!(options.iter().any(|option| option.contains("THREADSAFE")), "{options:?}");
}

#[test]
fn a_newer_journal_is_refused_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let opened = open(&path, &NOW).unwrap();
    opened.conn.execute("UPDATE settings SET value = '99' WHERE name = 'schema'", []).unwrap();
    opened.conn.pragma_update(None, "user_version", 99).unwrap();
    drop(opened);
    let before = fs::read(&path).unwrap();
    assert!(matches!(open(&path, &NOW), Err(OpenError::Newer { found: 99, .. })));
    assert_eq!(fs::read(&path).unwrap(), before);
    assert!(!beside(&path, "-wal").exists());
}

#[test]
fn a_second_instance_is_told_who_holds_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let _held = open(&path, &NOW).unwrap();
    let error = open(&path, &NOW).err().unwrap().to_string();
    assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
}

#[test]
fn what_is_not_a_journal_is_set_aside() {
    for notes in ["these are somebody's notes\n".repeat(300), String::from("n")] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.db");
        fs::write(&path, &notes).unwrap();
        let aside = open(&path, &NOW).unwrap().set_aside.unwrap().path;
        assert_eq!(fs::read_to_string(aside).unwrap(), notes);
    }
}

#[test]
fn another_programs_database_is_set_aside_unchanged() {
    for version in [0, 1, 99] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.db");
        let theirs = open_connection(&path).unwrap();
        theirs.execute_batch("CREATE TABLE photos (id INTEGER); INSERT INTO photos VALUES (7)").unwrap();
        theirs.pragma_update(None, "user_version", version).unwrap();
        drop(theirs);
        let before = fs::read(&path).unwrap();
        let aside = open(&path, &NOW).unwrap().set_aside.unwrap().path;
        assert_eq!(fs::read(aside).unwrap(), before, "user_version {version}");
    }
}
