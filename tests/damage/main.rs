//! Damaged journals: never a wrong byte, no crash, ready at once; what was not touched is saved, what is lost is
//! counted.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]
#![allow(clippy::print_stdout, reason = "the figures are what the test is for")]

#[path = "../support/endpoint.rs"]
mod endpoint;
#[path = "../support/service.rs"]
mod service;

mod cases;
mod harm;
mod live;
mod made;
mod trials;
