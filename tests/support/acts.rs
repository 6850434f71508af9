//! What a stand-in for the endpoint can do with a request.

use std::time::Duration;

/// What the endpoint does with a connection or a request.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// Reads the request and answers it; the connection stays open unless the answer says otherwise.
    Answer(Reply),
    /// Takes the connection and never says a word, not even of TLS.
    HangOnConnect,
    /// Sends these bytes to whoever connects, without a word of TLS, and then falls silent.
    SpeakFirst(Vec<u8>),
    /// Resets the connection before reading from it.
    ResetOnConnect,
    /// Reads the head and this many bytes of the body, then resets.
    ResetInBody(usize),
    /// Reads the request, then resets.
    ResetAfterBody,
    /// Reads the request, then closes in good order.
    CloseAfterBody,
    /// Reads the request and never answers.
    Hang,
    /// Promises the whole answer, sends this much of its body, then closes.
    Cut(Reply, usize),
    /// Promises the whole answer, sends this much of its body, then falls silent.
    Stall(Reply, usize),
    /// Answers with a body of so many bytes, as fast as they are taken.
    Flood(u64),
    /// Sends headers for ever.
    EndlessHeaders,
    /// Answers, one byte at a time.
    Drip(Reply, Duration),
    /// Reads the request, sends these bytes, closes.
    Raw(Vec<u8>),
}

/// An HTTP answer.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }

    pub(crate) fn json(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::new(status, body).header("content-type", "application/json")
    }

    pub(crate) fn html(status: u16) -> Self {
        Self::new(status, "<!DOCTYPE html><html><body><h1>Welcome to Hotel Wi-Fi</h1></body></html>")
            .header("content-type", "text/html; charset=utf-8")
    }

    /// A media session taken in, as contract section 10 shows it.
    pub(crate) fn accepted() -> Self {
        Self::json(
            200,
            r#"{"requestId":"b5d2f1f6","handle":[{"type":"media-analytics:new-session","payload":[{"sessionId":"af8bb22766e4"}]}]}"#,
        )
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn head(&self) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} Scripted\r\n", self.status);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if self.status != 204 {
            head.push_str(&format!("content-length: {}\r\n", self.body.len()));
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    pub(super) fn closes(&self) -> bool {
        self.headers.iter().any(|(name, value)| name.eq_ignore_ascii_case("connection") && value == "close")
    }
}
