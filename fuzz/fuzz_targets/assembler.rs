#![no_main]

#[path = "../../ipvs/tests/decoders/assembler.rs"]
mod assembler;

libfuzzer_sys::fuzz_target!(|data: &[u8]| assembler::check(data));
