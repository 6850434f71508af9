//! The `afterplay` binary: parse, run, exit code.
fn main() {}
