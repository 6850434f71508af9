mod pauses;

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
        frozen: false,
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
