//! Inputs for each target: seeds that are also the corpus of `cargo fuzz`, bombs, and both with bytes changed.

use proptest::prelude::*;
use proptest::sample::{Index, select};

/// The corpus that is kept, one folder a target.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let Ok(files) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

const START: &str = r#"{"mediaEventType":"media.sessionStart","mediaEventTimestamp":"2026-03-07T18:30:00.120Z","mediaCollection":{"playhead":0,"sessionDetails":{"name":"ep-1","length":90,"contentType":"DVOD","playerName":"p","channel":"c"},"customMetadata":[{"name":"a","value":"b"}]},"identityMap":{"FPID":[{"id":"5f0c3d1e-6c1b-4f0e-9a52-2f8f6f1f9a10","primary":true}]}}"#;
const PING: &str = r#"{"mediaEventType":"media.ping","mediaEventTimestamp":"2026-03-07T18:30:10Z","mediaCollection":{"playhead":10},"seq":3}"#;
const STATES: &str = r#"{"mediaEventType":"media.statesUpdate","mediaCollection":{"playhead":1,"statesStart":[{"name":"mute"}],"statesEnd":[{"name":"pictureInPicture"}]}}"#;
const LIVE: &str = r#"{"events":[{"xdm":{"eventType":"media.ping","timestamp":"2026-03-07T18:30:10Z","mediaCollection":{"playhead":1,"sessionID":"k"}}}]}"#;
const WHOLE: &str = r#"{"events":[{"xdm":{"eventType":"media.downloaded","mediaDownloadedEvents":[{"mediaEventType":"media.sessionStart","mediaEventTimestamp":"2026-03-07T18:30:00Z","mediaCollection":{"playhead":0}}]}}]}"#;
const REPORT: &str = r#"{"type":"https://ns.adobe.com/aep/errors/va-edge-0400-400","status":400,"title":"Invalid","detail":"at most 64 KB","report":{"details":[{"name":"$.x","reason":"y"}]},"errors":[],"warnings":[{"title":"w"}],"handle":[{"type":"media-analytics:new-session","payload":[{"sessionId":"s"}]}]}"#;
const FILE: &str = "datastream_id = \"a\"\nendpoint = \"https://example.com/x\"\n[api]\nsocket = \"/run/a.sock\"\norigins = [\"https://a.example\"]\n[session]\nidle_timeout = \"10m\"\n[journal]\nmax_bytes = 67108864\nevict = true\n";
const DATES: [&str; 6] = [
    "120",
    "Sat, 07 Mar 2026 18:30:00 GMT\nSat, 07 Mar 2026 18:29:00 GMT",
    "Saturday, 07-Mar-26 18:30:00 GMT",
    "Sat Mar  7 18:30:00 2026",
    "99999999999999999999999",
    "-1",
];

fn with(head: &[u8], text: &str) -> Vec<u8> {
    [head, text.as_bytes()].concat()
}

fn seeds(name: &str) -> Vec<Vec<u8>> {
    match name {
        "request" => vec![
            with(b"0", START),
            with(b"0", &format!("[{START},{PING},{STATES}]")),
            with(b"1", &format!("{START}\n{PING}\n")),
            with(b"0", LIVE),
            with(b"0", WHOLE),
        ],
        "event" => [START, PING, STATES].map(|text| with(b"", text)).into(),
        "row" => [START, PING, STATES, "{\"playhead\":1}", "[]"]
            .iter()
            .flat_map(|text| [with(&[0; 9], text), with(&[17, 255, 255, 255, 255, 255, 255, 255, 127], text)])
            .collect(),
        "payload" => vec![
            with(b"!\n", &format!("{START}\n{PING}\n{STATES}\n")),
            with(b";\n", &format!("{START}\n{}x\n[]\n", format!("{PING}\n").repeat(60))),
        ],
        "configuration" => {
            vec![with(b"", FILE), with(b"", "[api]\nmax_connections = 99999999999999999999\n")]
        }
        "answer" => [[100, 0], [107, 0], [44, 1], [145, 1], [57, 1]]
            .iter()
            .flat_map(|status| [0, 1, 2, 21].map(|flags| with(&[status[0], status[1], flags], REPORT)))
            .collect(),
        "retry_after" => DATES.map(|text| with(b"", text)).into(),
        "times" => {
            vec![(0..=255).collect(), vec![0; 250], vec![255; 250], with(b"", "2026-03-07T18:30:00.120Z")]
        }
        _ => Vec::new(),
    }
}

/// Texts that are small to send and may be large to hold; each as long as the limit of its target allows.
fn bombs(name: &str) -> Vec<Vec<u8>> {
    // A request has at most 1 MiB, an event and an answer 64 KiB; a file is the administrator's own.
    let most = match name {
        "request" => 1 << 20,
        "payload" => 256 << 10,
        "retry_after" => 2 << 10,
        _ => 64 << 10,
    };
    let head: &[u8] = match name {
        "request" => b"0",
        "row" => &[0; 9],
        "answer" => &[100, 0, 1],
        "payload" => b"9\n",
        _ => b"",
    };
    let piece = |start: &str, piece: &str, end: &str| {
        let times = (most - head.len() - start.len() - end.len()) / piece.len();
        with(head, &format!("{start}{}{end}", piece.repeat(times)))
    };
    let mut bombs = vec![
        piece("", "[", ""),
        piece("", "{\"a\":", ""),
        piece("[", "1,", "1]"),
        piece("[", "{},", "{}]"),
        piece("{", "\"a\":1,", "\"a\":1}"),
        piece("\"", "\\u0041", "\""),
        piece("", "9", ""),
        piece("1e", "9", ""),
        piece("", "\n", ""),
        piece("", "a=1\n", ""),
        piece("", "[a]\n", ""),
        piece("", "a.", "b=1"),
        piece("x=[", "[", ""),
        piece("", "\u{1b}[2J", ""),
        piece("{\"mediaEventType\":\"media.ping\",\"mediaCollection\":{", "\"x\":1,", "\"playhead\":1}}"),
        piece("{\"events\":[", "{\"xdm\":{}},", "{}]}"),
        piece("{\"errors\":[", "{\"title\":\"x\"},", "{}]}"),
        piece("{\"detail\":\"", "at most 1 KB ", "\"}"),
        piece(&format!("[{START},"), &format!("{PING},"), &format!("{PING}]")),
        piece(&format!("{START}\n"), &format!("{PING}\n"), ""),
    ];
    let odd = PING.replace("\"playhead\":10", "\"playhead\":10,\"a\":1,\"b\":2,\"c\":3");
    bombs.push(piece(&format!("[{START},"), &format!("{odd},"), &format!("{odd}]")));
    bombs
}

/// Inputs that are always run.
pub(crate) fn known(name: &str) -> Vec<Vec<u8>> {
    [corpus(name), seeds(name), bombs(name)].concat()
}

/// Bytes that mean something in one of the languages that are read.
const TOKENS: [&str; 24] = [
    "{",
    "}",
    "[",
    "]",
    "\"",
    ":",
    ",",
    "\\u",
    "\\ud800",
    "null",
    "true",
    "-0",
    "1e999",
    "0.1",
    "\n",
    "\0",
    "\u{2028}",
    "=",
    "\"\"\"",
    "#",
    "media.",
    "GMT",
    "T24:00:00Z",
    "\u{10ffff}",
];

#[derive(Debug, Clone)]
enum Change {
    Set(Index, u8),
    Cut(Index, usize),
    Token(Index, &'static str),
    Twice(Index, usize),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (any::<Index>(), 1..40_usize).prop_map(|(at, size)| Change::Cut(at, size)),
        (any::<Index>(), select(&TOKENS[..])).prop_map(|(at, token)| Change::Token(at, token)),
        (any::<Index>(), 1..80_usize).prop_map(|(at, size)| Change::Twice(at, size)),
    ]
}

fn changed(mut bytes: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        let length = bytes.len();
        let from = |at: &Index| at.index(length + 1);
        match change {
            Change::Set(at, byte) if length > 0 => bytes[at.index(length)] = *byte,
            Change::Set(..) => bytes.push(b'{'),
            Change::Cut(at, size) => drop(bytes.drain(from(at)..(from(at) + size).min(length))),
            Change::Token(at, token) => drop(bytes.splice(from(at)..from(at), token.bytes())),
            Change::Twice(at, size) => {
                let again = bytes[from(at)..(from(at) + size).min(length)].to_vec();
                drop(bytes.splice(from(at)..from(at), again));
            }
        }
    }
    bytes
}

/// Known inputs with some bytes changed, and bytes without any order.
pub(crate) fn near(name: &str) -> impl Strategy<Value = Vec<u8>> + use<> {
    let known: Vec<Vec<u8>> = [corpus(name), seeds(name)].concat();
    prop_oneof![
        8 => (select(known), prop::collection::vec(change(), 1..12)).prop_map(|(seed, changes)| changed(seed, &changes)),
        1 => prop::collection::vec(any::<u8>(), 0..600),
        1 => prop::collection::vec(select(&TOKENS[..]), 0..200).prop_map(|tokens| tokens.concat().into_bytes()),
    ]
}
