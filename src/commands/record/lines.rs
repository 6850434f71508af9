//! Lines of bytes from a stream that may hold anything.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// The longest line that is read whole: no request may be larger (product, section 4.3).
pub(super) const LONGEST: usize = 1 << 20;

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Nothing but white space.
    Blank,
    /// The bytes without white space at the ends.
    Event(Vec<u8>),
    /// It was read over, and nothing of it was kept.
    TooLong,
    /// The stream is at its end.
    End,
}

/// The next line; a last one without a line end counts.
pub(super) async fn next_line(input: &mut (dyn AsyncBufRead + Unpin)) -> io::Result<Line> {
    let mut line: Vec<u8> = Vec::new();
    let (mut any, mut too_long) = (false, false);
    loop {
        let chunk = input.fill_buf().await?;
        if chunk.is_empty() {
            break;
        }
        any = true;
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let part = &chunk[..end.unwrap_or(chunk.len())];
        let used = end.map_or(chunk.len(), |end| end + 1);
        too_long |= line.len() + part.len() > LONGEST;
        if too_long {
            line = Vec::new();
        } else {
            line.extend_from_slice(part);
        }
        input.consume(used);
        if end.is_some() {
            break;
        }
    }
    Ok(match line.trim_ascii() {
        _ if !any => Line::End,
        _ if too_long => Line::TooLong,
        [] => Line::Blank,
        text if text.len() == line.len() => Line::Event(line),
        text => Line::Event(text.to_vec()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(mut input: &[u8]) -> Vec<Line> {
        let mut lines = Vec::new();
        loop {
            match next_line(&mut input).await.unwrap() {
                Line::End => return lines,
                line => lines.push(line),
            }
        }
    }

    #[tokio::test]
    async fn lines_of_every_kind() {
        let event = |text: &str| Line::Event(text.as_bytes().to_vec());
        assert_eq!(all(b"").await, []);
        assert_eq!(all(b"\n").await, [Line::Blank]);
        assert_eq!(all(b"{}\r\n \t\r\n[]").await, [event("{}"), Line::Blank, event("[]")]);
        assert_eq!(all(b"\xff\xfe\0\n").await, [Line::Event(vec![0xff, 0xfe, 0])]);
    }

    #[tokio::test]
    async fn a_line_without_end_costs_no_memory_and_not_the_next_line() {
        let mut input = vec![b'x'; LONGEST + 1];
        input.extend_from_slice(b"\n{}\n");
        assert_eq!(all(&input).await, [Line::TooLong, Line::Event(b"{}".to_vec())]);
        assert_eq!(all(&vec![b'x'; LONGEST]).await, [Line::Event(vec![b'x'; LONGEST])]);
    }
}
