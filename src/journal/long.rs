//! A whole session that lasted longer than one may: it ends and goes on as the SDK does it (contract section 8).
//!
//! What is recorded event by event is watched as it comes; what comes as a whole has only its timestamps.

use super::Refusal;
use super::core::Core;
use super::split::{Split, in_order};
use crate::course::Course;
use crate::session::LONGEST_MS;

/// Sessions that one is divided into at most; times that ask for more are no times of one playback.
const MOST_PARTS: usize = 8;

/// What became of a session that lasted too long.
pub(super) enum Long {
    /// Each successor by the number of the event it begins with, and its name.
    Divided(Vec<(i64, String)>),
    /// It stays as it came.
    Kept(String),
}

/// Where successors begin among these times, which ascend.
fn cuts(times: &[i64]) -> Vec<usize> {
    let (Some(&first), Some(&last)) = (times.first(), times.last()) else { return Vec::new() };
    let mut begin = first;
    let mut cuts = Vec::new();
    for (at, &time) in times.iter().enumerate() {
        if time.saturating_sub(begin) >= LONGEST_MS && last.saturating_sub(begin) > LONGEST_MS {
            cuts.push(at);
            begin = time;
        }
    }
    cuts
}

impl Core {
    /// Divides a session that was recorded event by event, but with times of its player's that lie too far apart.
    pub(super) fn divide_at_completion(&mut self, id: i64) -> Result<(), Refusal> {
        match self.divide_long(id) {
            Ok(Some(Long::Kept(why))) => self.keep_warnings(id, std::slice::from_ref(&why)),
            // What is damaged is found out and told when it is sent.
            Ok(_) | Err(Refusal::Damaged(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Divides a completed session that lasted longer than [`LONGEST_MS`]. `None`: it did not.
    pub(super) fn divide_long(&mut self, id: i64) -> Result<Option<Long>, Refusal> {
        let mut rest = id;
        let mut parts = Vec::new();
        while let Some(session) = self.outgoing(rest)? {
            let (at, order) = in_order(&session.events, &session.timing.offsets);
            // The start stands where the earliest event does, whatever its own time.
            let mut times: Vec<i64> = order.iter().map(|&n| at[n]).collect();
            if let [start, next, ..] = &mut times[..] {
                *start = (*start).min(*next);
            }
            let cuts = cuts(&times);
            let Some(&cut) = cuts.first() else { break };
            if parts.is_empty() && cuts.len() >= MOST_PARTS {
                let kept = format!(
                    "its events lie in more than {MOST_PARTS} periods of 24 hours: it is sent as it came"
                );
                return Ok(Some(Long::Kept(kept)));
            }
            let mut course = Course::default();
            for &n in &order[..cut] {
                course.note(session.events[n].kind, &session.events[n].body);
            }
            // What comes after its end does not count (section 7, rule 9).
            if course.has_ended() {
                break;
            }
            let first = session.events[order[cut]].seq;
            let warning = "it lasted longer than 24 hours: it ends there and goes on in a successor, which counts as \
                           one more resume";
            let split = Split::before(&session, &order, cut, &course, warning.to_owned());
            let Some(split) = split else { break };
            let Some((second, name)) = self.split(split)? else { break };
            parts.push((first, name));
            rest = second;
        }
        Ok((!parts.is_empty()).then_some(Long::Divided(parts)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s08_a_successor_begins_where_24_hours_are_over() {
        const DAY: i64 = LONGEST_MS;
        let cases: [(&str, Vec<i64>, &[usize]); 7] = [
            ("nothing", vec![], &[]),
            ("a day and no more", vec![7, 8, DAY + 7], &[]),
            ("a millisecond more", vec![7, 8, DAY + 8], &[2]),
            ("the event at 24 h goes on", vec![0, 1, DAY, DAY + 1], &[2]),
            (
                "counted anew from there",
                vec![0, DAY - 1, DAY + 5, 2 * DAY, 2 * DAY + 5, 2 * DAY + 6],
                &[2, 4],
            ),
            ("years between", vec![0, 1, 900 * DAY, 900 * DAY + 1], &[2]),
            ("no overflow", vec![i64::MIN, i64::MAX], &[1]),
        ];
        for (name, times, expected) in cases {
            assert_eq!(cuts(&times), expected, "{name}");
        }
    }
}
