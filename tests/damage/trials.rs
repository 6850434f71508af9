//! Many damaged journals through the production path.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use afterplay::event::EventType;
use afterplay::journal::{Append, NewEvent, Next, Refusal, Telling, TimeBasis};
use afterplay::session::{Consent, Loss, State};

use crate::foreign::steps;
use crate::harm::{Dice, HARMS, Harm, Harmed, harm};
use crate::journal::ROOT;
use crate::made::{self, Made, OWNERS, folder, journal_in, payload};

/// Asks again where the journal has to open itself anew first, as players and the uploader do.
macro_rules! patiently {
    ($call:expr) => {{
        let mut left = 3;
        loop {
            match $call.await {
                Err(Refusal::Storage(_) | Refusal::Fault(_)) if left > 0 => left -= 1,
                answer => break answer,
            }
        }
    }};
}

/// Ready within.
const READY: Duration = Duration::from_secs(5);

#[derive(Debug, Default, Clone)]
pub(crate) struct Score {
    pub(crate) trials: u64,
    pub(crate) set_aside: u64,
    pub(crate) untouched: u64,
    pub(crate) saved: u64,
    balanced: u64,
    pub(crate) slowest: Duration,
}

fn asides(dir: &Path) -> usize {
    let is_aside =
        |name: &str| name.contains(".damaged-") && !name.ends_with("-wal") && !name.ends_with("-shm");
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| is_aside(name)).count()
}

fn fresh_event() -> NewEvent {
    NewEvent {
        kind: EventType::SessionStart,
        seq: None,
        said_ms: None,
        playhead: 0.0,
        body: r#"{"mediaEventType":"media.sessionStart","mediaCollection":{"playhead":0}}"#.into(),
        title: None,
        identity: None,
        lacks: (false, false),
    }
}

/// Opens the harmed files as the service does and looks at everything that came through.
pub(crate) async fn trial(made: &Made, harmed: &Harmed, what: &str) -> Score {
    let dir = folder();
    let path = journal_in(dir.path());
    fs::write(&path, &harmed.main).unwrap();
    fs::write(dir.path().join("journal.db-wal"), &harmed.wal).unwrap();
    let clock = made.clock();
    let begun = Instant::now();
    let open = made::open(&path, &clock);
    let slowest = begun.elapsed();
    assert!(slowest < READY, "{what}: ready after {slowest:?}");
    let journal = &open.journal;

    // What the uploader does: whatever is due is built and compared; what is damaged is set apart.
    clock.advance(Duration::from_secs(7200));
    let mut skip = Vec::new();
    let mut sent = BTreeMap::new();
    let mut refused = 0;
    loop {
        let id = match journal.next_due(skip.clone(), Telling::NOBODY).await {
            Ok(Next::Ready(id)) => id,
            Ok(_) => break,
            // The journal opens itself anew before the next request.
            Err(Refusal::Storage(why) | Refusal::Fault(why)) => {
                refused += 1;
                assert!(refused < 4, "{what}: {why}");
                continue;
            }
            Err(other) => panic!("{what}: {other}"),
        };
        skip.push(id);
        match journal.outgoing(id).await {
            Ok(outgoing) => {
                let outgoing = outgoing.unwrap();
                let estimated = outgoing.timing.basis == TimeBasis::Estimated;
                sent.insert(outgoing.key.clone(), (payload(&outgoing), estimated));
            }
            Err(Refusal::Damaged(detail)) => journal.quarantine(id, "corrupt", detail).await.unwrap(),
            Err(Refusal::Storage(why) | Refusal::Fault(why)) => {
                skip.pop();
                refused += 1;
                assert!(refused < 4, "{what}: {why}");
            }
            Err(other) => panic!("{what}: {other}"),
        }
        assert!(skip.len() <= made.sessions.len() + 1, "{what}: too many sessions");
    }
    for (key, (body, estimated)) in &sent {
        let truth = match made.sessions.get(key) {
            Some(truth) if truth.state != State::Delivered => truth,
            _ => {
                assert!(harmed.tail, "{what}: {key} was settled and is sent again");
                continue;
            }
        };
        let was = truth.body.as_deref().unwrap();
        let right = was == body || harmed.boots_gone && *estimated && steps(was) == steps(body);
        assert!(right, "{what}: wrong bytes of {key}");
    }
    let page = patiently!(journal.list(ROOT, None, 100_000, None)).unwrap();
    let now: BTreeMap<String, State> =
        page.sessions.iter().map(|session| (session.session.clone(), session.state)).collect();
    // Unless the log lost the commit that dropped it, as if it had never been promised.
    let back = now.keys().find(|key| made.dropped.contains(*key));
    assert!(back.is_none() || harmed.tail, "{what}: {back:?} was dropped and came back");

    let mut score = Score { trials: 1, slowest, ..Score::default() };
    for (key, truth) in &made.sessions {
        if harmed.touched.contains(key) {
            continue;
        }
        score.untouched += 1;
        let state = now.get(key);
        let as_it_was = match truth.state {
            State::Completed => sent.contains_key(key),
            State::Delivered => state == Some(&State::Delivered),
            // Its deadline has come in the meantime.
            State::Open => state == Some(&State::Completed) || state == Some(&State::Open),
            State::Quarantined => state == Some(&State::Quarantined),
        };
        let whole = as_it_was
            && match truth.state {
                State::Open | State::Quarantined => {
                    let outgoing = patiently!(journal.outgoing_by_key(ROOT, key.clone()));
                    outgoing.is_ok_and(|outgoing| truth.body.as_ref() == Some(&payload(&outgoing)))
                }
                _ => true,
            };
        if whole {
            score.saved += 1;
        } else if std::env::var_os("AFTERPLAY_TEST_TELL").is_some() {
            println!("{what}: {key} was {:?}, is {state:?}", truth.state);
        }
    }

    // acknowledged = delivered + stored + losses, against what the players were told.
    let status = patiently!(journal.status(ROOT)).unwrap();
    let lost: u64 = status.losses.values().sum();
    let accounted = status.stored + status.delivered + lost;
    let open_touched = harmed
        .touched
        .iter()
        .any(|key| made.sessions.get(key).is_some_and(|truth| truth.state == State::Open));
    if !harmed.tail && !open_touched {
        assert_eq!(accounted, made.acknowledged, "{what}: {status:?}");
        score.balanced = 1;
    } else {
        assert!(accounted <= made.acknowledged, "{what}: {accounted} of {}: {status:?}", made.acknowledged);
    }
    let counted = status.losses.get(&Loss::Corrupt).copied().unwrap_or(0);
    assert!(counted == 0 || asides(dir.path()) > 0, "{what}: {counted} lost without a damaged journal");

    score.set_aside = asides(dir.path()) as u64;
    assert!(score.set_aside <= 3, "{what}: {} files set aside", score.set_aside);
    if status.consent != Some(Consent::Out) {
        let append = Append::new(OWNERS[0], "anew".parse().unwrap(), vec![fresh_event()]);
        assert_eq!(patiently!(journal.append(append.clone())).unwrap().recorded, 1, "{what}");
    }
    let before = patiently!(journal.list(ROOT, None, 100_000, None)).unwrap().sessions.len();
    let set_aside = asides(dir.path()) as u64;
    open.close();

    // A second start is like any other.
    let open = made::open(&path, &clock);
    assert_eq!(asides(dir.path()) as u64, set_aside, "{what}: set aside again");
    let after = open.journal.list(ROOT, None, 100_000, None).await.unwrap().sessions.len();
    assert_eq!(after, before, "{what}");
    open.close();
    score
}

/// As many rounds more as the environment asks for.
pub(crate) fn scale() -> u64 {
    std::env::var("AFTERPLAY_TEST_SCALE").ok().and_then(|scale| scale.parse().ok()).unwrap_or(1)
}

/// Keeps the files of a trial that failed: journals have random parts, so that no two are quite the same.
fn keep(n: u64, harmed: &Harmed) {
    let path = std::env::temp_dir().join(format!("afterplay-trial-{n}.db"));
    fs::write(&path, &harmed.main).unwrap();
    fs::write(path.with_extension("db-wal"), &harmed.wal).unwrap();
    println!("the files of trial {n} were kept: {}", path.display());
}

fn run(made: &[Made], trials: u64, first: u64) -> BTreeMap<(Harm, bool), Score> {
    let scores = Mutex::new(BTreeMap::new());
    let (next, failed) = (AtomicU64::new(first), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= first + trials {
                        break;
                    }
                    let mut dice = Dice(n);
                    let made = &made[dice.roll(made.len())];
                    // Half are bit flips, which are the most various.
                    let kind = if n % 2 == 0 { Harm::BitFlip } else { HARMS[1 + dice.roll(4)] };
                    let in_log = dice.roll(3) == 0 && !made.wal.is_empty();
                    let harmed = harm(made, kind, in_log, &mut dice);
                    let file = if in_log { "frame" } else { "page" };
                    let what = format!("trial {n}, {kind:?} of {file} {}", harmed.place);
                    let tried = AssertUnwindSafe(|| runtime.block_on(trial(made, &harmed, &what)));
                    let Ok(score) = catch_unwind(tried) else {
                        failed.fetch_add(1, Ordering::Relaxed);
                        keep(n, &harmed);
                        continue;
                    };
                    let mut scores = scores.lock().unwrap();
                    let sum: &mut Score = scores.entry((kind, in_log)).or_default();
                    sum.trials += 1;
                    sum.set_aside += score.set_aside.min(1);
                    sum.untouched += score.untouched;
                    sum.saved += score.saved;
                    sum.balanced += score.balanced;
                    sum.slowest = sum.slowest.max(score.slowest);
                }
            });
        }
    });
    assert_eq!(failed.into_inner(), 0, "trials failed: AFTERPLAY_TEST_TRIAL=n repeats one");
    scores.into_inner().unwrap()
}

#[test]
fn damage_costs_only_what_it_hits() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let made = runtime.block_on(async { [Made::new(40, 16, 12).await, Made::new(16, 10, 3).await] });
    let begun = Instant::now();
    let (trials, first) = match std::env::var("AFTERPLAY_TEST_TRIAL").ok().and_then(|n| n.parse().ok()) {
        Some(only) => (1, only),
        None => (120 * scale(), 0),
    };
    let scores = run(&made, trials, first);
    let mut all = Score::default();
    for ((kind, in_log), score) in &scores {
        println!(
            "{kind:?} in {}: {} trials, {} set aside, {} of {} untouched sessions saved, {} balances, slowest {:?}",
            if *in_log { "the log" } else { "the file" },
            score.trials,
            score.set_aside,
            score.saved,
            score.untouched,
            score.balanced,
            score.slowest
        );
        all.trials += score.trials;
        all.untouched += score.untouched;
        all.saved += score.saved;
        all.balanced += score.balanced;
        all.slowest = all.slowest.max(score.slowest);
    }
    println!(
        "{} trials in {:?}: {} of {} untouched sessions saved, {} balances, slowest start {:?}",
        all.trials,
        begun.elapsed(),
        all.saved,
        all.untouched,
        all.balanced,
        all.slowest
    );
    for ((kind, in_log), score) in &scores {
        assert!(score.saved * 100 >= score.untouched * 95, "{kind:?} {in_log}: {score:?}");
    }
}
