//! What the gateway refuses before the contract is read, and what is kept.

use std::fs;

use afterplay::sandbox::Options;
use serde_json::{Value, json};

use super::{PATH, Server, contract_example, request, session};

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn the_gateway_refuses_under_its_own_codes() {
    let good = contract_example().to_string();
    let good = good.as_bytes();
    let large = format!("{}1", " ".repeat(65_536));
    let deep = "[".repeat(10_000);
    let base = "/ee/va/v1/downloaded";
    let ids = Some(vec!["ds-1".to_owned(), "ds 2".to_owned()]);
    let server = Server::start(Options { datastream_ids: ids, ..Options::default() }).await;
    type Case<'a> = (String, Vec<(&'a str, &'a str)>, &'a [u8], u16, &'a str);
    let cases: Vec<Case> = vec![
        (base.into(), vec![JSON], good, 400, "EXEG-0002-400"),
        (format!("{base}?configId="), vec![JSON], good, 400, "EXEG-0002-400"),
        (format!("{base}?configid=ds-1"), vec![JSON], good, 400, "EXEG-0002-400"),
        (format!("{base}?configId=ds-3"), vec![JSON], good, 400, "EXEG-0003-400"),
        (PATH.into(), vec![], good, 400, "EXEG-0106-400"),
        (PATH.into(), vec![("content-type", "json")], good, 400, "EXEG-0106-400"),
        (PATH.into(), vec![("content-type", "text/plain")], good, 415, "EXEG-0111-415"),
        (PATH.into(), vec![JSON, ("content-encoding", "gzip")], good, 415, "EXEG-0111-415"),
        (PATH.into(), vec![JSON], b"", 408, "EXEG-0109-408"),
        (PATH.into(), vec![JSON], b"{\"events\":[", 400, "EXEG-0101-400"),
        (PATH.into(), vec![JSON], b"\"\xff\"", 400, "EXEG-0101-400"),
        (PATH.into(), vec![JSON], deep.as_bytes(), 400, "EXEG-0101-400"),
        (PATH.into(), vec![JSON], large.as_bytes(), 413, "EXEG-0112-413"),
        (PATH.into(), vec![JSON], b"[]", 400, "EXEG-0102-400"),
        (PATH.into(), vec![JSON], b"{}", 400, "EXEG-0103-400"),
        (PATH.into(), vec![JSON], b"{\"events\":[]}", 400, "EXEG-0102-400"),
        (PATH.into(), vec![JSON], b"{\"events\":{}}", 400, "EXEG-0102-400"),
    ];
    for (target, headers, body, status, code) in cases {
        let answer = server.send(&request(&target, &headers, body)).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{target} {headers:?}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json;charset=utf-8"));
        assert_eq!(answer.json()["status"], status);
        assert_eq!(answer.json()["report"]["requestId"].as_str().unwrap().len(), 36);
        if status == 413 {
            assert!(answer.json()["detail"].as_str().unwrap().contains("65536"));
        }
        assert_eq!((server.last().status, server.last().bytes), (Some(status), body.len() as u64));
    }
    for target in [
        "/ee/or2/va/v1/downloaded?configId=ds-1",
        "/ee/va/v1/downloaded?requestId=1&configId=ds%202",
        "/ee/va/v1/downloaded?configId=ds+2",
    ] {
        assert_eq!(server.send(&request(target, &[JSON], good)).await.status, 200, "{target}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_flood_of_problems_is_answered_in_short() {
    let server = Server::start(Options::default()).await;
    for body in [json!({ "events": vec![0; 32_000] }), session(&vec!["adStart"; 200])] {
        let mut body = body;
        if let Some(list) = body.pointer_mut("/events/0/xdm/mediaDownloadedEvents") {
            for event in list.as_array_mut().unwrap() {
                event["mediaCollection"] = json!({ "advertisingDetails": {} });
            }
        }
        let answer = server.post(&body).await;
        assert_eq!(answer.status, 207);
        let json = answer.json();
        let errors = json["errors"].as_array().unwrap();
        assert_eq!(errors.len(), body["events"].as_array().unwrap().len());
        let details: usize = errors.iter().map(|e| e["report"]["details"].as_array().unwrap().len()).sum();
        assert!(details <= 500 + errors.len(), "{details}");
        assert!(answer.json().to_string().contains("more of this kind"));
    }
    server.stop().await;
}

#[tokio::test]
async fn the_largest_body_is_an_option() {
    let body = contract_example().to_string();
    let length = body.len() as u64;
    for (max_body, status) in [(length, 200), (length - 1, 413)] {
        let server = Server::start(Options { max_body, ..Options::default() }).await;
        let answer = server.send(&request(PATH, &[JSON], body.as_bytes())).await;
        assert_eq!(answer.status, status);
        if status == 413 {
            assert!(answer.json()["detail"].as_str().unwrap().contains(&max_body.to_string()));
        }
        server.stop().await;
    }
}

#[tokio::test]
async fn other_paths_and_methods_take_no_step_of_the_script() {
    let server = Server::scripted("503").await;
    for target in ["/", "/ee/va/v1/sessionStart?configId=1", "/ee//va/v1/downloaded", "/ee/va/v1/downloaded/"]
    {
        assert_eq!(server.send(&request(target, &[JSON], b"{}")).await.status, 404, "{target}");
    }
    let get = format!("GET {PATH} HTTP/1.1\r\nhost: sandbox\r\nconnection: close\r\n\r\n");
    let answer = server.send(get.as_bytes()).await;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("post")));
    assert_eq!(server.post(&contract_example()).await.status, 503);
    assert_eq!(server.post(&contract_example()).await.status, 200);
    let seen: Vec<_> = server.seen().into_iter().map(|seen| (seen.n, seen.answer)).collect();
    let answers = ["404", "404", "404", "404", "405", "503", "200"];
    assert_eq!(seen, (1..).zip(answers.map(str::to_owned)).collect::<Vec<_>>());
    server.stop().await;
}

#[tokio::test]
async fn bodies_and_findings_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let keep = dir.path().join("made/here");
    let options = |script: &str| Options {
        save: Some(keep.clone()),
        script: script.parse().unwrap(),
        max_body: 8000,
        ..Options::default()
    };
    // Spaces and the order of members tell whether it is byte for byte.
    let odd = format!("  {}\n", contract_example().to_string().replacen("{\"events\"", "{ \"events\"", 1));
    let server = Server::start(options("200,503")).await;
    assert_eq!(server.send(&request(PATH, &[JSON], odd.as_bytes())).await.status, 200);
    assert_eq!(server.post(&session(&["play", "ping"])).await.status, 503);
    assert_eq!(server.send(&request(PATH, &[JSON], b"\xff no json")).await.status, 400);
    assert_eq!(server.last().saved, Some(keep.join("0003-400.json")));
    server.stop().await;

    let server = Server::start(options("reset-before,hang")).await;
    let whole = request(PATH, &[JSON], odd.as_bytes());
    let _ = server.exchange(&whole).await;
    let mut client = tokio::net::TcpStream::connect(server.addr).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut client, &whole).await.unwrap();
    while server.seen().len() < 2 {
        tokio::task::yield_now().await;
    }
    drop(client);
    assert_eq!(server.post(&json!(vec![0; 5000])).await.status, 413);
    assert_eq!(server.post(&contract_example()).await.status, 200);
    server.stop().await;

    let mut names: Vec<_> =
        fs::read_dir(&keep).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(
        names,
        [
            "0001-200.json",
            "0001-200.report.json",
            "0002-503.json",
            "0002-503.report.json",
            "0003-400.json",
            "0003-400.report.json",
            "0004-reset-before.report.json",
            "0005-hang.json",
            "0005-hang.report.json",
            "0006-413.report.json",
            "0007-200.json",
            "0007-200.report.json",
        ]
    );
    let read = |name: &str| fs::read(keep.join(name)).unwrap();
    assert_eq!(read("0001-200.json"), odd.as_bytes());
    assert_eq!(read("0003-400.json"), b"\xff no json");
    let report = |name: &str| -> Value { serde_json::from_slice(&read(name)).unwrap() };
    let good = report("0001-200.report.json");
    assert_eq!((&good["title"], &good["session"]), (&json!("The Long Tide"), &json!("ep-204417")));
    assert_eq!((&good["events"], &good["problems"], &good["step"]), (&json!(7), &json!([]), &json!("200")));
    let scripted = report("0002-503.report.json");
    assert_eq!((&scripted["step"], &scripted["status"]), (&json!("503"), &json!(503)));
    assert_eq!(scripted["problems"][0]["name"], "$.xdm.mediaDownloadedEvents[0].mediaEventType");
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_is_an_error_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let server = Server::start(Options { save: Some(file), ..Options::default() }).await;
    let error = server.task.await.unwrap().unwrap_err();
    assert!(!error.to_string().is_empty());
}
