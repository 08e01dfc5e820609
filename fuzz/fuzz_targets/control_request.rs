#![no_main]

#[path = "../../tests/decoders/control_request.rs"]
mod control_request;

libfuzzer_sys::fuzz_target!(|data: &[u8]| control_request::check(data));
