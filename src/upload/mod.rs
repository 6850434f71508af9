//! Waits for work and a network, sends each completed session, settles the answer.

pub mod payload;
pub mod retry;
pub mod send;
pub mod verdict;
