#![no_main]

#[path = "../../vrrp/tests/wire/decoders/advertisement.rs"]
mod advertisement;

libfuzzer_sys::fuzz_target!(|data: &[u8]| advertisement::check(data));
