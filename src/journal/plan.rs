//! Which events of a request are new, which were there already, which cannot be: decided before anything is written.

use std::collections::HashMap;

use bytes::Bytes;

use super::numbers::Stored;
use super::{Append, Refusal};
use crate::event::{EventType, Problem};

/// What an append comes to, decided before anything is written.
pub(super) struct Plan {
    /// Positions in the request of those to write, with their numbers.
    pub(super) fresh: Vec<(usize, i64)>,
    pub(super) duplicates: u64,
    pub(super) last_seq: i64,
}

/// A problem with a member of the `at`-th event; in a batch the path says which one that is.
pub(super) fn problem(at: usize, batch: bool, member: &str, problem: impl Into<String>) -> Problem {
    let path = if batch { format!("[{at}].{member}") } else { member.to_owned() };
    Problem { path, problem: problem.into() }
}

/// Whether two event bodies say the same; a player may write the same event differently when it sends it again.
pub(super) fn same_event(stored: &str, sent: &[u8]) -> bool {
    stored.as_bytes() == sent
        || match (
            serde_json::from_str::<serde_json::Value>(stored),
            serde_json::from_slice::<serde_json::Value>(sent),
        ) {
            (Ok(stored), Ok(sent)) => stored == sent,
            _ => false,
        }
}

/// The numbers in a request that may be used already, up to `max_seq`.
pub(super) fn asked(append: &Append, max_seq: i64) -> impl Iterator<Item = i64> {
    append.events.iter().filter_map(|event| event.seq.map(signed)).filter(move |seq| *seq <= max_seq)
}

/// Numbers the events. `stored` finds what is known of the event under a number up to `max_seq`; `may_start` says whether the first new
/// event may be a start.
pub(super) fn plan(
    append: &Append,
    mut max_seq: i64,
    may_start: bool,
    stored: impl Fn(i64) -> Result<Option<Stored>, Refusal>,
) -> Result<Plan, Refusal> {
    let (events, batch) = (&append.events, append.batch);
    let known = max_seq;
    let mut plan = Plan { fresh: Vec::with_capacity(events.len()), duplicates: 0, last_seq: 0 };
    // Nobody looks into it unless the player gives numbers.
    let numbered = events.len() > 1 && events.iter().any(|event| event.seq.is_some());
    let mut here: HashMap<i64, &Bytes> = HashMap::with_capacity(if numbered { events.len() } else { 0 });
    let mut problems = Vec::new();
    for (at, event) in events.iter().enumerate() {
        let seq = match event.seq {
            None => max_seq.saturating_add(1),
            Some(seq) => signed(seq),
        };
        if event.seq.is_none() && seq == max_seq {
            problems.push(problem(at, batch, "seq", "is required: the last number there is was used"));
            continue;
        }
        plan.last_seq = seq;
        if event.seq.is_some() && seq <= max_seq {
            let same = match here.get(&seq) {
                Some(body) => Some(std::str::from_utf8(body).is_ok_and(|body| same_event(body, &event.body))),
                None if seq <= known => stored(seq)?.map(|stored| stored.is(&event.body)),
                None => None,
            };
            match same {
                Some(true) => {
                    plan.duplicates += 1;
                    continue;
                }
                Some(false) => {
                    problems.push(problem(at, batch, "seq", format!("{seq} is used by another event")));
                    continue;
                }
                None => {}
            }
        }
        if event.kind == EventType::SessionStart && !(may_start && plan.fresh.is_empty()) {
            problems.push(problem(
                at,
                batch,
                "mediaEventType",
                "the session has started already: media.sessionStart comes once, first",
            ));
        }
        if numbered {
            here.insert(seq, &event.body);
        }
        plan.fresh.push((at, seq));
        max_seq = max_seq.max(seq);
    }
    if problems.is_empty() { Ok(plan) } else { Err(Refusal::Sequence(problems)) }
}

/// A player's number as SQLite keeps it.
pub(super) fn signed(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}
