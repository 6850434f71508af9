//! An outcome to a verdict (contract sections 10 and 11).
//!
//! The decisions by transport, status and code (11.1 to 11.3) are tables, in `verdict/tables.rs`. What tables cannot say,
//! how a success and a 207 are read (11.4), is in `success` and `multi_status`. Nothing here waits, counts or
//! remembers.

mod answer;
#[cfg(test)]
mod any_answer;
mod limits;
mod tables;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use self::answer::{Code, Content, Foreign, Item, Report, Space};
pub use self::tables::CERTIFICATE_TIME;
use self::tables::{Rule, Trouble, by_code, by_status, by_transport};
use super::send::{Answer, Outcome};
use crate::link::Evidence;

/// What to do with a session after an attempt (contract section 11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Done; with warnings if the judgement has any.
    Delivered,
    /// Keep; the whole uploader waits this long, or backs off if nothing readable was said.
    RetryAfter(Option<Duration>),
    /// Keep, and try again later.
    Backoff {
        /// After so many answers, spread over at least 24 h, it is not tried like that any more.
        limit: Option<u32>,
    },
    /// Keep everything; the whole uploader stops and probes.
    Pause,
    /// Make it smaller and try again.
    Resize {
        /// The largest body that the answer says is taken.
        max: Option<u64>,
    },
    /// The server knows of no consent: do not retry, apply the consent policy.
    Consent,
    /// Keep it for a person to decide.
    Quarantine,
}

impl Verdict {
    /// Its name in the local API and the journal.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::RetryAfter(_) => "retry_after",
            Self::Backoff { .. } => "backoff",
            Self::Pause => "pause",
            Self::Resize { .. } => "resize",
            Self::Consent => "consent",
            Self::Quarantine => "quarantine",
        }
    }
}

/// What a delivery suggests about the set-up; said once in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// A plain 200 without a `media-analytics:new-session` handle.
    NoMediaSession,
    /// An empty answer, or one of the statuses whose meaning here nobody documents.
    Unspecific,
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoMediaSession => {
                "the endpoint named no media session; if reports stay empty, check that the datastream has Media Analytics on"
            }
            Self::Unspecific => "the endpoint took it without saying what it made of it",
        })
    }
}

/// What a verdict needs to know besides the outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// Whether the session's identity comes from the configuration: then a fault in it hits all sessions.
    pub identity_from_configuration: bool,
    /// Milliseconds since 1970, for a `Retry-After` date in an answer without a `Date`.
    pub now_ms: i64,
}

/// An outcome, judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// What to do.
    pub verdict: Verdict,
    /// Adobe's code (`0104-422`, `va-edge-0400-400`), else the status, else a word for the trouble.
    pub reason: String,
    /// What was said about it, for a person; control characters are made visible.
    pub detail: String,
    /// What it says about the way to the endpoint.
    pub evidence: Evidence,
    /// Whether other sessions would fare the same now.
    pub concerns_all: bool,
    /// Whether the session may have been taken although nobody confirmed it.
    pub maybe_delivered: bool,
    /// The HTTP status, if an answer came. Only answers count towards a limit.
    pub status: Option<u16>,
    /// Adobe's id of the request.
    pub request_id: Option<String>,
    /// Adobe's id of the media session.
    pub session_id: Option<String>,
    /// Whether the answer names a media session, with an id or without.
    pub new_session: bool,
    /// What a delivery was told besides.
    pub warnings: Vec<String>,
    /// Whether a delivery may not have reached the media service (contract section 11.4, step 4).
    pub uncertain: bool,
    /// What a delivery suggests about the set-up.
    pub hint: Option<Hint>,
}

/// Judges an outcome.
pub fn judge(outcome: &Outcome, context: &Context) -> Judgement {
    let answer = match outcome {
        Outcome::Failed(failure) => {
            return transport(Trouble::Failed(failure.kind), &failure.detail, failure.maybe_delivered);
        }
        Outcome::Answer(answer) => answer,
    };
    let judgement = match answer.status {
        200..=299 => success(answer, context),
        300..=399 => transport(Trouble::Redirect, &redirection(answer), false),
        _ => refusal(answer, context),
    };
    let request_id = judgement.request_id.as_ref().or(answer.request_id.as_ref());
    let verdict = match answer.status {
        // What the endpoint asks of everybody must be honoured, whatever code comes with it.
        429 => decide(Rule::RetryAfter, answer, context, None),
        _ => judgement.verdict,
    };
    let busy = match verdict {
        Verdict::RetryAfter(_) => true,
        // A code that blames the session or the set-up says what a 503 is about; any other trouble is everybody's.
        Verdict::Backoff { .. } => answer.status == 503,
        _ => false,
    };
    Judgement {
        verdict,
        status: Some(answer.status),
        concerns_all: judgement.concerns_all || busy,
        request_id: request_id.map(|id| visible(id, ID)),
        session_id: judgement.session_id.as_ref().map(|id| visible(id, ID)),
        ..judgement
    }
}

fn transport(trouble: Trouble, detail: &str, maybe_delivered: bool) -> Judgement {
    let (rule, reason, evidence, words) = by_transport(trouble);
    let verdict = match rule {
        Rule::Pause => Verdict::Pause,
        Rule::BackoffUpTo(answers) => Verdict::Backoff { limit: Some(answers) },
        _ => Verdict::Backoff { limit: None },
    };
    let detail = if detail.is_empty() { words.to_owned() } else { format!("{words}: {detail}") };
    Judgement {
        evidence,
        concerns_all: true,
        maybe_delivered,
        ..Judgement::new(verdict, reason.to_owned(), &detail)
    }
}

fn redirection(answer: &Answer) -> String {
    let to = answer.location.as_deref().map_or(String::new(), |location| format!(" to {location}"));
    format!("HTTP {}{to}", answer.status)
}

/// A 2xx: it counts only if it is empty or Adobe's own (contract sections 11.1 and 11.2).
fn success(answer: &Answer, context: &Context) -> Judgement {
    let report = match answer::read(answer) {
        Content::Adobe(report) => report,
        Content::Empty if matches!(answer.status, 200 | 201 | 202 | 204) => {
            let taken =
                Judgement::new(Verdict::Delivered, answer.status.to_string(), "taken with an empty answer");
            return Judgement { hint: Some(Hint::Unspecific), ..taken };
        }
        Content::Empty => {
            let verdict = decide(by_status(207, false), answer, context, None);
            let detail = format!("HTTP {} and nothing else", answer.status);
            let unclear = Judgement::new(verdict, answer.status.to_string(), &detail);
            return Judgement { maybe_delivered: true, ..unclear };
        }
        Content::Foreign(foreign) => {
            let (trouble, what) = match foreign {
                Foreign::Encoded => (Trouble::Unreadable, "a compressed body that nobody asked for"),
                Foreign::Truncated => (Trouble::Unreadable, "a body too long to be read"),
                Foreign::Unfamiliar => (Trouble::Unreadable, "JSON of somebody else"),
                Foreign::NotJson => (Trouble::NotAdobe, "a body that is not JSON"),
            };
            let detail = format!("HTTP {} with {what}{}", answer.status, excerpt(answer));
            return transport(trouble, &detail, trouble == Trouble::Unreadable);
        }
    };
    if answer.status == 207 || report.faults().next().is_some() {
        return multi_status(answer, &report, context);
    }
    if let Some(warning) = report.warnings.iter().find(|warning| is_consent(warning)) {
        return report.judged(Rule::Consent, Some(warning), answer, context);
    }
    let hint = match answer.status {
        200 => (!report.new_session).then_some(Hint::NoMediaSession),
        _ => Some(Hint::Unspecific),
    };
    Judgement { hint, ..report.judged(Rule::Deliver, report.warnings.first(), answer, context) }
}

/// Contract section 11.4, step by step; also for a 200 with errors.
fn multi_status(answer: &Answer, report: &Report, context: &Context) -> Judgement {
    let errors: Vec<&Item> = report.faults().collect();
    let listed: Vec<&Item> =
        if errors.is_empty() { report.warnings.iter().collect() } else { errors.clone() };
    let first = listed.first().copied();
    let judged = |rule, item| report.judged(rule, item, answer, context);
    let by_item = |item: &Item| {
        item.code
            .as_ref()
            .and_then(by_code)
            .unwrap_or_else(|| by_status(item.status.unwrap_or(207), is_media(item)))
    };

    // 1. A code of the media service decides.
    if let Some(item) = errors.iter().find(|item| is_media(item)) {
        return judged(by_item(item), Some(item));
    }
    // 2. The media session was made.
    if report.new_session {
        return judged(Rule::Deliver, first);
    }
    // 3. Consent.
    if let Some(item) = errors.iter().copied().chain(&report.warnings).find(|item| is_consent(item)) {
        return judged(Rule::Consent, Some(item));
    }
    // 4. Only upstream codes.
    if first.is_some() && listed.iter().all(|item| is_upstream(item)) {
        return match listed.iter().find(|item| names_media(item)) {
            Some(item) => judged(Rule::BackoffUpTo(10), Some(item)),
            None => Judgement { uncertain: true, ..judged(Rule::Deliver, first) },
        };
    }
    // 5. The first code, or the first status if none has one.
    let item = listed.iter().find(|item| item.code.is_some()).or(listed.first()).copied();
    judged(item.map_or_else(|| by_status(207, false), by_item), item)
}

/// Any other status: by a known code in the body, else by the status itself.
fn refusal(answer: &Answer, context: &Context) -> Judgement {
    let judgement = match answer::read(answer) {
        Content::Adobe(report) => {
            // A refusal cannot deliver, whatever a code in it says.
            let known = report.faults().find_map(|item| {
                Some((item, by_code(item.code.as_ref()?).filter(|rule| *rule != Rule::Deliver)?))
            });
            if let Some((item, rule)) = known {
                return report.judged(rule, Some(item), answer, context);
            }
            let rule = by_status(answer.status, report.faults().any(is_media));
            report.judged(rule, report.faults().next(), answer, context)
        }
        Content::Empty | Content::Foreign(_) => {
            let verdict = decide(by_status(answer.status, false), answer, context, None);
            let detail = format!("HTTP {}{}", answer.status, excerpt(answer));
            Judgement::new(verdict, answer.status.to_string(), &detail)
        }
    };
    match answer.status {
        // A proxy or a portal says so of itself.
        407 | 511 => Judgement { evidence: Evidence::Captive, concerns_all: true, ..judgement },
        _ => judgement,
    }
}

impl Report {
    /// The judgement by a rule, with what the report says; the reason is the item's code, if it has one.
    fn judged(&self, rule: Rule, item: Option<&Item>, answer: &Answer, context: &Context) -> Judgement {
        let verdict = decide(rule, answer, context, Some(self));
        let code = item.and_then(|item| item.code.as_ref());
        let reason = code.map_or_else(|| answer.status.to_string(), Code::to_string);
        let rest = self
            .faults()
            .chain(&self.warnings)
            .filter(|other| !item.is_some_and(|item| std::ptr::eq(item, *other)));
        let said: Vec<String> = item.into_iter().chain(rest).take(WARNINGS).map(Item::to_string).collect();
        let detail = match said[..] {
            [] if verdict == Verdict::Delivered => "taken".to_owned(),
            [] => format!("HTTP {}: {}", answer.status, self.problem),
            _ => said.join(" | "),
        };
        let warnings = if verdict == Verdict::Delivered { said } else { Vec::new() };
        Judgement {
            request_id: self.request_id.clone(),
            session_id: self.session_id.clone(),
            new_session: self.new_session,
            warnings: warnings.iter().map(|warning| visible(warning, DETAIL)).collect(),
            ..Judgement::new(verdict, reason, &detail)
        }
    }
}

impl Judgement {
    /// The endpoint itself answered, and it concerns one session unless the verdict says otherwise.
    fn new(verdict: Verdict, reason: String, detail: &str) -> Self {
        Self {
            verdict,
            reason,
            detail: visible(detail, DETAIL),
            evidence: Evidence::Answered,
            concerns_all: matches!(verdict, Verdict::RetryAfter(_) | Verdict::Pause),
            maybe_delivered: false,
            status: None,
            request_id: None,
            session_id: None,
            new_session: false,
            warnings: Vec::new(),
            uncertain: false,
            hint: None,
        }
    }
}

fn decide(rule: Rule, answer: &Answer, context: &Context, report: Option<&Report>) -> Verdict {
    match rule {
        Rule::Deliver => Verdict::Delivered,
        Rule::RetryAfter => {
            let given = answer.retry_after.as_deref();
            Verdict::RetryAfter(
                given.and_then(|given| limits::wait(given, answer.date.as_deref(), context.now_ms)),
            )
        }
        Rule::Backoff => Verdict::Backoff { limit: None },
        Rule::BackoffUpTo(answers) => Verdict::Backoff { limit: Some(answers) },
        Rule::Pause => Verdict::Pause,
        Rule::Resize => {
            let items = report.map(|report| std::iter::once(&report.problem).chain(report.faults()));
            Verdict::Resize { max: limits::maximum(items.into_iter().flatten().flat_map(Item::texts)) }
        }
        Rule::Consent => Verdict::Consent,
        Rule::Quarantine => Verdict::Quarantine,
        Rule::Identity if context.identity_from_configuration => Verdict::Pause,
        Rule::Identity => Verdict::Quarantine,
    }
}

fn is_media(item: &Item) -> bool {
    item.code.as_ref().is_some_and(|code| code.space == Space::Media)
}

fn is_consent(item: &Item) -> bool {
    item.code.as_ref().is_some_and(|code| code.space == Space::Gateway && code.number == 301)
}

fn is_upstream(item: &Item) -> bool {
    item.code.as_ref().is_some_and(|code| code.space == Space::Gateway && (200..300).contains(&code.number))
}

fn names_media(item: &Item) -> bool {
    let title = item.title.to_ascii_lowercase();
    title.contains("media") || title.contains("va-edge")
}

/// As much of a detail as is kept.
const DETAIL: usize = 500;
/// As many warnings as are kept.
const WARNINGS: usize = 20;
/// As much of an id as is kept.
const ID: usize = 128;
/// As much of a body that is not Adobe's as is shown.
const EXCERPT: usize = 160;

/// The beginning of a body, in words a person may recognise a portal by.
fn excerpt(answer: &Answer) -> String {
    let plain = answer.content_encoding.is_none();
    let start = String::from_utf8_lossy(&answer.body[..answer.body.len().min(4 * EXCERPT)]);
    let words: Vec<&str> = start.split_whitespace().collect();
    if plain && !words.is_empty() {
        format!(": {}", visible(&words.join(" "), EXCERPT))
    } else {
        String::new()
    }
}

/// The text in at most so many characters, with everything escaped that a terminal would obey instead of show.
fn visible(text: &str, most: usize) -> String {
    let mut shown = String::new();
    let mut left = most;
    for c in text.chars() {
        let hidden = c.is_control()
            || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
        let piece = if hidden { c.escape_default().to_string() } else { c.to_string() };
        let length = piece.chars().count();
        if length >= left {
            shown.push('…');
            break;
        }
        left -= length;
        shown.push_str(&piece);
    }
    shown
}
