//! The answer script: which request is answered how.
//!
//! Pure: text to steps, and a cursor that hands out one step a request.

use std::str::FromStr;
use std::time::Duration;

use super::answer;

/// The grammar of a script, for `--help` and for the error of a bad one.
pub const GRAMMAR: &str = "\
A script is a list of steps with commas between them. Each request takes one step; when they
are used up, every request is validated. A step may be repeated: 503x2,429:30,207:refused,hang,200

  200                   validate the request and answer as Adobe does
  STATUS                that status (200 to 599) without an Adobe code, as a proxy would answer
  STATUS:CODE           with Adobe's code: 422:0104, 400:0003, 404:va-0404, 200:0303, 207:0201
  429:30, 503:30        Retry-After in seconds; a code may stand before it: 503:0201:30
  503:@date+30          Retry-After as a date 30 s from now (-30: 30 s ago)
  413:40000             0112-413 that names 40000 bytes as the maximum
  207:refused           the media service refuses the media session (va-edge-0400-400)
  207:upstream          media session made, another upstream failed (0202-502)
  207:media             the media service itself failed (0203-502)
  207:warning           media session made, with a warning (0204-200)
  207:consent           ignored for lack of consent (0301-200); all of these with 200 as well
  hang, hang:10         no answer until the client gives up; the usual answer after 10 s
  reset, reset-before   the connection is reset after, before the body is read
  cut                   the connection closes in the middle of the answer
  slow, slow:50         the answer's body comes a byte a second; a byte each 50 ms
  huge                  an answer of 1 GiB
  html, redirect        a captive portal: its login page under 200, a 302 that leads there
  gzip                  200 with Content-Encoding: gzip and bytes that are no gzip
  200-empty, 204        no body";

/// Why a script was not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("step {number} of the answer script, `{step}`: {why}\n\n{GRAMMAR}")]
pub struct ScriptError {
    /// Which step, counted from 1.
    pub number: usize,
    /// The step as it was written.
    pub step: String,
    /// What is wrong with it.
    pub why: String,
}

/// What happens to the first requests; afterwards every request is validated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Script {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    text: String,
    step: Step,
    times: u32,
}

/// What is done with one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Validated and answered; after a wait, if there is one.
    Validate(Option<Duration>),
    Canned(Canned),
    Hang,
    Reset,
    ResetBefore,
    Cut,
    Slow(Duration),
    Huge,
    Html,
    Gzip,
    Redirect,
    Empty,
}

/// An answer that does not depend on the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Canned {
    pub(super) status: u16,
    pub(super) shape: Shape,
    pub(super) retry_after: Option<RetryAfter>,
}

/// What the body of a canned answer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shape {
    /// Nothing that Adobe would say.
    Bare,
    /// A full code, `EXEG-0104-422` or `va-edge-0404-404`.
    Code(String),
    /// Too large, with the maximum.
    Limit(u64),
    Refused,
    Upstream,
    Media,
    Warning,
    Consent,
}

/// Both forms that the header has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RetryAfter {
    Seconds(u64),
    /// Seconds from now.
    Date(i64),
}

impl FromStr for Script {
    type Err = ScriptError;

    fn from_str(script: &str) -> Result<Self, ScriptError> {
        if script.trim().is_empty() {
            return Ok(Script::default());
        }
        let mut entries = Vec::new();
        for (i, text) in script.split(',').map(str::trim).enumerate() {
            let entry =
                entry(text).map_err(|why| ScriptError { number: i + 1, step: text.to_owned(), why })?;
            entries.push(entry);
        }
        Ok(Script { entries })
    }
}

fn entry(text: &str) -> Result<Entry, String> {
    let (one, times) = match text.rsplit_once('x') {
        Some((one, n)) if !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()) => {
            (one, number(n, "the number after `x`", 1, 1_000_000)?)
        }
        _ => (text, 1),
    };
    Ok(Entry { text: one.to_owned(), step: step(one)?, times: times as u32 })
}

fn step(text: &str) -> Result<Step, String> {
    if text.is_empty() {
        return Err("there is nothing between the commas".into());
    }
    let mut parts = text.split(':');
    let word = parts.next().unwrap_or_default();
    let args: Vec<&str> = parts.collect();
    let plain = match word {
        "200" if args.is_empty() => Step::Validate(None),
        "hang" => return hang(&args),
        "slow" => return slow(&args),
        "reset" => Step::Reset,
        "reset-before" => Step::ResetBefore,
        "cut" => Step::Cut,
        "huge" => Step::Huge,
        "html" => Step::Html,
        "gzip" => Step::Gzip,
        "redirect" => Step::Redirect,
        "200-empty" => Step::Empty,
        _ if !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit()) => {
            return canned(word, &args).map(Step::Canned);
        }
        _ => return Err(format!("`{word}` is no status and no step")),
    };
    if args.is_empty() { Ok(plain) } else { Err(format!("`{word}` takes no argument")) }
}

fn hang(args: &[&str]) -> Result<Step, String> {
    match args {
        [] => Ok(Step::Hang),
        [s] => {
            let seconds = number(s, "the seconds after `hang:`", 0, 86_400)?;
            Ok(Step::Validate(Some(Duration::from_secs(seconds))))
        }
        _ => Err("`hang` takes one argument, the seconds".into()),
    }
}

fn slow(args: &[&str]) -> Result<Step, String> {
    match args {
        [] => Ok(Step::Slow(Duration::from_secs(1))),
        [ms] => {
            let ms = number(ms, "the milliseconds after `slow:`", 1, 86_400_000)?;
            Ok(Step::Slow(Duration::from_millis(ms)))
        }
        _ => Err("`slow` takes one argument, the milliseconds between two bytes".into()),
    }
}

fn canned(word: &str, args: &[&str]) -> Result<Canned, String> {
    let status = number(word, "the status", 200, 599)? as u16;
    let mut canned = Canned { status, shape: Shape::Bare, retry_after: None };
    for arg in args {
        match argument(status, arg)? {
            Argument::Shape(shape) if canned.shape == Shape::Bare => canned.shape = shape,
            Argument::RetryAfter(when) if canned.retry_after.is_none() => canned.retry_after = Some(when),
            _ => return Err(format!("`{arg}` is one argument too many")),
        }
    }
    if status == 204 && canned.shape != Shape::Bare {
        return Err("204 has no body, so it cannot carry a code".into());
    }
    Ok(canned)
}

enum Argument {
    Shape(Shape),
    RetryAfter(RetryAfter),
}

fn argument(status: u16, arg: &str) -> Result<Argument, String> {
    let carrier = matches!(status, 200 | 207);
    let named = match arg {
        "refused" => Some(Shape::Refused),
        "upstream" => Some(Shape::Upstream),
        "media" => Some(Shape::Media),
        "warning" => Some(Shape::Warning),
        "consent" => Some(Shape::Consent),
        _ => None,
    };
    if let Some(shape) = named {
        return if carrier {
            Ok(Argument::Shape(shape))
        } else {
            Err(format!("`{arg}` goes with 207 or 200 only"))
        };
    }
    if let Some(offset) = arg.strip_prefix("@date") {
        let seconds = offset
            .parse::<i64>()
            .ok()
            .filter(|s| s.abs() <= 31_536_000 && offset.starts_with(['+', '-']))
            .ok_or_else(|| format!("`{arg}` should be `@date+SECONDS` or `@date-SECONDS`"))?;
        return waits(status, RetryAfter::Date(seconds));
    }
    if let Some(digits) = arg.strip_prefix("va-") {
        return match code_digits(digits) {
            true => {
                Ok(Argument::Shape(Shape::Code(format!("va-edge-{digits}-{}", own_status(status, None)?))))
            }
            false => Err(format!("`{arg}` should be `va-` and four digits, as in va-0404")),
        };
    }
    if code_digits(arg) && arg.starts_with('0') {
        let own = own_status(status, answer::status_of(arg))?;
        return Ok(Argument::Shape(Shape::Code(format!("EXEG-{arg}-{own}"))));
    }
    if !arg.is_empty() && arg.bytes().all(|b| b.is_ascii_digit()) {
        return match status {
            413 => Ok(Argument::Shape(Shape::Limit(number(arg, "the maximum", 1, u64::MAX)?))),
            _ => waits(status, RetryAfter::Seconds(number(arg, "Retry-After", 0, 31_536_000)?)),
        };
    }
    Err(format!("`{arg}` is no code, no time and no kind of answer"))
}

/// A code ends in its own status. Inside a 200 or 207 that is the code's, not the answer's.
fn own_status(status: u16, known: Option<u16>) -> Result<u16, String> {
    match (status, known) {
        (200 | 207, Some(own)) => Ok(own),
        (200 | 207, None) => Err("inside a 200 or 207 only a code of the contract can stand".into()),
        (status, _) => Ok(status),
    }
}

fn code_digits(text: &str) -> bool {
    text.len() == 4 && text.bytes().all(|b| b.is_ascii_digit())
}

fn waits(status: u16, when: RetryAfter) -> Result<Argument, String> {
    if status < 300 {
        return Err(format!("Retry-After does not go with {status}"));
    }
    Ok(Argument::RetryAfter(when))
}

fn number(text: &str, what: &str, least: u64, most: u64) -> Result<u64, String> {
    match text.parse::<u64>() {
        Ok(n) if (least..=most).contains(&n) => Ok(n),
        _ if most == u64::MAX => Err(format!("{what} should be a number from {least} on, not `{text}`")),
        _ => Err(format!("{what} should be a number from {least} to {most}, not `{text}`")),
    }
}

/// Hands out one step a request.
#[derive(Debug)]
pub(super) struct Playback {
    script: Script,
    entry: usize,
    used: u32,
}

impl Playback {
    pub(super) fn new(script: Script) -> Self {
        Playback { script, entry: 0, used: 0 }
    }

    /// The step of the next request and its text; `None` once the script is used up.
    pub(super) fn next(&mut self) -> Option<(Step, String)> {
        let entry = self.script.entries.get(self.entry)?;
        self.used += 1;
        if self.used >= entry.times {
            self.entry += 1;
            self.used = 0;
        }
        Some((entry.step.clone(), entry.text.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Step {
        let script: Script = text.parse().unwrap();
        assert_eq!(script.entries.len(), 1, "{text}");
        script.entries[0].step.clone()
    }

    fn canned(status: u16, shape: Shape, retry_after: Option<RetryAfter>) -> Step {
        Step::Canned(Canned { status, shape, retry_after })
    }

    #[test]
    fn each_step_is_understood() {
        use RetryAfter::{Date, Seconds};
        let code = |c: &str| Shape::Code(c.to_owned());
        let cases = [
            ("200", Step::Validate(None)),
            ("hang", Step::Hang),
            ("hang:10", Step::Validate(Some(Duration::from_secs(10)))),
            ("reset", Step::Reset),
            ("reset-before", Step::ResetBefore),
            ("cut", Step::Cut),
            ("slow", Step::Slow(Duration::from_secs(1))),
            ("slow:50", Step::Slow(Duration::from_millis(50))),
            ("huge", Step::Huge),
            ("html", Step::Html),
            ("gzip", Step::Gzip),
            ("redirect", Step::Redirect),
            ("200-empty", Step::Empty),
            ("204", canned(204, Shape::Bare, None)),
            ("503", canned(503, Shape::Bare, None)),
            ("429:30", canned(429, Shape::Bare, Some(Seconds(30)))),
            ("429:0", canned(429, Shape::Bare, Some(Seconds(0)))),
            ("503:3600", canned(503, Shape::Bare, Some(Seconds(3600)))),
            ("503:@date+30", canned(503, Shape::Bare, Some(Date(30)))),
            ("503:@date-5", canned(503, Shape::Bare, Some(Date(-5)))),
            ("503:0201:30", canned(503, code("EXEG-0201-503"), Some(Seconds(30)))),
            ("422:0104", canned(422, code("EXEG-0104-422"), None)),
            ("400:0003", canned(400, code("EXEG-0003-400"), None)),
            ("418:0999", canned(418, code("EXEG-0999-418"), None)),
            ("404:va-0404", canned(404, code("va-edge-0404-404"), None)),
            ("200:0303", canned(200, code("EXEG-0303-200"), None)),
            ("207:0201", canned(207, code("EXEG-0201-503"), None)),
            ("413:40000", canned(413, Shape::Limit(40000), None)),
            ("413:0112", canned(413, code("EXEG-0112-413"), None)),
            ("207", canned(207, Shape::Bare, None)),
            ("207:refused", canned(207, Shape::Refused, None)),
            ("207:upstream", canned(207, Shape::Upstream, None)),
            ("207:media", canned(207, Shape::Media, None)),
            ("207:warning", canned(207, Shape::Warning, None)),
            ("200:consent", canned(200, Shape::Consent, None)),
        ];
        for (text, wanted) in cases {
            assert_eq!(one(text), wanted, "{text}");
        }
    }

    #[test]
    fn a_bad_step_is_named_and_the_grammar_is_shown() {
        let cases = [
            ("503,,200", 2, "nothing between the commas"),
            ("200,", 2, "nothing between the commas"),
            ("503x2,nonsense", 2, "no status and no step"),
            ("503x", 1, "no status and no step"),
            ("503x0", 1, "from 1 to 1000000"),
            ("x2", 1, "nothing between the commas"),
            ("100", 1, "from 200 to 599"),
            ("600", 1, "from 200 to 599"),
            ("hang:soon", 1, "seconds"),
            ("hang:1:2", 1, "one argument"),
            ("slow:0", 1, "milliseconds"),
            ("cut:3", 1, "takes no argument"),
            ("503:refused", 1, "207 or 200 only"),
            ("200:30", 1, "does not go with 200"),
            ("503:@date", 1, "@date+SECONDS"),
            ("503:@date30", 1, "@date+SECONDS"),
            ("503:30:30", 1, "too many"),
            ("207:refused:media", 1, "too many"),
            ("207:0999", 1, "only a code of the contract"),
            ("207:va-0400", 1, "only a code of the contract"),
            ("404:va-4", 1, "four digits"),
            ("204:0104", 1, "no body"),
            ("503:", 1, "no code"),
        ];
        for (text, number, why) in cases {
            let error = text.parse::<Script>().unwrap_err();
            assert_eq!(error.number, number, "{text}");
            assert!(error.why.contains(why), "{text}: {}", error.why);
            let shown = error.to_string();
            assert!(shown.contains(&format!("`{}`", error.step)) && shown.contains(GRAMMAR), "{shown}");
        }
    }

    #[test]
    fn steps_are_handed_out_in_order_and_then_no_more() {
        let mut playback = Playback::new(" 503x2 , 429:30,hang ".parse().unwrap());
        let texts: Vec<_> = std::iter::from_fn(|| playback.next()).map(|(_, text)| text).collect();
        assert_eq!(texts, ["503", "503", "429:30", "hang"]);
        assert!(playback.next().is_none());
        assert!(Playback::new("".parse().unwrap()).next().is_none());
    }
}
