//! Media sessions as good players record them, always the same.
#![allow(dead_code, reason = "each test file that includes this uses its own part of it")]

use afterplay::event::EventType;
use afterplay::upload::payload::Recorded;
use serde_json::{Value, json};

/// 2026-03-07T18:30:00Z
pub(crate) const START: i64 = 1_772_908_200_000;

/// An event as a player sent it.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) kind: EventType,
    pub(crate) at_ms: i64,
    pub(crate) body: String,
}

/// The events as the payload builder takes them.
pub(crate) fn recorded(events: &[Sent]) -> Vec<Recorded<'_>> {
    events.iter().map(|e| Recorded { kind: e.kind, body: &e.body, at_ms: e.at_ms }).collect()
}

/// A player that plays by the book.
pub(crate) struct Player {
    pub(crate) events: Vec<Sent>,
    now: i64,
    position_ms: i64,
    playing: bool,
    every_ms: i64,
    ping_at: i64,
    breaks: u32,
    ads: u32,
}

impl Player {
    /// Starts a session with these details beside those that every session has.
    pub(crate) fn start(position_s: i64, details: Value) -> Player {
        let mut all = json!({ "playerName": "acme-stb", "channel": "living-room", "appVersion": "7.4.1" });
        all.as_object_mut()
            .into_iter()
            .for_each(|all| all.extend(details.as_object().cloned().unwrap_or_default()));
        let mut player = Player {
            events: Vec::new(),
            now: START,
            position_ms: position_s * 1000,
            playing: false,
            every_ms: 10_000,
            ping_at: i64::MAX,
            breaks: 0,
            ads: 0,
        };
        let metadata =
            json!([{ "name": "_acme.storefront", "value": "de" }, { "name": "_acme.tier", "value": "" }]);
        player.tell(EventType::SessionStart, json!({ "sessionDetails": all, "customMetadata": metadata }));
        player
    }

    pub(crate) fn tell(&mut self, kind: EventType, members: Value) {
        let mut collection = members;
        // A player knows its position to the millisecond.
        collection["playhead"] = json!(self.position_ms as f64 / 1000.0);
        let body = json!({ "mediaEventType": kind.as_str(), "mediaCollection": collection });
        self.events.push(Sent { kind, at_ms: self.now, body: body.to_string() });
        self.now += 3;
    }

    pub(crate) fn play(&mut self) {
        self.tell(EventType::Play, json!({}));
        self.playing = true;
        self.ping_at = self.now + self.every_ms;
    }

    /// Time passes and the heartbeat goes on.
    pub(crate) fn pass(&mut self, seconds: i64) {
        let until = self.now + seconds * 1000;
        while self.now < until {
            let to = until.min(self.ping_at);
            self.position_ms += if self.playing { to - self.now } else { 0 };
            self.now = to;
            if to == self.ping_at {
                self.ping_at += self.every_ms;
                let before = self.now;
                self.tell(EventType::Ping, json!({}));
                self.now = before;
            }
        }
    }

    pub(crate) fn pause(&mut self, seconds: i64) {
        self.tell(EventType::PauseStart, json!({}));
        self.playing = false;
        self.pass(seconds);
        self.play();
    }

    pub(crate) fn buffer(&mut self, seconds: i64) {
        self.tell(EventType::BufferStart, json!({}));
        self.playing = false;
        self.pass(seconds);
        self.play();
    }

    /// A break of ads of 20 s each, with a heartbeat a second.
    pub(crate) fn ad_break(&mut self, ads: u32) {
        let was_playing = std::mem::replace(&mut self.playing, false);
        (self.every_ms, self.ping_at) = (1000, self.now + 1000);
        self.breaks += 1;
        let pod =
            json!({ "index": self.breaks, "offset": self.position_ms / 1000, "friendlyName": "mid-roll" });
        self.tell(EventType::AdBreakStart, json!({ "advertisingPodDetails": pod }));
        for place in 1..=ads {
            self.ads += 1;
            let ad = json!({
                "name": format!("ad-{:04}", self.ads), "friendlyName": format!("Spring offer {}", self.ads),
                "length": 20, "playerName": "acme-stb", "podPosition": place, "advertiser": "Northwind Traders",
                "campaignID": "cmp-2026-spring", "creativeID": format!("crv-{:05}", self.ads * 7),
                "creativeURL": "https://ads.example/creative.mp4", "placementID": "plc-16-9", "siteID": "site-1",
            });
            let metadata = json!([{ "name": "_acme.adserver", "value": "north-1" }]);
            self.tell(EventType::AdStart, json!({ "advertisingDetails": ad, "customMetadata": metadata }));
            self.pass(20);
            self.tell(EventType::AdComplete, json!({}));
        }
        self.tell(EventType::AdBreakComplete, json!({}));
        (self.every_ms, self.ping_at) = (10_000, i64::MAX);
        if was_playing {
            self.play();
        }
    }

    pub(crate) fn chapter(&mut self, index: u32, seconds: i64) {
        self.open_chapter(index, seconds);
        self.pass(seconds);
        self.tell(EventType::ChapterComplete, json!({}));
    }

    pub(crate) fn open_chapter(&mut self, index: u32, seconds: i64) {
        let chapter = json!({
            "index": index, "length": seconds, "offset": self.position_ms / 1000,
            "friendlyName": format!("Chapter {index}"),
        });
        self.tell(EventType::ChapterStart, json!({ "chapterDetails": chapter }));
    }

    pub(crate) fn states(&mut self, on: &[&str], off: &[&str]) {
        let list = |names: &[&str]| names.iter().map(|name| json!({ "name": name })).collect::<Value>();
        let mut lists = json!({});
        for (member, names) in [("statesStart", on), ("statesEnd", off)] {
            if !names.is_empty() {
                lists[member] = list(names);
            }
        }
        self.tell(EventType::StatesUpdate, lists);
    }

    pub(crate) fn end(mut self, kind: EventType) -> Vec<Sent> {
        self.tell(kind, json!({}));
        self.events
    }
}

/// 45 minutes in five chapters, eight ads in three breaks, two pauses.
pub(crate) fn episode() -> Vec<Sent> {
    let mut player = Player::start(
        0,
        json!({
            "name": "ep-204417", "friendlyName": "The Long Tide", "show": "Harbour Lights", "season": "2",
            "episode": "7", "genre": "Drama", "network": "Northsea", "contentType": "DVOD", "streamType": "video",
            "length": 2700, "assetID": "a-1177", "firstAirDate": "2025-11-02", "rating": "12",
        }),
    );
    player.ad_break(2);
    player.play();
    player.states(&["fullScreen"], &[]);
    for index in 1..=5 {
        player.open_chapter(index, 540);
        player.pass(270);
        match index {
            2 | 4 => player.ad_break(3),
            3 => player.pause(95),
            5 => player.pause(12),
            _ => player.states(&["mute", "closedCaptioning"], &[]),
        }
        player.pass(270);
        player.tell(EventType::ChapterComplete, json!({}));
    }
    player.states(&[], &["mute", "closedCaptioning", "fullScreen"]);
    player.end(EventType::SessionComplete)
}

/// Two hours in 22 chapters, two pauses of seven minutes.
pub(crate) fn film() -> Vec<Sent> {
    let mut player = Player::start(
        0,
        json!({
            "name": "film-0042", "friendlyName": "Low Water", "contentType": "VOD", "streamType": "video",
            "length": 7260, "genre": "Thriller", "originator": "Northsea Pictures", "rating": "16",
        }),
    );
    player.play();
    for index in 1..=22 {
        player.chapter(index, 330);
        if index % 8 == 0 {
            player.pause(420);
        }
    }
    player.end(EventType::SessionComplete)
}

/// Eight hours of eight programmes, 32 breaks of four ads. The playhead is the second of the day.
pub(crate) fn live() -> Vec<Sent> {
    let mut player = Player::start(
        32_400,
        json!({
            "name": "channel-7", "friendlyName": "Channel 7", "contentType": "Live", "streamType": "video",
            "length": 86_400, "station": "C7",
        }),
    );
    player.play();
    for index in 1..=8 {
        player.open_chapter(index, 3600);
        for _ in 0..4 {
            player.pass(820);
            player.ad_break(4);
        }
        player.tell(EventType::ChapterComplete, json!({}));
    }
    player.end(EventType::SessionEnd)
}

/// Twelve songs.
pub(crate) fn album() -> Vec<Sent> {
    let mut player = Player::start(
        0,
        json!({
            "name": "album-8", "friendlyName": "Tideland", "contentType": "Song", "streamType": "audio",
            "length": 2460, "artist": "The Moorings", "album": "Tideland", "label": "Quay Records", "author": "M. Pier",
        }),
    );
    player.play();
    for index in 1..=12 {
        player.open_chapter(index, 205);
        player.pass(if index == 4 { 31 } else { 205 });
        let close = if index == 4 { EventType::ChapterSkip } else { EventType::ChapterComplete };
        player.tell(close, json!({}));
    }
    player.end(EventType::SessionEnd)
}

/// Errors, stalls of the network and changes of quality.
pub(crate) fn podcast() -> Vec<Sent> {
    let mut player = Player::start(
        0,
        json!({
            "name": "pod-31", "friendlyName": "Tides and Times", "contentType": "Podcast", "streamType": "audio",
            "length": 1800, "publisher": "Quay Media", "feed": "main",
        }),
    );
    player.tell(EventType::BufferStart, json!({}));
    player.pass(2);
    player.play();
    for n in 1..=6 {
        player.pass(140);
        let (kbps, dropped) = (64 + 32 * (n % 3), 3 * n);
        let quality = json!({ "bitrate": kbps, "droppedFrames": dropped, "timeToStart": 2013 });
        player.tell(EventType::BitrateChange, json!({ "qoeDataDetails": quality }));
        let error =
            json!({ "name": format!("NET-{n}"), "source": if n % 2 == 0 { "external" } else { "player" } });
        player.tell(EventType::Error, json!({ "errorDetails": error }));
        player.buffer(4);
    }
    player.end(EventType::SessionEnd)
}

/// A few minutes in which every kind of thing is open at some moment.
pub(crate) fn short() -> Vec<Sent> {
    let details = json!({ "name": "clip-1", "contentType": "VOD", "streamType": "video", "length": 120 });
    let mut player = Player::start(0, details);
    player.ad_break(1);
    player.play();
    player.states(&["fullscreen"], &[]);
    player.open_chapter(1, 60);
    player.pass(25);
    player.ad_break(2);
    player.pass(35);
    player.tell(EventType::ChapterComplete, json!({}));
    player.open_chapter(2, 60);
    player.buffer(2);
    player.pass(20);
    player.pause(15);
    player.pass(38);
    player.tell(EventType::ChapterComplete, json!({}));
    player.tell(EventType::SessionComplete, json!({}));
    player.end(EventType::SessionEnd)
}

/// All of them, by name.
pub(crate) fn all() -> Vec<(&'static str, Vec<Sent>)> {
    vec![
        ("episode", episode()),
        ("film", film()),
        ("live", live()),
        ("album", album()),
        ("podcast", podcast()),
        ("short", short()),
    ]
}
