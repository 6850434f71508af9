//! What happened in a session, read from its events: where the playhead was, and what lasted from when to when.

use serde_json::Value;

use crate::commands::text;

/// State names that get a row of their own; Adobe counts at most ten (contract section 7).
const STATE_ROWS: usize = 10;

/// One event on the curve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    pub(super) at_ms: i64,
    /// Seconds.
    pub(super) playhead: f64,
    /// Main content runs from here to the next event.
    pub(super) playing: bool,
}

/// Something that lasts.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bar {
    pub(super) from_ms: i64,
    /// `None` where the recording ended before it did.
    pub(super) to_ms: Option<i64>,
    pub(super) label: String,
}

/// One row under the graph.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Lane {
    pub(super) name: String,
    pub(super) bars: Vec<Bar>,
    pub(super) marks: Vec<i64>,
}

impl Lane {
    fn new(name: &str) -> Lane {
        Lane { name: text::visible(name).into_owned(), bars: Vec::new(), marks: Vec::new() }
    }

    fn open(&mut self, at_ms: i64, label: String) {
        self.close(at_ms);
        self.bars.push(Bar { from_ms: at_ms, to_ms: None, label });
    }

    fn close(&mut self, at_ms: i64) {
        if let Some(bar) = self.bars.last_mut()
            && bar.to_ms.is_none()
        {
            bar.to_ms = Some(at_ms);
        }
    }
}

/// A session as it is drawn.
#[derive(Debug, Default)]
pub(super) struct Story {
    pub(super) points: Vec<Point>,
    /// The rows that have something in them, in their order.
    pub(super) lanes: Vec<Lane>,
    /// State names beyond the rows there are.
    pub(super) more_states: usize,
    /// When and what.
    pub(super) errors: Vec<(i64, String)>,
}

impl Story {
    /// Reads the events. What is not understood is passed over: a drawing is no place to refuse anything.
    pub(super) fn read(events: &[Value]) -> Story {
        let mut story = Story::default();
        let [mut pauses, mut buffering, mut breaks, mut ads, mut chapters, mut errors] =
            ["paused", "buffering", "ad breaks", "ads", "chapters", "errors"].map(Lane::new);
        let mut states: Vec<Lane> = Vec::new();
        let mut running = false;
        for event in events {
            let collection = &event["mediaCollection"];
            let before = story.points.last().copied();
            // An event without a time of its own came after the one before it; nothing more is known.
            let Some(at) =
                event["mediaEventTimestamp"].as_str().and_then(text::millis).or(before.map(|p| p.at_ms))
            else {
                continue;
            };
            let at = before.map_or(at, |before| at.max(before.at_ms));
            let kind = event["mediaEventType"].as_str().unwrap_or_default();
            match kind.strip_prefix("media.").unwrap_or(kind) {
                "play" => {
                    running = true;
                    pauses.close(at);
                    buffering.close(at);
                }
                "pauseStart" => {
                    running = false;
                    buffering.close(at);
                    pauses.open(at, String::new());
                }
                "bufferStart" => {
                    running = false;
                    pauses.close(at);
                    buffering.open(at, String::new());
                }
                "adBreakStart" => breaks.open(at, label(&collection["advertisingPodDetails"])),
                "adBreakComplete" => {
                    ads.close(at);
                    breaks.close(at);
                }
                "adStart" => ads.open(at, label(&collection["advertisingDetails"])),
                "adComplete" | "adSkip" => ads.close(at),
                "chapterStart" => chapters.open(at, label(&collection["chapterDetails"])),
                "chapterComplete" | "chapterSkip" => chapters.close(at),
                "error" => {
                    errors.marks.push(at);
                    story.errors.push((at, error(collection)));
                }
                "sessionComplete" | "sessionEnd" => {
                    running = false;
                    for lane in [&mut pauses, &mut buffering, &mut breaks, &mut ads, &mut chapters] {
                        lane.close(at);
                    }
                    states.iter_mut().for_each(|lane| lane.close(at));
                }
                _ => {}
            }
            update(&mut states, &mut story.more_states, collection, at);
            let in_ads =
                [&breaks, &ads].iter().any(|lane| lane.bars.last().is_some_and(|bar| bar.to_ms.is_none()));
            let playhead = collection["playhead"].as_f64().or(before.map(|p| p.playhead)).unwrap_or(0.0);
            story.points.push(Point { at_ms: at, playhead, playing: running && !in_ads });
        }
        story.lanes = [pauses, buffering, breaks, ads, chapters, errors].into_iter().chain(states).collect();
        story.lanes.retain(|lane| !lane.bars.is_empty() || !lane.marks.is_empty());
        story
    }

    /// Where the playhead was: it runs with the clock while main content plays, never beyond what the next event
    /// says, and stands still otherwise (contract section 6.1).
    pub(super) fn playhead_at(&self, at_ms: i64) -> f64 {
        let after = self.points.partition_point(|point| point.at_ms <= at_ms);
        let Some(point) = after.checked_sub(1).and_then(|index| self.points.get(index)) else {
            return self.points.first().map_or(0.0, |point| point.playhead);
        };
        match self.points.get(after) {
            Some(next) if point.playing && next.playhead >= point.playhead => {
                let run = point.playhead + at_ms.abs_diff(point.at_ms) as f64 / 1000.0;
                run.min(next.playhead)
            }
            _ => point.playhead,
        }
    }
}

/// Player states on and off.
fn update(states: &mut Vec<Lane>, more: &mut usize, collection: &Value, at: i64) {
    let names = |list: &str| {
        let items = collection[list].as_array().map(Vec::as_slice).unwrap_or_default();
        items.iter().filter_map(|item| item["name"].as_str().map(text::visible)).collect::<Vec<_>>()
    };
    for name in names("statesEnd") {
        if let Some(lane) = states.iter_mut().find(|lane| lane.name == name) {
            lane.close(at);
        }
    }
    for name in names("statesStart") {
        let known = states.iter().position(|lane| lane.name == name);
        match known {
            Some(index) => states[index].open(at, String::new()),
            None if states.len() < STATE_ROWS => {
                let mut lane = Lane::new(&name);
                lane.open(at, String::new());
                states.push(lane);
            }
            None => *more += 1,
        }
    }
}

/// The best name that the details give.
fn label(details: &Value) -> String {
    let name = ["friendlyName", "name"].iter().find_map(|key| details[*key].as_str());
    let number = ["index", "podPosition"].iter().find_map(|key| details[*key].as_u64());
    match (name, number) {
        (Some(name), _) => text::visible(name).into_owned(),
        (None, Some(number)) => number.to_string(),
        (None, None) => String::new(),
    }
}

fn error(collection: &Value) -> String {
    let details = &collection["errorDetails"];
    let part =
        |key: &str| details[key].as_str().map(|part| text::visible(part).into_owned()).unwrap_or_default();
    let at = text::position(collection["playhead"].as_f64().unwrap_or(0.0));
    match part("source").as_str() {
        "" => format!("× {} at {at}", part("name")),
        source => format!("× {} ({source}) at {at}", part("name")),
    }
}
