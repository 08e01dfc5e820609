#![no_main]

#[path = "../../vrrp/tests/election/operations.rs"]
mod operations;

libfuzzer_sys::fuzz_target!(|data: &[u8]| operations::check(data));
