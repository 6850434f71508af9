//! afterplay: an offline-first store-and-forward service for media tracking sessions.
#![forbid(unsafe_code)]

pub mod anchor;
pub mod api;
pub mod cli;
pub mod client;
pub mod clock;
pub mod commands;
pub mod config;
pub mod event;
pub mod journal;
pub mod json;
pub mod link;
pub mod sandbox;
pub mod service;
pub mod session;
pub mod stop;
pub mod upload;
