//! Finds out what time it is, when sessions wait for that: the `Date` of the endpoint's answers.

use std::time::Duration;

use jiff::fmt::rfc2822::DateTimeParser;
use tokio::task::Id;

use super::Courier;
use crate::clock::{BUILT_MS, rfc3339};
use crate::journal::{DateSeen, Refusal};
use crate::upload::book::{Delays as _, GateKind};
use crate::upload::send::{Answer, FailureKind, Outcome};
use crate::upload::verdict::{self, Context};
use crate::upload::{Doing, View};

/// A `Date` has whole seconds.
const WHOLE_SECOND_MS: i64 = 1000;
/// After a round trip longer than this a `Date` says too little.
const ROUND_TRIP_MOST_MS: i64 = 20_000;

/// What is under way to find out the time.
#[derive(Debug, Default)]
pub(super) struct Asking {
    /// The question that is under way, and the boot time at which it was asked.
    task: Option<(Id, i64)>,
    tries: u32,
    /// Boot time of the next question.
    not_before: i64,
    /// Why the last one failed.
    trouble: Option<String>,
    /// The endpoint answers and does not tell.
    dateless: bool,
    /// The last question was in vain, and nothing has told since that the next one may be as well.
    in_vain: bool,
    /// A `Date` that the journal does not know yet.
    seen: Option<DateSeen>,
    /// The journal knows one since the clock was last set.
    noted: bool,
}

impl Asking {
    /// A new path, a set clock or a person: what failed before may work now.
    pub(super) fn begin_anew(&mut self) {
        (self.tries, self.not_before, self.noted) = (0, i64::MIN, false);
        self.in_vain = false;
    }

    /// Whether the endpoint was asked and did not tell.
    pub(super) fn was_in_vain(&self) -> bool {
        self.in_vain
    }

    /// What was released because nobody told the time did not get out either: the next time is asked for it first.
    pub(super) fn ask_first(&mut self) {
        self.in_vain = false;
    }

    pub(super) fn is_task(&self, id: Id) -> bool {
        self.task.is_some_and(|(task, _)| task == id)
    }

    pub(super) fn forget_task(&mut self) {
        self.task = None;
    }
}

impl Courier {
    /// Whether a clock that looks right is good enough, because nobody can confirm it: plain http, which leads no
    /// further than this machine, proves nothing.
    pub(super) fn assume(&self) -> bool {
        !self.config.endpoint.is_tls() || self.asking.dateless
    }

    /// Whatever is due waits for the time to be known: asks the endpoint's origin for it, and for nothing else.
    pub(super) async fn ask_time(&mut self, until: i64) -> Result<(View, Option<i64>), Refusal> {
        let now = self.now();
        let clock = rfc3339(now.wall_ms);
        // The day is enough for a person, and stands still.
        let clock = clock.split('T').next().unwrap_or_default();
        let wait = |detail: String, at: i64| {
            let view = View::because(Doing::Waiting, "clock", &detail);
            (View { next_attempt_ms: Some(at), ..view }, Some(at))
        };
        if self.assume() {
            let why = format!(
                "the clock says {clock}, which cannot be right, and nobody here can tell the time; sessions wait until it is set"
            );
            return Ok(wait(why, until));
        }
        if self.asking.task.is_none() && now.boot_ms >= self.asking.not_before {
            self.learn_time().await?;
            let sender = self.sender.clone();
            let task = self.sends.spawn(async move { sender.probe().await });
            self.asking.task = Some((task.id(), now.boot_ms));
        }
        if self.asking.task.is_some() {
            let detail = format!(
                "the clock says {clock} and nobody vouches for it; the endpoint is asked for the time"
            );
            return Ok((View::because(Doing::Waiting, "clock", &detail), Some(until)));
        }
        let trouble = self.asking.trouble.clone().unwrap_or_default();
        let detail = format!(
            "the clock says {clock}, nobody vouches for it, and the endpoint did not tell the time: {trouble}"
        );
        Ok(wait(detail, until.min(self.asking.not_before)))
    }

    /// The question for the time came to an end.
    pub(super) fn time_told(&mut self, outcome: &Outcome) {
        let Some((_, began)) = self.asking.task.take() else { return };
        let now = self.now();
        self.asking.tries = self.asking.tries.saturating_add(1);
        self.asking.in_vain = true;
        let wait = self.config.backoff(self.asking.tries);
        self.asking.not_before = now.boot_ms.saturating_add(ms(wait));
        match outcome {
            Outcome::Answer(answer) => {
                self.asking.trouble = Some("its answer has no usable date".to_owned());
                self.asking.seen = date_of(answer, began, now.boot_ms);
                self.asking.dateless = self.asking.seen.is_none();
            }
            Outcome::Failed(failure) => {
                let context = Context { identity_from_configuration: false, now_ms: now.wall_ms };
                let judgement = verdict::judge(outcome, &context);
                self.parts.link.report(judgement.evidence);
                let trouble = match failure.kind {
                    FailureKind::CertificateTime => format!(
                        "its certificate is not valid at {}, the latest time that is sure here; the clock must be set",
                        rfc3339(self.valid_at.now_ms())
                    ),
                    _ => judgement.detail,
                };
                tracing::warn!("the endpoint was asked for the time in vain: {trouble}");
                self.asking.trouble = Some(trouble);
            }
        }
    }

    /// The answer to an upload tells the time as well.
    pub(super) fn date_passing_by(&mut self, outcome: &Outcome, tls: bool, began: i64) {
        if let (Outcome::Answer(answer), true, false) = (outcome, tls, self.asking.noted) {
            self.asking.seen = date_of(answer, began, self.now().boot_ms).or(self.asking.seen.take());
        }
    }

    /// Hands to the journal what an answer said of the time.
    pub(super) async fn note_date(&mut self) {
        let Some(seen) = self.asking.seen.take() else { return };
        let noted = self.parts.journal.note_date(seen).await;
        self.asking.noted = noted.is_ok();
        let learnt = match noted {
            Ok(()) => self.learn_time().await,
            refused => refused,
        };
        if let Err(refusal) = learnt {
            tracing::warn!("the time could not be written down: {refusal}");
        }
    }

    /// A set clock may have come to be right, or wrong: then certificates must be checked by what was known before.
    pub(super) async fn clock_was_set(&mut self) {
        self.asking.begin_anew();
        let of_the_certificate = self.book.held(&self.now()).is_some_and(|(gate, _)| {
            gate.kind == GateKind::Network && gate.reason == verdict::CERTIFICATE_TIME
        });
        if of_the_certificate && self.book.open(&[GateKind::Network]) {
            self.ledger.keep_book();
            self.ledger.end_network_waits();
        }
        if let Err(refusal) = self.learn_time().await {
            tracing::warn!("the time could not be looked up: {refusal}");
        }
    }

    /// What the journal knows of the time is what certificates are checked by.
    pub(super) async fn learn_time(&mut self) -> Result<(), Refusal> {
        let known = self.parts.journal.known_time().await?;
        self.valid_at.learn(known.offset_ms, known.floor_ms);
        Ok(())
    }
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The one form of HTTP's dates that servers send, a wrong weekday notwithstanding.
static DATES: DateTimeParser = DateTimeParser::new().relaxed_weekday(true);

/// What an answer says of the time, if it can be right.
fn date_of(answer: &Answer, began_ms: i64, ended_ms: i64) -> Option<DateSeen> {
    let date = DATES.parse_timestamp(answer.date.as_deref()?).ok()?.as_millisecond();
    let round_trip = ended_ms.saturating_sub(began_ms).max(0);
    (date >= BUILT_MS && round_trip <= ROUND_TRIP_MOST_MS).then(|| DateSeen {
        boot_ms: began_ms + round_trip / 2,
        date_ms: date + WHOLE_SECOND_MS / 2,
        uncertainty_ms: round_trip / 2 + WHOLE_SECOND_MS,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_the_middle_of_its_second_in_the_middle_of_the_round_trip() {
        let seen = |date: &str, began, ended| {
            date_of(&Answer { date: Some(date.to_owned()), ..Answer::default() }, began, ended)
        };
        let date = "Sun, 22 Nov 2026 21:40:00 GMT";
        let date_ms = 1_795_383_600_500;
        assert_eq!(seen(date, 1000, 1300), Some(DateSeen { boot_ms: 1150, date_ms, uncertainty_ms: 1150 }));
        assert_eq!(seen(date, 1300, 1000).map(|seen| seen.boot_ms), Some(1300));
        assert_eq!(seen(date, 0, 30_000), None, "too slow to say much");
        for useless in ["", "soon", "Thu, 01 Jan 1970 00:00:00 GMT", "Sat, 31 Oct 2026 23:59:59 GMT"] {
            assert_eq!(seen(useless, 0, 0), None, "{useless}");
        }
        assert!(seen("Fri, 13 Mar 2106 10:00:00 GMT", 0, 0).is_some());
    }
}
