use super::*;
use crate::journal::attach::{Opened, open};

const NOW: Reading = Reading { wall_ms: 1_780_000_000_000, boot_ms: 1000 };

fn boots(opened: &Opened) -> i64 {
    opened.conn.query_row("SELECT count(*) FROM boots", [], |row| row.get(0)).unwrap()
}

/// A journal whose last commit stands in its log alone.
fn with_log(path: &Path) -> Vec<(&'static str, Vec<u8>)> {
    let opened = open(path, &NOW).unwrap();
    opened
        .conn
        .execute("INSERT INTO boots (boot_id, first_boot_ms, first_wall_ms) VALUES ('b', 1, 2)", [])
        .unwrap();
    ["", "-wal"].map(|suffix| (suffix, fs::read(beside(path, suffix)).unwrap())).to_vec()
}

#[test]
fn no_crash_while_files_are_moved_parts_a_journal_from_its_log() {
    let dir = tempfile::tempdir().unwrap();
    let files = with_log(&dir.path().join("journal.db"));
    for moves in 0..=MOVED.len() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.db");
        for (suffix, bytes) in &files {
            fs::write(beside(&path, suffix), bytes).unwrap();
        }
        let aside = aside::name(&path, &NOW).unwrap();
        for suffix in MOVED.iter().take(moves) {
            let _ = fs::rename(beside(&path, suffix), beside(&aside, suffix));
        }
        let opened = open(&path, &NOW).unwrap();
        if moves == 0 {
            assert_eq!(boots(&opened), 1);
            continue;
        }
        // Begun anew: the one before is whole where it was moved to. With its main file alone moved, the log is saved once
        // more.
        assert_eq!(boots(&opened), i64::from(moves == 1), "{moves} moves");
        for (suffix, bytes) in &files {
            assert!(fs::read(beside(&aside, suffix)).unwrap() == *bytes, "{moves} moves: {suffix}");
        }
        assert_eq!(aside::tags(&path).unwrap().len(), 1, "{moves} moves");
    }
}

#[test]
fn no_number_of_a_journal_that_is_gone_is_given_again() {
    let used = |conn: &Connection| -> i64 {
        conn.query_row("SELECT seq FROM sqlite_sequence WHERE name = 'sessions'", [], |row| row.get(0))
            .unwrap()
    };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let opened = open(&path, &NOW).unwrap();
    let first = used(&opened.conn);
    drop(opened);
    assert!(first >= 1 << 16, "{first}");
    // Saved, and not a byte of it saved. The gap itself is of any length, but hardly twice the same.
    let (conn, _) = begin_anew(&path, &NOW).unwrap();
    assert!(used(&conn) >= 1 << 16 && used(&conn) != first);
    drop(conn);
    fs::write(&path, [7; 9000]).unwrap();
    let (conn, _) = begin_anew(&path, &NOW).unwrap();
    assert!(used(&conn) >= 1 << 16);
}

#[test]
fn no_crash_while_a_journal_is_put_back_costs_what_its_log_held() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let opened = open(&path, &NOW).unwrap();
    opened
        .conn
        .execute("INSERT INTO boots (boot_id, first_boot_ms, first_wall_ms) VALUES ('b', 1, 2)", [])
        .unwrap();
    fs::remove_file(&path).unwrap();
    let new = beside(&path, NEW);
    opened.conn.execute("VACUUM INTO ?1", [new.to_str().unwrap()]).unwrap();
    let is_found = |moves: usize| {
        let crashed = tempfile::tempdir().unwrap();
        for file in fs::read_dir(dir.path()).unwrap().map(Result::unwrap) {
            fs::copy(file.path(), crashed.path().join(file.file_name())).unwrap();
        }
        let opened = open(&crashed.path().join("journal.db"), &NOW).unwrap();
        assert_eq!(boots(&opened), 1, "{moves} moves");
    };
    is_found(0);
    for (done, step) in PUT_BACK.iter().enumerate() {
        step(&path).unwrap();
        is_found(done + 1);
    }
    forget(&path).unwrap();
    is_found(PUT_BACK.len());
}

#[test]
fn a_journal_of_which_nothing_was_saved_is_listed() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(&dir.path().join("journal.db"), &NOW).unwrap();
    salvage::list_unread(&opened.conn, Path::new("/kept/here"), &NOW).unwrap();
    let listed: (String, i64) = opened
        .conn
        .query_row("SELECT detail, events FROM losses", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    assert!(listed.0.ends_with("/kept/here") && listed.1 == 0, "{listed:?}");
}
