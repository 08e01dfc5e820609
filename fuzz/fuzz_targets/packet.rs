#![no_main]

#[path = "../../ipvs/tests/decoders/packet.rs"]
mod packet;

libfuzzer_sys::fuzz_target!(|data: &[u8]| packet::check(data));
