//! A session to its request body (contract sections 3 to 7).
//!
//! The same session gives the same bytes at each attempt: nothing here asks a clock or a setting.

mod collection;

use thiserror::Error;

use crate::event::{EventType, rfc3339};
use crate::json;

/// What holds for the session as a whole, frozen when it started.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The identity map, JSON.
    pub identity_map: &'a str,
    /// `sessionDetails.playerName` if the player gave none.
    pub player_name: Option<&'a str>,
    /// `sessionDetails.channel` if the player gave none.
    pub channel: Option<&'a str>,
    /// Who speaks.
    pub implementation: Implementation<'a>,
    /// `xdm.timestamp`, the time of the first attempt; left out if there is none.
    pub timestamp_ms: Option<i64>,
}

/// `xdm.implementationDetails`
#[derive(Debug, Clone, Copy)]
pub struct Implementation<'a> {
    /// A URI with a scheme.
    pub name: &'a str,
    /// Our version.
    pub version: &'a str,
    /// `browser`, `app`, `server` or `iot`.
    pub environment: &'a str,
}

/// An event as it was recorded.
#[derive(Debug, Clone, Copy)]
pub struct Recorded<'a> {
    /// Its type.
    pub kind: EventType,
    /// What the player sent.
    pub body: &'a str,
    /// When it happened, in milliseconds since 1970.
    pub at_ms: i64,
}

/// Why a session has no request body.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PayloadError {
    /// Contract section 7, rule 1.
    #[error("the session has no media.sessionStart, which must be its first event")]
    NoStart,
    /// Contract section 6: once.
    #[error("the session has more than one media.sessionStart")]
    SecondStart,
    /// The recorded text is not what intake lets pass.
    #[error("event {index} cannot be read: {why}")]
    Event {
        /// Its place in the order of recording, from 0.
        index: usize,
        /// What is wrong with it.
        why: String,
    },
    /// The frozen identity map is not an object.
    #[error("the identity map cannot be read: {0}")]
    Identity(String),
    /// A time beyond the years 0 to 9999.
    #[error("{0} ms since 1970 is no date that can be sent")]
    Time(i64),
}

/// The request body of a session: compact, start first, the rest by time and then by arrival.
///
/// A default that is missing in both the event and the facts is left out; intake sees to it that none is.
pub fn build(facts: &Facts<'_>, events: &[Recorded<'_>]) -> Result<Vec<u8>, PayloadError> {
    let order = order(events)?;
    let mut times: Vec<i64> = order.iter().map(|&n| events[n].at_ms).collect();
    spread(&mut times);

    json::members(facts.identity_map).map_err(|p| PayloadError::Identity(p.to_string()))?;
    let mut out = String::with_capacity(1024 + events.iter().map(|e| e.body.len() + 64).sum::<usize>());
    out.push_str(r#"{"events":[{"xdm":{"eventType":"media.downloaded","identityMap":"#);
    json::compact_into(facts.identity_map, &mut out);
    out.push_str(r#","implementationDetails":{"name":"#);
    json::quote_into(facts.implementation.name, &mut out);
    out.push_str(r#","version":"#);
    json::quote_into(facts.implementation.version, &mut out);
    out.push_str(r#","environment":"#);
    json::quote_into(facts.implementation.environment, &mut out);
    out.push_str(r#"},"mediaDownloadedEvents":["#);
    for (place, (&index, &at_ms)) in order.iter().zip(&times).enumerate() {
        if place > 0 {
            out.push(',');
        }
        write_event(facts, index, &events[index], at_ms, &mut out)?;
    }
    out.push(']');
    if let Some(at_ms) = facts.timestamp_ms {
        out.push_str(r#","timestamp":"#);
        json::quote_into(&time(at_ms)?, &mut out);
    }
    out.push_str("}}]}");
    Ok(out.into_bytes())
}

/// Moves later times on so that neighbours differ by at least 1 ms; never reorders (contract section 4).
pub fn spread(times: &mut [i64]) {
    for n in 1..times.len() {
        times[n] = times[n].max(times[n - 1].saturating_add(1));
    }
}

/// The places of the events in the order of sending.
fn order(events: &[Recorded<'_>]) -> Result<Vec<usize>, PayloadError> {
    let mut order: Vec<usize> = (0..events.len()).collect();
    order.sort_by_key(|&n| (events[n].kind != EventType::SessionStart, events[n].at_ms));
    let starts = events.iter().filter(|e| e.kind == EventType::SessionStart).count();
    match starts {
        0 => Err(PayloadError::NoStart),
        1 => Ok(order),
        _ => Err(PayloadError::SecondStart),
    }
}

fn write_event(
    facts: &Facts<'_>,
    index: usize,
    event: &Recorded<'_>,
    at_ms: i64,
    out: &mut String,
) -> Result<(), PayloadError> {
    let unreadable = |why: String| PayloadError::Event { index, why };
    let members = json::members(event.body).map_err(|p| unreadable(p.to_string()))?;
    let raw = members
        .iter()
        .find(|m| m.name == "mediaCollection")
        .ok_or_else(|| unreadable("it has no mediaCollection".into()))?
        .value;
    out.push_str(r#"{"mediaEventType":"#);
    json::quote_into(event.kind.as_str(), out);
    out.push_str(r#","mediaEventTimestamp":"#);
    json::quote_into(&time(at_ms)?, out);
    out.push_str(r#","mediaCollection":"#);
    collection::write(event.kind, raw, facts, out)
        .map_err(|p| unreadable(p.under("mediaCollection").to_string()))?;
    out.push('}');
    Ok(())
}

fn time(at_ms: i64) -> Result<String, PayloadError> {
    rfc3339(at_ms).ok_or(PayloadError::Time(at_ms))
}

#[cfg(test)]
mod tests;
