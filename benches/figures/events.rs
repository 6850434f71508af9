//! What players send: events of 300 bytes, and the requests that carry them.

/// Bytes of an event.
pub(crate) const EVENT_BYTES: usize = 300;

/// A start of a live programme: a playhead is the second of the day and never beyond the end.
pub(crate) const START: &str = "{\"mediaEventType\":\"media.sessionStart\",\
    \"mediaEventTimestamp\":\"2026-03-07T18:30:00.120Z\",\"mediaCollection\":{\"playhead\":10000,\
    \"sessionDetails\":{\"name\":\"news-at-six\",\"length\":86400,\"contentType\":\"Live\",\
    \"playerName\":\"acme-stb\",\"channel\":\"living-room\"}}}";

/// Playheads of five digits below the length of a day.
const FIRST: u32 = 10_000;
const LAST: u32 = 86_399;

/// Makes one event after the other, each of [`EVENT_BYTES`].
pub(crate) struct Events {
    text: Vec<u8>,
    playhead_at: usize,
    playhead: u32,
}

impl Events {
    pub(crate) fn new() -> Events {
        let mut text = String::from(
            "{\"mediaEventType\":\"media.ping\",\"mediaEventTimestamp\":\"2026-03-07T18:30:10.120Z\",\
             \"mediaCollection\":{\"playhead\":",
        );
        let playhead_at = text.len();
        text.push_str(
            "10000,\"qoeDataDetails\":{\"bitrate\":5800,\"droppedFrames\":12,\"framesPerSecond\":50,\
             \"timeToStart\":1240},\"note\":\"",
        );
        text.push_str(&"n".repeat(EVENT_BYTES - text.len() - 3));
        text.push_str("\"}}");
        assert_eq!(text.len(), EVENT_BYTES);
        Events { text: text.into_bytes(), playhead_at, playhead: FIRST }
    }

    /// The next event.
    pub(crate) fn next(&mut self) -> &[u8] {
        self.playhead = if self.playhead == LAST { FIRST } else { self.playhead + 1 };
        let mut rest = self.playhead;
        for at in (self.playhead_at..self.playhead_at + 5).rev() {
            self.text[at] = b'0' + u8::try_from(rest % 10).unwrap();
            rest /= 10;
        }
        &self.text
    }

    /// A whole request with `count` events, written over what `request` held.
    pub(crate) fn request(&mut self, key: &str, count: usize, request: &mut Vec<u8>) {
        request.clear();
        if count == 1 {
            head(key, "application/json", EVENT_BYTES, request);
            request.extend_from_slice(self.next());
        } else {
            head(key, "application/x-ndjson", count * (EVENT_BYTES + 1), request);
            for _ in 0..count {
                request.extend_from_slice(self.next());
                request.push(b'\n');
            }
        }
    }
}

/// The head of a request that adds to a session.
pub(crate) fn head(key: &str, kind: &str, length: usize, request: &mut Vec<u8>) {
    let head = format!(
        "POST /v1/sessions/{key}/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: {kind}\r\n\
         content-length: {length}\r\n\r\n"
    );
    request.extend_from_slice(head.as_bytes());
}
