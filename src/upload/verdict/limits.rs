//! Numbers that an answer names in words: how long to wait, how large a body may be.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::{rfc2822, strtime};
use jiff::tz::TimeZone;

/// Bounds of a wait that an answer asks for (contract section 11).
const WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(24 * 60 * 60));

/// Bounds of a believable maximum: less could not hold a session, more none has.
const MAXIMUM: std::ops::RangeInclusive<u64> = 1024..=16 * 1024 * 1024;

/// As many numbers as are looked at in one text.
const NUMBERS: usize = 64;

/// The wait that `Retry-After` asks for, in seconds or until a date, clamped; `None` if it cannot be read. A date is
/// counted from the answer's own `Date` where there is one: the device's clock may be years off.
pub(super) fn wait(retry_after: &str, date: Option<&str>, now_ms: i64) -> Option<Duration> {
    let given = retry_after.trim();
    if !given.is_empty() && given.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number holds is more than a day as well.
        let seconds = given.parse().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(seconds).clamp(WAIT.0, WAIT.1));
    }
    let until = http_date(given)?.as_millisecond();
    let now = date.and_then(http_date).map_or(now_ms, Timestamp::as_millisecond);
    let wait = Duration::from_millis(u64::try_from(until.saturating_sub(now)).unwrap_or(0));
    Some(wait.clamp(WAIT.0, WAIT.1))
}

/// A date in one of HTTP's three forms, a wrong weekday notwithstanding.
fn http_date(given: &str) -> Option<Timestamp> {
    let given = given.trim();
    if let Ok(time) = rfc2822::DateTimeParser::new().relaxed_weekday(true).parse_timestamp(given) {
        return Some(time);
    }
    ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"].iter().find_map(|form| {
        let time = strtime::parse(form, given).ok()?.to_datetime().ok()?;
        TimeZone::UTC.to_timestamp(time).ok()
    })
}

/// The largest body that a refusal for size allows, from its texts. A number counts with a unit behind it, or bare
/// behind words that announce a limit. Announced ones are preferred, and of several the smallest: the text may also name
/// the size that was sent, which is larger. Of the two meanings of "KB" the smaller is taken.
pub(super) fn maximum<'a>(texts: impl Iterator<Item = &'a str>) -> Option<u64> {
    let mut found = Vec::new();
    for text in texts {
        found.extend(sizes(&text.to_ascii_lowercase()));
    }
    let smallest = |sizes: &mut dyn Iterator<Item = &Size>| sizes.map(|size| size.bytes).min();
    smallest(&mut found.iter().filter(|size| size.announced)).or_else(|| smallest(&mut found.iter()))
}

struct Size {
    bytes: u64,
    announced: bool,
}

/// The believable sizes in a text in lower case.
fn sizes(text: &str) -> impl Iterator<Item = Size> {
    let starts = text
        .char_indices()
        .scan(' ', |before, (at, now)| Some((std::mem::replace(before, now), at, now)))
        .filter(|(before, _, now)| {
            now.is_ascii_digit() && !before.is_ascii_alphanumeric() && !".,_".contains(*before)
        })
        .map(|(_, at, _)| at);
    let mut gap_from = 0;
    starts.take(NUMBERS).filter_map(move |at| {
        let end = at
            + text[at..].find(|c: char| !c.is_ascii_digit() && !",._".contains(c)).unwrap_or(text.len() - at);
        let words = &text[gap_from..at];
        gap_from = end;
        let number = number(text[at..end].trim_end_matches([',', '.', '_']))?;
        let unit = unit(&text[end..]);
        let bytes = number.checked_mul(unit.unwrap_or(1)).filter(|bytes| MAXIMUM.contains(bytes))?;
        let announced = announces(words);
        (announced || unit.is_some()).then_some(Size { bytes, announced })
    })
}

/// Whether the words before a number announce a limit: such a word is among the last few of them.
fn announces(words: &str) -> bool {
    words
        .split(|c: char| !c.is_ascii_alphabetic())
        .filter(|word| !word.is_empty())
        .rev()
        .take(6)
        .any(|word| ["max", "limit", "allow", "exceed", "permit"].iter().any(|stem| word.starts_with(stem)))
}

/// A whole number; separators must part groups of three.
fn number(digits: &str) -> Option<u64> {
    let mut groups = digits.split([',', '.', '_']);
    let first = groups.next()?;
    let rest: Vec<_> = groups.collect();
    let grouped = rest.is_empty() || (first.len() <= 3 && rest.iter().all(|group| group.len() == 3));
    grouped.then(|| [&[first], &rest[..]].concat().concat().parse().ok()).flatten()
}

/// Bytes of the unit that a text starts with.
fn unit(after: &str) -> Option<u64> {
    let after = after.trim_start_matches([' ', '-', '\u{a0}']);
    let word = &after[..after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len())];
    Some(match word {
        "b" | "byte" | "bytes" | "octets" => 1,
        "k" | "kb" | "kilobyte" | "kilobytes" => 1000,
        "kib" | "kibibyte" | "kibibytes" => 1024,
        "m" | "mb" | "megabyte" | "megabytes" => 1_000_000,
        "mib" | "mebibyte" | "mebibytes" => 1024 * 1024,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT
    const NOW: i64 = 784_111_777_000;

    #[test]
    fn retry_after_is_read_in_both_forms_and_clamped() {
        let day = 86_400;
        let cases = [
            ("5", Some(5)),
            (" 120 ", Some(120)),
            ("0", Some(1)),
            ("86400", Some(day)),
            ("86401", Some(day)),
            ("99999999999999999999999999", Some(day)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", Some(30)),
            ("Sunday, 06-Nov-94 08:50:07 GMT", Some(30)),
            ("Sun Nov  6 08:50:07 1994", Some(30)),
            ("Mon, 06 Nov 1994 08:50:07 GMT", Some(30)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(1)),
            ("Sat, 05 Nov 1994 08:49:37 GMT", Some(1)),
            ("Fri, 06 Nov 2026 08:49:37 GMT", Some(day)),
            ("-5", None),
            ("1.5", None),
            ("5 s", None),
            ("", None),
            ("soon", None),
            ("1994-11-06", None),
            ("Sun, 06 Nov 99999 08:49:37 GMT", None),
        ];
        for (given, seconds) in cases {
            assert_eq!(wait(given, None, NOW), seconds.map(Duration::from_secs), "{given:?}");
        }
    }

    #[test]
    fn a_date_is_counted_from_the_answers_own_date() {
        let (until, sent) = ("Sun, 06 Nov 1994 08:50:07 GMT", "Sun, 06 Nov 1994 08:49:57 GMT");
        assert_eq!(wait(until, Some(sent), 0), Some(Duration::from_secs(10)), "a clock of 1970");
        assert_eq!(wait(until, Some("nonsense"), NOW), Some(Duration::from_secs(30)));
        assert_eq!(wait(until, None, i64::MIN), Some(WAIT.1));
        assert_eq!(wait(until, None, i64::MAX), Some(WAIT.0));
    }

    #[test]
    fn the_maximum_is_found_in_the_words() {
        let cases: [(&[&str], Option<u64>); 23] = [
            (&["Payload too large, the maximum is 65536 bytes"], Some(65_536)),
            (&["Request body exceeds the limit of 64 KB."], Some(64_000)),
            (&["max 64KiB"], Some(65_536)),
            (&["maximum: 1 MB"], Some(1_000_000)),
            (&["at most 1MiB"], Some(1_048_576)),
            (&["65,536 bytes at most"], Some(65_536)),
            (&["65.536 bytes at most"], Some(65_536)),
            (&["Maximum size 65536"], Some(65_536)),
            (&["Your request of 81234 bytes exceeds the maximum of 65536 bytes"], Some(65_536)),
            (&["The maximum is 65536 bytes but 81234 bytes were sent"], Some(65_536)),
            (&["81234 bytes sent; 65536 bytes is all we take"], Some(65_536)),
            (&["Limit exceeded: 81234 bytes (maximum 65536 bytes)"], Some(65_536)),
            (&["Eight fragments of 8 KB; the maximum allowed is 64 KB"], Some(64_000)),
            (&["Too large", "limit 64kb"], Some(64_000)),
            (&["Too large"], None),
            (&["error 413 in request 65536"], None),
            (&["maximum 12 bytes"], None),
            (&["maximum 99999999999999999999999999 bytes"], None),
            (&["maximum 18446744073709551615 MB"], None),
            (&["maximum 4 GB"], None),
            (&["maximum 1.5 MB"], None),
            (&["limit a1b2 65e3"], None),
            (&[], None),
        ];
        for (texts, expected) in cases {
            assert_eq!(maximum(texts.iter().copied()), expected, "{texts:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_said_the_numbers_are_sane(
            a in "\\PC*", b in "[maxlimtkKMib0-9 .,_é-]*", now: i64,
        ) {
            for text in [&a, &b] {
                if let Some(wait) = wait(text, Some(text), now) {
                    prop_assert!(wait >= WAIT.0 && wait <= WAIT.1);
                }
                if let Some(bytes) = maximum([text.as_str()].into_iter()) {
                    prop_assert!(MAXIMUM.contains(&bytes));
                }
            }
        }
    }
}
