//! Attempt number to delay; the only file that knows `backoff`.
