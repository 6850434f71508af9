//! What must not leave, and what must not stay: damage, and opting out.

use std::path::Path;

use afterplay::event::EventType;
use afterplay::journal::{NewEvent, Next, Refusal, Telling};
use afterplay::session::{Consent, Loss, State};

use crate::journal::{Open, ROOT};
use crate::{ME, append, clock, event, ping, start};

/// Changes the file behind the journal's back.
#[allow(clippy::disallowed_methods, reason = "damage is done from outside")]
fn edit(path: &Path, sql: &str) {
    rusqlite::Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

#[tokio::test]
async fn damage_is_noticed_before_a_byte_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let clock = clock();
    for (table, change) in [
        ("events", "body = replace(body, 'ping', 'pong')"),
        ("events", "wall_ms = wall_ms + 1"),
        ("events", "seq = 7"),
        ("events", "type = 'media.play'"),
        ("sessions", "identity_map = '{}'"),
        ("sessions", "completed_sum = 1"),
    ] {
        let open = Open::at(&path, &clock);
        open.journal.append(append("a", vec![start(), ping(1), ping(2)])).await.unwrap();
        open.journal.complete(ME, "a".into()).await.unwrap();
        open.close();
        let sql = match table {
            "events" => format!("UPDATE events SET {change} WHERE n = 1"),
            _ => format!("UPDATE sessions SET {change}"),
        };
        edit(&path, &sql);
        let open = Open::at(&path, &clock);
        if let Next::Ready(id) = open.journal.next_due(Vec::new(), Telling::NOBODY).await.unwrap() {
            let outgoing = open.journal.outgoing(id).await;
            assert!(matches!(outgoing, Err(Refusal::Damaged(_))), "{change}: {outgoing:?}");
        } else {
            // A row that does not prove itself is found at the start: what can be proven of it is set apart, else it
            // is a loss with its name.
            let state = open.journal.detail(ME, "a".into()).await.map(|detail| detail.summary.state);
            let lost = open.journal.status(ROOT).await.unwrap().losses.get(&Loss::Corrupt).copied();
            match state {
                Ok(state) => assert_eq!(state, State::Quarantined, "{change}"),
                Err(refusal) => assert_eq!(lost, Some(3), "{change}: {refusal}"),
            }
        }
        match open.journal.discard(ME, "a".into()).await {
            Ok(()) | Err(Refusal::UnknownSession) => {}
            Err(refusal) => panic!("{change}: {refusal}"),
        }
        open.close();
    }
}

#[tokio::test]
async fn an_event_with_the_number_of_another_session_is_not_counted_there() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    // Where it claims to be there is another one, after it or before; or nothing yet.
    for (case, order) in
        ["open done done open", "open done open done", "open done done"].into_iter().enumerate()
    {
        let path = dir.path().join(format!("{case}.db"));
        let open = Open::at(&path, &clock);
        let (mut of_open, mut of_done) = (0, 0);
        for key in order.split(' ') {
            let n = if key == "open" { &mut of_open } else { &mut of_done };
            let event = if *n == 0 { start() } else { ping(*n) };
            open.journal.append(append(key, vec![event])).await.unwrap();
            *n += 1;
        }
        open.journal.append(append("done", vec![ping(7)])).await.unwrap();
        open.journal.complete(ME, "done".into()).await.unwrap();
        open.close();
        let hit = if case == 2 { 2 } else { 1 };
        edit(
            &path,
            &format!(
                "UPDATE events SET session = (SELECT id FROM sessions WHERE key = 'open')
                 WHERE n = {hit} AND session = (SELECT id FROM sessions WHERE key = 'done')"
            ),
        );
        let open = Open::at(&path, &clock);
        assert_eq!(open.journal.status(ROOT).await.unwrap().stored, of_open + of_done + 1, "{order}");
        assert_eq!(open.journal.append(append("open", vec![ping(9)])).await.unwrap().recorded, 1, "{order}");
        open.close();
        let open = Open::at(&path, &clock);
        assert_eq!(open.journal.status(ROOT).await.unwrap().stored, of_open + of_done + 2, "{order}");
        open.close();
    }
}

#[tokio::test]
async fn opting_out_leaves_no_trace_in_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let open = Open::at(&path, &clock());
    let marked = |n: usize| NewEvent {
        body: format!("{{\"mediaEventType\":\"media.ping\",\"trace\":\"tell-tale-{n}\"}}").into(),
        ..event(EventType::Ping, "")
    };
    for key in ["tell-tale-a", "tell-tale-b"] {
        let start = NewEvent {
            title: Some("tell-tale title".into()),
            identity: Some(r#"{"Email":[{"id":"tell-tale@example.com","primary":true}]}"#.into()),
            ..start()
        };
        open.journal.append(append(key, vec![start])).await.unwrap();
        for n in 0..200 {
            open.journal.append(append(key, vec![marked(n)])).await.unwrap();
        }
    }
    open.journal.discard(ME, "tell-tale-b".into()).await.unwrap();
    let fpid = open.journal.identity().await.unwrap();
    let found = |needle: &str| {
        std::fs::read_dir(dir.path()).unwrap().any(|file| {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            bytes.windows(needle.len()).any(|window| window == needle.as_bytes())
        })
    };
    assert!(found("tell-tale") && found(&fpid), "the search must be able to find something");
    open.journal.set_consent(Consent::Out).await.unwrap();
    assert!(!found("tell-tale"));
    assert!(!found(&fpid));
    let refused = open.journal.append(append("c", vec![start()])).await;
    assert!(matches!(refused, Err(Refusal::ConsentOut)));
    let status = open.journal.status(ROOT).await.unwrap();
    assert_eq!(status.stored, 0);
    assert_eq!(status.losses.values().sum::<u64>(), 402);
    open.close();
}

#[tokio::test]
async fn opting_out_erases_journals_that_were_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    std::fs::write(&path, "a tell-tale journal that cannot be read\n".repeat(300)).unwrap();
    std::fs::write(dir.path().join("journal.db-wal"), "tell-tale").unwrap();
    let others = ["journal.db.damagedly", "other.db.damaged-1"].map(|name| dir.path().join(name));
    for other in &others {
        std::fs::write(other, "not ours").unwrap();
    }
    let open = Open::at(&path, &clock());
    let names = || -> Vec<String> {
        let entries = std::fs::read_dir(dir.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let aside = || names().into_iter().filter(|name| name.starts_with("journal.db.damaged-")).count();
    assert!(aside() > 0, "{:?}", names());
    open.journal.set_consent(Consent::Pending).await.unwrap();
    assert!(aside() > 0, "only opting out erases");
    // A second name for the bytes, to see what becomes of them on the disk.
    let kept = dir.path().join("link");
    let set_aside = names().into_iter().find(|name| name.starts_with("journal.db.damaged-")).unwrap();
    std::fs::hard_link(dir.path().join(set_aside), &kept).unwrap();
    open.journal.set_consent(Consent::Out).await.unwrap();
    assert_eq!(aside(), 0, "{:?}", names());
    assert!(std::fs::read(&kept).unwrap().iter().all(|byte| *byte == 0), "overwritten before they go");
    assert!(others.iter().all(|other| other.exists()));
    open.close();
}
