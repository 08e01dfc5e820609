#![no_main]

#[expect(dead_code, reason = "tests use the rest of it")]
#[path = "../../ipvs/tests/engine/flow.rs"]
mod flow;
#[path = "../../ipvs/tests/engine/operations.rs"]
mod operations;
#[expect(dead_code, reason = "tests use the rest of it")]
#[path = "../../ipvs/tests/engine/packets.rs"]
mod packets;
#[path = "../../ipvs/tests/engine/site.rs"]
mod site;

libfuzzer_sys::fuzz_target!(|data: &[u8]| operations::check(data));
