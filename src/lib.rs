//! afterplay: an offline-first store-and-forward service for media tracking sessions.
//!
//! Players hand it media events over a local socket while the device may be offline. It journals them in SQLite, keyed
//! by local media session, and uploads each completed session as one `media.downloaded` payload when the endpoint can
//! be reached.
//!
//! # Promises
//!
//! 1. An event is acknowledged only after it is committed and synced.
//! 2. Every acknowledged event ends in a delivered session or in a counted, named, listed loss.
//! 3. No network trouble ever consumes a session.
//! 4. One bad session never blocks or harms another.
//! 5. The same session is sent with the same bytes at each attempt; a possible duplicate is counted.
//! 6. Order and intervals of events are what happened.
//! 7. A full disk or quota never wedges the service.
//! 8. A damaged journal never stops intake and never uploads wrong bytes.
//! 9. A local program can neither read nor touch another user's sessions, nor slow down the others.
//! 10. With nothing to do the service does nothing.
//! 11. Intake needs neither a network nor a datastream id.
//! 12. Opting out erases what is stored and refuses more.
//!
//! # The journey of an event
//!
//! [`api`] takes it from a connection, [`event`] checks it, [`journal`] numbers it, commits it together with whatever
//! else waits, and only then the answer goes out. [`course`] follows what is open in a session, [`session`] says when
//! it is over. [`link`] tells of a way to the endpoint; [`upload`] claims the oldest session that is due, builds its
//! payload with the times of [`anchor`], counts the attempt, sends it, judges the answer, and writes down what follows.
//!
//! # Who imports whom
//!
//! `main` → [`commands`], [`service`] → [`api`], [`socket`], [`upload`], [`link`], [`journal`] → [`session`],
//! [`course`], [`event`], [`anchor`], [`clock`], [`config`], [`json`], [`memory`], [`owner`], [`stop`]; never the other way. The
//! local API shows payloads, so it may ask [`upload`] for one. [`commands`] reach a running service through [`client`]
//! alone. [`sandbox`] is an independent reading of the contract and imports nothing of ours.
//!
//! `rusqlite` is spoken only in [`journal`], `reqwest` only in [`upload::send`], `backoff` only in [`upload::retry`],
//! and the wall clock is read only in [`clock`].
#![forbid(unsafe_code)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::dbg_macro
)]

pub mod anchor;
pub mod api;
pub mod cli;
pub mod client;
pub mod clock;
pub mod commands;
pub mod config;
pub mod course;
pub mod event;
pub mod journal;
pub mod json;
pub mod link;
pub mod memory;
pub mod owner;
pub mod sandbox;
pub mod service;
pub mod session;
pub mod socket;
pub mod stop;
pub mod upload;
