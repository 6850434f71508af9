//! One POST to an outcome; the only file that knows `reqwest`.

use std::time::Duration;

/// How one attempt ended, before anybody judges it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// An HTTP answer came.
    Answer(Answer),
    /// No complete answer came.
    Failed(Failure),
}

/// An HTTP answer, read up to the limit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// HTTP status code.
    pub status: u16,
    /// `Content-Type`, if given.
    pub content_type: Option<String>,
    /// `Content-Encoding`, if given: bodies are never decompressed.
    pub content_encoding: Option<String>,
    /// `Retry-After`, as given.
    pub retry_after: Option<String>,
    /// `Date`, as given.
    pub date: Option<String>,
    /// `x-request-id`, as given.
    pub request_id: Option<String>,
    /// The first 64 KiB of the body.
    pub body: Vec<u8>,
    /// Whether more followed than was read.
    pub truncated: bool,
}

/// Why no answer came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Which kind of trouble.
    pub kind: FailureKind,
    /// Whether the body may have reached the other side in full.
    pub maybe_delivered: bool,
    /// The innermost cause, for a person.
    pub detail: String,
}

/// Kinds of transport trouble (contract section 11.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The client could not be built or the request not formed.
    Setup,
    /// The name could not be resolved.
    Dns,
    /// No route, refused, reset while connecting.
    Connect,
    /// The certificate is not valid yet or no longer: the device's clock may be wrong.
    CertificateTime,
    /// Any other TLS trouble: somebody else may be answering.
    Tls,
    /// A deadline passed.
    Timeout,
    /// The connection broke after it stood.
    Reset,
}

/// Deadlines of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// To a connection, name resolution and TLS included.
    pub connect: Duration,
    /// From start to the whole answer, besides the time the body takes.
    pub total: Duration,
}
