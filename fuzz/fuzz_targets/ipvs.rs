#![no_main]

#[path = "../../ipvs/tests/decoders/ipvs.rs"]
mod ipvs;

libfuzzer_sys::fuzz_target!(|data: &[u8]| ipvs::check(data));
