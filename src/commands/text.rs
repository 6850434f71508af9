//! Text for people: foreign strings made harmless, display widths, sizes and times.

use std::borrow::Cow;
use std::fmt::Write as _;

use comfy_table::Table;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::json::acts;

/// `text` with everything a terminal would act on, or that hides what is really there, written out as `\u{…}`.
///
/// Titles, keys and details come from players and from the network; none of them may move the cursor, change colours
/// or reverse the order of what is read.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(acts) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if acts(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// Like [`visible`], with line ends kept: for messages that are made of lines.
pub fn visible_lines(text: &str) -> String {
    text.split('\n').map(visible).collect::<Vec<_>>().join("\n")
}

/// A JSON text with the same characters as escapes of JSON: it says the same, and may be printed on a terminal.
pub fn json(text: &str) -> Cow<'_, str> {
    // They stand only inside strings; the line ends of a pretty text are none of a player's.
    let acts = |c: char| c != '\n' && acts(c);
    if !text.chars().any(acts) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 12);
    for c in text.chars() {
        if acts(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Columns that `text` takes on a terminal, by the same measure that the tables use.
pub fn width(text: &str) -> usize {
    // The measure never says 0, so a known column is put in front and taken off again.
    let mut table = Table::new();
    table.add_row([format!("x{text}")]);
    table.column_max_content_widths().first().map_or(0, |&columns| usize::from(columns).saturating_sub(1))
}

/// `text` cut to `columns` display columns, with an ellipsis where something is missing.
pub fn truncate(text: &str, columns: usize) -> Cow<'_, str> {
    // No character takes more than a few columns, but a hostile title may be all combining marks.
    let head = text.char_indices().nth(columns.saturating_mul(8)).map_or(text, |(end, _)| &text[..end]);
    if head.len() == text.len() && width(text) <= columns {
        return Cow::Borrowed(text);
    }
    if columns == 0 {
        return Cow::Borrowed("");
    }
    let fits = head
        .char_indices()
        .map(|(start, c)| start + c.len_utf8())
        .take_while(|&end| width(&head[..end]) < columns)
        .last()
        .unwrap_or(0);
    Cow::Owned(format!("{}…", &head[..fits]))
}

/// A number of bytes in binary units.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut unit = 0;
    let mut scaled = count.saturating_mul(10) / 1024;
    while scaled >= 10_240 && unit + 1 < UNITS.len() {
        scaled /= 1024;
        unit += 1;
    }
    match (scaled / 10, scaled % 10) {
        (whole, 0) => format!("{whole} {}", UNITS[unit]),
        (whole, _) if whole >= 100 => format!("{whole} {}", UNITS[unit]),
        (whole, tenth) => format!("{whole}.{tenth} {}", UNITS[unit]),
    }
}

/// `count` with the noun in the right number: `1 event`, `2 events`.
pub fn count(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// Milliseconds since 1970 of an RFC 3339 time.
pub fn millis(time: &str) -> Option<i64> {
    time.parse::<Timestamp>().ok().map(Timestamp::as_millisecond)
}

/// A length of time in its largest unit: `42 s`, `12 min`, `3 h`, `5 d`.
pub fn span(ms: i64) -> String {
    let seconds = ms.unsigned_abs() / 1000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// How far a time is from now: `12 min ago`, `in 30 s`, `now`.
pub fn relative(ms: i64, now_ms: i64) -> String {
    match now_ms.saturating_sub(ms) {
        -999..=999 => String::from("now"),
        past @ 1000.. => format!("{} ago", span(past)),
        future => format!("in {}", span(future)),
    }
}

/// Whether two times can belong to one clock: one that is not set is decades away.
pub fn is_sensible(ms: i64, now_ms: i64) -> bool {
    const TEN_YEARS_MS: u64 = 3650 * 86_400_000;
    now_ms.abs_diff(ms) < TEN_YEARS_MS
}

/// The age of something for a narrow column, `?` where a clock that is not set makes it nonsense.
pub fn age(ms: i64, now_ms: i64) -> String {
    if is_sensible(ms, now_ms) { span(now_ms.saturating_sub(ms).max(0)) } else { String::from("?") }
}

/// Local date and time with its offset, so that it cannot be misread where the zone is unknown.
pub fn full(ms: i64, zone: &TimeZone) -> String {
    local(ms, zone, "%Y-%m-%d %H:%M:%S %:z")
}

/// Local time of day.
pub fn time_of_day(ms: i64, zone: &TimeZone) -> String {
    local(ms, zone, "%H:%M:%S")
}

fn local(ms: i64, zone: &TimeZone, format: &str) -> String {
    match Timestamp::from_millisecond(ms) {
        Ok(time) => time.to_zoned(zone.clone()).strftime(format).to_string(),
        Err(_) => String::from("?"),
    }
}

/// Seconds of the largest position that is written out; no content is longer, and the width stays known.
const LONGEST_POSITION: f64 = 9_999_999.0;

/// A position in the content or a length of it: `0:42`, `1:02:03`.
pub fn position(seconds: f64) -> String {
    let whole = if seconds.is_finite() { seconds.clamp(0.0, LONGEST_POSITION) as u64 } else { 0 };
    let (hours, minutes, seconds) = (whole / 3600, whole / 60 % 60, whole % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_says_the_same_without_what_a_terminal_acts_on() {
        let said = serde_json::json!({ "a\u{9b}": ["\u{202e}\u{e0001}\u{7f}ü\u{1b}\n", "plain"] });
        for text in [said.to_string(), format!("{said:#}")] {
            let shown = json(&text);
            assert!(!shown.chars().any(|c| c != '\n' && acts(c)), "{shown}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), said);
        }
        assert!(matches!(json("{\n  \"a\": 1\n}"), Cow::Borrowed(_)));
    }

    #[test]
    fn nothing_that_a_terminal_acts_on_gets_through() {
        let cases = [
            ("The Long Tide – 長い潮 👩‍👩‍👧", "The Long Tide – 長い潮 👩‍👩‍👧"),
            ("a\u{1b}[31mred\u{7}", "a\\u{1b}[31mred\\u{7}"),
            ("two\nlines\tand\r", "two\\nlines\\tand\\r"),
            ("\u{9b}2J", "\\u{9b}2J"),
            ("x\u{202e}fdp.exe", "x\\u{202e}fdp.exe"),
            ("\u{feff}\u{200b}\u{2066}", "\\u{feff}\\u{200b}\\u{2066}"),
            ("\0\u{7f}", "\\u{0}\\u{7f}"),
            ("", ""),
        ];
        for (raw, expected) in cases {
            assert_eq!(visible(raw), expected);
        }
        assert_eq!(visible_lines("one\ntwo\u{1b}"), "one\ntwo\\u{1b}");
    }

    #[test]
    fn widths_are_those_of_the_screen() {
        for (text, expected) in [("", 0), ("abc", 3), ("長い", 4), ("e\u{301}", 1), ("…", 1), ("👍", 2)]
        {
            assert_eq!(width(text), expected, "{text:?}");
        }
    }

    #[test]
    fn long_titles_are_cut_by_display_width() {
        let cases = [
            ("short", 10, "short"),
            ("exactly ten", 11, "exactly ten"),
            ("eleven char", 10, "eleven ch…"),
            ("長い潮の話", 10, "長い潮の話"),
            ("長い潮の話", 9, "長い潮の…"),
            ("長い潮の話", 8, "長い潮…"),
            ("e\u{301}e\u{301}e\u{301}", 2, "e\u{301}…"),
            ("ab", 1, "…"),
            ("ab", 0, ""),
        ];
        for (text, columns, expected) in cases {
            let cut = truncate(text, columns);
            assert_eq!(cut, expected, "{text:?} to {columns}");
            assert!(width(&cut) <= columns);
        }
        assert!(width(&truncate(&"\u{301}".repeat(60_000), 10)) <= 10);
    }

    #[test]
    fn sizes() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (3400, "3.3 KiB"),
            (409_600, "400 KiB"),
            (67_108_864, "64 MiB"),
            (1_610_612_736, "1.5 GiB"),
            (u64::MAX, "1677721 TiB"),
        ];
        for (count, expected) in cases {
            assert_eq!(bytes(count), expected);
        }
        assert_eq!((count(1, "event"), count(0, "event")), ("1 event".into(), "0 events".into()));
    }

    #[test]
    fn times_relative_to_now() {
        let now = 1_772_908_200_000;
        let cases = [
            (0, "now", "0 s"),
            (-999, "now", "0 s"),
            (-1_000, "1 s ago", "1 s"),
            (-59_999, "59 s ago", "59 s"),
            (-60_000, "1 min ago", "1 min"),
            (-3_600_000, "1 h ago", "1 h"),
            (-172_799_999, "47 h ago", "47 h"),
            (-172_800_000, "2 d ago", "2 d"),
            (-691_200_000, "8 d ago", "8 d"),
            (30_000, "in 30 s", "0 s"),
            (-now, "20519 d ago", "?"),
        ];
        for (offset, long, narrow) in cases {
            assert_eq!(relative(now + offset, now), long);
            assert_eq!(age(now + offset, now), narrow);
        }
        assert_eq!(relative(i64::MIN, i64::MAX), "106751991167 d ago");
    }

    #[test]
    fn times_are_local() {
        let at = millis("2026-03-07T23:30:00.120Z").unwrap();
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        assert_eq!(full(at, &zone), "2026-03-08 00:30:00 +01:00");
        assert_eq!(time_of_day(at, &zone), "00:30:00");
        assert_eq!(full(i64::MAX, &zone), "?");
        assert_eq!(millis("yesterday"), None);
    }

    #[test]
    fn positions() {
        for (seconds, expected) in [
            (0.0, "0:00"),
            (42.9, "0:42"),
            (3723.0, "1:02:03"),
            (-1.0, "0:00"),
            (f64::NAN, "0:00"),
            (1e300, "2777:46:39"),
        ] {
            assert_eq!(position(seconds), expected);
        }
    }
}
