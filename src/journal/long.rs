//! A session whose times lie further apart than one may last: it ends and goes on as the SDK does it (contract section
//! 8).
//!
//! What is recorded event by event is watched as it comes, but by our clock; its player's own may say otherwise. What
//! its times come to is known for good when it is sent, so it is divided then, one successor a commit, and nobody who
//! records waits for more than one. What comes as a whole is divided at once, since its answer tells where.

use super::core::{Core, ROW_BYTES};
use super::outbox::Outgoing;
use super::split::{Made, Split, in_order};
use super::{Journal, Refusal, TimeBasis};
use crate::course::Course;
use crate::session::{LONGEST_MS, State};

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

/// The order of a session's events, and where in it successors begin.
fn places(session: &Outgoing) -> (Vec<usize>, Vec<usize>) {
    let (at, order) = in_order(&session.events, &session.timing.offsets);
    // The start stands where the earliest event does, whatever its own time.
    let mut times: Vec<i64> = order.iter().map(|&n| at[n]).collect();
    if let [start, next, ..] = &mut times[..] {
        *start = (*start).min(*next);
    }
    (order, cuts(&times))
}

/// Whether a session is to be divided before it is sent.
pub fn lasts_too_long(session: &Outgoing) -> bool {
    !places(session).1.is_empty()
}

/// What one step comes to.
enum Step {
    /// It is not too long, or it cannot be cut.
    Nothing,
    /// It stays as it came.
    Kept(String),
    /// A successor begins with the event of this number; the journal's number of it, and its name.
    Divided { first: i64, second: i64, name: String },
}

impl Journal {
    /// Ends a session that lasts too long where it should have ended; the rest goes on in a successor. Answers its
    /// name, or `None` when the session is to be sent as it is.
    pub async fn divide(&self, id: i64) -> Result<Option<String>, Refusal> {
        self.call(move |core| match core.divide_once(id)? {
            Step::Nothing => Ok(None),
            Step::Kept(why) => core.keep_warnings(id, std::slice::from_ref(&why)).map(|()| None),
            Step::Divided { name, .. } => Ok(Some(name)),
        })
        .await
    }
}

impl Core {
    /// Divides a completed session that lasted longer than [`LONGEST_MS`]. `None`: it did not.
    pub(super) fn divide_long(&mut self, id: i64) -> Result<Option<Long>, Refusal> {
        // By times that are only guesses nothing is cut before it has to go.
        let basis = self.outgoing(id)?.map(|session| session.timing.basis);
        if matches!(basis, Some(TimeBasis::Estimated | TimeBasis::Assumed)) {
            return Ok(None);
        }
        let mut rest = id;
        let mut parts = Vec::new();
        loop {
            match self.divide_once(rest)? {
                Step::Kept(why) if parts.is_empty() => return Ok(Some(Long::Kept(why))),
                Step::Nothing | Step::Kept(_) => break,
                Step::Divided { first, second, name } => {
                    parts.push((first, name));
                    rest = second;
                }
            }
        }
        Ok((!parts.is_empty()).then_some(Long::Divided(parts)))
    }

    fn divide_once(&mut self, id: i64) -> Result<Step, Refusal> {
        let Some(session) = self.outgoing(id)?.filter(|session| session.state == State::Completed) else {
            return Ok(Step::Nothing);
        };
        let (order, cuts) = places(&session);
        let Some(&cut) = cuts.first() else { return Ok(Step::Nothing) };
        if cuts.len() >= MOST_PARTS {
            return Ok(Step::Kept(format!(
                "its events lie in more than {MOST_PARTS} periods of 24 hours: it is sent as it came"
            )));
        }
        let mut course = Course::default();
        for &n in &order[..cut] {
            course.note(session.events[n].kind, &session.events[n].body);
        }
        // What comes after its end does not count (section 7, rule 9).
        if course.has_ended() {
            return Ok(Step::Nothing);
        }
        let warning = "it lasted longer than 24 hours: it ends there and goes on in a successor, which counts as \
                       one more resume";
        let split = Split::before(&session, &order, cut, &course, warning.to_owned());
        let Some(split) = split else { return Ok(Step::Nothing) };
        if self.lacks_pages(bytes_of(&split.opening) + bytes_of(&split.closing))? {
            return Ok(Step::Kept(
                "it lasted longer than 24 hours, and there was no room to divide it: it is sent as it came"
                    .into(),
            ));
        }
        let first = session.events[order[cut]].seq;
        let (second, name) = self.split_up(session, split)?;
        Ok(Step::Divided { first, second, name })
    }
}

/// What events that we make take, about.
fn bytes_of(made: &[Made]) -> i64 {
    made.iter().map(|made| ROW_BYTES + i64::try_from(made.body.len()).unwrap_or(i64::MAX / 4096)).sum()
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
