//! Damaged journals: never a wrong byte, no crash, ready at once; what was not touched is saved, what is lost is
//! counted.

#[path = "../support/endpoint.rs"]
mod endpoint;
#[path = "../support/journal.rs"]
mod journal;
#[path = "../support/service.rs"]
mod service;

mod beheaded;
mod cases;
mod foreign;
mod frames;
mod harm;
mod indexes;
mod live;
mod logs;
mod made;
mod open_ends;
mod trials;
