//! RFC 3339 in and out (contract section 4).

use jiff::Timestamp;

/// Digits of a fraction that count.
const FRACTION: usize = 9;

/// Milliseconds since 1970 of an RFC 3339 date and time with an offset; nothing else is one.
pub fn unix_ms(text: &str) -> Option<i64> {
    let (date_time, rest) = text.split_at_checked(19)?;
    if !has_form(date_time, "dddd-dd-ddTdd:dd:dd") {
        return None;
    }
    let digits = rest.strip_prefix('.').map_or(0, |r| r.bytes().take_while(u8::is_ascii_digit).count());
    let (fraction, offset) = if digits > 0 { rest.split_at(1 + digits) } else { ("", rest) };
    if !(has_form(offset, "Z") || has_form(offset, "+dd:dd")) {
        return None;
    }
    let timestamp: Timestamp = match fraction.get(..1 + FRACTION) {
        Some(fraction) => format!("{date_time}{fraction}{offset}").parse().ok()?,
        None => text.parse().ok()?,
    };
    let ms = i64::try_from(timestamp.as_nanosecond().div_euclid(1_000_000)).ok()?;
    // A leap second has no number of its own: it is the end of the second before, behind all of that.
    Some(if date_time.ends_with(":60") { ms.div_euclid(1000) * 1000 + 999 } else { ms })
}

/// The moment as `YYYY-MM-DDThh:mm:ss.sssZ`, unless it is beyond the years 0 to 9999.
pub fn rfc3339(unix_ms: i64) -> Option<String> {
    let text = format!("{:.3}", Timestamp::from_millisecond(unix_ms).ok()?);
    has_form(&text, "dddd-dd-ddTdd:dd:dd.dddZ").then_some(text)
}

/// Whether a text has a form, where `d` stands for a digit and `+` for a sign.
fn has_form(text: &str, form: &str) -> bool {
    text.len() == form.len()
        && text.bytes().zip(form.bytes()).all(|(byte, wanted)| match wanted {
            b'd' => byte.is_ascii_digit(),
            b'+' => byte == b'+' || byte == b'-',
            _ => byte.eq_ignore_ascii_case(&wanted),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_rfc_3339_with_an_offset() {
        for (text, ms) in [
            ("2026-03-07T18:30:00.120Z", 1_772_908_200_120),
            ("2026-03-07T18:30:00Z", 1_772_908_200_000),
            ("2026-03-07t18:30:00z", 1_772_908_200_000),
            ("2026-03-07T19:30:00+01:00", 1_772_908_200_000),
            ("2026-03-07T13:00:00.5-05:30", 1_772_908_200_500),
            ("2026-03-07T18:30:00-00:00", 1_772_908_200_000),
            ("2026-03-07T18:30:00.1209999Z", 1_772_908_200_120),
            ("2026-03-07T18:30:00.1234567890123Z", 1_772_908_200_123),
            ("1969-12-31T23:59:59.9995Z", -1),
            ("1970-01-01T00:00:00Z", 0),
            ("2016-12-31T23:59:60Z", 1_483_228_799_999),
            ("2017-01-01T00:59:60.250+01:00", 1_483_228_799_999),
            // The hour that comes twice in Berlin, and the ends of 32 bits.
            ("2026-10-25T02:30:00+02:00", 1_792_888_200_000),
            ("2026-10-25T02:30:00+01:00", 1_792_891_800_000),
            ("2038-01-19T03:14:08Z", 2_147_483_648_000),
            ("2106-02-07T06:28:16Z", 4_294_967_296_000),
        ] {
            assert_eq!(unix_ms(text), Some(ms), "{text}");
        }
    }

    #[test]
    fn refuses_everything_else() {
        for text in [
            "",
            "2026-03-07",
            "2026-03-07T18:30:00",
            "2026-03-07 18:30:00Z",
            "2026-03-07T18:30Z",
            "2026-03-07T18:30:00.Z",
            "2026-03-07T18:30:00,5Z",
            "2026-03-07T18:30:00+0100",
            "2026-03-07T18:30:00+01",
            "2026-03-07T18:30:00+01:00[Europe/Berlin]",
            "2026-03-07T18:30:00Z[UTC]",
            "2026-03-07T18:30:00+99:00",
            "20260307T183000Z",
            "+002026-03-07T18:30:00Z",
            "2026-02-29T18:30:00Z",
            "2026-03-07T24:00:00Z",
            "2026-13-07T18:30:00Z",
            " 2026-03-07T18:30:00Z",
            "2026-03-07T18:30:00Z ",
            "2026-03-07T18:30:0é",
            "２026-03-07T18:30:00Z",
            "YYYY-09-26T15:52:24+00:00",
            "1772908200120",
        ] {
            assert_eq!(unix_ms(text), None, "{text}");
        }
    }

    #[test]
    fn writes_utc_with_three_decimals() {
        assert_eq!(rfc3339(1_772_908_200_120).as_deref(), Some("2026-03-07T18:30:00.120Z"));
        assert_eq!(rfc3339(0).as_deref(), Some("1970-01-01T00:00:00.000Z"));
        assert_eq!(rfc3339(-1).as_deref(), Some("1969-12-31T23:59:59.999Z"));
        assert_eq!(rfc3339(i64::MAX), None);
        assert_eq!(rfc3339(-62_167_219_200_001), None, "before the year 0");
    }
}
