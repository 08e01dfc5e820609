#![no_main]

#[path = "../../tests/decoders/rtnetlink.rs"]
mod rtnetlink;

libfuzzer_sys::fuzz_target!(|data: &[u8]| rtnetlink::check(data));
