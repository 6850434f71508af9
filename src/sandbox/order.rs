//! Time and order inside a media session: contract sections 4 and 7, and the bounds of section 6.1
//! that need more than one event.
//!
//! Only the place of `media.sessionStart` is a reason to refuse. The rest Adobe takes silently
//! and books wrongly, so it is a warning.

use std::collections::BTreeSet;

use serde_json::Value;

use super::contract::Notes;

/// The start of 2000, in nanoseconds since 1970.
pub(super) const SET_CLOCK: i128 = 946_684_800 * SECOND;

const SECOND: i128 = 1_000_000_000;
const MILLISECOND: i128 = 1_000_000;

/// Adobe drops what goes beyond this many state names.
const MAX_STATES: usize = 10;

/// Walks through the events of one media session.
pub(super) fn check(events: &[Value], path: &str, notes: &mut Notes) {
    let start = &events[0];
    let mut track =
        Track { content: Content::of(&start["mediaCollection"]["sessionDetails"]), ..Track::default() };
    if let Some(0) = track.content.length {
        let at = format!("{path}[0].mediaCollection.sessionDetails.length");
        notes.hint(&at, "A length of 0 turns off progress markers and average minute audience");
    }
    if start["mediaEventType"] != "media.sessionStart" {
        notes.problem(&format!("{path}[0].mediaEventType"), "The first event should be media.sessionStart");
    }
    for (i, event) in events.iter().enumerate() {
        let at = format!("{path}[{i}]");
        track.time(event, &at, notes);
        let kind = event["mediaEventType"].as_str().and_then(|kind| kind.strip_prefix("media."));
        if i > 0 && kind == Some("sessionStart") {
            notes.problem(
                &format!("{at}.mediaEventType"),
                "media.sessionStart should come once, as the first event",
            );
        }
        track.playhead(event, &at, notes);
        if let Some(kind) = kind {
            track.event(kind, event, &at, notes);
        }
    }
    track.left_open(notes);
}

/// What the playhead is measured against.
#[derive(Debug, Default)]
struct Content {
    live: bool,
    length: Option<u64>,
}

impl Content {
    fn of(details: &Value) -> Self {
        let live = matches!(details["contentType"].as_str(), Some("Live" | "Linear"));
        Content { live, length: details["length"].as_u64() }
    }
}

/// What is open, and what was last.
#[derive(Debug, Default)]
struct Track {
    content: Content,
    last: Option<i128>,
    ended: bool,
    completed: bool,
    pod: Option<String>,
    ad: Option<String>,
    chapter: Option<String>,
    names: BTreeSet<String>,
    active: BTreeSet<String>,
    started: bool,
    time_to_start: Option<u64>,
    dropped_frames: Option<u64>,
}

impl Track {
    /// Section 4: neighbours differ by at least a millisecond, in the right direction.
    fn time(&mut self, event: &Value, at: &str, notes: &mut Notes) {
        let Some(now) = event["mediaEventTimestamp"].as_str().and_then(instant) else { return };
        if let Some(last) = self.last {
            let at = format!("{at}.mediaEventTimestamp");
            if now < last {
                notes.warning(&at, "Earlier than the event before it: events are ordered by time");
            } else if now - last < MILLISECOND {
                notes.warning(&at, "Less than 1 ms after the event before it: their order is not defined");
            }
        }
        self.last = Some(now);
    }

    /// Section 6.1: up to the length of recorded content, below a day for live content.
    fn playhead(&self, event: &Value, at: &str, notes: &mut Notes) {
        let at = format!("{at}.mediaCollection.playhead");
        match (event["mediaCollection"]["playhead"].as_u64(), &self.content) {
            (Some(s), Content { live: true, .. }) if s >= 86_400 => {
                notes.warning(&at, "The playhead of live content is the second of the day, below 86400");
            }
            (Some(s), Content { live: false, length: Some(length) }) if s > *length => {
                notes.warning(&at, &format!("Beyond the content's length of {length} s"));
            }
            _ => {}
        }
    }

    /// Section 7, rules 4 to 9.
    fn event(&mut self, kind: &str, event: &Value, at: &str, notes: &mut Notes) {
        let type_at = format!("{at}.mediaEventType");
        let mut warn = |text: &str| notes.warning(&type_at, text);
        if self.ended {
            return warn("Nothing counts after media.sessionEnd");
        }
        let here = Some(at.to_owned());
        match kind {
            "sessionComplete" if self.completed => warn("media.sessionComplete should come at most once"),
            "sessionComplete" => self.completed = true,
            "sessionEnd" => self.ended = true,
            "play" => self.started = true,
            "adBreakStart" => {
                if self.pod.is_some() {
                    warn("The ad break before it is still open");
                }
                if self.ad.take().is_some() {
                    warn("The ad before it is still open");
                }
                self.pod = here;
            }
            "adBreakComplete" => {
                if self.ad.take().is_some() {
                    warn("The ad before it is still open");
                }
                if self.pod.take().is_none() {
                    warn("No ad break is open");
                }
            }
            "adStart" => {
                if self.pod.is_none() {
                    warn("An ad outside an ad break is ignored");
                }
                if self.ad.is_some() {
                    warn("The ad before it is still open");
                }
                self.ad = here;
            }
            "adComplete" | "adSkip" => {
                let open = self.ad.take();
                if open.is_none() {
                    warn("No ad is open");
                }
            }
            "chapterStart" => {
                if self.chapter.is_some() {
                    warn("The chapter before it is still open: chapters do not overlap");
                }
                self.chapter = here;
            }
            "chapterComplete" | "chapterSkip" => {
                let open = self.chapter.take();
                if open.is_none() {
                    warn("No chapter is open");
                }
            }
            "statesUpdate" => self.states(&event["mediaCollection"], at, notes),
            _ => {}
        }
        self.quality(&event["mediaCollection"]["qoeDataDetails"], at, notes);
    }

    fn states(&mut self, collection: &Value, at: &str, notes: &mut Notes) {
        for (member, starts) in [("statesEnd", false), ("statesStart", true)] {
            let names = collection[member].as_array().into_iter().flatten();
            for (i, name) in names.enumerate().filter_map(|(i, item)| Some((i, item["name"].as_str()?))) {
                let at = format!("{at}.mediaCollection.{member}[{i}].name");
                if !self.names.contains(name) {
                    if self.names.len() >= MAX_STATES {
                        notes.warning(&at, "Only the first 10 state names of a media session count");
                        continue;
                    }
                    self.names.insert(name.to_owned());
                }
                let (changed, why) = match starts {
                    true => (self.active.insert(name.to_owned()), "The state has started already"),
                    false => (self.active.remove(name), "The state has not started"),
                };
                if !changed {
                    notes.hint(&at, why);
                }
            }
        }
    }

    /// Section 6.1: running figures of the whole media session.
    fn quality(&mut self, qoe: &Value, at: &str, notes: &mut Notes) {
        let at = format!("{at}.mediaCollection.qoeDataDetails");
        if let Some(frames) = qoe["droppedFrames"].as_u64() {
            if self.dropped_frames.is_some_and(|before| frames < before) {
                notes.hint(&format!("{at}.droppedFrames"), "A running total should not fall");
            }
            self.dropped_frames = Some(frames);
        }
        if let Some(time) = qoe["timeToStart"].as_u64() {
            if self.started && self.time_to_start.is_some_and(|before| time > before) {
                notes.hint(&format!("{at}.timeToStart"), "It should not grow after the first frame");
            }
            self.time_to_start = Some(time);
        }
    }

    /// What is open at the end was never closed: its time is booked elsewhere.
    fn left_open(&self, notes: &mut Notes) {
        let open = [
            (&self.ad, "The ad is never closed"),
            (&self.pod, "The ad break is never closed: all of its ads are ignored"),
            (&self.chapter, "The chapter is never closed"),
        ];
        for (at, why) in open {
            if let Some(at) = at {
                notes.warning(&format!("{at}.mediaEventType"), why);
            }
        }
    }
}

/// A date and time of RFC 3339, in nanoseconds since 1970.
pub(super) fn instant(text: &str) -> Option<i128> {
    let (date, rest) = text.split_at_checked(10)?;
    let (t, rest) = rest.split_at_checked(1)?;
    let (time, rest) = rest.split_at_checked(8)?;
    let [year, month, day] = fields(date, b'-', [4, 2, 2])?;
    let [hour, minute, second] = fields(time, b':', [2, 2, 2])?;
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            (Some(&rest[..digits]), &rest[digits..])
        }
        None => (None, rest),
    };
    let nanos = match fraction {
        Some("") => return None,
        Some(digits) => format!("{digits:0<9}").get(..9)?.parse::<i128>().ok()?,
        None => 0,
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let valid = matches!(t, "T" | "t")
        && (1..=12).contains(&month)
        && (1..=days).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    let offset = offset(rest)?;
    valid.then(|| {
        let seconds =
            days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
        i128::from(seconds) * SECOND + nanos
    })
}

/// Seconds east of UTC.
fn offset(text: &str) -> Option<i64> {
    if matches!(text, "Z" | "z") {
        return Some(0);
    }
    let (sign, rest) = text.split_at_checked(1)?;
    let [hour, minute] = fields(rest, b':', [2, 2])?;
    let seconds = (hour < 24 && minute < 60).then_some(hour * 3600 + minute * 60)?;
    match sign {
        "+" => Some(seconds),
        "-" => Some(-seconds),
        _ => None,
    }
}

/// Numbers of fixed widths with a separator between them, and nothing else.
fn fields<const N: usize>(text: &str, separator: u8, widths: [usize; N]) -> Option<[i64; N]> {
    let mut out = [0; N];
    let mut parts = text.split(char::from(separator));
    for (out, width) in out.iter_mut().zip(widths) {
        let part = parts.next()?;
        if part.len() != width || !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        *out = part.parse().ok()?;
    }
    parts.next().is_none().then_some(out)
}

/// Gregorian date to a day number; a year is counted from March, so that a leap day is its last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_of_rfc_3339() {
        let cases = [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T00:00:00.001Z", MILLISECOND),
            ("1970-01-01T00:00:01.5+00:00", 3 * SECOND / 2),
            ("1970-01-01T02:00:00+02:00", 0),
            ("1969-12-31T23:30:00-00:30", 0),
            ("2000-01-01t00:00:00z", SET_CLOCK),
            ("2024-02-29T12:00:00Z", 1_709_208_000 * SECOND),
            ("2026-03-07T18:30:00.120Z", 1_772_908_200 * SECOND + 120 * MILLISECOND),
            ("2026-03-07T18:30:00.1234567894Z", 1_772_908_200 * SECOND + 123_456_789),
            ("2016-12-31T23:59:60Z", 1_483_228_800 * SECOND),
        ];
        for (text, nanos) in cases {
            assert_eq!(instant(text), Some(nanos), "{text}");
        }
        let bad = [
            "",
            "2026-03-07",
            "2026-03-07T18:30:00",
            "2026-03-07 18:30:00Z",
            "2026-03-07T18:30Z",
            "2026-03-07T18:30:00.Z",
            "2026-03-07T18:30:00+0100",
            "2026-03-07T18:30:00+01",
            "2026-03-07T18:30:00+24:00",
            "2026-03-07T18:30:00 Z",
            "2026-03-07T18:30:00Zz",
            "2026-3-7T18:30:00Z",
            "2026-02-29T00:00:00Z",
            "2026-04-31T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:60:00Z",
            "2026-01-01T00:00:61Z",
            "+026-01-01T00:00:00Z",
            "YYYY-09-26T15:52:24+00:00",
            "1772908200",
            "2026-03-07T18:30:0é:00Z",
        ];
        for text in bad {
            assert_eq!(instant(text), None, "{text}");
        }
    }
}
