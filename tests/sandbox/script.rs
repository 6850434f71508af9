//! Every step of the answer script, as a client sees it.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{DEADLINE, PATH, Response, Server, contract_example, request, session};

fn good() -> Vec<u8> {
    request(PATH, &[("content-type", "application/json")], contract_example().to_string().as_bytes())
}

#[tokio::test]
async fn canned_answers() {
    let cases = [
        // (step, status, code in `type`, a header)
        ("200", 200, None, None),
        ("503", 503, None, Some(("content-type", "text/plain; charset=utf-8"))),
        ("429:30", 429, None, Some(("retry-after", "30"))),
        ("503:0000:7", 503, Some("EXEG-0000-503"), Some(("retry-after", "7"))),
        ("503:@date-86400", 503, None, None),
        ("422:0104", 422, Some("EXEG-0104-422"), None),
        ("400:0003", 400, Some("EXEG-0003-400"), None),
        ("404:va-0404", 404, Some("va-edge-0404-404"), None),
        ("413:40000", 413, Some("EXEG-0112-413"), None),
        ("302", 302, None, Some(("location", "http://portal.invalid/login"))),
        ("redirect", 302, None, Some(("location", "http://portal.invalid/login"))),
        ("html", 200, None, Some(("content-type", "text/html; charset=utf-8"))),
        ("gzip", 200, None, Some(("content-encoding", "gzip"))),
        ("200-empty", 200, None, Some(("content-length", "0"))),
        ("204", 204, None, None),
    ];
    let steps: Vec<&str> = cases.iter().map(|(step, ..)| *step).collect();
    let server = Server::scripted(&steps.join(",")).await;
    for (step, status, code, header) in cases {
        let answer = server.send(&good()).await;
        assert_eq!(answer.status, status, "{step}");
        if let Some(code) = code {
            assert_eq!(answer.code(), code, "{step}");
        }
        if let Some((name, value)) = header {
            assert_eq!(answer.header(name), Some(value), "{step}");
        }
        match step {
            "503:@date-86400" => assert!(answer.header("retry-after").unwrap().ends_with(" gmt")),
            "413:40000" => assert!(answer.json()["detail"].as_str().unwrap().contains("40000")),
            "200-empty" | "204" => assert!(answer.body.is_empty()),
            "gzip" => assert!(answer.body.starts_with(b"\x1f\x8b")),
            "html" => assert!(answer.body.starts_with(b"<!doctype")),
            _ => {}
        }
        let seen = server.last();
        assert_eq!((seen.step.as_deref(), seen.events), (Some(step), 7));
        assert!(seen.findings.is_empty());
    }
    // Used up: validated, for good and for bad.
    assert_eq!(server.send(&good()).await.status, 200);
    assert_eq!(server.post(&session(&["play"])).await.status, 207);
    assert_eq!(server.last().step, None);
    server.stop().await;
}

#[tokio::test]
async fn shapes_of_207() {
    const NEW: &str = "media-analytics:new-session";
    for (step, list, code, made) in [
        ("207:refused", "errors", "va-edge-0400-400", false),
        ("207:upstream", "errors", "EXEG-0202-502", true),
        ("207:media", "errors", "EXEG-0203-502", false),
        ("207:warning", "warnings", "EXEG-0204-200", true),
        ("207:consent", "warnings", "EXEG-0301-200", false),
        ("200:consent", "warnings", "EXEG-0301-200", false),
        ("207:0201", "errors", "EXEG-0201-503", false),
        ("200:0303", "warnings", "EXEG-0303-200", false),
    ] {
        let server = Server::scripted(step).await;
        let answer = server.send(&good()).await;
        assert_eq!(answer.status.to_string(), step[..3], "{step}");
        let json = answer.json();
        let item = &json[list][0];
        assert_eq!(item["type"], format!("https://ns.adobe.com/aep/errors/{code}"), "{step}");
        assert_eq!(item["status"].to_string(), code.rsplit('-').next().unwrap(), "{step}");
        assert_eq!(answer.handles().iter().any(|handle| handle == NEW), made, "{step}");
        server.stop().await;
    }
}

#[tokio::test]
async fn resets_and_cuts() {
    let server = Server::scripted("reset,reset-before,cut").await;
    for _ in 0..2 {
        let (received, end) = server.exchange(&good()).await;
        assert!(received.is_empty());
        let kind = end.unwrap_err().kind();
        assert!(matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{kind:?}");
    }
    // The body was read before the one, not before the other.
    let seen = server.seen();
    assert_eq!((seen[0].answer.as_str(), seen[0].events, seen[0].status), ("reset", 7, None));
    assert_eq!((seen[1].answer.as_str(), seen[1].bytes, seen[1].status), ("reset-before", 0, None));

    let (received, end) = server.exchange(&good()).await;
    end.unwrap();
    let answer = Response::parse(&received);
    let promised: usize = answer.header("content-length").unwrap().parse().unwrap();
    assert_eq!((answer.status, answer.body.len()), (200, promised / 2));
    assert_eq!(server.last().answer, "cut");
    server.stop().await;
}

#[tokio::test]
async fn hanging_ends_with_the_client_or_with_the_sandbox() {
    let server = Server::scripted("hangx2").await;
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = TcpStream::connect(server.addr).await.unwrap();
        client.write_all(&good()).await.unwrap();
        clients.push(client);
    }
    let mut byte = [0];
    let silence = timeout(Duration::from_millis(300), clients[0].read(&mut byte)).await;
    assert!(silence.is_err(), "{silence:?}");
    assert_eq!(server.send(&good()).await.status, 200, "others are served meanwhile");
    let mut last = clients.pop().unwrap();
    drop(clients);
    server.stop().await;
    let end = timeout(DEADLINE, last.read(&mut byte)).await.unwrap();
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
}

#[tokio::test]
async fn a_wait_ends_in_the_usual_answer() {
    let server = Server::scripted("hang:1,hang:1").await;
    let before = Instant::now();
    assert_eq!(server.send(&good()).await.status, 200);
    assert!(before.elapsed() >= Duration::from_secs(1));
    assert_eq!(server.post(&session(&["play"])).await.status, 207);
    server.stop().await;
}

#[tokio::test]
async fn a_slow_answer_is_whole_in_the_end() {
    let server = Server::scripted("slow:1,slow").await;
    let answer = server.send(&good()).await;
    assert_eq!(answer.handles().len(), 3);

    let before = Instant::now();
    let mut client = TcpStream::connect(server.addr).await.unwrap();
    client.write_all(&good()).await.unwrap();
    let mut received = Vec::new();
    while !received.windows(5).any(|five| five == b"\r\n\r\n{") {
        let n = timeout(DEADLINE, client.read_buf(&mut received)).await.unwrap().unwrap();
        assert!(n > 0, "ended before the first byte of its body");
    }
    assert!(before.elapsed() >= Duration::from_secs(1));
    server.stop().await;
}

#[tokio::test]
async fn a_huge_answer_goes_on() {
    let server = Server::scripted("huge").await;
    let mut client = TcpStream::connect(server.addr).await.unwrap();
    client.write_all(&good()).await.unwrap();
    let mut received = 0;
    let mut buffer = vec![0; 1 << 20];
    while received < 20 << 20 {
        let n = timeout(DEADLINE, client.read(&mut buffer)).await.unwrap().unwrap();
        assert!(n > 0, "ended after {received} bytes");
        if received == 0 {
            assert!(String::from_utf8_lossy(&buffer[..n]).contains("content-length: 1073741824"));
        }
        received += n;
    }
    server.stop().await;
}

#[tokio::test]
async fn a_connection_serves_many_requests_and_many_connections_take_each_step_once() {
    let server = Server::scripted("503x5").await;
    let body = contract_example().to_string();
    let keep_alive = format!(
        "POST {PATH} HTTP/1.1\r\nhost: s\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let (addr, request) = (server.addr, keep_alive.clone());
        clients.spawn(async move {
            let mut stream = TcpStream::connect(addr).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            stream.write_all(good().as_slice()).await.unwrap();
            let mut received = Vec::new();
            timeout(DEADLINE, stream.read_to_end(&mut received)).await.unwrap().unwrap();
            String::from_utf8(received).unwrap().matches("HTTP/1.1 503").count()
        });
    }
    let refused: usize = clients.join_all().await.into_iter().sum();
    assert_eq!((refused, server.seen().len()), (5, 20));
    let mut numbers: Vec<u64> = server.seen().iter().map(|seen| seen.n).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=20).collect::<Vec<_>>());
    server.stop().await;
}

#[tokio::test]
async fn a_body_that_never_comes_whole_is_no_request() {
    let server = Server::scripted("").await;
    let whole = good();
    let mut client = TcpStream::connect(server.addr).await.unwrap();
    client.write_all(&whole[..whole.len() - 10]).await.unwrap();
    client.shutdown().await.unwrap();
    let mut received = Vec::new();
    let _ = timeout(DEADLINE, client.read_to_end(&mut received)).await.unwrap();
    assert!(received.is_empty());
    assert_eq!((server.last().answer.as_str(), server.last().status), ("aborted", None));
    server.stop().await;
}

#[tokio::test]
async fn stopping_does_not_wait_for_idle_clients() {
    let server = Server::scripted("").await;
    let idle = TcpStream::connect(server.addr).await.unwrap();
    let mut half = TcpStream::connect(server.addr).await.unwrap();
    half.write_all(b"POST /ee/va").await.unwrap();
    assert_eq!(server.post(&json!({})).await.status, 400);
    let before = Instant::now();
    server.stop().await;
    assert!(before.elapsed() < Duration::from_secs(5));
    drop((idle, half));
}
