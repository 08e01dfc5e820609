#![no_main]

#[path = "../../vrrp/tests/wire/decoders/claim.rs"]
mod claim;

libfuzzer_sys::fuzz_target!(|data: &[u8]| claim::check(data));
