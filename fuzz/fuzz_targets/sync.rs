#![no_main]

#[path = "../../ipvs/tests/decoders/sync.rs"]
mod sync;

libfuzzer_sys::fuzz_target!(|data: &[u8]| sync::check(data));
