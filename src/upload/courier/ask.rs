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
/// A `Date` may lie before what is sure by this much: the endpoint's clock has its own idea of a minute.
const BEHIND_MS: i64 = 60_000;
/// After so many answers in a row without a `Date` the endpoint counts as one that has no clock.
const DATELESS_AFTER: u32 = 3;

/// What is under way to find out the time.
#[derive(Debug, Default)]
pub(super) struct Asking {
    /// The question that is under way.
    task: Option<Id>,
    tries: u32,
    /// Boot time of the next question.
    not_before: i64,
    /// Why the last one failed.
    trouble: Option<String>,
    /// So many answers in a row had no `Date`.
    dateless: u32,
    /// The last question was in vain, and nothing has told since that the next one may be as well.
    in_vain: bool,
    /// A `Date` that the journal does not know yet.
    seen: Option<DateSeen>,
    /// One that lies before what is sure.
    doubted: Option<DateSeen>,
}

impl Asking {
    /// A new path, a set clock or a person: what failed before may work now.
    pub(super) fn begin_anew(&mut self) {
        (self.tries, self.not_before, self.in_vain) = (0, i64::MIN, false);
        // Who has no clock has to say so once more.
        self.dateless = self.dateless.min(DATELESS_AFTER - 1);
    }

    /// The endpoint answers and does not tell.
    fn is_dateless(&self) -> bool {
        self.dateless >= DATELESS_AFTER
    }

    /// Whether a `Date` is believed that cannot be before `floor_ms`. What lies before was kept somewhere on the way, or
    /// what was sure is wrong. A date that was kept stands still: one that goes on with time is believed in the end.
    fn believes(&mut self, seen: &DateSeen, floor_ms: i64) -> bool {
        if seen.date_ms >= floor_ms.saturating_sub(BEHIND_MS) {
            self.doubted = None;
            return true;
        }
        let Some(earlier) = &self.doubted else {
            self.doubted = Some(*seen);
            return false;
        };
        let passed = seen.boot_ms.saturating_sub(earlier.boot_ms);
        let went_on = seen.date_ms.saturating_sub(earlier.date_ms);
        let uncertain = seen.uncertainty_ms.saturating_add(earlier.uncertainty_ms);
        if went_on.abs_diff(passed) > uncertain.unsigned_abs() {
            self.doubted = Some(*seen);
            return false;
        }
        // Too soon after the other one, it may be the same.
        passed > 2 * uncertain
    }

    /// The question was answered at boot time `now_ms`. The next one comes after `wait`; after `longest`, if the endpoint
    /// has no clock.
    fn hear(&mut self, told: Told, now_ms: i64, wait: Duration, longest: Duration) {
        (self.seen, self.dateless) = match told {
            Told::Date(seen) => (Some(seen), 0),
            Told::Useless(_) => (None, 0),
            Told::Nothing => (None, self.dateless.saturating_add(1)),
        };
        self.trouble = Some(match told {
            Told::Useless(why) => why.to_owned(),
            Told::Date(_) | Told::Nothing => "its answer has no usable date".to_owned(),
        });
        let wait = if self.is_dateless() { longest } else { wait };
        self.not_before = now_ms.saturating_add(ms(wait));
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
        self.task == Some(id)
    }

    pub(super) fn forget_task(&mut self) {
        self.task = None;
    }
}

impl Courier {
    /// Whether a clock that looks right is good enough, because nobody can confirm it: plain http, which leads no
    /// further than this machine, proves nothing.
    pub(super) fn assume(&self) -> bool {
        !self.config.endpoint.is_tls() || self.asking.is_dateless()
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
        if !self.config.endpoint.is_tls() {
            let why = format!(
                "the clock says {clock}, which cannot be right, and nobody here can tell the time; sessions wait until it is set"
            );
            return Ok(wait(why, until));
        }
        if self.asking.task.is_none() && now.boot_ms >= self.asking.not_before {
            self.learn_time().await?;
            let sender = self.sender.clone();
            let task = self.sends.spawn(async move { sender.ask_time().await });
            self.asking.task = Some(task.id());
        }
        if self.asking.task.is_some() {
            let detail = format!(
                "the clock says {clock} and nobody vouches for it; the endpoint is asked for the time"
            );
            return Ok((View::because(Doing::Waiting, "clock", &detail), Some(until)));
        }
        let trouble = self.asking.trouble.clone().unwrap_or_default();
        let detail = if self.asking.is_dateless() {
            format!(
                "the clock says {clock}, which cannot be right, and the endpoint answers without a date; sessions wait until the clock is set or the endpoint tells the time"
            )
        } else {
            format!(
                "the clock says {clock}, nobody vouches for it, and the endpoint did not tell the time: {trouble}"
            )
        };
        Ok(wait(detail, until.min(self.asking.not_before)))
    }

    /// The question for the time came to an end.
    pub(super) fn time_told(&mut self, outcome: &Outcome) {
        if self.asking.task.take().is_none() {
            return;
        }
        let now = self.now();
        self.asking.tries = self.asking.tries.saturating_add(1);
        self.asking.in_vain = true;
        let wait = self.config.backoff(self.asking.tries);
        match outcome {
            Outcome::Answer(answer) => {
                let told = self.told(answer);
                self.asking.hear(told, now.boot_ms, wait, self.config.retry.max);
            }
            Outcome::Failed(failure) => {
                self.asking.not_before = now.boot_ms.saturating_add(ms(wait));
                let context = Context { identity_from_configuration: false, now_ms: now.wall_ms };
                let judgement = verdict::judge(outcome, &context);
                self.parts.link.report(judgement.evidence);
                let trouble = match failure.kind {
                    FailureKind::CertificateTime => format!(
                        "its certificate is not valid at {}, the latest time that is sure here, by {}; the clock must be set",
                        rfc3339(self.valid_at.now_ms()),
                        self.valid_at.by()
                    ),
                    _ => judgement.detail,
                };
                tracing::warn!("the endpoint was asked for the time in vain: {trouble}");
                self.asking.trouble = Some(trouble);
            }
        }
    }

    /// The answer to an upload tells the time as well.
    pub(super) fn date_passing_by(&mut self, outcome: &Outcome, tls: bool) {
        if let (Outcome::Answer(answer), true) = (outcome, tls)
            && let Told::Date(seen) = self.told(answer)
        {
            self.asking.seen = Some(seen);
        }
    }

    fn told(&mut self, answer: &Answer) -> Told {
        match told(answer) {
            Told::Date(seen) if !self.asking.believes(&seen, self.valid_at.floor_at(seen.boot_ms)) => {
                Told::Useless("the date of its answer lies before what is sure here")
            }
            told => told,
        }
    }

    /// Hands to the journal what an answer said of the time.
    pub(super) async fn note_date(&mut self) {
        let Some(seen) = self.asking.seen.take() else { return };
        // Only what the journal does not know already is written.
        match self.parts.journal.note_date(seen).await {
            Ok(known) => self.valid_at.learn(&known),
            Err(refusal) => tracing::warn!("the time could not be written down: {refusal}"),
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
        self.valid_at.learn(&known);
        Ok(())
    }
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The one form of HTTP's dates that servers send, a wrong weekday notwithstanding.
static DATES: DateTimeParser = DateTimeParser::new().relaxed_weekday(true);

/// What an answer says of the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Date(DateSeen),
    /// Nothing that can be used, and why.
    Useless(&'static str),
    /// Nothing at all.
    Nothing,
}

fn told(answer: &Answer) -> Told {
    let (began_ms, ended_ms) = answer.between;
    let round_trip = ended_ms.saturating_sub(began_ms).max(0);
    if round_trip > ROUND_TRIP_MOST_MS {
        return Told::Useless("its answer took too long to say what time it is");
    }
    let Some(date) = answer.date.as_deref() else {
        // Only a server without a clock may leave the date out, and any server in trouble (RFC 9110 section 6.6.1).
        let in_trouble = answer.status >= 500;
        return if in_trouble { Told::Useless("it is in trouble and sent no date") } else { Told::Nothing };
    };
    let Ok(date) = DATES.parse_timestamp(date) else {
        return Told::Useless("the date of its answer cannot be read");
    };
    if answer.age.as_deref().is_some_and(|age| age.trim() != "0") {
        return Told::Useless("its answer was kept in a cache");
    }
    let date = date.as_millisecond();
    if date < BUILT_MS {
        return Told::Useless("the date of its answer lies before this version was made");
    }
    Told::Date(DateSeen {
        boot_ms: began_ms + round_trip / 2,
        date_ms: date + WHOLE_SECOND_MS / 2,
        uncertainty_ms: round_trip / 2 + WHOLE_SECOND_MS,
    })
}

#[cfg(test)]
mod tests;
