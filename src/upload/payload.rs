//! A session to its request body (contract sections 3 to 7, 12.3).
//!
//! The same session gives the same bytes at each attempt with the same shape: nothing here asks a clock.

mod collection;

use thiserror::Error;

use super::repair::{Repaired, Warning, repair};
use super::shape::{Event, Origin, spread};
use super::thin::{Level, thin};
use crate::config::Thin;
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
    /// Whether the start goes on where another session ended (contract section 8).
    pub resumes: bool,
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

/// What may be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Bytes of body to stay within.
    pub budget: usize,
    /// How pings are thinned out.
    pub thin: Thin,
}

/// A request body, and what was done to make it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The bytes to send.
    pub body: Vec<u8>,
    /// How far pings are thinned out.
    pub level: Level,
    /// Pings that are left out.
    pub thinned: usize,
    /// State updates that went into the one before.
    pub merged: usize,
    /// Events that no player sent.
    pub synthetic: usize,
    /// What is odd about the order of events.
    pub warnings: Vec<Warning>,
    /// Events in the body.
    pub events: usize,
}

/// The request body of a session: compact, start first, the rest by time and then by arrival, repaired and thinned out.
///
/// A default that is missing in both the event and the facts is left out; intake sees to it that none is.
pub fn build(facts: &Facts<'_>, events: &[Recorded<'_>], shape: &Shape) -> Result<Built, PayloadError> {
    let repaired = repaired(facts, events)?;
    let (mut out, tail) = envelope(facts)?;
    let room = (shape.budget + 1).saturating_sub(out.len() + tail.len());
    let thinned = thin(repaired.events, shape.thin, room);
    for (place, event) in thinned.events.iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        event.write(&mut out).map_err(PayloadError::Time)?;
    }
    out.push_str(&tail);
    Ok(Built {
        body: out.into_bytes(),
        level: thinned.level,
        thinned: thinned.removed,
        merged: thinned.merged,
        synthetic: repaired.synthetic,
        warnings: repaired.warnings,
        events: thinned.events.len(),
    })
}

/// All events as they are to be sent, and the synthetic ones among them, at least 1 ms apart.
pub(super) fn repaired(facts: &Facts<'_>, events: &[Recorded<'_>]) -> Result<Repaired, PayloadError> {
    let written: Result<Vec<Event>, _> =
        order(events)?.into_iter().map(|index| read(facts, index, &events[index])).collect();
    let mut repaired = repair(written?);
    spread(&mut repaired.events);
    Ok(repaired)
}

/// What stands before and after the events.
fn envelope(facts: &Facts<'_>) -> Result<(String, String), PayloadError> {
    json::members(facts.identity_map).map_err(|p| PayloadError::Identity(p.to_string()))?;
    let mut head = String::with_capacity(64 * 1024);
    head.push_str(r#"{"events":[{"xdm":{"eventType":"media.downloaded","identityMap":"#);
    json::compact_into(facts.identity_map, &mut head);
    head.push_str(r#","implementationDetails":{"name":"#);
    json::quote_into(facts.implementation.name, &mut head);
    head.push_str(r#","version":"#);
    json::quote_into(facts.implementation.version, &mut head);
    head.push_str(r#","environment":"#);
    json::quote_into(facts.implementation.environment, &mut head);
    head.push_str(r#"},"mediaDownloadedEvents":["#);
    let mut tail = "]".to_owned();
    if let Some(at_ms) = facts.timestamp_ms {
        tail.push_str(r#","timestamp":"#);
        json::quote_into(&rfc3339(at_ms).ok_or(PayloadError::Time(at_ms))?, &mut tail);
    }
    tail.push_str("}}]}");
    Ok((head, tail))
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

fn read(facts: &Facts<'_>, index: usize, event: &Recorded<'_>) -> Result<Event, PayloadError> {
    let unreadable = |why: String| PayloadError::Event { index, why };
    let members = json::cut(event.body).map_err(|p| unreadable(p.to_string()))?;
    let raw = members
        .iter()
        .find(|m| m.name == "mediaCollection")
        .ok_or_else(|| unreadable("it has no mediaCollection".into()))?
        .value;
    let mut written = String::with_capacity(raw.len());
    collection::write(event.kind, raw, facts, &mut written)
        .and_then(|()| Event::read(Origin::Recorded(index), event.kind, event.at_ms, written))
        .map_err(|p| unreadable(p.under("mediaCollection").to_string()))
}

#[cfg(test)]
mod tests;
