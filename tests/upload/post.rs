//! One POST to a real server that misbehaves: what comes out of `Sender::post` in each kind of trouble.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use afterplay::upload::send::{ANSWER_LIMIT, Answer, Deadlines, Failure, FailureKind, Outcome, Sender};

use crate::endpoint::{Act, Authority, Endpoint, PATIENCE, Reply, Validity, nobody};

/// Long enough never to pass by accident.
const PATIENT: Deadlines = Deadlines { connect: PATIENCE, total: PATIENCE };
/// Short enough to be waited for, and long enough for a busy machine to say what it has to say before.
const HASTY: Deadlines = Deadlines { connect: Duration::from_millis(500), total: Duration::from_secs(2) };
/// More than the buffers of a connection on loopback hold.
const LARGE: usize = 32 * 1024 * 1024;

fn sender(endpoint: &Endpoint, deadlines: Deadlines) -> Sender {
    Sender::new(&endpoint.url(), "ds 1", deadlines)
}

/// One small body to an endpoint that does this.
async fn post(act: Act, deadlines: Deadlines) -> Outcome {
    let endpoint = Endpoint::start([act]);
    sender(&endpoint, deadlines).post(b"{}".to_vec()).await
}

#[track_caller]
fn answer(outcome: Outcome) -> Answer {
    match outcome {
        Outcome::Answer(answer) => answer,
        Outcome::Failed(failure) => panic!("no answer: {failure:?}"),
    }
}

#[track_caller]
fn failure(outcome: Outcome) -> Failure {
    match outcome {
        Outcome::Failed(failure) => failure,
        Outcome::Answer(answer) => panic!("an answer: {answer:?}"),
    }
}

#[track_caller]
fn assert_failed(outcome: Outcome, kind: FailureKind, maybe_delivered: bool, says: &str) {
    let failure = failure(outcome);
    assert_eq!((failure.kind, failure.maybe_delivered), (kind, maybe_delivered), "{failure:?}");
    assert!(failure.detail.contains(says), "{failure:?}");
}

#[tokio::test]
async fn a_slow_question_for_the_time_is_asked_again_on_the_same_connection() {
    use std::io::{BufRead, BufReader, Write};

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/x", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        // As long as it takes to be too slow.
        for pause in [3100, 0] {
            while !lines.next().unwrap().unwrap().is_empty() {}
            std::thread::sleep(Duration::from_millis(pause));
            stream.write_all(b"HTTP/1.1 404 Scripted\r\ncontent-length: 0\r\n\r\n").unwrap();
        }
    });
    let answer = answer(Sender::new(&url, "ds", PATIENT).ask_time().await);
    let (began, ended) = answer.between;
    assert!((0..3000).contains(&(ended - began)), "{began} to {ended}");
    server.join().unwrap();
}

#[tokio::test]
async fn the_request_is_what_the_contract_says() {
    let endpoint = Endpoint::start([]);
    let body = "{\"events\":[\"é\"]}".repeat(500).into_bytes();
    let answer = answer(sender(&endpoint, PATIENT).post(body.clone()).await);

    assert_eq!(answer.status, 200);
    assert_eq!(answer.content_type.as_deref(), Some("application/json"));
    assert_eq!(answer.body, Reply::accepted().body);
    assert!(!answer.truncated);

    // Contract sections 1 and 2.
    let [request] = &endpoint.requests()[..] else { panic!("one request") };
    assert_eq!(request.method, "POST");
    assert_eq!(request.target, "/ee/va/v1/downloaded?configId=ds%201");
    assert_eq!(request.body, body);
    let mut names: Vec<_> = request.headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["accept", "content-length", "content-type", "host", "user-agent"]);
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(request.header("user-agent"), Some(concat!("afterplay/", env!("CARGO_PKG_VERSION"))));
}

#[tokio::test]
async fn an_answer_is_handed_over_as_it_came() {
    let reply = Reply::json(503, r#"{"type":"x"}"#)
        .header("retry-after", "120")
        .header("date", "Sun, 06 Nov 1994 08:49:37 GMT")
        .header("age", "7")
        .header("x-request-id", "r\u{fc}1");
    let answer = answer(post(Act::Answer(reply), PATIENT).await);
    let expected = Answer {
        status: 503,
        content_type: Some("application/json".to_owned()),
        retry_after: Some("120".to_owned()),
        date: Some("Sun, 06 Nov 1994 08:49:37 GMT".to_owned()),
        age: Some("7".to_owned()),
        request_id: Some("r\u{fc}1".to_owned()),
        body: br#"{"type":"x"}"#.to_vec(),
        between: answer.between,
        ..Answer::default()
    };
    assert!(answer.between.0 > 0 && answer.between.0 <= answer.between.1, "{answer:?}");
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn a_connection_is_used_again_until_the_path_changes() {
    let endpoint = Endpoint::start([]);
    let sender = sender(&endpoint, PATIENT);
    for _ in 0..3 {
        answer(sender.post(b"{}".to_vec()).await);
    }
    assert_eq!(endpoint.connections(), 1);
    sender.drop_pool();
    answer(sender.post(b"{}".to_vec()).await);
    let connections: Vec<_> = endpoint.requests().iter().map(|request| request.connection).collect();
    assert_eq!(connections, [0, 0, 0, 1]);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Endpoint::start([]);
    for status in [301, 302, 303, 307, 308] {
        let reply = Reply::html(status).header("location", &elsewhere.url());
        let answer = answer(post(Act::Answer(reply), PATIENT).await);
        assert_eq!(answer.status, status);
        assert_eq!(answer.location, Some(elsewhere.url()));
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn nothing_is_decompressed() {
    let gzip = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xab\xae\x05\x00\x43\xbf\xa6\xa3\x02\x00\x00\x00";
    let reply = Reply::json(200, gzip).header("content-encoding", "gzip");
    let answer = answer(post(Act::Answer(reply), PATIENT).await);
    assert_eq!(answer.content_encoding.as_deref(), Some("gzip"));
    assert_eq!(answer.body, gzip);
}

#[tokio::test]
async fn an_empty_answer_and_a_page_are_answers() {
    assert_eq!(answer(post(Act::Answer(Reply::new(204, "")), PATIENT).await).status, 204);
    let page = answer(post(Act::Answer(Reply::html(200)), PATIENT).await);
    assert!(page.content_type.is_some_and(|kind| kind.starts_with("text/html")));
    assert!(page.body.starts_with(b"<!DOCTYPE"));
}

#[tokio::test]
async fn a_huge_answer_is_read_up_to_the_limit() {
    let started = Instant::now();
    let flooded = answer(post(Act::Flood(1 << 30), PATIENT).await);
    assert_eq!((flooded.body.len(), flooded.truncated), (ANSWER_LIMIT, true));
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());

    let full = answer(post(Act::Flood(ANSWER_LIMIT as u64), PATIENT).await);
    assert_eq!((full.body.len(), full.truncated), (ANSWER_LIMIT, false));
}

#[tokio::test]
async fn after_a_huge_answer_the_connection_is_not_used_again() {
    let endpoint = Endpoint::start([Act::Flood(1 << 30)]);
    let sender = sender(&endpoint, PATIENT);
    assert!(answer(sender.post(b"{}".to_vec()).await).truncated);
    assert!(!answer(sender.post(b"{}".to_vec()).await).truncated);
    assert_eq!(endpoint.connections(), 2);
}

#[tokio::test]
async fn endless_headers_are_cut_off() {
    let started = Instant::now();
    assert_failed(post(Act::EndlessHeaders, PATIENT).await, FailureKind::Protocol, true, "");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test]
async fn what_is_not_http_is_called_so() {
    let outcome = post(Act::Raw(b"220 mail.example ESMTP\r\n\r\n".to_vec()), PATIENT).await;
    assert_failed(outcome, FailureKind::Protocol, true, "HTTP");
}

#[tokio::test]
async fn nobody_there() {
    let sender = Sender::new(&format!("http://{}/", nobody()), "id", PATIENT);
    assert_failed(sender.post(b"{}".to_vec()).await, FailureKind::Connect, false, "refused");
}

#[tokio::test]
async fn a_wrong_set_up_is_a_failure_and_no_panic() {
    for (endpoint, id) in [("nonsense", "id"), ("http://edge.example/", "id"), ("https://edge.example/", "")]
    {
        let outcome = Sender::new(endpoint, id, PATIENT).post(b"{}".to_vec()).await;
        assert_failed(outcome, FailureKind::Setup, false, "");
    }
}

#[tokio::test]
async fn silence_ends_with_the_deadline() {
    let started = Instant::now();
    assert_failed(post(Act::Hang, HASTY).await, FailureKind::Timeout, true, "within 2");
    assert!(started.elapsed() >= HASTY.total);

    let endpoint =
        Endpoint::start_tls(Authority::new().server("127.0.0.1", Validity::Now), [Act::HangOnConnect]);
    let deadlines = Deadlines { total: PATIENCE, ..HASTY };
    let started = Instant::now();
    assert_failed(sender(&endpoint, deadlines).post(b"{}".to_vec()).await, FailureKind::Timeout, false, "");
    assert!(started.elapsed() < PATIENCE / 2, "the deadline of the connection covers TLS");
}

#[tokio::test]
async fn a_body_that_cannot_go_out_is_not_maybe_delivered() {
    let endpoint = Endpoint::start([Act::ResetInBody(100_000)]);
    let outcome = sender(&endpoint, PATIENT).post(vec![b' '; LARGE]).await;
    assert_failed(outcome, FailureKind::Reset, false, "");
    assert!(endpoint.requests().is_empty());
}

#[tokio::test]
async fn a_reset_before_the_body() {
    let endpoint = Endpoint::start([Act::ResetOnConnect]);
    let failure = failure(sender(&endpoint, PATIENT).post(vec![b' '; LARGE]).await);
    // It comes while connecting or just after, as the scheduler likes.
    assert!(matches!(failure.kind, FailureKind::Connect | FailureKind::Reset), "{failure:?}");
    assert!(!failure.maybe_delivered);
}

#[tokio::test]
async fn a_reset_or_a_close_after_the_body_may_hide_a_delivery() {
    assert_failed(post(Act::ResetAfterBody, PATIENT).await, FailureKind::Reset, true, "");
    assert_failed(post(Act::CloseAfterBody, PATIENT).await, FailureKind::Reset, true, "");
}

#[tokio::test]
async fn a_stale_connection_is_replaced_without_a_failure() {
    let endpoint = Endpoint::start([Act::Answer(Reply::accepted().header("connection", "close"))]);
    let sender = sender(&endpoint, PATIENT);
    answer(sender.post(b"{}".to_vec()).await);
    answer(sender.post(b"{}".to_vec()).await);
    assert_eq!(endpoint.requests().len(), 2);
}

#[tokio::test]
async fn a_success_that_breaks_off_is_no_answer() {
    assert_failed(
        post(Act::Cut(Reply::accepted(), 20), PATIENT).await,
        FailureKind::Reset,
        true,
        "status 200",
    );
    assert_failed(
        post(Act::Stall(Reply::accepted(), 20), HASTY).await,
        FailureKind::Timeout,
        true,
        "status 200",
    );
    let slow = Act::Drip(Reply::accepted(), Duration::from_millis(20));
    assert_failed(post(slow, HASTY).await, FailureKind::Timeout, true, "");
}

#[tokio::test]
async fn a_refusal_that_breaks_off_is_still_a_refusal() {
    let refusal = || Reply::json(429, r#"{"type":"x","title":"y"}"#).header("retry-after", "7");
    for (act, deadlines) in [(Act::Cut(refusal(), 5), PATIENT), (Act::Stall(refusal(), 5), HASTY)] {
        let answer = answer(post(act, deadlines).await);
        assert_eq!((answer.status, answer.truncated, answer.body.len()), (429, true, 5));
        assert_eq!(answer.retry_after.as_deref(), Some("7"));
    }
}

#[tokio::test]
async fn slow_bytes_are_put_together() {
    let answer = answer(post(Act::Drip(Reply::accepted(), Duration::from_millis(1)), PATIENT).await);
    assert_eq!(answer.body, Reply::accepted().body);
}

#[tokio::test]
async fn a_foreign_certificate_is_refused() {
    let endpoint = Endpoint::start_tls(Authority::new().server("127.0.0.1", Validity::Now), []);
    let outcome = sender(&endpoint, PATIENT).post(b"{}".to_vec()).await;
    assert_failed(outcome, FailureKind::Tls, false, "UnknownIssuer");
    assert!(endpoint.requests().is_empty());
}

#[tokio::test]
async fn plain_http_on_a_tls_port_is_tls_trouble() {
    let endpoint =
        Endpoint::start([Act::SpeakFirst(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n".to_vec())]);
    let url = endpoint.url().replace("http://", "https://");
    let outcome = Sender::new(&url, "id", PATIENT).post(b"{}".to_vec()).await;
    assert_failed(outcome, FailureKind::Tls, false, "InvalidContentType");
}

/// Set in the processes that a test starts to repeat itself in another environment. It holds the endpoints' URLs.
const CHILD: &str = "SEND_TEST_ENDPOINTS";

/// The URLs that the parent handed over, if this process is such a child.
fn endpoints_from_parent() -> Option<Vec<String>> {
    let urls = std::env::var(CHILD).ok()?;
    Some(urls.split(' ').map(str::to_owned).collect())
}

/// Runs the named test again in a process of its own: the environment is the process's, and changing it in this one
/// would reach the other tests. The child only posts; files and endpoints are made here.
#[track_caller]
fn repeat_in_child(test: &str, endpoints: &[&Endpoint], environment: &[(&str, &Path)]) {
    let urls: Vec<_> = endpoints.iter().map(|endpoint| endpoint.url()).collect();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("post::{test}"), "--nocapture"])
        .envs(environment.iter().copied())
        .env(CHILD, urls.join(" "))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("1 passed"), "{said}");
}

async fn post_to(url: &str) -> Outcome {
    Sender::new(url, "id", PATIENT).post(b"{}".to_vec()).await
}

#[tokio::test]
async fn a_proxy_from_the_environment_is_ignored() {
    if let Some(urls) = endpoints_from_parent() {
        assert_eq!(answer(post_to(&urls[0]).await).status, 200);
        return;
    }
    let endpoint = Endpoint::start([]);
    let proxy = format!("http://{}", nobody());
    let proxy = Path::new(&proxy);
    let environment =
        [("http_proxy", proxy), ("HTTP_PROXY", proxy), ("ALL_PROXY", proxy), ("NO_PROXY", Path::new(""))];
    repeat_in_child("a_proxy_from_the_environment_is_ignored", &[&endpoint], &environment);
    assert_eq!(endpoint.requests().len(), 1);
}

#[tokio::test]
async fn a_certificate_is_judged_by_the_roots_of_the_machine() {
    if let Some(urls) = endpoints_from_parent() {
        let [good, past, future, other_name, foreign] = &urls[..] else { panic!("five endpoints") };
        assert_eq!(answer(post_to(good).await).status, 200);
        assert_failed(post_to(past).await, FailureKind::CertificateTime, false, "expired");
        assert_failed(post_to(future).await, FailureKind::CertificateTime, false, "not valid yet");
        assert_failed(post_to(other_name).await, FailureKind::Tls, false, "not valid for name");
        assert_failed(post_to(foreign).await, FailureKind::Tls, false, "certificate");
        return;
    }
    let trusted = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    let roots = directory.path().join("roots.pem");
    std::fs::write(&roots, trusted.pem()).unwrap();
    let empty = directory.path().join("empty");
    std::fs::create_dir(&empty).unwrap();

    let good = Endpoint::start_tls(trusted.server("127.0.0.1", Validity::Now), []);
    let refused = [
        Endpoint::start_tls(trusted.server("127.0.0.1", Validity::Past), []),
        Endpoint::start_tls(trusted.server("127.0.0.1", Validity::Future), []),
        Endpoint::start_tls(trusted.server("another.example", Validity::Now), []),
        Endpoint::start_tls(Authority::new().server("127.0.0.1", Validity::Now), []),
    ];
    let [past, future, other_name, foreign] = &refused;
    repeat_in_child(
        "a_certificate_is_judged_by_the_roots_of_the_machine",
        &[&good, past, future, other_name, foreign],
        &[("SSL_CERT_FILE", &roots), ("SSL_CERT_DIR", &empty)],
    );
    assert_eq!(good.requests().len(), 1);
    assert!(refused.iter().all(|endpoint| endpoint.requests().is_empty()));
}

#[tokio::test]
async fn without_any_roots_on_the_machine_the_bundled_ones_serve() {
    if let Some(urls) = endpoints_from_parent() {
        assert_eq!(answer(post_to(&urls[0]).await).status, 200);
        assert_failed(post_to(&urls[1]).await, FailureKind::Tls, false, "UnknownIssuer");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    let plain = Endpoint::start([]);
    let foreign = Endpoint::start_tls(Authority::new().server("127.0.0.1", Validity::Now), []);
    repeat_in_child(
        "without_any_roots_on_the_machine_the_bundled_ones_serve",
        &[&plain, &foreign],
        &[("SSL_CERT_FILE", &missing), ("SSL_CERT_DIR", &missing)],
    );
    assert!(foreign.requests().is_empty());
}
