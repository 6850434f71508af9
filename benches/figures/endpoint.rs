//! An endpoint that takes everything in, and a bare client that posts to it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

const ANSWER: &str = "{\"requestId\":\"b5d2f1f6\",\"handle\":[{\"type\":\"media-analytics:new-session\",\
    \"payload\":[{\"sessionId\":\"af8bb22766e4\"}]}]}";

/// Takes bodies in and counts them.
pub(crate) struct Endpoint {
    address: SocketAddr,
    taken: Arc<AtomicU64>,
}

impl Endpoint {
    pub(crate) fn start() -> Endpoint {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let taken = Arc::new(AtomicU64::new(0));
        let count = taken.clone();
        // Both kinds of threads end with the process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let count = count.clone();
                std::thread::spawn(move || drop(answer(&stream, &count)));
            }
        });
        Endpoint { address, taken }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/ee/va/v1/downloaded", self.address)
    }

    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::SeqCst)
    }
}

fn answer(stream: &TcpStream, taken: &AtomicU64) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(64 << 10, stream);
    let (mut line, mut body) = (String::new(), Vec::new());
    loop {
        let mut length = 0;
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            match line.split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.trim().parse().unwrap();
                }
                _ if line == "\r\n" => break,
                _ => {}
            }
        }
        body.resize(length, 0);
        reader.read_exact(&mut body)?;
        taken.fetch_add(1, Ordering::SeqCst);
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{ANSWER}",
            ANSWER.len()
        );
        (&*stream).write_all(answer.as_bytes())?;
    }
}

/// Seconds that a bare `reqwest` needs to post these bodies, as many at a time as the uploader.
#[expect(clippy::disallowed_methods, reason = "the limit is reqwest without the uploader")]
pub(crate) fn bare_loop(endpoint: &Endpoint, body: &[u8], times: u64, at_once: u64) -> f64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let body = bytes::Bytes::copy_from_slice(body);
    let url = endpoint.url();
    drop(rustls::crypto::ring::default_provider().install_default());
    runtime.block_on(async {
        let client = reqwest::Client::builder().http1_only().no_proxy().build().unwrap();
        let began = Instant::now();
        let posting: Vec<_> = (0..at_once)
            .map(|_| {
                let (client, body, url) = (client.clone(), body.clone(), url.clone());
                tokio::spawn(async move {
                    for _ in 0..times / at_once {
                        let answer = client.post(&url).body(body.clone()).send().await.unwrap();
                        assert_eq!(answer.bytes().await.unwrap().len(), ANSWER.len());
                    }
                })
            })
            .collect();
        for task in posting {
            task.await.unwrap();
        }
        began.elapsed().as_secs_f64()
    })
}
