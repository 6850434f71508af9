//! What hyper answers by itself to a request it cannot read: a bare status, which becomes a problem document here.
//!
//! hyper leaves its user no say in it, so it is known by its looks where it goes out: no answer of ours with such a
//! status is without a type.

use super::problem::ApiError;

/// How a bare answer says that nothing follows.
const NO_BODY: &str = "content-length: 0\r\n";
/// No head of hyper's own is longer.
const LONGEST: usize = 256;

/// Where a bare answer begins that ends what is to be written, and what goes out in its place.
pub(super) fn find(written: &[u8]) -> Option<(usize, Vec<u8>)> {
    // Nearly all answers end in JSON.
    if !written.ends_with(b"\r\n\r\n") {
        return None;
    }
    let tail = &written[written.len().saturating_sub(LONGEST)..];
    let at = tail.windows(7).rposition(|bytes| bytes == b"HTTP/1.")?;
    let head = std::str::from_utf8(&tail[at..]).ok()?;
    let error = match head.get(9..12)? {
        "400" => ApiError::new(
            400,
            "invalid",
            "This is not a request of HTTP/1.1: its first line, a header or the length of its body cannot be read. \
             Correct it and send it on a new connection.",
        ),
        "414" | "431" => ApiError::new(
            head.get(9..12)?.parse().ok()?,
            "too_large",
            "The head of the request is larger than 16 KiB or has more than 100 headers. \
             Send fewer or shorter ones on a new connection.",
        ),
        _ => return None,
    };
    let (before, after) = head.split_once(NO_BODY).filter(|_| !head.contains("content-type"))?;
    let body = serde_json::to_string(&error).ok()?;
    let length = body.len();
    let whole = format!(
        "{before}content-type: application/problem+json\r\ncontent-length: {length}\r\n{after}{body}"
    );
    Some((written.len() - tail.len() + at, whole.into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BARE: &str = "HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n\
                        content-length: 0\r\ndate: Sat, 07 Mar 2026 18:30:00 GMT\r\n\r\n";

    #[test]
    fn a_bare_answer_is_found_behind_others_and_keeps_its_head() {
        let long = "x".repeat(1000);
        for before in ["", "HTTP/1.1 204 No Content\r\n\r\n", &long] {
            let (at, whole) = find(format!("{before}{BARE}").as_bytes()).unwrap();
            assert_eq!(at, before.len());
            let whole = String::from_utf8(whole).unwrap();
            let (head, body) = whole.split_once("\r\n\r\n").unwrap();
            let length = format!("\r\ncontent-length: {}\r\n", body.len());
            assert!(
                whole.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n")
            );
            assert!(head.contains(&length) && head.contains("\r\ndate: "), "{head}");
            assert!(body.contains("\"reason\":\"too_large\""), "{body}");
        }
    }

    #[test]
    fn our_own_answers_are_left_alone() {
        for own in [
            "",
            "\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 204 No Content\r\ndate: Sat, 07 Mar 2026 18:30:00 GMT\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            // To a HEAD.
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\ncontent-length: 97\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\ncontent-length: 0\r\n\r\n",
            &BARE[..BARE.len() - 1],
            &BARE[1..],
        ] {
            assert!(find(own.as_bytes()).is_none(), "{own}");
        }
    }
}
