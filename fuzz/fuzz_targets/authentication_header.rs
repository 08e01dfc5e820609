#![no_main]

#[path = "../../vrrp/tests/wire/decoders/authentication_header.rs"]
mod authentication_header;

libfuzzer_sys::fuzz_target!(|data: &[u8]| authentication_header::check(data));
