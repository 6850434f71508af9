use super::*;
use crate::link::Evidence;
use crate::session::State;

/// Schedules without jitter: 5 s doubling to 1 h, 15 min doubling to 6 h.
struct Plain;

const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

impl Delays for Plain {
    fn backoff(&self, attempt: u32) -> Duration {
        Duration::from_secs(5 << (attempt.max(1) - 1).min(20)).min(Duration::from_secs(3600))
    }

    fn pause(&self, probe: u32) -> Duration {
        Duration::from_secs(900 << (probe.max(1) - 1).min(10)).min(Duration::from_secs(6 * 3600))
    }
}

fn at(boot_ms: i64) -> Moment {
    Moment { boot: 1, boot_ms, wall_ms: 1_800_000_000_000 + boot_ms }
}

/// Of the body that was sent.
const BYTES: u64 = 10_000;

fn session(id: i64) -> Outgoing {
    Outgoing {
        id,
        key: format!("k{id}"),
        state: State::Completed,
        identity_map: "{}".into(),
        identity_from_configuration: true,
        player_name: None,
        channel: None,
        implementation: "{}".into(),
        timestamp_ms: None,
        timing: crate::journal::Timing::default(),
        now_ms: None,
        payload_sum: None,
        attempts: 0,
        answers: 0,
        answering_ms: 0,
        unreached: 0,
        resumes: false,
        refused_bytes: None,
        fit: None,
        events: Vec::new(),
    }
}

fn judged(verdict: Verdict, reason: &str) -> Judgement {
    Judgement {
        verdict,
        reason: reason.into(),
        detail: format!("because of {reason}"),
        evidence: Evidence::Answered,
        concerns_all: matches!(verdict, Verdict::RetryAfter(_) | Verdict::Pause),
        maybe_delivered: false,
        status: Some(200),
        request_id: None,
        session_id: None,
        new_session: false,
        warnings: Vec::new(),
        uncertain: false,
        hint: None,
    }
}

fn delivered() -> Judgement {
    judged(Verdict::Delivered, "200")
}

fn refused(reason: &str) -> Judgement {
    judged(Verdict::Quarantine, reason)
}

fn unreached() -> Judgement {
    Judgement { concerns_all: true, status: None, ..judged(Verdict::Backoff { limit: None }, "connect") }
}

fn told(seconds: u64) -> Judgement {
    judged(Verdict::RetryAfter(Some(Duration::from_secs(seconds))), "429")
}

fn waits(ms: i64, network: bool, counts: bool) -> Action {
    Action::Wait { ms, network, counts }
}

fn receipt() -> Action {
    Action::Deliver { receipt: String::new() }
}

/// Enters the judgement of session `id`, never tried before.
fn enter(book: &mut Book, id: i64, judgement: &Judgement, now: i64) -> Consequence {
    book.enter(&session(id), judgement, BYTES, &Plain, at(now))
}

#[track_caller]
fn assert_held(book: &Book, now: i64, expected: Option<(GateKind, i64)>) {
    assert_eq!(book.held(&at(now)).map(|(gate, left)| (gate.kind, left)), expected, "{book:?}");
}

#[test]
fn each_verdict_has_its_consequence() {
    use GateKind::{Endpoint, Network, Pause};
    let limit = Some(10);
    let cases = [
        ("delivered", delivered(), receipt(), None),
        ("told to wait", told(30), waits(0, true, false), Some((Endpoint, 30 * SECOND))),
        (
            "told to wait, not how long",
            judged(Verdict::RetryAfter(None), "503"),
            waits(0, true, false),
            Some((Endpoint, 5 * SECOND)),
        ),
        ("not reached", unreached(), waits(0, true, false), Some((Network, 5 * SECOND))),
        (
            "gateway trouble of one session",
            judged(Verdict::Backoff { limit: None }, "502"),
            waits(5 * SECOND, false, false),
            None,
        ),
        (
            "an answer that counts",
            judged(Verdict::Backoff { limit }, "500"),
            waits(5 * SECOND, false, true),
            None,
        ),
        ("a wrong set-up", judged(Verdict::Pause, "401"), waits(0, false, false), Some((Pause, 15 * MINUTE))),
        ("refused", refused("400"), Action::Quarantine, None),
        (
            "small, and still too large",
            judged(Verdict::Resize { max: None }, "413"),
            Action::Quarantine,
            None,
        ),
        (
            "too large",
            judged(Verdict::Resize { max: Some(9_000) }, "0112-413"),
            Action::Resize { bytes: 10_000, wait_ms: 0 },
            None,
        ),
        (
            "a maximum that would have let it pass",
            judged(Verdict::Resize { max: Some(20_000) }, "0112-413"),
            Action::Quarantine,
            None,
        ),
        ("no consent", judged(Verdict::Consent, "0301-200"), Action::Quarantine, None),
        (
            "an answer that counts and concerns all",
            Judgement { concerns_all: true, ..judged(Verdict::Backoff { limit }, "va-edge-0500-503") },
            waits(0, true, true),
            Some((Network, 5 * SECOND)),
        ),
    ];
    for (name, judgement, action, held) in cases {
        let mut book = Book::default();
        let expected = Consequence { action, requeue: Vec::new(), outage_over: false };
        assert_eq!(enter(&mut book, 1, &judgement, 0), expected, "{name}");
        assert_held(&book, 0, held);
        assert_eq!(book.is_cautious(), held.is_some(), "{name}");
    }
}

/// Contract section 12.4: where a 413 is no longer a matter of size.
#[test]
fn s12_4_a_small_body_is_set_apart_whole() {
    let cases = [
        ("the smallest that is cut", Some(100), 4097, Some(100)),
        ("small, whatever the maximum", Some(100), 4096, None),
        ("above the maximum", Some(9_000), 9_001, Some(9_000)),
        // Section 12.1: it may count the headers too.
        ("at the maximum", Some(9_000), 9_000, Some(4_904)),
        ("near a maximum of 64 KB", Some(65_536), 65_493, Some(61_440)),
        ("the farthest from it that headers explain", Some(65_536), 61_441, Some(61_440)),
        ("too far from it", Some(65_536), 61_440, None),
        ("near one that is hardly above what is cut", Some(6_000), 4_500, Some(4_096)),
        ("the smallest without a maximum", None, 32 * 1024 + 1, Some(60_000)),
        ("what Adobe takes twice over", None, 32 * 1024, None),
    ];
    for (name, max, bytes, largest) in cases {
        let smaller = largest.is_some();
        for code in ["0112-413", "413"] {
            let mut book = Book::default();
            let judgement = judged(Verdict::Resize { max }, code);
            let consequence = book.enter(&session(1), &judgement, bytes, &Plain, at(0));
            let resized = matches!(consequence.action, Action::Resize { .. });
            assert_eq!((resized, consequence.action == Action::Quarantine), (smaller, !smaller), "{name}");
            // Nothing is learnt from a refusal that makes no sense, and only Adobe's own word is for all.
            let learnt = largest.filter(|_| code != "413").unwrap_or(60_000);
            assert_eq!(book.budget(60_000), learnt, "{name}, {code}");
        }
    }
}

#[test]
fn a_limit_needs_the_answers_and_the_time() {
    // Contract section 11: n answers spread over at least 24 h.
    let limited = judged(Verdict::Backoff { limit: Some(10) }, "500");
    let unlimited = judged(Verdict::Backoff { limit: None }, "502");
    let day = 24 * HOUR;
    for (answers, answering_ms, judgement, quarantined) in [
        (8, day, &limited, false),
        (9, day - 1, &limited, false),
        (9, day, &limited, true),
        (50, day - 1, &limited, false),
        (1_000_000, 1000 * day, &unlimited, false),
    ] {
        let tried = Outgoing { answers, answering_ms, ..session(1) };
        let action = Book::default().enter(&tried, judgement, BYTES, &Plain, at(0)).action;
        assert_eq!(action == Action::Quarantine, quarantined, "{answers} answers in {answering_ms} ms");
    }
}

/// A session for which this is the last answer of a BACKOFF-n.
fn exhausted(id: i64) -> Outgoing {
    Outgoing { answers: 9, answering_ms: 24 * HOUR, ..session(id) }
}

#[test]
fn three_in_a_row_that_reach_a_limit_are_a_pause() {
    // Contract section 11: three QUARANTINE in a row with one code, however each came to it.
    let limited = judged(Verdict::Backoff { limit: Some(10) }, "500");
    let small = judged(Verdict::Resize { max: None }, "413");
    for (judgement, between) in [(&limited, Some(&limited)), (&limited, None), (&small, None)] {
        let mut book = Book::default();
        for id in 1..=2 {
            assert_eq!(
                book.enter(&exhausted(id), judgement, BYTES, &Plain, at(0)).action,
                Action::Quarantine
            );
            if let Some(between) = between {
                assert_eq!(enter(&mut book, 10 + id, between, 0).action, waits(5 * SECOND, false, true));
            }
        }
        let third = book.enter(&exhausted(3), judgement, BYTES, &Plain, at(0));
        assert_eq!((third.action, third.requeue), (waits(0, false, false), vec![1, 2]));
        assert_held(&book, 0, Some((GateKind::Pause, 15 * MINUTE)));
    }
}

#[test]
fn what_cannot_be_read_pauses_in_the_end_and_consumes_nothing() {
    let unreadable = Judgement {
        concerns_all: true,
        evidence: Evidence::Captive,
        ..judged(Verdict::Backoff { limit: Some(10) }, "not-adobe")
    };
    let mut book = Book::default();
    let mut now = 0;
    assert_eq!(enter(&mut book, 1, &unreadable, now).action, waits(0, true, true));
    for minutes in [15, 30, 60] {
        let paused = book.enter(&exhausted(1), &unreadable, BYTES, &Plain, at(now));
        let kept = Consequence { action: waits(0, false, false), requeue: Vec::new(), outage_over: false };
        assert_eq!(paused, kept);
        assert_held(&book, now, Some((GateKind::Pause, minutes * MINUTE)));
        now += minutes * MINUTE;
    }
    // Others get through: so it is this session.
    enter(&mut book, 2, &delivered(), now);
    assert_eq!(book.enter(&exhausted(1), &unreadable, BYTES, &Plain, at(now)).action, Action::Quarantine);
    assert_held(&book, now, None);
}

#[test]
fn an_outage_backs_off_and_lets_every_session_have_its_turn() {
    let mut book = Book::default();
    let mut now = 0;
    let mut gates = Vec::new();
    for (id, tried, own) in
        [(1, 0, false), (1, 1, false), (1, 2, true), (2, 0, false), (2, 1, false), (2, 2, true)]
    {
        let failed = Outgoing { unreached: tried, ..session(id) };
        let Action::Wait { ms, network: true, counts: false } =
            book.enter(&failed, &unreached(), BYTES, &Plain, at(now)).action
        else {
            panic!("it waits for the network")
        };
        let (gate, left) = book.held(&at(now)).unwrap();
        assert_eq!(gate.kind, GateKind::Network);
        assert_eq!(ms > left, own, "session {id} after {} failures: {ms} against {left}", tried + 1);
        gates.push(left / SECOND);
        now += left;
        assert!(book.held(&at(now)).is_none());
    }
    // The third failure of the only one tried so far holds others up no longer than a first one would.
    assert_eq!(gates, [5, 10, 5, 40, 80, 160]);

    // Any answer of the endpoint itself ends it, for all.
    let answers = [delivered(), refused("400"), judged(Verdict::Pause, "401")];
    for answer in answers {
        assert!(enter(&mut book.clone(), 3, &answer, now).outage_over, "{answer:?}");
    }
    let no_answer = Judgement { status: None, ..judged(Verdict::Pause, "setup") };
    assert!(!enter(&mut book.clone(), 3, &no_answer, now).outage_over);
    assert!(!enter(&mut book, 3, &told(30), now).outage_over);
}

#[test]
fn a_session_that_always_breaks_the_connection_does_not_hold_others_up() {
    let mut book = Book::default();
    let poison = |unreached| Outgoing { unreached, attempts: unreached, ..session(1) };
    for tried in 0..100 {
        book.enter(&poison(tried), &unreached(), BYTES, &Plain, at(0));
        let (_, left) = book.held(&at(0)).unwrap();
        assert!(left <= 10 * SECOND, "after {tried} failures others wait {left} ms");
    }
    let Action::Wait { ms, .. } = book.enter(&poison(100), &unreached(), BYTES, &Plain, at(0)).action else {
        panic!()
    };
    assert!(ms >= HOUR, "it waits on its own: {ms}");
    assert_eq!(enter(&mut book, 2, &delivered(), 5 * SECOND).action, receipt());
    assert_held(&book, 5 * SECOND, None);
    assert!(!book.is_cautious());
}

#[test]
fn nothing_shortens_what_the_endpoint_asked_for() {
    use GateKind::{Endpoint, Network};
    let mut book = Book::default();
    enter(&mut book, 1, &told(600), 0);
    // All of these were on their way when the endpoint spoke.
    for (name, judgement, held) in [
        ("delivered", delivered(), (Endpoint, 599 * SECOND)),
        ("refused", refused("400"), (Endpoint, 599 * SECOND)),
        ("told less", told(1), (Endpoint, 599 * SECOND)),
        ("not reached", unreached(), (Endpoint, 599 * SECOND)),
        ("told more", told(700), (Endpoint, 700 * SECOND)),
        ("a wrong set-up", judged(Verdict::Pause, "401"), (GateKind::Pause, 15 * MINUTE)),
    ] {
        let mut book = book.clone();
        enter(&mut book, 2, &judgement, SECOND);
        assert_held(&book, SECOND, Some(held));
        assert!(book.is_cautious(), "{name}");
    }
    assert!(!book.open(&[GateKind::Pause, Network]), "a person and a new path do not open it");
    enter(&mut book, 2, &judged(Verdict::Pause, "401"), SECOND);
    assert!(book.open(&[GateKind::Pause, Network]));
    assert_held(&book, SECOND, Some((Endpoint, 599 * SECOND)));
    assert_held(&book, 599 * SECOND, Some((Endpoint, SECOND)));
    assert_held(&book, 600 * SECOND, None);
    // Once it has passed an answer clears it away.
    enter(&mut book, 2, &delivered(), 600 * SECOND);
    assert!(!book.is_cautious());
}

#[test]
fn what_was_learnt_of_one_endpoint_does_not_hold_for_another() {
    let mut book = Book::default();
    assert!(book.turn_to("https://a/"));
    enter(&mut book, 1, &told(600), 0);
    assert!(!book.turn_to("https://a/"));
    assert_held(&book, 0, Some((GateKind::Endpoint, 600 * SECOND)));
    assert!(book.turn_to("https://b/"));
    assert_held(&book, 0, None);
    assert!(!book.is_cautious());
}

#[test]
fn a_pause_is_probed_ever_more_seldom() {
    // Contract section 11: after 15 min, doubling to 6 h.
    let mut book = Book::default();
    let mut now = 0;
    for minutes in [15, 30, 60, 120, 240, 360, 360] {
        enter(&mut book, 1, &judged(Verdict::Pause, "401"), now);
        assert_held(&book, now, Some((GateKind::Pause, minutes * MINUTE)));
        // A second answer to what was sent together with the first is not a probe.
        enter(&mut book, 2, &judged(Verdict::Pause, "401"), now);
        assert_held(&book, now, Some((GateKind::Pause, minutes * MINUTE)));
        now += minutes * MINUTE;
        assert!(book.is_cautious(), "one at a time");
    }
    enter(&mut book, 1, &delivered(), now);
    assert_held(&book, now, None);
    assert!(!book.is_cautious());
    enter(&mut book, 3, &judged(Verdict::Pause, "401"), now);
    assert_held(&book, now, Some((GateKind::Pause, 15 * MINUTE)));
}

#[test]
fn three_refused_in_a_row_for_one_reason_are_a_pause() {
    // Each row: (session, judgement) in turn, and whether the last of them pauses and takes the others back.
    let bad = || refused("400");
    let other = || refused("422");
    type Case = (&'static str, Vec<(i64, Judgement)>, Option<Vec<i64>>);
    let cases: [Case; 9] = [
        ("three", vec![(1, bad()), (2, bad()), (3, bad())], Some(vec![1, 2])),
        ("two", vec![(1, bad()), (2, bad())], None),
        ("one of them twice", vec![(1, bad()), (1, bad()), (2, bad())], None),
        ("different reasons", vec![(1, bad()), (2, other()), (3, bad())], None),
        ("a delivery between", vec![(1, bad()), (2, bad()), (4, delivered()), (3, bad())], None),
        (
            "another verdict between",
            vec![(1, bad()), (2, bad()), (4, judged(Verdict::Backoff { limit: None }, "502")), (3, bad())],
            None,
        ),
        ("no network between", vec![(1, bad()), (2, bad()), (4, unreached()), (3, bad())], Some(vec![1, 2])),
        ("told to wait between", vec![(1, bad()), (2, bad()), (4, told(1)), (3, bad())], Some(vec![1, 2])),
        (
            "after two of another reason",
            vec![(8, other()), (9, other()), (1, bad()), (2, bad()), (3, bad())],
            Some(vec![1, 2]),
        ),
    ];
    for (name, steps, requeued) in cases {
        let mut book = Book::default();
        let mut last = None;
        for (id, judgement) in &steps {
            last = Some(enter(&mut book, *id, judgement, 0));
        }
        let last = last.unwrap();
        assert_eq!(last.requeue, requeued.clone().unwrap_or_default(), "{name}");
        let expected = if requeued.is_some() { waits(0, false, false) } else { Action::Quarantine };
        assert_eq!(last.action, expected, "{name}");
        let paused = book.held(&at(0)).is_some_and(|(gate, _)| gate.kind == GateKind::Pause);
        assert_eq!(paused, requeued.is_some(), "{name}");
    }
}

/// A book in which sessions 1 to 3 were refused for the same reason.
fn suspicious() -> Book {
    let mut book = Book::default();
    for id in 1..=3 {
        enter(&mut book, id, &refused("400"), 0);
    }
    assert_eq!(book.doubted(), [1, 2, 3]);
    book
}

#[test]
fn after_a_pause_others_go_first_and_clear_the_way() {
    let mut book = suspicious();
    let now = 15 * MINUTE;
    assert_eq!(enter(&mut book, 4, &delivered(), now).action, receipt());
    assert_held(&book, now, None);
    assert!(book.doubted().is_empty() && !book.is_cautious());
    // So the fault was theirs: each is set apart, and no more of a pause comes of it.
    for id in 1..=3 {
        let expected = Consequence { action: Action::Quarantine, requeue: Vec::new(), outage_over: false };
        assert_eq!(enter(&mut book, id, &refused("400"), now), expected);
    }
    assert_held(&book, now, None);
    assert_eq!(
        enter(&mut book, 1, &refused("400"), now).action,
        Action::Quarantine,
        "and may be tried again"
    );
}

#[test]
fn as_long_as_everything_is_refused_the_pause_goes_on_and_nothing_is_set_apart() {
    let mut book = suspicious();
    let mut now = 15 * MINUTE;
    for (id, minutes) in [(4, 30), (5, 60), (1, 120), (1, 240)] {
        let consequence = enter(&mut book, id, &refused("400"), now);
        let kept = Consequence { action: waits(0, false, false), requeue: Vec::new(), outage_over: false };
        assert_eq!(consequence, kept);
        assert_held(&book, now, Some((GateKind::Pause, minutes * MINUTE)));
        now += minutes * MINUTE;
    }
    assert_eq!(book.doubted(), [2, 3, 4, 5, 1]);
    // One of them gets through: it has been put right.
    enter(&mut book, 2, &delivered(), now);
    assert!(book.doubted().is_empty() && !book.is_cautious());
    assert_eq!(enter(&mut book, 3, &refused("400"), now).action, Action::Quarantine);
    assert_eq!(enter(&mut book, 4, &refused("400"), now).action, Action::Quarantine);
    assert_eq!(enter(&mut book, 5, &refused("400"), now).requeue, [3, 4], "a new streak is a new pause");
}

#[test]
fn one_session_that_asks_for_a_pause_by_itself_does_not_get_it_twice() {
    let mut book = Book::default();
    enter(&mut book, 1, &judged(Verdict::Pause, "403"), 0);
    assert_eq!(book.doubted(), [1]);
    enter(&mut book, 2, &delivered(), 15 * MINUTE);
    let tried = Outgoing { attempts: 1, ..session(1) };
    let again = book.enter(&tried, &judged(Verdict::Pause, "403"), BYTES, &Plain, at(15 * MINUTE));
    assert_eq!(again.action, waits(30 * MINUTE, false, false), "it waits alone, and is kept");
    assert_held(&book, 15 * MINUTE, None);
    // Should it concern all after all, the next one says so.
    enter(&mut book, 3, &judged(Verdict::Pause, "403"), 15 * MINUTE);
    assert_held(&book, 15 * MINUTE, Some((GateKind::Pause, 15 * MINUTE)));
    assert_eq!(book.doubted(), [3]);
    assert!(book.is_convicted(1));
}

#[test]
fn the_memory_is_bounded_and_survives_the_journal() {
    let mut book = suspicious();
    for id in 10..1000 {
        enter(&mut book, id, &refused("400"), 0);
    }
    assert_eq!(book.doubted().len(), SUSPECTS);
    assert_eq!(*book.doubted().last().unwrap(), 999);
    enter(&mut book, 1, &told(60), 0);
    let text = serde_json::to_string(&book).unwrap();
    assert_eq!(serde_json::from_str::<Book>(&text).unwrap(), book);
    // What an older version wrote is no reason to fail.
    assert_eq!(serde_json::from_str::<Book>(r#"{"gate":null,"failures":0}"#).unwrap(), Book::default());
}
