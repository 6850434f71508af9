#![no_main]
#![allow(dead_code)]

#[path = "../../tests/fuzz/targets.rs"]
mod targets;
#[path = "../within.rs"]
mod within;

libfuzzer_sys::fuzz_target!(|data: &[u8]| within::time(targets::answer, data));
