//! Calls of SQLite to the disk fail, once or for good, one after the other.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::disk::{Call, Disk, Entry, Plan, Trouble};
use super::image::Image;
use super::opened;
use super::oracle::Expectation;
use super::scale;
use super::stage::{Recording, Stage, runtime};
use super::sweep::Sweeper;
use super::workloads::empty_journal;

/// So many calls of a run are made to fail at most.
const CALLS: u64 = 2000;
/// The trouble is over: so long until events are taken again, by the journal's clock.
const BACK_WITHIN: Duration = Duration::from_secs(5);
/// How long a player waits before it tries again.
const RETRY: Duration = Duration::from_millis(250);

/// How many calls a run makes that this trouble can hit.
fn calls(trouble: Trouble, only: Option<Call>, empty: &Image) -> u64 {
    let mut stage = Stage::new(empty, 1);
    stage.disk.fail(Some(Plan { at: u64::MAX, trouble, only, for_good: false }));
    stage.open().unwrap();
    runtime().block_on(stage.everything());
    stage.close();
    stage.disk.calls().min(CALLS)
}

/// Lets one call fail, and goes on afterwards. Answers the log, or what went wrong.
fn run(plan: Plan, empty: &Image) -> Result<Recording, String> {
    let before = opened::panics();
    let runtime = runtime();
    let mut stage = Stage::new(empty, 1);
    stage.disk.fail(Some(plan));
    if stage.open().is_ok() {
        runtime.block_on(stage.everything());
    }
    // The trouble is over.
    stage.disk.fail(None);
    if !stage.is_open() {
        stage.open().map_err(|error| format!("cannot be opened when the trouble is over: {error}"))?;
    }
    for n in 0_u32.. {
        match runtime.block_on(stage.append(0, &format!("after-{n}"), true, 2, 0, None)) {
            Ok(()) => break,
            Err(refusal) if n * RETRY > BACK_WITHIN => {
                return Err(format!("takes no events again: {refusal}"));
            }
            Err(_) => stage.clock.advance(RETRY),
        }
    }
    stage.close();
    if opened::panics() > before {
        return Err("the journal's thread has panicked".into());
    }
    Ok(stage.recording(empty.clone()))
}

/// What was handed in after a failed sync is not acknowledged before the database was opened again.
fn trusts_nothing_after_a_failed_sync(entries: &[Entry]) -> Result<(), String> {
    let mut in_doubt = false;
    let mut handed = Vec::new();
    for entry in entries {
        match entry {
            Entry::SyncFailed { .. } => in_doubt = true,
            Entry::Opened => (in_doubt, handed) = (false, Vec::new()),
            Entry::Handed(n) if in_doubt => handed.push(*n),
            Entry::Acknowledged(n) if handed.contains(n) => {
                return Err(format!("request {n} was acknowledged on a journal whose sync had failed"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The files as they are at the end of a log, without a power cut.
fn is_whole(recording: &Recording, sweeper: &Sweeper) -> Result<(), String> {
    let mut expectation = Expectation::default();
    let mut platter = super::image::Platter::holding(&recording.base);
    for entry in &recording.entries {
        platter.follow(entry);
        expectation.follow(entry, &recording.deeds);
    }
    let image = platter.image(super::image::Way::Kept, &mut fastrand::Rng::with_seed(0));
    expectation.check(&sweeper.observe(&image)?, &recording.deeds)
}

/// Runs every plan on as many threads as there are cores.
fn run_all(plans: &[Plan], check: impl Fn(&Plan, &Recording, &Sweeper) -> Result<(), String> + Sync) {
    let began = Instant::now();
    let empty = empty_journal();
    let next = AtomicU64::new(0);
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                let sweeper = Sweeper::new();
                loop {
                    let at = usize::try_from(next.fetch_add(1, Ordering::SeqCst)).unwrap();
                    let Some(plan) = plans.get(at) else { break };
                    let verdict = run(*plan, &empty).and_then(|recording| check(plan, &recording, &sweeper));
                    if let Err(error) = verdict {
                        wrong
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push(format!("{plan:?}: {error}"));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    println!("{} runs, {} violations, {:.1} s", plans.len(), wrong.len(), began.elapsed().as_secs_f64());
    let shown: Vec<&str> = wrong.iter().take(8).map(String::as_str).collect();
    assert!(wrong.is_empty(), "{} of {} runs:\n{}", wrong.len(), plans.len(), shown.join("\n"));
}

/// `share` of the calls of each kind of trouble, evenly spread: all of them where the scale allows it.
fn plans(troubles: &[Trouble], only: Option<Call>, most: u64) -> Vec<Plan> {
    let empty = empty_journal();
    let most = (most as f64 * scale()) as u64;
    let mut plans = Vec::new();
    for trouble in troubles {
        let calls = calls(*trouble, only, &empty);
        let stride = calls.div_ceil(most.max(1)).max(1);
        // The two runs of a pair hit different calls, so that a stride leaves out less.
        for (for_good, first) in [(false, 1), (true, 1 + stride / 2)] {
            for at in (first..=calls).step_by(usize::try_from(stride).unwrap()) {
                plans.push(Plan { at, trouble: *trouble, only, for_good });
            }
        }
        println!("{trouble:?}: {calls} calls, every {stride}. is made to fail");
    }
    plans
}

#[test]
fn a_failing_call_loses_nothing_acknowledged() {
    let plans = plans(&[Trouble::Eio, Trouble::Full, Trouble::Short], None, 25);
    run_all(&plans, |_, recording, sweeper| {
        is_whole(recording, sweeper)?;
        trusts_nothing_after_a_failed_sync(&recording.entries)?;
        let figures = sweeper.sweep("power cut after a failed call", recording, 1, 40, true);
        figures.violations.into_iter().next().map_or(Ok(()), Err)
    });
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged_until_the_journal_was_opened_again() {
    let plans = plans(&[Trouble::Eio], Some(Call::Sync), 15);
    run_all(&plans, |_, recording, _| trusts_nothing_after_a_failed_sync(&recording.entries));
}

/// A kernel forgets what a failed sync should have written: the next sync says that all is well, and it is not. Nothing
/// that is acknowledged may rest on it.
#[test]
fn nothing_rests_on_what_a_failed_sync_gave_up() {
    let plans = plans(&[Trouble::Eio], Some(Call::Sync), 8);
    run_all(&plans, |_, recording, sweeper| {
        let recording = Recording {
            base: recording.base.clone(),
            entries: recording.entries.clone(),
            deeds: recording.deeds.clone(),
            from: recording.from,
            gives_up: true,
        };
        let figures = sweeper.sweep("power cut after a failed sync", &recording, 1, 300, true);
        figures.violations.into_iter().next().map_or(Ok(()), Err)
    });
}

/// The check itself: a log in which the rule is broken.
#[test]
fn an_acknowledgement_after_a_failed_sync_is_noticed() {
    let disk = Disk::holding(&[]);
    for entry in [Entry::SyncFailed { inode: 0 }, Entry::Handed(0), Entry::Acknowledged(0)] {
        disk.note(entry);
    }
    assert!(trusts_nothing_after_a_failed_sync(&disk.entries()).is_err());
}
