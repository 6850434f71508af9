use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::clock::ManualClock;
use crate::event::EventType;
use crate::journal::{Append, Claim, NewEvent, OpenError, Policy, Scope};
use crate::session::{Consent, Limits, Why};

const NOW: i64 = BUILT_MS + 1_000_000_000;

fn opened(path: &Path, policy: Policy, clock: Clock) -> Result<Core, OpenError> {
    Core::open(Claim::new(path, policy.max_bytes, clock.now().boot_ms)?, policy, clock)
}

/// A journal under this clock, and the folder that it is in.
pub(in crate::journal) fn core(clock: &Arc<ManualClock>, trust: Trust) -> (Core, tempfile::TempDir) {
    let policy = Policy {
        limits: Limits { idle_ms: 1, age_ms: 1, grace_ms: 1 },
        identity: None,
        player_name: None,
        channel: None,
        implementation: "{}".into(),
        trust,
        hold_max_ms: 1,
        max_bytes: 1 << 30,
        max_bytes_per_user: 1 << 30,
        evict: false,
        max_open_per_user: 1 << 30,
        keep_receipts_ms: 1 << 30,
        keep_quarantined_ms: 1 << 30,
        initial_consent: Consent::In,
    };
    let dir = tempfile::tempdir().unwrap();
    let core = opened(&dir.path().join("journal.db"), policy, Clock::Manual(clock.clone())).unwrap();
    (core, dir)
}

fn anchors(core: &Core) -> Vec<(String, i64)> {
    let mut query = core.conn.prepare("SELECT source, wall_ms - boot_ms FROM anchors ORDER BY id").unwrap();
    query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
}

fn kernel(offset: i64) -> (String, i64) {
    ("kernel".into(), offset)
}

#[test]
fn a_clock_that_is_kept_right_costs_one_anchor_a_boot() {
    let clock = ManualClock::at(NOW, "a");
    let (mut core, _dir) = core(&clock, Trust::Kernel);
    for _ in 0..100 {
        clock.advance(Duration::from_secs(60));
        core.look_at_clock().unwrap();
    }
    let now = core.clock.now();
    clock.set_wall(now.wall_ms + 900);
    core.look_at_clock().unwrap();
    assert_eq!(anchors(&core), [kernel(NOW - 1000)], "slewed");
    clock.set_wall(now.wall_ms + 1100);
    core.look_at_clock().unwrap();
    let seen = DateSeen { boot_ms: now.boot_ms, date_ms: now.wall_ms + 500, uncertainty_ms: 1100 };
    core.note_date(&seen).unwrap();
    assert_eq!(anchors(&core), [kernel(NOW - 1000), kernel(NOW + 100)], "set, and the date agrees");
    // Set by somebody, which ends the kernel's trust; the boot's time is known all the same.
    clock.set_synchronised(false);
    clock.set_wall(0);
    core.look_at_clock().unwrap();
    assert_eq!(core.wall_now(), now.wall_ms + 1100);
}

#[test]
fn a_date_confirms_the_clock_or_takes_its_place() {
    for (trust, wall, date_off, expected) in [
        (Trust::Kernel, NOW, 700, vec![("date".to_owned(), NOW - 1000)]),
        (Trust::Kernel, NOW, 5000, vec![("date".to_owned(), NOW + 4000)]),
        (Trust::Kernel, 0, NOW, vec![("date".to_owned(), NOW - 1000)]),
        (Trust::Kernel, NOW, BUILT_MS - 1 - NOW, vec![]),
        (Trust::Rtc, NOW, 5000, vec![("rtc".into(), NOW - 1000), ("date".into(), NOW + 4000)]),
    ] {
        let clock = ManualClock::at(wall, "a");
        clock.set_synchronised(false);
        let (mut core, _dir) = core(&clock, trust);
        let date_ms = wall + date_off;
        for _ in 0..3 {
            core.note_date(&DateSeen { boot_ms: 1000, date_ms, uncertainty_ms: 1100 }).unwrap();
        }
        assert_eq!(anchors(&core), expected, "{trust:?} {wall} {date_off}");
    }
}

#[test]
fn a_stale_claim_of_the_kernel_yields_to_a_later_date_and_a_present_one_does_not() {
    let clock = ManualClock::at(NOW, "a");
    let (mut core, _dir) = core(&clock, Trust::Kernel);
    let says = |core: &mut Core, date_ms| {
        core.note_date(&DateSeen { boot_ms: 1000, date_ms, uncertainty_ms: 1100 }).unwrap();
        (core.wall_now(), core.clock_status().source)
    };
    const HOUR: i64 = 3_600_000;
    assert_eq!(says(&mut core, NOW + HOUR), (NOW, Some(Source::Kernel)), "it still says so");
    clock.set_synchronised(false);
    assert_eq!(says(&mut core, NOW + HOUR), (NOW + HOUR, Some(Source::Date)));
    assert_eq!(says(&mut core, NOW + HOUR), (NOW + HOUR, Some(Source::Date)));
    assert_eq!(anchors(&core).len(), 2);
    clock.set_synchronised(true);
    for _ in 0..3 {
        assert_eq!(says(&mut core, NOW + HOUR), (NOW, Some(Source::Kernel)), "it says so again");
    }
    assert_eq!(anchors(&core).len(), 3);
}

#[test]
fn a_clock_that_drifts_and_a_date_that_is_far_more_certain_are_taken_down() {
    let clock = ManualClock::at(0, "a");
    clock.set_synchronised(false);
    let (mut core, _dir) = core(&clock, Trust::Kernel);
    for (date_ms, uncertainty_ms, kept) in [
        (NOW, 11_000, 1),
        (NOW, 9000, 1),
        (NOW + 8000, 5500, 2),
        (NOW + 7000, 1100, 3),
        (NOW + 8000, 1100, 3),
        (NOW + 8200, 1100, 4),
        (NOW + 8200, 1000, 4),
    ] {
        core.note_date(&DateSeen { boot_ms: 1000, date_ms, uncertainty_ms }).unwrap();
        assert_eq!(anchors(&core).len(), kept, "{date_ms} {uncertainty_ms}");
    }
    assert_eq!(core.wall_now(), NOW + 8200);
}

#[test]
fn a_hardware_clock_behind_what_is_sure_vouches_for_nothing() {
    const DAY: i64 = 24 * 3_600_000;
    for (wall, source) in
        [(NOW + 2 * DAY, Some(Source::Rtc)), (NOW + DAY - 30_000, Some(Source::Rtc)), (NOW, None)]
    {
        let clock = ManualClock::at(NOW + DAY, "a");
        let (core, dir) = core(&clock, Trust::Rtc);
        assert_eq!(core.clock_status().source, Some(Source::Kernel));
        let policy = core.policy.clone();
        drop(core);
        clock.set_synchronised(false);
        clock.reboot(wall, "b");
        let core = opened(&dir.path().join("journal.db"), policy, Clock::Manual(clock.clone())).unwrap();
        assert_eq!(core.clock_status().source, source, "{wall}");
        // The kernel's word of the boot before.
        let known = core.known_time();
        assert_eq!(known.floor_by, Some(Source::Kernel));
        assert_eq!(known.offset_ms, source.map(|_| (wall - 1000).max(known.floor_ms)));
    }
}

#[test]
fn a_boot_without_a_clock_has_lasted_until_the_last_orderly_stop_or_trace() {
    let clock = ManualClock::at(0, "a");
    clock.set_synchronised(false);
    let (core, dir) = core(&clock, Trust::Kernel);
    let path = dir.path().join("journal.db");
    let policy = core.policy.clone();
    let open = || opened(&path, policy.clone(), Clock::Manual(clock.clone())).unwrap();
    let pass = |seconds| clock.advance(Duration::from_secs(seconds));
    let lasted =
        |core: &Core| -> Vec<i64> { core.history.boots.iter().map(|boot| boot.last.boot_ms).collect() };
    pass(60);
    core.close();
    let core = open();
    pass(60);
    // Pulled out: the note of the stop before is what is known.
    drop(core);
    clock.reboot(0, "b");
    let core = open();
    assert_eq!(lasted(&core), [61_000, 1000]);
    pass(10);
    core.close();
    let core = open();
    pass(10);
    core.close();
    clock.reboot(0, "c");
    let core = open();
    assert_eq!(lasted(&core), [61_000, 21_000, 1000]);
    drop(core);
    // One that is anchored costs no write when it stops.
    clock.set_synchronised(true);
    clock.reboot(NOW, "d");
    let core = open();
    pass(10);
    core.close();
    clock.reboot(NOW, "e");
    assert_eq!(lasted(&open())[3], 1000);
}

#[test]
fn whose_word_counts_is_a_matter_of_configuration() {
    for (trust, synchronised, wall, source) in [
        (Trust::Kernel, true, NOW, Some(Source::Kernel)),
        (Trust::Kernel, false, NOW, None),
        (Trust::Kernel, true, BUILT_MS - 1, None),
        (Trust::Endpoint, true, NOW, None),
        (Trust::Rtc, false, NOW, Some(Source::Rtc)),
        (Trust::Rtc, true, NOW, Some(Source::Kernel)),
        (Trust::Rtc, false, BUILT_MS - 1, None),
    ] {
        let clock = ManualClock::at(wall, "a");
        clock.set_synchronised(synchronised);
        let (core, _dir) = core(&clock, trust);
        assert_eq!(core.clock_status().source, source, "{trust:?} {synchronised} {wall}");
    }
}

#[test]
fn a_completed_session_knows_what_its_times_go_by() {
    let clock = ManualClock::at(0, "a");
    clock.set_synchronised(false);
    let (mut core, _dir) = core(&clock, Trust::Kernel);
    let start = |said_ms| NewEvent {
        kind: EventType::SessionStart,
        seq: None,
        said_ms,
        playhead: 0.0,
        body: r#"{"mediaEventType":"media.sessionStart"}"#.into(),
        title: None,
        identity: None,
        lacks: (false, false),
    };
    let me = Scope { uid: 1000, admin: false };
    for (key, said_ms, told_by, time) in [
        ("ours", None, "clock", TimeBasis::Estimated),
        ("given", Some(NOW), "given", TimeBasis::Given),
        ("old", Some(1_230_768_000_000), "guess", TimeBasis::Estimated),
    ] {
        let mut append = Append::new(1000, key.parse().unwrap(), vec![start(said_ms)]);
        append.complete = Some(Why::Complete);
        core.append(append).unwrap();
        let (id, kept): (i64, String) = core
            .conn
            .query_row("SELECT id, told_by FROM sessions WHERE key = ?1", [key], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .unwrap();
        assert_eq!(kept, told_by, "{key}");
        let summary = core.detail(me, key).unwrap().summary;
        assert_eq!(summary.time, time, "{key}");
        if time == TimeBasis::Given {
            assert_eq!(summary.started_at, rfc3339(NOW), "the player's own word");
            assert_eq!(summary.last_event_at, Some(rfc3339(NOW)), "the same");
        }
        // As written by a version that did not keep it.
        core.conn.execute("UPDATE sessions SET told_by = NULL WHERE id = ?1", [id]).unwrap();
        assert_eq!(core.detail(me, key).unwrap().summary.time, time, "{key}");
        core.keep_basis(id).unwrap();
        core.conn.execute("DELETE FROM events WHERE session = ?1", [id]).unwrap();
        assert_eq!(core.detail(me, key).unwrap().summary.time, time, "{key}: without a look at its events");
    }
}
