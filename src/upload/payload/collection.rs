//! A recorded `mediaCollection` to the one that is sent: only what the table of fields names is touched.

use crate::event::{EventType, Fallback, Field, Presence, Shape, fields};
use crate::json::{self, Member, Problem};

use super::Facts;

/// A spelling that Adobe's sources use beside their own standard (contract section 13, line 10).
const FULL_SCREEN: (&str, &str) = ("fullScreen", "\"fullscreen\"");

/// Digits of the largest number that a checked event holds.
const MAX_DIGITS: usize = 16;

/// Says that a start goes on where another session ended.
const HAS_RESUME: &str = "hasResume";

/// Writes the `mediaCollection` of an event of that type.
pub(super) fn write(kind: EventType, raw: &str, facts: &Facts<'_>, out: &mut String) -> Result<(), Problem> {
    object(raw, fields(kind), facts, out)
}

fn object(raw: &str, table: &[Field], facts: &Facts<'_>, out: &mut String) -> Result<(), Problem> {
    let members = json::cut(raw)?;
    let resumes = facts.resumes && table.iter().any(|field| field.name == HAS_RESUME);
    let mut separator = '{';
    for Member { name, raw_name, value: raw } in &members {
        let field = table.iter().find(|f| f.name == name);
        let replaced = resumes && name == HAS_RESUME;
        if replaced || field.is_some_and(|f| matches!(f.presence, Presence::Stripped(_))) {
            continue;
        }
        out.push(separator);
        separator = ',';
        out.push_str(raw_name);
        out.push(':');
        value(raw, field.map_or(&Shape::Any, |f| &f.shape), facts, out)?;
    }
    for (name, default) in missing_defaults(table, &members, facts) {
        out.push(separator);
        separator = ',';
        json::quote_into(name, out);
        out.push(':');
        json::quote_into(default, out);
    }
    if resumes {
        out.push(separator);
        separator = ',';
        out.push_str("\"hasResume\":true");
    }
    if separator == '{' {
        out.push('{');
    }
    out.push('}');
    Ok(())
}

fn value(raw: &str, shape: &Shape, facts: &Facts<'_>, out: &mut String) -> Result<(), Problem> {
    match (shape, raw.as_bytes().first()) {
        (Shape::Object(table), Some(b'{')) => return object(raw, table, facts, out),
        (Shape::List(table), Some(b'[')) => {
            out.push('[');
            for (n, item) in json::elements(raw)?.into_iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                value(item, &Shape::Object(table), facts, out)?;
            }
            out.push(']');
        }
        (Shape::StateName, Some(b'"')) if json::string(raw)? == FULL_SCREEN.0 => out.push_str(FULL_SCREEN.1),
        // Nearly every number is whole already.
        (Shape::Whole(..), _) if is_whole(raw) => out.push_str(raw),
        (Shape::Whole(..), _) => match floor(raw) {
            Some(whole) => out.push_str(&whole),
            None => json::compact_into(raw, out),
        },
        _ => json::compact_into(raw, out),
    }
    Ok(())
}

fn missing_defaults<'f>(
    table: &'f [Field],
    members: &'f [Member<'_>],
    facts: &'f Facts<'_>,
) -> impl Iterator<Item = (&'static str, &'f str)> {
    table.iter().filter_map(|field| {
        let Presence::Filled(fallback) = field.presence else { return None };
        let default = match fallback {
            Fallback::PlayerName => facts.player_name,
            Fallback::Channel => facts.channel,
        }?;
        let given = members.iter().any(|m| m.name == field.name);
        (!given).then_some((field.name, default))
    })
}

/// Whether a number has nothing but digits, and no more than a checked event holds.
fn is_whole(raw: &str) -> bool {
    let digits = raw.len() <= MAX_DIGITS && raw.bytes().all(|byte| byte.is_ascii_digit());
    digits && (raw.len() == 1 || !raw.starts_with('0'))
}

/// The number rounded down, worked out on its digits so that no precision is lost.
/// Nothing if the text is no number from 0 that a whole number field can hold.
pub(super) fn floor(raw: &str) -> Option<String> {
    let unsigned = raw.strip_prefix('-').unwrap_or(raw);
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() || !(whole.bytes().chain(fraction.bytes())).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_start_matches('0');
    if significant.is_empty() {
        return Some("0".into());
    }
    if raw.starts_with('-') {
        return None;
    }
    let zeros = digits.len() - significant.len();
    let exponent: i64 = match exponent.parse() {
        Ok(exponent) => exponent,
        // More digits than 64 bits hold: beyond any number, or below all.
        Err(_) if exponent.starts_with('-') => return Some("0".into()),
        Err(_) => return None,
    };
    let point =
        i64::try_from(whole.len()).ok()?.checked_sub(i64::try_from(zeros).ok()?)?.saturating_add(exponent);
    match usize::try_from(point) {
        Err(_) | Ok(0) => Some("0".into()),
        Ok(point) if point > MAX_DIGITS => None,
        Ok(point) => Some(significant.chars().chain(std::iter::repeat('0')).take(point).collect()),
    }
}
