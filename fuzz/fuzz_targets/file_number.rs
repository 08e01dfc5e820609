#![no_main]

#[path = "../../healthcheck/tests/decoders/file_number.rs"]
mod file_number;

libfuzzer_sys::fuzz_target!(|data: &[u8]| file_number::check(data));
