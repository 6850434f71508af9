//! A client that costs little, so that the service is measured: HTTP/1.1 by hand over one connection, buffers reused.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::events::{self, START};

/// One keep-alive connection.
pub(crate) struct Client {
    stream: UnixStream,
    buffer: Vec<u8>,
    filled: usize,
}

impl Client {
    pub(crate) fn connect(socket: &Path) -> Client {
        Client::try_connect(socket).unwrap()
    }

    pub(crate) fn try_connect(socket: &Path) -> std::io::Result<Client> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(120)))?;
        Ok(Client { stream, buffer: vec![0; 64 << 10], filled: 0 })
    }

    /// Sends a request as it is and reads its answer; anything but a success ends the run.
    pub(crate) fn send(&mut self, request: &[u8]) -> &[u8] {
        self.stream.write_all(request).unwrap();
        self.filled = 0;
        let (head, length) = loop {
            self.fill();
            let text = &self.buffer[..self.filled];
            if let Some(end) = text.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break (end + 4, content_length(&text[..end]));
            }
        };
        while self.filled < head + length {
            if self.buffer.len() < head + length {
                self.buffer.resize(head + length, 0);
            }
            self.fill();
        }
        let answer = &self.buffer[..head + length];
        assert!(answer.starts_with(b"HTTP/1.1 2"), "refused: {}", String::from_utf8_lossy(answer));
        &self.buffer[head..head + length]
    }

    fn fill(&mut self) {
        let read = self.stream.read(&mut self.buffer[self.filled..]).unwrap();
        assert!(read > 0, "the service closed the connection");
        self.filled += read;
    }

    /// Starts a session.
    pub(crate) fn start(&mut self, key: &str) {
        let mut request = Vec::new();
        events::head(key, "application/json", START.len(), &mut request);
        request.extend_from_slice(START.as_bytes());
        self.send(&request);
    }

    /// A request without a body.
    pub(crate) fn ask(&mut self, method: &str, path: &str) -> Vec<u8> {
        let head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n");
        self.send(head.as_bytes()).to_vec()
    }

    /// The service's own account of itself.
    pub(crate) fn status(&mut self) -> serde_json::Value {
        serde_json::from_slice(&self.ask("GET", "/v1/status")).unwrap()
    }
}

fn content_length(head: &[u8]) -> usize {
    let head = std::str::from_utf8(head).unwrap();
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(0, |(_, length)| length.trim().parse().unwrap())
}
