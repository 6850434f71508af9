//! What a player left open is closed in the payload; what cannot be repaired is told (contract section 7).
//!
//! Nothing that a player sent is dropped, altered or reordered. Only what the SDK itself does for a player is done for
//! it: an open ad is skipped, an open break completed, an open chapter skipped, right before the event that shows that
//! it was over. Left as it is, with a warning, stays what no source says how to mend:
//!
//! * an ad outside a break. A break made up around it would invent a pod index and a break count, and the same player
//!   gets nothing for such an ad online either (rule 4);
//! * a close without an opening;
//! * what comes after `media.sessionEnd`. The back end does not count it (rule 9), but events are sent in the order of
//!   their times, and moving the end would stretch the session.

use serde::Serialize;

use super::shape::{Event, Origin};
use crate::event::EventType;
use crate::event::EventType as T;

/// Adobe drops what goes beyond this many state names of a session (contract section 6.1).
const MAX_STATES: usize = 10;

/// Something about the order of a session that a person should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// What it is, to switch on.
    pub code: &'static str,
    /// The recorded event that it is about, by its place in the order of recording.
    pub event: usize,
    /// What it is and what was done about it, for a person.
    pub text: String,
}

/// A session that can be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repaired {
    /// All recorded events in their order, and the synthetic ones among them.
    pub events: Vec<Event>,
    /// How many synthetic ones there are.
    pub synthetic: usize,
    /// What was found.
    pub warnings: Vec<Warning>,
}

/// Closes what is left open. The events come in the order of sending.
pub fn repair(events: Vec<Event>) -> Repaired {
    let mut track = Track::default();
    let mut out = Vec::with_capacity(events.len() + 3);
    for n in 0..events.len() {
        let close = track.due_before(&events, n);
        let (at_ms, playhead) = (events[n].at_ms, events[n].playhead);
        let count = i64::try_from(close.len()).unwrap_or(0);
        for (kind, before) in close.into_iter().zip((1..=count).rev()) {
            let synthetic = Event::synthetic(kind, at_ms.saturating_sub(before), playhead);
            track.close(&synthetic, Some(&events[n]));
            out.push(synthetic);
        }
        track.enter(&events[n]);
        out.push(events[n].clone());
    }
    let mut last = events.last().map_or((0, 0), |event| (event.at_ms, event.playhead));
    for kind in track.open(true, true, true) {
        last.0 = last.0.saturating_add(1);
        let synthetic = Event::synthetic(kind, last.0, last.1);
        track.close(&synthetic, None);
        out.push(synthetic);
    }
    Repaired { synthetic: out.len() - events.len(), events: out, warnings: track.warnings }
}

/// What is open at a moment, each by the recorded event that opened it.
#[derive(Debug, Default)]
struct Track {
    ad: Option<usize>,
    pod: Option<usize>,
    chapter: Option<usize>,
    states: Vec<String>,
    completed: bool,
    ended: bool,
    warnings: Vec<Warning>,
}

impl Track {
    /// What has to be closed before the `n`-th event. After `media.sessionEnd` nothing is open and nothing opens.
    fn due_before(&self, events: &[Event], n: usize) -> Vec<EventType> {
        let (ad, pod, chapter) = match events[n].kind {
            T::AdStart | T::AdBreakComplete => (true, false, false),
            T::AdBreakStart => (true, true, false),
            T::ChapterStart => (false, false, true),
            T::SessionEnd => (true, true, true),
            // Content may complete while a post-roll or a chapter is still to end: only what nothing ends is closed here.
            T::SessionComplete => {
                let rest = &events[n + 1..];
                let goes_on = |kinds: &[EventType]| {
                    rest.iter().take_while(|e| e.kind != T::SessionEnd).any(|e| kinds.contains(&e.kind))
                };
                let pod =
                    goes_on(&[T::AdBreakComplete, T::AdBreakStart, T::AdStart, T::AdComplete, T::AdSkip]);
                (!pod, !pod, !goes_on(&[T::ChapterComplete, T::ChapterSkip, T::ChapterStart]))
            }
            _ => (false, false, false),
        };
        self.open(ad, pod, chapter)
    }

    /// The closing events of those of ad, break and chapter that are asked for and open.
    fn open(&self, ad: bool, pod: bool, chapter: bool) -> Vec<EventType> {
        let all = [
            (ad && self.ad.is_some(), T::AdSkip),
            (pod && self.pod.is_some(), T::AdBreakComplete),
            (chapter && self.chapter.is_some(), T::ChapterSkip),
        ];
        all.into_iter().filter_map(|(due, kind)| due.then_some(kind)).collect()
    }

    /// Closes by a synthetic event, before the event that shows that it was over, or at the end of all.
    fn close(&mut self, synthetic: &Event, before: Option<&Event>) {
        let (opened, code, what) = match synthetic.kind {
            T::AdSkip => (self.ad.take(), "ad_open", "this ad was never closed"),
            T::AdBreakComplete => (self.pod.take(), "ad_break_open", "this ad break was never closed"),
            _ => (self.chapter.take(), "chapter_open", "this chapter was never closed"),
        };
        let place = match before {
            Some(event) => format!("before the {} that follows", event.kind),
            None => "after the last event".to_owned(),
        };
        if let Some(event) = opened {
            let text = format!("{what}: the payload has a {} {place}", synthetic.kind);
            self.warnings.push(Warning { code, event, text });
        }
    }

    /// Takes an event into account and warns of what is not mended.
    fn enter(&mut self, event: &Event) {
        let Origin::Recorded(n) = event.origin else { return };
        let mut warn = |code, text: &str| {
            self.warnings.push(Warning { code, event: n, text: text.to_owned() });
        };
        if self.ended {
            return warn("after_end", "it comes after media.sessionEnd: it is sent and does not count");
        }
        match event.kind {
            T::SessionEnd => self.ended = true,
            T::SessionComplete if self.completed => {
                warn("complete_again", "media.sessionComplete came before: one counts");
            }
            T::SessionComplete => self.completed = true,
            T::AdBreakStart => self.pod = Some(n),
            T::AdBreakComplete if self.pod.take().is_none() => {
                warn("no_ad_break", "it closes an ad break, and none is open");
            }
            T::AdStart => {
                if self.pod.is_none() {
                    let text =
                        "this ad is outside an ad break: it is sent, and its time counts as main content";
                    warn("ad_outside_break", text);
                }
                self.ad = Some(n);
            }
            T::AdComplete | T::AdSkip if self.ad.take().is_none() => {
                warn("no_ad", "it closes an ad, and none is open");
            }
            T::ChapterStart => self.chapter = Some(n),
            T::ChapterComplete | T::ChapterSkip if self.chapter.take().is_none() => {
                warn("no_chapter", "it closes a chapter, and none is open");
            }
            T::StatesUpdate => self.enter_states(n, event),
            _ => {}
        }
    }

    fn enter_states(&mut self, n: usize, event: &Event) {
        for name in event.ends.iter().chain(&event.starts) {
            if self.states.contains(name) {
                continue;
            }
            if self.states.len() == MAX_STATES {
                let text = format!("more than {MAX_STATES} state names: the back end drops the later ones");
                return self.warnings.push(Warning { code: "too_many_states", event: n, text });
            }
            self.states.push(name.clone());
        }
    }
}

#[cfg(test)]
mod tests;
